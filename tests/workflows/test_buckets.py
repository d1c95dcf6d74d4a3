"""Buckets: each with its turn, its audience and its hours; together one campaign."""

import asyncio
from datetime import datetime, timedelta

from temporalio.testing import WorkflowEnvironment

from fanfare.models import CampaignStatus, Lane
from tests.workflows.fakes import FakeActivities, audience_of
from tests.workflows.running import result, serving, start_by_row, tell, until
from workflows.campaign import PushCampaign
from workflows.fanout import WINDOW
from workflows.progress import LaneProgress, Progress
from workflows.stubs import Audience, BatchResult, BucketTimes, LaneRange, Plan, Standing

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def batches_from(first: int, end: int) -> Audience:
    """One lane's, ten devices each."""
    lane = LaneRange(lane=Lane.APNS, first=first, end=end)
    return Audience(size=10 * (end - first), lanes=[lane])


def bucketed(**fields: object) -> FakeActivities:
    """A campaign that is sending, by buckets."""
    standing = Standing(status=CampaignStatus.SENDING, is_bucketed=True, max_lateness=HOUR)
    return FakeActivities(audience_of(apns=1), standing=standing, **fields)  # type: ignore[arg-type]


def open_now(number: int, now: datetime, *, is_frozen: bool = False) -> BucketTimes:
    """A bucket whose window opened long ago, and closes much later."""
    return BucketTimes(
        number=number, opens_at=now - 6 * HOUR, closes_at=now + 6 * HOUR, is_frozen=is_frozen
    )


async def test_every_bucket_survives_that_the_campaign_continues_as_new(
    temporal_env: WorkflowEnvironment,
) -> None:
    now = await temporal_env.get_current_time()
    times = [BucketTimes(number=n, opens_at=now, closes_at=now + DAY) for n in (0, 1)]
    activities = bucketed(
        audiences={0: batches_from(0, 40), 1: batches_from(40, 80)},
        on_plan=lambda _: Plan(buckets=times),
    )

    async with serving(temporal_env.client, activities):
        handle = await start_by_row(temporal_env.client, activities)
        ended = await result(handle)
        counts = await handle.query(PushCampaign.counts)

    assert ended == "sent"
    assert sorted(activities.batches) == list(range(80))
    assert activities.calls.count("freeze") == 2
    assert counts.sent == 80 * 9
    assert (await handle.describe()).run_id != handle.first_execution_run_id


async def test_cancel_with_batches_in_flight_in_an_open_window(
    temporal_env: WorkflowEnvironment,
) -> None:
    now = await temporal_env.get_current_time()
    gate = asyncio.Event()
    activities = bucketed(
        audiences={0: batches_from(0, 40)},
        gates=dict.fromkeys(range(1, 40), gate),
        on_plan=lambda _: Plan(buckets=[BucketTimes(number=0, opens_at=now, closes_at=now + DAY)]),
    )

    async with serving(temporal_env.client, activities):
        handle = await start_by_row(temporal_env.client, activities)
        await until(lambda: len(activities.batches) == 1 + WINDOW)
        await tell(handle, activities, status=CampaignStatus.CANCELLED)
        await until(lambda: "stop" in activities.calls)
        gate.set()
        ended = await result(handle)

    assert ended == "cancelled"
    assert len(activities.batches) == 1 + WINDOW


async def test_cancel_between_two_buckets(temporal_env: WorkflowEnvironment) -> None:
    now = await temporal_env.get_current_time()
    times = [BucketTimes(number=n, opens_at=now + n * DAY) for n in (0, 1)]
    activities = bucketed(on_plan=lambda _: Plan(buckets=times))

    async with serving(temporal_env.client, activities):
        handle = await start_by_row(temporal_env.client, activities)
        await until(lambda: activities.batches == [0])
        await tell(handle, activities, status=CampaignStatus.CANCELLED)
        ended = await result(handle)

    assert ended == "cancelled"
    assert list(activities.frozen_at) == [0]
    assert activities.calls[-2:] == ["stop", "close"]


