"""Controls at the row: one transaction after another, and what the workflow has heard of them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

import pytest

from fanfare.db import buckets, campaigns, controls
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.entities import Campaign, Failure, Timing
from fanfare.errors import CampaignNotEditable, CampaignNotFound
from fanfare.ids import new_id
from fanfare.models import CampaignStatus, Content, DeliveryMode, ProjectCtx
from fanfare.schedule import DeliveryWindow, PlannedBucket

AT = datetime(2027, 4, 20, 9, tzinfo=UTC)
LATER = AT + timedelta(days=1)
HELLO = NewCampaign(name="Hello", content=Content("Hello", "Version 2 is here.", {"a": 1}))
TIMED = replace(HELLO, timing=Timing(scheduled_at=AT))
BY_USER = DeliveryWindow(time(9), time(21), None)
BY_CLOCK = DeliveryWindow(time(9), time(21), "Europe/Berlin")


async def made(database: Database, project: ProjectCtx, new: NewCampaign) -> Campaign:
    async with database.transaction() as conn:
        return await campaigns.create(conn, project, new)


async def found(database: Database, campaign: Campaign) -> Campaign:
    async with database.transaction() as conn:
        return await campaigns.get(conn, ProjectCtx(campaign.project_id), campaign.id)


async def edited(database: Database, campaign: Campaign, after: NewCampaign) -> Campaign:
    async with database.transaction() as conn:
        before = await controls.hold(conn, ProjectCtx(campaign.project_id), campaign.id)
        return await controls.edit(conn, before, after)


async def begun(database: Database, project: ProjectCtx, new: NewCampaign) -> Campaign:
    campaign = await made(database, project, new)
    async with database.transaction() as conn:
        sending = await campaigns.begin(conn, project, campaign.id, revision=0)
    assert sending is not None
    return sending


async def paused(database: Database, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    async with database.transaction() as conn:
        return await controls.pause(conn, project, campaign_id)


async def cancelled(database: Database, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    async with database.transaction() as conn:
        return await controls.cancel(conn, project, campaign_id)


async def test_of_many_pauses_at_once_one_changes_the_row(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await made(database, project, TIMED)

    answers = await asyncio.gather(*(paused(database, project, campaign.id) for _ in range(8)))

    assert {each.paused_at for each in answers} == {(await found(database, campaign)).paused_at}
    assert {each.revision for each in answers} == {1}


async def test_of_a_pause_and_a_cancel_at_once_the_cancel_has_the_last_word(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await begun(database, project, TIMED)

    await asyncio.gather(
        paused(database, project, campaign.id),
        cancelled(database, project, campaign.id),
        return_exceptions=True,
    )

    after = await found(database, campaign)
    assert (after.status, after.paused_at) == (CampaignStatus.CANCELLED, None)


async def test_paused_campaign_does_not_begin(database: Database, project: ProjectCtx) -> None:
    campaign = await made(database, project, TIMED)
    resting = await paused(database, project, campaign.id)

    async with database.transaction() as conn:
        begins = await campaigns.begin(conn, project, campaign.id, revision=resting.revision)

    assert begins is None


async def test_workflow_that_waits_for_an_older_time_does_not_begin(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await made(database, project, TIMED)
    await edited(database, campaign, replace(TIMED, timing=Timing(scheduled_at=LATER)))

    async with database.transaction() as conn:
        begins = await campaigns.begin(conn, project, campaign.id, revision=campaign.revision)

    assert begins is None


async def test_what_is_heard_is_the_revision_of_the_row(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await made(database, project, TIMED)
    resting = await paused(database, project, campaign.id)

    async with database.transaction() as conn:
        heard = await controls.hear(conn, project, campaign.id)

    assert (resting.revision, resting.heard_revision) == (1, 0)
    assert heard == replace(resting, heard_revision=1)


async def test_nothing_is_heard_of_a_campaign_that_is_gone(
    database: Database, project: ProjectCtx
) -> None:
    async with database.transaction() as conn:
        assert await controls.hear(conn, project, new_id()) is None


async def test_campaign_of_another_project_cannot_be_held(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await made(database, project, TIMED)

    async with database.transaction() as conn:
        with pytest.raises(CampaignNotFound):
            await controls.hold(conn, ProjectCtx(new_id()), campaign.id)


async def test_edit_that_says_what_is_so_writes_nothing(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await made(database, project, TIMED)

    after = await edited(database, campaign, NewCampaign.of(campaign))

    assert after == campaign == await found(database, campaign)


async def test_edit_of_content_leaves_since_when_it_is_armed(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await made(database, project, TIMED)

    after = await edited(database, campaign, replace(TIMED, content=Content("New", "New", {})))

    assert (after.armed_at, after.revision) == (campaign.armed_at, 1)


async def test_new_time_arms_anew_and_none_disarms(database: Database, project: ProjectCtx) -> None:
    campaign = await made(database, project, TIMED)

    timed = await edited(database, campaign, replace(TIMED, timing=Timing(scheduled_at=LATER)))
    draft = await edited(database, campaign, HELLO)

    assert campaign.armed_at is not None
    assert timed.armed_at is not None
    assert timed.armed_at > campaign.armed_at
    assert (draft.status, draft.armed_at) == (CampaignStatus.DRAFT, None)


async def test_new_time_forgets_the_plan_for_the_old_one(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await made(database, project, replace(TIMED, timing=timing(window=BY_USER)))
    async with database.transaction() as conn:
        await buckets.plan(conn, campaign, [PlannedBucket(AT, LATER, ("UTC",))], AT)

    await edited(database, campaign, replace(TIMED, timing=timing(LATER, window=BY_USER)))

    async with database.transaction() as conn:
        assert await buckets.all_of(conn, campaign) == []


def timing(at: datetime = AT, *, window: DeliveryWindow | None = None) -> Timing:
    return Timing(scheduled_at=at, window=window)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, BY_CLOCK),
        (BY_CLOCK, None),
        (BY_USER, BY_CLOCK),
        (BY_USER, None),
        (BY_USER, replace(BY_USER, end=time(22))),
    ],
)
async def test_window_of_a_campaign_that_is_sent_may_change(
    database: Database,
    project: ProjectCtx,
    before: DeliveryWindow | None,
    after: DeliveryWindow | None,
) -> None:
    campaign = await begun(database, project, replace(TIMED, timing=timing(window=before)))

    changed = await edited(database, campaign, replace(TIMED, timing=timing(window=after)))

    assert changed.timing.window == after
    assert changed.status is CampaignStatus.SENDING


@pytest.mark.parametrize("before", [None, BY_CLOCK])
async def test_audience_that_was_frozen_as_one_gets_no_window_by_user(
    database: Database, project: ProjectCtx, before: DeliveryWindow | None
) -> None:
    campaign = await begun(database, project, replace(TIMED, timing=timing(window=before)))

    with pytest.raises(CampaignNotEditable):
        await edited(database, campaign, replace(TIMED, timing=timing(window=BY_USER)))

    assert await found(database, campaign) == campaign


async def test_cancelled_before_it_began_is_settled_and_after_that_is_not(
    database: Database, project: ProjectCtx
) -> None:
    waiting, sending = await made(database, project, TIMED), await begun(database, project, TIMED)

    first = await cancelled(database, project, waiting.id)
    second = await cancelled(database, project, sending.id)

    assert first.settled_at is not None
    assert second.settled_at is None


async def test_settled_once_it_stays_settled_since_then(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await begun(database, project, TIMED)
    await cancelled(database, project, campaign.id)

    moments = [await settled_at(database, project, campaign) for _ in range(2)]

    assert moments[0] is not None
    assert moments[0] == moments[1]


async def settled_at(
    database: Database, project: ProjectCtx, campaign: Campaign
) -> datetime | None:
    async with database.transaction() as conn:
        await controls.settle(conn, project, campaign.id)
    return (await found(database, campaign)).settled_at


async def test_campaign_that_is_sent_is_not_settled_by_a_late_word(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await begun(database, project, TIMED)

    assert await settled_at(database, project, campaign) is None


# A start that no workflow took up.


async def test_start_that_is_taken_back_leaves_all_that_was_said_before(
    database: Database, project: ProjectCtx
) -> None:
    draft = await made(database, project, HELLO)
    local = Timing(
        delivery_mode=DeliveryMode.LOCAL_TIME,
        local_date=AT.date(),
        local_time=time(9),
        window=BY_USER,
        max_lateness=timedelta(hours=2),
    )
    after = NewCampaign(name="New", content=Content("New", "New", {}), timing=local, rate_limit=5)
    started = await edited(database, draft, after)

    assert await taken_back(database, started, draft)

    # The start may arrive yet; by its revision it is known to be none.
    assert await found(database, draft) == replace(draft, revision=1)


async def test_second_sending_that_is_taken_back_leaves_the_failure(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await begun(database, project, TIMED)
    await paused(database, project, campaign.id)
    async with database.transaction() as conn:
        failure = Failure("SEGMENT_NOT_FOUND", "Gone.")
        await campaigns.end(conn, project, campaign.id, CampaignStatus.FAILED, failure)
    failed = await found(database, campaign)
    async with database.transaction() as conn:
        started = await campaigns.begin_sending(conn, project, campaign.id)

    assert await taken_back(database, started, failed)

    assert await found(database, campaign) == replace(failed, revision=started.revision)


async def test_start_that_somebody_changed_is_not_taken_back(
    database: Database, project: ProjectCtx
) -> None:
    draft = await made(database, project, HELLO)
    started = await edited(database, draft, TIMED)
    changed = await edited(database, draft, replace(TIMED, rate_limit=5))

    assert not await taken_back(database, started, draft)

    assert await found(database, draft) == changed


async def test_start_that_arrived_is_not_taken_back(
    database: Database, project: ProjectCtx
) -> None:
    draft = await made(database, project, HELLO)
    started = await edited(database, draft, TIMED)
    async with database.transaction() as conn:
        sending = await campaigns.begin(conn, project, draft.id, revision=started.revision)

    assert not await taken_back(database, started, draft)

    assert await found(database, draft) == sending


async def test_campaign_that_was_made_just_now_is_gone_when_its_start_is_taken_back(
    database: Database, project: ProjectCtx
) -> None:
    campaign = await made(database, project, TIMED)

    assert await taken_back(database, campaign, None)

    with pytest.raises(CampaignNotFound):
        await found(database, campaign)


async def taken_back(database: Database, started: Campaign, before: Campaign | None) -> bool:
    async with database.transaction() as conn:
        return await campaigns.take_back_start(conn, started, before)
