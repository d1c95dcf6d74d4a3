"""A pool against a hostile server, as short as a test needs it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta

from fanfare.providers.exchange import Answer, NotProcessed, Result, Unknown
from fanfare.providers.http2 import Http2Pool
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import HostileServer

LONG = timedelta(seconds=10)
# Also how long a TLS handshake may take, on a machine that does other things meanwhile.
SHORT = timedelta(milliseconds=800)
BODY = b'{"aps":{}}'


@asynccontextmanager
async def pool_for(
    server: HostileServer,
    engine: EngineName,
    *,
    max_connections: int = 1,
    deadline: timedelta = LONG,
    idle_ping: timedelta = LONG,
) -> AsyncIterator[Http2Pool]:
    """A pool that trusts the server, closed at the end."""
    pool = Http2Pool(
        server.url,
        ssl_context=server.ssl_context,
        max_connections=max_connections,
        deadline=deadline,
        idle_ping=idle_ping,
        engine=engine,
    )
    try:
        yield pool
    finally:
        await pool.close()


async def post(pool: Http2Pool, name: str = "a", body: bytes = BODY) -> Result:
    """One request for `/name`."""
    return await pool.request(f"/{name}".encode(), [(b"kind", b"test")], body)


async def post_all(pool: Http2Pool, count: int, body: bytes = BODY) -> list[Result]:
    """Requests for `/0`, `/1` and so on, all at once; results in that order."""
    async with asyncio.timeout(30):
        return await asyncio.gather(*(post(pool, str(i), body) for i in range(count)))


def statuses(results: Iterable[object]) -> list[int]:
    """The statuses of the answers among the results."""
    return [result.status for result in results if isinstance(result, Answer)]


def not_processed(results: Iterable[object]) -> list[str]:
    """The reasons of those among the results that are safe to send again."""
    return [result.reason for result in results if isinstance(result, NotProcessed)]


def unknown(results: Iterable[object]) -> list[str]:
    """The reasons of those among the results that nobody can tell."""
    return [result.reason for result in results if isinstance(result, Unknown)]
