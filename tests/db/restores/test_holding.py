"""What a restore puts in doubt, and what becomes of it: flagged repeats, or `unknown`."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import time as clock
from datetime import timedelta

import pytest
import sqlalchemy as sa

from activities.stores import Stores
from fanfare.db import audience, buckets, campaigns, claims, controls, deliveries
from fanfare.db.audience import BatchSizes
from fanfare.db.claims import ClaimRefused
from fanfare.db.engine import Database
from fanfare.db.shares import PAST
from fanfare.db.tables import push_campaigns, push_owed
from fanfare.entities import Campaign, Failure, Timing
from fanfare.models import (
    CampaignStatus,
    DeliveryMode,
    ErrorCode,
    OnUnknown,
    Outcome,
    PausedReason,
    ProjectCtx,
    SkipReason,
    Verdict,
)
from fanfare.schedule import DeliveryWindow, PlannedBucket
from tests.activities.passes import run
from tests.activities.scene import FakeProvider, attempt, campaign, devices, ledger, stats
from tests.db.restores.scene import (
    HOUR,
    NOW,
    Connection,
    claimed,
    found,
    made,
    restore,
    resume,
)

SIZES = BatchSizes(batch=3, canary=1)
LATER = Outcome(Verdict.RETRY, ErrorCode.THROTTLED, "TooManyRequests", retry_after=HOUR)
TONIGHT = (NOW + timedelta(days=2)).date()

WAITING: Mapping[str, Timing] = {
    "in the lost time": Timing(scheduled_at=NOW - HOUR),
    "in local time, where the day is furthest": Timing(
        delivery_mode=DeliveryMode.LOCAL_TIME,
        local_date=(NOW + 13 * HOUR).date(),
        local_time=(NOW + 13 * HOUR).time(),
    ),
}
AHEAD: Mapping[str, Timing] = {
    "later": Timing(scheduled_at=NOW + HOUR),
    "later in local time": Timing(
        delivery_mode=DeliveryMode.LOCAL_TIME, local_date=TONIGHT, local_time=clock(9)
    ),
}


async def end(database: Database, sending: Campaign, status: CampaignStatus) -> None:
    failure = Failure("WHY", "so") if status is CampaignStatus.FAILED else None
    async with database.transaction() as conn:
        project = ProjectCtx(sending.project_id)
        await campaigns.end(conn, project, sending.id, status, failure)


async def half_sent(
    database: Database, stores: Stores, project: ProjectCtx, on_unknown: OnUnknown
) -> Campaign:
    """Of ten devices in four batches, four in the first two have it; the rest is untouched."""
    await devices(database, project, 10)
    sending = await campaign(database, project, on_unknown=on_unknown, sizes=SIZES)
    await run(await attempt(stores, sending, FakeProvider(), 0))
    await run(await attempt(stores, sending, FakeProvider(), 1))
    return sending


@pytest.fixture
async def sending(database: Database, stores: Stores, project: ProjectCtx) -> Campaign:
    return await half_sent(database, stores, project, OnUnknown.RESEND)


async def test_open_batches_are_in_doubt_to_their_end(
    database: Database, conn: Connection, project: ProjectCtx
) -> None:
    await devices(database, project, 5)
    sending = await campaign(database, project, sizes=SIZES)

    await restore(conn)

    assert await claimed(database, sending) == [(1, 1), (3, 3), (1, 1)]


async def test_who_is_resumed_sends_again_with_a_flag_what_was_open_and_nothing_else(
    database: Database, stores: Stores, conn: Connection, sending: Campaign
) -> None:
    provider = FakeProvider()

    await restore(conn)
    resumed = await resume(database, sending)
    await run(await attempt(stores, resumed, provider, 1))
    await run(await attempt(stores, resumed, provider, 2))
    await run(await attempt(stores, resumed, provider, 3))

    flags = [row.possible_duplicate for row in (await ledger(database, sending)).values()]
    assert (len(provider.asked), flags.count(True), flags.count(False)) == (6, 6, 4)
    assert (await stats(database, sending)).pending == 0


async def test_campaign_that_would_rather_skip_ends_in_unknown(
    database: Database, stores: Stores, conn: Connection, project: ProjectCtx
) -> None:
    sending = await half_sent(database, stores, project, OnUnknown.SKIP)
    provider = FakeProvider()

    await restore(conn)
    resumed = await resume(database, sending)
    await run(await attempt(stores, resumed, provider, 2))
    await run(await attempt(stores, resumed, provider, 3))

    counted = await stats(database, sending)
    assert (provider.asked, counted.sent, counted.unknown) == ([], 4, 6)


async def test_owed_messages_are_in_doubt(
    database: Database, stores: Stores, conn: Connection, project: ProjectCtx
) -> None:
    (device,) = await devices(database, project, 1)
    sending = await campaign(database, project)
    await run(await attempt(stores, sending, FakeProvider(answers={device: LATER})))

    await restore(conn)

    query = sa.select(push_owed.c.ambiguous).where(push_owed.c.campaign_id == sending.id)
    async with database.transaction() as reader:
        assert (await reader.execute(query)).scalars().all() == [True]


async def test_attempt_from_before_is_refused_after_it_is_resumed(
    database: Database, stores: Stores, conn: Connection, sending: Campaign
) -> None:
    before = await attempt(stores, sending, FakeProvider(), 2)

    await restore(conn)
    await resume(database, sending)

    async with stores.ledger.connection() as claiming:
        with pytest.raises(ClaimRefused):
            await claims.claim_next(
                claiming, before.key, epoch=before.batch.epoch, claimed=0, upto=3
            )
        with pytest.raises(ClaimRefused):
            await claims.claim_due(claiming, before.key, epoch=before.batch.epoch, limit=3)


@pytest.mark.parametrize("when", WAITING)
async def test_campaign_that_was_due_rests(
    database: Database, conn: Connection, project: ProjectCtx, when: str
) -> None:
    waiting = await made(database, project, WAITING[when])

    await restore(conn)

    held = await found(database, waiting)
    assert held.paused_reason is PausedReason.DATABASE_RESTORED
    assert held.status is CampaignStatus.SCHEDULED


@pytest.mark.parametrize("when", AHEAD)
async def test_campaign_that_is_due_later_stays_and_is_looked_at(
    database: Database, conn: Connection, project: ProjectCtx, when: str
) -> None:
    waiting = await made(database, project, AHEAD[when])

    await restore(conn)

    left = await found(database, waiting)
    assert (left.paused_at, left.in_doubt_since) == (None, None)
    assert left.revision > left.heard_revision


@pytest.mark.parametrize("status", [CampaignStatus.SENT, CampaignStatus.CANCELLED])
async def test_campaign_that_has_ended_stays(
    database: Database, conn: Connection, sending: Campaign, status: CampaignStatus
) -> None:
    await end(database, sending, status)
    async with database.transaction() as settling:
        await controls.settle(settling, ProjectCtx(sending.project_id), sending.id)
    ended = await found(database, sending)

    await restore(conn)

    assert await found(database, sending) == ended


async def test_draft_stays(database: Database, conn: Connection, project: ProjectCtx) -> None:
    draft = await made(database, project, Timing())

    await restore(conn)

    assert await found(database, draft) == draft


async def test_failed_campaign_that_is_sent_again_repeats_with_a_flag(
    database: Database, stores: Stores, conn: Connection, sending: Campaign
) -> None:
    await end(database, sending, CampaignStatus.FAILED)

    await restore(conn)
    project = ProjectCtx(sending.project_id)
    async with database.transaction() as operator:
        again = await campaigns.begin_sending(operator, project, sending.id)
    await run(await attempt(stores, again, FakeProvider(), 2))

    rows = (await ledger(database, sending)).values()
    assert again.paused_at is None
    assert [row.possible_duplicate for row in rows].count(True) == 3


async def test_cancelled_campaign_ends_with_unknown(
    database: Database, stores: Stores, conn: Connection, sending: Campaign
) -> None:
    project = ProjectCtx(sending.project_id)
    async with database.transaction() as operator:
        await controls.cancel(operator, project, sending.id)

    await restore(conn)
    async with stores.ledger.connection() as closing:
        await deliveries.close_rest(closing, project, sending.id, SkipReason.CANCELLED)

    counted = await stats(database, sending)
    assert (counted.sent, counted.unknown, counted.skipped) == (4, 6, 0)


async def test_campaign_that_an_operator_had_paused_says_that_more_is_the_matter(
    database: Database, conn: Connection, sending: Campaign
) -> None:
    async with database.transaction() as operator:
        paused = await controls.pause(operator, ProjectCtx(sending.project_id), sending.id)

    await restore(conn)
    held = await found(database, sending)
    await resume(database, sending)
    async with database.transaction() as operator:
        again = await controls.pause(operator, ProjectCtx(sending.project_id), sending.id)

    reasons = [each.paused_reason for each in (paused, held, again)]
    assert reasons == ["operator", "database_restored", "operator"]


async def test_what_is_frozen_after_the_restore_is_in_doubt_too(
    database: Database, conn: Connection, project: ProjectCtx
) -> None:
    await devices(database, project, 5)
    waiting = await made(database, project, Timing(scheduled_at=NOW - HOUR))

    await restore(conn)
    resumed = await resume(database, waiting)
    async with database.transaction() as freezing:
        await audience.freeze(freezing, resumed, sa.true(), SIZES)

    assert await claimed(database, waiting) == [(1, 1), (3, 3), (1, 1)]


async def test_users_whose_turn_comes_after_the_restore_are_in_no_doubt(
    database: Database, conn: Connection, project: ProjectCtx
) -> None:
    await devices(database, project, 2)
    window = DeliveryWindow(clock(0), clock(0), None)
    sending = await made(database, project, Timing(scheduled_at=NOW - HOUR, window=window))
    turns = (PlannedBucket(NOW + HOUR, None, ("UTC",)), PlannedBucket(NOW - HOUR, None, ("NZ",)))
    async with database.transaction() as planning:
        await buckets.plan(planning, sending, turns, NOW)
        await audience.freeze(planning, sending, sa.true(), BatchSizes(canary=1))

    await restore(conn)

    assert await claimed(database, sending) == [(0, 1), (0, 1)]


async def test_whoever_was_past_their_time_after_the_restore_ends_in_unknown(
    database: Database, stores: Stores, conn: Connection, project: ProjectCtx
) -> None:
    await devices(database, project, 2)
    local = replace(WAITING["in local time, where the day is furthest"], timezone_fallback="UTC")
    waiting = await made(database, project, local)

    await restore(conn)
    resumed = await resume(database, waiting)
    async with database.transaction() as freezing:
        project, revision = ProjectCtx(waiting.project_id), resumed.revision
        begun = await campaigns.begin(freezing, project, waiting.id, revision=revision)
        assert begun is not None
        await audience.freeze_past(freezing, begun, sa.true(), SIZES)
    async with stores.ledger.connection() as closing:
        await deliveries.close_rest(closing, project, waiting.id, SkipReason.PAST, bucket=PAST)

    assert {row.status for row in (await ledger(database, waiting)).values()} == {"unknown"}


async def test_start_that_is_taken_back_stays_in_doubt(
    database: Database, conn: Connection, sending: Campaign
) -> None:
    await end(database, sending, CampaignStatus.FAILED)
    await restore(conn)
    project = ProjectCtx(sending.project_id)
    before = await found(database, sending)

    async with database.transaction() as operator:
        started = await campaigns.begin_sending(operator, project, sending.id)
        await campaigns.take_back_start(operator, started, before)

    columns = push_campaigns.c
    query = sa.select(columns.in_doubt_since).where(columns.id == sending.id)
    async with database.transaction() as reader:
        assert (await reader.execute(query)).scalar_one() == before.in_doubt_since
