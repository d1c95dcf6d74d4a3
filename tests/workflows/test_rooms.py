"""What a campaign has under way: so many batches of a lane, and those again that are unfinished."""

import asyncio

from temporalio.testing import WorkflowEnvironment

from fanfare.models import CampaignStatus
from tests.workflows.fakes import BATCH, FakeActivities, audience_of
from tests.workflows.running import result, serving, start, start_by_row, tell, until
from tests.workflows.test_buckets import DAY, HOUR, batches_from
from workflows.campaign import PushCampaign
from workflows.fanout import SWEPT_AT_ONCE, WINDOW
from workflows.stubs import BatchResult, BucketTimes, Plan, Standing

MOST = WINDOW + SWEPT_AT_ONCE
UNFINISHED = BatchResult(unfinished=True, sent=4)


async def test_many_buckets_together_have_no_more_under_way_than_one_lane_may(
    temporal_env: WorkflowEnvironment,
) -> None:
    now = await temporal_env.get_current_time()
    gate = asyncio.Event()
    starts = (0, 30, 60)
    activities = FakeActivities(
        audience_of(apns=1),
        audiences={n: batches_from(first, first + 30) for n, first in enumerate(starts)},
        gates={number: gate for number in range(90) if number not in starts},
        standing=Standing(status=CampaignStatus.SENDING, is_bucketed=True),
        on_plan=lambda _: Plan(
            buckets=[BucketTimes(number=n, opens_at=now, closes_at=now + DAY) for n in range(3)]
        ),
    )

    async with serving(temporal_env.client, activities):
        handle = await start_by_row(temporal_env.client, activities)
        await until(lambda: len(activities.running) >= MOST)
        # By the time that it has looked it has asked for whatever it has room for.
        await tell(handle, activities)
        pending = (await handle.describe()).raw_description.pending_activities
        under_way = [each.activity_type.name for each in pending].count("send_batch")
        gate.set()
        ended = await result(handle)

    assert ended == "sent"
    assert under_way == MOST
    assert max(map(len, activities.running_beside.values())) < MOST
    assert sorted(activities.batches) == list(range(90))


async def test_lanes_have_room_of_their_own(temporal_env: WorkflowEnvironment) -> None:
    gate = asyncio.Event()
    count = 1 + WINDOW
    waiting = [number for number in range(2 * count) if number not in (0, count)]
    activities = FakeActivities(
        audience_of(apns=count, fcm=count), gates=dict.fromkeys(waiting, gate)
    )

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client)
        await until(lambda: activities.running == set(waiting))
        gate.set()
        ended = await result(handle)

    assert ended == "sent"
    assert len(waiting) > MOST


async def test_batch_that_was_given_back_unfinished_is_finished(
    temporal_env: WorkflowEnvironment,
) -> None:
    answers = {1: [BATCH, UNFINISHED]}
    activities = FakeActivities(
        audience_of(apns=2), on_batch=lambda number: answers.get(number, [BATCH]).pop()
    )

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client)
        ended = await result(handle)
        counts = await handle.query(PushCampaign.counts)

    assert ended == "sent"
    assert activities.batches == [0, 1, 1]
    assert (counts.sent, counts.failed) == (18, 2)


async def test_unfinished_batch_does_not_wait_for_what_another_owes(
    temporal_env: WorkflowEnvironment,
) -> None:
    now = await temporal_env.get_current_time()
    owing = BatchResult(sent=9, owed=1, due_at=now + HOUR)
    answers = {1: [owing], 2: [BATCH, UNFINISHED]}
    activities = FakeActivities(
        audience_of(apns=3), on_batch=lambda number: answers.get(number, [BATCH]).pop()
    )

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client)
        await until(lambda: activities.batches.count(2) == 2)
        await tell(handle, activities, status=CampaignStatus.CANCELLED)
        ended = await result(handle)

    assert ended == "cancelled"


async def test_rest_waits_for_a_canary_that_was_given_back_with_nothing_sent(
    temporal_env: WorkflowEnvironment,
) -> None:
    gate = asyncio.Event()
    gate.set()
    answers = [BATCH, BatchResult(unfinished=True)]

    def answer(number: int) -> BatchResult:
        gate.clear()
        return answers.pop() if number == 0 else BATCH

    activities = FakeActivities(audience_of(apns=3), gates={0: gate}, on_batch=answer)

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client)
        await until(lambda: activities.batches.count(0) == 2)
        await tell(handle, activities)
        beside_the_canary = [number for number in activities.batches if number]
        gate.set()
        ended = await result(handle)

    assert ended == "sent"
    assert beside_the_canary == []
