"""The activity that notices a restored database, and tells the workflows of its campaigns."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog
from temporalio import activity
from temporalio.client import Client

from activities.stores import Stores
from fanfare.db import campaignlists, installation, restores
from fanfare.entities import Campaign
from fanfare.models import CampaignStatus
from workflows import starter
from workflows.stubs import Position, RestoreActivities

PAGE = 500
AT_ONCE = 20

log = structlog.get_logger()


class Restores(RestoreActivities):
    """Implements the check with the database and a client of Temporal."""

    def __init__(self, stores: Stores, temporal: Client) -> None:
        self._stores = stores
        self._temporal = temporal

    @activity.defn(name="check_database")
    async def check_database(self, seen: Position) -> Position:
        """Hold the campaigns of a database that is behind `seen`, or that is elsewhere, and say
        how far it is now. A second run finds it done.

        After that every workflow of a campaign is told, once, to look at its row: also where the
        row is gone, of which nobody else would tell it.
        """
        guard = self._stores.ledger.guard
        guard.remember(seen.position or 0)
        async with self._stores.ledger.connection() as conn:
            await guard.check(conn)
            is_untold = await installation.is_untold(conn)
        if is_untold:
            await self._tell_all()
        return Position(position=guard.seen)

    async def _tell_all(self) -> None:
        await self._hold_begun()
        running = await starter.running_campaigns(self._temporal)
        for first in range(0, len(running), AT_ONCE):
            some = running[first : first + AT_ONCE]
            await asyncio.gather(*(starter.tell(self._temporal, each) for each in some))
        async with self._stores.ledger.connection() as conn:
            await installation.note_told(conn)
        log.warning("campaigns_told_of_restore", campaigns=len(running))

    async def _hold_begun(self) -> None:
        """Hold the campaigns that the database takes for scheduled, and Temporal for begun: their
        time was moved, or they were sent by hand, after the backup."""
        last = None
        while found := await self._scheduled(last):
            for first in range(0, len(found), AT_ONCE):
                some = found[first : first + AT_ONCE]
                await asyncio.gather(*map(self._hold_if_begun, some))
            last = found[-1].id

    async def _scheduled(self, last: UUID | None) -> Sequence[Campaign]:
        async with self._stores.database.transaction() as conn:
            return await campaignlists.open_since(conn, datetime.now(UTC), after=last, limit=PAGE)

    async def _hold_if_begun(self, campaign: Campaign) -> None:
        if campaign.status is not CampaignStatus.SCHEDULED or campaign.in_doubt_since is not None:
            return
        if await starter.has_begun(self._temporal, campaign.id):
            async with self._stores.database.transaction() as conn:
                await restores.hold_scheduled(conn, campaign)
            log.warning("campaign_held", campaign_id=str(campaign.id))