async def test_taken_up_again_hours_after_its_window_opened_is_not_late(
    temporal_env: WorkflowEnvironment,
) -> None:
    now = await temporal_env.get_current_time()
    times = [open_now(0, now, is_frozen=True)]
    activities = bucketed(on_plan=lambda _: Plan(buckets=times, is_begun=True))

    async with serving(temporal_env.client, activities):
        ended = await result(await start_by_row(temporal_env.client, activities))

    assert ended == "sent"
    assert activities.batches == [0]


async def test_taken_up_again_when_all_is_done_finishes(
    temporal_env: WorkflowEnvironment,
) -> None:
    activities = bucketed(on_plan=lambda _: Plan(buckets=[], is_begun=True))

    async with serving(temporal_env.client, activities):
        ended = await result(await start_by_row(temporal_env.client, activities))

    assert ended == "sent"
    assert activities.calls == ["plan", "begin", "finish"]


async def test_bucket_that_is_done_before_its_run_hears_of_it_is_asked_once_more(
    temporal_env: WorkflowEnvironment,
) -> None:
    now = await temporal_env.get_current_time()
    lanes = {Lane.APNS: LaneProgress(next=1, owing={0: BatchResult(due_at=now)})}
    before = {2: Progress(audience=batches_from(0, 1), lanes=lanes)}
    activities = bucketed(on_plan=lambda _: Plan(buckets=[], is_begun=True))

    async with serving(temporal_env.client, activities):
        handle = await start_by_row(temporal_env.client, activities, buckets=before)
        ended = await result(handle)

    assert ended == "sent"
    assert activities.batches == [0]


async def test_window_that_the_planner_thinks_open_is_asked_about_once_a_second(
    skipping_env: WorkflowEnvironment,
) -> None:
    now = await skipping_env.get_current_time()
    closed = BucketTimes(number=0, opens_at=now, closes_at=now + HOUR)
    again = BucketTimes(number=0, opens_at=now + DAY, closes_at=now + 2 * DAY)
    asked: list[datetime] = []

    def plan(moment: datetime) -> Plan:
        """By a clock that is five seconds behind."""
        asked.append(moment)
        is_open = moment < now + HOUR + timedelta(seconds=5)
        return Plan(buckets=[closed if is_open else again], is_begun=True)

    owing = iter([BatchResult(sent=9, owed=1, due_at=now + 2 * HOUR)])
    activities = bucketed(on_plan=plan, on_batch=lambda _: next(owing, BatchResult(sent=10)))

    async with serving(skipping_env.client, activities):
        ended = await result(await start_by_row(skipping_env.client, activities))

    assert ended == "sent"
    assert activities.asked_at[-1][1] >= again.opens_at
    assert 5 <= len([moment for moment in asked if moment >= closed.opens_at + HOUR]) <= 7


async def test_plan_that_is_asked_for_while_another_is_made_counts(
    temporal_env: WorkflowEnvironment,
) -> None:
    """A turn that an operator moved while the plan was made is waited for."""
    now = await temporal_env.get_current_time()
    gate = asyncio.Event()
    moments = iter([now + DAY, now])
    activities = bucketed(
        gates={"plan": gate},
        on_plan=lambda _: Plan(buckets=[BucketTimes(number=0, opens_at=next(moments))]),
    )

    async with serving(temporal_env.client, activities):
        handle = await start_by_row(temporal_env.client, activities)
        await until(lambda: "plan" in activities.calls)
        await tell(handle, activities)
        gate.set()
        ended = await result(handle)

    assert ended == "sent"
    assert activities.calls.count("plan") == 2


async def test_window_that_is_taken_away_untold_is_heard_of_by_the_plan(
    temporal_env: WorkflowEnvironment,
) -> None:
    """The row has no buckets any more, which is no missed schedule."""
    activities = bucketed()

    handle = await start_by_row(temporal_env.client, activities)
    activities.change(is_bucketed=False)
    async with serving(temporal_env.client, activities):
        ended = await result(handle)

    assert ended == "sent"
    assert activities.calls == ["plan", "look", "begin", "freeze", "finish"]


async def test_campaign_that_was_removed_untold_is_heard_of_by_the_plan(
    temporal_env: WorkflowEnvironment,
) -> None:
    activities = bucketed()

    handle = await start_by_row(temporal_env.client, activities)
    activities.change(status=None)
    async with serving(temporal_env.client, activities):
        ended = await result(handle)

    assert ended == "removed"
    assert activities.batches == []
