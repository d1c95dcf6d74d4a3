"""API keys of a project: the secret is shown when one is made, and never again."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from api import fields
from api.dependencies import Caller, ClaimId, Connection, Deployment, Paging, Project
from api.envelopes import Envelope, Listing, documented_errors
from api.principals import Principal, requires
from api.routing import GuardedRoute
from fanfare import api_keys
from fanfare.api_keys import MintedKey
from fanfare.db import keys, projects
from fanfare.db.keys import NewKey
from fanfare.entities import ApiKey, Scope
from fanfare.errors import FieldFault, Forbidden, InvalidInput
from fanfare.ids import new_id
from fanfare.models import ProjectCtx

router = APIRouter(route_class=GuardedRoute, tags=["keys"])

_EXAMPLE: Mapping[str, object] = {"name": "Backend", "scopes": ["audience:write"]}
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_KEYS = requires(Scope.KEYS_WRITE, operator_too=True)


class KeyBody(fields.Body):
    name: fields.Name
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    expires_at: fields.Instant | None = None


class KeyWithSecret(BaseModel):
    """A new key. `secret` is the whole text to send as the bearer token."""

    id: str
    project_id: UUID | None
    name: str
    scopes: list[Scope]
    expires_at: datetime | None
    created_at: datetime
    secret: str = Field(description="Shown once.", examples=["pk_<id>_<secret>"])


@router.post(
    "",
    status_code=201,
    dependencies=[_KEYS],
    responses=documented_errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def create_key(
    body: Annotated[KeyBody, Body(examples=[_EXAMPLE])],
    conn: Connection,
    project: Project,
    caller: Caller,
    resources: Deployment,
    claim_id: ClaimId,
) -> Envelope[KeyWithSecret]:
    """Make a key. Its scopes must be among the caller's own; an operator may give any.

    Two live keys make a rotation without downtime: make the new one, move over, revoke the old one.
    """
    _check_grant(caller, body.scopes)
    await projects.get(conn, project)
    new = NewKey(body.name, body.scopes, body.expires_at, caller.key_id)
    return Envelope(data=await issue_key(conn, project, new, resources.pepper, claim_id))


@router.get("", dependencies=[_KEYS], responses=documented_errors(400, 401, 403, 503))
async def list_keys(conn: Connection, project: Project, paging: Paging) -> Listing[ApiKey]:
    """The project's keys without their secrets, the newest first; revoked ones too."""
    return Listing[ApiKey].of(await keys.page(conn, project, paging))


@router.delete(
    "/{id}",
    status_code=204,
    dependencies=[_KEYS],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def revoke_key(id: str, conn: Connection, project: Project) -> None:  # noqa: A002 - the path's name
    """Revoke a key. The next request with it is refused."""
    await keys.revoke(conn, project, id)


async def issue_key(
    conn: AsyncConnection,
    project: ProjectCtx,
    new: NewKey,
    pepper: bytes,
    claim_id: UUID | None = None,
) -> KeyWithSecret:
    """Mint and store a key; the answer holds its secret.

    The key that an earlier run of the same claim made gets a new secret: nobody saw the first.
    """
    minted = _mint(pepper, claim_id or new_id())
    key = await keys.create(conn, project, new, minted)
    if key is None:
        # Somebody has used or revoked it since, or an id of eight letters came twice.
        return await issue_key(conn, project, new, pepper)
    return KeyWithSecret(
        id=key.id,
        project_id=key.project_id,
        name=key.name,
        scopes=sorted(key.scopes),
        expires_at=key.expires_at,
        created_at=key.created_at,
        secret=minted.text,
    )


def _mint(pepper: bytes, claim_id: UUID) -> MintedKey:
    """A key whose id is the claim's, and whose secret is fresh every time."""
    minted = api_keys.mint(pepper)
    number = int.from_bytes(hashlib.sha256(claim_id.bytes).digest())
    base = len(_ID_LETTERS)
    key_id = "".join(_ID_LETTERS[number // base**place % base] for place in range(len(minted.id)))
    return replace(minted, id=key_id, text=minted.text.replace(minted.id, key_id, 1))


def _check_grant(caller: Principal, scopes: frozenset[Scope]) -> None:
    if Scope.OPERATOR in scopes:
        fault = FieldFault("body.scopes", "a project's key cannot have the scope operator")
        raise InvalidInput("The scopes cannot be given.", [fault])
    if not caller.is_operator and not all(map(caller.may, scopes)):
        raise Forbidden("A key can give only the scopes that it has itself.")
