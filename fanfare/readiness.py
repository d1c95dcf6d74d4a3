"""What a process stands on: whether it is there, and if not, why, in a sentence to act on."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

import psycopg
import sqlalchemy as sa
import structlog
from alembic.script import ScriptDirectory
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.exc import TimeoutError as EngineTimeout
from temporalio.client import Client

from fanfare.db.engine import API_ROLE, Database
from fanfare.db.migrate import configuration
from fanfare.errors import DatabaseUnavailable, Misconfigured, TemporalUnavailable
from fanfare.temporal import CALL_TIMEOUT, answering

CHECK_TIMEOUT = timedelta(seconds=5)

Answer = TypeVar("Answer")

MIGRATE = "run `python -m fanfare.db.migrate`"

# Raises NotReady, or Misconfigured where waiting does not help.
Check: TypeAlias = Callable[[], Coroutine[Any, Any, None]]  # Any: unused

log = structlog.get_logger()


class NotReady(Exception):
    """Something that the process stands on is not there yet. The text says what and why, for a
    person, and names no host and no secret."""


# By the names of the checks. The text of each is the reason.
Problems: TypeAlias = Mapping[str, NotReady | Misconfigured]


async def problems_of(checks: Mapping[str, Check]) -> Problems:
    """What is not ready. All are asked at the same time, for five seconds at most."""
    asked = await asyncio.gather(*(_problem(name, check) for name, check in checks.items()))
    found = zip(checks, asked, strict=True)
    return {name: problem for name, problem in found if problem is not None}


def database_check(database: Database) -> Check:
    """PostgreSQL answers."""

    async def check() -> None:
        try:
            async with database.transaction() as conn:
                await conn.execute(sa.text("SELECT 1"))
        except DatabaseUnavailable as error:
            raise _trouble(error) from error

    return check


def schema_check(database: Database, database_url: str) -> Check:
    """Every migration that this code knows has been applied.

    A revision that it does not know is a newer one: a rolling upgrade migrates first, and
    migrations are safe while older code works.
    """
    head, older = _revisions(database_url)

    async def check() -> None:
        try:
            found = await _revision(database)
        except DatabaseUnavailable as error:
            raise _trouble(error) from error
        if found is None:
            raise NotReady(f"The database has no tables yet: {MIGRATE}.")
        if found in older:
            behind = f"The database is at migration {found}, this code needs {head}"
            raise NotReady(f"{behind}: {MIGRATE}.")

    return check


def temporal_check(client: Client) -> Check:
    """Temporal answers."""

    async def check() -> None:
        try:
            async with answering():
                await client.service_client.check_health(timeout=CALL_TIMEOUT)
        except TemporalUnavailable as error:
            raise NotReady(error.message.removesuffix(" Try again shortly.")) from error
        except ValueError as error:
            # A lazy client reads its address at its first call.
            raise Misconfigured(f"TEMPORAL_ADDRESS cannot be read: {error}.") from error

    return check


def newest_revision(database_url: str) -> str:
    """The newest migration that this code knows."""
    head, _ = _revisions(database_url)
    return head


async def within(limit: timedelta, work: Coroutine[Any, Any, Answer]) -> Answer:  # Any: unused
    """What the work returns, or TimeoutError at the limit, however long it takes to let go: a
    driver that asks a frozen server to cancel waits for that, too."""
    asking = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([asking], timeout=limit.total_seconds())
        if not done:
            raise TimeoutError
        return asking.result()
    finally:
        asking.add_done_callback(_let_go)
        asking.cancel()


def _let_go(asked: "asyncio.Future[Any]") -> None:  # Any: nobody waits for it any more
    """Have no complaint that nobody looked at how it ended."""
    if not asked.cancelled():
        asked.exception()


async def _problem(name: str, check: Check) -> NotReady | Misconfigured | None:
    try:
        await within(CHECK_TIMEOUT, check())
    except (NotReady, Misconfigured) as problem:
        return problem
    except TimeoutError:
        return NotReady(f"No answer within {CHECK_TIMEOUT.total_seconds():.0f} seconds.")
    except Exception as error:  # noqa: BLE001 - whatever it is, the thing is not ready
        kind = type(error).__name__
        log.warning("check_failed", check=name, error_type=kind)
        return NotReady(f"The check failed ({kind}).")
    return None


def _revisions(database_url: str) -> tuple[str, set[str]]:
    """The newest migration that this code knows, and all before it."""
    scripts = ScriptDirectory.from_config(configuration(database_url))
    head = scripts.get_current_head()
    assert head is not None
    return head, {script.revision for script in scripts.walk_revisions()} - {head}


async def _revision(database: Database) -> str | None:
    """Where the database stands; None where nobody has migrated it."""
    try:
        async with database.transaction() as conn:
            found: str | None = await conn.scalar(
                sa.text("SELECT version_num FROM alembic_version")
            )
    except ProgrammingError as error:
        if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
            return None
        raise
    return found


def _trouble(error: DatabaseUnavailable) -> NotReady | Misconfigured:
    """What is behind it. A server that lets nobody in says why in words alone: there is no code
    for it in what libpq hands on, and one that speaks another language stays unexplained."""
    for cause in _causes(error):
        if isinstance(cause, EngineTimeout | PoolTimeout):
            return NotReady("All connections of this process to PostgreSQL are in use.")
        if isinstance(cause, psycopg.Error):
            return _refusal(str(cause))
    return NotReady("PostgreSQL does not answer.")


def _refusal(text: str) -> NotReady | Misconfigured:
    if "password authentication failed" in text or "no password supplied" in text:
        return Misconfigured("PostgreSQL refuses the user or the password of FANFARE_DATABASE_URL.")
    for sign, reason in _REFUSALS.items():
        if sign in text:
            return NotReady(reason)
    return NotReady("PostgreSQL does not answer.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


_REFUSALS: Mapping[str, str] = {
    f'role "{API_ROLE}" does not exist': f"The database has no role {API_ROLE} yet: {MIGRATE}.",
    "does not exist": "PostgreSQL has no such database or user as FANFARE_DATABASE_URL names.",
    "database system is": "PostgreSQL is starting, or stopping.",
    "too many connections": "PostgreSQL has no connection left; see its max_connections.",
    "too many clients": "PostgreSQL has no connection left; see its max_connections.",
    "remaining connection slots": "PostgreSQL has no connection left; see its max_connections.",
    "no pg_hba.conf entry": "PostgreSQL lets nobody in from here; see its pg_hba.conf.",
    "failed to resolve host": "The host of FANFARE_DATABASE_URL is not known here.",
}
