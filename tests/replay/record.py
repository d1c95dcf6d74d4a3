"""Record a history per path of each workflow: `python -m tests.replay.record v2 [path ...]`.

Run it when a new version's paths are to be kept. Histories that are there are never rewritten:
they are what workflows of that version, still running somewhere, have lived through.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from fanfare.dev import temporal_server
from tests.workflows.fakes import FakeActivities, FakeUpkeep, audience_of, failure
from tests.workflows.refreshing import FakeSegments, refreshing
from tests.workflows.refreshing import start as start_refresh
from tests.workflows.running import serving, start
from workflows import WORKFLOWS, attributes, queues
from workflows.campaign import PushCampaign
from workflows.stubs import BatchResult
from workflows.upkeep import Upkeep

HISTORIES = Path(__file__).parent / "histories"

Handle = WorkflowHandle[PushCampaign, str]
AnyHandle = WorkflowHandle[Any, Any]  # Any: of whichever workflow


async def immediate(client: Client) -> Handle:
    return await _ended(client, FakeActivities(audience_of(apns=3, fcm=2)))


async def scheduled(client: Client) -> Handle:
    return await _ended(client, FakeActivities(audience_of(apns=1)), after=timedelta(seconds=2))


async def cancelled_while_waiting(client: Client) -> Handle:
    activities = FakeActivities(audience_of(apns=1))
    return await _ended(client, activities, after=timedelta(hours=1), act=_cancel)


async def failed_without_its_segment(client: Client) -> Handle:
    return await _ended(client, FakeActivities(failure("SEGMENT_NOT_FOUND")))


async def failed_by_refused_credentials(client: Client) -> Handle:
    activities = FakeActivities(
        audience_of(apns=20), on_batch=lambda _: failure("CREDENTIALS_REFUSED")
    )
    return await _ended(client, activities)


async def canary_asked_again(client: Client) -> Handle:
    due = await WorkflowEnvironment.from_client(client).get_current_time()
    answers = iter([BatchResult(owed=20, due_at=due)])
    activities = FakeActivities(
        audience_of(apns=3), on_batch=lambda _: next(answers, BatchResult(sent=20))
    )
    return await _ended(client, activities)


async def refresh_of_every_segment(client: Client) -> AnyHandle:
    segments = FakeSegments(["seg_a", "seg_b", "seg_c"], broken=frozenset({"seg_b"}))
    return await _refreshed(client, segments)


async def refresh_of_one_segment(client: Client) -> AnyHandle:
    return await _refreshed(client, FakeSegments([]), "seg_a")


async def upkeep(client: Client) -> AnyHandle:
    keeping = FakeUpkeep()
    activities = [keeping.keep_tables, keeping.reconcile_campaigns, keeping.reconcile_refreshes]
    async with Worker(client, task_queue=queues.MAIN, workflows=WORKFLOWS, activities=activities):
        handle = await client.start_workflow(
            Upkeep.run, id="fanfare-upkeep", task_queue=queues.MAIN
        )
        await handle.result()
    return handle


PATHS: dict[str, Callable[[Client], Awaitable[AnyHandle]]] = {
    path.__name__: path
    for path in (
        immediate,
        scheduled,
        cancelled_while_waiting,
        failed_without_its_segment,
        failed_by_refused_credentials,
        canary_asked_again,
        refresh_of_every_segment,
        refresh_of_one_segment,
        upkeep,
    )
}


async def record(version: str, only: Collection[str]) -> None:
    """Write the histories of this version that are not there yet: of every path, or of some."""
    async with await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(temporal_server.binary()),
        search_attributes=attributes.ALL,
        identity="recorder",
    ) as env:
        for name in only or PATHS:
            await _write(env.client, await PATHS[name](env.client), f"{version}-{name}")


async def _write(client: Client, handle: AnyHandle, name: str) -> None:
    """One file per run: a wait and the sending after it are two."""
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{handle.id}'")]
    for number, run in enumerate(sorted(runs, key=lambda run: run.start_time), start=1):
        file = HISTORIES / f"{name}-{number}.json"
        if not file.exists():
            of_run = client.get_workflow_handle(run.id, run_id=run.run_id)
            history = (await of_run.fetch_history()).to_json_dict()
            kept = {"workflow_id": run.id, "history": _without_origin(history)}
            file.write_text(json.dumps(kept, indent=1) + "\n")


def _without_origin(value: Any) -> Any:  # Any: JSON
    """Without what tells where it was recorded: replay reads neither."""
    if isinstance(value, list):
        return [_without_origin(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_origin(item)
        for key, item in value.items()
        if key not in {"identity", "stackTrace", "binaryChecksum"}
    }


async def _ended(
    client: Client,
    activities: FakeActivities,
    *,
    after: timedelta | None = None,
    act: Callable[[Handle], Awaitable[None]] | None = None,
) -> Handle:
    now = await WorkflowEnvironment.from_client(client).get_current_time()
    async with serving(client, activities):
        handle = await start(client, None if after is None else now + after)
        if act is not None:
            await act(handle)
        await handle.result()
    return handle


async def _refreshed(
    client: Client, segments: FakeSegments, segment_id: str | None = None
) -> AnyHandle:
    async with refreshing(client, segments):
        handle = await start_refresh(client, segments, segment_id)
        await handle.result()
    return handle


async def _cancel(handle: Handle) -> None:
    await handle.signal(PushCampaign.cancel)


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1], sys.argv[2:]))
