"""PushCampaign: the life of one campaign, from its time to its last outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from fanfare.models import CampaignStatus, Lane
from workflows import queues
from workflows.attributes import STATUS
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

SHORT = timedelta(seconds=30)
# One pass of a batch: 1,000 messages, each with a deadline of its own of 15 s.
BATCH_PASS = timedelta(minutes=10)
# A worker that is gone is noticed by its silence.
HEARTBEAT = timedelta(seconds=15)
LONG = timedelta(hours=1)

EndActivity = Callable[[CampaignActivities, EndInput], Awaitable[None]]

RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=60),
)


class Progress(BaseModel):
    """What a run hands to the next when it continues as new: where each lane stands."""

    model_config = ConfigDict(frozen=True)

    audience: Audience
    next_numbers: dict[Lane, int]
    counts: BatchResult


class CampaignInput(BaseModel):
    """Which campaign, and when. A run that continues another carries its progress."""

    model_config = ConfigDict(frozen=True)

    project_id: UUID
    campaign_id: UUID
    scheduled_at: datetime | None = None
    progress: Progress | None = None


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
        self._next = dict(campaign.progress.next_numbers) if campaign.progress else {}
        self._counts = campaign.progress.counts if campaign.progress else BatchResult()

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
        return self._counts

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
        self._next = self._next or {lane.lane: lane.first for lane in audience.lanes}
        self._show_counts()
        slots = [self._slot(lane) for lane in audience.lanes for _ in range(WINDOW)]
        sending = asyncio.ensure_future(asyncio.gather(*slots))
        self._fan_out = sending
        await workflow.wait_condition(lambda: self._stopping or sending.done())

    async def _slot(self, lane: LaneRange) -> None:
        """Send one batch of the lane after the other, beside the window's other slots."""
        while not self._stopping and not workflow.info().is_continue_as_new_suggested():
            number = self._next[lane.lane]
            if number == lane.end:
                return
            self._next[lane.lane] = number + 1
            try:
                result = await self._send_batch(lane.lane, number)
            except ActivityError as error:
                self._note(error)
                return
            self._counts = self._counts.plus(result)
            self._show_counts()

    async def _send_batch(self, lane: Lane, number: int) -> BatchResult:
        return await workflow.execute_activity_method(
            BatchActivities.send_batch,
            BatchInput(**dict(self._key), number=number),
            task_queue=queues.of_lane(lane),
            start_to_close_timeout=BATCH_PASS,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary=f"{lane} batch {number}",
        )

    def _continue_if_unsent(self) -> None:
        assert self._audience is not None
        if any(self._next[lane.lane] < lane.end for lane in self._audience.lanes):
            progress = Progress(
                audience=self._audience, next_numbers=self._next, counts=self._counts
            )
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
        ending = self._ending()
        await self._end(CampaignActivities.stop, ending, "stop")
        if self._fan_out is not None:
            await self._fan_out
        if ending.status is CampaignStatus.CANCELLED:
            await self._end(CampaignActivities.close, ending, "close what is left")
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

    def _ending(self) -> EndInput:
        if self._failure is None:
            return EndInput(**dict(self._key), status=CampaignStatus.CANCELLED)
        return EndInput(
            **dict(self._key),
            status=CampaignStatus.FAILED,
            failure_code=self._failure.type or "INTERNAL",
            failure_message=self._failure.message,
        )

    def _note(self, error: ActivityError) -> None:
        """Remember why the campaign cannot go on; the first reason stands."""
        if is_cancelled_exception(error):
            self._cancelled = True
        elif self._failure is None:
            cause = error.cause
            known = cause if isinstance(cause, ApplicationError) else None
            self._failure = known or ApplicationError(str(error), type="INTERNAL")

    def _show(self, status: CampaignStatus, details: str) -> None:
        workflow.upsert_search_attributes([STATUS.value_set(status)])
        workflow.set_current_details(details.strip())

    def _show_counts(self) -> None:
        workflow.set_current_details(self._table())

    def _table(self) -> str:
        """Progress as Markdown, for the workflow's page in the Temporal UI. Costs no event."""
        if self._audience is None:
            return ""
        counts = self._counts
        final = counts.sent + counts.failed + counts.skipped + counts.unknown
        return (
            "| audience | sent | failed | skipped | unknown | in batches not done |\n"
            "| --- | --- | --- | --- | --- | --- |\n"
            f"| {self._audience.size:,} | {counts.sent:,} | {counts.failed:,} "
            f"| {counts.skipped:,} | {counts.unknown:,} | {self._audience.size - final:,} |"
        )
