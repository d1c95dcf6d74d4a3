"""A pool of HTTP/2 connections to one origin: the transport under both providers."""

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

import structlog

from fanfare.providers.exchange import Exchange, Headers, NotProcessed, OnResult, Result
from fanfare.providers.http2_connection import Http2Connection
from fanfare.providers.http2_engine import EngineName
from fanfare.providers.http2_reasons import reason_of

# Google asks for 10 s at least (scale-fcm); APNs sometimes never answers (pushy#816).
DEADLINE = timedelta(seconds=15)
# Apple: "after an hour idle"; middle boxes forget a quiet connection far sooner.
IDLE_PING = timedelta(minutes=10)
# Pauses after failed attempts to connect: short, for the caller backs off as well.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
# Connections are opened anew for a credential's sake at most this often: Apple takes rapid opening
# and closing for an attack.
RENEWAL_INTERVAL = 30.0
TLS_CLOSE_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class _ConnectFailed(Exception):
    """An attempt to connect came to nothing; the text is the reason, one word."""


class Http2Pool:
    """Sends requests over as few connections as hold them, at most `max_connections`.

    Every request ends exactly once, as Answer, NotProcessed or Unknown; none is repeated. It
    waits for a free stream no longer than `deadline`, and for its answer no longer than that
    again. A further connection is opened only where all others are full (streams or send window).
    While the origin cannot be reached, requests end as NotProcessed at once and attempts to
    connect keep a pause. The host name is looked up afresh for each connection.
    """

    def __init__(
        self,
        url: str,
        *,
        ssl_context: ssl.SSLContext,
        max_connections: int = 4,
        deadline: timedelta = DEADLINE,
        idle_ping: timedelta = IDLE_PING,
        engine: EngineName = "ngh2",
    ) -> None:
        """`url` is `https://host[:port]`; the context must offer `h2` by ALPN."""
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname is None:
            raise ValueError("a provider's address is https://host[:port]")
        self._host = parts.hostname
        self._port = parts.port or 443
        self._authority = parts.netloc.encode("ascii")
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._deadline = deadline
        self._idle_ping = idle_ping
        self._engine = engine
        self._connections: list[Http2Connection] = []
        self._draining: list[Http2Connection] = []
        self._current: Http2Connection | None = None
        self._queue: deque[Exchange] = deque()
        self._queue_timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._failures = 0
        self._failure_reason = ""
        self._connect_after = 0.0
        self._renew_after = 0.0
        self._is_closed = False

    def submit(
        self,
        path: bytes,
        headers: Headers,
        body: bytes,
        on_result: OnResult,
        own_headers: Headers = (),
    ) -> Exchange:
        """POST once; `on_result` gets what became of it, exactly once, perhaps at once.

        `headers` are those that most requests share (HPACK keeps them), `own_headers` those of
        this one alone. What finds no free stream waits in a queue, in order.
        """
        exchange = Exchange(path, headers, own_headers, body, on_result)
        connection = None if self._queue else self._with_room(len(body))
        if connection is None:
            self._enqueue(exchange)
        else:
            connection.send(exchange)
        return exchange

    def give_up(self, exchanges: Iterable[Exchange]) -> None:
        """Reset what is still open of these and forget what still waits; nobody is told."""
        for exchange in exchanges:
            if not exchange.is_over:
                exchange.abandon()
                for connection in (*self._connections, *self._draining):
                    connection.give_up(exchange)

    async def request(
        self, path: bytes, headers: Headers, body: bytes, *, own_headers: Headers = ()
    ) -> Result:
        """`submit` and wait. A caller that is cancelled gives the request up."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        exchange = self.submit(path, headers, body, partial(_settle, result), own_headers)
        try:
            return await result
        except asyncio.CancelledError:
            self.give_up([exchange])
            raise

    def renew(self, *, anyway: bool = False) -> None:
        """Let new requests take new connections, where that has not just been done, or `anyway`.

        May be called from `on_result`.
        """
        now = asyncio.get_running_loop().time()
        if now < self._renew_after and not anyway:
            return
        self._renew_after = now + RENEWAL_INTERVAL
        for connection in self._connections:
            connection.drain()
        # Not at once: whoever asks may be told a result, in the midst of reading.
        asyncio.get_running_loop().call_soon(self._change)

    async def close(self) -> None:
        """Refuse new requests, wait for the open ones (at most the deadline), then close."""
        self._is_closed = True
        self._fail_queue("pool_closed")
        if self._queue_timer is not None:
            self._queue_timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        connections = [*self._connections, *self._draining]
        for connection in connections:
            connection.drain()
        closings = [connection.closed for connection in connections]
        if closings:
            patience = self._deadline.total_seconds() + TLS_CLOSE_SECONDS
            await asyncio.wait(closings, timeout=patience)
        for connection in connections:
            connection.abort()

    def _with_room(self, size: int) -> Http2Connection | None:
        """The last request's connection while it has room, else the least busy that has."""
        if self._current is None or not self._current.has_room(size):
            self._current = self._roomiest(size)
        return self._current

    def _roomiest(self, size: int) -> Http2Connection | None:
        best: Http2Connection | None = None
        for connection in self._connections:
            if connection.has_room(size) and (
                best is None or connection.open_streams < best.open_streams
            ):
                best = connection
        return best

    def _enqueue(self, exchange: Exchange) -> None:
        exchange.since = asyncio.get_running_loop().time()
        self._queue.append(exchange)
        if self._queue_timer is None:
            self._expire_queue_at(exchange.since + self._deadline.total_seconds())
        self._grow()

    def _change(self) -> None:
        # From time to time, so that connections share the load.
        self._current = None
        self._sort_out()
        while self._queue:
            exchange = self._queue[0]
            if exchange.is_over:
                self._queue.popleft()
                continue
            connection = self._with_room(len(exchange.body))
            if connection is None:
                self._grow()
                return
            self._queue.popleft()
            connection.send(exchange)

    def _sort_out(self) -> None:
        """Part the connections that take requests, those that only finish, and the closed."""
        if not self._draining and not any(c.is_draining for c in self._connections):
            return
        for connection in [c for c in self._connections if c.is_draining]:
            self._connections.remove(connection)
            self._draining.append(connection)
        for connection in [c for c in self._draining if c.closed.done()]:
            self._draining.remove(connection)
            self._note_end(connection)

    def _note_end(self, connection: Http2Connection) -> None:
        # A connection that ends before it answered anything is one more failed attempt; otherwise
        # a provider that accepts and hangs up would be hammered.
        if connection.has_answered:
            self._failures = 0
        elif not self._is_closed:
            self._note_failure("connection_lost")

    def _note_failure(self, reason: str) -> None:
        pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 16)
        self._failure_reason = reason
        self._connect_after = asyncio.get_running_loop().time() + pause
        _log.warning("provider_connection_failed", host=self._host, reason=reason)

    def _grow(self) -> None:
        """Open one more connection for the queue, where that is allowed and would help."""
        if self._is_closed:
            self._fail_queue("pool_closed")
        elif self._connecting is not None or len(self._connections) >= self._max_connections:
            return
        elif asyncio.get_running_loop().time() < self._connect_after:
            if not self._connections:
                self._fail_queue(self._failure_reason)
        elif not any(connection.is_held_back for connection in self._connections):
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            self._connections.append(await self._open_connection())
        except _ConnectFailed as error:
            self._note_failure(str(error))
        finally:
            self._connecting = None
        if not self._is_closed:
            self._change()

    async def _open_connection(self) -> Http2Connection:
        connection = Http2Connection(
            self._authority,
            engine=self._engine,
            deadline=self._deadline,
            idle_ping=self._idle_ping,
            on_change=self._change,
        )
        try:
            async with asyncio.timeout(self._deadline.total_seconds()):
                await self._shake_hands(connection)
        except (OSError, UnicodeError) as error:
            connection.abort()
            raise _ConnectFailed(reason_of(error)) from error
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _shake_hands(self, connection: Http2Connection) -> None:
        """Connect, agree on h2, and wait for the peer's SETTINGS."""
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: connection,
            self._host,
            self._port,
            ssl=self._ssl_context,
            ssl_shutdown_timeout=TLS_CLOSE_SECONDS,
        )
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() != "h2":
            connection.abort()
            raise _ConnectFailed("no_h2")
        await connection.ready
        if connection.is_draining:
            raise _ConnectFailed("connection_lost")

    def _expire_queue_at(self, moment: float) -> None:
        self._queue_timer = asyncio.get_running_loop().call_at(moment, self._expire_queue)

    def _expire_queue(self) -> None:
        self._queue_timer = None
        earliest = asyncio.get_running_loop().time() - self._deadline.total_seconds()
        while self._queue and (self._queue[0].is_over or self._queue[0].since <= earliest):
            self._queue.popleft().end(NotProcessed("no_stream"))
        if self._queue:
            self._expire_queue_at(self._queue[0].since + self._deadline.total_seconds())

    def _fail_queue(self, reason: str) -> None:
        while self._queue:
            self._queue.popleft().end(NotProcessed(reason))


def _settle(future: "asyncio.Future[Result]", result: Result) -> None:
    # A caller that was cancelled a moment ago has not given the request up yet.
    if not future.done():
        future.set_result(result)
