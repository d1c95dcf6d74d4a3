"""The refresh of segments: its Schedule, its order, and what becomes of one that is broken."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from temporalio.client import (
    Client,
    ScheduleBackfill,
    ScheduleOverlapPolicy,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from fanfare.errors import SegmentNotEvaluated, TemporalUnavailable
from fanfare.ids import new_id
from tests.api.conftest import NO_TEMPORAL
from tests.workflows.refreshing import FakeSegments, eventually, refreshing, start
from tests.workflows.running import until
from workflows import refreshes
from workflows.segments import PAGE, RefreshReport, RefreshSegments

TIMEOUT = 60
QUARTER = timedelta(minutes=15)


async def _report(handle: WorkflowHandle[RefreshSegments, RefreshReport]) -> RefreshReport:
    return await asyncio.wait_for(handle.result(), TIMEOUT)


async def test_every_segment_is_refreshed_once(temporal_env: WorkflowEnvironment) -> None:
    segments = FakeSegments(["seg_a", "seg_b", "seg_c"])

    async with refreshing(temporal_env.client, segments):
        report = await _report(await start(temporal_env.client, segments))

    assert report == RefreshReport(refreshed=3)
    assert sorted(segments.refreshed) == ["seg_a", "seg_b", "seg_c"]


async def test_a_broken_segment_does_not_stop_the_others(
    temporal_env: WorkflowEnvironment,
) -> None:
    segments = FakeSegments(["seg_a", "seg_b", "seg_c"], broken=frozenset({"seg_a"}))

    async with refreshing(temporal_env.client, segments):
        handle = await start(temporal_env.client, segments)
        report = await _report(handle)

    assert report == RefreshReport(refreshed=2, failed=("seg_a",))
    assert sorted(segments.refreshed) == ["seg_b", "seg_c"]


async def test_one_segment_is_refreshed_without_looking_at_the_others(
    temporal_env: WorkflowEnvironment,
) -> None:
    segments = FakeSegments(["seg_a", "seg_b"])

    async with refreshing(temporal_env.client, segments):
        report = await _report(await start(temporal_env.client, segments, "seg_b"))

    assert report == RefreshReport(refreshed=1)
    assert (segments.pages, segments.refreshed) == ([], ["seg_b"])


async def test_many_segments_are_refreshed_page_by_page(temporal_env: WorkflowEnvironment) -> None:
    ids = [f"seg_{number:04}" for number in range(PAGE + 20)]
    segments = FakeSegments(ids, broken=frozenset({"seg_0007", "seg_0207"}))

    async with refreshing(temporal_env.client, segments):
        handle = await start(temporal_env.client, segments)
        report = await _report(handle)

    assert report == RefreshReport(refreshed=PAGE + 18, failed=("seg_0007", "seg_0207"))
    assert segments.pages == [None, ids[PAGE - 1]]
    assert sorted(segments.refreshed) == sorted(set(ids) - segments.broken)
    assert (await handle.describe()).run_id != handle.first_execution_run_id


async def test_an_operator_can_cancel_a_refresh(temporal_env: WorkflowEnvironment) -> None:
    begun: list[str] = []
    segments = FakeSegments(["seg_a", "seg_b", "seg_c", "seg_d"], on_refresh=_fail_and_note(begun))

    async with refreshing(temporal_env.client, segments):
        handle = await start(temporal_env.client, segments)
        await until(lambda: len(begun) >= 2)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await _report(handle)

    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    assert {"seg_c", "seg_d"}.isdisjoint(begun)


async def test_an_hour_has_four_refreshes(temporal_env: WorkflowEnvironment) -> None:
    # The real server acts on its Schedule as if the hour had passed.
    client, segments = temporal_env.client, FakeSegments(["seg_a", "seg_b"])
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    hour = ScheduleBackfill(
        noon, noon + timedelta(hours=1), overlap=ScheduleOverlapPolicy.BUFFER_ALL
    )
    handle = client.get_schedule_handle(refreshes.schedule_id(segments.project_id))

    async with refreshing(client, segments):
        await refreshes.ensure_schedule(client, segments.project_id)
        await handle.pause(note="today's own refreshes are not what is counted")
        await handle.backfill(hour)
        runs = await _completed(client, segments.project_id, 4)

    moments = sorted(datetime.fromisoformat(run.id[-20:]) for run in runs)
    apart = [after - before for before, after in pairwise(moments)]
    assert apart == [QUARTER] * 3
    assert noon <= moments[0] < noon + QUARTER
    assert sorted(segments.refreshed) == ["seg_a"] * 4 + ["seg_b"] * 4


async def test_a_refresh_that_takes_long_is_not_overtaken_by_the_next(
    idle_temporal_env: WorkflowEnvironment,
) -> None:
    # Nobody works there: whatever is started stays under way.
    client, project_id = idle_temporal_env.client, new_id()
    handle = client.get_schedule_handle(refreshes.schedule_id(project_id))

    async def is_running() -> bool:
        return bool((await handle.describe()).info.running_actions)

    async def is_skipped() -> bool:
        return (await handle.describe()).info.num_actions_skipped_overlap > 0

    await refreshes.ensure_schedule(client, project_id)
    await handle.trigger()
    await eventually(is_running)
    await handle.trigger()
    await eventually(is_skipped)

    info = (await handle.describe()).info
    assert (info.num_actions, info.num_actions_skipped_overlap) == (1, 1)


async def test_what_was_missed_is_made_up_for_once_at_most(
    temporal_env: WorkflowEnvironment,
) -> None:
    client, project_id = temporal_env.client, new_id()

    await refreshes.ensure_schedule(client, project_id)

    handle = client.get_schedule_handle(refreshes.schedule_id(project_id))
    description = await handle.describe()
    times = description.info.next_action_times
    apart = {after - before for before, after in pairwise(times)}
    assert description.schedule.policy.catchup_window == QUARTER
    assert description.schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert apart == {QUARTER}


async def test_projects_do_not_begin_all_at_once(temporal_env: WorkflowEnvironment) -> None:
    client = temporal_env.client
    ids = [UUID(int=number) for number in (7, 8)]
    await asyncio.gather(*(refreshes.ensure_schedule(client, each) for each in ids))

    handles = [client.get_schedule_handle(refreshes.schedule_id(each)) for each in ids]
    first, second = [(await each.describe()).info.next_action_times[0] for each in handles]

    assert (second - first) % QUARTER == timedelta(seconds=1)


async def test_a_schedule_that_is_there_is_left_as_it_is(temporal_env: WorkflowEnvironment) -> None:
    client, project_id = temporal_env.client, new_id()
    handle = client.get_schedule_handle(refreshes.schedule_id(project_id))

    await refreshes.ensure_schedule(client, project_id)
    await handle.pause(note="an operator's doing")
    await refreshes.ensure_schedule(client, project_id)

    assert (await handle.describe()).schedule.state.paused


async def test_a_segment_that_cannot_be_evaluated_is_said_to_be_so(
    temporal_env: WorkflowEnvironment,
) -> None:
    segments = FakeSegments([], broken=frozenset({"seg_a"}))

    async with refreshing(temporal_env.client, segments):
        with pytest.raises(SegmentNotEvaluated):
            await refreshes.evaluate(temporal_env.client, segments.project_id, "seg_a")


async def test_without_temporal_nothing_is_evaluated() -> None:
    with pytest.raises(TemporalUnavailable):
        await refreshes.evaluate(NO_TEMPORAL, uuid4(), "seg_a")


def _fail_and_note(begun: list[str]) -> Callable[[str], None]:
    def fail(segment_id: str) -> None:
        begun.append(segment_id)
        raise ApplicationError("away for a moment")

    return fail


async def _completed(client: Client, project_id: UUID, count: int) -> Sequence[WorkflowExecution]:
    """So many completed refreshes of the project, once there are."""
    query = f"ProjectId = '{project_id}' AND ExecutionStatus = 'Completed'"

    async def are_there() -> bool:
        return (await client.count_workflows(query)).count >= count

    await eventually(are_there)
    return [run async for run in client.list_workflows(query)]
