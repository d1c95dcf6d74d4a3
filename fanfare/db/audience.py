"""Freezing an audience: from a rule to the batches of a campaign, inside the database.

No token id passes through Python; the batches are written once and never change their tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INTEGER, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.engine import plan_anew
from fanfare.db.tables import app_users, push_batches, push_campaigns, push_tokens
from fanfare.entities import Campaign
from fanfare.models import Lane


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
    conn: AsyncConnection, campaign: Campaign, rule: sa.ColumnElement[bool], sizes: BatchSizes
) -> FrozenAudience:
    """Write the campaign's audience as it is now, unless it is written already.

    One statement of one snapshot: either the whole audience is there, or none of it. Costs 4 to
    7 microseconds of server time a token. `rule` is a condition over app_users.
    """
    locked = sa.select(push_campaigns.c.frozen_at).where(*_campaign(campaign)).with_for_update()
    if (await conn.execute(locked)).scalar_one() is None:
        await conn.execute(sa.text("SET LOCAL statement_timeout = 0"))
        await plan_anew(conn)
        await conn.execute(_freezing(campaign, rule, sizes))
        await conn.execute(_marking(campaign))
    return await frozen(conn, campaign)


async def frozen(conn: AsyncConnection, campaign: Campaign) -> FrozenAudience:
    """The audience that `freeze` wrote."""
    columns = push_batches.c
    size = sa.func.cardinality(columns.token_ids)
    statement = (
        sa.select(columns.lane, sa.func.min(columns.number), sa.func.max(columns.number) + 1)
        .add_columns(sa.func.sum(size))
        .where(columns.project_id == campaign.project_id, columns.campaign_id == campaign.id)
        .group_by(columns.lane)
        .order_by(columns.lane)
    )
    rows = (await conn.execute(statement)).all()
    lanes = [LaneBatches(Lane(lane), first, end) for lane, first, end, _ in rows]
    return FrozenAudience(sum(int(row[3]) for row in rows), lanes)


def _freezing(campaign: Campaign, rule: sa.ColumnElement[bool], sizes: BatchSizes) -> sa.Insert:
    """INSERT ... SELECT: active tokens of matching users, in runs of `batch_size` per lane."""
    tokens = push_tokens.c
    lane = sa.case(
        (tokens.provider == "fcm", Lane.FCM.value),
        (tokens.environment == "sandbox", Lane.APNS_SANDBOX.value),
        else_=Lane.APNS.value,
    ).label("lane")
    place = sa.func.row_number().over(partition_by=lane, order_by=tokens.id) - 1
    chosen = (
        sa.select(tokens.id, lane, _run(place, sizes).cast(INTEGER).label("run"))
        .join(
            app_users,
            (app_users.c.project_id == tokens.project_id) & (app_users.c.id == tokens.app_user_id),
        )
        .where(tokens.project_id == campaign.project_id, tokens.is_active, rule)
        .subquery("chosen")
    )
    number = sa.func.row_number().over(order_by=(chosen.c.lane, chosen.c.run)) - 1
    batches = sa.select(
        sa.literal(campaign.project_id),
        sa.literal(campaign.id),
        number.cast(INTEGER),
        chosen.c.lane,
        sa.func.array_agg(aggregate_order_by(chosen.c.id, chosen.c.id)),
    ).group_by(chosen.c.lane, chosen.c.run)
    into = ["project_id", "campaign_id", "number", "lane", "token_ids"]
    return sa.insert(push_batches).from_select(into, batches)


def _run(place: sa.ColumnElement[int], sizes: BatchSizes) -> sa.ColumnElement[int]:
    """Which batch of its lane the device at `place` is in: the canary's first, then full ones."""
    after_canary = 1 + (place - sizes.canary) // sizes.batch
    return sa.case((place < sizes.canary, 0), else_=after_canary)


def _marking(campaign: Campaign) -> sa.Update:
    columns = push_batches.c
    size = sa.func.coalesce(sa.func.sum(sa.func.cardinality(columns.token_ids)), 0)
    audience = sa.select(size).where(
        columns.project_id == campaign.project_id, columns.campaign_id == campaign.id
    )
    values = {"frozen_at": sa.func.now(), "audience": audience.scalar_subquery()}
    return sa.update(push_campaigns).where(*_campaign(campaign)).values(values)


def _campaign(campaign: Campaign) -> tuple[sa.ColumnElement[bool], ...]:
    columns = push_campaigns.c
    return columns.project_id == campaign.project_id, columns.id == campaign.id
