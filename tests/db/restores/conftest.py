"""A database of these tests' own: a restore is about all that is in it."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.rows import TupleRow

from activities.stores import Stores
from fanfare.db import migrate
from fanfare.db.connections import BoundedConnection
from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerPool
from fanfare.dev import postgres


@pytest.fixture(scope="session")
def database_url(postgres_port: int) -> str:
    postgres.ensure_database(postgres_port, "restored")
    url = postgres.url(postgres_port, "restored")
    migrate.upgrade(url)
    return url


@pytest.fixture(scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
async def stores(database: Database, database_url: str) -> AsyncIterator[Stores]:
    """A worker's ways to the database; it has seen nothing yet."""
    ledger = LedgerPool(database_url, size=4)
    await ledger.open()
    yield Stores(database, ledger)
    await ledger.close()


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[TupleRow]]:
    """A connection that no guard has seen."""
    async with await BoundedConnection[TupleRow].connect(database_url, autocommit=True) as conn:
        yield conn
