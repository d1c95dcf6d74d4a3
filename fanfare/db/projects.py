"""The table `projects`. It stands outside the wall: an operator lists all of them."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import segments
from fanfare.db.engine import enter_project
from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import projects
from fanfare.entities import Project
from fanfare.errors import ProjectNotFound
from fanfare.ids import new_id
from fanfare.models import ProjectCtx


async def create(conn: AsyncConnection, name: str) -> Project:
    """Store a project, with the segments that every project has. Names need not be unique.

    From here on the transaction sees that project.
    """
    statement = sa.insert(projects).values(id=new_id(), name=name).returning(projects)
    project = _project((await conn.execute(statement)).mappings().one())
    await enter_project(conn, ProjectCtx(project.id))
    await segments.create_system(conn, ProjectCtx(project.id))
    return project


async def get(conn: AsyncConnection, project: ProjectCtx) -> Project:
    """The project itself. Raises ProjectNotFound."""
    statement = sa.select(projects).where(projects.c.id == project.project_id)
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise ProjectNotFound(f"There is no project {project.project_id}.")
    return _project(row)


async def ids_after(conn: AsyncConnection, after: UUID | None, limit: int) -> Sequence[UUID]:
    """The ids of all projects in their order, from the first one after `after`."""
    statement = sa.select(projects.c.id).order_by(projects.c.id).limit(limit)
    if after is not None:
        statement = statement.where(projects.c.id > after)
    return list((await conn.execute(statement)).scalars())


async def page(conn: AsyncConnection, request: PageRequest) -> Page[Project]:
    """A page of all projects, the newest first."""
    statement = sa.select(projects).order_by(projects.c.id.desc()).limit(request.limit + 1)
    if (after := request.after_id()) is not None:
        statement = statement.where(projects.c.id < after)
    found = [_project(row) for row in (await conn.execute(statement)).mappings()]
    return page_of(found, request, _sort_key)


def _sort_key(project: Project) -> tuple[UUID]:
    return (project.id,)


def _project(row: sa.RowMapping) -> Project:
    return Project(row["id"], row["name"], row["created_at"], row["updated_at"])
