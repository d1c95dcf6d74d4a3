"""Running PushCampaign with fake activities, on whichever Temporal a test names."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
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
    client: Client, scheduled_at: datetime | None = None
) -> WorkflowHandle[PushCampaign, str]:
    """A campaign's workflow, under an id of its own."""
    campaign = CampaignInput(project_id=uuid4(), campaign_id=new_id(), scheduled_at=scheduled_at)
    return await client.start_workflow(
        PushCampaign.run,
        campaign,
        id=f"push-campaign-{campaign.campaign_id}",
        task_queue=queues.MAIN,
    )


async def until(is_so: Callable[[], bool]) -> None:
    """Let others run until it is so, a minute at most."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - what an activity notes, not an event of ours
            await asyncio.sleep(0.01)
