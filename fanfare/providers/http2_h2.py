"""The engine over h2: pure Python, ten times the cost of ngh2, for platforms without its wheel."""

import logging
from collections.abc import Iterator
from contextlib import suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes
from hpack import NeverIndexedHeaderTuple

from fanfare.providers.exchange import Header, Headers
from fanfare.providers.http2_engine import (
    MAX_HEADER_BYTES,
    EngineError,
    Listener,
    StreamError,
)

_POST: Header = (b":method", b"POST")
_HTTPS: Header = (b":scheme", b"https")
_FRAME_HEADER_BYTES = 9
# We announce no other size, so a longer frame is a fault (RFC 9113, 4.2).
_MAX_FRAME_BYTES = 16_384
_GOAWAY = 0x7


class H2Engine:
    """See `Engine`. `authority` is what goes into `:authority`."""

    def __init__(self, authority: bytes, listener: Listener) -> None:
        # hpack writes every header it codes at DEBUG, and `:path` holds the token.
        logging.getLogger("hpack").setLevel(logging.WARNING)
        self._authority: Header = (b":authority", authority)
        self._listener = listener
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._unread = bytearray()
        # Open streams in order, and what is left to send of each body.
        self._unsent: dict[int, bytes] = {}

    def start(self) -> None:
        self._connection.initiate_connection()
        self._connection.update_settings(
            {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES}
        )

    def send_request(self, path: bytes, headers: Headers, own: Headers, body: bytes) -> int:
        literals = [NeverIndexedHeaderTuple(name, value) for name, value in own]
        request = [_POST, _HTTPS, self._authority, NeverIndexedHeaderTuple(b":path", path)]
        try:
            stream_id = self._connection.get_next_available_stream_id()
            self._connection.send_headers(stream_id, [*request, *headers, *literals])
            self._unsent[stream_id] = self._send_some(stream_id, body)
        except H2Error:
            raise EngineError("no further stream can be opened") from None
        return stream_id

    def reset(self, stream_id: int) -> None:
        self._cancel(stream_id)
        self._close(stream_id, StreamError.CANCEL)

    def receive(self, data: bytes) -> None:
        try:
            for frame in self._frames(data):
                self._read_frame(frame)
        except H2Error:
            raise EngineError("the peer broke the protocol") from None

    def output(self) -> bytes:
        return self._connection.data_to_send()

    def ping(self) -> None:
        self._connection.ping(bytes(8))

    def say_goodbye(self) -> None:
        self._connection.close_connection()

    def room(self) -> int:
        waiting = sum(map(len, self._unsent.values())) if any(self._unsent.values()) else 0
        return self._connection.outbound_flow_control_window - waiting

    @property
    def is_finished(self) -> bool:
        return False

    def _frames(self, data: bytes) -> Iterator[bytes]:
        self._unread += data
        while len(self._unread) >= _FRAME_HEADER_BYTES:
            length = int.from_bytes(self._unread[:3], "big")
            if length > _MAX_FRAME_BYTES:
                raise EngineError("the peer's frame is too long")
            end = _FRAME_HEADER_BYTES + length
            if len(self._unread) < end:
                return
            yield bytes(self._unread[:end])
            del self._unread[:end]

    def _read_frame(self, frame: bytes) -> None:
        # h2 takes GOAWAY for the end of everything, while streams up to the last id may still be
        # answered (RFC 9113, 6.8); so it never sees one.
        if frame[3] == _GOAWAY:
            self._read_goaway(frame[_FRAME_HEADER_BYTES:])
            return
        for event in self._connection.receive_data(frame):
            self._tell(event)

    def _read_goaway(self, payload: bytes) -> None:
        last_stream_id = int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF
        self._listener.going_away(last_stream_id)
        for stream_id in [number for number in self._unsent if number > last_stream_id]:
            self._close(stream_id, StreamError.REFUSED_STREAM)

    def _tell(self, event: Event) -> None:
        match event:
            case ResponseReceived(stream_id=stream_id, headers=headers):
                self._listener.headers_received(
                    stream_id, [(bytes(n), bytes(v)) for n, v in headers]
                )
            case DataReceived(stream_id=stream_id, data=data):
                self._acknowledge(event)
                self._listener.body_received(stream_id, data)
            case StreamEnded(stream_id=stream_id):
                self._listener.response_ended(stream_id)
                self._finish(stream_id)
            case StreamReset(stream_id=stream_id, error_code=error_code):
                self._close(stream_id, int(error_code))
            case RemoteSettingsChanged():
                self._send_more()
                limit = self._connection.remote_settings.max_concurrent_streams
                self._listener.settings_received(limit)
            case WindowUpdated():
                self._send_more()
            case _:
                pass

    def _acknowledge(self, event: DataReceived) -> None:
        length = event.flow_controlled_length
        if length:
            self._connection.acknowledge_received_data(length, event.stream_id)

    def _finish(self, stream_id: int) -> None:
        # An answer before our body was sent: nobody wants the rest of it (RFC 9113, 8.1).
        if self._unsent.get(stream_id):
            self._cancel(stream_id)
        self._close(stream_id, StreamError.NONE)

    def _cancel(self, stream_id: int) -> None:
        # On a connection that has failed there is nothing left to reset.
        with suppress(H2Error):
            self._connection.reset_stream(stream_id, StreamError.CANCEL)

    def _close(self, stream_id: int, error_code: int) -> None:
        if self._unsent.pop(stream_id, None) is not None:
            self._listener.stream_closed(stream_id, error_code)

    def _send_more(self) -> None:
        for stream_id in [number for number, body in self._unsent.items() if body]:
            self._unsent[stream_id] = self._send_some(stream_id, self._unsent[stream_id])

    def _send_some(self, stream_id: int, body: bytes) -> bytes:
        """Send what the windows take now; return the rest."""
        connection = self._connection
        while body and (window := connection.local_flow_control_window(stream_id)) > 0:
            piece = body[: min(window, connection.max_outbound_frame_size)]
            body = body[len(piece) :]
            connection.send_data(stream_id, piece, end_stream=not body)
        return body
