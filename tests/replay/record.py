"""Record a history per path of each workflow: `python -m tests.replay.record v2 [path ...]`.

Run it when a new version's paths are to be kept. Histories that are there are never rewritten:
they are what workflows of that version, still running somewhere, have lived through.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from fanfare.dev import temporal_server
from fanfare.models import CampaignStatus
from tests.workflows.fakes import FakeActivities, FakeRestores, FakeUpkeep, audience_of, failure
from tests.workflows.refreshing import FakeSegments, refreshing
from tests.workflows.refreshing import start as start_refresh
from tests.workflows.running import (
    serving,
    start,
    start_by_row,
    tell,
    until,
    until_run_after,
)
from workflows import WORKFLOWS, attributes, queues
from workflows.campaign import PushCampaign
from workflows.fanout import WINDOW
from workflows.stubs import BatchResult, BucketTimes, Plan, Standing
from workflows.upkeep import Upkeep

HISTORIES = Path(__file__).parent / "histories"

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
RESTORED_AT = datetime(2026, 3, 1, 9, tzinfo=UTC)

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


async def rescheduled(client: Client) -> Handle:
    activities = await _waiting(client, HOUR)
    async with serving(client, activities):
        handle = await start_by_row(client, activities)
        await tell(handle, activities, scheduled_at=await _now(client) + SECOND)
        await handle.result()
    return handle


async def unscheduled(client: Client) -> Handle:
    return await _told(client, await _waiting(client, HOUR), status=CampaignStatus.DRAFT)


async def removed(client: Client) -> Handle:
    return await _told(client, await _waiting(client, HOUR), status=None)


async def cancelled_by_the_row(client: Client) -> Handle:
    gate = asyncio.Event()
    activities = FakeActivities(audience_of(apns=40), gates=dict.fromkeys(range(1, 40), gate))
    async with serving(client, activities):
        handle = await start(client)
        await until(lambda: len(activities.batches) > WINDOW)
        await tell(handle, activities, status=CampaignStatus.CANCELLED)
        gate.set()
        await handle.result()
    return handle


async def paused_while_sending(client: Client) -> Handle:
    gate = asyncio.Event()
    activities = FakeActivities(audience_of(apns=20), gates=dict.fromkeys(range(1, 20), gate))
    async with serving(client, activities):
        handle = await start(client)
        await until(lambda: len(activities.batches) > WINDOW)
        await tell(handle, activities, is_paused=True)
        gate.set()
        await until(lambda: len(activities.refused) == WINDOW)
        await tell(handle, activities, is_paused=False)
        await handle.result()
    return handle


async def paused_over_its_time(client: Client) -> Handle:
    activities = await _waiting(client, SECOND)
    async with serving(client, activities):
        handle = await start_by_row(client, activities)
        await tell(handle, activities, is_paused=True)
        await until_run_after(handle)
        await tell(handle, activities, is_paused=False)
        await handle.result()
    return handle


async def missed(client: Client) -> Handle:
    activities = await _waiting(client, -2 * HOUR)
    async with serving(client, activities):
        handle = await start_by_row(client, activities)
        await handle.result()
    return handle


async def local_time(client: Client) -> Handle:
    """The last of three buckets is moved while the first is sent."""
    now = await _now(client)
    planned = [now + 2 * SECOND, now + 3 * SECOND, now + HOUR]
    moved = [*planned[:2], now + 5 * SECOND]
    activities = await _waiting(client, timedelta(0))
    activities.change(is_bucketed=True, scheduled_at=None)
    before = activities.standing.revision
    activities.on_plan = lambda _: _plan_of(
        planned if activities.standing.revision == before else moved
    )
    async with serving(client, activities):
        handle = await start_by_row(client, activities)
        await until(lambda: len(activities.batches) == 2)
        await tell(handle, activities)
        await handle.result()
    return handle


async def window_closed_and_opened(client: Client) -> Handle:
    """On a batch that is owed when it closes."""
    now = await _now(client)
    closes_at, opens_at = now + SECOND, now + 3 * SECOND
    owing = iter([BatchResult(sent=10), BatchResult(sent=9, owed=1, due_at=closes_at + SECOND / 2)])
    activities = FakeActivities(
        audience_of(apns=2),
        standing=Standing(status=CampaignStatus.SENDING, is_bucketed=True),
        on_batch=lambda _: next(owing, BatchResult(sent=10)),
        on_plan=lambda moment: Plan(
            buckets=[
                BucketTimes(number=0, opens_at=now, closes_at=closes_at)
                if moment < closes_at
                else BucketTimes(number=0, opens_at=opens_at, closes_at=opens_at + HOUR)
            ]
        ),
    )
    async with serving(client, activities):
        handle = await start_by_row(client, activities)
        await handle.result()
    return handle


async def sent_again_while_ending(client: Client) -> Handle:
    gate = asyncio.Event()
    answers = iter([failure("CREDENTIALS_REFUSED")])
    activities = FakeActivities(
        audience_of(apns=2),
        on_batch=lambda _: next(answers, BatchResult(sent=10)),
        gates={"close": gate},
    )
    async with serving(client, activities):
        handle = await start(client)
        await until(lambda: "close" in activities.calls)
        await tell(handle, activities, status=CampaignStatus.SENDING)
        gate.set()
        await handle.result()
    return handle


async def begun_anew(client: Client) -> Handle:
    """The database was restored while a batch was under way."""
    gate = asyncio.Event()
    activities = FakeActivities(audience_of(apns=3), gates={2: gate})
    async with serving(client, activities):
        handle = await start(client)
        await until(lambda: len(activities.batches) == 3)
        await tell(handle, activities, is_paused=True, in_doubt_since=RESTORED_AT)
        gate.set()
        await until_run_after(handle)
        await tell(handle, activities, is_paused=False)
        await handle.result()
    return handle


async def refresh_of_every_segment(client: Client) -> AnyHandle:
    segments = FakeSegments(["seg_a", "seg_b", "seg_c"], broken=frozenset({"seg_b"}))
    return await _refreshed(client, segments)


async def refresh_of_one_segment(client: Client) -> AnyHandle:
    return await _refreshed(client, FakeSegments([]), "seg_a")


async def upkeep(client: Client) -> AnyHandle:
    keeping = FakeUpkeep()
    activities: list[Callable[..., object]] = [
        FakeRestores().check_database,
        keeping.keep_tables,
        keeping.reconcile_campaigns,
        keeping.reconcile_refreshes,
    ]
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
        rescheduled,
        unscheduled,
        removed,
        cancelled_by_the_row,
        paused_while_sending,
        paused_over_its_time,
        missed,
        local_time,
        window_closed_and_opened,
        sent_again_while_ending,
        begun_anew,
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


async def _now(client: Client) -> datetime:
    return await WorkflowEnvironment.from_client(client).get_current_time()


async def _waiting(client: Client, after: timedelta) -> FakeActivities:
    """A campaign of one batch that is due so much later."""
    due = await _now(client) + after
    standing = Standing(status=CampaignStatus.SCHEDULED, scheduled_at=due, max_lateness=HOUR)
    return FakeActivities(audience_of(apns=1), standing=standing)


def _plan_of(moments: Sequence[datetime]) -> Plan:
    times = [BucketTimes(number=n, opens_at=opens_at) for n, opens_at in enumerate(moments)]
    return Plan(buckets=times)


async def _told(client: Client, activities: FakeActivities, **changed: object) -> Handle:
    async with serving(client, activities):
        handle = await start_by_row(client, activities)
        await tell(handle, activities, **changed)
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
