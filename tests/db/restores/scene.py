"""Campaigns in every state, and a database that is found elsewhere."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import sqlalchemy as sa
from psycopg.rows import TupleRow

from fanfare.db import campaigns, controls
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.db.installation import Guard
from fanfare.db.tables import push_batches
from fanfare.entities import Campaign, Timing
from fanfare.models import Content, ProjectCtx

Connection = psycopg.AsyncConnection[TupleRow]

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)

# As if the row had been written in another cluster; whoever writes it names itself.
_ELSEWHERE = """
    UPDATE installation SET system_identifier = system_identifier + 1,
        written_by = pg_current_xact_id()::xid::text::bigint
"""
# As a restored dump writes it.
_COPIED = "UPDATE installation SET timeline = timeline"
_PROMOTED = """
    UPDATE installation
    SET timeline = timeline - 1, written_by = pg_current_xact_id()::xid::text::bigint
"""
SIGNS: Mapping[str, str] = {
    "another cluster": _ELSEWHERE,
    "a restored dump": _COPIED,
    "another timeline": _PROMOTED,
    "no row": "DELETE FROM installation",
}


async def restore(conn: Connection, sign: str = "another cluster") -> None:
    """Make of the database one that was restored, and have it noticed."""
    await conn.execute(SIGNS[sign].encode())
    await Guard().check(conn)


async def made(database: Database, project: ProjectCtx, timing: Timing) -> Campaign:
    """A campaign as it is created: a draft, or scheduled."""
    new = NewCampaign("a campaign", Content("Hi", "There", {}), timing=timing)
    async with database.transaction() as conn:
        return await campaigns.create(conn, project, new)


async def found(database: Database, campaign: Campaign) -> Campaign:
    async with database.transaction() as conn:
        return await campaigns.get(conn, ProjectCtx(campaign.project_id), campaign.id)


async def resume(database: Database, campaign: Campaign) -> Campaign:
    async with database.transaction() as conn:
        return await controls.resume(conn, ProjectCtx(campaign.project_id), campaign.id)


async def claimed(database: Database, campaign: Campaign) -> Sequence[tuple[int, int]]:
    """Of each batch, by its number: how many count as claimed, and how many it holds."""
    columns = push_batches.c
    query = (
        sa.select(columns.claimed, sa.func.cardinality(columns.token_ids))
        .where(columns.project_id == campaign.project_id, columns.campaign_id == campaign.id)
        .order_by(columns.number)
    )
    async with database.transaction() as conn:
        return [(int(row[0]), int(row[1])) for row in await conn.execute(query)]
