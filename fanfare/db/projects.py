"""The table `projects`. It stands outside the wall: an operator lists all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import segments
from fanfare.db.engine import enter_project
from fanfare.db.read_pool import ReadPool
from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import projects
from fanfare.entities import Project
from fanfare.errors import ProjectNotFound
from fanfare.ids import new_id
from fanfare.models import ProjectCtx


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """What a project has besides its name; `entities.Project` says what it means."""

    timezone: str = "UTC"
    rate_limit: int | None = None
    confirm_above: int | None = None


_DEFAULTS = ProjectSettings()


@dataclass(frozen=True, slots=True)
class ProjectPatch:
    """What a caller says about a project that exists: the columns that were given."""

    columns: Mapping[str, object]


async def create(
    conn: AsyncConnection,
    name: str,
    settings: ProjectSettings = _DEFAULTS,
    *,
    project_id: UUID | None = None,
) -> Project:
    """Store a project, with the segments that every project has. Names need not be unique.

    Where there is one of that id already, the same request made it before: it is returned. From
    here on the transaction sees that project.
    """
    project = ProjectCtx(project_id or new_id())
    values = {"id": project.project_id, "name": name, **asdict(settings)}
    await conn.execute(insert(projects).values(values).on_conflict_do_nothing())
    await enter_project(conn, project)
    await segments.create_system(conn, project)
    return await get(conn, project)


async def get(conn: AsyncConnection, project: ProjectCtx) -> Project:
    """The project itself. Raises ProjectNotFound."""
    statement = sa.select(projects).where(projects.c.id == project.project_id)
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise _missing(project)
    return _project(row)


async def find(reads: ReadPool, project: ProjectCtx) -> Project:
    """As `get`, in one round trip."""
    row = await reads.row(_FIND, {"project": project.project_id})
    if row is None:
        raise _missing(project)
    return Project(**row)


async def update(conn: AsyncConnection, project: ProjectCtx, patch: ProjectPatch) -> Project:
    """Change what was given, and return all. Raises ProjectNotFound."""
    statement = (
        sa.update(projects)
        .where(projects.c.id == project.project_id)
        .values(**patch.columns, updated_at=sa.func.now())
        .returning(projects)
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise _missing(project)
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
    return Project(**row)


def _missing(project: ProjectCtx) -> ProjectNotFound:
    return ProjectNotFound(f"There is no project {project.project_id}.")


_COLUMNS = ", ".join(each.name for each in fields(Project))

_FIND = f"SELECT {_COLUMNS} FROM projects WHERE id = %(project)s"  # noqa: S608 - constants alone
