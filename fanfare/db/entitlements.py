"""The table `user_entitlements`: what a user has bought. Written as a whole, per user."""

# ruff: noqa: S608 - the statements are put together from constants; values are parameters.

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.tables import user_entitlements
from fanfare.entities import Entitlement
from fanfare.models import ProjectCtx

_FIELDS = [field.name for field in fields(Entitlement)]
_DETAILS = [name for name in _FIELDS if name != "entitlement_id"]
_WANTED = """
    json_to_recordset(CAST(:rows AS json)) AS wanted(
        app_user_id uuid, entitlement_id text, product_id text, is_active boolean, store text,
        period_type text, purchase_date timestamptz, expiration_date timestamptz
    )
"""
_DELETE_OTHERS = sa.text(f"""
    DELETE FROM user_entitlements AS held
    WHERE held.project_id = :project_id AND held.app_user_id = ANY (CAST(:users AS uuid[]))
      AND NOT EXISTS (
        SELECT FROM {_WANTED}
        WHERE wanted.app_user_id = held.app_user_id
          AND wanted.entitlement_id = held.entitlement_id
      )
""")
_STORE = sa.text(f"""
    INSERT INTO user_entitlements AS held (project_id, app_user_id, {", ".join(_FIELDS)})
    SELECT :project_id, app_user_id, {", ".join(_FIELDS)} FROM {_WANTED}
    ORDER BY app_user_id, entitlement_id
    ON CONFLICT (project_id, app_user_id, entitlement_id)
    DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _DETAILS)}
    WHERE ({", ".join(f"held.{name}" for name in _DETAILS)})
        IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _DETAILS)})
""")


async def replace(
    conn: AsyncConnection,
    project: ProjectCtx,
    by_user: Mapping[UUID, Sequence[Entitlement]],
) -> None:
    """Give each of these users exactly these entitlements. An equal one is not written.

    A user's entitlement ids must differ from each other.
    """
    rows = [
        {"app_user_id": str(user_id), **asdict(entitlement)}
        for user_id, entitlements in by_user.items()
        for entitlement in entitlements
    ]
    parameters: dict[str, object] = {
        "project_id": project.project_id,
        "rows": json.dumps(rows, default=str),
        "users": list(by_user),
    }
    await conn.execute(_DELETE_OTHERS, parameters)
    parameters.pop("users")
    await conn.execute(_STORE, parameters)


async def all_of_user(
    conn: AsyncConnection, project: ProjectCtx, user_id: UUID
) -> Sequence[Entitlement]:
    """A user's entitlements, by their id."""
    columns = user_entitlements.c
    statement = (
        sa.select(*(columns[name] for name in _FIELDS))
        .where(columns.project_id == project.project_id, columns.app_user_id == user_id)
        .order_by(columns.entitlement_id)
    )
    return [Entitlement(**row) for row in (await conn.execute(statement)).mappings()]
