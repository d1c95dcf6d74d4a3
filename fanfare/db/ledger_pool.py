"""psycopg's own connections, for the statements that every message shares in the cost of.

A transaction through SQLAlchemy's asyncio costs 1.4 ms of CPU, a statement through psycopg 0.14
(docs/benchmarks.md); the send path runs some ten of them per 1,000 messages.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from fanfare.errors import DatabaseUnavailable

LedgerConnection: TypeAlias = psycopg.AsyncConnection[TupleRow]


# After so long of failures the pool starts afresh at the next claim, instead of waiting longer and
# longer between its attempts: what a worker holds is recorded soon after the server is back.
RECONNECT_SECONDS = 1.0


class LedgerPool:
    """Connections on which each statement is a transaction, unless a block says otherwise.

    Every error of the server or the network is DatabaseUnavailable.
    """

    def __init__(self, url: str, *, size: int) -> None:
        """Nothing is connected before `open`."""
        self._pool: AsyncConnectionPool[LedgerConnection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=size,
            open=False,
            timeout=5,
            reconnect_timeout=RECONNECT_SECONDS,
            kwargs={"autocommit": True, "connect_timeout": 5, "options": "-c timezone=UTC"},
        )

    async def open(self) -> None:
        """Begin to connect, in the background: PostgreSQL may come up later."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[LedgerConnection]:
        """A connection on which each statement commits by itself."""
        try:
            async with self._pool.connection() as conn:
                yield conn
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise DatabaseUnavailable("PostgreSQL does not answer.") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[LedgerConnection]:
        """A connection whose statements commit together at the end of the block."""
        async with self.connection() as conn, conn.transaction():
            yield conn
