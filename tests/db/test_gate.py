"""The gate of a campaign's row: claims that overlap never keep whoever changes it waiting."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import batches, campaigns, claims, controls
from fanfare.db.audience import BatchSizes
from fanfare.db.batches import BatchKey
from fanfare.db.claims import ClaimRefused
from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerConnection, LedgerPool
from fanfare.db.tables import push_batches
from fanfare.entities import Campaign
from fanfare.models import CampaignStatus, Lane, ProjectCtx
from tests.activities.scene import campaign, devices

ONE_EACH = BatchSizes(batch=1, canary=1)

Change = Callable[[AsyncConnection, ProjectCtx, Campaign], Awaitable[object]]


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[LedgerPool]:
    ledger = LedgerPool(database_url, size=4)
    await ledger.open()
    yield ledger
    await ledger.close()


@pytest.fixture
async def sending(database: Database, project: ProjectCtx) -> Campaign:
    """Two batches of one device."""
    await devices(database, project, 2)
    return await campaign(database, project, sizes=ONE_EACH)


async def claim(conn: LedgerConnection, sending: Campaign, number: int) -> int:
    """All of the batch, by an attempt of its own. Returns how many."""
    key = BatchKey(ProjectCtx(sending.project_id), sending.id, number)
    batch = await batches.take(conn, key)
    assert batch is not None
    return len(await claims.claim_next(conn, key, epoch=batch.epoch, claimed=0, upto=batch.size))


async def claim_alone(ledger: LedgerPool, sending: Campaign, number: int) -> int:
    async with ledger.connection() as conn:
        return await claim(conn, sending, number)


async def pause(database: Database, sending: Campaign) -> Campaign:
    async with database.transaction() as conn:
        return await controls.pause(conn, ProjectCtx(sending.project_id), sending.id)


async def change_alone(database: Database, change: Change, sending: Campaign) -> None:
    async with database.transaction() as conn:
        await change(conn, ProjectCtx(sending.project_id), sending)


async def until_waiting(database: Database, mode: str) -> None:
    """Return when somebody waits at a gate, in this mode; ten seconds at most."""
    waiting = sa.text(
        "SELECT EXISTS (SELECT FROM pg_locks "
        "WHERE NOT granted AND locktype = 'advisory' AND mode = :mode)"
    )
    async with asyncio.timeout(10), database.transaction() as conn:
        while not (await conn.execute(waiting, {"mode": mode})).scalar_one():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_claim_that_comes_after_a_pause_waits_behind_it_and_is_refused(
    database: Database, ledger: LedgerPool, sending: Campaign
) -> None:
    async with ledger.transaction() as under_way:
        await claim(under_way, sending, 0)
        pausing = asyncio.create_task(pause(database, sending))
        await until_waiting(database, "ExclusiveLock")
        claiming = asyncio.create_task(claim_alone(ledger, sending, 1))
        await until_waiting(database, "ShareLock")
        has_ended = pausing.done(), claiming.done()

    assert has_ended == (False, False)
    assert (await pausing).paused_at is not None
    with pytest.raises(ClaimRefused):
        await claiming


async def test_claim_that_waited_for_a_change_that_lets_it_go_on_succeeds(
    database: Database, ledger: LedgerPool, sending: Campaign, project: ProjectCtx
) -> None:
    async with database.transaction() as conn:
        await controls.hold(conn, project, sending.id)
        claiming = asyncio.create_task(claim_alone(ledger, sending, 0))
        await until_waiting(database, "ShareLock")

    assert await claiming == 1


async def test_claims_do_not_wait_for_each_other(ledger: LedgerPool, sending: Campaign) -> None:
    async with ledger.transaction() as first, ledger.transaction() as second, asyncio.timeout(10):
        claimed = await claim(first, sending, 0), await claim(second, sending, 1)

    assert claimed == (1, 1)


async def test_whoever_holds_the_row_does_not_wait_for_a_freeze_under_way(
    database: Database, sending: Campaign, project: ProjectCtx
) -> None:
    batch = {"project_id": project.project_id, "campaign_id": sending.id, "number": 9}
    written = sa.insert(push_batches).values(**batch, lane=Lane.APNS, token_ids=[])

    async with database.transaction() as freezing, asyncio.timeout(10):
        await freezing.execute(written)
        async with database.transaction() as conn:
            held = await controls.hold(conn, project, sending.id)

    assert held == sending


async def end(conn: AsyncConnection, project: ProjectCtx, sending: Campaign) -> None:
    await campaigns.end(conn, project, sending.id, CampaignStatus.CANCELLED)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda conn, project, it: controls.pause(conn, project, it.id), id="pause"),
        pytest.param(lambda conn, project, it: controls.resume(conn, project, it.id), id="resume"),
        pytest.param(lambda conn, project, it: controls.cancel(conn, project, it.id), id="cancel"),
        pytest.param(lambda conn, project, it: controls.hold(conn, project, it.id), id="hold"),
        pytest.param(lambda conn, project, it: controls.hear(conn, project, it.id), id="hear"),
        pytest.param(end, id="end"),
    ],
)
async def test_every_change_of_what_is_sent_comes_through_the_gate(
    database: Database, ledger: LedgerPool, sending: Campaign, change: Change
) -> None:
    async with ledger.transaction() as under_way:
        await claim(under_way, sending, 0)
        changing = asyncio.create_task(change_alone(database, change, sending))
        await until_waiting(database, "ExclusiveLock")

    await changing
