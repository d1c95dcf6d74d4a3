"""Freezing an audience: from a rule to the batches of a campaign, inside the database.

No token id passes through Python; the batches are written once and never change their tokens. A
campaign for one moment is frozen as a whole, each zone's users into the batches of their bucket;
one in local time bucket by bucket, and whoever is in it already, having moved, is not taken twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INTEGER, JSONB, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import buckets, gates, restores, shares
from fanfare.db.engine import limit_statements, plan_anew
from fanfare.db.shares import PAST, Share
from fanfare.db.tables import app_users, push_batches, push_campaigns, push_tokens
from fanfare.entities import Campaign
from fanfare.models import DeliveryMode, Lane

# Ten million devices take about a minute.
LONGEST_FREEZE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """How many devices a batch holds, and how many the first one of each lane.

    That one is the canary: sent alone, so that a wrong key, environment or topic is found out
    before the audience is burnt. A batch costs one activity; a larger one repeats more by hand.
    """

    batch: int = 1_000
    canary: int = 20


@dataclass(frozen=True, slots=True)
class LaneBatches:
    """The batches of one lane: numbers `first`, its canary, up to, not including, `end`."""

    lane: Lane
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class FrozenAudience:
    """How many devices, and which batches hold them."""

    audience: int
    lanes: Sequence[LaneBatches]


async def freeze(
    conn: AsyncConnection,
    campaign: Campaign,
    rule: sa.ColumnElement[bool],
    sizes: BatchSizes,
    *,
    bucket: int = 0,
    rules: Mapping[str, object] | None = None,
) -> FrozenAudience:
    """Write down a bucket's audience as it is now, unless it is written already.

    One statement of one snapshot: either the whole of it is there, or none. Costs 4 to 7
    microseconds of server time a token. `rule` is a condition over app_users, made of `rules`.
    Claims go on meanwhile; another freeze of the campaign waits.
    """
    await buckets.lock(conn, campaign.id)
    if not await _is_frozen(conn, campaign, bucket):
        await _write(conn, campaign, _share(campaign, bucket), rule, sizes)
        await _mark(conn, campaign, rules)
        await restores.doubt_frozen(conn, campaign)
        of_all = campaign.timing.delivery_mode is DeliveryMode.INSTANT
        await buckets.note_frozen(conn, campaign, None if of_all else bucket)
    return await frozen(conn, campaign, bucket)


async def freeze_past(
    conn: AsyncConnection, campaign: Campaign, rule: sa.ColumnElement[bool], sizes: BatchSizes
) -> FrozenAudience:
    """Write down who is left of a campaign in local time when all buckets have fired.

    Their time had passed: nothing is sent to them, but they are accounted for.
    """
    await buckets.lock(conn, campaign.id)
    before = await frozen(conn, campaign, PAST)
    if not before.audience:
        await _write(conn, campaign, shares.past(campaign), rule, sizes)
        await _mark(conn, campaign, None)
        await restores.doubt_frozen(conn, campaign)
    return await frozen(conn, campaign, PAST)


async def frozen(conn: AsyncConnection, campaign: Campaign, bucket: int) -> FrozenAudience:
    """The audience that a bucket was given."""
    columns = push_batches.c
    size = sa.func.cardinality(columns.token_ids)
    statement = (
        sa.select(columns.lane, sa.func.min(columns.number), sa.func.max(columns.number) + 1)
        .add_columns(sa.func.sum(size))
        .where(*_batches(campaign), columns.bucket == bucket)
        .group_by(columns.lane)
        .order_by(columns.lane)
    )
    rows = (await conn.execute(statement)).all()
    lanes = [LaneBatches(Lane(lane), first, end) for lane, first, end, _ in rows]
    return FrozenAudience(sum(int(row[3]) for row in rows), lanes)


async def size(conn: AsyncConnection, campaign: Campaign) -> int:
    """How many devices all buckets hold together."""
    devices: int = (await conn.execute(_size(campaign))).scalar_one()
    return devices


def _share(campaign: Campaign, bucket: int) -> Share:
    if not campaign.timing.goes_by_zones:
        return shares.whole(bucket)
    if campaign.timing.delivery_mode is DeliveryMode.INSTANT:
        return shares.by_zone(campaign)
    return shares.of_bucket(campaign, bucket)


async def _is_frozen(conn: AsyncConnection, campaign: Campaign, bucket: int) -> bool:
    if campaign.timing.delivery_mode is DeliveryMode.LOCAL_TIME:
        return await buckets.is_frozen(conn, campaign, bucket)
    statement = sa.select(push_campaigns.c.frozen_at).where(*_campaign(campaign))
    return (await conn.execute(statement)).scalar_one() is not None


async def _write(
    conn: AsyncConnection,
    campaign: Campaign,
    share: Share,
    rule: sa.ColumnElement[bool],
    sizes: BatchSizes,
) -> None:
    await limit_statements(conn, LONGEST_FREEZE)
    await plan_anew(conn)
    if share.asks_who_is_in:
        # The planner cannot know how many those are, and a look per device at a million of them
        # would never end.
        await conn.execute(sa.text("SET LOCAL enable_nestloop = off"))
    await conn.execute(_freezing(campaign, share, rule, sizes))


def _freezing(
    campaign: Campaign, share: Share, rule: sa.ColumnElement[bool], sizes: BatchSizes
) -> sa.Insert:
    """INSERT ... SELECT: active tokens of matching users, in runs of `batch_size` per lane."""
    tokens = push_tokens.c
    lane = sa.case(
        (tokens.provider == "fcm", Lane.FCM.value),
        (tokens.environment == "sandbox", Lane.APNS_SANDBOX.value),
        else_=Lane.APNS.value,
    ).label("lane")
    bucket = share.bucket.label("bucket")
    place = sa.func.row_number().over(partition_by=[bucket, lane], order_by=tokens.id) - 1
    chosen = (
        sa.select(tokens.id, bucket, lane, _run(place, sizes).cast(INTEGER).label("run"))
        .select_from(_devices(share))
        .where(tokens.project_id == campaign.project_id, tokens.is_active, rule, share.condition)
        .subquery("chosen")
    )
    order = chosen.c.bucket, chosen.c.lane, chosen.c.run
    number = sa.func.row_number().over(order_by=order) - 1 + _first_free(campaign)
    batches = sa.select(
        sa.literal(campaign.project_id),
        sa.literal(campaign.id),
        number.cast(INTEGER),
        chosen.c.bucket,
        chosen.c.lane,
        sa.func.array_agg(aggregate_order_by(chosen.c.id, chosen.c.id)),
    ).group_by(*order)
    into = ["project_id", "campaign_id", "number", "bucket", "lane", "token_ids"]
    return sa.insert(push_batches).from_select(into, batches)


def _devices(share: Share) -> sa.FromClause:
    users, tokens = app_users.c, push_tokens.c
    is_owner = (users.project_id == tokens.project_id) & (users.id == tokens.app_user_id)
    devices = push_tokens.join(app_users, is_owner)
    if share.turns is None:
        return devices
    return devices.join(share.turns, share.zone, isouter=share.takes_everybody)


def _run(place: sa.ColumnElement[int], sizes: BatchSizes) -> sa.ColumnElement[int]:
    """Which batch of its lane the device at `place` is in: the canary's first, then full ones."""
    after_canary = 1 + (place - sizes.canary) // sizes.batch
    return sa.case((place < sizes.canary, 0), else_=after_canary)


