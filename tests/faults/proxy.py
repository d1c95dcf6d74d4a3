"""A TCP proxy that does to connections what networks do: hold back, go silent, cut, half-close."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CHUNK = 64 * 1024
# SO_LINGER, on and for no time: what is closed so is reset.
RESET = struct.pack("ii", 1, 0)


@dataclass
class ChaosProxy:
    """Stands between clients and one server on the loopback. All connections share its faults."""

    target: tuple[str, int]
    latency: float = 0.0
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _links: "set[_Link]" = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    port: int = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, port: int) -> AsyncIterator["ChaosProxy"]:
        """Serve on a free port, before the server on `port`, until the block is left."""
        proxy = cls(("127.0.0.1", port))
        proxy.resume()
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.resume()
            proxy.cut()
            await asyncio.gather(*proxy._tasks)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

    def stall(self) -> None:
        """Let no byte through in either direction, as a black hole would: nobody is told."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let everything through again, what was held back first."""
        self._flowing.set()

    def cut(self) -> None:
        """Reset every connection at both ends."""
        for link in tuple(self._links):
            link.cut()

    def half_close(self) -> None:
        """Have the server say that it has no more to say; what clients send still arrives."""
        for link in self._links:
            link.client.write_eof()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, client)
        except OSError:
            client.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        from_server, server = await asyncio.open_connection(*self.target)
        link = _Link(client, server)
        self._links.add(link)
        try:
            await asyncio.gather(self._pass(reader, server), self._pass(from_server, client))
        finally:
            self._links.discard(link)
            link.cut()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on until one side ends; then the other is told."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._hold_back()
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()

    async def _hold_back(self) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        await self._flowing.wait()


@dataclass(frozen=True, eq=False)
class _Link:
    """A client's connection and the one behind it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
