"""The activity `send_batch`."""

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.delivery import BatchPass, CredentialsRefused, PassEndedEarly, delay_until_due
from activities.heartbeats import beating
from activities.senders import Senders
from fanfare.db import batches, campaigns, deliveries
from fanfare.db.batches import BatchKey
from fanfare.db.claims import ClaimRefused
from fanfare.db.engine import Database
from fanfare.db.owed import Owing
from fanfare.entities import Batch, Campaign, Stats
from fanfare.errors import InvalidCredential
from fanfare.models import ProjectCtx, SkipReason
from fanfare.providers import Notification, Provider
from workflows.stubs import BatchActivities, BatchInput, BatchResult

log = structlog.get_logger()


class Batches(BatchActivities):
    """Implements `send_batch` with the database and the providers."""

    def __init__(self, database: Database, senders: Senders) -> None:
        self._database = database
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
        except ClaimRefused:
            return BatchResult(stopped=True)
        except PassEndedEarly as error:
            raise _again("the worker stops; another takes the batch", "WORKER_STOPS") from error
        except (CredentialsRefused, InvalidCredential) as error:
            raise ApplicationError(
                _credentials_message(error), type="CREDENTIALS_REFUSED", non_retryable=True
            ) from error

    async def _send(self, key: BatchKey) -> BatchResult:
        async with self._database.transaction() as conn:
            campaign = await campaigns.get(conn, key.project, key.campaign_id)
            batch = await batches.take(conn, key)
            done = await batches.complete(conn, key)
        if done is not None:
            return _result(done)
        provider = await self._senders.find(key.project, batch.lane)
        if provider is None:
            return await self._skip(key)
        ended = await self._pass(key, campaign, batch, provider).run()
        if isinstance(ended, Stats):
            return _result(ended)
        raise _owes(ended)

    def _pass(
        self, key: BatchKey, campaign: Campaign, batch: Batch, provider: Provider
    ) -> BatchPass:
        notification = Notification(campaign.id, campaign.content, campaign.expires_at)
        return BatchPass(
            database=self._database,
            key=key,
            batch=batch,
            campaign=campaign,
            send=provider.prepare(notification),
        )

    async def _skip(self, key: BatchKey) -> BatchResult:
        """Close a batch for which the project has no credential."""
        reason = SkipReason.NO_CREDENTIAL
        async with self._database.transaction() as conn:
            await deliveries.close_rest(
                conn, key.project, key.campaign_id, reason, number=key.number
            )
            done = await batches.complete(conn, key)
        log.warning("batch_skipped", batch=key.number, reason=reason)
        return _result(done or Stats())


def _result(stats: Stats) -> BatchResult:
    return BatchResult(
        sent=stats.sent, failed=stats.failed, skipped=stats.skipped, unknown=stats.unknown
    )


def _owes(owing: Owing) -> ApplicationError:
    return ApplicationError(
        f"{owing.count} messages are owed",
        type="DELIVERIES_OWED",
        next_retry_delay=delay_until_due(owing),
        category=ApplicationErrorCategory.BENIGN,
    )


def _again(message: str, kind: str) -> ApplicationError:
    return ApplicationError(message, type=kind, category=ApplicationErrorCategory.BENIGN)


def _credentials_message(error: Exception) -> str:
    if isinstance(error, InvalidCredential):
        return error.message
    return "The provider refuses the credential. Replace it, then send the campaign again."
