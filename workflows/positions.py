"""How far the database had come when the upkeep last saw it, as Temporal remembers."""

from temporalio.client import Client, ScheduleActionExecutionStartWorkflow, WorkflowExecutionStatus

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
    """What that upkeep found; an empty report where it has not ended, or failed."""
    upkeep = client.get_workflow_handle(workflow_id)
    if (await upkeep.describe()).status is not WorkflowExecutionStatus.COMPLETED:
        return UpkeepReport()
    return UpkeepReport.of(await upkeep.result())
