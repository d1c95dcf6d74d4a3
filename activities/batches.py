"""The activity `send_batch`."""

import asyncio
import time
from functools import partial
from uuid import UUID

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.admission import RatedPace
from activities.attempts import require_current
from activities.delivery import BatchPass, Passed, PassEndedEarly, close_batch, end_wait
from activities.environments import OtherWay
from activities.heartbeats import Wait, asking, beating
from activities.pace import CredentialReplaced, PaceClosed
from activities.rates import CampaignRates
from activities.refusals import CredentialsRefused, MessageRefused
from activities.senders import Sender, Senders
from activities.stores import Stores
from fanfare.db import batches, campaigns, claims
from fanfare.db.batches import BatchKey
from fanfare.db.claims import ClaimRefused
from fanfare.db.owed import Owing
from fanfare.entities import Batch, Campaign
from fanfare.errors import CampaignNotFound, InvalidCredential
from fanfare.models import ProjectCtx, SkipReason
from fanfare.providers import Notification
from workflows.stubs import BatchActivities, BatchInput, BatchResult

# How long, and for how many campaigns, a row is remembered.
KEEP_SECONDS = 5.0
KEEP_CAMPAIGNS = 100

# A pass that a slow rate makes longer gives its batch back: its workflow may wait for that to begin
# anew; and its activity must not time out, which would leave what is on the wire in doubt.
PASS_SECONDS = 300.0

log = structlog.get_logger()


class Batches(BatchActivities):
    """Implements `send_batch` with the database and the providers."""

    def __init__(self, stores: Stores, senders: Senders) -> None:
        self._stores = stores
        self._senders = senders
        self._rates = CampaignRates(stores.ledger)
        self._recent: dict[UUID, tuple[float, Campaign]] = {}

    @activity.defn(name="send_batch")
    async def send_batch(self, batch: BatchInput) -> BatchResult:
        """Send a batch and record each outcome.

        A second run sends only what has no row in the ledger; what an interrupted run may have
        sent is sent again as a possible duplicate, or written off where the campaign says so.
        """
        project = ProjectCtx(batch.project_id)
        key = BatchKey(project, batch.campaign_id, batch.number)
        try:
            await require_current()
            async with beating():
                return await self._send(key)
        except (ClaimRefused, CampaignNotFound):
            return BatchResult(stopped=True)
        except PassEndedEarly as error:
            raise _again("the worker stops; another takes the batch", "WORKER_STOPS") from error
        except CredentialReplaced as error:
            raise _again("the credential was replaced meanwhile", "CREDENTIAL_REPLACED") from error
        except MessageRefused as error:
            raise _final(_message_refused(error), "MESSAGE_REFUSED") from error
        except (CredentialsRefused, PaceClosed, InvalidCredential) as error:
            raise _final(_credentials_message(error), "CREDENTIALS_REFUSED") from error

    async def _send(self, key: BatchKey) -> BatchResult:
        campaign = await self._campaign(key)
        async with self._stores.ledger.connection() as ledger:
            batch = await batches.take(ledger, key)
        if batch is None:
            return BatchResult(stopped=True)
        sender = await self._senders.find(key.project, batch.lane)
        if sender is None:
            return await self._skip(key, batch)
        other = await self._senders.find_other(key.project, batch.lane)
        rate = self._rates.find(key.project, key.campaign_id)
        with (
            asking(Wait.PROVIDER, sender.pace.closed_until),
            asking(Wait.RATE, rate.closed_until),
        ):
            return _result(await self._pass(key, campaign, batch, sender, other).run())

    async def _campaign(self, key: BatchKey) -> Campaign:
        """The row, from memory where it was read a moment ago: no content changes while it sends.

        Whether it is still sending is what every claim asks the database.
        """
        now = asyncio.get_running_loop().time()
        read_at, campaign = self._recent.get(key.campaign_id, (-KEEP_SECONDS, None))
        if campaign is not None and now - read_at < KEEP_SECONDS:
            return campaign
        async with self._stores.database.transaction() as conn:
            campaign = await campaigns.get(conn, key.project, key.campaign_id)
        if len(self._recent) >= KEEP_CAMPAIGNS:
            self._recent.clear()
        self._recent[key.campaign_id] = (now, campaign)
        return campaign

    def _pass(
        self, key: BatchKey, campaign: Campaign, batch: Batch, sender: Sender, other: Sender | None
    ) -> BatchPass:
        notification = Notification(campaign.id, campaign.content, campaign.expires_at)
        way = None
        if other is not None:
            # Of a message that its rate has let go already.
            may_send = partial(self._may_send, key)
            way = OtherWay(other.provider.prepare(notification), other.pace, may_send)
        rate = self._rates.find(key.project, key.campaign_id)
        ends_at = time.monotonic() + PASS_SECONDS
        on_wait = partial(end_wait, campaign, ends_at)
        return BatchPass(
            stores=self._stores,
            key=key,
            batch=batch,
            campaign=campaign,
            send=sender.provider.prepare(notification),
            pace=RatedPace(rate, batch.lane, sender.pace, on_wait),
            other=way,
            ends_at=ends_at,
        )

    async def _may_send(self, key: BatchKey) -> bool:
        async with self._stores.ledger.connection() as ledger:
            return await claims.is_sending(ledger, key)

    async def _skip(self, key: BatchKey, batch: Batch) -> BatchResult:
        """Close a batch for which the project has no credential."""
        reason = SkipReason.NO_CREDENTIAL
        await close_batch(self._stores.ledger, key, batch, reason)
        async with self._stores.ledger.connection() as ledger:
            counts = await batches.close(ledger, key)
        log.warning("batch_skipped", batch=key.number, reason=reason)
        return _result(Passed(counts, Owing(0, None)))


def _result(passed: Passed) -> BatchResult:
    counts = passed.counts
    return BatchResult(
        sent=counts.sent,
        failed=counts.failed,
        skipped=counts.skipped,
        unknown=counts.unknown,
        suspects=counts.suspects,
        owed=passed.owing.count,
        due_at=None if passed.is_unfinished else passed.owing.next_due,
        unfinished=passed.is_unfinished,
    )


def _again(message: str, kind: str) -> ApplicationError:
    return ApplicationError(message, type=kind, category=ApplicationErrorCategory.BENIGN)


def _final(message: str, kind: str) -> ApplicationError:
    return ApplicationError(message, type=kind, non_retryable=True)


def _message_refused(error: MessageRefused) -> str:
    return (
        f"The provider refuses what this campaign sends ({error}), whoever it is for. What was not "
        "sent is still owed."
    )


def _credentials_message(error: Exception) -> str:
    match error:
        case InvalidCredential():
            return error.message
        case CredentialsRefused() if str(error) == "clock_skew":
            return (
                "The provider refuses our tokens because the clock of the machine that signs them "
                "is wrong. Set it, then send the campaign again."
            )
        case CredentialsRefused():
            return (
                f"The provider refuses the credential ({error}). Replace it, then send the "
                "campaign again."
            )
        case _:
            return "The provider refuses the credential. Replace it, then send the campaign again."
