"""What the database hears of a worker."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import psycopg
import pytest
import sqlalchemy as sa
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from activities.presence import Presence
from activities.stores import LedgerWatch, Stores
from fanfare.db import migrate, workers
from fanfare.db.engine import API_ROLE, Database
from fanfare.db.ledger_pool import LedgerPool
from fanfare.db.tables import workers as table
from fanfare.degradation import Crew, Trouble
from fanfare.dev import postgres
from fanfare.errors import DatabaseUnavailable
from fanfare.ids import new_id


@dataclass(frozen=True, slots=True)
class Own:
    """A database in which nobody else works."""

    stores: Stores

    def presence(self, client: Client) -> Presence:
        return Presence(self.stores, client, revision="0007")

    async def crew(self) -> Crew:
        async with self.stores.database.transaction() as conn:
            return await workers.crew(conn)

    async def write_read_only(self) -> None:
        async with self.stores.ledger.transaction() as conn:
            await conn.execute("SET TRANSACTION READ ONLY")
            await workers.leave(conn, new_id())

    async def age(self, interval: str) -> None:
        """Let that time pass since the last beats."""
        earlier = sa.func.now() - sa.text(f"interval '{interval}'")
        async with self.stores.database.transaction() as conn:
            await conn.execute(sa.update(table).values(beat_at=earlier))


@pytest.fixture
async def own(postgres_port: int) -> AsyncIterator[Own]:
    postgres.ensure_database(postgres_port, "presence")
    url = postgres.url(postgres_port, "presence")
    migrate.upgrade(url)
    database, ledger = Database(url), LedgerPool(url, size=2)
    await ledger.open()
    async with database.transaction() as conn:
        await conn.execute(sa.delete(table))
    yield Own(Stores(database, ledger))
    await ledger.close()
    await database.close()


@pytest.fixture
async def nowhere() -> Client:
    """A client of a Temporal that is away."""
    return await Client.connect("127.0.0.1:9", lazy=True, data_converter=pydantic_data_converter)


async def test_who_beats_lives_until_it_leaves(
    own: Own, idle_temporal_env: WorkflowEnvironment
) -> None:
    client = idle_temporal_env.client
    one, other = own.presence(client), own.presence(client)

    await one.beat()
    await other.beat()
    await one.beat()
    both = await own.crew()
    await other.leave()
    left = await own.crew()

    assert (both.live, both.well, both.trouble) == (2, 2, None)
    assert (left.live, left.well) == (1, 1)


async def test_who_is_not_heard_of_for_twenty_seconds_does_not_live(
    own: Own, idle_temporal_env: WorkflowEnvironment
) -> None:
    await own.presence(idle_temporal_env.client).beat()

    await own.age("19 seconds")
    still = await own.crew()
    await own.age("21 seconds")
    silent = await own.crew()

    assert (still.live, silent.live) == (1, 0)
    assert silent.heard_at is not None


async def test_who_was_not_heard_of_for_an_hour_is_forgotten(
    own: Own, idle_temporal_env: WorkflowEnvironment
) -> None:
    await own.presence(idle_temporal_env.client).beat()
    await own.age("61 minutes")

    async with own.stores.database.transaction() as conn:
        await workers.forget_old(conn)

    assert (await own.crew()).heard_at is None


async def test_worker_without_temporal_says_since_when(
    own: Own, nowhere: Client, idle_temporal_env: WorkflowEnvironment
) -> None:
    lost, well = own.presence(nowhere), own.presence(idle_temporal_env.client)

    await lost.beat()
    first = await own.crew()
    await lost.beat()
    again = await own.crew()
    await well.beat()
    both = await own.crew()

    assert (first.live, first.well, first.trouble) == (1, 0, Trouble.TEMPORAL_UNREACHABLE)
    assert again.trouble_since == first.trouble_since
    assert (both.live, both.well) == (2, 1)


async def test_worker_whose_outcomes_are_refused_says_so(
    own: Own, idle_temporal_env: WorkflowEnvironment
) -> None:
    refused = DatabaseUnavailable("PostgreSQL does not answer.")
    refused.__cause__ = psycopg.errors.DiskFull("no space left on device")
    watch = LedgerWatch()

    watch.note(refused)
    stores = replace(own.stores, ledger_watch=watch)
    await Presence(stores, idle_temporal_env.client, revision="0007").beat()

    assert (await own.crew()).trouble is Trouble.LEDGER_NOT_WRITABLE


async def test_database_that_is_read_only_refuses(own: Own) -> None:
    watch = LedgerWatch()

    with pytest.raises(DatabaseUnavailable) as raised:
        await own.write_read_only()
    watch.note(raised.value)

    assert watch.is_refusing


def test_server_that_is_merely_away_refuses_nothing() -> None:
    away = DatabaseUnavailable("PostgreSQL does not answer.")
    away.__cause__ = psycopg.OperationalError("connection refused")
    watch = LedgerWatch()

    watch.note(away)

    assert not watch.is_refusing


def test_refusal_counts_for_some_seconds() -> None:
    refused = DatabaseUnavailable("PostgreSQL does not answer.")
    refused.__cause__ = psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT")
    now = 100.0
    watch = LedgerWatch(clock=lambda: now)

    watch.note(refused)
    at_first = watch.is_refusing
    now += 10

    assert (at_first, watch.is_refusing) == (True, False)


async def test_worker_that_cannot_write_goes_on_and_is_silent(
    own: Own, idle_temporal_env: WorkflowEnvironment
) -> None:
    away = LedgerPool("postgresql://nobody@127.0.0.1:1/none", size=1)
    stores = replace(own.stores, ledger=away)
    presence = Presence(stores, idle_temporal_env.client, revision="0007")

    await presence.beat()
    await presence.leave()

    assert (await own.crew()).live == 0


async def test_api_reads_the_workers_and_writes_none(database_url: str) -> None:
    api = Database(database_url, role=API_ROLE)

    async with api.transaction() as conn:
        read = await workers.crew(conn)
        may_write = await conn.scalar(
            sa.text("SELECT has_table_privilege('workers', 'INSERT, UPDATE, DELETE, TRUNCATE')")
        )
    await api.close()

    assert read.live >= 0
    assert may_write is False
