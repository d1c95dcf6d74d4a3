"""Campaigns as they are listed: for an operator, page by page, and for the upkeep."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.campaigns import from_row
from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import push_campaigns
from fanfare.entities import Campaign
from fanfare.models import CampaignStatus, ProjectCtx

_OPEN = (CampaignStatus.SCHEDULED, CampaignStatus.SENDING)


@dataclass(frozen=True, slots=True)
class CampaignFilter:
    """Which campaigns a list shows. `text` is looked for in name and title."""

    status: CampaignStatus | None = None
    segment_id: str | None = None
    text: str | None = None


async def page(
    conn: AsyncConnection, project: ProjectCtx, request: PageRequest, wanted: CampaignFilter
) -> Page[Campaign]:
    """A page of the project's campaigns, the newest first."""
    statement = (
        sa.select(push_campaigns)
        .where(push_campaigns.c.project_id == project.project_id, *_wanted(wanted))
        .order_by(push_campaigns.c.id.desc())
        .limit(request.limit + 1)
    )
    if (after := request.after_id()) is not None:
        statement = statement.where(push_campaigns.c.id < after)
    found = [from_row(row) for row in (await conn.execute(statement)).mappings()]
    return page_of(found, request, lambda campaign: [campaign.id])


async def open_since(
    conn: AsyncConnection, before: datetime, *, after: UUID | None, limit: int
) -> Sequence[Campaign]:
    """Campaigns of every project that somebody must be working on, unchanged since `before`.

    Cancelled ones too, until they are settled. In the order of their ids; `after` is the last one
    of the page before.
    """
    columns = push_campaigns.c
    is_unsettled = (columns.status == CampaignStatus.CANCELLED) & columns.settled_at.is_(None)
    statement = (
        sa.select(push_campaigns)
        .where(columns.status.in_(_OPEN) | is_unsettled, columns.updated_at < before)
        .order_by(columns.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(columns.id > after)
    return [from_row(row) for row in (await conn.execute(statement)).mappings()]


def _wanted(wanted: CampaignFilter) -> list[sa.ColumnElement[bool]]:
    columns = push_campaigns.c
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.status is not None:
        conditions.append(columns.status == wanted.status)
    if wanted.segment_id is not None:
        conditions.append(columns.segment_id == wanted.segment_id)
    if wanted.text is not None:
        found = columns.name.icontains(wanted.text, autoescape=True)
        conditions.append(found | columns.title.icontains(wanted.text, autoescape=True))
    return conditions
