"""psycopg's own connections, for the statements that every message shares in the cost of.

A transaction through SQLAlchemy's asyncio costs 1.4 ms of CPU, a statement through psycopg 0.14
(docs/benchmarks.md); the send path runs some ten of them per 1,000 messages.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeAlias

import psycopg
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from fanfare.db.connections import OUTAGES, BoundedConnection, answer_within, parameters
from fanfare.db.installation import Guard
from fanfare.errors import DatabaseUnavailable

LedgerConnection: TypeAlias = psycopg.AsyncConnection[TupleRow]

# After so long of failures the pool starts afresh at the next claim, instead of waiting longer and
# longer between its attempts: what a worker holds is recorded soon after the server is back.
RECONNECT_SECONDS = 1.0

# A statement here takes milliseconds, or waits for a lock that somebody holds for as long.
STATEMENT_TIMEOUT = timedelta(seconds=10)

# What ends a whole campaign takes some microseconds for each of its messages.
LONGEST = timedelta(hours=1)

# The statements of a transaction follow each other at once.
IDLE_TIMEOUT = timedelta(seconds=10)


class LedgerPool:
    """Connections on which each statement is a transaction, unless a block says otherwise.

    Every error of the server or the network is DatabaseUnavailable, and so is a server that does
    not answer in time. What was asked for last may have happened then.
    """

    def __init__(
        self, url: str, *, size: int, statement_timeout: timedelta = STATEMENT_TIMEOUT
    ) -> None:
        """Nothing is connected before `open`."""
        self._answer_within = answer_within(statement_timeout)
        # Nobody is given a connection before it has passed: after a restore all are new.
        self.guard = Guard()
        self._pool: AsyncConnectionPool[BoundedConnection[TupleRow]] = AsyncConnectionPool(
            url,
            connection_class=BoundedConnection[TupleRow],
            min_size=1,
            max_size=size,
            open=False,
            configure=self.guard.check,
            timeout=5,
            reconnect_timeout=RECONNECT_SECONDS,
            kwargs={
                "autocommit": True,
                **parameters(statement_timeout=statement_timeout, idle_timeout=IDLE_TIMEOUT),
            },
        )

    async def open(self) -> None:
        """Begin to connect, in the background: PostgreSQL may come up later."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def check(self) -> None:
        """Have a restored database held, though no connection to it may be new. A statement."""
        async with self.connection() as conn:
            await self.guard.check(conn)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[LedgerConnection]:
        """A connection on which each statement commits by itself."""
        async with self._bounded(self._answer_within) as conn:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[LedgerConnection]:
        """A connection whose statements commit together at the end of the block."""
        async with self.connection() as conn, conn.transaction():
            yield conn

    @asynccontextmanager
    async def long_transaction(self) -> AsyncIterator[LedgerConnection]:
        """A transaction whose statements may take an hour: they are about a whole campaign."""
        async with self._bounded(answer_within(LONGEST)) as conn, conn.transaction():
            await conn.execute(_SET_TIMEOUT, [f"{int(LONGEST.total_seconds())}s"])
            yield conn

    @asynccontextmanager
    async def _bounded(self, answer_within: float) -> AsyncIterator[LedgerConnection]:
        try:
            async with self._pool.connection() as conn:
                conn.answer_within = answer_within
                async with _left_if_read_only(conn):
                    yield conn
        except OUTAGES as error:
            raise DatabaseUnavailable("PostgreSQL does not answer.") from error


@asynccontextmanager
async def _left_if_read_only(conn: LedgerConnection) -> AsyncIterator[None]:
    """Close a connection to a server that takes no writes any more: another one may, by now."""
    try:
        yield
    except ReadOnlySqlTransaction:
        await conn.close()
        raise


_SET_TIMEOUT = "SELECT set_config('statement_timeout', %s, true)"
