"""Transactions against PostgreSQL: held to one project, or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import orjson
import psycopg
import sqlalchemy as sa
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import TupleRow
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from fanfare.db.connections import OUTAGES, BoundedConnection, answer_within, parameters
from fanfare.errors import DatabaseUnavailable, QueryTookTooLong, TransactionConflict
from fanfare.models import ProjectCtx

# The role of the HTTP door. Row-level security holds it to the project of the transaction; the
# worker, whose ids come from its own workflows, connects as the tables' owner.
API_ROLE = "fanfare_api"

# Reads the audience of every project and nothing else: no device token, and not a word to write.
AUDIENCE_ROLE = "fanfare_audience"

# Longer than anybody thinks between two statements of a transaction.
IDLE_TIMEOUT = timedelta(minutes=1)

_NO_ANSWER = "PostgreSQL does not answer. Try again shortly."

_READ_AUDIENCE = sa.text(f"SELECT set_config('role', '{AUDIENCE_ROLE}', true)")
# A plan that serves any value serves none well: the same rule may select one user or all of them.
_PLAN_ANEW = sa.text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
_SET_TIMEOUT = sa.text("SELECT set_config('statement_timeout', :milliseconds, true)")
_ENTER_PROJECT = sa.text("SELECT set_config('app.project', :project, true)")


class Database:
    """A pool of connections. Every error of the server or the network is DatabaseUnavailable."""

    def __init__(
        self,
        url: str,
        *,
        role: str | None = None,
        pool_size: int = 10,
        statement_timeout: timedelta = timedelta(seconds=30),
        patience: timedelta | None = None,
    ) -> None:
        """`patience` bounds a whole transaction from this side, for a server that hangs."""
        self._patience = patience
        self._answer_within = answer_within(statement_timeout)
        connecting = parameters(
            statement_timeout=statement_timeout, idle_timeout=IDLE_TIMEOUT, role=role
        )
        self._engine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=5,
            pool_pre_ping=True,
            # Parameters hold device tokens; SQLAlchemy would quote them in error texts.
            hide_parameters=True,
            json_serializer=_to_json,
            json_deserializer=orjson.loads,
            connect_args={
                "async_creator_fn": BoundedConnection[TupleRow].connect,
                **connecting,
            },
        )
        sa.event.listen(self._engine.sync_engine, "handle_error", _leave_if_read_only)

    @asynccontextmanager
    async def project(self, project: ProjectCtx) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees one project, committed at the end of the block."""
        async with self.transaction() as conn:
            await enter_project(conn, project)
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction of whoever knows its project, or needs none. Committed at the end."""
        patience = None if self._patience is None else self._patience.total_seconds()
        try:
            async with asyncio.timeout(patience), self._engine.begin() as conn:
                _wait_for_answers(conn, self._answer_within)
                yield conn
        except TimeoutError as error:
            raise DatabaseUnavailable("PostgreSQL does not answer in time.") from error
        except PoolTimeout as error:
            raise DatabaseUnavailable(_NO_ANSWER) from error
        except DBAPIError as error:
            if (named := _named(error)) is None:
                raise
            raise named from error

    @asynccontextmanager
    async def audience(self) -> AsyncIterator[AsyncConnection]:
        """One transaction in which rules are evaluated. Every statement must name its project.

        Row-level security would do that by itself, but behind it PostgreSQL serves no condition on
        JSON from an index: the operator might leak what the policy hides (it is not LEAKPROOF).
        """
        async with self.transaction() as conn:
            await conn.execute(_READ_AUDIENCE)
            await plan_anew(conn)
            yield conn

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


async def enter_project(conn: AsyncConnection, project: ProjectCtx) -> None:
    """Let the transaction see this project, and no other, from here on."""
    await conn.execute(_ENTER_PROJECT, {"project": str(project.project_id)})


async def plan_anew(conn: AsyncConnection) -> None:
    """Have each statement of the transaction planned for its own values, as a rule needs it."""
    await conn.execute(_PLAN_ANEW)


async def limit_statements(conn: AsyncConnection, at_most: timedelta) -> None:
    """How long each statement of the transaction may take from here on."""
    milliseconds = str(int(at_most.total_seconds() * 1000))
    _wait_for_answers(conn, answer_within(at_most))
    await conn.execute(_SET_TIMEOUT, {"milliseconds": milliseconds})


def driver_url(url: str) -> str:
    """The same database, by SQLAlchemy's name for psycopg. Takes any `postgresql://` URL."""
    scheme, separator, rest = url.partition("://")
    # No `postgresql+driver`, which psycopg itself does not read, and quotes when it says so.
    if not separator or scheme not in {"postgresql", "postgres"}:
        raise ValueError("FANFARE_DATABASE_URL must begin with postgresql://")
    return f"postgresql+psycopg://{rest}"


def _wait_for_answers(conn: AsyncConnection, seconds: float) -> None:
    """How long an answer may take until the transaction ends."""
    driver = conn.sync_connection.connection.driver_connection if conn.sync_connection else None
    assert isinstance(driver, BoundedConnection)
    driver.answer_within = seconds


def _named(error: DBAPIError) -> DatabaseUnavailable | None:
    """What the driver's error means, None where it is no trouble of the server or the network."""
    match error.orig:
        case psycopg.errors.DeadlockDetected() | psycopg.errors.SerializationFailure():
            return TransactionConflict("Two writers were in each other's way.")
        case psycopg.errors.QueryCanceled():
            return QueryTookTooLong("The query took longer than it may.")
        case cause if isinstance(cause, OUTAGES):
            return DatabaseUnavailable(_NO_ANSWER)
        case _:
            return None


def _leave_if_read_only(context: ExceptionContext) -> None:
    """Connect anew where a server takes no writes any more: another one may, by now."""
    if isinstance(context.original_exception, ReadOnlySqlTransaction):
        context.is_disconnect = True


def _to_json(value: object) -> str:
    return orjson.dumps(value).decode()
