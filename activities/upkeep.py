"""The activities that keep the system in order."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from temporalio import activity
from temporalio.client import Client

from fanfare.db import (
    campaignlists,
    idempotency,
    partitions,
    projects,
    push_tests,
    rates,
    segments,
    workers,
)
from fanfare.db.engine import Database
from fanfare.entities import Campaign
from fanfare.errors import TemporalUnavailable
from fanfare.models import ProjectCtx
from workflows import refreshes, starter
from workflows.stubs import UpkeepActivities

# Younger rows belong to a request that may still be starting their workflow.
SETTLING = timedelta(seconds=15)

PAGE = 500
AT_ONCE = 20

KEEP_TESTS = timedelta(hours=1)

log = structlog.get_logger()


class Upkeep(UpkeepActivities):
    """Implements the upkeep with the database and a client of Temporal."""

    def __init__(self, database: Database, temporal: Client) -> None:
        self._database = database
        self._temporal = temporal

    @activity.defn(name="reconcile_campaigns")
    async def reconcile_campaigns(self) -> int:
        """Start the workflow of every open campaign that has none, and tell one what an operator
        changed, where it was not told. A second run finds none.

        Such rows come from a crash between the row and the start, or from a Temporal service that
        lost its state. What a campaign sent before stays sent: the ledger knows.
        """
        before = datetime.now(UTC) - SETTLING
        taken_up, last = 0, None
        while found := await self._open_campaigns(before, last):
            for first in range(0, len(found), AT_ONCE):
                some = found[first : first + AT_ONCE]
                taken_up += sum(await asyncio.gather(*map(self._take_up, some)))
                activity.heartbeat()
            last = found[-1].id
        return taken_up

    @activity.defn(name="keep_tables")
    async def keep_tables(self) -> None:
        """Make the ledger's next partitions, and drop what is past its time."""
        now = datetime.now(UTC)
        async with self._database.transaction() as conn:
            await partitions.ensure(conn, now)
        async with self._database.transaction() as conn:
            await push_tests.delete_before(conn, now - KEEP_TESTS)
            await idempotency.delete_expired(conn)
            await rates.forget_old(conn)
            await workers.forget_old(conn)

    @activity.defn(name="reconcile_refreshes")
    async def reconcile_refreshes(self) -> int:
        """Give every project without one its Schedule, and the system segments that it lacks.

        A second run finds none.

        Such projects are older than the refresh or were made by code that is, were made while
        Temporal was away, or had theirs in a Temporal service that lost its state. Nothing is
        deleted: what else is scheduled in the namespace may be another's.
        """
        scheduled = await refreshes.schedule_ids(self._temporal)
        made, last = 0, None
        while found := await self._projects(last):
            missing = [each for each in found if refreshes.schedule_id(each) not in scheduled]
            for first in range(0, len(missing), AT_ONCE):
                some = missing[first : first + AT_ONCE]
                await asyncio.gather(*(self._schedule_refresh(each) for each in some))
                activity.heartbeat()
            made, last = made + len(missing), found[-1]
        return made

    async def _projects(self, last: UUID | None) -> Sequence[UUID]:
        async with self._database.transaction() as conn:
            return await projects.ids_after(conn, last, PAGE)

    async def _schedule_refresh(self, project_id: UUID) -> None:
        async with self._database.transaction() as conn:
            await segments.create_system(conn, ProjectCtx(project_id))
        await refreshes.ensure_schedule(self._temporal, project_id)
        log.info("refresh_scheduled", project_id=str(project_id))

    async def _open_campaigns(self, before: datetime, last: UUID | None) -> Sequence[Campaign]:
        async with self._database.transaction() as conn:
            return await campaignlists.open_since(conn, before, after=last, limit=PAGE)

    async def _take_up(self, campaign: Campaign) -> bool:
        """Whether it had to be started, or told again what was changed. One that cannot be is left
        for the next time."""
        is_told = campaign.revision == campaign.heard_revision
        try:
            if is_told and await starter.is_running(self._temporal, campaign.id):
                return False
            await starter.follow(self._temporal, campaign)
        except TemporalUnavailable as error:
            log.warning("campaign_not_taken_up", campaign_id=str(campaign.id), why=error.message)
            return False
        log.warning("campaign_taken_up", campaign_id=str(campaign.id))
        return True
