"""Activities in memory: what the workflow asked for, and answers that a test lays ready."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from fanfare.models import CampaignStatus, Lane
from workflows.stubs import (
    Audience,
    BatchActivities,
    BatchInput,
    BatchResult,
    Begun,
    CampaignActivities,
    CampaignKey,
    EndInput,
    LaneRange,
    UpkeepActivities,
)

Answer = TypeVar("Answer")

BATCH = BatchResult(sent=9, failed=1)


def audience_of(**batches: int) -> Audience:
    """An audience of so many batches of ten devices per lane, numbered through."""
    lanes, first = [], 0
    for lane, count in batches.items():
        lanes.append(LaneRange(lane=Lane(lane), first=first, end=first + count))
        first += count
    return Audience(size=10 * first, lanes=lanes)


def failure(code: str) -> ApplicationError:
    """What an activity raises when the campaign cannot go on."""
    return ApplicationError("it is so", type=code, non_retryable=True)


@dataclass
class FakeActivities(CampaignActivities, BatchActivities):
    """Notes each call; `audience` and `on_batch` say what happens."""

    audience: Audience | ApplicationError
    to_send: bool = True
    on_batch: Callable[[int], BatchResult | ApplicationError] = lambda _: BATCH
    calls: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    ended: list[tuple[CampaignStatus, str | None]] = field(default_factory=list)
    begun_at: datetime | None = None
    running: set[int] = field(default_factory=set)
    running_beside: dict[int, set[int]] = field(default_factory=dict)

    @activity.defn(name="begin_campaign")
    async def begin(self, key: CampaignKey) -> Begun:
        self.calls.append("begin")
        self.begun_at = activity.info().scheduled_time
        return Begun(to_send=self.to_send)

    @activity.defn(name="freeze_audience")
    async def freeze_audience(self, key: CampaignKey) -> Audience:
        self.calls.append("freeze")
        return _given(self.audience)

    @activity.defn(name="send_batch")
    async def send_batch(self, batch: BatchInput) -> BatchResult:
        self.batches.append(batch.number)
        self.running_beside[batch.number] = set(self.running)
        self.running.add(batch.number)
        await asyncio.sleep(0)
        self.running.discard(batch.number)
        return _given(self.on_batch(batch.number))

    @activity.defn(name="stop_campaign")
    async def stop(self, end: EndInput) -> None:
        self.calls.append("stop")
        self.ended.append((end.status, end.failure_code))

    @activity.defn(name="close_campaign")
    async def close(self, end: EndInput) -> None:
        self.calls.append("close")

    @activity.defn(name="finish_campaign")
    async def finish(self, key: CampaignKey) -> None:
        self.calls.append("finish")

    def all(self) -> list[Callable[..., object]]:
        """What a worker registers."""
        return [
            self.begin,
            self.freeze_audience,
            self.send_batch,
            self.stop,
            self.close,
            self.finish,
        ]


class FakeUpkeep(UpkeepActivities):
    """Finds everything in order."""

    @activity.defn(name="keep_tables")
    async def keep_tables(self) -> None:
        return None

    @activity.defn(name="reconcile_campaigns")
    async def reconcile_campaigns(self) -> int:
        return 0

    @activity.defn(name="reconcile_refreshes")
    async def reconcile_refreshes(self) -> int:
        return 0


def _given(answer: Answer | ApplicationError) -> Answer:
    if isinstance(answer, ApplicationError):
        raise answer
    return answer
