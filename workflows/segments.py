"""Keeping the snapshot of who is in which segment: every segment of a project, or one of them."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import queues
from workflows.stubs import SegmentActivities, SegmentKey, SegmentPage

# What one run takes on before it continues as new: about a thousand events.
PAGE = 200

# Two at once keep two cores of PostgreSQL busy, and leave it to others after that.
WINDOW = 2

SHORT = timedelta(seconds=30)
# The longest that a rule may take; the activity gives up a little earlier by itself.
LONG = timedelta(minutes=10)
HEARTBEAT = timedelta(seconds=15)

# The next refresh comes soon anyway.
RETRY = RetryPolicy(maximum_attempts=3)


class RefreshReport(BaseModel):
    """How many segments were refreshed, and the ids of those that could not be."""

    model_config = ConfigDict(frozen=True)

    refreshed: int = 0
    failed: tuple[str, ...] = ()


class RefreshInput(BaseModel):
    """Whose segments; one of them, or all. A run that continues another knows where it was."""

    model_config = ConfigDict(frozen=True)

    project_id: UUID
    segment_id: str | None = None
    after: str | None = None
    report: RefreshReport = Field(default_factory=RefreshReport)


@workflow.defn(name="RefreshSegments")
class RefreshSegments:
    """Refreshes segments, two at a time. One that cannot be is named in the report."""

    @workflow.init
    def __init__(self, refresh: RefreshInput) -> None:
        self._project_id = refresh.project_id
        self._refreshed = refresh.report.refreshed
        self._failed = list(refresh.report.failed)

    @workflow.run
    async def run(self, refresh: RefreshInput) -> RefreshReport:
        ids = await self._segments(refresh)
        waiting = iter(ids)
        await asyncio.gather(*(self._work(waiting) for _ in range(WINDOW)))
        report = RefreshReport(refreshed=self._refreshed, failed=tuple(self._failed))
        if refresh.segment_id is None and len(ids) == PAGE:
            rest = refresh.model_copy(update={"after": ids[-1], "report": report})
            workflow.continue_as_new(rest)
        return report

    async def _segments(self, refresh: RefreshInput) -> Sequence[str]:
        if refresh.segment_id is not None:
            return [refresh.segment_id]
        page = SegmentPage(project_id=refresh.project_id, after=refresh.after, limit=PAGE)
        found = await workflow.execute_activity_method(
            SegmentActivities.list_segments,
            page,
            task_queue=queues.SEGMENTS,
            start_to_close_timeout=SHORT,
            summary="list segments",
        )
        return found.ids

    async def _work(self, waiting: Iterator[str]) -> None:
        for segment_id in waiting:
            if await self._refresh(segment_id):
                self._refreshed += 1
            else:
                self._failed.append(segment_id)
            workflow.set_current_details(_progress(self._refreshed, self._failed))

    async def _refresh(self, segment_id: str) -> bool:
        try:
            await workflow.execute_activity_method(
                SegmentActivities.refresh_segment,
                SegmentKey(project_id=self._project_id, segment_id=segment_id),
                task_queue=queues.SEGMENTS,
                start_to_close_timeout=LONG,
                heartbeat_timeout=HEARTBEAT,
                retry_policy=RETRY,
                summary=segment_id,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return False
        return True


def _progress(refreshed: int, failed: Sequence[str]) -> str:
    failures = f"; could not be: {', '.join(failed)}" if failed else ""
    return f"{refreshed} refreshed{failures}"
