"""The table `app_users`: set-wise upserts that merge, and pages."""

# ruff: noqa: S608 - the statements are put together from constants; values are parameters.

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import memberships
from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import app_users
from fanfare.entities import User
from fanfare.errors import UserNotFound
from fanfare.ids import new_id
from fanfare.models import ProjectCtx

MAX_PROPERTIES_BYTES = 64 * 1024

# A patch as PostgreSQL reads it.
PatchRow: TypeAlias = Mapping[str, object]

_COLUMNS = [app_users.c[field.name] for field in fields(User)]
# What a patch may set, beside the properties, with the type that PostgreSQL reads it as.
_SETTABLE = {
    "email": "text",
    "phone": "text",
    "display_name": "text",
    "timezone": "text",
    "locale": "text",
    "first_seen_at": "timestamptz",
    "last_seen_at": "timestamptz",
}
_NAMES = ", ".join(_SETTABLE)
_PATCHES = f"""
    json_to_recordset(CAST(:patches AS json)) AS patch(
        id uuid, external_id text, given text[], properties jsonb, removed text[],
        {", ".join(f"{name} {kind}" for name, kind in _SETTABLE.items())}
    )
"""
_MERGED = {
    name: f"CASE WHEN '{name}' = ANY (patch.given) THEN patch.{name} ELSE app_users.{name} END"
    for name in _SETTABLE
} | {"properties": "(app_users.properties || patch.properties) - patch.removed"}
_TARGET = "app_users.project_id = :project_id AND app_users.external_id = patch.external_id"

# In the order of external ids, so that two sets never wait for each other in a circle.
_INSERT = sa.text(f"""
    INSERT INTO app_users (project_id, id, external_id, properties, {_NAMES})
    SELECT :project_id, id, external_id, properties, {_NAMES}
    FROM {_PATCHES} ORDER BY external_id
    ON CONFLICT (project_id, external_id) DO NOTHING
    RETURNING external_id
""")
# Expressions over the row itself, not over a joined copy of it: under READ COMMITTED they are
# evaluated again on what a concurrent patch committed, so that neither patch is lost.
_UPDATE = sa.text(f"""
    UPDATE app_users
    SET {", ".join(f"{name} = {value}" for name, value in _MERGED.items())}, updated_at = now()
    FROM {_PATCHES}
    WHERE {_TARGET}
      AND ({", ".join(f"app_users.{name}" for name in _MERGED)})
          IS DISTINCT FROM ({", ".join(_MERGED.values())})
    RETURNING app_users.external_id, octet_length(app_users.properties::text) AS bytes
""")
_LOCK_IMPORTS = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:project, 0))")


@dataclass(frozen=True, slots=True)
class UserPatch:
    """What a caller says about one user.

    `columns` are the columns that were given; a None clears one. `properties` merge at the top
    level; a None removes one.
    """

    external_id: str
    columns: Mapping[str, str | datetime | None]
    properties: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Upserted:
    """Which users (by external id) are new, and which had to be left as they were because their
    properties would have become larger than MAX_PROPERTIES_BYTES."""

    created: frozenset[str]
    oversized: frozenset[str]


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users a list shows. `text` is looked for in external id, email and display name;
    `condition` is a compiled rule over `app_users`."""

    text: str | None = None
    condition: sa.ColumnElement[bool] | None = None


async def upsert(
    conn: AsyncConnection, project: ProjectCtx, patches: Sequence[UserPatch]
) -> Upserted:
    """Create or patch users, each external id at most once. An equal user is not written.

    One statement for any number of new users, one more where some exist.
    """
    rows = [_row(each) for each in patches]
    inserted = await conn.execute(_INSERT, _parameters(project, rows))
    created = frozenset(inserted.scalars())
    rest = [row for row in rows if row["external_id"] not in created and _says_something(row)]
    if not rest:
        return Upserted(created, frozenset())
    return Upserted(created, await _update(conn, project, rest))


async def lock_imports(conn: AsyncConnection, project: ProjectCtx) -> None:
    """Wait until no other import writes to this project, and keep others out for the transaction.

    Two sets that overlap would lock each other's rows in a circle.
    """
    await conn.execute(_LOCK_IMPORTS, {"project": f"import {project.project_id}"})


async def lock_ids(
    conn: AsyncConnection, project: ProjectCtx, external_ids: Collection[str]
) -> Mapping[str, UUID]:
    """Our ids of those users that exist, who cannot be deleted before the transaction ends."""
    statement = (
        sa.select(app_users.c.external_id, app_users.c.id)
        .where(
            app_users.c.project_id == project.project_id,
            app_users.c.external_id == sa.any_(sa.cast(list(external_ids), sa.ARRAY(sa.Text))),
        )
        .with_for_update(key_share=True, read=True)
    )
    return {row["external_id"]: row["id"] for row in (await conn.execute(statement)).mappings()}


async def lock_id(conn: AsyncConnection, project: ProjectCtx, external_id: str) -> UUID:
    """Our id of one user, who cannot be deleted before the transaction ends.

    Raises UserNotFound.
    """
    found = await lock_ids(conn, project, [external_id])
    if external_id not in found:
        raise _not_found()
    return found[external_id]


async def get(conn: AsyncConnection, project: ProjectCtx, external_id: str) -> User:
    """One user. Raises UserNotFound."""
    statement = sa.select(*_COLUMNS).where(*_is(project, external_id))
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise _not_found()
    return User(**row)


async def note_seen(conn: AsyncConnection, project: ProjectCtx, user_id: UUID) -> None:
    """The user's app was heard of just now."""
    columns = app_users.c
    statement = (
        sa.update(app_users)
        .where(columns.project_id == project.project_id, columns.id == user_id)
        .values(
            last_seen_at=sa.func.now(),
            first_seen_at=sa.func.coalesce(columns.first_seen_at, sa.func.now()),
        )
    )
    await conn.execute(statement)


