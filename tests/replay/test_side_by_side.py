"""Workers of this version and of the next, beside each other on one task queue.

No run is kept in a worker's memory: each workflow task may go to either version, which replays all
of the history. That is the worst that a rolling upgrade can do.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from tests.replay.next_version import NextActivities, NextCampaign, UnguardedCampaign
from tests.workflows.fakes import FakeActivities, audience_of
from tests.workflows.running import result, start, until
from workflows import WORKFLOWS, queues
from workflows.campaign import PushCampaign

OURS, NEXT = "ours", "next"
VERSIONS = {OURS: PushCampaign, NEXT: NextCampaign}

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))

# So few that they are one run: what is asked of its history holds of all of it.
BATCHES = 20

Handle = WorkflowHandle[PushCampaign, str]


@pytest.fixture
def client(temporal_env: WorkflowEnvironment) -> Client:
    return temporal_env.client


@pytest.fixture
def frozen() -> asyncio.Event:
    """Set it to let the freezing end."""
    return asyncio.Event()


@pytest.fixture
async def activities(client: Client, frozen: asyncio.Event) -> AsyncIterator[FakeActivities]:
    """What is done for both versions, by workers of both: what only the next knows may be asked of
    one that does not know it, too."""
    fakes = FakeActivities(audience_of(fcm=BATCHES), gates={"freeze": frozen})
    known = [fakes.all(), [*fakes.all(), NextActivities(fakes).weigh]]
    async with AsyncExitStack() as stack:
        for functions in known:
            own = await another(client)
            worker = Worker(own, task_queue=queues.MAIN, activities=functions)
            await stack.enter_async_context(worker)
        lane = Worker(client, task_queue="fanfare-fcm", activities=[fakes.send_batch])
        await stack.enter_async_context(lane)
        yield fakes


async def another(client: Client) -> Client:
    """As another process has it: two workers of one kind cannot share a client."""
    return await Client.connect(
        client.service_client.config.target_host, data_converter=pydantic_data_converter
    )


@asynccontextmanager
async def deciding(client: Client, *versions: str) -> AsyncIterator[None]:
    """Workers of these versions, which decide and do nothing."""
    async with AsyncExitStack() as stack:
        for version in versions:
            worker = Worker(
                await another(client),
                task_queue=queues.MAIN,
                workflows=with_campaign(VERSIONS[version]),
                max_cached_workflows=0,
                identity=version,
            )
            await stack.enter_async_context(worker)
        yield


def with_campaign(campaign: type) -> Sequence[type]:
    """All workflows, with this one for the campaign's."""
    return [campaign if each is PushCampaign else each for each in WORKFLOWS]


async def events(handle: Handle) -> Sequence[HistoryEvent]:
    return list((await handle.fetch_history()).events)


async def refusals(handle: Handle) -> Set[int]:
    """Why workflow tasks of it failed."""
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    return {
        event.workflow_task_failed_event_attributes.cause
        for event in await events(handle)
        if event.event_type == failed
    }


async def deciders(handle: Handle) -> Set[str]:
    """Which versions decided what is next."""
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return {
        event.workflow_task_completed_event_attributes.identity
        for event in await events(handle)
        if event.event_type == completed
    }


async def is_marked(handle: Handle) -> bool:
    """Whether its history holds the mark of the next version's step."""
    marker = EventType.EVENT_TYPE_MARKER_RECORDED
    return any(event.event_type == marker for event in await events(handle))


async def until_refused(handle: Handle) -> None:
    async with asyncio.timeout(60):
        while not await refusals(handle):  # noqa: ASYNC110 - the server's history, not ours
            await asyncio.sleep(0.02)


async def unreplayed(campaign: type) -> Set[str]:
    """Paths of which a recorded run does not replay on that version."""
    replayer = Replayer(workflows=with_campaign(campaign), data_converter=pydantic_data_converter)
    names = dict(map(_history, HISTORIES))
    replayed = await replayer.replay_workflows(_each(names.values()), raise_on_replay_failure=False)
    failed = replayed.replay_failures
    return {name for name, history in names.items() if history.run_id in failed}


def _history(file: Path) -> tuple[str, WorkflowHistory]:
    kept = json.loads(file.read_text())
    return file.stem, WorkflowHistory.from_json(kept["workflow_id"], kept["history"])


async def _each(histories: Iterable[WorkflowHistory]) -> AsyncIterator[WorkflowHistory]:
    for history in histories:
        yield history


async def test_every_recorded_run_goes_on_under_the_next_version() -> None:
    assert await unreplayed(NextCampaign) == set()


async def test_the_same_change_without_a_guard_is_caught() -> None:
    assert {"v1-immediate-1", "v2-local_time-2"} <= await unreplayed(UnguardedCampaign)


async def test_campaign_that_has_begun_ends_well_whichever_version_decides(
    client: Client, activities: FakeActivities, frozen: asyncio.Event
) -> None:
    async with deciding(client, OURS):
        handle = await start(client)
        await until(lambda: "freeze" in activities.calls)
        async with deciding(client, NEXT):
            frozen.set()
            ended = await result(handle)

    assert ended == "sent"
    assert sorted(activities.batches) == list(range(BATCHES))
    assert await deciders(handle) == {OURS, NEXT}
    # It is past the place of the step, and neither version is confused by the other.
    assert await refusals(handle) == set()
    assert "weigh" not in activities.calls


async def test_campaign_that_begins_while_both_decide_ends_well(
    client: Client, activities: FakeActivities, frozen: asyncio.Event
) -> None:
    frozen.set()
    async with deciding(client, OURS, NEXT):
        ended = await result(await start(client))

    assert ended == "sent"
    assert sorted(activities.batches) == list(range(BATCHES))


async def test_older_version_refuses_what_it_does_not_know_and_the_next_finishes_it(
    client: Client, activities: FakeActivities, frozen: asyncio.Event
) -> None:
    async with deciding(client, NEXT):
        handle = await start(client)
        await until(lambda: "freeze" in activities.calls)
    async with deciding(client, OURS):
        frozen.set()
        await until_refused(handle)
        status_meanwhile = (await handle.describe()).status
        sent_meanwhile = list(activities.batches)
    async with deciding(client, NEXT):
        ended = await result(handle)

    assert await is_marked(handle)
    assert activities.calls.count("weigh") == 1
    assert await refusals(handle) == {
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
    }
    assert (status_meanwhile, sent_meanwhile) == (WorkflowExecutionStatus.RUNNING, [])
    assert (ended, sorted(activities.batches)) == ("sent", list(range(BATCHES)))


async def test_after_a_roll_back_a_new_run_of_the_older_version_finishes_it(
    client: Client, activities: FakeActivities, frozen: asyncio.Event
) -> None:
    async with deciding(client, NEXT):
        handle = await start(client)
        await until(lambda: "freeze" in activities.calls)
    frozen.set()

    async with deciding(client, OURS):
        await until_refused(handle)
        # What an operator does; the upkeep then starts it anew, as is done here.
        await handle.terminate("rolled back")
        ended = await result(await start(client))

    assert (ended, sorted(activities.batches)) == ("sent", list(range(BATCHES)))
