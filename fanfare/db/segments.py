"""The table `segments`: named rules. Whoever writes rules has checked them before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import memberships
from fanfare.db.memberships import Refreshed
from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import push_campaigns, segments
from fanfare.entities import Segment
from fanfare.errors import SegmentExists, SegmentInUse, SegmentNotFound, SystemSegmentReadOnly
from fanfare.ids import new_id
from fanfare.models import CampaignStatus, ProjectCtx
from fanfare.segments.system import SYSTEM_SEGMENTS

_COLUMNS = [segments.c[field.name] for field in fields(Segment)]

# A segment may be used by very many campaigns; naming some is enough to find the others.
_NAMED_CAMPAIGNS = 10


@dataclass(frozen=True, slots=True)
class NewSegment:
    """What a caller says about a segment. Without an id it is given one."""

    name: str
    rules: Mapping[str, object]
    description: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentPatch:
    """What a caller says about a segment that exists: the columns that were given."""

    columns: Mapping[str, object]


async def create(
    conn: AsyncConnection, project: ProjectCtx, new: NewSegment, claim_id: UUID | None = None
) -> Segment:
    """Store a segment. One without an id is named after the claim of the request; where there is
    such a segment, an earlier run of the request made it, and it is returned as it is.

    Raises SegmentExists where the chosen id is taken.
    """
    segment_id = new.id or f"seg_{(claim_id or new_id()).hex}"
    statement = (
        insert(segments)
        .values(
            project_id=project.project_id,
            id=segment_id,
            name=new.name,
            description=new.description,
            rules=dict(new.rules),
        )
        .on_conflict_do_nothing(index_elements=["project_id", "id"])
        .returning(*_COLUMNS)
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is not None:
        return Segment(**row)
    if new.id is not None:
        raise SegmentExists(f"There is a segment {new.id} already.")
    return await get(conn, project, segment_id)


async def create_system(conn: AsyncConnection, project: ProjectCtx) -> None:
    """Give a project the system segments that it lacks."""
    rows = [
        {
            "project_id": project.project_id,
            "id": each.id,
            "name": each.name,
            "description": each.description,
            "rules": each.rule.model_dump(mode="json", exclude_none=True),
            "is_system": True,
        }
        for each in SYSTEM_SEGMENTS
    ]
    await conn.execute(insert(segments).on_conflict_do_nothing(), rows)


async def get(conn: AsyncConnection, project: ProjectCtx, segment_id: str) -> Segment:
    """One segment. Raises SegmentNotFound."""
    return await _one(conn, sa.select(*_COLUMNS).where(*_is(project, segment_id)))


async def hold(conn: AsyncConnection, project: ProjectCtx, segment_id: str) -> Segment:
    """One segment, which cannot be deleted before the transaction ends. Raises SegmentNotFound."""
    query = sa.select(*_COLUMNS).where(*_is(project, segment_id))
    return await _one(conn, query.with_for_update(key_share=True, read=True))


async def page(conn: AsyncConnection, project: ProjectCtx, request: PageRequest) -> Page[Segment]:
    """A page of the project's segments, the newest first."""
    columns = segments.c
    statement = (
        sa.select(*_COLUMNS)
        .where(columns.project_id == project.project_id)
        .order_by(columns.created_at.desc(), columns.id.desc())
        .limit(request.limit + 1)
    )
    if (after := request.after_moment()) is not None:
        statement = statement.where(sa.tuple_(columns.created_at, columns.id) < after)
    found = [Segment(**row) for row in (await conn.execute(statement)).mappings()]
    return page_of(found, request, lambda segment: (segment.created_at.isoformat(), segment.id))


async def ids_after(
    conn: AsyncConnection, project: ProjectCtx, after: str | None, limit: int
) -> Sequence[str]:
    """The ids of the project's segments in their order, from the first one after `after`."""
    statement = (
        sa.select(segments.c.id)
        .where(segments.c.project_id == project.project_id)
        .order_by(segments.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(segments.c.id > after)
    return list((await conn.execute(statement)).scalars())


async def update(
    conn: AsyncConnection, project: ProjectCtx, segment_id: str, patch: SegmentPatch
) -> Segment:
    """Change the given columns. Other rules have not been evaluated yet, and say so by null.

    Raises SegmentNotFound or SystemSegmentReadOnly.
    """
    values: dict[str, object] = {**patch.columns, "updated_at": sa.func.now()}
    if "rules" in patch.columns:
        same = segments.c.rules == sa.literal(patch.columns["rules"], JSONB())
        for name in ("user_count", "last_evaluated_at"):
            values[name] = sa.case((same, segments.c[name]))
    statement = (
        sa.update(segments)
        .where(*_is(project, segment_id), segments.c.is_system.is_(False))
        .values(values)
        .returning(*_COLUMNS)
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        await get(conn, project, segment_id)
        raise _read_only(segment_id)
    return Segment(**row)


async def delete(conn: AsyncConnection, project: ProjectCtx, segment_id: str) -> None:
    """Remove a segment and its snapshot, for good.

    Raises SegmentNotFound, SystemSegmentReadOnly, or SegmentInUse where a campaign will need it.
    """
    query = sa.select(*_COLUMNS).where(*_is(project, segment_id)).with_for_update()
    segment = await _one(conn, query)
    if segment.is_system:
        raise _read_only(segment_id)
    if used_by := await _campaigns_to_come(conn, project, segment_id):
        details = {"campaigns": [str(each) for each in used_by]}
        raise SegmentInUse("Campaigns are still to be sent to this segment.", details)
    await memberships.delete_of_segment(conn, project, segment_id)
    await conn.execute(sa.delete(segments).where(*_is(project, segment_id)))


async def note_evaluation(
    conn: AsyncConnection, project: ProjectCtx, segment: Segment, found: Refreshed
) -> bool:
    """Write down what a refresh found. False where the rules are not those of `segment` any more:
    they were changed meanwhile, or the segment is gone."""
    statement = (
        sa.update(segments)
        .where(
            *_is(project, segment.id),
            segments.c.rules == sa.literal(dict(segment.rules), JSONB()),
        )
        .values(user_count=found.users, last_evaluated_at=sa.func.now())
    )
    return bool((await conn.execute(statement)).rowcount)


async def _campaigns_to_come(
    conn: AsyncConnection, project: ProjectCtx, segment_id: str
) -> Sequence[UUID]:
    """Some campaigns that name the segment and have not evaluated it yet."""
    columns = push_campaigns.c
    unsent = columns.status.in_((CampaignStatus.DRAFT, CampaignStatus.SCHEDULED))
    unfrozen = (columns.status == CampaignStatus.SENDING) & columns.frozen_at.is_(None)
    statement = (
        sa.select(columns.id)
        .where(
            columns.project_id == project.project_id,
            columns.segment_id == segment_id,
            unsent | unfrozen,
        )
        .order_by(columns.id)
        .limit(_NAMED_CAMPAIGNS)
    )
    return list((await conn.execute(statement)).scalars())


async def _one(conn: AsyncConnection, query: sa.Select[Any]) -> Segment:
    row = (await conn.execute(query)).mappings().one_or_none()
    if row is None:
        raise SegmentNotFound("There is no such segment in this project.")
    return Segment(**row)


def _is(project: ProjectCtx, segment_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return segments.c.project_id == project.project_id, segments.c.id == segment_id


def _read_only(segment_id: str) -> SystemSegmentReadOnly:
    return SystemSegmentReadOnly(f"{segment_id} is a system segment. Make one of your own.")
