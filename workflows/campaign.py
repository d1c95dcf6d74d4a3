"""PushCampaign: the life of one campaign, from its time to its last outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from fanfare.models import CampaignStatus
from workflows.attributes import STATUS
from workflows.buckets import Buckets
from workflows.control import Control
from workflows.endings import ending_of, missed
from workflows.fanout import HEARTBEAT, RETRY, totals
from workflows.progress import CampaignInput, table
from workflows.stubs import (
    BatchResult,
    BeginInput,
    CampaignActivities,
    CampaignKey,
    EndInput,
    FinishInput,
)

SHORT = timedelta(seconds=30)
LONG = timedelta(hours=1)

EndActivity = Callable[[CampaignActivities, EndInput], Awaitable[None]]


@workflow.defn(name="PushCampaign")
class PushCampaign:
    """Waits for its time, freezes the audience, sends it in batches, and ends in one status.

    The rows in PostgreSQL are the truth; this decides what is next.
    """

    @workflow.init
    def __init__(self, campaign: CampaignInput) -> None:
        self._key = CampaignKey(project_id=campaign.project_id, campaign_id=campaign.campaign_id)
        self._control = Control(campaign)
        self._buckets = Buckets(self._key, self._control, campaign, show=self._show_counts)
        self._is_begun = campaign.progress is not None or bool(campaign.buckets)
        # Whatever was due by then was missed because somebody had paused it.
        self._excused_until: datetime | None = None

    @workflow.run
    async def run(self, _: CampaignInput) -> str:
        """How it ended, in a word for the Temporal UI."""
        following = asyncio.ensure_future(self._follow())
        ended = await self._live()
        # Whoever changed the row as this came to its end, and sent it again, is followed too.
        if self._control.is_changed or self._control.is_reopened:
            workflow.continue_as_new(self._anew())
        following.cancel()
        return ended

    @workflow.signal
    def cancel(self) -> None:
        """Send nothing more. What is on the wire is waited for."""
        self._control.is_cancelled = True

    @workflow.signal
    def changed(self) -> None:
        """Look at the row: something was changed there. It may come once too often."""
        self._control.ask()

    @workflow.query
    def counts(self) -> BatchResult:
        """Outcomes of the batches that are done."""
        return totals(self._buckets.fan_outs)

    async def _live(self) -> str:
        try:
            while not self._is_begun and not self._control.is_stopping:
                await self._wait_until_due()
                if not self._control.is_stopping:
                    await self._begin()
            if not self._control.is_stopping:
                await self._buckets.send()
            if not self._control.is_stopping:
                self._continue_if_unsent()
                # Who cancels it as it finishes has the last word: the row does not become `sent`.
                if await self._finish() and not self._control.is_cancelled:
                    return CampaignStatus.SENT
        except ActivityError as error:
            self._control.note(error)
        except asyncio.CancelledError:
            # An operator's cancel in the Temporal UI means what the signal means.
            self._control.is_cancelled = True
        if self._control.over is not None:
            await self._buckets.rest()
            return self._control.over
        return await self._stop()

    async def _follow(self) -> None:
        """Look at the row whenever it may have been changed."""
        while True:
            await workflow.wait_condition(lambda: self._control.is_changed)
            upto = self._control.questions()
            standing = await workflow.execute_activity_method(
                CampaignActivities.look,
                self._key,
                start_to_close_timeout=SHORT,
                retry_policy=RETRY,
                summary="look at the campaign",
            )
            self._control.hear(standing, upto=upto)
            self._show_counts()

    async def _wait_until_due(self) -> None:
        """Return when the time has come, whichever it is by then, or when it never will."""
        while True:
            await workflow.wait_condition(self._is_told)
            if self._control.is_stopping:
                return
            due = await self._due()
            if self._control.is_changed or self._buckets.is_plan_old:
                continue
            if due is None or due <= workflow.now():
                self._fail_if_missed(due)
                return
            self._show(CampaignStatus.SCHEDULED, f"Waiting until {due:%Y-%m-%d %H:%M:%S} UTC.")
            try:
                await workflow.wait_condition(
                    lambda: self._control.is_stopping or self._control.is_changed,
                    timeout=due - workflow.now(),
                    timeout_summary="scheduled_at",
                )
            except TimeoutError:
                # A new run, so that a wait of a month does not bind today's code for sending.
                workflow.continue_as_new(self._control.carried())

    async def _due(self) -> datetime | None:
        if not self._control.campaign.is_bucketed:
            self._buckets.forget_plan()
            return self._control.campaign.scheduled_at
        await self._buckets.plan()
        return self._buckets.first_opening()

    def _fail_if_missed(self, due: datetime | None) -> None:
        """A campaign that wakes long after its time would surprise people.

        One that was paused over its time goes when it is resumed: that is somebody's wish. One
        that has begun has missed nothing, whoever takes it up again.
        """
        patience = self._control.campaign.max_lateness
        is_excused = self._control.campaign.is_paused or self._buckets.is_begun
        if due is None or patience is None or is_excused:
            return
        if self._excused_until is not None and due <= self._excused_until:
            return
        if workflow.now() - due > patience:
            self._control.fail(missed(due, patience))

    async def _begin(self) -> None:
        """Make it `sending`, unless the row says otherwise: it is what counts."""
        if self._control.is_held:
            await self._wait_while_held()
            return
        self._show(CampaignStatus.SENDING, "Freezing the audience.")
        begun = await workflow.execute_activity_method(
            CampaignActivities.begin,
            BeginInput(**dict(self._key), revision=self._control.campaign.revision),
            start_to_close_timeout=SHORT,
            retry_policy=RETRY,
            summary="begin",
        )
        self._is_begun = begun.to_send
        if begun.standing is not None:
            self._control.take_over(begun.standing)
        elif not begun.to_send:
            self._control.over = "nothing to send"

    async def _wait_while_held(self) -> None:
        """Return when it may begin, if its time has still come: it may have been moved."""
        was_paused = self._control.campaign.is_paused
        await workflow.wait_condition(self._may_begin)
        if was_paused:
            self._excused_until = workflow.now()

    def _is_told(self) -> bool:
        return self._control.is_stopping or not self._control.is_changed

    def _may_begin(self) -> bool:
        return self._control.is_stopping or not self._control.is_held

    def _continue_if_unsent(self) -> None:
        if self._buckets.is_unsent:
            workflow.continue_as_new(self._buckets.carried())

    def _anew(self) -> CampaignInput:
        """For a run that knows of the row nothing but which ledger goes with it."""
        ledger = self._control.campaign.in_doubt_since
        return CampaignInput(**dict(self._key), in_doubt_since=ledger, must_look=True)

    async def _finish(self) -> bool:
        """Whether the row may say that it was sent. Where it is another ledger's, it may not."""
        standing = await workflow.execute_activity_method(
            CampaignActivities.finish,
            FinishInput(**dict(self._key), in_doubt_since=self._control.campaign.in_doubt_since),
            start_to_close_timeout=LONG,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary="finish",
        )
        if standing is not None:
            self._control.take_over(standing)
            return False
        self._show(CampaignStatus.SENT, self._table())
        return True

    async def _stop(self) -> str:
        """Flip the status, which refuses every further claim; wait for what runs; close."""
        revision = self._control.campaign.revision
        ending = ending_of(self._key, self._control.failure, revision)
        await self._end(CampaignActivities.stop, ending, "stop")
        await self._buckets.rest()
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

    def _show(self, status: CampaignStatus, details: str) -> None:
        workflow.upsert_search_attributes([STATUS.value_set(status)])
        workflow.set_current_details(details.strip())

    def _show_counts(self) -> None:
        paused = "Paused.\n\n" if self._control.campaign.is_paused else ""
        workflow.set_current_details(f"{paused}{self._table()}")

    def _table(self) -> str:
        """Progress as Markdown, for the workflow's page in the Temporal UI. Costs no event."""
        fan_outs = self._buckets.fan_outs
        size = sum(fan_out.size for fan_out in fan_outs.values())
        return table(size, totals(fan_outs)) if fan_outs else ""
