"""The worker's two ways to the database."""

from collections.abc import AsyncIterator

import pytest

from activities.stores import Stores
from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerPool


@pytest.fixture(scope="session")
async def stores(database: Database, database_url: str) -> AsyncIterator[Stores]:
    ledger = LedgerPool(database_url, size=4)
    await ledger.open()
    yield Stores(database, ledger)
    await ledger.close()
