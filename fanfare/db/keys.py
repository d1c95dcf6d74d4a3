"""The table `api_keys`. It stands outside the wall: a key is how a caller's project is known."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.api_keys import MintedKey
from fanfare.db.read_pool import ReadPool
from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import api_keys
from fanfare.entities import ApiKey, Scope
from fanfare.errors import KeyNotFound
from fanfare.models import ProjectCtx

# How exact `last_used_at` is: a busy key would otherwise be a hot row.
USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a caller says about a key. `created_by` is the id of the key that made it."""

    name: str
    scopes: AbstractSet[Scope]
    expires_at: datetime | None = None
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key with the hash that its secret must have."""

    key: ApiKey
    secret_hash: bytes


async def create(
    conn: AsyncConnection, project: ProjectCtx, new: NewKey, minted: MintedKey
) -> ApiKey | None:
    """Store a key's hash. The project must exist.

    A key of that id that nobody has used takes the new secret instead of its own: an earlier run
    of the same request made it, and crashed before it could tell. None where the id is another's.
    """
    statement = insert(api_keys).values(
        id=minted.id,
        project_id=project.project_id,
        name=new.name,
        secret_hash=minted.secret_hash,
        scopes=sorted(new.scopes),
        expires_at=new.expires_at,
        created_by=new.created_by,
    )
    columns, given = api_keys.c, statement.excluded
    untold = columns.last_used_at.is_(None) & columns.revoked_at.is_(None)
    own = (columns.project_id == given.project_id) & (columns.scopes == given.scopes)
    upsert = statement.on_conflict_do_update(
        index_elements=["id"], set_={"secret_hash": given.secret_hash}, where=untold & own
    )
    row = (await conn.execute(upsert.returning(api_keys))).mappings().one_or_none()
    return None if row is None else _key(row)


async def find(reads: ReadPool, key_id: str) -> KeyRecord | None:
    """The key of that id, of whichever project, live or not. One look-up by key."""
    row = await reads.row(_FIND, {"id": key_id})
    return None if row is None else KeyRecord(_key(row), row["secret_hash"])


async def page(conn: AsyncConnection, project: ProjectCtx, request: PageRequest) -> Page[ApiKey]:
    """A page of the project's keys, the newest first; revoked ones too."""
    columns = api_keys.c
    statement = (
        sa.select(api_keys)
        .where(columns.project_id == project.project_id)
        .order_by(columns.created_at.desc(), columns.id.desc())
        .limit(request.limit + 1)
    )
    if (after := request.after_moment()) is not None:
        statement = statement.where(sa.tuple_(columns.created_at, columns.id) < after)
    found = [_key(row) for row in (await conn.execute(statement)).mappings()]
    return page_of(found, request, lambda key: (key.created_at.isoformat(), key.id))


async def revoke(conn: AsyncConnection, project: ProjectCtx, key_id: str) -> None:
    """End a key, at once and for good. Idempotent. Raises KeyNotFound."""
    statement = (
        sa.update(api_keys)
        .where(api_keys.c.project_id == project.project_id, api_keys.c.id == key_id)
        .values(revoked_at=sa.func.coalesce(api_keys.c.revoked_at, sa.func.now()))
    )
    if (await conn.execute(statement)).rowcount == 0:
        raise KeyNotFound("There is no such key in this project.")


async def note_use(conn: AsyncConnection, key_id: str) -> None:
    """Set `last_used_at`, unless another request of this minute has."""
    last_used_at = api_keys.c.last_used_at
    stale = last_used_at.is_(None) | (last_used_at < sa.func.now() - USED_EVERY)
    statement = sa.update(api_keys).where(api_keys.c.id == key_id, stale)
    await conn.execute(statement.values(last_used_at=sa.func.now()))


def _key(row: sa.RowMapping | Mapping[str, Any]) -> ApiKey:  # Any: values of many columns
    return ApiKey(
        id=row["id"],
        project_id=row["project_id"],
        name=row["name"],
        scopes=frozenset(map(Scope, row["scopes"])),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        created_at=row["created_at"],
    )


# By their names: a plan that is kept does not outlive a `*` that means more than before.
_FIND = f"SELECT {', '.join(api_keys.c.keys())} FROM api_keys WHERE id = %(id)s"  # noqa: S608
