"""Who calls, and what they may do. Every route declares it; one that does not cannot be made."""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import Depends, Security
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from api.resources import Resources, resources_of
from fanfare import api_keys
from fanfare.db import keys
from fanfare.entities import ApiKey, Scope
from fanfare.errors import (
    DatabaseUnavailable,
    FieldFault,
    Forbidden,
    InvalidInput,
    ProjectForbidden,
    Unauthorized,
)
from fanfare.models import ProjectCtx

# The project of what belongs to none: RFC 9562's nil UUID. No project has it.
NO_PROJECT = ProjectCtx(UUID(int=0))

_log = structlog.get_logger()
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="`Authorization: Bearer pk_<id>_<secret>`, from `POST /admin/keys`.",
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller. Without a project it is an operator. `key_id` is None for the key of the
    environment."""

    key_id: str | None
    project: ProjectCtx | None
    scopes: frozenset[Scope]

    @property
    def is_operator(self) -> bool:
        return self.project is None and Scope.OPERATOR in self.scopes

    def may(self, scope: Scope) -> bool:
        """Whether the scope is among the caller's; `admin` is all but `operator`."""
        if scope in self.scopes:
            return True
        return Scope.ADMIN in self.scopes and scope is not Scope.OPERATOR


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a route asks of its caller: one of the scopes.

    `operator_too`: an operator may come as well, through the door with the project in its path.
    """

    scopes: frozenset[Scope]
    operator_too: bool = False

    async def __call__(
        self,
        request: Request,
        _key: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> None:
        """As a dependency, for the OpenAPI description; also where no GuardedRoute asked first."""
        await self.check(request)

    async def check(self, request: Request) -> Principal:
        """Let the caller pass, and note the project that the request is about.

        Raises Unauthorized, Forbidden or ProjectForbidden.
        """
        principal = await _identify(request)
        path_project = _project_in_path(request)
        if principal.project is None:
            self._admit_operator(principal, path_project)
        else:
            self._admit_key(principal, path_project)
        request.state.project = principal.project or path_project
        return principal

    def _admit_operator(self, principal: Principal, path_project: ProjectCtx | None) -> None:
        if path_project is None and Scope.OPERATOR in self.scopes & principal.scopes:
            return
        if path_project is not None and self.operator_too and principal.is_operator:
            return
        if path_project is not None:
            raise ProjectForbidden("An operator key does not enter a project's data.")
        raise Forbidden("This needs a project's key; an operator key has no project.")

    def _admit_key(self, principal: Principal, path_project: ProjectCtx | None) -> None:
        if path_project is not None and path_project != principal.project:
            raise ProjectForbidden("The key belongs to another project than the path.")
        if not any(map(principal.may, self.scopes)):
            wanted = sorted(self.scopes)
            raise Forbidden(f"The key needs the scope {' or '.join(wanted)}.", {"scopes": wanted})


def requires(*scopes: Scope, operator_too: bool = False) -> Dependency:
    """For a route's `dependencies`: the caller must have one of the scopes."""
    requirement = Requirement(frozenset(scopes), operator_too)
    dependency = Depends(requirement)
    assert isinstance(dependency, Dependency)
    return dependency


async def _identify(request: Request) -> Principal:
    """The caller, looked up once a request. Raises Unauthorized."""
    known = getattr(request.state, "principal", None)
    if isinstance(known, Principal):
        return known
    principal = await _authenticate(request)
    request.state.principal = principal
    return principal


async def _authenticate(request: Request) -> Principal:
    resources = resources_of(request)
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text:
        raise Unauthorized("Send an API key: Authorization: Bearer pk_...")
    if _is_environment_key(text, resources):
        return Principal(None, None, frozenset({Scope.OPERATOR}))
    key = await _live_key(text, resources)
    project = None if key.project_id is None else ProjectCtx(key.project_id)
    return Principal(key.id, project, key.scopes)


def _is_environment_key(text: str, resources: Resources) -> bool:
    wanted = resources.operator_key
    return wanted is not None and hmac.compare_digest(text.encode(), wanted.encode())


async def _live_key(text: str, resources: Resources) -> ApiKey:
    parts = api_keys.split(text)
    if parts is None:
        raise _refused()
    key_id, secret = parts
    record = await keys.find(resources.reads, key_id)
    if record is None or not api_keys.matches(secret, record.secret_hash, resources.pepper):
        raise _refused()
    if not _is_live(record.key):
        raise _refused()
    await _note_use(record.key, resources)
    return record.key


def _is_live(key: ApiKey) -> bool:
    expired = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
    return key.revoked_at is None and not expired


async def _note_use(key: ApiKey, resources: Resources) -> None:
    used = key.last_used_at
    if used is not None and datetime.now(UTC) - used < keys.USED_EVERY:
        return
    try:
        async with resources.database.transaction() as conn:
            await keys.note_use(conn, key.id)
    except DatabaseUnavailable:
        # A courtesy to whoever looks at the list of keys; the request does not depend on it.
        _log.warning("key_use_not_noted", key_id=key.id)


def _project_in_path(request: Request) -> ProjectCtx | None:
    text = request.path_params.get("project_id")
    if text is None:
        return None
    try:
        return ProjectCtx(UUID(str(text)))
    except ValueError:
        fault = FieldFault("path.project_id", "not a UUID")
        raise InvalidInput("The project id in the path is not a UUID.", [fault]) from None


def _refused() -> Unauthorized:
    # One sentence for every reason: it tells a guesser nothing.
    return Unauthorized("The API key is not valid.")
