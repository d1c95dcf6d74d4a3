"""FanOut: a frozen audience on its way, batch by batch, lane beside lane."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import reduce

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from fanfare.models import Lane
from workflows import queues
from workflows.canary import CANARY_PATIENCE, looks_wrong, wrong_credential
from workflows.control import Control
from workflows.progress import LaneProgress, Progress
from workflows.stubs import Audience, BatchActivities, BatchInput, BatchResult, LaneRange

# Batches in flight per lane. From about ten on an activity costs half of what it costs alone, and
# a hundred bring nothing more.
WINDOW = 16

# Batches at once per lane that are returned to for what they owe: fresh ones are not starved.
SWEPT_AT_ONCE = 4

# One pass of a batch: however long the provider, or our own pace, holds it back.
BATCH_PASS = timedelta(hours=2)
# A worker that is gone is noticed by its silence.
HEARTBEAT = timedelta(seconds=15)

# A batch that was refused for no reason that is left is tried again so much later.
REFUSED_PAUSE = timedelta(seconds=1)

RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=60),
)


class Rooms(dict[Lane, asyncio.Semaphore]):
    """How many batches of a lane a campaign has under way, in all its buckets together."""

    def __missing__(self, lane: Lane) -> asyncio.Semaphore:
        room = self[lane] = asyncio.Semaphore(WINDOW + SWEPT_AT_ONCE)
        return room


class FanOut:
    """Sends the batches of one audience. What it has done, and owes, is its progress."""

    def __init__(
        self, control: Control, rooms: Rooms, progress: Progress, *, show: Callable[[], None]
    ) -> None:
        """`rooms` are shared by all buckets; `show` is called whenever the counts have changed."""
        self._control = control
        self._rooms = rooms
        self._audience = progress.audience
        self._lanes = dict(progress.lanes)
        self._show = show
        # Whether its window is closed: nothing is begun until it opens.
        self.is_closed = False

    @classmethod
    def of(
        cls, control: Control, rooms: Rooms, audience: Audience, *, show: Callable[[], None]
    ) -> "FanOut":
        """One that has everything before it."""
        lanes = {lane.lane: LaneProgress(next=lane.first) for lane in audience.lanes}
        return cls(control, rooms, Progress(audience=audience, lanes=lanes), show=show)

    @property
    def size(self) -> int:
        """How many devices."""
        return self._audience.size

    @property
    def progress(self) -> Progress:
        """For the next run."""
        return Progress(audience=self._audience, lanes=self._lanes)

    @property
    def counts(self) -> BatchResult:
        """Outcomes of the batches that are done."""
        return total([lane.counts for lane in self._lanes.values()])

    @property
    def is_unsent(self) -> bool:
        """Whether there is something left to send."""
        return any(
            self._lanes[lane.lane].next < lane.end or self._lanes[lane.lane].owing
            for lane in self._audience.lanes
        )

    async def run(self) -> None:
        """Return when every batch has ended that this run has room for, or when it must stop."""
        await asyncio.gather(*(self._send_lane(lane) for lane in self._audience.lanes))

    async def _send_lane(self, lane: LaneRange) -> None:
        """The canary by itself, then the window's slots, and beside them what is owed."""
        if self._lanes[lane.lane].next == lane.first:
            await self._send_canary(lane)
        slots = asyncio.gather(*(self._slot(lane) for _ in range(WINDOW)))
        await self._sweep(lane.lane, slots)
        await slots

    async def _send_canary(self, lane: LaneRange) -> None:
        """The first batch alone; again where it comes back undecided, to be tried soon.

        So with a credential that is not refused before a second connection confirms it.
        """
        await self._wait_while_held()
        if not self._resting:
            await self._send_next(lane)
        progress = self._lanes[lane.lane]
        while not self._resting and progress.is_undecided(workflow.now() + CANARY_PATIENCE):
            # Campaigns that began before this rule go on with the rest.
            if not workflow.patched("ask-canary-again"):
                return
            await self._wait_for_first_due(progress)
            await self._wait_while_held()
            await self._send_due(lane.lane)

    async def _slot(self, lane: LaneRange) -> None:
        while not self._resting and self._lanes[lane.lane].next < lane.end:
            if self._is_held:
                await self._wait_while_held()
            else:
                await self._send_next(lane)

    async def _sweep(self, lane: Lane, slots: "asyncio.Future[list[None]]") -> None:
        """Return to batches that owe messages, when the first of these is due."""
        progress = self._lanes[lane]

        def is_worth_a_look() -> bool:
            return self._resting or bool(progress.owing) or slots.done()

        while not self._resting and (progress.owing or not slots.done()):
            await workflow.wait_condition(is_worth_a_look)
            await self._wait_for_first_due(progress)
            await self._wait_while_held()
            await self._send_due(lane)

    async def _send_due(self, lane: Lane) -> None:
        if not self._resting:
            due = self._lanes[lane].due_by(workflow.now())[:SWEPT_AT_ONCE]
            await asyncio.gather(*(self._send_batch(lane, number) for number in due))

    async def _wait_for_first_due(self, progress: LaneProgress) -> None:
        first = progress.first_due()
        if first is not None and first > workflow.now():
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._resting or progress.first_due() != first,
                    timeout=first - workflow.now(),
                    timeout_summary="owed messages are due",
                )

    async def _wait_while_held(self) -> None:
        if self._is_held:
            await workflow.wait_condition(lambda: self._resting or not self._is_held)

    @property
    def _is_held(self) -> bool:
        return self.is_closed or self._control.is_held

    @property
    def _resting(self) -> bool:
        """Whether to begin nothing more in this run."""
        return self._control.is_stopping or workflow.info().is_continue_as_new_suggested()

    async def _send_next(self, lane: LaneRange) -> None:
        progress = self._lanes[lane.lane]
        number = progress.next
        progress.next = number + 1
        await self._send_batch(lane.lane, number)

    async def _send_batch(self, lane: Lane, number: int) -> None:
        async with self._rooms[lane]:
            # Who waited for room comes to another time.
            if self._resting or self._is_held:
                self._lanes[lane].owing.setdefault(number, BatchResult(due_at=workflow.now()))
            else:
                await self._have_sent(lane, number)

    async def _have_sent(self, lane: Lane, number: int) -> None:
        """Have a batch sent, and see what its outcomes say about the whole."""
        before = self._lanes[lane].owing.pop(number, BatchResult())
        try:
            result = await workflow.execute_activity_method(
                BatchActivities.send_batch,
                self._input(number),
                task_queue=queues.of_lane(lane),
                start_to_close_timeout=BATCH_PASS,
                heartbeat_timeout=HEARTBEAT,
                retry_policy=RETRY,
                summary=f"{lane} batch {number}",
            )
        except ActivityError as error:
            self._control.note(error)
            return
        if result.stopped:
            self._return_to(lane, number, before)
            return
        progress = self._lanes[lane]
        progress.counts = progress.counts.plus(result.minus(before))
        if result.unfinished:
            progress.owing[number] = result.model_copy(update={"due_at": workflow.now()})
        elif result.owed:
            progress.owing[number] = result
        self._show()
        if looks_wrong(progress.counts):
            self._control.fail(wrong_credential(lane))

    def _return_to(self, lane: Lane, number: int, before: BatchResult) -> None:
        """Keep a batch whose claims were refused: the campaign is paused, closed, or at its end."""
        if self._control.is_stopping:
            return
        due_at = workflow.now() + REFUSED_PAUSE
        self._lanes[lane].owing[number] = before.model_copy(update={"due_at": due_at})
        self._control.ask()

    def _input(self, number: int) -> BatchInput:
        campaign = self._control.campaign
        return BatchInput(
            project_id=campaign.project_id, campaign_id=campaign.campaign_id, number=number
        )


def total(counts: list[BatchResult]) -> BatchResult:
    """All of them together."""
    return reduce(BatchResult.plus, counts, BatchResult())


def totals(fan_outs: Mapping[int, FanOut]) -> BatchResult:
    """The counts of all buckets together."""
    return total([fan_out.counts for fan_out in fan_outs.values()])
