"""Questions that the API is asked all the time: a row for a round trip, by psycopg's own pool.

A transaction through SQLAlchemy's asyncio costs 1.4 ms of CPU (docs/benchmarks.md), and a request
needs two: for its key, and for what it asks. Here a question costs 0.2 to 0.3 ms.
"""

import asyncio
import select
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeAlias

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from fanfare.db.connections import BoundedConnection, answer_within, parameters
from fanfare.errors import DatabaseUnavailable
from fanfare.models import ProjectCtx

ReadConnection: TypeAlias = psycopg.AsyncConnection[DictRow]

# A question's transaction is one round trip.
IDLE_TIMEOUT = timedelta(seconds=10)

# How long a question waits for a connection, twice: PostgreSQL may be starting anew, or all are in
# use.
WAIT_SECONDS = 1.0

# After so long of failures the pool starts afresh at the next question, instead of waiting longer
# and longer between its attempts: a server that is back is found while a question waits.
RECONNECT_SECONDS = 1.0


class ReadPool:
    """Connections of one role. Every error of the server or the network is DatabaseUnavailable."""

    def __init__(
        self,
        url: str,
        *,
        role: str,
        size: int = 5,
        statement_timeout: timedelta = timedelta(seconds=30),
        patience: timedelta | None = None,
    ) -> None:
        """Nothing is connected before `open`. `patience` bounds a question from this side."""
        self._patience = None if patience is None else patience.total_seconds()
        self._answer_within = answer_within(statement_timeout)
        self._pool: AsyncConnectionPool[BoundedConnection[DictRow]] = AsyncConnectionPool(
            url,
            connection_class=BoundedConnection[DictRow],
            min_size=1,
            max_size=size,
            open=False,
            timeout=WAIT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            check=_check,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                **parameters(
                    statement_timeout=statement_timeout, idle_timeout=IDLE_TIMEOUT, role=role
                ),
            },
        )

    async def open(self) -> None:
        """Begin to connect, in the background: PostgreSQL may come up later."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def row(self, question: str, values: Mapping[str, object]) -> DictRow | None:
        """The one row that answers, None where there is none. Sees no project's rows."""
        async with self._connection() as conn:
            answer = await conn.execute(question, values, prepare=True)
            return await answer.fetchone()

    async def row_of(
        self, project: ProjectCtx, question: str, values: Mapping[str, object]
    ) -> DictRow | None:
        """As `row`, in a transaction that sees one project; still one round trip."""
        async with self._connection() as conn:
            async with conn.pipeline():
                await conn.execute("BEGIN READ ONLY", prepare=True)
                await conn.execute(_ENTER_PROJECT, [str(project.project_id)], prepare=True)
                answer = await conn.execute(question, values, prepare=True)
                await conn.execute("COMMIT", prepare=True)
            return await answer.fetchone()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[ReadConnection]:
        try:
            async with asyncio.timeout(self._patience), self._taken() as conn:
                conn.answer_within = self._answer_within
                yield conn
        except TimeoutError as error:
            raise DatabaseUnavailable("PostgreSQL does not answer in time.") from error
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise DatabaseUnavailable("PostgreSQL does not answer. Try again shortly.") from error

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[BoundedConnection[DictRow]]:
        try:
            conn = await self._pool.getconn()
        except PoolTimeout:
            # The pool begins no new attempt for who waits already when it gives one up.
            conn = await self._pool.getconn()
        try:
            async with conn:
                yield conn
        finally:
            await self._pool.putconn(conn)


async def _check(conn: ReadConnection) -> None:
    """Raise where the server has closed an idle connection, as it does when it starts anew.

    A server says nothing to who asks nothing, unless it is to say goodbye: so one look at the
    socket is enough, where a statement would be a round trip for every question.
    """
    looking = select.poll()
    looking.register(conn.fileno(), select.POLLIN)
    if looking.poll(0):
        await conn.execute("")


_ENTER_PROJECT = "SELECT set_config('app.project', %s, true)"
