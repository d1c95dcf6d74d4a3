"""The table `segments`: named rules. Whoever writes rules has checked them before."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import segments
from fanfare.entities import Segment
from fanfare.errors import SegmentExists, SegmentNotFound
from fanfare.models import ProjectCtx

_COLUMNS = [segments.c[field.name] for field in fields(Segment)]


@dataclass(frozen=True, slots=True)
class NewSegment:
    """What a caller says about a segment. Without an id it is given one."""

    name: str
    rules: Mapping[str, object]
    description: str | None = None
    id: str | None = None


async def create(conn: AsyncConnection, project: ProjectCtx, new: NewSegment) -> Segment:
    """Store a segment. Raises SegmentExists where the chosen id is taken."""
    statement = (
        insert(segments)
        .values(
            project_id=project.project_id,
            id=new.id or f"seg_{secrets.token_hex(8)}",
            name=new.name,
            description=new.description,
            rules=dict(new.rules),
        )
        .on_conflict_do_nothing(index_elements=["project_id", "id"])
        .returning(*_COLUMNS)
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise SegmentExists(f"There is a segment {new.id} already.")
    return Segment(**row)


async def get(conn: AsyncConnection, project: ProjectCtx, segment_id: str) -> Segment:
    """One segment. Raises SegmentNotFound."""
    statement = sa.select(*_COLUMNS).where(
        segments.c.project_id == project.project_id, segments.c.id == segment_id
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise SegmentNotFound("There is no such segment in this project.")
    return Segment(**row)


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
