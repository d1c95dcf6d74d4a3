"""What an error of PostgreSQL says names no value: it may stand in a log, or in Temporal."""

import traceback
from collections.abc import AsyncIterator

import psycopg
import pytest
import sqlalchemy as sa

from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerConnection, LedgerPool

SECRET = "f00dca11" * 8

PREPARE = "CREATE TEMP TABLE IF NOT EXISTS kept (token text PRIMARY KEY CHECK (token <> ''), n int)"
FAILING = {
    "quoted in the details": f"INSERT INTO kept VALUES ('{SECRET}', 1), ('{SECRET}', 2)",
    "a row that breaks a rule": f"INSERT INTO kept SELECT '', 1 WHERE '{SECRET}' <> ''",
    "in the sentence itself": f"SELECT '{SECRET}'::uuid",
    "in the context": f"DO $$ BEGIN PERFORM '{SECRET}'::jsonb; END $$",
}

WITH_PARAMETERS = [
    "INSERT INTO kept VALUES (:secret, 1), (:secret, 2)",
    "SELECT CAST(:secret AS uuid)",
]


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[LedgerPool]:
    ledger = LedgerPool(database_url, size=1)
    await ledger.open()
    async with ledger.connection() as conn:
        await conn.execute(PREPARE)
    yield ledger
    await ledger.close()


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """SQLAlchemy's way in."""
    other = Database(database_url, pool_size=1)
    async with other.transaction() as conn:
        await conn.execute(sa.text(PREPARE))
    yield other
    await other.close()


async def copy(conn: LedgerConnection) -> None:
    async with conn.cursor() as cursor, cursor.copy("COPY kept FROM STDIN") as copying:
        await copying.write_row((SECRET, "no number"))


@pytest.mark.parametrize("statement", FAILING.values(), ids=FAILING)
async def test_statement_of_the_ledger(ledger: LedgerPool, statement: str) -> None:
    with pytest.raises(psycopg.Error) as raised:
        async with ledger.connection() as conn:
            await conn.execute(statement.encode())

    assert said(raised.value)


async def test_copy_into_the_ledger(ledger: LedgerPool) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation) as raised:
        async with ledger.connection() as conn:
            await copy(conn)

    assert said(raised.value)


@pytest.mark.parametrize("statement", WITH_PARAMETERS)
async def test_statement_of_sqlalchemy(other: Database, statement: str) -> None:
    with pytest.raises(sa.exc.DBAPIError) as raised:
        async with other.transaction() as conn:
            await conn.execute(sa.text(statement), {"secret": SECRET})

    assert said(raised.value)


def said(error: BaseException) -> str:
    """All that is said of it, which does not hold the secret."""
    text = "".join(traceback.format_exception(error))
    assert SECRET not in text
    return str(error)
