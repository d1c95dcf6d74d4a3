"""A campaign whose database was restored begins anew, from the rows, once."""

import asyncio
from datetime import UTC, datetime

from temporalio.testing import WorkflowEnvironment

from fanfare.models import CampaignStatus
from tests.workflows.fakes import FakeActivities, audience_of
from tests.workflows.running import (
    result,
    serving,
    start,
    start_by_row,
    tell,
    until,
    until_run_after,
)
from workflows.stubs import Standing

RESTORED_AT = datetime(2027, 4, 20, 9, tzinfo=UTC)
AGAIN_AT = datetime(2027, 4, 21, 9, tzinfo=UTC)


async def test_what_was_done_before_the_restore_is_done_again_after_the_resume(
    temporal_env: WorkflowEnvironment,
) -> None:
    gate = asyncio.Event()
    activities = FakeActivities(audience_of(apns=4), gates={3: gate})

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client)
        await until(lambda: len(activities.batches) == 4)
        await tell(handle, activities, is_paused=True, in_doubt_since=RESTORED_AT)
        gate.set()
        await until_run_after(handle)
        asked = list(activities.batches)
        await tell(handle, activities, is_paused=False)
        ended = await result(handle)

    assert ended == "sent"
    assert sorted(asked) == [0, 1, 2, 3]
    assert sorted(activities.batches[4:]) == [0, 1, 2, 3]


async def test_run_that_knows_of_the_restore_goes_on(temporal_env: WorkflowEnvironment) -> None:
    standing = Standing(status=CampaignStatus.SENDING, in_doubt_since=RESTORED_AT)
    activities = FakeActivities(audience_of(apns=2), standing=standing)

    async with serving(temporal_env.client, activities):
        handle = await start_by_row(temporal_env.client, activities)
        ended = await result(handle)
        run_id = (await handle.describe()).run_id

    assert (ended, run_id) == ("sent", handle.first_execution_run_id)


async def test_finish_that_finds_another_ledger_begins_anew_and_fails_nothing(
    temporal_env: WorkflowEnvironment,
) -> None:
    gate = asyncio.Event()
    activities = FakeActivities(audience_of(apns=2), gates={"finish": gate})

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client)
        await until(lambda: "finish" in activities.calls)
        activities.change(in_doubt_since=RESTORED_AT)
        gate.set()
        ended = await result(handle)

    assert (ended, activities.ended) == ("sent", [])
    assert sorted(activities.batches) == [0, 0, 1, 1]


async def test_second_restore_begins_anew_again(temporal_env: WorkflowEnvironment) -> None:
    activities = FakeActivities(
        audience_of(apns=1), standing=Standing(status=CampaignStatus.SENDING, is_paused=True)
    )

    async with serving(temporal_env.client, activities):
        handle = await start_by_row(temporal_env.client, activities)
        await tell(handle, activities, in_doubt_since=RESTORED_AT)
        await tell(handle, activities, in_doubt_since=AGAIN_AT)
        await tell(handle, activities, is_paused=False)
        ended = await result(handle)

    assert (ended, activities.batches) == ("sent", [0])


async def test_campaign_that_was_cancelled_after_the_restore_is_settled(
    temporal_env: WorkflowEnvironment,
) -> None:
    activities = FakeActivities(
        audience_of(apns=1), standing=Standing(status=CampaignStatus.SENDING, is_paused=True)
    )

    async with serving(temporal_env.client, activities):
        handle = await start_by_row(temporal_env.client, activities)
        await tell(handle, activities, in_doubt_since=RESTORED_AT)
        await tell(handle, activities, status=CampaignStatus.CANCELLED)
        ended = await result(handle)

    assert (ended, activities.ended) == ("cancelled", [(CampaignStatus.CANCELLED, None)])
