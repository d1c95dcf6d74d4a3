"""One HTTP/2 connection on asyncio: many requests at once, each of which ends exactly once."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import cast

from fanfare.providers.exchange import Exchange, Headers, NotProcessed, Unknown
from fanfare.providers.http2_engine import Engine, EngineError, EngineName, StreamError
from fanfare.providers.http2_h2 import H2Engine
from fanfare.providers.http2_ngh2 import Ngh2Engine
from fanfare.providers.http2_reasons import GOING_AWAY, REFUSED_STREAM

# A peer that sets no limit is not asked for more than this; providers set 100 to 1,500.
MAX_OPEN_STREAMS = 1_000
# Stream ids end at 2**31 - 1; a connection is left well before.
LAST_STREAM_ID = 2**31 - 1_000
# A peer that makes us write (pings, settings) without reading is cut off here. New requests stop
# far earlier, when the transport says that it is full.
MAX_UNSENT_BYTES = 8 * 1024 * 1024


class Http2Connection(asyncio.Protocol):
    """A connection over a transport that has finished its TLS handshake.

    `on_change` is called when a slot may have become free, when the connection stops taking
    requests and when it is closed, never from within `send`.
    """

    def __init__(
        self,
        authority: bytes,
        *,
        engine: EngineName,
        deadline: timedelta,
        idle_ping: timedelta,
        on_change: Callable[[], None],
    ) -> None:
        self._engine = _open_engine(engine, authority, self)
        self._deadline = deadline.total_seconds()
        self._idle_ping = idle_ping.total_seconds()
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._max_streams = 0
        self._sent_to = 0
        self._processed_to = LAST_STREAM_ID
        self._received_at = 0.0
        self._reads = 0
        self._window = 0
        self._window_read_at = -1
        self._flush_is_due = False
        self._has_free_slot = False
        self._is_paused = False
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.is_draining = False
        self.has_answered = False

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._exchanges)

    @property
    def is_held_back(self) -> bool:
        """Whether the peer allows one stream at most, as APNs does until it trusts us."""
        return self._max_streams <= 1

    def has_room(self, size: int) -> bool:
        """Whether a request with a body of so many bytes could go out at once.

        A body that exceeds even an idle connection's window goes out in pieces.
        """
        count = len(self._exchanges)
        return (
            count < self._max_streams
            and not self.is_draining
            and not self._is_paused
            and (size <= self._window or count == 0 or size <= self._read_window())
        )

    def send(self, exchange: Exchange) -> None:
        """Start a request. Only where `has_room`."""
        try:
            stream_id = self._engine.send_request(
                exchange.path, exchange.headers, exchange.own_headers, exchange.body
            )
        except EngineError:
            exchange.end(NotProcessed("connection_closing"))
            self.drain()
            return
        self._window -= len(exchange.body)
        exchange.stream_id = stream_id
        exchange.since = self._loop.time()
        exchange.reads_before = self._reads
        self._exchanges[stream_id] = exchange
        if self._sweep_timer is None:
            self._sweep_at(exchange.since + self._deadline)
        if stream_id >= LAST_STREAM_ID:
            self.drain()
        self._flush_soon()

    def give_up(self, exchange: Exchange) -> None:
        """Reset the stream of a request whose caller has gone, if it is one of ours."""
        if self._exchanges.get(exchange.stream_id) is exchange:
            self._engine.reset(exchange.stream_id)
            self._flush_soon()

    def drain(self) -> None:
        """Take no new requests; close when the open ones have ended."""
        self.is_draining = True
        self._flush_soon()

    def abort(self) -> None:
        """Close at once; what is open ends as unknown."""
        if self._transport is not None:
            # The first releases of Python 3.11 forget the connection under a transport that is
            # closing: there its own time-out ends it.
            with contextlib.suppress(AttributeError):
                self._transport.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio hands a Transport to a Protocol; its signature is wider for datagrams' sake.
        self._transport = cast("asyncio.Transport", transport)
        self._received_at = self._loop.time()
        self._ping_timer = self._loop.call_later(self._idle_ping, self._ping_if_idle)
        self._engine.start()
        self._flush_soon()

    def data_received(self, data: bytes) -> None:
        self._received_at = self._loop.time()
        self._reads += 1
        try:
            self._engine.receive(data)
        except EngineError:
            self.is_draining = True
            self._flush()
            self.abort()
            return
        self._has_free_slot = False
        self._flush_soon()
        self._on_change()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._on_change()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.is_draining = True
        for timer in (self._sweep_timer, self._ping_timer):
            if timer is not None:
                timer.cancel()
        for stream_id, exchange in self._exchanges.items():
            is_safe = stream_id > min(self._sent_to, self._processed_to)
            exchange.end(NotProcessed("connection_lost") if is_safe else Unknown("connection_lost"))
        self._exchanges.clear()
        self._settle_ready()
        self.closed.set_result(None)
        self._on_change()

    # What the engine tells.

    def settings_received(self, max_streams: int) -> None:
        self._max_streams = min(max_streams, MAX_OPEN_STREAMS)
        self._settle_ready()

    def headers_received(self, stream_id: int, headers: Headers) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.begin_answer(headers)

    def body_received(self, stream_id: int, data: bytes) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.add_body(data)

    def response_ended(self, stream_id: int) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            self.has_answered = True
            exchange.finish_answer()

    def stream_closed(self, stream_id: int, error_code: int) -> None:
        self._has_free_slot = True
        if error_code:
            # What it had not sent yet takes no room any more.
            self._window_read_at = -1
        exchange = self._exchanges.pop(stream_id, None)
        if exchange is None or exchange.is_over:
            return
        if error_code == StreamError.REFUSED_STREAM and not exchange.is_answering:
            is_left = stream_id > self._processed_to
            exchange.end(NotProcessed(GOING_AWAY if is_left else REFUSED_STREAM))
        else:
            exchange.end(Unknown("stream_reset"))

    def going_away(self, last_stream_id: int) -> None:
        self._processed_to = min(self._processed_to, last_stream_id)
        self.is_draining = True

    # Our own business.

    def _read_window(self) -> int:
        # Only we lower it, and only the peer raises it: what we count down is never too much, so
        # the engine is asked no more than once for a window's worth or a read.
        if self._window_read_at != self._reads:
            self._window_read_at = self._reads
            self._window = self._engine.room()
        return self._window

    def _flush_soon(self) -> None:
        # One write for all that one turn of the loop brings: a fifth of the cost of a request.
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        transport = self._transport
        if transport is None or self.closed.done():
            return
        if self._exchanges:
            self._sent_to = next(reversed(self._exchanges))
        if data := self._engine.output():
            transport.write(data)
        if self._has_free_slot:
            self._has_free_slot = False
            self._on_change()
        self._close_if_done(transport)

    def _close_if_done(self, transport: asyncio.Transport) -> None:
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            transport.abort()
        elif self._engine.is_finished:
            self.is_draining = True
            transport.close()
        elif self.is_draining and not self._exchanges and not transport.is_closing():
            self._engine.say_goodbye()
            transport.write(self._engine.output())
            transport.close()

    def _sweep_at(self, moment: float) -> None:
        self._sweep_timer = self._loop.call_at(moment, self._sweep)

    def _sweep(self) -> None:
        # Deadlines are equal and streams stand in the order of their start, so one timer for the
        # oldest serves them all.
        self._sweep_timer = None
        now = self._loop.time()
        for stream_id, exchange in list(self._exchanges.items()):
            if exchange.since + self._deadline > now:
                self._sweep_at(exchange.since + self._deadline)
                break
            self._expire(stream_id, exchange)
        self._flush_soon()
        self._on_change()

    def _expire(self, stream_id: int, exchange: Exchange) -> None:
        exchange.end(Unknown("deadline"))
        self._engine.reset(stream_id)
        # Not a byte since the request went out: the path is dead, new requests take another.
        if self._reads == exchange.reads_before:
            self.is_draining = True

    def _ping_if_idle(self) -> None:
        due = self._received_at + self._idle_ping
        if due > self._loop.time():
            self._ping_timer = self._loop.call_at(due, self._ping_if_idle)
            return
        self._engine.ping()
        self._flush_soon()
        self._ping_timer = self._loop.call_later(self._deadline, self._abort_if_silent, self._reads)

    def _abort_if_silent(self, reads_before: int) -> None:
        if self._reads == reads_before:
            self.abort()
        else:
            self._ping_if_idle()

    def _settle_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)


def _open_engine(name: EngineName, authority: bytes, connection: Http2Connection) -> Engine:
    match name:
        case "ngh2":
            return Ngh2Engine(authority, connection)
        case "h2":
            return H2Engine(authority, connection)
