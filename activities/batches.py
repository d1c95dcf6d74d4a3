"""The activity `send_batch`."""

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.delivery import (
    BatchPass,
    CredentialsRefused,
    Passed,
    PassEndedEarly,
    Stores,
    close_batch,
)
from activities.heartbeats import beating
from activities.senders import Senders
from fanfare.db import batches, campaigns
from fanfare.db.batches import BatchKey
from fanfare.db.claims import ClaimRefused
from fanfare.db.owed import Owing
from fanfare.entities import Batch, Campaign
from fanfare.errors import CampaignNotFound, InvalidCredential
from fanfare.models import ProjectCtx, SkipReason
from fanfare.providers import Notification, Provider
from workflows.stubs import BatchActivities, BatchInput, BatchResult

log = structlog.get_logger()


class Batches(BatchActivities):
    """Implements `send_batch` with the database and the providers."""

    def __init__(self, stores: Stores, senders: Senders) -> None:
        self._stores = stores
        self._senders = senders

    @activity.defn(name="send_batch")
    async def send_batch(self, batch: BatchInput) -> BatchResult:
        """Send a batch and record each outcome.

        A second run sends only what has no row in the ledger; what an interrupted run may have
        sent is sent again as a possible duplicate, or written off where the campaign says so.
        """
        project = ProjectCtx(batch.project_id)
        key = BatchKey(project, batch.campaign_id, batch.number)
        try:
            async with beating():
                return await self._send(key)
        except (ClaimRefused, CampaignNotFound):
            return BatchResult(stopped=True)
        except PassEndedEarly as error:
            raise _again("the worker stops; another takes the batch", "WORKER_STOPS") from error
        except (CredentialsRefused, InvalidCredential) as error:
            raise ApplicationError(
                _credentials_message(error), type="CREDENTIALS_REFUSED", non_retryable=True
            ) from error

    async def _send(self, key: BatchKey) -> BatchResult:
        async with self._stores.database.transaction() as conn:
            campaign = await campaigns.get(conn, key.project, key.campaign_id)
        async with self._stores.ledger.connection() as ledger:
            batch = await batches.take(ledger, key)
        if batch is None:
            return BatchResult(stopped=True)
        provider = await self._senders.find(key.project, batch.lane)
        if provider is None:
            return await self._skip(key, batch)
        return _result(await self._pass(key, campaign, batch, provider).run())

    def _pass(
        self, key: BatchKey, campaign: Campaign, batch: Batch, provider: Provider
    ) -> BatchPass:
        notification = Notification(campaign.id, campaign.content, campaign.expires_at)
        return BatchPass(
            stores=self._stores,
            key=key,
            batch=batch,
            campaign=campaign,
            send=provider.prepare(notification),
        )

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
        due_at=passed.owing.next_due,
    )


def _again(message: str, kind: str) -> ApplicationError:
    return ApplicationError(message, type=kind, category=ApplicationErrorCategory.BENIGN)


def _credentials_message(error: Exception) -> str:
    if isinstance(error, InvalidCredential):
        return error.message
    return "The provider refuses the credential. Replace it, then send the campaign again."
