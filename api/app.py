"""The HTTP application, put together from plain objects: no setting is read here."""

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Path
from fastapi.routing import APIRoute
from fastapi_offline.core import FastAPIOffline

from api import errors
from api.envelopes import ANY_ERROR
from api.requests import RequestLog
from api.resources import Resources
from api.routes import (
    campaigns,
    controls,
    credentials,
    credentialtests,
    deliveries,
    health,
    imports,
    keys,
    previews,
    projects,
    segments,
    testpushes,
    tokens,
    users,
)

SHORT_DOOR: Final = "/admin"
LONG_DOOR: Final = "/v1/admin/projects/{project_id}"

DESCRIPTION: Final = """
Push campaigns to phones: durable, exact, and quick.

* Send an API key as `Authorization: Bearer pk_...`. A key belongs to one project and has scopes.
* Every path is open under two doors: `/admin/...`, where the project is the key's, and
  `/v1/admin/projects/{project_id}/...`, where it is in the path as well.
* Answers are `{"data": ...}`; errors `{"error": {"code", "message", "details", "request_id"}}`.
* Lists come in pages: send `next_cursor` as `cursor` for the next one.
* A POST that creates or starts something takes an `Idempotency-Key` (1 to 255 visible ASCII
  characters): the same request again within 30 days gets the answer that it had before, with
  `Idempotent-Replayed: true`. Only success is kept: after a refusal the same key works once the
  cause is mended. The import takes no key; it is harmless to repeat.
* Times are RFC 3339 with an offset; answers are in UTC.
* External ids in paths are percent-encoded. One that holds `/push-tokens` or ends in
  `/entitlements` can be imported, but not named in a path.
"""
_TAGS: Final = [
    {"name": "campaigns", "description": "What is sent, when, to whom; and what became of it."},
    {"name": "users", "description": "Whom an app knows."},
    {"name": "push tokens", "description": "The devices of a user; all that a client key may do."},
    {"name": "import", "description": "Users with devices by the million."},
    {"name": "segments", "description": "Rules that name a part of the users."},
    {"name": "credentials", "description": "What APNs and FCM know us by."},
    {"name": "keys", "description": "Who may call this API."},
    {"name": "projects", "description": "Settings of one's own; all of them for operators."},
    {"name": "health", "description": "For whatever watches the process."},
]


def create_app(resources: Resources) -> FastAPI:
    """The application over these resources, which the caller opens and closes."""
    app = FastAPIOffline(
        title="Fanfare",
        version="1",
        description=DESCRIPTION,
        openapi_tags=_TAGS,
        # Also keeps FastAPI from describing its own 422, which no route answers with.
        responses=dict(ANY_ERROR),
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.resources = resources
    errors.install(app)
    app.add_middleware(RequestLog)
    app.include_router(health.router)
    app.include_router(projects.router, prefix=SHORT_DOOR)
    _mount_short(app)
    _mount_long(app)
    return app


# In the order of the documentation; but the path of a user takes whatever others leave.
_AT_BOTH_DOORS: Final[Sequence[tuple[str, str, Sequence[APIRouter]]]] = (
    (
        "/push",
        "/push/campaigns",
        [
            campaigns.router,
            controls.router,
            testpushes.router,
            previews.router,
            deliveries.router,
        ],
    ),
    ("/project", "/project", [projects.own_router]),
    ("/keys", "/keys", [keys.router]),
    ("/users", "/users", [tokens.router, users.router]),
    ("/import", "/import", [imports.router]),
    ("/segments", "/segments", [segments.previews_router, segments.router]),
    ("/credentials", "/credentials", [credentialtests.router, credentials.router]),
)


def _mount_short(app: FastAPI) -> None:
    for path, _, routers in _AT_BOTH_DOORS:
        for router in routers:
            app.include_router(router, prefix=SHORT_DOOR + path)


def _mount_long(app: FastAPI) -> None:
    for _, path, routers in _AT_BOTH_DOORS:
        for router in routers:
            app.include_router(
                router,
                prefix=LONG_DOOR + path,
                dependencies=[Depends(_project_in_path)],
                generate_unique_id_function=_operation_id_in_project,
            )


def _operation_id(route: APIRoute) -> str:
    return route.name


def _operation_id_in_project(route: APIRoute) -> str:
    return f"{route.name}_in_project"


async def _project_in_path(
    project_id: Annotated[UUID, Path(description="Must be the key's own project.")],
) -> None:
    """For the OpenAPI description; the guard of every route has compared it with the key."""
    del project_id