def _first_free(campaign: Campaign) -> sa.ScalarSelect[int]:
    taken = push_batches.alias("before").c
    statement = sa.select(sa.func.coalesce(sa.func.max(taken.number) + 1, 0))
    is_of = taken.project_id == campaign.project_id, taken.campaign_id == campaign.id
    return statement.where(*is_of).scalar_subquery()


async def _mark(
    conn: AsyncConnection, campaign: Campaign, rules: Mapping[str, object] | None
) -> None:
    await gates.close(conn, campaign.id)
    columns = push_campaigns.c
    values = {
        "frozen_at": sa.func.coalesce(columns.frozen_at, sa.func.now()),
        "frozen_rules": columns.frozen_rules if rules is None else sa.literal(dict(rules), JSONB),
        "audience": _size(campaign).scalar_subquery(),
    }
    await conn.execute(sa.update(push_campaigns).where(*_campaign(campaign)).values(values))


def _size(campaign: Campaign) -> sa.Select[int]:
    devices = sa.func.sum(sa.func.cardinality(push_batches.c.token_ids))
    return sa.select(sa.func.coalesce(devices, 0)).where(*_batches(campaign))


def _batches(campaign: Campaign) -> tuple[sa.ColumnElement[bool], ...]:
    columns = push_batches.c
    return columns.project_id == campaign.project_id, columns.campaign_id == campaign.id


def _campaign(campaign: Campaign) -> tuple[sa.ColumnElement[bool], ...]:
    columns = push_campaigns.c
    return columns.project_id == campaign.project_id, columns.id == campaign.id
