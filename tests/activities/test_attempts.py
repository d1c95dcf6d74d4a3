"""An attempt that was given up while its worker slept: it wakes, and leaves its batch alone."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities import attempts
from activities.attempts import require_current
from activities.batches import Batches
from activities.senders import Senders
from activities.stores import Stores
from fanfare.ids import new_id
from fanfare.providers.connect import ProviderAddresses
from fanfare.sealing import KeyRing
from workflows.stubs import BatchInput

RING = KeyRing("v1:" + base64.b64encode(b"k" * 32).decode())
ENOUGH = 30


@workflow.defn(sandboxed=False)
class Sleeper:
    """Runs an activity whose first attempt misses its heartbeat."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            "work",
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=1),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )


@dataclass
class Attempts:
    """Both attempts of one activity, in one process: the first sleeps until the second works."""

    second_works: asyncio.Event = field(default_factory=asyncio.Event)
    first_has_woken: asyncio.Event = field(default_factory=asyncio.Event)
    said: dict[int, str | None] = field(default_factory=dict)
    first: activity.Info = field(default_factory=ActivityEnvironment.default_info)

    @activity.defn(name="work")
    async def work(self) -> None:
        attempt = activity.info().attempt
        await (self._sleep() if attempt == 1 else self._work())

    async def _sleep(self) -> None:
        self.first = activity.info()
        await self.second_works.wait()
        self.said[1] = await asked()
        self.first_has_woken.set()

    async def _work(self) -> None:
        self.said[2] = await asked()
        self.second_works.set()
        await self.first_has_woken.wait()


async def asked() -> str | None:
    """Why the attempt that runs here is not current; None where it is."""
    try:
        await require_current()
    except ApplicationError as error:
        return error.type
    return None


@pytest.fixture
async def worked(
    temporal_env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Attempts]:
    """What two attempts were told of themselves, both old enough to ask."""
    monkeypatch.setattr(attempts, "SUSPICIOUS", timedelta(0))
    both, queue = Attempts(), f"t-{uuid4()}"
    async with Worker(
        temporal_env.client, task_queue=queue, workflows=[Sleeper], activities=[both.work]
    ):
        sleeping = temporal_env.client.execute_workflow(Sleeper.run, id=queue, task_queue=queue)
        await asyncio.wait_for(sleeping, ENOUGH)
        yield both


async def test_attempt_that_was_given_up_is_told(worked: Attempts) -> None:
    assert worked.said == {1: "SUPERSEDED", 2: None}


async def test_attempt_that_was_given_up_takes_no_batch(
    stores: Stores, worked: Attempts, temporal_env: WorkflowEnvironment
) -> None:
    work = Batches(stores, Senders(stores, RING, ProviderAddresses()))
    batch = BatchInput(project_id=new_id(), campaign_id=new_id(), number=0)
    woken = ActivityEnvironment(temporal_env.client)
    woken.info = worked.first

    with pytest.raises(ApplicationError, match="another attempt has the batch"):
        await woken.run(work.send_batch, batch)


async def test_young_task_asks_nobody() -> None:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, started_time=datetime.now(UTC))

    assert await environment.run(asked) is None
