"""How far the database had come when the upkeep last saw it, as Temporal remembers."""

from typing import Any

from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    WorkflowExecutionStatus,
    WorkflowHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from workflows.deployment import UPKEEP_ID
from workflows.upkeep import UpkeepReport


async def last_seen(client: Client) -> int | None:
    """The position that the last upkeep reported; None where Temporal remembers none.

    Costs two or three calls. Raises RPCError.
    """
    schedule = await client.get_schedule_handle(UPKEEP_ID).describe()
    for taken in reversed(schedule.info.recent_actions):
        assert isinstance(taken.action, ScheduleActionExecutionStartWorkflow)
        report = await _report(client, taken.action.workflow_id)
        if report.position is not None:
            return report.position
    return None


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
