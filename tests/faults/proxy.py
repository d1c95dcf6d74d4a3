"""A TCP proxy that does to connections what networks do: hold back, go silent, cut, half-close."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CHUNK = 64 * 1024
# SO_LINGER, on and for no time: what is closed so is reset.
RESET = struct.pack("ii", 1, 0)

# Whether what a client sends is to be the last of it that arrives.
Trigger = Callable[[bytes], bool]


@dataclass
class ChaosProxy:
    """Stands between clients and one server on the loopback. All connections share its faults.

    `cuts` counts the connections that were reset by `cut_after` or `cut_answer_to`.
    """

    target: tuple[str, int]
    latency: float = 0.0
    cuts: int = 0
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _links: "set[_Link]" = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _budget: int | None = None
    _trigger: Trigger | None = None
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
            await proxy._end()

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

    def cut_after(self, count: int) -> None:
        """Let so many more bytes through to the clients, of all connections together.

        Then the connection that they ran out on is reset at both ends, in the midst of an answer
        as it may be; the others go on. What clients send is not counted.
        """
        self._budget = count

    def cut_answer_to(self, trigger: Trigger) -> None:
        """Cut the first connection whose client sends what the trigger holds of.

        The server still gets it and answers: the answer is dropped and the connection reset.
        """
        self._trigger = trigger

    def half_close(self) -> None:
        """Have the server say that it has no more to say; what clients send still arrives."""
        for link in self._links:
            link.is_half_closed = True
            link.client.write_eof()

    async def _end(self) -> None:
        """Cut what there is, and what was under way when that was cut."""
        # Who was let in last has its task at the loop's second turn.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        while self._tasks:
            self.cut()
            await asyncio.wait(self._tasks, timeout=0.05)

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
            await asyncio.gather(
                self._pass(reader, server, lambda data: self._ask(link, data)),
                self._pass(from_server, client, lambda data: self._answer(link, data)),
            )
        finally:
            self._links.discard(link)
            link.cut()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        let_through: Callable[[bytes], bytes],
    ) -> None:
        """Pass bytes on until one side ends; then the other is told."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._hold_back()
                # Not nothing either: who said that there is no more may not write.
                if passed := let_through(data):
                    writer.write(passed)
                    await writer.drain()
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()

    async def _hold_back(self) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        await self._flowing.wait()

    def _ask(self, link: "_Link", data: bytes) -> bytes:
        if self._trigger is not None and self._trigger(data):
            self._trigger = None
            link.drops_answer = True
        return data

    def _answer(self, link: "_Link", data: bytes) -> bytes:
        """What of it goes through."""
        if link.is_half_closed:
            return b""
        if link.drops_answer:
            self._cut(link)
            return b""
        if self._budget is None:
            return data
        let_through, self._budget = data[: self._budget], self._budget - len(data)
        if self._budget < 0:
            self._budget = None
            link.client.write(let_through)
            self._cut(link)
            return b""
        return let_through

    def _cut(self, link: "_Link") -> None:
        self.cuts += 1
        link.cut()


@dataclass(eq=False)
class _Link:
    """A client's connection and the one behind it. `drops_answer`: it ends with the next answer."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    drops_answer: bool = False
    is_half_closed: bool = False

    def cut(self) -> None:
        for writer in (self.client, self.server):
            # One that was closed meanwhile has no socket any more.
            with contextlib.suppress(OSError):
                link = writer.get_extra_info("socket")
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
