"""How the API and the upkeep reach RefreshSegments: a Schedule per project, or one segment now."""

import asyncio
from collections.abc import Set as AbstractSet
from datetime import timedelta
from uuid import UUID

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    WorkflowFailureError,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy

from fanfare.errors import SegmentNotEvaluated
from fanfare.temporal import CALL_TIMEOUT, answering
from workflows import attributes, queues
from workflows.segments import RefreshInput, RefreshReport, RefreshSegments

EVERY = timedelta(minutes=15)

# A service that was away for hours makes up for the last refresh that it missed, not for all.
CATCH_UP = EVERY

# Longer, and a refresh holds up those of its project that come after it.
AT_MOST = timedelta(hours=1)

# How long a caller of the HTTP API waits for a segment; few take longer than a second or two.
PATIENCE = timedelta(seconds=10)


def schedule_id(project_id: UUID) -> str:
    """The id of a project's Schedule, by which the Temporal UI finds it."""
    return f"refresh-segments-{project_id}"


async def ensure_schedule(client: Client, project_id: UUID) -> None:
    """Have the project's segments refreshed every 15 minutes. Raises TemporalUnavailable."""
    async with answering():
        try:
            await client.create_schedule(
                schedule_id(project_id), _schedule(project_id), rpc_timeout=CALL_TIMEOUT
            )
        except ScheduleAlreadyRunningError:
            return


async def schedule_ids(client: Client) -> AbstractSet[str]:
    """The ids of the namespace's Schedules; one made a moment ago may be missing.

    Raises TemporalUnavailable.
    """
    async with answering():
        found = await client.list_schedules(rpc_timeout=CALL_TIMEOUT)
        return {listed.id async for listed in found}


async def evaluate(client: Client, project_id: UUID, segment_id: str) -> bool:
    """Refresh one segment, as the Schedule does. False where it goes on after PATIENCE.

    Who asks while one is under way waits for that one. Raises SegmentNotEvaluated where the rules
    cannot be evaluated, and TemporalUnavailable.
    """
    async with answering():
        handle = await client.start_workflow(
            RefreshSegments.run,
            RefreshInput(project_id=project_id, segment_id=segment_id),
            id=f"{schedule_id(project_id)}-{segment_id}",
            task_queue=queues.MAIN,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            execution_timeout=AT_MOST,
            static_summary=segment_id,
            search_attributes=_attributes(project_id, segment_id),
            rpc_timeout=CALL_TIMEOUT,
        )
        try:
            report = await asyncio.wait_for(handle.result(), PATIENCE.total_seconds())
        except TimeoutError:
            return False
        except WorkflowFailureError as error:
            raise _not_evaluated(segment_id) from error
    return _is_done(report, segment_id)


def _is_done(report: RefreshReport, segment_id: str) -> bool:
    if report.failed:
        raise _not_evaluated(segment_id)
    return True


def _not_evaluated(segment_id: str) -> SegmentNotEvaluated:
    return SegmentNotEvaluated(f"The rules of {segment_id} could not be evaluated.")


def _schedule(project_id: UUID) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            RefreshSegments.run,
            RefreshInput(project_id=project_id),
            id=schedule_id(project_id),
            task_queue=queues.MAIN,
            execution_timeout=AT_MOST,
            static_summary="every segment",
            typed_search_attributes=_attributes(project_id),
        ),
        spec=ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=EVERY, offset=_offset(project_id))]
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
    )


def _offset(project_id: UUID) -> timedelta:
    """When within the 15 minutes: by the id, so that many projects do not begin all at once."""
    return timedelta(seconds=project_id.int % int(EVERY.total_seconds()))


def _attributes(project_id: UUID, segment_id: str | None = None) -> TypedSearchAttributes:
    pairs = [SearchAttributePair(attributes.PROJECT, str(project_id))]
    if segment_id is not None:
        pairs.append(SearchAttributePair(attributes.SEGMENT, segment_id))
    return TypedSearchAttributes(pairs)
