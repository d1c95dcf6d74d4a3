"""Campaigns that were paused over their time: that they are late is somebody's wish."""

from datetime import timedelta

from temporalio.testing import WorkflowEnvironment

from fanfare.models import CampaignStatus
from tests.workflows.fakes import FakeActivities, audience_of
from tests.workflows.running import result, serving, start_by_row, tell
from workflows.stubs import Standing

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def scheduled(env: WorkflowEnvironment) -> FakeActivities:
    due = await env.get_current_time() + DAY
    standing = Standing(status=CampaignStatus.SCHEDULED, scheduled_at=due, max_lateness=HOUR)
    return FakeActivities(audience_of(apns=1), standing=standing)


async def test_paused_over_its_time_and_over_the_one_it_was_moved_to_it_goes_when_resumed(
    skipping_env: WorkflowEnvironment,
) -> None:
    activities = await scheduled(skipping_env)

    async with serving(skipping_env.client, activities):
        handle = await start_by_row(skipping_env.client, activities)
        await tell(handle, activities, is_paused=True)
        await skipping_env.sleep(2 * DAY)
        moved = await skipping_env.get_current_time() + HOUR
        await tell(handle, activities, scheduled_at=moved)
        await skipping_env.sleep(2 * DAY)
        await tell(handle, activities, is_paused=False)
        ended = await result(handle)

    assert ended == "sent"
    assert activities.ended == []
    assert activities.batches == [0]


async def test_paused_over_its_time_and_moved_it_waits_for_the_new_one(
    skipping_env: WorkflowEnvironment,
) -> None:
    activities = await scheduled(skipping_env)

    async with serving(skipping_env.client, activities):
        handle = await start_by_row(skipping_env.client, activities)
        await tell(handle, activities, is_paused=True)
        await skipping_env.sleep(2 * DAY)
        later = await skipping_env.get_current_time() + 30 * DAY
        await tell(handle, activities, scheduled_at=later)
        await tell(handle, activities, is_paused=False)
        ended = await result(handle)

    assert ended == "sent"
    assert activities.begun_at is not None
    assert timedelta(0) <= activities.begun_at - later < HOUR
