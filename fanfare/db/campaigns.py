"""The table `push_campaigns`: one row per campaign, and its status.

Every change of status is one conditional UPDATE, so that of any number of callers one wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import push_campaigns
from fanfare.entities import Campaign, Failure
from fanfare.errors import CampaignAlreadyScheduled, CampaignAlreadySent, CampaignNotFound
from fanfare.ids import new_id
from fanfare.models import CampaignStatus, Content, OnUnknown, ProjectCtx

_OPEN = (CampaignStatus.SCHEDULED, CampaignStatus.SENDING)
_SENDABLE = (CampaignStatus.DRAFT, CampaignStatus.FAILED)


# What SQLAlchemy or psycopg gives; its columns are of many types.
Row: TypeAlias = sa.RowMapping | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """What a caller says about a campaign that does not exist yet."""

    name: str
    content: Content
    segment_id: str | None = None
    scheduled_at: datetime | None = None
    expires_at: datetime | None = None
    on_unknown: OnUnknown = OnUnknown.RESEND


@dataclass(frozen=True, slots=True)
class CampaignFilter:
    """Which campaigns a list shows. `text` is looked for in name and title."""

    status: CampaignStatus | None = None
    segment_id: str | None = None
    text: str | None = None


async def create(conn: AsyncConnection, project: ProjectCtx, new: NewCampaign) -> Campaign:
    """Store a campaign: `scheduled` when it has a time, else `draft`."""
    status = CampaignStatus.DRAFT if new.scheduled_at is None else CampaignStatus.SCHEDULED
    statement = (
        sa.insert(push_campaigns)
        .values(
            project_id=project.project_id,
            id=new_id(),
            name=new.name,
            title=new.content.title,
            body=new.content.body,
            data=dict(new.content.data),
            segment_id=new.segment_id,
            status=status,
            scheduled_at=new.scheduled_at,
            expires_at=new.expires_at,
            on_unknown=new.on_unknown,
        )
        .returning(push_campaigns)
    )
    return from_row((await conn.execute(statement)).mappings().one())


async def get(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    """One campaign. Raises CampaignNotFound."""
    statement = sa.select(push_campaigns).where(*_is(project, campaign_id))
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise CampaignNotFound(f"There is no campaign {campaign_id} in this project.")
    return from_row(row)


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


async def begin_sending(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    """Flip a draft, or a failed campaign that still owes, to `sending`. One caller wins.

    Raises CampaignNotFound, CampaignAlreadyScheduled or CampaignAlreadySent.
    """
    statement = (
        sa.update(push_campaigns)
        .where(*_is(project, campaign_id), push_campaigns.c.status.in_(_SENDABLE))
        .values(
            status=CampaignStatus.SENDING,
            begun_at=None,
            failure_code=None,
            failure_message=None,
            updated_at=sa.func.now(),
        )
        .returning(push_campaigns)
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise refusal_to_send(await get(conn, project, campaign_id))
    return from_row(row)


def refusal_to_send(campaign: Campaign) -> CampaignAlreadyScheduled | CampaignAlreadySent:
    """Why a campaign that is no draft cannot be sent now."""
    if campaign.status is CampaignStatus.SCHEDULED:
        return CampaignAlreadyScheduled(
            "The campaign is scheduled. Change its time with PATCH, or cancel it."
        )
    return CampaignAlreadySent(f"The campaign is {campaign.status}; it is not sent twice.")


async def take_back_start(
    conn: AsyncConnection, started: Campaign, before: Campaign | None
) -> bool:
    """Undo a start that no workflow took up: the row is as `before`, or gone if it was new.

    Returns whether it was undone: not where a workflow has begun on the row meanwhile.
    """
    unbegun = (
        push_campaigns.c.project_id == started.project_id,
        push_campaigns.c.id == started.id,
        push_campaigns.c.status == started.status,
        push_campaigns.c.begun_at.is_(None),
    )
    if before is None:
        done = await conn.execute(sa.delete(push_campaigns).where(*unbegun))
    else:
        failure = before.failure
        undo = sa.update(push_campaigns).values(
            status=before.status,
            failure_code=failure.code if failure else None,
            failure_message=failure.message if failure else None,
        )
        done = await conn.execute(undo.where(*unbegun))
    return bool(done.rowcount)


async def begin(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign | None:
    """For the campaign's workflow, when its time has come: from here on it is `sending`.

    None where there is nothing to send: the row is gone, or in a state that ended it.
    """
    statement = (
        sa.update(push_campaigns)
        .where(*_is(project, campaign_id), push_campaigns.c.status.in_(_OPEN))
        .values(
            status=CampaignStatus.SENDING,
            begun_at=sa.func.coalesce(push_campaigns.c.begun_at, sa.func.now()),
            updated_at=sa.func.now(),
        )
        .returning(push_campaigns)
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    return None if row is None else from_row(row)


async def end(
    conn: AsyncConnection,
    project: ProjectCtx,
    campaign_id: UUID,
    status: CampaignStatus,
    failure: Failure | None = None,
) -> None:
    """Move an open campaign to `sent`, `cancelled` or `failed`, and change nothing where it ended.

    Nor where it was sent again meanwhile and nobody has begun on it yet: that is another sending.
    """
    values: dict[str, object] = {"status": status, "updated_at": sa.func.now()}
    if status is CampaignStatus.SENT:
        values["sent_at"] = sa.func.now()
    if status is CampaignStatus.CANCELLED:
        values["cancelled_at"] = sa.func.now()
    if failure is not None:
        values |= {"failure_code": failure.code, "failure_message": failure.message}
    statement = (
        sa.update(push_campaigns)
        .where(*_is(project, campaign_id), push_campaigns.c.status.in_(_OPEN), _is_begun())
        .values(values)
    )
    await conn.execute(statement)


async def open_since(
    conn: AsyncConnection, before: datetime, *, after: UUID | None, limit: int
) -> Sequence[Campaign]:
    """Campaigns of every project that somebody must be working on, unchanged since `before`.

    In the order of their ids; `after` is the last one of the page before.
    """
    columns = push_campaigns.c
    statement = (
        sa.select(push_campaigns)
        .where(columns.status.in_(_OPEN), columns.updated_at < before)
        .order_by(columns.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(columns.id > after)
    return [from_row(row) for row in (await conn.execute(statement)).mappings()]


def _is_begun() -> sa.ColumnElement[bool]:
    waits = push_campaigns.c.status == CampaignStatus.SCHEDULED
    return waits | push_campaigns.c.begun_at.is_not(None)


def _is(project: ProjectCtx, campaign_id: UUID) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        push_campaigns.c.project_id == project.project_id,
        push_campaigns.c.id == campaign_id,
    )


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


def from_row(values: Row) -> Campaign:
    """The campaign in a row that has all the table's columns by their names."""
    code = values["failure_code"]
    return Campaign(
        id=values["id"],
        project_id=values["project_id"],
        name=values["name"],
        content=Content(values["title"], values["body"], values["data"]),
        segment_id=values["segment_id"],
        status=CampaignStatus(values["status"]),
        scheduled_at=values["scheduled_at"],
        expires_at=values["expires_at"],
        on_unknown=OnUnknown(values["on_unknown"]),
        paused_at=values["paused_at"],
        sent_at=values["sent_at"],
        cancelled_at=values["cancelled_at"],
        created_at=values["created_at"],
        updated_at=values["updated_at"],
        failure=None if code is None else Failure(code, values["failure_message"]),
    )
