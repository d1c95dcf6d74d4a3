"""Campaigns with limits in the database, the workers that send them, and a clock only ever told."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from activities.rates import CampaignRate
from activities.stores import Stores
from fanfare.db.ledger_pool import LedgerPool
from fanfare.db.tables import projects, push_campaigns, rate_paces
from fanfare.ids import new_id
from fanfare.models import CampaignStatus, ProjectCtx

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

# When messages were let go, and how many.
Going = tuple[datetime, int]


def no_matter() -> None:
    """Nothing ends the wait."""


class Stopping(Exception):
    """Whoever waits is to leave."""


def stop() -> None:
    raise Stopping


async def nothing_happens() -> None:
    """While somebody sleeps."""


@dataclass
class Clock:
    """Stands still but for who sleeps; `on_sleep` is what happens meanwhile."""

    time: datetime = START
    on_sleep: Callable[[], Awaitable[None]] = nothing_happens

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        await self.on_sleep()


@dataclass
class Place:
    """A project, and the workers that send its campaigns."""

    stores: Stores
    project: ProjectCtx
    clock: Clock = field(default_factory=Clock)

    async def campaign(self, rate_limit: int | None = None) -> UUID:
        """One that is sending."""
        row = {
            "project_id": self.project.project_id,
            "id": new_id(),
            "name": "a campaign",
            "title": "Hi",
            "body": "There",
            "status": CampaignStatus.SENDING,
            "rate_limit": rate_limit,
        }
        async with self.stores.database.transaction() as conn:
            await conn.execute(sa.insert(push_campaigns).values(row))
        return UUID(str(row["id"]))

    async def limit(self, campaign_id: UUID, rate_limit: int | None) -> None:
        """What an operator does."""
        await self.change(campaign_id, rate_limit=rate_limit)

    async def change(self, campaign_id: UUID, **values: object) -> None:
        change = sa.update(push_campaigns).where(push_campaigns.c.id == campaign_id)
        async with self.stores.database.transaction() as conn:
            await conn.execute(change.values(values))

    async def limit_project(self, rate_limit: int | None) -> None:
        mine = projects.c.id == self.project.project_id
        async with self.stores.database.transaction() as conn:
            await conn.execute(sa.update(projects).where(mine).values(rate_limit=rate_limit))

    def rate(self, campaign_id: UUID, ledger: LedgerPool | None = None) -> CampaignRate:
        """As another process has it."""
        pool = ledger or self.stores.ledger
        clock = self.clock
        return CampaignRate(pool, self.project, campaign_id, now=clock.now, sleep=clock.sleep)

    async def subjects(self) -> Sequence[UUID]:
        """Whose rates are kept."""
        query = sa.select(rate_paces.c.subject_id).where(
            rate_paces.c.project_id == self.project.project_id
        )
        async with self.stores.database.transaction() as conn:
            return list((await conn.execute(query)).scalars())


async def flow(
    clock: Clock, workers: Sequence[CampaignRate], lasts: timedelta, wanted: int = 200
) -> Sequence[Going]:
    """What they let go within that time, asking in turn."""
    found: list[Going] = []
    end = clock.now() + lasts
    while True:
        for worker in workers:
            count = await worker.admit(wanted, no_matter)
            if clock.now() >= end:
                return found
            found.append((clock.now(), count))


def total(found: Iterable[Going], first: datetime, end: datetime) -> int:
    return sum(count for moment, count in found if first <= moment < end)


def fullest(found: Sequence[Going], span: timedelta) -> int:
    return max(total(found, moment, moment + span) for moment, _ in found)
