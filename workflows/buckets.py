"""Buckets: whose turn it is when. A campaign that goes out to all at once has one, number 0."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.control import Control
from workflows.endings import none_left
from workflows.fanout import HEARTBEAT, RETRY, FanOut, Rooms
from workflows.progress import CampaignInput
from workflows.stubs import (
    Audience,
    BucketTimes,
    CampaignActivities,
    CampaignKey,
    FreezeInput,
    Plan,
)

LONG = timedelta(hours=1)

# Our clock may be ahead of the planner's: what has closed here is open there for a moment.
PLAN_PAUSE = timedelta(seconds=1)

WHOLE = 0


class Buckets:
    """The buckets of a campaign, each with a timer of its own, and an audience once it has fired.

    When is not worked out here: clocks and zones are read by an activity, which writes the plan
    down. It is asked again when the row was changed, and when a window closes on what is unsent.
    """

    def __init__(
        self,
        key: CampaignKey,
        control: Control,
        campaign: CampaignInput,
        *,
        show: Callable[[], None],
    ) -> None:
        self._key = key
        self._control = control
        self._show = show
        self._rooms = Rooms()
        self.fan_outs = {
            number: FanOut(control, self._rooms, progress, show=show)
            for number, progress in campaign.all_progress().items()
        }
        # Whether the audience of some bucket was frozen, by this run or one before.
        self.is_begun = bool(self.fan_outs)
        self._plan: dict[int, BucketTimes] = {}
        self._planned_revision: int | None = None
        self._running: dict[int, asyncio.Future[None]] = {}

    async def plan(self) -> None:
        """Find out whose turn it is when, by the row as it is now."""
        plan: Plan = await workflow.execute_activity_method(
            CampaignActivities.plan,
            self._key,
            start_to_close_timeout=LONG,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary="plan buckets",
        )
        self._plan = {bucket.number: bucket for bucket in plan.buckets}
        self.is_begun = self.is_begun or plan.is_begun
        self._planned_revision = plan.revision
        if plan.revision is None or plan.revision > self._revision:
            # The row says more than was heard of it.
            self._planned_revision = plan.revision or self._revision
            self._control.ask()
        elif not self.is_plan_old and not (self._plan or self.fan_outs or self.is_begun):
            self._control.fail(none_left())

    def forget_plan(self) -> None:
        """The campaign goes out to all at once."""
        self._plan = {}

    def first_opening(self) -> datetime | None:
        """When the first of them fires; None where none will."""
        return min((bucket.opens_at for bucket in self._plan.values()), default=None)

    @property
    def is_plan_old(self) -> bool:
        """Whether the row was changed since, as far as it was heard of."""
        is_planned = self._control.campaign.is_bucketed or bool(self._plan)
        planned = self._planned_revision
        return is_planned and (planned is None or planned < self._revision)

    @property
    def is_unsent(self) -> bool:
        """Whether there is something left to send, now or when its turn comes."""
        return bool(self._unsent()) or not self._plan.keys() <= self.fan_outs.keys()

    def carried(self) -> CampaignInput:
        """What the next run is given."""
        campaign = self._control.carried()
        whole = self.fan_outs.get(WHOLE)
        buckets = {n: fan_out.progress for n, fan_out in self.fan_outs.items() if n != WHOLE}
        progress = None if whole is None else whole.progress
        return campaign.model_copy(update={"progress": progress, "buckets": buckets})

    async def send(self) -> None:
        """Return when every bucket has ended that this run has room for, or when it must stop."""
        if not self._control.campaign.is_bucketed:
            await self._send_whole()
            return
        while not self._resting:
            if self.is_plan_old:
                await self.plan()
            # The plan leaves out what it knows to be done; this run may have to hear it yet.
            for number in (*self._plan, *self._unsent()):
                self._start(number)
            await workflow.wait_condition(
                lambda: self._resting or self.is_plan_old or self._are_done()
            )
            if self._are_done() and not self.is_plan_old:
                break
        await self._wait_for_running()

    async def rest(self) -> None:
        """Wait until nothing is under way: what is, ends by itself once the control is stopping."""
        await asyncio.gather(*self._running.values())

    async def _send_whole(self) -> None:
        if WHOLE not in self.fan_outs:
            self._add(WHOLE, await self._freeze(WHOLE))
        self._show()
        self._start(WHOLE)
        # A window may come to it on its way.
        while not self._resting and not self._are_done():
            await workflow.wait_condition(
                lambda: self._resting or self._are_done() or self.is_plan_old
            )
            if self.is_plan_old:
                await self.plan()
        await self._wait_for_running()

    async def _wait_for_running(self) -> None:
        """What runs ends by itself where there is no time left in this run; or a stop comes."""
        await workflow.wait_condition(lambda: self._control.is_stopping or self._are_done())
        if not self._control.is_stopping:
            await self.rest()

    def _unsent(self) -> list[int]:
        return [number for number, fan_out in self.fan_outs.items() if fan_out.is_unsent]

    def _start(self, number: int) -> None:
        if number not in self._running:
            self._running[number] = asyncio.ensure_future(self._run(number))

    async def _run(self, number: int) -> None:
        try:
            if await self._fire(number):
                await self._send(number)
        except ActivityError as error:
            self._control.note(error)

    async def _fire(self, number: int) -> bool:
        """Wait for its turn, and freeze its audience. False where the turn does not come."""
        if number in self.fan_outs:
            return True
        await self._wait_for_turn(number)
        if self._resting or number not in self._plan:
            return False
        self._add(number, await self._freeze(number))
        self._show()
        return True

    async def _wait_for_turn(self, number: int) -> None:
        while not self._resting and (times := self._plan.get(number)) is not None:
            if self._control.is_held:
                await workflow.wait_condition(lambda: self._resting or not self._control.is_held)
            elif times.opens_at > workflow.now():
                await self._sleep(number, times, times.opens_at)
            elif self._is_too_late(times):
                # The plan leaves out what is past by the campaign's own rules.
                await self.plan()
                return
            else:
                return

    def _is_too_late(self, times: BucketTimes) -> bool:
        patience = self._control.campaign.max_lateness
        is_late = patience is not None and workflow.now() - times.opens_at > patience
        return is_late and not times.is_frozen

    async def _sleep(self, number: int, times: BucketTimes, until: datetime) -> None:
        """Return at that moment, or when the plan says something else, or there is no room left."""
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._resting or self._plan.get(number) != times,
                timeout=until - workflow.now(),
                timeout_summary=f"bucket {number}",
            )

    async def _send(self, number: int) -> None:
        """Send a bucket's audience, while its window is open."""
        fan_out = self.fan_outs[number]
        sending = asyncio.ensure_future(fan_out.run())
        minding = asyncio.ensure_future(self._mind_window(number, fan_out))
        await sending
        minding.cancel()

    async def _mind_window(self, number: int, fan_out: FanOut) -> None:
        while not self._resting:
            times = self._plan.get(number)
            fan_out.is_closed = times is not None and not _is_open(times, workflow.now())
            if times is not None and workflow.now() < times.opens_at:
                await self._sleep(number, times, times.opens_at)
            elif times is None or times.closes_at is None:
                await self._wait_for_plan(number, times)
            elif workflow.now() < times.closes_at:
                await self._sleep(number, times, times.closes_at)
            else:
                await self.plan()
                if self._plan.get(number) == times:
                    await self._sleep(number, times, workflow.now() + PLAN_PAUSE)

    async def _wait_for_plan(self, number: int, times: BucketTimes | None) -> None:
        """Return when the plan says something else of the bucket."""
        await workflow.wait_condition(lambda: self._plan.get(number) != times)

    async def _freeze(self, number: int) -> Audience:
        return await workflow.execute_activity_method(
            CampaignActivities.freeze_audience,
            FreezeInput(**dict(self._key), bucket=number),
            start_to_close_timeout=LONG,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            # Nobody settles a campaign before what its audience is has been settled.
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary="freeze audience" if number == WHOLE else f"freeze bucket {number}",
        )

    def _add(self, number: int, audience: Audience) -> None:
        self.fan_outs[number] = FanOut.of(self._control, self._rooms, audience, show=self._show)

    def _are_done(self) -> bool:
        return all(running.done() for running in self._running.values())

    @property
    def _revision(self) -> int:
        return self._control.campaign.revision or 0

    @property
    def _resting(self) -> bool:
        return self._control.is_stopping or workflow.info().is_continue_as_new_suggested()


def _is_open(times: BucketTimes, now: datetime) -> bool:
    return times.opens_at <= now and (times.closes_at is None or now < times.closes_at)
