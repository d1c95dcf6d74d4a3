"""Running RefreshSegments with fake activities, on whichever Temporal a test names."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from fanfare.ids import new_id
from workflows import WORKFLOWS, queues
from workflows.segments import RefreshInput, RefreshReport, RefreshSegments
from workflows.stubs import (
    SegmentActivities,
    SegmentCounts,
    SegmentIds,
    SegmentKey,
    SegmentPage,
)

COUNTS = SegmentCounts(users=10, entered=2, left=1)


@dataclass
class FakeSegments(SegmentActivities):
    """A project's segments by their ids; those in `broken` cannot be refreshed.

    Notes what was asked. Other projects, whose Schedules earlier tests left behind, have none.
    """

    ids: Sequence[str]
    broken: frozenset[str] = frozenset()
    project_id: UUID = field(default_factory=new_id)
    pages: list[str | None] = field(default_factory=list)
    refreshed: list[str] = field(default_factory=list)
    on_refresh: Callable[[str], None] = lambda _: None

    @activity.defn(name="list_segments")
    async def list_segments(self, page: SegmentPage) -> SegmentIds:
        if page.project_id != self.project_id:
            return SegmentIds(ids=[])
        self.pages.append(page.after)
        rest = [each for each in self.ids if page.after is None or each > page.after]
        return SegmentIds(ids=rest[: page.limit])

    @activity.defn(name="refresh_segment")
    async def refresh_segment(self, key: SegmentKey) -> SegmentCounts:
        if key.project_id != self.project_id:
            return COUNTS
        self.on_refresh(key.segment_id)
        if key.segment_id in self.broken:
            raise ApplicationError("it is so", type="INVALID_SEGMENT_RULES", non_retryable=True)
        self.refreshed.append(key.segment_id)
        return COUNTS


@asynccontextmanager
async def refreshing(client: Client, segments: SegmentActivities) -> AsyncIterator[None]:
    """Workers for the main queue and that of the segments, as `worker.py` has them."""
    activities: list[Callable[..., object]] = [segments.list_segments, segments.refresh_segment]
    async with (
        Worker(client, task_queue=queues.MAIN, workflows=WORKFLOWS),
        Worker(client, task_queue=queues.SEGMENTS, activities=activities),
    ):
        yield


async def start(
    client: Client, segments: FakeSegments, segment_id: str | None = None
) -> WorkflowHandle[RefreshSegments, RefreshReport]:
    """A refresh of every segment of the project, or of one."""
    return await client.start_workflow(
        RefreshSegments.run,
        RefreshInput(project_id=segments.project_id, segment_id=segment_id),
        id=f"refresh-segments-{segments.project_id}",
        task_queue=queues.MAIN,
    )


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Ask the server until it is so, a minute at most."""
    async with asyncio.timeout(60):
        while not await is_so():  # noqa: ASYNC110 - what a server knows, not an event of ours
            await asyncio.sleep(0.05)
