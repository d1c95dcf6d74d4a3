"""The activities that concern a campaign as a whole."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.heartbeats import beating
from activities.stores import Stores
from fanfare.db import (
    audience,
    buckets,
    campaigns,
    controls,
    credentials,
    deliveries,
    segments,
    shares,
    verdicts,
)
from fanfare.db.audience import BatchSizes, FrozenAudience
from fanfare.entities import Bucket, Campaign, Failure
from fanfare.errors import CampaignNotFound, SegmentNotFound
from fanfare.models import (
    CampaignStatus,
    DeliveryMode,
    Lane,
    PastPolicy,
    ProjectCtx,
    SkipReason,
)
from fanfare.schedule import PlannedBucket, known_timezones
from fanfare.segments.compiler import compile_rule
from fanfare.segments.errors import InvalidRules, RulesTooDeep
from fanfare.segments.grammar import parse_rules
from fanfare.turns import turns_of
from workflows import starter
from workflows.canary import WRONG_CREDENTIAL
from workflows.stubs import (
    Audience,
    BeginInput,
    Begun,
    BucketTimes,
    CampaignActivities,
    CampaignKey,
    EndInput,
    FinishInput,
    FreezeInput,
    LaneRange,
    Plan,
    Standing,
)

SIZES = BatchSizes()

log = structlog.get_logger()


class Campaigns(CampaignActivities):
    """Implements the campaign's activities with the database."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    @activity.defn(name="look_at_campaign")
    async def look(self, key: CampaignKey) -> Standing:
        """What the row says, which is noted there as heard. A second run looks again."""
        async with self._stores.database.transaction() as conn:
            return await _standing(conn, key)

    @activity.defn(name="plan_campaign")
    async def plan(self, key: CampaignKey) -> Plan:
        """Write down whose turn it is when. A second run finds it so, or what has changed."""
        async with beating(), self._stores.database.transaction() as conn:
            try:
                campaign = await buckets.hold(conn, _project(key), key.campaign_id)
            except CampaignNotFound:
                return Plan(buckets=[])
            now = datetime.now(UTC)
            left = await buckets.plan(conn, campaign, _turns(campaign, now), now)
            is_begun = await buckets.is_begun(conn, campaign)
        times = [_times(bucket) for bucket in left]
        return Plan(buckets=times, revision=campaign.revision, is_begun=is_begun)

    @activity.defn(name="begin_campaign")
    async def begin(self, begin: BeginInput) -> Begun:
        """Make the campaign `sending`. A second run finds it so."""
        project = _project(begin)
        async with self._stores.database.transaction() as conn:
            begun = await campaigns.begin(conn, project, begin.campaign_id, revision=begin.revision)
            if begun is not None:
                return Begun(to_send=True)
            return Begun(to_send=False, standing=await _standing(conn, begin))

    @activity.defn(name="freeze_audience")
    async def freeze_audience(self, freeze: FreezeInput) -> Audience:
        """Write a bucket's audience down, once. A second run reads what the first one wrote."""
        async with beating(), self._stores.database.transaction() as conn:
            campaign = await _campaign(conn, freeze)
            rules = await _rules(conn, campaign)
            frozen = await audience.freeze(
                conn, campaign, _condition(rules), SIZES, bucket=freeze.bucket, rules=rules
            )
            await _require_credentials(conn, campaign, frozen)
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
            project, revision = _project(end), end.revision
            await campaigns.end(
                conn, project, end.campaign_id, end.status, failure, revision=revision
            )
        log.info("campaign_stopped", campaign_id=str(end.campaign_id), status=end.status)

    @activity.defn(name="close_campaign")
    async def close(self, end: EndInput) -> None:
        """Once nothing is under way any more: settle what a stopped campaign leaves behind.

        A cancelled one gives every token its end, whatever this run ended for; one with a wrong
        credential takes back what it said of tokens; another keeps what it owes. A second run
        finds nothing left.
        """
        project = _project(end)
        async with beating():
            if await self._is_cancelled(end):
                await self._close_cancelled(project, end.campaign_id)
            if end.failure_code == WRONG_CREDENTIAL:
                async with self._stores.ledger.long_transaction() as conn:
                    await verdicts.roll_back(conn, project, end.campaign_id)

    @activity.defn(name="finish_campaign")
    async def finish(self, finish: FinishInput) -> Standing | None:
        """Make the campaign `sent`, after its ledger was counted against its audience.

        A second run changes nothing. Where the two differ the campaign fails: that is a defect of
        ours, and an operator must hear of it. Where the ledger is not the one that the run went
        by, because the database was restored, nothing is done but to say what the row says.
        """
        async with beating():
            if (standing := await self._of_another_ledger(finish)) is not None:
                return standing
            await self._account_for_past(finish)
            await self._end_as_sent(finish)
        return None

    async def _of_another_ledger(self, finish: FinishInput) -> Standing | None:
        # Who claims no more may be the first to meet a database that was restored.
        await self._stores.ledger.check()
        async with self._stores.database.transaction() as conn:
            campaign = await _campaign(conn, finish)
            if campaign.in_doubt_since == finish.in_doubt_since:
                return None
            return await _standing(conn, finish)

    async def _end_as_sent(self, key: CampaignKey) -> None:
        project = _project(key)
        async with self._stores.database.transaction() as conn:
            campaign = await _campaign(conn, key)
            size = await audience.size(conn, campaign)
            recorded = await deliveries.count(conn, project, key.campaign_id)
            if recorded != size:
                raise _failure("LEDGER_MISMATCH", f"The ledger has {recorded} of {size} rows.")
            await campaigns.end(conn, project, key.campaign_id, CampaignStatus.SENT)
        log.info("campaign_sent", campaign_id=str(key.campaign_id), audience=recorded)

    async def _account_for_past(self, key: CampaignKey) -> None:
        """Give whoever had no turn, because it was past, a row that says so."""
        project, campaign_id = _project(key), key.campaign_id
        async with self._stores.database.transaction() as conn:
            campaign = await _campaign(conn, key)
            if campaign.timing.delivery_mode is not DeliveryMode.LOCAL_TIME:
                return
            condition = _condition(await _rules(conn, campaign))
            await audience.freeze_past(conn, campaign, condition, SIZES)
        async with self._stores.ledger.long_transaction() as ledger:
            await deliveries.close_rest(
                ledger, project, campaign_id, SkipReason.PAST, bucket=shares.PAST
            )

    async def _is_cancelled(self, end: EndInput) -> bool:
        """Whether an operator cancelled it: the row says so, even where it failed meanwhile."""
        async with self._stores.database.transaction() as conn:
            try:
                campaign = await campaigns.get(conn, _project(end), end.campaign_id)
            except CampaignNotFound:
                # It was removed, which only one that has no ledger can be.
                return False
        return campaign.status is CampaignStatus.CANCELLED

    async def _close_cancelled(self, project: ProjectCtx, campaign_id: UUID) -> None:
        async with self._stores.ledger.long_transaction() as ledger:
            await deliveries.close_rest(ledger, project, campaign_id, SkipReason.CANCELLED)
        async with self._stores.database.transaction() as conn:
            await controls.settle(conn, project, campaign_id)


