"""The table `push_campaigns`: one row per campaign, and its status.

Every change of status is one conditional UPDATE, so that of any number of callers one wins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import gates, timings
from fanfare.db.tables import push_campaigns
from fanfare.entities import Campaign, Failure, Timing
from fanfare.errors import CampaignAlreadyScheduled, CampaignAlreadySent, CampaignNotFound
from fanfare.ids import new_id
from fanfare.models import CampaignStatus, Content, DeliveryMode, OnUnknown, ProjectCtx

_OPEN = (CampaignStatus.SCHEDULED, CampaignStatus.SENDING)
SENDABLE = (CampaignStatus.DRAFT, CampaignStatus.FAILED)


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """What a caller says about a campaign: all that can be changed before it goes out."""

    name: str
    content: Content
    segment_id: str | None = None
    timing: Timing = field(default_factory=Timing)
    rate_limit: int | None = None
    expires_at: datetime | None = None
    on_unknown: OnUnknown = OnUnknown.RESEND

    @classmethod
    def of(cls, campaign: Campaign) -> "NewCampaign":
        """What was said of one that exists."""
        return cls(**{each.name: getattr(campaign, each.name) for each in fields(cls)})

    def values(self) -> dict[str, object]:
        """As column values."""
        return {
            "name": self.name,
            "title": self.content.title,
            "body": self.content.body,
            "data": dict(self.content.data),
            "segment_id": self.segment_id,
            "rate_limit": self.rate_limit,
            "expires_at": self.expires_at,
            "on_unknown": self.on_unknown,
            **timings.values_of(self.timing),
        }


async def create(
    conn: AsyncConnection, project: ProjectCtx, new: NewCampaign, *, campaign_id: UUID | None = None
) -> Campaign:
    """Store a campaign: `scheduled` when it has a time, else `draft`.

    Where there is one of that id already, the same request made it before: it is returned.
    """
    is_timed = new.timing.is_set
    values = {
        **new.values(),
        "project_id": project.project_id,
        "id": campaign_id or new_id(),
        "status": CampaignStatus.SCHEDULED if is_timed else CampaignStatus.DRAFT,
        "armed_at": sa.func.now() if is_timed else None,
    }
    statement = insert(push_campaigns).values(values).on_conflict_do_nothing()
    row = (await conn.execute(statement.returning(push_campaigns))).mappings().one_or_none()
    if row is None:
        assert campaign_id is not None
        return await get(conn, project, campaign_id)
    return from_row(row)


async def get(conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID) -> Campaign:
    """One campaign. Raises CampaignNotFound."""
    statement = sa.select(push_campaigns).where(*is_campaign(project, campaign_id))
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise CampaignNotFound(f"There is no campaign {campaign_id} in this project.")
    return from_row(row)


async def frozen_rules(conn: AsyncConnection, campaign: Campaign) -> Mapping[str, object] | None:
    """The rules by which the campaign's audience was frozen; None before, and for a broadcast."""
    statement = sa.select(push_campaigns.c.frozen_rules).where(
        *is_campaign(ProjectCtx(campaign.project_id), campaign.id)
    )
    found: Mapping[str, object] | None = (await conn.execute(statement)).scalar_one()
    return found


