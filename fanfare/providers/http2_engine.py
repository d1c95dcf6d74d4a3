"""The seam between our HTTP/2 connection and the library that speaks the protocol, without I/O."""

from enum import IntEnum
from typing import Literal, Protocol

from fanfare.providers.exchange import Headers

EngineName = Literal["ngh2", "h2"]

# Of a response; providers send a few hundred bytes. A peer that sends more is cut off.
MAX_HEADER_BYTES = 16 * 1024


class StreamError(IntEnum):
    """The error codes that mean something to us (RFC 9113, section 7)."""

    NONE = 0x0
    REFUSED_STREAM = 0x7
    CANCEL = 0x8


class EngineError(Exception):
    """The peer broke the protocol: the connection is of no use any more.

    The message is constant, for the library's own may quote headers.
    """


class Listener(Protocol):
    """What an engine tells while it reads. No call may send or read in return."""

    def settings_received(self, max_streams: int) -> None:
        """The peer's SETTINGS, first or changed: how many streams may be open at once."""

    def headers_received(self, stream_id: int, headers: Headers) -> None:
        """A final response's headers, `:status` first."""

    def body_received(self, stream_id: int, data: bytes) -> None:
        """A piece of a response's body; its flow control is already taken care of."""

    def response_ended(self, stream_id: int) -> None:
        """The response is whole."""

    def stream_closed(self, stream_id: int, error_code: int) -> None:
        """The stream is gone, exactly once for every request; its slot is free."""

    def going_away(self, last_stream_id: int) -> None:
        """GOAWAY. Streams above the id are closed as refused by the engine itself."""


class Engine(Protocol):
    """One client connection: requests and received bytes in, bytes to send and calls out.

    Flow control is the engine's: it returns credit for whatever is received, and holds a body
    back until the peer's window lets it go.
    """

    def start(self) -> None:
        """Queue the preface and our SETTINGS."""

    def send_request(self, path: bytes, headers: Headers, own: Headers, body: bytes) -> int:
        """Queue a POST and return its stream id.

        `own` are the headers that no other request shares. They and the path are literals that
        HPACK never indexes, as Apple asks for the path: its table is small, and a token must not
        stay in it. Raises EngineError where no further stream can be opened.
        """

    def reset(self, stream_id: int) -> None:
        """Give the stream up (CANCEL). `stream_closed` follows, at the latest with `output`."""

    def receive(self, data: bytes) -> None:
        """Read bytes and tell the listener. Raises EngineError on a broken protocol."""

    def output(self) -> bytes:
        """Take everything that may be sent now."""

    def ping(self) -> None:
        """Queue a PING."""

    def say_goodbye(self) -> None:
        """Queue a GOAWAY without error."""

    def room(self) -> int:
        """How many bytes of body the connection's send window still takes at once."""

    @property
    def is_finished(self) -> bool:
        """Whether the protocol is over, so that only closing is left."""
