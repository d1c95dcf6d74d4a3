"""How far the database had come when the upkeep last saw it, as Temporal remembers."""

import asyncio
from typing import Any

from temporalio.client import (
    Client,
    ScheduleActionExecution,
    ScheduleActionExecutionStartWorkflow,
    WorkflowExecutionStatus,
    WorkflowHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from workflows.deployment import UPKEEP_ID
from workflows.upkeep import UpkeepReport


async def last_seen(client: Client) -> int | None:
    """The furthest position that a late upkeep reported; None where Temporal remembers none.

    Costs two calls for each of the last ten, side by side. Raises RPCError.
    """
    schedule = await client.get_schedule_handle(UPKEEP_ID).describe()
    ids = [_workflow_id(taken.action) for taken in schedule.info.recent_actions]
    reports = await asyncio.gather(*(_report(client, each) for each in ids))
    return max((each.position for each in reports if each.position is not None), default=None)


def _workflow_id(action: ScheduleActionExecution) -> str:
    assert isinstance(action, ScheduleActionExecutionStartWorkflow)
    return action.workflow_id


async def _report(client: Client, workflow_id: str) -> UpkeepReport:
    """What that upkeep found. Of one that has not ended, or failed, what it was told that the last
    had found: while no worker runs, none ends. Empty where its retention is over."""
    upkeep = client.get_workflow_handle(workflow_id)
    try:
        if (await upkeep.describe()).status is WorkflowExecutionStatus.COMPLETED:
            return UpkeepReport.of(await upkeep.result())
        return UpkeepReport.of(await _told(client, upkeep))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return UpkeepReport()


async def _told(client: Client, upkeep: WorkflowHandle[Any, Any]) -> object:  # Any: by its id
    """What Temporal handed to it when it began; None where that was nothing."""
    began = await anext(upkeep.fetch_history_events(page_size=1))
    kept = began.workflow_execution_started_event_attributes.last_completion_result.payloads
    found = await client.data_converter.decode(kept)
    return found[0] if found else None
