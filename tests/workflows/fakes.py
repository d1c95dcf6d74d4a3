"""Activities in memory: what the workflow asked for, and answers that a test lays ready."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from fanfare.models import CampaignStatus, Lane
from workflows.stubs import (
    Audience,
    BatchActivities,
    BatchInput,
    BatchResult,
    BeginInput,
    Begun,
    CampaignActivities,
    CampaignKey,
    EndInput,
    FinishInput,
    FreezeInput,
    LaneRange,
    Plan,
    Position,
    RestoreActivities,
    Standing,
    UpkeepActivities,
)

Answer = TypeVar("Answer")

BATCH = BatchResult(sent=9, failed=1)
STOPPED = BatchResult(stopped=True)
OPEN = (CampaignStatus.SCHEDULED, CampaignStatus.SENDING)
SENDING = Standing(status=CampaignStatus.SENDING)


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
    """Notes each call; `audience`, `on_batch` and `on_plan` say what happens.

    `standing` is the row, and counts as the real one does: what is paused or ended is not claimed
    from, and a beginning by another revision is refused. `gates` hold back a step by its name, and
    a batch by its number, until they are opened.
    """

    audience: Audience | ApplicationError
    to_send: bool = True
    on_batch: Callable[[int], BatchResult | ApplicationError] = lambda _: BATCH
    on_plan: Callable[[datetime], Plan] = lambda _: Plan(buckets=[])
    # Of buckets whose audience is another.
    audiences: Mapping[int, Audience] = field(default_factory=dict)
    standing: Standing = SENDING
    gates: Mapping[int | str, asyncio.Event] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    ended: list[tuple[CampaignStatus, str | None]] = field(default_factory=list)
    begun_at: datetime | None = None
    frozen_at: dict[int, datetime] = field(default_factory=dict)
    asked_at: list[tuple[int, datetime]] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    running_beside: dict[int, set[int]] = field(default_factory=dict)

    def change(self, **values: Any) -> None:  # Any: of the row's columns
        """Be the operator who changes the row."""
        revision = self.standing.revision + 1
        self.standing = self.standing.model_copy(update={"revision": revision, **values})

    @activity.defn(name="look_at_campaign")
    async def look(self, key: CampaignKey) -> Standing:
        await self._enter("look")
        return self.standing

    @activity.defn(name="plan_campaign")
    async def plan(self, key: CampaignKey) -> Plan:
        planned = self.on_plan(activity.info().scheduled_time)
        revision = self.standing.revision
        await self._enter("plan")
        return planned.model_copy(update={"revision": revision})

    @activity.defn(name="begin_campaign")
    async def begin(self, begin: BeginInput) -> Begun:
        await self._enter("begin")
        if not self.to_send:
            return Begun(to_send=False)
        if not self._may_begin(begin.revision):
            return Begun(to_send=False, standing=self.standing)
        self.begun_at = activity.info().scheduled_time
        self._become(CampaignStatus.SENDING)
        return Begun(to_send=True)

    @activity.defn(name="freeze_audience")
    async def freeze_audience(self, freeze: FreezeInput) -> Audience:
        await self._enter("freeze")
        self.frozen_at[freeze.bucket] = activity.info().scheduled_time
        return _given(self.audiences.get(freeze.bucket, self.audience))

    @activity.defn(name="send_batch")
    async def send_batch(self, batch: BatchInput) -> BatchResult:
        number = batch.number
        self.batches.append(number)
        self.asked_at.append((number, activity.info().scheduled_time))
        self.running_beside[number] = set(self.running)
        self.running.add(number)
        await self._pass_gate(number)
        self.running.discard(number)
        if self.standing.status is not CampaignStatus.SENDING or self.standing.is_paused:
            self.refused.append(number)
            return STOPPED
        return _given(self.on_batch(number))

    @activity.defn(name="stop_campaign")
    async def stop(self, end: EndInput) -> None:
        self.ended.append((end.status, end.failure_code))
        self._become(end.status)
        await self._enter("stop")

    @activity.defn(name="close_campaign")
    async def close(self, end: EndInput) -> None:
        await self._enter("close")

    @activity.defn(name="finish_campaign")
    async def finish(self, finish: FinishInput) -> Standing | None:
        await self._enter("finish")
        if finish.in_doubt_since != self.standing.in_doubt_since:
            return self.standing
        self._become(CampaignStatus.SENT)
        return None

    def all(self) -> list[Callable[..., object]]:
        """What a worker registers."""
        return [
            self.look,
            self.plan,
            self.begin,
            self.freeze_audience,
            self.send_batch,
            self.stop,
            self.close,
            self.finish,
        ]

    async def _enter(self, step: str) -> None:
        self.calls.append(step)
        await self._pass_gate(step)

    async def _pass_gate(self, step: int | str) -> None:
        gate = self.gates.get(step)
        await (asyncio.sleep(0) if gate is None else gate.wait())

    def _may_begin(self, revision: int | None) -> bool:
        is_known = revision is None or revision == self.standing.revision
        return is_known and self.standing.status in OPEN and not self.standing.is_paused

    def _become(self, status: CampaignStatus) -> None:
        if self.standing.status in OPEN:
            self.standing = self.standing.model_copy(update={"status": status})


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


class FakeRestores(RestoreActivities):
    """Finds a database that grows by one each time; notes what it was told was seen."""

    def __init__(self) -> None:
        self.seen: list[int | None] = []

    @activity.defn(name="check_database")
    async def check_database(self, seen: Position) -> Position:
        self.seen.append(seen.position)
        return Position(position=len(self.seen))


def _given(answer: Answer | ApplicationError) -> Answer:
    if isinstance(answer, ApplicationError):
        raise answer
    return answer