def _project(key: CampaignKey) -> ProjectCtx:
    return ProjectCtx(key.project_id)


async def _campaign(conn: AsyncConnection, key: CampaignKey) -> Campaign:
    """The row. One that is gone, because the database was restored, ends its workflow."""
    try:
        return await campaigns.get(conn, _project(key), key.campaign_id)
    except CampaignNotFound as error:
        raise _failure("CAMPAIGN_NOT_FOUND", "The campaign is not in the database.") from error


async def _standing(conn: AsyncConnection, key: CampaignKey) -> Standing:
    campaign = await controls.hear(conn, _project(key), key.campaign_id)
    if campaign is None:
        return Standing()
    return starter.standing_of(campaign, is_bucketed=await buckets.has_any(conn, campaign))


def _turns(campaign: Campaign, now: datetime) -> Sequence[PlannedBucket]:
    """Its buckets; in local time without those that are too late by now.

    Who would rather be late than silent is never too late.
    """
    timing = campaign.timing
    turns = turns_of(timing, known_timezones(), armed_at=campaign.armed_at or campaign.created_at)
    if timing.delivery_mode is DeliveryMode.INSTANT or timing.past_policy is PastPolicy.SEND_NOW:
        return turns
    return [turn for turn in turns if now - turn.fires_at <= timing.max_lateness]


def _times(bucket: Bucket) -> BucketTimes:
    return BucketTimes(
        number=bucket.number,
        opens_at=bucket.opens_at,
        closes_at=bucket.closes_at,
        is_frozen=bucket.frozen_at is not None,
    )


async def _rules(conn: AsyncConnection, campaign: Campaign) -> Mapping[str, object] | None:
    """What the audience is frozen by; None for everyone. A campaign that has begun keeps to the
    rules that it began with.

    A segment that is gone fails the campaign: it never becomes a broadcast.
    """
    if campaign.segment_id is None:
        return None
    kept = await campaigns.frozen_rules(conn, campaign)
    if kept is not None:
        return kept
    try:
        segment = await segments.get(conn, ProjectCtx(campaign.project_id), campaign.segment_id)
    except SegmentNotFound as error:
        raise _failure("SEGMENT_NOT_FOUND", "The campaign's segment was deleted.") from error
    return segment.rules


def _condition(rules: Mapping[str, object] | None) -> sa.ColumnElement[bool]:
    """The rules as a condition over app_users. Those that this version cannot read fail the
    campaign."""
    if rules is None:
        return sa.true()
    try:
        return compile_rule(parse_rules(rules))
    except (InvalidRules, RulesTooDeep) as error:
        raise _failure("INVALID_SEGMENT_RULES", f"The segment's rules: {error}") from error


async def _require_credentials(
    conn: AsyncConnection, campaign: Campaign, frozen: FrozenAudience
) -> None:
    """Refuse an audience of which no one can be reached. Lanes without a credential are skipped
    where others have one."""
    stored = await credentials.all_of(conn, ProjectCtx(campaign.project_id))
    reachable = {Lane.of(credential.provider, credential.environment) for credential in stored}
    lanes = {lane.lane for lane in frozen.lanes}
    if campaign.timing.goes_by_zones and lanes:
        # A few users of one zone: others may have what these lack.
        lanes = set(Lane)
    if lanes and reachable.isdisjoint(lanes):
        raise _failure("NO_CREDENTIALS", "The project has no credentials for its audience.")


def _failure(code: str, message: str) -> ApplicationError:
    return ApplicationError(message, type=code, non_retryable=True)
