"""The upkeep hands on, from one run to the next, how far the database had come."""

from collections.abc import Callable

from temporalio.client import (
    Client,
    DescribeWorkflowInput,
    Interceptor,
    OutboundInterceptor,
    ScheduleActionExecutionStartWorkflow,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.workflows.fakes import FakeRestores, FakeUpkeep
from tests.workflows.refreshing import eventually
from workflows import WORKFLOWS, deployment, positions, queues
from workflows.deployment import UPKEEP_ID
from workflows.upkeep import UpkeepReport


def serving_upkeep(client: Client, restores: FakeRestores) -> Worker:
    keeping = FakeUpkeep()
    activities: list[Callable[..., object]] = [
        restores.check_database,
        keeping.keep_tables,
        keeping.reconcile_campaigns,
        keeping.reconcile_refreshes,
    ]
    return Worker(client, task_queue=queues.MAIN, workflows=WORKFLOWS, activities=activities)


class Forgetful(Interceptor, OutboundInterceptor):
    """A Temporal that keeps nothing of what has ended, as when the retention is over."""

    def __init__(self) -> None:
        """The SDK says what is next."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        self.next = next
        return self

    async def describe_workflow(
        self,
        input: DescribeWorkflowInput,  # noqa: A002 - the SDK's name
    ) -> WorkflowExecutionDescription:
        found = await self.next.describe_workflow(input)
        if found.status is not WorkflowExecutionStatus.RUNNING:
            raise RPCError("gone", RPCStatusCode.NOT_FOUND, b"")
        return found


async def waiting_upkeep(client: Client) -> str | None:
    """The id of the last one, where it has begun and not ended."""
    schedule = await client.get_schedule_handle(UPKEEP_ID).describe()
    action = schedule.info.recent_actions[-1].action
    assert isinstance(action, ScheduleActionExecutionStartWorkflow)
    last = await client.get_workflow_handle(action.workflow_id).describe()
    return last.id if last.status is WorkflowExecutionStatus.RUNNING else None


async def test_next_run_and_a_worker_that_starts_learn_what_the_last_one_saw(
    temporal_env: WorkflowEnvironment,
) -> None:
    client, restores = temporal_env.client, FakeRestores()

    async def has_reported(position: int) -> bool:
        return await positions.last_seen(client) == position

    async with serving_upkeep(client, restores):
        await deployment.ensure_schedules(client)
        handle = client.get_schedule_handle(UPKEEP_ID)
        await eventually(lambda: has_reported(1))
        await handle.trigger()
        await eventually(lambda: has_reported(2))
        await handle.delete()

    assert restores.seen == [None, 1]


async def test_worker_that_starts_after_the_retention_learns_what_the_last_one_saw(
    temporal_env: WorkflowEnvironment,
) -> None:
    client = temporal_env.client
    forgetful = Client(
        client.service_client, data_converter=client.data_converter, interceptors=[Forgetful()]
    )

    async def has_reported() -> bool:
        return await positions.last_seen(client) == 1

    async def is_waiting() -> bool:
        return await waiting_upkeep(client) is not None

    async with serving_upkeep(client, FakeRestores()):
        await deployment.ensure_schedules(client)
        handle = client.get_schedule_handle(UPKEEP_ID)
        await eventually(has_reported)
    await handle.trigger()
    await eventually(is_waiting)

    position = await positions.last_seen(forgetful)

    waiting = await waiting_upkeep(client)
    await handle.delete()
    await client.get_workflow_handle(waiting or "").terminate()
    assert position == 1


def test_report_of_older_code_remembers_nothing() -> None:
    assert [UpkeepReport.of(kept).position for kept in (None, 3, {"position": 7})] == [
        None,
        None,
        7,
    ]
