"""Projects: an operator makes them; a project's own key may read its own."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Body
from pydantic import BaseModel
from temporalio.client import Client

from api import fields
from api.dependencies import Connection, Deployment, OperatorConnection, Paging, Project
from api.envelopes import Envelope, Listing, documented_errors
from api.principals import requires
from api.routes.keys import KeyWithSecret, issue_key
from api.routing import GuardedRoute
from fanfare import entities
from fanfare.db import projects
from fanfare.db.keys import NewKey
from fanfare.entities import Scope
from fanfare.errors import TemporalUnavailable
from fanfare.models import ProjectCtx
from workflows import refreshes

router = APIRouter(route_class=GuardedRoute, tags=["projects"])

_EXAMPLES: Mapping[str, object] = {"name": "Acme"}

_log = structlog.get_logger()


class ProjectBody(fields.Body):
    name: fields.Name


class ProjectWithKey(BaseModel):
    """A new project and its first key, whose secret is shown here and never again."""

    project: entities.Project
    key: KeyWithSecret


@router.post(
    "/projects",
    status_code=201,
    dependencies=[requires(Scope.OPERATOR)],
    responses=documented_errors(400, 401, 403, 409, 422, 503),
)
async def create_project(
    body: Annotated[ProjectBody, Body(examples=[_EXAMPLES])],
    resources: Deployment,
) -> Envelope[ProjectWithKey]:
    """Create a project, with a first key of scope `admin` and the system segments. Needs an
    operator key."""
    async with resources.database.transaction() as conn:
        project = await projects.create(conn, body.name)
        first = NewKey("First key", {Scope.ADMIN})
        key = await issue_key(conn, ProjectCtx(project.id), first, resources.pepper)
    await _schedule_refresh(resources.temporal, project.id)
    return Envelope(data=ProjectWithKey(project=project, key=key))


@router.get(
    "/projects",
    dependencies=[requires(Scope.OPERATOR)],
    responses=documented_errors(400, 401, 403, 503),
)
async def list_projects(conn: OperatorConnection, paging: Paging) -> Listing[entities.Project]:
    """All projects, the newest first. Needs an operator key."""
    return Listing[entities.Project].of(await projects.page(conn, paging))


@router.get(
    "/projects/{id}",
    dependencies=[requires(Scope.OPERATOR)],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def get_project(id: UUID, conn: OperatorConnection) -> Envelope[entities.Project]:  # noqa: A002 - the path's name
    """One project. Needs an operator key."""
    return Envelope(data=await projects.get(conn, ProjectCtx(id)))


@router.get(
    "/project",
    dependencies=[requires(*sorted(set(Scope) - {Scope.OPERATOR, Scope.DEVICES_REGISTER}))],
    responses=documented_errors(401, 403, 503),
)
async def get_own_project(conn: Connection, project: Project) -> Envelope[entities.Project]:
    """The project of the key."""
    return Envelope(data=await projects.get(conn, project))


async def _schedule_refresh(temporal: Client, project_id: UUID) -> None:
    """Have the project's segments refreshed. Without Temporal the upkeep does it later."""
    try:
        await refreshes.ensure_schedule(temporal, project_id)
    except TemporalUnavailable as error:
        _log.warning("refresh_not_scheduled", project_id=str(project_id), why=error.message)