async def delete(conn: AsyncConnection, project: ProjectCtx, external_id: str) -> None:
    """Remove a user with tokens, entitlements and memberships, for good. Raises UserNotFound."""
    statement = sa.delete(app_users).where(*_is(project, external_id)).returning(app_users.c.id)
    user_id = (await conn.execute(statement)).scalar_one_or_none()
    if user_id is None:
        raise _not_found()
    await memberships.delete_of_user(conn, project, user_id)


async def page(
    conn: AsyncConnection, project: ProjectCtx, request: PageRequest, wanted: UserFilter
) -> Page[User]:
    """A page of the project's users, the newest first. A filter reads until a page is full."""
    statement = (
        sa.select(*_COLUMNS)
        .where(app_users.c.project_id == project.project_id, *_wanted(wanted))
        .order_by(app_users.c.id.desc())
        .limit(request.limit + 1)
    )
    if (after := request.after_id()) is not None:
        statement = statement.where(app_users.c.id < after)
    found = [User(**row) for row in (await conn.execute(statement)).mappings()]
    return page_of(found, request, lambda user: (user.id,))


async def _update(
    conn: AsyncConnection, project: ProjectCtx, rows: Sequence[PatchRow]
) -> frozenset[str]:
    """Patch users that exist, but for those who would become too large; say who they are.

    How large a merge is shows when it is done, and one that is too large is rare: then all is
    undone, and done again without it.
    """
    savepoint = await conn.begin_nested()
    changed = (await conn.execute(_UPDATE, _parameters(project, rows))).mappings()
    oversized = {row["external_id"] for row in changed if row["bytes"] > MAX_PROPERTIES_BYTES}
    if not oversized:
        await savepoint.commit()
        return frozenset()
    await savepoint.rollback()
    fitting = [row for row in rows if row["external_id"] not in oversized]
    return await _update(conn, project, fitting) | oversized


def _parameters(project: ProjectCtx, rows: Sequence[PatchRow]) -> dict[str, object]:
    # The standard library's encoder: integers of any size pass through it unharmed.
    document = json.dumps(rows, default=datetime.isoformat)
    return {"project_id": project.project_id, "patches": document}


def _row(patch: UserPatch) -> PatchRow:
    return {
        "id": str(new_id()),
        "external_id": patch.external_id,
        "given": list(patch.columns),
        "properties": {key: value for key, value in patch.properties.items() if value is not None},
        "removed": [key for key, value in patch.properties.items() if value is None],
        **patch.columns,
    }


def _says_something(row: PatchRow) -> bool:
    return bool(row["given"] or row["properties"] or row["removed"])


def _wanted(wanted: UserFilter) -> list[sa.ColumnElement[bool]]:
    conditions = [] if wanted.condition is None else [wanted.condition]
    if wanted.text is not None:
        searched = (app_users.c.external_id, app_users.c.email, app_users.c.display_name)
        found = [column.icontains(wanted.text, autoescape=True) for column in searched]
        conditions.append(sa.or_(*found))
    return conditions


def _is(project: ProjectCtx, external_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        app_users.c.project_id == project.project_id,
        app_users.c.external_id == external_id,
    )


def _not_found() -> UserNotFound:
    return UserNotFound("There is no such user in this project.")
