"""Running PushCampaign with fake activities, on whichever Temporal a test names."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import uuid4

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from fanfare.ids import new_id
from tests.workflows.fakes import FakeActivities
from workflows import WORKFLOWS, queues
from workflows.campaign import PushCampaign
from workflows.progress import CampaignInput


@asynccontextmanager
async def serving(client: Client, activities: FakeActivities) -> AsyncIterator[None]:
    """Workers for the main queue and both lanes, as `worker.py` has them."""
    main = Worker(client, task_queue=queues.MAIN, workflows=WORKFLOWS, activities=activities.all())
    lanes = [
        Worker(client, task_queue=queue, activities=[activities.send_batch])
        for queue in ("fanfare-apns", "fanfare-fcm")
    ]
    async with AsyncExitStack() as stack:
        for worker in (main, *lanes):
            await stack.enter_async_context(worker)
        yield


async def start(
    client: Client,
    scheduled_at: datetime | None = None,
    **said: Any,  # Any: fields
) -> WorkflowHandle[PushCampaign, str]:
    """A campaign's workflow, under an id of its own. `said`: what else its input says."""
    campaign = CampaignInput(
        project_id=uuid4(), campaign_id=new_id(), scheduled_at=scheduled_at, **said
    )
    return await client.start_workflow(
        PushCampaign.run,
        campaign,
        id=f"push-campaign-{campaign.campaign_id}",
        task_queue=queues.MAIN,
    )


async def start_by_row(
    client: Client,
    activities: FakeActivities,
    **said: Any,  # Any: fields of the input
) -> WorkflowHandle[PushCampaign, str]:
    """As the API starts it: its input says what the row says. `said`: what else it says."""
    row = activities.standing.model_dump(exclude={"status", "scheduled_at"})
    return await start(client, activities.standing.scheduled_at, **row, **said)


async def tell(
    handle: WorkflowHandle[PushCampaign, str],
    activities: FakeActivities,
    **changed: Any,  # Any: columns of the row
) -> None:
    """Change the row and have the workflow look. Returns when it has looked."""
    looks = activities.calls.count("look")
    activities.change(**changed)
    await handle.signal(PushCampaign.changed)
    await until(lambda: activities.calls.count("look") > looks)


async def result(handle: WorkflowHandle[PushCampaign, str]) -> str:
    """How it ended, in a word; a minute is waited at most."""
    return await asyncio.wait_for(handle.result(), 60)


async def until(is_so: Callable[[], bool]) -> None:
    """Let others run until it is so, a minute at most."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - what an activity notes, not an event of ours
            await asyncio.sleep(0.01)


async def until_run_after(handle: WorkflowHandle[PushCampaign, str]) -> None:
    """Return when another run has followed the first."""
    async with asyncio.timeout(60):
        while (await handle.describe()).run_id == handle.first_execution_run_id:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
