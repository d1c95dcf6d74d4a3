"""The story of a campaign, on a real Temporal server and in virtual time."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from fanfare.models import CampaignStatus
from tests.workflows.fakes import BATCH, FakeActivities, audience_of, failure
from tests.workflows.running import serving, start, until
from workflows.campaign import PushCampaign
from workflows.canary import WRONG_CREDENTIAL
from workflows.fanout import WINDOW
from workflows.stubs import BatchResult

TIMEOUT = 60


async def _result(handle: WorkflowHandle[PushCampaign, str]) -> str:
    return await asyncio.wait_for(handle.result(), TIMEOUT)


async def test_every_batch_of_every_lane_is_sent_once(temporal_env: WorkflowEnvironment) -> None:
    activities = FakeActivities(audience_of(apns=3, fcm=2))

    async with serving(temporal_env.client, activities):
        ended = await _result(await start(temporal_env.client))

    assert ended == "sent"
    assert sorted(activities.batches) == [0, 1, 2, 3, 4]
    assert activities.calls == ["begin", "freeze", "finish"]


async def test_an_empty_audience_is_sent_at_once(temporal_env: WorkflowEnvironment) -> None:
    activities = FakeActivities(audience_of())

    async with serving(temporal_env.client, activities):
        ended = await _result(await start(temporal_env.client))

    assert ended == "sent"
    assert activities.batches == []


async def test_a_row_that_is_no_longer_open_is_left_alone(
    temporal_env: WorkflowEnvironment,
) -> None:
    activities = FakeActivities(audience_of(apns=1), to_send=False)

    async with serving(temporal_env.client, activities):
        ended = await _result(await start(temporal_env.client))

    assert ended == "nothing to send"
    assert activities.calls == ["begin"]


async def test_a_campaign_of_next_month_is_sent_next_month(
    skipping_env: WorkflowEnvironment,
) -> None:
    activities = FakeActivities(audience_of(apns=1, fcm=1))
    before = await skipping_env.get_current_time()
    due = before + timedelta(days=30)

    async with serving(skipping_env.client, activities):
        ended = await _result(await start(skipping_env.client, scheduled_at=due))

    assert ended == "sent"
    assert sorted(activities.batches) == [0, 1]
    assert activities.begun_at is not None
    assert timedelta(0) <= activities.begun_at - due < timedelta(minutes=1)


async def test_nothing_happens_before_the_time(skipping_env: WorkflowEnvironment) -> None:
    activities = FakeActivities(audience_of(apns=1))
    due = await skipping_env.get_current_time() + timedelta(days=30)

    async with serving(skipping_env.client, activities):
        handle = await start(skipping_env.client, scheduled_at=due)
        await skipping_env.sleep(timedelta(days=29))
        before = list(activities.calls)
        await _result(handle)

    assert before == []
    assert activities.calls == ["begin", "freeze", "finish"]


async def test_cancelled_while_waiting_is_never_sent(temporal_env: WorkflowEnvironment) -> None:
    activities = FakeActivities(audience_of(apns=1))
    due = await temporal_env.get_current_time() + timedelta(days=1)

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client, scheduled_at=due)
        await handle.signal(PushCampaign.cancel)
        ended = await _result(handle)

    assert ended == "cancelled"
    assert activities.calls == ["stop", "close"]
    assert activities.ended == [(CampaignStatus.CANCELLED, None)]


async def test_an_operators_cancel_in_the_temporal_ui_is_a_cancel(
    temporal_env: WorkflowEnvironment,
) -> None:
    activities = FakeActivities(audience_of(apns=1))
    due = await temporal_env.get_current_time() + timedelta(days=1)

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client, scheduled_at=due)
        await handle.query(PushCampaign.counts)
        await handle.cancel()
        ended = await _result(handle)

    assert ended == "cancelled"
    assert activities.ended == [(CampaignStatus.CANCELLED, None)]


async def test_a_segment_that_is_gone_fails_the_campaign(
    temporal_env: WorkflowEnvironment,
) -> None:
    activities = FakeActivities(failure("SEGMENT_NOT_FOUND"))

    async with serving(temporal_env.client, activities):
        ended = await _result(await start(temporal_env.client))

    assert ended == "failed"
    assert activities.batches == []
    assert activities.ended == [(CampaignStatus.FAILED, "SEGMENT_NOT_FOUND")]


async def test_refused_credentials_stop_the_batches_that_have_not_begun(
    temporal_env: WorkflowEnvironment,
) -> None:
    activities = FakeActivities(
        audience_of(apns=10 * WINDOW), on_batch=lambda _: failure("CREDENTIALS_REFUSED")
    )

    async with serving(temporal_env.client, activities):
        ended = await _result(await start(temporal_env.client))

    assert ended == "failed"
    assert activities.ended == [(CampaignStatus.FAILED, "CREDENTIALS_REFUSED")]
    assert activities.batches == [0]


async def test_the_canary_of_each_lane_goes_first_and_alone(
    temporal_env: WorkflowEnvironment,
) -> None:
    activities = FakeActivities(audience_of(apns=30))

    async with serving(temporal_env.client, activities):
        await _result(await start(temporal_env.client))

    assert activities.batches[0] == 0
    assert activities.running_beside[0] == set()


async def test_a_canary_that_is_undecided_is_asked_again_before_the_rest_goes(
    temporal_env: WorkflowEnvironment,
) -> None:
    now = await temporal_env.get_current_time()
    undecided = BatchResult(owed=10, due_at=now)
    answers: Iterator[BatchResult | ApplicationError] = iter(
        [undecided, failure("CREDENTIALS_REFUSED")]
    )
    activities = FakeActivities(audience_of(apns=30), on_batch=lambda _: next(answers))

    async with serving(temporal_env.client, activities):
        ended = await _result(await start(temporal_env.client))

    assert ended == "failed"
    assert activities.batches == [0, 0]


async def test_a_canary_that_owes_all_until_much_later_does_not_hold_up_the_rest(
    skipping_env: WorkflowEnvironment,
) -> None:
    now = await skipping_env.get_current_time()
    later = BatchResult(owed=10, due_at=now + timedelta(minutes=15))
    answers = iter([later])
    activities = FakeActivities(
        audience_of(apns=3), on_batch=lambda _: next(answers, BatchResult(sent=10))
    )

    async with serving(skipping_env.client, activities):
        ended = await _result(await start(skipping_env.client))

    assert ended == "sent"
    assert sorted(activities.batches) == [0, 0, 1, 2]


async def test_a_canary_of_strangers_stops_the_campaign(
    temporal_env: WorkflowEnvironment,
) -> None:
    strangers = BatchResult(failed=20, suspects=20)
    activities = FakeActivities(audience_of(apns=10), on_batch=lambda _: strangers)

    async with serving(temporal_env.client, activities):
        ended = await _result(await start(temporal_env.client))

    assert ended == "failed"
    assert activities.batches == [0]
    assert activities.ended == [(CampaignStatus.FAILED, WRONG_CREDENTIAL)]
    assert activities.calls == ["begin", "freeze", "stop", "close"]


async def test_too_many_strangers_later_on_stop_the_campaign(
    temporal_env: WorkflowEnvironment,
) -> None:
    mixed = BatchResult(sent=70, failed=30, suspects=30)
    activities = FakeActivities(audience_of(apns=10 * WINDOW), on_batch=lambda _: mixed)

    async with serving(temporal_env.client, activities):
        ended = await _result(await start(temporal_env.client))

    assert ended == "failed"
    assert len(activities.batches) <= 2 * WINDOW


async def test_batches_that_owe_messages_hold_up_no_other(
    skipping_env: WorkflowEnvironment,
) -> None:
    now = await skipping_env.get_current_time()
    owing = BatchResult(sent=9, owed=1, due_at=now + timedelta(minutes=15))
    first_try: set[int] = set()

    def owe_once(number: int) -> BatchResult:
        is_first = number not in first_try
        first_try.add(number)
        return owing if is_first else BatchResult(sent=10)

    activities = FakeActivities(audience_of(apns=3 * WINDOW), on_batch=owe_once)

    async with serving(skipping_env.client, activities):
        handle = await start(skipping_env.client)
        ended = await _result(handle)
        counts = await handle.query(PushCampaign.counts)

    assert ended == "sent"
    assert (await handle.describe()).run_id == handle.first_execution_run_id
    assert sorted(activities.batches[: 3 * WINDOW]) == list(range(3 * WINDOW))
    assert sorted(activities.batches[3 * WINDOW :]) == list(range(3 * WINDOW))
    assert counts.sent == 3 * WINDOW * 10


async def test_a_batch_that_was_refused_keeps_what_it_had_counted_and_is_tried_again(
    temporal_env: WorkflowEnvironment,
) -> None:
    due_at = await temporal_env.get_current_time()
    owing, refused = BatchResult(sent=9, owed=1, due_at=due_at), BatchResult(stopped=True)
    answers = iter([owing, refused, BatchResult(sent=10)])
    activities = FakeActivities(audience_of(apns=1), on_batch=lambda _: next(answers))

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client)
        await _result(handle)
        counts = await handle.query(PushCampaign.counts)

    assert activities.batches == [0, 0, 0]
    assert counts.sent == 10


async def test_a_stopped_campaign_does_not_wait_for_what_is_owed(
    temporal_env: WorkflowEnvironment,
) -> None:
    due_at = await temporal_env.get_current_time() + timedelta(hours=1)
    owing = BatchResult(sent=9, owed=1, due_at=due_at)
    activities = FakeActivities(audience_of(apns=2), on_batch=lambda _: owing)

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client)
        await until(lambda: len(activities.batches) == 2)
        await handle.signal(PushCampaign.cancel)
        ended = await _result(handle)

    assert ended == "cancelled"
    assert activities.calls == ["begin", "freeze", "stop", "close"]


async def test_a_long_campaign_continues_as_new_and_loses_no_batch(
    temporal_env: WorkflowEnvironment,
) -> None:
    activities = FakeActivities(audience_of(apns=60, fcm=50))

    async with serving(temporal_env.client, activities):
        handle = await start(temporal_env.client)
        ended = await _result(handle)
        counts = await handle.query(PushCampaign.counts)

    assert ended == "sent"
    assert sorted(activities.batches) == list(range(110))
    assert activities.calls == ["begin", "freeze", "finish"]
    assert counts == BatchResult(sent=110 * BATCH.sent, failed=110 * BATCH.failed)
    assert (await handle.describe()).run_id != handle.first_execution_run_id
