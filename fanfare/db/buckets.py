"""The table `push_buckets`: when whose messages may go out, for campaigns that have more than one
moment.

The plan is written down before it is followed: so claims can look at the clock, operators can look
at the plan, and a workflow that begins anew finds what was frozen. A bucket that was frozen keeps
its zones for good.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import campaigns
from fanfare.db.campaigns import is_campaign
from fanfare.db.tables import push_batches, push_buckets, push_campaigns
from fanfare.entities import Bucket, Campaign
from fanfare.models import DeliveryMode, ProjectCtx
from fanfare.schedule import PlannedBucket, common_interval

_COLUMNS = push_buckets.c


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """The buckets of a campaign. `is_frozen`: whether some of its audience is."""

    buckets: Sequence[Bucket]
    is_frozen: bool


async def plan(
    conn: AsyncConnection, campaign: Campaign, planned: Sequence[PlannedBucket], now: datetime
) -> Sequence[Bucket]:
    """Write down whose turn it is when, and return what may have something left to send.

    What was frozen stays, with the window as it is now; the rest is as planned. A second run
    changes nothing, but that a window that has closed opens again later. The campaign is as `hold`
    gave it: a plan of an older row would outlive the row's change.
    """
    stored = await _stored(conn, campaign)
    if stored.is_frozen and campaign.timing.delivery_mode is DeliveryMode.INSTANT:
        await _keep_whole(conn, campaign, stored, now)
        planned = ()
    else:
        planned = _without(planned, [bucket for bucket in stored.buckets if bucket.frozen_at])
    await _replace_unfrozen(conn, campaign, stored, planned)
    for bucket in (await _stored(conn, campaign)).buckets:
        if bucket.frozen_at is not None:
            await _reopen(conn, campaign, bucket, now)
    return await _unfinished(conn, campaign)


async def hold(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    """The campaign, to be planned: until the transaction ends nobody freezes or changes it.

    Claims go on. Raises CampaignNotFound.
    """
    # In this order: who waits for a freeze must not keep an operator waiting.
    await lock(conn, campaign_id)
    unchanged = sa.select(push_campaigns.c.id).where(*is_campaign(project, campaign_id))
    await conn.execute(unchanged.with_for_update(read=True))
    return await campaigns.get(conn, project, campaign_id)


async def lock(conn: AsyncConnection, campaign_id: UUID) -> None:
    """Be the only one to plan or freeze the campaign until the transaction ends."""
    # Not its row: claims and operators must not wait for a freeze.
    statement = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:campaign, 0))")
    await conn.execute(statement, {"campaign": str(campaign_id)})


async def has_any(conn: AsyncConnection, campaign: Campaign) -> bool:
    """Whether the campaign goes by buckets, or went by them when it was frozen."""
    if campaign.timing.is_bucketed:
        return True
    statement = sa.select(sa.exists().where(*_of(campaign)))
    return bool((await conn.execute(statement)).scalar_one())


async def is_begun(conn: AsyncConnection, campaign: Campaign) -> bool:
    """Whether the audience of any bucket was frozen."""
    statement = sa.select(sa.exists().where(*_of(campaign), _COLUMNS.frozen_at.is_not(None)))
    return bool((await conn.execute(statement)).scalar_one())


async def is_frozen(conn: AsyncConnection, campaign: Campaign, number: int) -> bool:
    """Whether the bucket has its audience."""
    statement = sa.select(_COLUMNS.frozen_at).where(*_of(campaign), _COLUMNS.number == number)
    return (await conn.execute(statement)).scalar_one_or_none() is not None


async def note_frozen(conn: AsyncConnection, campaign: Campaign, number: int | None) -> None:
    """Note that the bucket has its audience, or that all have."""
    statement = sa.update(push_buckets).where(*_of(campaign), _COLUMNS.frozen_at.is_(None))
    if number is not None:
        statement = statement.where(_COLUMNS.number == number)
    await conn.execute(statement.values(frozen_at=sa.func.now()))


async def forget_unfrozen(conn: AsyncConnection, campaign: Campaign) -> None:
    """Drop what was planned and has not begun: the campaign's time was changed."""
    await conn.execute(sa.delete(push_buckets).where(*_of(campaign), _COLUMNS.frozen_at.is_(None)))


async def all_of(conn: AsyncConnection, campaign: Campaign) -> Sequence[Bucket]:
    """All buckets, in the order of their turns."""
    return (await _stored(conn, campaign)).buckets


async def _stored(conn: AsyncConnection, campaign: Campaign) -> StoredPlan:
    statement = (
        sa.select(push_buckets).where(*_of(campaign)).order_by(_COLUMNS.fires_at, _COLUMNS.number)
    )
    found = [_bucket(row) for row in (await conn.execute(statement)).mappings()]
    frozen_at = sa.select(push_campaigns.c.frozen_at).where(*_row(campaign))
    return StoredPlan(found, (await conn.execute(frozen_at)).scalar_one() is not None)


