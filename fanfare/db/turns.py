"""When a campaign's turn comes to one user, and when its audience was written down for them.

Most campaigns have one moment for everybody; the table `push_buckets` has the moments of others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import campaigns
from fanfare.db.tables import push_buckets, push_campaigns
from fanfare.entities import Campaign
from fanfare.explanations.facts import Turn
from fanfare.models import CampaignStatus, DeliveryMode, ProjectCtx
from fanfare.schedule import PlannedBucket, known_timezones
from fanfare.turns import turns_of


@dataclass(frozen=True, slots=True)
class Frozen:
    """When a campaign's audience was written down, by which rules, and when that was asked.

    `rules` is None for a broadcast, before the freeze, and where they were not kept.
    """

    at: datetime | None
    rules: Mapping[str, Any] | None  # Any: JSON
    asked_at: datetime


async def frozen(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Frozen:
    """What the freeze left in the row of a campaign that exists."""
    columns = push_campaigns.c
    statement = sa.select(
        columns.frozen_at, columns.frozen_rules, sa.func.statement_timestamp()
    ).where(*campaigns.is_campaign(project, campaign_id))
    return Frozen(*(await conn.execute(statement)).one())


async def of_zone(
    conn: AsyncConnection,
    project: ProjectCtx,
    campaign: Campaign,
    frozen: Frozen,
    timezone: str | None,
) -> Turn:
    """The campaign's turn for users of that zone; without one, or where this system does not know
    it, of the campaign's fallback."""
    if not campaign.timing.is_bucketed:
        return Turn(campaign.timing.scheduled_at, frozen_at=frozen.at)
    zone = timezone if timezone in known_timezones() else campaign.timing.timezone_fallback
    bucket = await _bucket(conn, project, campaign.id, zone)
    if bucket is not None:
        return Turn(max(bucket["fires_at"], bucket["opens_at"]), frozen_at=bucket["frozen_at"])
    return _without_bucket(campaign, frozen, zone)


def _without_bucket(campaign: Campaign, frozen: Frozen, zone: str) -> Turn:
    """The turn of a zone that has no bucket: there are none yet, or its time had passed."""
    planned = _planned(campaign, zone, frozen.asked_at)
    is_local = campaign.timing.delivery_mode is DeliveryMode.LOCAL_TIME
    if is_local and (not planned or frozen.at is not None):
        # Who was known when the first turn came is accounted for at the end, as skipped.
        is_done = campaign.status is CampaignStatus.SENT
        return Turn(is_past=True, frozen_at=campaign.begun_at if is_done else None)
    return Turn(planned[0].fires_at if planned else None, frozen_at=frozen.at)


async def _bucket(
    conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID, zone: str
) -> sa.RowMapping | None:
    columns = push_buckets.c
    is_theirs = columns.timezones.is_(None) | (sa.literal(zone) == sa.any_(columns.timezones))
    statement = (
        sa.select(columns.fires_at, columns.opens_at, columns.frozen_at)
        .where(columns.project_id == project.project_id, columns.campaign_id == campaign_id)
        .where(is_theirs)
        .order_by(columns.number)
        .limit(1)
    )
    return (await conn.execute(statement)).mappings().one_or_none()


def _planned(campaign: Campaign, zone: str, now: datetime) -> Sequence[PlannedBucket]:
    """The zone's bucket as it would be planned; none where it is past, or has no time yet."""
    timing = campaign.timing
    if not timing.is_set and campaign.armed_at is None:
        return []
    return turns_of(timing, [zone], armed_at=campaign.armed_at or now)
