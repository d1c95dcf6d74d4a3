"""The upkeep hands on, from one run to the next, how far the database had come."""

from collections.abc import Callable

from temporalio.client import Client
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


def test_report_of_older_code_remembers_nothing() -> None:
    assert [UpkeepReport.of(kept).position for kept in (None, 3, {"position": 7})] == [
        None,
        None,
        7,
    ]
