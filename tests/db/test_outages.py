"""Servers and networks that fail: every way in is DatabaseUnavailable, and nothing hangs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa

from fanfare.db.engine import Database, limit_statements
from fanfare.db.ledger_pool import LedgerPool
from fanfare.errors import DatabaseUnavailable
from tests.faults.proxy import ChaosProxy

STATEMENT_TIMEOUT = timedelta(seconds=1)
# The time-out, what an answer may take on its way, and a new connection that is not made either.
AT_MOST_SECONDS = 9
PID = "SELECT pg_backend_pid()"

OUTAGES = [
    "08006",  # connection_failure
    "25006",  # read_only_sql_transaction
    "25P03",  # idle_in_transaction_session_timeout
    "25P04",  # transaction_timeout
    "40P01",  # deadlock_detected
    "53100",  # disk_full
    "53200",  # out_of_memory
    "53300",  # too_many_connections
    "55P03",  # lock_not_available
    "57014",  # query_canceled
    "57P01",  # admin_shutdown
    "57P03",  # cannot_connect_now
    "58030",  # io_error
]
DEFECTS = {"23505": psycopg.errors.UniqueViolation, "42P01": psycopg.errors.UndefinedTable}


def failing(code: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{code}'; END $$"


@pytest.fixture
async def proxy(postgres_port: int) -> AsyncIterator[ChaosProxy]:
    async with ChaosProxy.running(postgres_port) as proxy:
        yield proxy


@pytest.fixture
def distant_url(proxy: ChaosProxy, database_url: str, postgres_port: int) -> str:
    return database_url.replace(str(postgres_port), str(proxy.port))


@pytest.fixture
async def ledger(distant_url: str) -> AsyncIterator[LedgerPool]:
    ledger = LedgerPool(distant_url, size=1, statement_timeout=STATEMENT_TIMEOUT)
    await ledger.open()
    yield ledger
    await ledger.close()


@pytest.fixture
async def distant(distant_url: str) -> AsyncIterator[Database]:
    distant = Database(distant_url, pool_size=1, statement_timeout=STATEMENT_TIMEOUT)
    yield distant
    await distant.close()


async def ask(ledger: LedgerPool, statement: str) -> object:
    async with ledger.transaction() as conn:
        row = await (await conn.execute(statement.encode())).fetchone()
    return row[0] if row else None


async def pid(database: Database) -> object:
    async with database.transaction() as conn:
        return await conn.scalar(sa.text(PID))


@pytest.mark.parametrize("code", OUTAGES)
async def test_trouble_of_the_server_makes_the_ledger_unavailable(
    ledger: LedgerPool, code: str
) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with ledger.connection() as conn:
            await conn.execute(failing(code).encode())


@pytest.mark.parametrize("code", OUTAGES)
async def test_trouble_of_the_server_makes_the_database_unavailable(
    distant: Database, code: str
) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with distant.transaction() as conn:
            await conn.execute(sa.text(failing(code)))


@pytest.mark.parametrize("code", DEFECTS)
async def test_a_defect_of_ours_is_no_outage(
    ledger: LedgerPool, distant: Database, code: str
) -> None:
    with pytest.raises(DEFECTS[code]):
        async with ledger.connection() as conn:
            await conn.execute(failing(code).encode())
    with pytest.raises(sa.exc.DBAPIError) as raised:
        async with distant.transaction() as conn:
            await conn.execute(sa.text(failing(code)))

    assert isinstance(raised.value.orig, DEFECTS[code])


async def test_a_server_that_takes_no_writes_any_more_is_left(
    ledger: LedgerPool, distant: Database
) -> None:
    before = await ask(ledger, PID), await pid(distant)

    with pytest.raises(DatabaseUnavailable):
        async with ledger.connection() as conn:
            await conn.execute(failing("25006").encode())
    with pytest.raises(DatabaseUnavailable):
        async with distant.transaction() as other:
            await other.execute(sa.text(failing("25006")))

    after = await ask(ledger, PID), await pid(distant)
    assert before[0] != after[0]
    assert before[1] != after[1]


async def test_a_network_that_swallows_a_statement_of_the_ledger_is_given_up(
    ledger: LedgerPool, proxy: ChaosProxy
) -> None:
    await ask(ledger, PID)
    proxy.stall()

    async with asyncio.timeout(AT_MOST_SECONDS):
        with pytest.raises(DatabaseUnavailable):
            await ask(ledger, PID)
    proxy.resume()

    assert await ask(ledger, PID)


async def test_a_network_that_swallows_a_statement_is_given_up(
    distant: Database, proxy: ChaosProxy
) -> None:
    await pid(distant)
    proxy.stall()

    async with asyncio.timeout(AT_MOST_SECONDS):
        with pytest.raises(DatabaseUnavailable):
            await pid(distant)
    proxy.resume()

    assert await pid(distant)


async def test_a_network_that_swallows_a_commit_is_given_up(
    ledger: LedgerPool, proxy: ChaosProxy
) -> None:
    async def commit_into_the_dark() -> None:
        async with ledger.transaction() as conn:
            await conn.execute(PID)
            proxy.stall()

    async with asyncio.timeout(AT_MOST_SECONDS):
        with pytest.raises(DatabaseUnavailable):
            await commit_into_the_dark()

    proxy.resume()


async def test_a_statement_that_may_take_longer_is_waited_for(
    distant: Database, ledger: LedgerPool
) -> None:
    async with distant.transaction() as conn:
        await limit_statements(conn, 5 * STATEMENT_TIMEOUT)
        await conn.execute(sa.text("SELECT pg_sleep(2.5)"))
    async with ledger.long_transaction() as other:
        await other.execute("SELECT pg_sleep(2.5)")

    with pytest.raises(DatabaseUnavailable):
        await ask(ledger, "SELECT pg_sleep(2.5)")


async def test_the_server_ends_a_transaction_of_whoever_is_cut_off(
    ledger: LedgerPool, distant: Database
) -> None:
    name = "idle_in_transaction_session_timeout"
    async with distant.transaction() as conn:
        of_database = await conn.scalar(sa.text(f"SHOW {name}"))

    assert await ask(ledger, f"SHOW {name}") == "10s"
    assert of_database == "1min"