async def _keep_whole(
    conn: AsyncConnection, campaign: Campaign, stored: StoredPlan, now: datetime
) -> None:
    """An audience that was frozen as one gets a bucket, for a window that came later."""
    if not stored.buckets:
        await _insert(conn, campaign, 0, PlannedBucket(now, None, None), frozen_at=now)
    await note_frozen(conn, campaign, None)


def _without(planned: Sequence[PlannedBucket], frozen: Sequence[Bucket]) -> list[PlannedBucket]:
    """The plan without the zones whose turn has come."""
    done = {zone for bucket in frozen for zone in bucket.timezones or ()}
    left = []
    for bucket in planned:
        zones = (
            None
            if bucket.timezones is None
            else tuple(z for z in bucket.timezones if z not in done)
        )
        if zones != ():
            left.append(PlannedBucket(bucket.fires_at, bucket.closes_at, zones))
    return left


async def _replace_unfrozen(
    conn: AsyncConnection, campaign: Campaign, stored: StoredPlan, planned: Sequence[PlannedBucket]
) -> None:
    unfrozen = [bucket for bucket in stored.buckets if bucket.frozen_at is None]
    is_same = {_shape(bucket) for bucket in unfrozen} == {_shape(bucket) for bucket in planned}
    if is_same:
        return
    await forget_unfrozen(conn, campaign)
    # A number is not used twice: a workflow may remember what it stood for.
    first = 1 + max((bucket.number for bucket in stored.buckets), default=-1)
    for number, bucket in enumerate(planned, first):
        await _insert(conn, campaign, number, bucket, frozen_at=None)


def _shape(bucket: Bucket | PlannedBucket) -> tuple[object, ...]:
    zones = None if bucket.timezones is None else tuple(bucket.timezones)
    return bucket.fires_at, bucket.closes_at, zones


async def _insert(
    conn: AsyncConnection,
    campaign: Campaign,
    number: int,
    bucket: PlannedBucket,
    *,
    frozen_at: datetime | None,
) -> None:
    zones = None if bucket.timezones is None else list(bucket.timezones)
    values = {
        "project_id": campaign.project_id,
        "campaign_id": campaign.id,
        "number": number,
        "timezones": zones,
        "fires_at": bucket.fires_at,
        "opens_at": bucket.fires_at,
        "closes_at": bucket.closes_at,
        "frozen_at": frozen_at,
    }
    await conn.execute(sa.insert(push_buckets).values(values))


async def _reopen(conn: AsyncConnection, campaign: Campaign, bucket: Bucket, now: datetime) -> None:
    """Let a frozen bucket go out in the window's hours as they are now."""
    opens_at, closes_at = bucket.fires_at, None
    if (window := campaign.timing.window) is not None:
        interval = common_interval(window, bucket.timezones or (), max(now, bucket.fires_at))
        opens_at, closes_at = interval.opens_at, interval.closes_at
    if (opens_at, closes_at) != (bucket.opens_at, bucket.closes_at):
        await conn.execute(
            sa.update(push_buckets)
            .where(*_of(campaign), _COLUMNS.number == bucket.number)
            .values(opens_at=opens_at, closes_at=closes_at)
        )


async def _unfinished(conn: AsyncConnection, campaign: Campaign) -> Sequence[Bucket]:
    batches = push_batches.c
    is_left = sa.exists().where(
        batches.project_id == _COLUMNS.project_id,
        batches.campaign_id == _COLUMNS.campaign_id,
        batches.bucket == _COLUMNS.number,
        batches.completed_at.is_(None),
    )
    statement = (
        sa.select(push_buckets)
        .where(*_of(campaign), _COLUMNS.frozen_at.is_(None) | is_left)
        .order_by(_COLUMNS.opens_at, _COLUMNS.number)
    )
    return [_bucket(row) for row in (await conn.execute(statement)).mappings()]


def _of(campaign: Campaign) -> tuple[sa.ColumnElement[bool], ...]:
    return _COLUMNS.project_id == campaign.project_id, _COLUMNS.campaign_id == campaign.id


def _row(campaign: Campaign) -> tuple[sa.ColumnElement[bool], ...]:
    return is_campaign(ProjectCtx(campaign.project_id), campaign.id)


def _bucket(row: sa.RowMapping) -> Bucket:
    return Bucket(
        number=row["number"],
        timezones=row["timezones"],
        fires_at=row["fires_at"],
        opens_at=row["opens_at"],
        closes_at=row["closes_at"],
        frozen_at=row["frozen_at"],
    )
