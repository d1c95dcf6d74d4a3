"""The proxy does to connections what it says, before a server that echoes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import pytest

from tests.faults.proxy import ChaosProxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# Long enough for a loopback, where a byte takes microseconds.
SILENCE_SECONDS = 0.2


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer), suppress(ConnectionResetError):
        while data := await reader.read(1_000):
            writer.write(data)


@pytest.fixture
async def proxy() -> AsyncIterator[ChaosProxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with ChaosProxy.running(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


@asynccontextmanager
async def connected(proxy: ChaosProxy) -> AsyncIterator[Streams]:
    """A connection that has been answered once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    await reader.readexactly(5)
    yield reader, writer
    writer.close()


async def test_bytes_pass_both_ways(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"more")

        assert await reader.readexactly(4) == b"more"
        assert proxy.connections == 1


async def test_what_is_stalled_comes_when_it_is_resumed(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, writer):
        proxy.stall()
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), SILENCE_SECONDS)

        proxy.resume()

        assert await asyncio.wait_for(reader.readexactly(4), 5) == b"late"


async def test_latency_holds_every_byte_back(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, writer):
        proxy.latency = SILENCE_SECONDS
        began = asyncio.get_running_loop().time()
        writer.write(b"slow")
        await reader.readexactly(4)

        assert asyncio.get_running_loop().time() - began >= 2 * SILENCE_SECONDS


async def test_a_cut_connection_is_reset(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, _):
        proxy.cut()

        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 5)


async def test_a_server_that_has_no_more_to_say_is_still_told(proxy: ChaosProxy) -> None:
    async with connected(proxy) as (reader, writer):
        proxy.half_close()

        assert await asyncio.wait_for(reader.read(1), 5) == b""
        writer.write(b"still here")
        await writer.drain()
        assert not writer.is_closing()
        assert proxy.connections == 1


async def test_a_connection_is_cut_after_so_many_bytes_and_the_others_are_not(
    proxy: ChaosProxy,
) -> None:
    async with connected(proxy) as (reader, writer), connected(proxy) as (others, asking):
        proxy.cut_after(3)
        writer.write(b"yes")
        let_through = await asyncio.wait_for(reader.readexactly(3), 5)
        writer.write(b"no")

        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 5)

        asking.write(b"still")
        assert let_through == b"yes"
        assert await asyncio.wait_for(others.readexactly(5), 5) == b"still"
        assert proxy.cuts == 1


async def test_an_answer_is_dropped_and_what_was_asked_arrives() -> None:
    arrived: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionResetError):
            while data := await reader.read(1_000):
                arrived.append(data)
                writer.write(b"done")

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with ChaosProxy.running(server.sockets[0].getsockname()[1]) as proxy:
        proxy.cut_answer_to(lambda data: b"COMMIT" in data)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"BEGIN")
        began = await reader.readexactly(4)
        writer.write(b"COMMIT")

        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 5)

        writer.close()
    server.close()
    assert began == b"done"
    assert arrived == [b"BEGIN", b"COMMIT"]
    assert proxy.cuts == 1
