"""The activities that concern a campaign as a whole."""

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.heartbeats import beating
from activities.stores import Stores
from fanfare.db import audience, campaigns, credentials, deliveries, segments, verdicts
from fanfare.db.audience import BatchSizes, FrozenAudience
from fanfare.entities import Campaign, Failure
from fanfare.errors import SegmentNotFound
from fanfare.models import CampaignStatus, Lane, ProjectCtx, SkipReason
from fanfare.segments.compiler import compile_rule
from fanfare.segments.errors import InvalidRules, RulesTooDeep
from fanfare.segments.grammar import parse_rules
from workflows.canary import WRONG_CREDENTIAL
from workflows.stubs import Audience, Begun, CampaignActivities, CampaignKey, EndInput, LaneRange

log = structlog.get_logger()


class Campaigns(CampaignActivities):
    """Implements the campaign's activities with the database."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    @activity.defn(name="begin_campaign")
    async def begin(self, key: CampaignKey) -> Begun:
        """Make the campaign `sending`. A second run finds it so."""
        async with self._stores.database.transaction() as conn:
            campaign = await campaigns.begin(conn, _project(key), key.campaign_id)
        return Begun(to_send=campaign is not None)

    @activity.defn(name="freeze_audience")
    async def freeze_audience(self, key: CampaignKey) -> Audience:
        """Write the audience down, once. A second run reads what the first one wrote."""
        async with beating(), self._stores.database.transaction() as conn:
            campaign = await campaigns.get(conn, _project(key), key.campaign_id)
            rule = await _rule(conn, campaign)
            frozen = await audience.freeze(conn, campaign, rule, BatchSizes())
            await _require_credentials(conn, _project(key), frozen)
        log.info("audience_frozen", campaign_id=str(campaign.id), audience=frozen.audience)
        lanes = [LaneRange(lane=lane.lane, first=lane.first, end=lane.end) for lane in frozen.lanes]
        return Audience(size=frozen.audience, lanes=lanes)

    @activity.defn(name="stop_campaign")
    async def stop(self, end: EndInput) -> None:
        """End the campaign as `cancelled` or `failed`; no claim succeeds after that.

        A second run, or a campaign that had ended before, changes nothing.
        """
        failure = None
        if end.failure_code is not None:
            failure = Failure(end.failure_code, end.failure_message or end.failure_code)
        async with beating(), self._stores.database.transaction() as conn:
            await campaigns.end(conn, _project(end), end.campaign_id, end.status, failure)
        log.info("campaign_stopped", campaign_id=str(end.campaign_id), status=end.status)

    @activity.defn(name="close_campaign")
    async def close(self, end: EndInput) -> None:
        """Once nothing is under way any more: settle what a stopped campaign leaves behind.

        A cancelled one gives every token its end; one with a wrong credential takes back what it
        said of tokens; another keeps what it owes. A second run finds nothing left.
        """
        project = _project(end)
        async with beating():
            if end.status is CampaignStatus.CANCELLED:
                async with self._stores.ledger.connection() as conn:
                    reason = SkipReason.CANCELLED
                    await deliveries.close_rest(conn, project, end.campaign_id, reason)
            if end.failure_code == WRONG_CREDENTIAL:
                async with self._stores.ledger.connection() as conn:
                    await verdicts.roll_back(conn, project, end.campaign_id)

    @activity.defn(name="finish_campaign")
    async def finish(self, key: CampaignKey) -> None:
        """Make the campaign `sent`, after its ledger was counted against its audience.

        A second run changes nothing. Where the two differ the campaign fails: that is a defect of
        ours, and an operator must hear of it.
        """
        project = _project(key)
        async with beating(), self._stores.database.transaction() as conn:
            frozen = await audience.frozen(
                conn, await campaigns.get(conn, project, key.campaign_id)
            )
            recorded = await deliveries.count(conn, project, key.campaign_id)
            if recorded != frozen.audience:
                raise ApplicationError(
                    f"{recorded} of {frozen.audience} deliveries are in the ledger",
                    type="LEDGER_MISMATCH",
                    non_retryable=True,
                )
            await campaigns.end(conn, project, key.campaign_id, CampaignStatus.SENT)
        log.info("campaign_sent", campaign_id=str(key.campaign_id), audience=recorded)


def _project(key: CampaignKey) -> ProjectCtx:
    return ProjectCtx(key.project_id)


async def _rule(conn: AsyncConnection, campaign: Campaign) -> sa.ColumnElement[bool]:
    """The segment's condition; everyone where the campaign names none.

    A segment that is gone, or that this version cannot read, fails the campaign: it never
    becomes a broadcast.
    """
    if campaign.segment_id is None:
        return sa.true()
    project = ProjectCtx(campaign.project_id)
    try:
        segment = await segments.get(conn, project, campaign.segment_id)
        return compile_rule(parse_rules(segment.rules))
    except SegmentNotFound as error:
        raise _failure("SEGMENT_NOT_FOUND", "The campaign's segment was deleted.") from error
    except (InvalidRules, RulesTooDeep) as error:
        raise _failure("INVALID_SEGMENT_RULES", f"The segment's rules: {error}") from error


async def _require_credentials(
    conn: AsyncConnection, project: ProjectCtx, frozen: FrozenAudience
) -> None:
    """Refuse an audience of which no one can be reached. Lanes without a credential are skipped
    where others have one."""
    stored = await credentials.all_of(conn, project)
    reachable = {Lane.of(credential.provider, credential.environment) for credential in stored}
    if frozen.lanes and reachable.isdisjoint(lane.lane for lane in frozen.lanes):
        raise _failure("NO_CREDENTIALS", "The project has no credentials for its audience.")


def _failure(code: str, message: str) -> ApplicationError:
    return ApplicationError(message, type=code, non_retryable=True)
