"""A server for HTTP/2 over TLS whose every answer, and every fault, is the test's to say."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import ngh2
import trustme

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass
class Request:
    """What a client asked, once it is whole."""

    peer: "Peer"
    stream_id: int
    headers: Headers
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.header(":path")

    def header(self, name: str) -> str:
        return dict(self.headers)[name.encode()].decode()

    def answer(
        self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with headers, and the body in one piece."""
        self.begin(status, headers or {}, end=not body)
        if body:
            self.peer.http.send_data(self.stream_id, body, end_stream=True)
        self.peer.flush()

    def answer_if_open(self) -> None:
        """Answer with success, unless the stream or the connection is gone."""
        if self.stream_id in self.peer.open and not self.peer.is_closed:
            self.answer()

    def begin(self, status: int, headers: Mapping[str, str], *, end: bool = False) -> None:
        """Send the headers only."""
        fields = [(b":status", str(status).encode())]
        fields += [(name.encode(), value.encode()) for name, value in headers.items()]
        self.peer.http.send_response(self.stream_id, fields, end_stream=end)
        self.peer.flush()

    def send(self, body: bytes, *, end: bool = False) -> None:
        """Send a piece of the body."""
        self.peer.http.send_data(self.stream_id, body, end_stream=end)
        self.peer.flush()

    def reset(self, error_code: int) -> None:
        self.peer.http.reset_stream(self.stream_id, error_code)
        self.peer.flush()


Behaviour = Callable[[Request], None]


def ok(request: Request) -> None:
    """The behaviour of a server that has no fault."""
    request.answer()


def answer_all(requests: Iterable[Request]) -> None:
    """Answer those that were kept waiting."""
    for request in requests:
        request.answer()


@dataclass
class HostileServer:
    """What the server was told and what it has seen."""

    behaviour: Behaviour
    settings: dict[int, int]
    gives_credit: bool
    authority: trustme.CA
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    peers: list["Peer"] = field(default_factory=list)
    most_open: int = 0
    pings: int = 0
    resets: list[int] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """A client's context that trusts this server."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        context.set_alpn_protocols(["h2"])
        return context

    @cached_property
    def own_ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        context.set_alpn_protocols(["h2"])
        return context

    async def seen(self, claim: Callable[[], bool]) -> None:
        """Wait until the claim about this server is true."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(claim)

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()


class Peer(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, server: HostileServer) -> None:
        self.server = server
        self.http = ngh2.Connection(
            ngh2.Role.SERVER, ngh2.Configuration(auto_window_update=server.gives_credit)
        )
        self.open: dict[int, Request] = {}
        self.is_closed = False
        self.last_stream_id = 2**31
        self.bytes_received = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.server.peers.append(self)
        self.http.initiate_connection(self.server.settings)
        self.flush()
        self._notify()

    def data_received(self, data: bytes) -> None:
        with suppress(ngh2.NGH2Error):
            self.http.receive_data(data)
            for event in self.http.events():
                self._read(event)
        self.flush()
        self._notify()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._notify()

    def flush(self) -> None:
        with suppress(ngh2.NGH2Error):
            self.transport.write(self.http.data_to_send())
        if not self.http.want_read and not self.http.want_write:
            self.transport.close()

    def limit_streams(self, count: int | None) -> None:
        """Announce another limit; None leaves it as it is."""
        if count is not None:
            self.http.update_settings({ngh2.Setting.MAX_CONCURRENT_STREAMS: count})
            self.flush()

    def go_away(self, last_stream_id: int) -> None:
        self.last_stream_id = last_stream_id
        self.http.send_goaway(0, last_stream_id=last_stream_id, debug_data=b'{"reason":"Shutdown"}')
        self.flush()

    def hang_up(self) -> None:
        # See `Http2Connection.abort`.
        with contextlib.suppress(AttributeError):
            self.transport.abort()

    def _read(self, event: ngh2.Event) -> None:
        match event:
            case ngh2.RequestReceived(stream_id, headers):
                self.open[stream_id] = Request(self, stream_id, tuple(headers))
                self.server.most_open = max(self.server.most_open, len(self.open))
            case ngh2.DataReceived(stream_id, data, end_stream):
                self.bytes_received += len(data)
                self.open[stream_id].body += data
                self._finish(stream_id, is_whole=end_stream)
            case ngh2.StreamClosed(stream_id, error_code):
                self.open.pop(stream_id, None)
                self.server.resets += [stream_id] * (error_code == ngh2.ErrorCode.CANCEL)
            case ngh2.PingReceived():
                self.server.pings += 1
            case _:
                pass

    def _finish(self, stream_id: int, *, is_whole: bool) -> None:
        if is_whole and stream_id <= self.last_stream_id:
            request = self.open[stream_id]
            self.server.requests.append(request)
            self.server.behaviour(request)

    def _notify(self) -> None:
        task = asyncio.get_running_loop().create_task(self.server.notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def hostile_server(
    behaviour: Behaviour = ok,
    *,
    max_streams: int = 100,
    window: int = 65_535,
    gives_credit: bool = True,
    alpn: str = "h2",
) -> AsyncIterator[HostileServer]:
    """Serve on a free port of 127.0.0.1; what is open at the end is cut off."""
    authority = trustme.CA()
    settings = {
        int(ngh2.Setting.MAX_CONCURRENT_STREAMS): max_streams,
        int(ngh2.Setting.INITIAL_WINDOW_SIZE): window,
    }
    server = HostileServer(behaviour, settings, gives_credit, authority)
    server.own_ssl_context.set_alpn_protocols([alpn])
    listener = await asyncio.get_running_loop().create_server(
        lambda: Peer(server), "127.0.0.1", 0, ssl=server.own_ssl_context
    )
    server.url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            peer.hang_up()
        await asyncio.wait_for(server.seen(lambda: all(p.is_closed for p in server.peers)), 10)
