"""What an operator does to a campaign that exists, as its workflow hears of it, or does not."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from fanfare.models import CampaignStatus
from tests.workflows.fakes import FakeActivities, audience_of, failure
from tests.workflows.running import (
    result,
    serving,
    start,
    start_by_row,
    tell,
    until,
    until_run_after,
)
from workflows.campaign import PushCampaign
from workflows.fanout import WINDOW
from workflows.stubs import BatchResult, Standing

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Handle = WorkflowHandle[PushCampaign, str]


def in_flight(gate: asyncio.Event, batches: int) -> FakeActivities:
    """A campaign of one lane, of which all but the canary waits at the gate."""
    return FakeActivities(audience_of(apns=batches), gates=dict.fromkeys(range(1, batches), gate))


async def scheduled(env: WorkflowEnvironment, after: timedelta) -> FakeActivities:
    """A campaign of one batch that is due then."""
    due = await env.get_current_time() + after
    standing = Standing(status=CampaignStatus.SCHEDULED, scheduled_at=due, max_lateness=HOUR)
    return FakeActivities(audience_of(apns=1), standing=standing)


class TestPause:
    async def test_what_comes_back_stopped_is_sent_after_it_and_nothing_twice(
        self, temporal_env: WorkflowEnvironment
    ) -> None:
        gate = asyncio.Event()
        activities = in_flight(gate, 3 * WINDOW)

        async with serving(temporal_env.client, activities):
            handle = await start(temporal_env.client)
            await until(lambda: len(activities.batches) == 1 + WINDOW)
            await tell(handle, activities, is_paused=True)
            gate.set()
            await until(lambda: len(activities.refused) == WINDOW)
            await tell(handle, activities)
            asked = list(activities.batches)
            await tell(handle, activities, is_paused=False)
            ended = await result(handle)
            counts = await handle.query(PushCampaign.counts)

        assert ended == "sent"
        assert sorted(asked) == list(range(1 + WINDOW))
        assert sorted(activities.batches[1 + WINDOW :]) == list(range(1, 3 * WINDOW))
        assert counts.sent == 9 * 3 * WINDOW

    async def test_second_pause_holds_as_the_first_did(
        self, temporal_env: WorkflowEnvironment
    ) -> None:
        activities = FakeActivities(
            audience_of(apns=4), standing=Standing(status=CampaignStatus.SENDING, is_paused=True)
        )

        async with serving(temporal_env.client, activities):
            handle = await start_by_row(temporal_env.client, activities)
            await tell(handle, activities, is_paused=False)
            await tell(handle, activities, is_paused=True)
            await tell(handle, activities, is_paused=False)
            ended = await result(handle)

        assert ended == "sent"
        assert sorted(set(activities.batches)) == [0, 1, 2, 3]
        assert len(activities.batches) == 4 + len(activities.refused)

    async def test_that_is_not_told_is_heard_of_by_what_it_refuses(
        self, temporal_env: WorkflowEnvironment
    ) -> None:
        gate = asyncio.Event()
        activities = in_flight(gate, 2 * WINDOW)

        async with serving(temporal_env.client, activities):
            handle = await start(temporal_env.client)
            await until(lambda: len(activities.batches) == 1 + WINDOW)
            activities.change(is_paused=True)
            gate.set()
            await until(lambda: len(activities.refused) == WINDOW and "look" in activities.calls)
            await tell(handle, activities, is_paused=False)
            ended = await result(handle)

        assert ended == "sent"
        assert len(activities.batches) == 2 * WINDOW + len(activities.refused)

    async def test_over_its_time_goes_when_it_is_resumed_and_has_missed_nothing(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        activities = await scheduled(skipping_env, DAY)

        async with serving(skipping_env.client, activities):
            handle = await start_by_row(skipping_env.client, activities)
            await tell(handle, activities, is_paused=True)
            await skipping_env.sleep(3 * DAY)
            before = list(activities.calls)
            await tell(handle, activities, is_paused=False)
            ended = await result(handle)

        assert {"begin", "freeze"}.isdisjoint(before)
        assert ended == "sent"
        assert activities.batches == [0]

    async def test_that_ends_before_its_time_changes_nothing(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        activities = await scheduled(skipping_env, DAY)

        async with serving(skipping_env.client, activities):
            handle = await start_by_row(skipping_env.client, activities)
            await tell(handle, activities, is_paused=True)
            await tell(handle, activities, is_paused=False)
            ended = await result(handle)

        due = activities.standing.scheduled_at
        assert ended == "sent"
        assert activities.begun_at is not None
        assert due is not None
        assert timedelta(0) <= activities.begun_at - due < timedelta(minutes=1)

    async def test_over_its_time_in_which_it_is_moved_keeps_to_the_new_time(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        activities = await scheduled(skipping_env, DAY)
        due = await skipping_env.get_current_time() + 4 * DAY

        async with serving(skipping_env.client, activities):
            handle = await start_by_row(skipping_env.client, activities)
            await tell(handle, activities, is_paused=True)
            await skipping_env.sleep(2 * DAY)
            await tell(handle, activities, scheduled_at=due)
            await tell(handle, activities, is_paused=False)
            ended = await result(handle)

        assert ended == "sent"
        assert activities.begun_at is not None
        assert timedelta(0) <= activities.begun_at - due < timedelta(minutes=1)

    async def test_outlives_the_run_that_heard_of_it(
        self, temporal_env: WorkflowEnvironment
    ) -> None:
        gate = asyncio.Event()
        activities = in_flight(gate, 2 * WINDOW)

        async with serving(temporal_env.client, activities):
            handle = await start(temporal_env.client)
            await until(lambda: len(activities.batches) == 1 + WINDOW)
            await tell(handle, activities, is_paused=True)
            gate.set()
            await until(lambda: len(activities.refused) == WINDOW)
            await _fill_history(handle)
            await until_run_after(handle)
            asked = len(activities.batches)
            await tell(handle, activities, is_paused=False)
            ended = await result(handle)
            counts = await handle.query(PushCampaign.counts)

        assert ended == "sent"
        assert asked == 1 + WINDOW
        assert sorted(activities.batches[asked:]) == list(range(1, 2 * WINDOW))
        assert counts.sent == 9 * 2 * WINDOW

    async def test_outlives_the_worker_that_heard_of_it(
        self, temporal_env: WorkflowEnvironment
    ) -> None:
        gate = asyncio.Event()
        activities = in_flight(gate, WINDOW)

        async with serving(temporal_env.client, activities):
            handle = await start(temporal_env.client)
            await until(lambda: len(activities.batches) == WINDOW)
            await tell(handle, activities, is_paused=True)
            gate.set()
            await until(lambda: len(activities.refused) == WINDOW - 1)
        async with serving(temporal_env.client, activities):
            asked = len(activities.batches)
            await tell(handle, activities, is_paused=False)
            ended = await result(handle)

        assert ended == "sent"
        assert asked == WINDOW
        assert sorted(activities.batches[asked:]) == list(range(1, WINDOW))


class TestCancel:
    async def test_while_waiting(self, temporal_env: WorkflowEnvironment) -> None:
        activities = await scheduled(temporal_env, DAY)

        async with serving(temporal_env.client, activities):
            handle = await start_by_row(temporal_env.client, activities)
            await tell(handle, activities, status=CampaignStatus.CANCELLED)
            ended = await result(handle)

        assert ended == "cancelled"
        assert activities.calls == ["look", "stop", "close"]

    async def test_while_paused_over_its_time(self, temporal_env: WorkflowEnvironment) -> None:
        activities = await scheduled(temporal_env, -2 * HOUR)
        activities.change(is_paused=True)

        async with serving(temporal_env.client, activities):
            handle = await start_by_row(temporal_env.client, activities)
            await tell(handle, activities, status=CampaignStatus.CANCELLED)
            ended = await result(handle)

        assert ended == "cancelled"
        assert {"begin", "freeze"}.isdisjoint(activities.calls)

    async def test_while_batches_are_in_flight_waits_for_them_and_closes(
        self, temporal_env: WorkflowEnvironment
    ) -> None:
        gate = asyncio.Event()
        activities = in_flight(gate, 3 * WINDOW)

        async with serving(temporal_env.client, activities):
            handle = await start(temporal_env.client)
            await until(lambda: len(activities.batches) == 1 + WINDOW)
            await tell(handle, activities, status=CampaignStatus.CANCELLED)
            await until(lambda: "stop" in activities.calls)
            before = list(activities.calls)
            gate.set()
            ended = await result(handle)

        assert ended == "cancelled"
        assert "close" not in before
        assert activities.calls[-1] == "close"
        assert len(activities.batches) == 1 + WINDOW

    @pytest.mark.parametrize("step", ["freeze", "finish"])
    async def test_during_a_step_ends_it_after_that(
        self, temporal_env: WorkflowEnvironment, step: str
    ) -> None:
        gate = asyncio.Event()
        activities = FakeActivities(audience_of(apns=1), gates={step: gate})

        async with serving(temporal_env.client, activities):
            handle = await start(temporal_env.client)
            await until(lambda: step in activities.calls)
            await tell(handle, activities, status=CampaignStatus.CANCELLED)
            gate.set()
            ended = await result(handle)

        assert ended == "cancelled"
        assert activities.calls[-2:] == ["stop", "close"]


class TestChange:
    @pytest.mark.parametrize("later", [-12 * HOUR, 12 * HOUR], ids=["earlier", "later"])
    async def test_of_the_time_is_followed(
        self, skipping_env: WorkflowEnvironment, later: timedelta
    ) -> None:
        activities = await scheduled(skipping_env, DAY)
        due = await skipping_env.get_current_time() + DAY + later

        async with serving(skipping_env.client, activities):
            handle = await start_by_row(skipping_env.client, activities)
            await tell(handle, activities, scheduled_at=due)
            ended = await result(handle)

        assert ended == "sent"
        assert activities.begun_at is not None
        assert timedelta(0) <= activities.begun_at - due < timedelta(minutes=1)

    async def test_of_the_time_that_is_not_told_is_heard_of_when_it_would_begin(
        self, skipping_env: WorkflowEnvironment
    ) -> None:
        activities = await scheduled(skipping_env, DAY)
        due = await skipping_env.get_current_time() + 2 * DAY

        async with serving(skipping_env.client, activities):
            handle = await start_by_row(skipping_env.client, activities)
            activities.change(scheduled_at=due)
            ended = await result(handle)

        assert ended == "sent"
        assert activities.calls == ["begin", "begin", "freeze", "finish"]
        assert activities.begun_at is not None
        assert timedelta(0) <= activities.begun_at - due < timedelta(minutes=1)

    @pytest.mark.parametrize(
        ("status", "ended"), [(CampaignStatus.DRAFT, "a draft again"), (None, "removed")]
    )
    async def test_that_takes_its_time_away_ends_the_wait(
        self, temporal_env: WorkflowEnvironment, status: CampaignStatus | None, ended: str
    ) -> None:
        activities = await scheduled(temporal_env, DAY)

        async with serving(temporal_env.client, activities):
            handle = await start_by_row(temporal_env.client, activities)
            await tell(handle, activities, status=status, scheduled_at=None)

            assert await result(handle) == ended
            assert activities.calls == ["look"]

    async def test_to_a_draft_and_back_is_one_wait(self, temporal_env: WorkflowEnvironment) -> None:
        activities = await scheduled(temporal_env, DAY)
        gate = asyncio.Event()
        activities.gates = {"plan": gate}
        activities.change(is_bucketed=True)

        async with serving(temporal_env.client, activities):
            handle = await start_by_row(temporal_env.client, activities)
            await until(lambda: "plan" in activities.calls)
            await tell(handle, activities, status=CampaignStatus.DRAFT, scheduled_at=None)
            now = await temporal_env.get_current_time()
            again = {"status": CampaignStatus.SCHEDULED, "is_bucketed": False}
            await tell(handle, activities, scheduled_at=now, **again)
            gate.set()
            ended = await result(handle)

        assert ended == "sent"
        assert activities.batches == [0]


class TestTooLate:
    @pytest.mark.parametrize(
        ("late", "ended"), [(timedelta(minutes=59), "sent"), (timedelta(minutes=61), "failed")]
    )
    async def test_within_its_max_lateness_it_goes(
        self, temporal_env: WorkflowEnvironment, late: timedelta, ended: str
    ) -> None:
        activities = await scheduled(temporal_env, -late)

        async with serving(temporal_env.client, activities):
            handle = await start_by_row(temporal_env.client, activities)

            assert await result(handle) == ended

    async def test_says_so_and_sends_nothing(self, temporal_env: WorkflowEnvironment) -> None:
        activities = await scheduled(temporal_env, -2 * HOUR)

        async with serving(temporal_env.client, activities):
            await result(await start_by_row(temporal_env.client, activities))

        assert activities.calls == ["stop", "close"]
        assert activities.ended == [(CampaignStatus.FAILED, "MISSED_SCHEDULE")]


class TestSentAgain:
    @pytest.mark.parametrize("step", ["stop", "close"])
    async def test_while_it_ends_is_followed(
        self, temporal_env: WorkflowEnvironment, step: str
    ) -> None:
        gate = asyncio.Event()
        answers = iter([failure("CREDENTIALS_REFUSED")])
        activities = FakeActivities(
            audience_of(apns=2),
            on_batch=lambda _: next(answers, BatchResult(sent=10)),
            gates={step: gate},
        )

        async with serving(temporal_env.client, activities):
            handle = await start(temporal_env.client)
            await until(lambda: step in activities.calls)
            await tell(handle, activities, status=CampaignStatus.SENDING)
            gate.set()
            ended = await result(handle)
            counts = await handle.query(PushCampaign.counts)

        assert ended == "sent"
        assert activities.batches == [0, 0, 1]
        assert counts.sent == 20

    async def test_and_not_heard_of_yet_is_followed(
        self, temporal_env: WorkflowEnvironment
    ) -> None:
        closing, looking = asyncio.Event(), asyncio.Event()
        answers = iter([failure("CREDENTIALS_REFUSED")])
        activities = FakeActivities(
            audience_of(apns=2),
            on_batch=lambda _: next(answers, BatchResult(sent=10)),
            gates={"close": closing, "look": looking},
        )

        async with serving(temporal_env.client, activities):
            handle = await start(temporal_env.client)
            await until(lambda: "close" in activities.calls)
            await tell(handle, activities, status=CampaignStatus.SENDING)
            closing.set()
            await until_run_after(handle)
            looking.set()
            ended = await result(handle)

        assert ended == "sent"
        assert activities.batches == [0, 0, 1]

    async def test_that_only_seemed_so_ends_as_it_ended(
        self, temporal_env: WorkflowEnvironment
    ) -> None:
        gate = asyncio.Event()
        activities = FakeActivities(
            audience_of(apns=2),
            on_batch=lambda _: failure("CREDENTIALS_REFUSED"),
            gates={"close": gate},
        )

        async with serving(temporal_env.client, activities):
            handle = await start(temporal_env.client)
            await until(lambda: "close" in activities.calls)
            await tell(handle, activities)
            gate.set()
            ended = await result(handle)

        # Where the look comes too late for the run, another looks once more.
        assert ended in {"failed", "failed before"}
        assert activities.batches == [0]


async def _fill_history(handle: Handle) -> None:
    """Give the run more events than one is to have."""
    signals = (handle.signal(PushCampaign.changed) for _ in range(60))
    await asyncio.gather(*signals)
