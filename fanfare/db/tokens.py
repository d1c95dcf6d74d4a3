"""The table `push_tokens`: devices, and whose they are now.

Of the rows of one token, one at most is not `moved`; a partial unique index holds that.
"""

# ruff: noqa: S608 - the statements are put together from constants; values are parameters.

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.rows import Page, PageRequest, page_of
from fanfare.db.tables import push_tokens
from fanfare.entities import PushToken
from fanfare.errors import DatabaseUnavailable, TokenNotFound
from fanfare.models import Environment, Platform, ProjectCtx, ProviderName

MOVED = "moved"
UNREGISTERED_BY_APP = "unregistered_by_app"

_COLUMNS = [push_tokens.c[field.name] for field in fields(PushToken)]
# The second round finishes a move; later ones are for races.
_ROUNDS = 4

_DEVICES = """
    json_to_recordset(CAST(:devices AS json)) AS device(
        app_user_id uuid, token text, platform text, provider text, environment text,
        app_version text, device_model text
    )
"""
_RETIRE = sa.text(f"""
    UPDATE push_tokens SET is_active = false, deactivated_reason = '{MOVED}'
    FROM {_DEVICES}
    WHERE push_tokens.project_id = :project_id
      AND push_tokens.provider = device.provider
      AND push_tokens.token = device.token
      AND push_tokens.deactivated_reason IS DISTINCT FROM '{MOVED}'
      AND push_tokens.app_user_id <> device.app_user_id
""")
_STORE = f"""
    INSERT INTO push_tokens AS held
        (project_id, app_user_id, token, platform, provider, environment, app_version, device_model)
    SELECT :project_id, app_user_id, token, platform, provider, environment, app_version,
        device_model
    FROM {_DEVICES}
    ORDER BY provider, token
    ON CONFLICT (project_id, provider, token) WHERE deactivated_reason IS DISTINCT FROM '{MOVED}'
    DO UPDATE SET
        platform = excluded.platform,
        environment = excluded.environment,
        app_version = coalesce(excluded.app_version, held.app_version),
        device_model = coalesce(excluded.device_model, held.device_model)
        %s
    WHERE held.app_user_id = excluded.app_user_id
    RETURNING held.provider, held.token
"""
_REVIVE = """, is_active = true, deactivated_reason = NULL, suspicions = 0, suspected_at = NULL,
        registered_at = now(), last_seen_at = now()"""


class Origin(StrEnum):
    """Who says that a device is a user's.

    `app`: the device itself, just now, so that it lives. `import`: a file; a device that is held
    for dead stays so, else every repetition of an old file would wake the dead.
    """

    APP = "app"
    IMPORT = "import"


_STATEMENTS = {Origin.APP: sa.text(_STORE % _REVIVE), Origin.IMPORT: sa.text(_STORE % "")}


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a user. `token` is in its normal form."""

    app_user_id: UUID
    token: str
    platform: Platform
    provider: ProviderName
    environment: Environment
    app_version: str | None = None
    device_model: str | None = None


async def put(
    conn: AsyncConnection, project: ProjectCtx, devices: Sequence[Device], origin: Origin
) -> None:
    """Store devices, each provider and token at most once. One statement, three if tokens move.

    A token under another user moves: its old row is marked, and a new one made. Should another
    transaction store the same token meanwhile, the move is repeated on what that one left.
    """
    if not devices:
        return
    missing = {(device.provider, device.token): device for device in devices}
    for _ in range(_ROUNDS):
        held = await conn.execute(_STATEMENTS[origin], _parameters(project, missing.values()))
        for row in held.mappings():
            del missing[ProviderName(row["provider"]), row["token"]]
        if not missing:
            return
        await conn.execute(_RETIRE, _parameters(project, missing.values()))
    raise DatabaseUnavailable("A token keeps changing hands.", timedelta(seconds=1))


async def get(
    conn: AsyncConnection, project: ProjectCtx, provider: ProviderName, token: str
) -> PushToken:
    """The row of a token that has not moved on. Raises TokenNotFound."""
    columns = push_tokens.c
    statement = sa.select(*_COLUMNS).where(
        columns.project_id == project.project_id,
        columns.provider == provider,
        columns.token == token,
        _not_moved(),
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise _not_found()
    return _token(row)


async def page_of_user(
    conn: AsyncConnection, project: ProjectCtx, user_id: UUID, request: PageRequest
) -> Page[PushToken]:
    """A page of a user's devices, also of those that are no longer active, the newest first."""
    columns = push_tokens.c
    statement = (
        sa.select(*_COLUMNS)
        .where(columns.project_id == project.project_id, columns.app_user_id == user_id)
        .order_by(columns.id.desc())
        .limit(request.limit + 1)
    )
    if (after := request.after_number()) is not None:
        statement = statement.where(columns.id < after)
    found = [_token(row) for row in (await conn.execute(statement)).mappings()]
    return page_of(found, request, lambda token: (token.id,))


async def unregister(
    conn: AsyncConnection, project: ProjectCtx, user_id: UUID, spellings: Sequence[str]
) -> None:
    """The app gave its token back; `spellings` are the forms that it may be stored in.

    Idempotent: one that was inactive before keeps its reason. Raises TokenNotFound.
    """
    columns = push_tokens.c
    statement = (
        sa.update(push_tokens)
        .where(
            columns.project_id == project.project_id,
            columns.provider.in_(list(ProviderName)),
            columns.token.in_(spellings),
            columns.app_user_id == user_id,
            _not_moved(),
        )
        .values(
            is_active=False,
            deactivated_reason=sa.func.coalesce(columns.deactivated_reason, UNREGISTERED_BY_APP),
        )
    )
    if (await conn.execute(statement)).rowcount == 0:
        raise _not_found()


def _parameters(project: ProjectCtx, devices: Collection[Device]) -> Mapping[str, object]:
    document = json.dumps([_row(device) for device in devices])
    return {"project_id": project.project_id, "devices": document}


def _row(device: Device) -> Mapping[str, str | None]:
    # By hand: `asdict` copies deeply, which costs an import a fifth of its speed.
    return {
        "app_user_id": str(device.app_user_id),
        "token": device.token,
        "platform": device.platform,
        "provider": device.provider,
        "environment": device.environment,
        "app_version": device.app_version,
        "device_model": device.device_model,
    }


def _not_moved() -> sa.ColumnElement[bool]:
    return push_tokens.c.deactivated_reason.is_distinct_from(sa.literal_column(f"'{MOVED}'"))


def _token(row: sa.RowMapping) -> PushToken:
    enums = {
        "platform": Platform(row["platform"]),
        "provider": ProviderName(row["provider"]),
        "environment": Environment(row["environment"]),
    }
    return PushToken(**{**row, **enums})


def _not_found() -> TokenNotFound:
    return TokenNotFound("There is no such device token under this user.")


async def active_of(
    conn: AsyncConnection, project: ProjectCtx, user_id: UUID
) -> Sequence[PushToken]:
    """A user's active devices, the one seen last first."""
    columns = push_tokens.c
    statement = (
        sa.select(*_COLUMNS)
        .where(
            columns.project_id == project.project_id,
            columns.app_user_id == user_id,
            columns.is_active,
        )
        .order_by(columns.last_seen_at.desc(), columns.id.desc())
    )
    return [_token(row) for row in (await conn.execute(statement)).mappings()]
