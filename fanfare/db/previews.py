"""Whom a rule selects now: how many, and a few to look at. Nothing is stored."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.tables import app_users
from fanfare.entities import User
from fanfare.models import ProjectCtx

SAMPLE = 10

_COLUMNS = [app_users.c[field.name] for field in fields(User)]


@dataclass(frozen=True, slots=True)
class Preview:
    """How many users match, and SAMPLE of them at most: any, in no order."""

    count: int
    sample: Sequence[User]


async def preview(
    conn: AsyncConnection, project: ProjectCtx, rule: sa.ColumnElement[bool]
) -> Preview:
    """Evaluate a condition over `app_users`. Costs one pass over the users, or over an index.

    Takes a connection that reads whole tables (`Database.audience`), or does without their indexes.
    """
    matching = app_users.c.project_id == project.project_id, rule
    counting = sa.select(sa.func.count()).select_from(app_users).where(*matching)
    count = (await conn.execute(counting)).scalar_one()
    if not count:
        return Preview(0, [])
    some = (await conn.execute(sa.select(*_COLUMNS).where(*matching).limit(SAMPLE))).mappings()
    return Preview(count, [User(**row) for row in some])
