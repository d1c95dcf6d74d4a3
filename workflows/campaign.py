"""PushCampaign: the life of one campaign, from its time to its last outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import reduce

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from fanfare.models import CampaignStatus, Lane
from workflows import queues
from workflows.attributes import STATUS
from workflows.canary import CANARY_PATIENCE, looks_wrong, wrong_credential
from workflows.endings import ending_of, failure_of
from workflows.progress import CampaignInput, LaneProgress, Progress, table
from workflows.stubs import (
    Audience,
    BatchActivities,
    BatchInput,
    BatchResult,
    CampaignActivities,
    CampaignKey,
    EndInput,
    LaneRange,
)

# Batches in flight per lane. From about ten on an activity costs half of what it costs alone, and
# a hundred bring nothing more.
WINDOW = 16

# Batches at once per lane that are returned to for what they owe: fresh ones are not starved.
SWEPT_AT_ONCE = 4

SHORT = timedelta(seconds=30)
# One pass of a batch: however long the provider, or our own pace, holds it back.
BATCH_PASS = timedelta(hours=2)
# A worker that is gone is noticed by its silence.
HEARTBEAT = timedelta(seconds=15)
LONG = timedelta(hours=1)

EndActivity = Callable[[CampaignActivities, EndInput], Awaitable[None]]

RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=60),
)


@workflow.defn(name="PushCampaign")
class PushCampaign:
    """Waits for its time, freezes the audience, sends it in batches, and ends in one status.

    The rows in PostgreSQL are the truth; this decides what is next.
    """

    @workflow.init
    def __init__(self, campaign: CampaignInput) -> None:
        self._campaign = campaign
        self._key = CampaignKey(project_id=campaign.project_id, campaign_id=campaign.campaign_id)
        self._cancelled = False
        self._failure: ApplicationError | None = None
        self._fan_out: asyncio.Future[list[None]] | None = None
        self._audience = campaign.progress.audience if campaign.progress else None
        self._lanes = dict(campaign.progress.lanes) if campaign.progress else {}

    @workflow.run
    async def run(self, _: CampaignInput) -> str:
        """How it ended, in a word for the Temporal UI."""
        try:
            await self._wait_until_due()
            if not self._cancelled and not await self._begin():
                return "nothing to send"
            if not self._cancelled:
                await self._send(self._audience or await self._freeze())
            if not self._stopping:
                self._continue_if_unsent()
                return await self._finish()
        except ActivityError as error:
            self._note(error)
        except asyncio.CancelledError:
            # An operator's cancel in the Temporal UI means what the signal means.
            self._cancelled = True
        return await self._stop()

    @workflow.signal
    def cancel(self) -> None:
        """Send nothing more. What is on the wire is waited for."""
        self._cancelled = True

    @workflow.query
    def counts(self) -> BatchResult:
        """Outcomes of the batches that are done."""
        return reduce(
            BatchResult.plus, [lane.counts for lane in self._lanes.values()], BatchResult()
        )

    @property
    def _stopping(self) -> bool:
        return self._cancelled or self._failure is not None

    async def _wait_until_due(self) -> None:
        due = self._campaign.scheduled_at
        if due is None or due <= workflow.now():
            return
        self._show(CampaignStatus.SCHEDULED, f"Waiting until {due:%Y-%m-%d %H:%M:%S} UTC.")
        try:
            await workflow.wait_condition(
                lambda: self._cancelled,
                timeout=due - workflow.now(),
                timeout_summary="scheduled_at",
            )
        except TimeoutError:
            # A new run, so that a wait of a month does not bind today's code for sending.
            workflow.continue_as_new(self._campaign)

    async def _begin(self) -> bool:
        """Whether there is something to send: the row may be gone, or ended by another hand."""
        if self._audience is not None:
            return True
        self._show(CampaignStatus.SENDING, "Freezing the audience.")
        begun = await workflow.execute_activity_method(
            CampaignActivities.begin,
            self._key,
            start_to_close_timeout=SHORT,
            retry_policy=RETRY,
            summary="begin",
        )
        return begun.to_send

    async def _freeze(self) -> Audience:
        return await workflow.execute_activity_method(
            CampaignActivities.freeze_audience,
            self._key,
            start_to_close_timeout=LONG,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary="freeze audience",
        )

    async def _send(self, audience: Audience) -> None:
        """Return when every batch has ended that this run has room for, or when it must stop."""
        self._audience = audience
        for lane in audience.lanes:
            self._lanes.setdefault(lane.lane, LaneProgress(next=lane.first))
        workflow.set_current_details(self._table())
        sending = asyncio.ensure_future(
            asyncio.gather(*(self._send_lane(lane) for lane in audience.lanes))
        )
        self._fan_out = sending
        await workflow.wait_condition(lambda: self._stopping or sending.done())

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
        await self._send_next(lane)
        progress = self._lanes[lane.lane]
        while not self._resting and progress.is_undecided(workflow.now() + CANARY_PATIENCE):
            # Campaigns that began before this rule go on with the rest.
            if not workflow.patched("ask-canary-again"):
                return
            await self._wait_for_first_due(progress)
            await self._send_due(lane.lane)

    async def _slot(self, lane: LaneRange) -> None:
        while not self._resting and self._lanes[lane.lane].next < lane.end:
            await self._send_next(lane)

    async def _sweep(self, lane: Lane, slots: "asyncio.Future[list[None]]") -> None:
        """Return to batches that owe messages, when the first of these is due."""
        progress = self._lanes[lane]

        def is_worth_a_look() -> bool:
            return self._resting or bool(progress.owing) or slots.done()

        while not self._resting and (progress.owing or not slots.done()):
            await workflow.wait_condition(is_worth_a_look)
            await self._wait_for_first_due(progress)
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

    @property
    def _resting(self) -> bool:
        """Whether to begin nothing more in this run."""
        return self._stopping or workflow.info().is_continue_as_new_suggested()

    async def _send_next(self, lane: LaneRange) -> None:
        progress = self._lanes[lane.lane]
        number = progress.next
        progress.next = number + 1
        await self._send_batch(lane.lane, number)

    async def _send_batch(self, lane: Lane, number: int) -> None:
        """Have a batch sent, and see what its outcomes say about the whole."""
        before = self._lanes[lane].owing.pop(number, BatchResult())
        try:
            result = await workflow.execute_activity_method(
                BatchActivities.send_batch,
                BatchInput(**dict(self._key), number=number),
                task_queue=queues.of_lane(lane),
                start_to_close_timeout=BATCH_PASS,
                heartbeat_timeout=HEARTBEAT,
                retry_policy=RETRY,
                summary=f"{lane} batch {number}",
            )
        except ActivityError as error:
            self._note(error)
            return
        if result.stopped:
            return
        progress = self._lanes[lane]
        progress.counts = progress.counts.plus(result.minus(before))
        if result.owed:
            progress.owing[number] = result
        workflow.set_current_details(self._table())
        if looks_wrong(progress.counts):
            self._failure = self._failure or wrong_credential(lane)

    def _continue_if_unsent(self) -> None:
        assert self._audience is not None
        if any(
            self._lanes[lane.lane].next < lane.end or self._lanes[lane.lane].owing
            for lane in self._audience.lanes
        ):
            progress = Progress(audience=self._audience, lanes=self._lanes)
            workflow.continue_as_new(self._campaign.model_copy(update={"progress": progress}))

    async def _finish(self) -> str:
        await workflow.execute_activity_method(
            CampaignActivities.finish,
            self._key,
            start_to_close_timeout=LONG,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary="finish",
        )
        self._show(CampaignStatus.SENT, self._table())
        return CampaignStatus.SENT

    async def _stop(self) -> str:
        """Flip the status, which refuses every further claim; wait for what runs; close."""
        ending = ending_of(self._key, self._failure)
        await self._end(CampaignActivities.stop, ending, "stop")
        if self._fan_out is not None:
            await self._fan_out
        await self._end(CampaignActivities.close, ending, "close")
        self._show(ending.status, f"{ending.failure_message or ''}\n\n{self._table()}")
        return ending.status

    async def _end(self, activity: EndActivity, ending: EndInput, summary: str) -> None:
        await workflow.execute_activity_method(
            activity,
            ending,
            start_to_close_timeout=LONG,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary=summary,
        )

    def _note(self, error: ActivityError) -> None:
        """Remember why the campaign cannot go on; the first reason stands."""
        if is_cancelled_exception(error):
            self._cancelled = True
        elif self._failure is None:
            self._failure = failure_of(error)

    def _show(self, status: CampaignStatus, details: str) -> None:
        workflow.upsert_search_attributes([STATUS.value_set(status)])
        workflow.set_current_details(details.strip())

    def _table(self) -> str:
        """Progress as Markdown, for the workflow's page in the Temporal UI. Costs no event."""
        return "" if self._audience is None else table(self._audience, self.counts())