async def begin_sending(
    conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID, *, claim_id: UUID | None = None
) -> Campaign:
    """Flip a draft, or a failed campaign that still owes, to `sending`. One caller wins.

    The same request twice, by its `claim_id`, wins twice.
    Raises CampaignNotFound, CampaignAlreadyScheduled or CampaignAlreadySent.
    """
    columns = push_campaigns.c
    is_another = columns.claim_id.is_distinct_from(claim_id) | columns.claim_id.is_(None)
    await gates.close(conn, campaign_id)
    statement = (
        sa.update(push_campaigns)
        .where(*is_campaign(project, campaign_id), columns.status.in_(SENDABLE), is_another)
        .values(
            status=CampaignStatus.SENDING,
            claim_id=claim_id,
            # A run that is just ending knows by it that this is another sending.
            revision=columns.revision + 1,
            armed_at=_armed_again(),
            begun_at=None,
            paused_at=None,
            failure_code=None,
            failure_message=None,
            updated_at=sa.func.now(),
        )
        .returning(push_campaigns)
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is not None:
        return from_row(row)
    found = await get(conn, project, campaign_id)
    if claim_id is not None and found.claim_id == claim_id:
        return found
    raise refusal_to_send(found)


def _armed_again() -> sa.ColumnElement[datetime]:
    """Now; but in local time a failed campaign still owes what was ahead when it was armed."""
    columns = push_campaigns.c
    is_failed = columns.status == CampaignStatus.FAILED
    is_local = columns.delivery_mode == DeliveryMode.LOCAL_TIME
    before = sa.func.coalesce(columns.armed_at, sa.func.now())
    return sa.case((is_failed & is_local, before), else_=sa.func.now())


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
    """Undo a start that no workflow took up: the row says all that it said `before`, or is gone if
    it was new. Its revision does not go back: the start may arrive yet, and must not be believed.

    Returns whether it was undone: not where a workflow has begun on the row meanwhile, nor where
    somebody changed what was started; then the upkeep starts it.
    """
    unbegun = (
        push_campaigns.c.project_id == started.project_id,
        push_campaigns.c.id == started.id,
        push_campaigns.c.status == started.status,
        push_campaigns.c.revision == started.revision,
        push_campaigns.c.begun_at.is_(None),
    )
    if before is None:
        done = await conn.execute(sa.delete(push_campaigns).where(*unbegun))
    else:
        failure = before.failure
        undo = sa.update(push_campaigns).values(
            **NewCampaign.of(before).values(),
            status=before.status,
            claim_id=before.claim_id,
            armed_at=before.armed_at,
            begun_at=before.begun_at,
            paused_at=before.paused_at,
            updated_at=before.updated_at,
            failure_code=failure.code if failure else None,
            failure_message=failure.message if failure else None,
        )
        done = await conn.execute(undo.where(*unbegun))
    return bool(done.rowcount)


async def begin(
    conn: AsyncConnection, project: ProjectCtx, campaign_id: UUID, *, revision: int | None
) -> Campaign | None:
    """For the campaign's workflow, when its time has come: from here on it is `sending`.

    None where there is nothing to send now: the row is gone, ended or paused, or a later revision
    than the workflow's may name another time. A workflow of older code knows of no revision.
    """
    columns = push_campaigns.c
    await gates.close(conn, campaign_id)
    is_known = sa.true() if revision is None else columns.revision == revision
    statement = (
        sa.update(push_campaigns)
        .where(*is_campaign(project, campaign_id), columns.status.in_(_OPEN), is_known)
        .where(columns.paused_at.is_(None))
        .values(
            status=CampaignStatus.SENDING,
            begun_at=sa.func.coalesce(columns.begun_at, sa.func.now()),
            heard_revision=columns.revision,
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
    *,
    revision: int | None = None,
) -> None:
    """Move an open campaign to `sent`, `cancelled` or `failed`, and change nothing where it ended.

    Nor where it was sent again meanwhile and nobody has begun on it yet: that is another sending,
    and not of the `revision` that whoever ends it knows.
    """
    await gates.close(conn, campaign_id)
    values: dict[str, object] = {
        "status": status,
        # Who paused it as it ended finds it ended.
        "paused_at": None,
        "updated_at": sa.func.now(),
    }
    if status is CampaignStatus.SENT:
        values |= {"sent_at": sa.func.now(), "settled_at": sa.func.now()}
    if status is CampaignStatus.CANCELLED:
        values["cancelled_at"] = sa.func.now()
    if failure is not None:
        values |= {"failure_code": failure.code, "failure_message": failure.message}
    statement = (
        sa.update(push_campaigns)
        .where(
            *is_campaign(project, campaign_id), push_campaigns.c.status.in_(_OPEN), _is_of(revision)
        )
        .values(values)
    )
    await conn.execute(statement)


def _is_of(revision: int | None) -> sa.ColumnElement[bool]:
    columns = push_campaigns.c
    waits = columns.status == CampaignStatus.SCHEDULED
    return waits | columns.begun_at.is_not(None) | (columns.revision == revision)


def is_campaign(project: ProjectCtx, campaign_id: UUID) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        push_campaigns.c.project_id == project.project_id,
        push_campaigns.c.id == campaign_id,
    )


def from_row(values: timings.Row) -> Campaign:
    """The campaign in a row that has all the table's columns by their names."""
    code = values["failure_code"]
    return Campaign(
        id=values["id"],
        project_id=values["project_id"],
        name=values["name"],
        content=Content(values["title"], values["body"], values["data"]),
        segment_id=values["segment_id"],
        status=CampaignStatus(values["status"]),
        timing=timings.from_row(values),
        rate_limit=values["rate_limit"],
        expires_at=values["expires_at"],
        on_unknown=OnUnknown(values["on_unknown"]),
        paused_at=values["paused_at"],
        begun_at=values["begun_at"],
        sent_at=values["sent_at"],
        cancelled_at=values["cancelled_at"],
        settled_at=values["settled_at"],
        in_doubt_since=values["in_doubt_since"],
        armed_at=values["armed_at"],
        revision=values["revision"],
        heard_revision=values["heard_revision"],
        claim_id=values["claim_id"],
        created_at=values["created_at"],
        updated_at=values["updated_at"],
        failure=None if code is None else Failure(code, values["failure_message"]),
    )
