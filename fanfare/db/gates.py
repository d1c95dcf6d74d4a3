"""The gate of a campaign: claims pass it side by side, a change of its row closes it."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_CLOSE = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:campaign, 1))")


async def close(conn: AsyncConnection, campaign_id: UUID) -> None:
    """Before the campaign's row is changed: let the claims under way end, and no more begin until
    the transaction ends.

    They share a lock on the row, and one that comes passes whoever waits to change it; here they
    queue up. A change that hundreds of them would keep waiting takes milliseconds.
    """
    await conn.execute(_CLOSE, {"campaign": str(campaign_id)})
