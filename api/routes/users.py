"""Users: upserted by the id that the app's own backend knows them by."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from pydantic import Field, StrictBool
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.routing import Match
from starlette.types import Scope as AsgiScope

from api import fields
from api.dependencies import Connection, Paging, Project
from api.envelopes import Envelope, Listing, documented_errors
from api.principals import requires
from api.routing import GuardedRoute
from fanfare.db import entitlements, segments, users
from fanfare.db.users import UserFilter, UserPatch
from fanfare.entities import Entitlement, Scope, User
from fanfare.errors import FieldFault, InvalidInput
from fanfare.models import ProjectCtx
from fanfare.segments.compiler import compile_rule
from fanfare.segments.grammar import parse_rules


class UserRoute(GuardedRoute):
    """A guarded route with a user in its path, whose external id may hold slashes.

    A path that goes on with what users have is that thing's and no longer id, whatever the method:
    `PUT /users/u/push-tokens` creates no user `u/push-tokens`.
    """

    def matches(self, scope: AsgiScope) -> tuple[Match, AsgiScope]:
        match, child_scope = super().matches(scope)
        external_id = child_scope.get("path_params", {}).get("external_id", "")
        if _TOKENS.search(external_id) or external_id.endswith("/entitlements"):
            return Match.NONE, {}
        return match, child_scope


router = APIRouter(route_class=UserRoute, tags=["users"])

MAX_ENTITLEMENTS = 200

_USER: Mapping[str, object] = {
    "email": "ada@example.com",
    "properties": {"plan": "pro", "trial_ends": None},
    "timezone": "Europe/Berlin",
    "locale": "de-DE",
}
_ENTITLEMENTS: Mapping[str, object] = {
    "entitlements": [{"entitlement_id": "premium", "product_id": "pro_yearly", "is_active": True}]
}

_TOKENS = re.compile(r"/push-tokens(/|\Z)")

ExternalIdPath = Annotated[fields.ExternalId, Path()]
ShortText = Annotated[str, Field(max_length=255)]


class UserBody(fields.Body):
    """What is left out stays as it is; null clears it."""

    email: Annotated[str, Field(max_length=320)] | None = None
    phone: Annotated[str, Field(max_length=32)] | None = None
    display_name: ShortText | None = None
    properties: fields.Properties = Field(default_factory=dict)
    timezone: fields.Timezone | None = None
    locale: fields.Locale | None = None
    first_seen_at: fields.Instant | None = None
    last_seen_at: fields.Instant | None = None

    def patch(self, external_id: str) -> UserPatch:
        """The fields that were given, for the user of that id."""
        given = self.model_fields_set & _COLUMNS
        columns = {name: getattr(self, name) for name in sorted(given)}
        return UserPatch(external_id, columns, self.properties)


class EntitlementBody(fields.Body):
    entitlement_id: Annotated[str, Field(min_length=1, max_length=255)]
    product_id: ShortText | None = None
    is_active: StrictBool = True
    store: ShortText | None = None
    period_type: ShortText | None = None
    purchase_date: fields.Instant | None = None
    expiration_date: fields.Instant | None = None

    def entitlement(self) -> Entitlement:
        return Entitlement(**self.model_dump())


class EntitlementsBody(fields.Body):
    entitlements: Annotated[list[EntitlementBody], Field(max_length=MAX_ENTITLEMENTS)]


_COLUMNS = frozenset(UserBody.model_fields) - {"properties"}


@router.get(
    "",
    dependencies=[requires(Scope.AUDIENCE_READ)],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def list_users(
    conn: Connection,
    project: Project,
    paging: Paging,
    segment_id: Annotated[str | None, Query(max_length=64)] = None,
    q: Annotated[
        str | None,
        Query(max_length=255, description="Part of external id, email or display name."),
    ] = None,
) -> Listing[User]:
    """The project's users, the newest first; those that match a segment's rules now, if one is
    named."""
    wanted = UserFilter(q, await _condition(conn, project, segment_id))
    return Listing[User].of(await users.page(conn, project, paging, wanted))


@router.put(
    "/{external_id:text}/entitlements",
    dependencies=[requires(Scope.AUDIENCE_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 413, 415, 503),
)
async def replace_entitlements(
    external_id: ExternalIdPath,
    body: Annotated[EntitlementsBody, Body(examples=[_ENTITLEMENTS])],
    conn: Connection,
    project: Project,
) -> Envelope[Sequence[Entitlement]]:
    """Give the user exactly these entitlements."""
    wanted = distinct_entitlements(body.entitlements)
    user_id = await users.lock_id(conn, project, external_id)
    await entitlements.replace(conn, project, {user_id: wanted})
    return Envelope(data=await entitlements.all_of_user(conn, project, user_id))


@router.put(
    "/{external_id:text}",
    dependencies=[requires(Scope.AUDIENCE_WRITE)],
    responses=documented_errors(400, 401, 403, 413, 415, 503)
    | {201: {"model": Envelope[User], "description": "The user is new."}},
)
async def put_user(
    external_id: ExternalIdPath,
    body: Annotated[UserBody, Body(examples=[_USER])],
    conn: Connection,
    project: Project,
    response: Response,
) -> Envelope[User]:
    """Create the user, or change the given fields. Properties merge at the top level, and null
    removes one."""
    done = await users.upsert(conn, project, [body.patch(external_id)])
    if done.oversized:
        raise too_large_properties()
    if done.created:
        response.status_code = 201
    return Envelope(data=await users.get(conn, project, external_id))


@router.get(
    "/{external_id:text}",
    dependencies=[requires(Scope.AUDIENCE_READ)],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def get_user(
    external_id: ExternalIdPath, conn: Connection, project: Project
) -> Envelope[User]:
    """One user."""
    return Envelope(data=await users.get(conn, project, external_id))


@router.delete(
    "/{external_id:text}",
    status_code=204,
    dependencies=[requires(Scope.AUDIENCE_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def delete_user(external_id: ExternalIdPath, conn: Connection, project: Project) -> None:
    """Remove the user with tokens and entitlements, for good. Deliveries lose the user."""
    await users.delete(conn, project, external_id)


def distinct_entitlements(bodies: Sequence[EntitlementBody]) -> Sequence[Entitlement]:
    """As stored. Raises InvalidInput where an entitlement id comes twice."""
    found = {body.entitlement_id: body.entitlement() for body in bodies}
    if len(found) != len(bodies):
        fault = FieldFault("body.entitlements", "an entitlement_id comes twice")
        raise InvalidInput("Each entitlement can be given once.", [fault])
    return list(found.values())


def too_large_properties() -> InvalidInput:
    """The properties that are there and the new ones are too large together."""
    limit = f"larger than {users.MAX_PROPERTIES_BYTES:,} bytes once merged"
    fault = FieldFault("body.properties", limit)
    return InvalidInput("The user's properties would become too large.", [fault])


async def _condition(
    conn: AsyncConnection, project: ProjectCtx, segment_id: str | None
) -> ColumnElement[bool] | None:
    if segment_id is None:
        return None
    segment = await segments.get(conn, project, segment_id)
    return compile_rule(parse_rules(segment.rules))
