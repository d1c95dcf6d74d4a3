"""What a Temporal namespace must hold before a worker serves it. Each step may run again."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.service import RPCError, RPCStatusCode

from workflows import attributes, queues
from workflows.upkeep import Upkeep

UPKEEP_ID = "fanfare-upkeep"
UPKEEP_EVERY = timedelta(minutes=1)


async def ensure_search_attributes(client: Client) -> bool:
    """Register our search attributes. False where the service lets only an administrator do it.

    Temporal Cloud is such a service: there they are added by `temporal operator` or its UI.
    """
    request = attributes.registration(client.namespace)
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status in {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED}:
            return False
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
    return True


async def ensure_schedules(client: Client) -> None:
    """Have the upkeep run every minute, and once now where it never ran."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            Upkeep.run, id=UPKEEP_ID, task_queue=queues.MAIN, run_timeout=timedelta(minutes=10)
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=UPKEEP_EVERY)]),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1)
        ),
    )
    try:
        await client.create_schedule(UPKEEP_ID, schedule, trigger_immediately=True)
    except ScheduleAlreadyRunningError:
        return
