"""Projects: an operator makes them; a project's own key may read its own."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Body
from pydantic import BaseModel, Field
from temporalio.client import Client

from api import fields
from api.dependencies import (
    ClaimId,
    Connection,
    Deployment,
    OperatorConnection,
    Paging,
    Project,
)
from api.envelopes import Envelope, Listing, documented_errors
from api.principals import requires
from api.routes.keys import KeyWithSecret, issue_key
from api.routing import GuardedRoute
from fanfare import entities
from fanfare.db import projects
from fanfare.db.keys import NewKey
from fanfare.db.projects import ProjectPatch, ProjectSettings
from fanfare.entities import Scope
from fanfare.errors import TemporalUnavailable
from fanfare.models import ProjectCtx
from workflows import refreshes

router = APIRouter(route_class=GuardedRoute, tags=["projects"])
own_router = APIRouter(route_class=GuardedRoute, tags=["projects"])

MOST_PER_MINUTE = 100_000_000
# What the column holds.
MOST_DEVICES = 2**31 - 1

_EXAMPLE: Mapping[str, object] = {"name": "Acme"}
_EXAMPLE_WITH_SETTINGS: Mapping[str, object] = {
    "name": "Acme",
    "timezone": "Europe/Berlin",
    "rate_limit": 600_000,
    "confirm_above": 100_000,
}
_PATCH: Mapping[str, object] = {"confirm_above": 50_000, "rate_limit": None}

_log = structlog.get_logger()

Timezone = Annotated[
    fields.Timezone,
    Field(
        description="IANA name. For campaigns that name no `timezone_fallback`; a change is for "
        "those that are created after it."
    ),
]
RateLimit = Annotated[
    Annotated[int, Field(strict=True, ge=1, le=MOST_PER_MINUTE)] | None,
    Field(description="Messages per minute, of all campaigns together. Null: no limit."),
]
ConfirmAbove = Annotated[
    Annotated[int, Field(strict=True, ge=0, le=MOST_DEVICES)] | None,
    Field(
        description="A campaign to more devices than this is sent or scheduled only with a "
        "`confirmation` from its preview. Null: none is asked for."
    ),
]


class ProjectBody(fields.Body):
    name: fields.Name
    timezone: Timezone = "UTC"
    rate_limit: RateLimit = None
    confirm_above: ConfirmAbove = None

    def settings(self) -> ProjectSettings:
        """All but the name."""
        return ProjectSettings(self.timezone, self.rate_limit, self.confirm_above)


class ProjectPatchBody(fields.Body):
    """What is left out stays as it is."""

    name: fields.Name = ""
    timezone: Timezone = ""
    rate_limit: RateLimit = None
    confirm_above: ConfirmAbove = None

    def patch(self) -> ProjectPatch:
        """The columns that were given."""
        return ProjectPatch(self.model_dump(include=self.model_fields_set))


class ProjectWithKey(BaseModel):
    """A new project and its first key, whose secret is shown here and never again."""

    project: entities.Project
    key: KeyWithSecret


@router.post(
    "/projects",
    status_code=201,
    dependencies=[requires(Scope.OPERATOR)],
    responses=documented_errors(400, 401, 403, 409, 413, 415, 422, 503),
)
async def create_project(
    body: Annotated[ProjectBody, Body(examples=[_EXAMPLE, _EXAMPLE_WITH_SETTINGS])],
    resources: Deployment,
    claim_id: ClaimId,
) -> Envelope[ProjectWithKey]:
    """Create a project, with a first key of scope `admin` and the system segments. Needs an
    operator key."""
    async with resources.database.transaction() as conn:
        project = await projects.create(conn, body.name, body.settings(), project_id=claim_id)
        first = NewKey("First key", {Scope.ADMIN})
        key = await issue_key(conn, ProjectCtx(project.id), first, resources.pepper, claim_id)
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


@router.patch(
    "/projects/{id}",
    dependencies=[requires(Scope.OPERATOR)],
    responses=documented_errors(400, 401, 403, 404, 413, 415, 503),
)
async def update_project(
    id: UUID,  # noqa: A002 - the path's name
    body: Annotated[ProjectPatchBody, Body(examples=[_PATCH])],
    conn: OperatorConnection,
) -> Envelope[entities.Project]:
    """Change a project's name or settings. Needs an operator key."""
    return Envelope(data=await projects.update(conn, ProjectCtx(id), body.patch()))


@own_router.get(
    "",
    dependencies=[requires(*sorted(set(Scope) - {Scope.OPERATOR, Scope.DEVICES_REGISTER}))],
    responses=documented_errors(400, 401, 403, 503),
)
async def get_own_project(conn: Connection, project: Project) -> Envelope[entities.Project]:
    """The project of the key."""
    return Envelope(data=await projects.get(conn, project))


@own_router.patch(
    "",
    dependencies=[requires(Scope.ADMIN)],
    responses=documented_errors(400, 401, 403, 413, 415, 503),
)
async def update_own_project(
    body: Annotated[ProjectPatchBody, Body(examples=[_PATCH])],
    conn: Connection,
    project: Project,
) -> Envelope[entities.Project]:
    """Change the name or the settings of the key's own project."""
    return Envelope(data=await projects.update(conn, project, body.patch()))


async def _schedule_refresh(temporal: Client, project_id: UUID) -> None:
    """Have the project's segments refreshed. Without Temporal the upkeep does it later."""
    try:
        await refreshes.ensure_schedule(temporal, project_id)
    except TemporalUnavailable as error:
        _log.warning("refresh_not_scheduled", project_id=str(project_id), why=error.message)
