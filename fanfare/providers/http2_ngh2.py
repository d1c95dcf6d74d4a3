"""The engine over ngh2, a binding of libnghttp2: about 3 microseconds for a request."""

from contextlib import suppress
from itertools import starmap

from ngh2 import (
    Configuration,
    Connection,
    DataReceived,
    Event,
    GoAwayReceived,
    NeverIndexedHeader,
    NGH2Error,
    ResponseReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
)

from fanfare.providers.exchange import Header, Headers
from fanfare.providers.http2_engine import (
    MAX_HEADER_BYTES,
    EngineError,
    Listener,
    StreamError,
)

_POST: Header = (b":method", b"POST")
_HTTPS: Header = (b":scheme", b"https")


class Ngh2Engine:
    """See `Engine`. `authority` is what goes into `:authority`."""

    def __init__(self, authority: bytes, listener: Listener) -> None:
        self._authority: Header = (b":authority", authority)
        self._listener = listener
        self._half_closed: set[int] = set()
        self._connection = Connection(
            Role.CLIENT,
            Configuration(max_inbound_header_list_size=MAX_HEADER_BYTES),
        )

    def start(self) -> None:
        self._connection.initiate_connection({Setting.ENABLE_PUSH: 0})

    def send_request(self, path: bytes, headers: Headers, own: Headers, body: bytes) -> int:
        connection = self._connection
        literal_path = NeverIndexedHeader(b":path", path)
        literals = starmap(NeverIndexedHeader, own)
        request = [_POST, _HTTPS, self._authority, literal_path, *headers, *literals]
        try:
            stream_id = connection.send_request(request)
            connection.send_data(stream_id, body, end_stream=True)
        except NGH2Error:
            raise EngineError("no further stream can be opened") from None
        return stream_id

    def reset(self, stream_id: int) -> None:
        # On a connection that has failed there is nothing left to reset.
        with suppress(NGH2Error):
            self._connection.reset_stream(stream_id, StreamError.CANCEL)

    def receive(self, data: bytes) -> None:
        try:
            self._connection.receive_data(data)
        except NGH2Error:
            raise EngineError("the peer broke the protocol") from None
        finally:
            self._tell()

    def output(self) -> bytes:
        try:
            return self._connection.data_to_send()
        except NGH2Error:
            return b""
        finally:
            self._tell()

    def ping(self) -> None:
        self._connection.ping()

    def say_goodbye(self) -> None:
        self._connection.send_goaway()

    def room(self) -> int:
        connection = self._connection
        return connection.remote_window_size - connection.queued_body_size()

    @property
    def is_finished(self) -> bool:
        return not self._connection.want_read and not self._connection.want_write

    def _tell(self) -> None:
        # One loop, few calls and no captures: this runs two or three times for every message.
        listener = self._listener
        for event in self._connection.events():
            match event:
                case ResponseReceived():
                    listener.headers_received(event.stream_id, event.headers)
                case DataReceived():
                    listener.body_received(event.stream_id, event.data)
                case StreamClosed():
                    self._half_closed.discard(event.stream_id)
                    listener.stream_closed(event.stream_id, event.error_code)
                    continue
                case _:
                    self._tell_of_connection(event)
                    continue
            if event.end_stream:
                self._half_closed.add(event.stream_id)
                listener.response_ended(event.stream_id)
        if self._half_closed:
            self._reset_half_closed()

    def _tell_of_connection(self, event: Event) -> None:
        match event:
            case SettingsReceived():
                limit = self._connection.remote_settings[Setting.MAX_CONCURRENT_STREAMS]
                self._listener.settings_received(limit)
            case GoAwayReceived(last_stream_id):
                self._listener.going_away(last_stream_id)
            case _:
                pass

    def _reset_half_closed(self) -> None:
        # The whole answer came before our body was sent: nobody wants the rest of it
        # (RFC 9113, 8.1).
        for stream_id in self._half_closed:
            self.reset(stream_id)
        self._half_closed.clear()
