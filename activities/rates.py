"""A campaign's rate in one process: when, and how many, by its own limit and its project's."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID
from weakref import WeakValueDictionary

from activities.pace import LOOK_EVERY
from fanfare.db import rates
from fanfare.db.ledger_pool import LedgerPool
from fanfare.models import Lane, ProjectCtx
from fanfare.pacing import Stock
from fanfare.rates import RateLimits, Reservation, limits_of

# Whoever is woken so much later than its moment lets that pass, and reserves anew. Later than any
# event loop that still works, or nothing would ever go out.
TOO_LATE = timedelta(seconds=1)

# Called wherever somebody still has to wait, at least once a second: raises to end the wait.
OnWait = Callable[[], None]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CampaignRate:
    """Holds back what one campaign sends, for all batches of the process that send it.

    Where neither limit is set it costs a statement a second and microseconds per call.
    """

    def __init__(
        self,
        ledger: LedgerPool,
        project: ProjectCtx,
        campaign_id: UUID,
        *,
        now: Callable[[], datetime] = _utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.now = now
        self._ledger = ledger
        self._key = (project, campaign_id)
        self._sleep = sleep
        self._limits: RateLimits | None = None
        self._looked_at: datetime | None = None
        self._stock: Stock | None = None
        self._reserved_at: datetime | None = None
        # First come, first served; and a process has one reservation of the shared rate at most.
        self._turn = asyncio.Lock()
        self._turns: dict[Lane, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def admit(self, wanted: int, on_wait: OnWait) -> int:
        """Wait until something may go out, and return how many: 1 to `wanted`, which is positive.

        A change of the limits, a pause or an end is heard within a second, by who waits too.
        Raises ClaimRefused where the campaign is not sending, DatabaseUnavailable, and whatever
        `on_wait` raises; then it has admitted nothing.
        """
        async with self._turn:
            await self._look()
            while not (count := self._admissible(wanted)):
                on_wait()
                await self._reserve(wanted)
            self._use(count)
            return count

    def give_back(self, count: int) -> None:
        """Leave to other batches of the process what was admitted this moment and not used."""
        self._use(-count)

    def closed_until(self) -> datetime | None:
        """When what was reserved last may go out. None where that has come."""
        at = self._reserved_at
        return None if at is None or at <= self.now() else at

    def turn(self, lane: Lane) -> asyncio.Lock:
        """For who waits for the lane's credential with what this admitted."""
        return self._turns[lane]

    def _admissible(self, wanted: int) -> int:
        return wanted if self._stock is None else min(wanted, self._stock.room(self.now()))

    def _use(self, count: int) -> None:
        if self._stock is not None:
            self._stock.enter(count)

    async def _look(self) -> None:
        """Learn the limits, at most once a second."""
        now = self.now()
        if self._looked_at is None or now - self._looked_at >= LOOK_EVERY:
            async with self._ledger.connection() as conn:
                self._hear(await rates.limits(conn, *self._key), now)

    async def _reserve(self, wanted: int) -> None:
        """Take from the shared rates, and wait until that may go out; or until to ask again."""
        order = wanted if self._stock is None else self._stock.order(wanted)
        async with self._ledger.transaction() as conn:
            taken = await rates.take(conn, *self._key, order, clock=self.now)
        self._hear(taken.limits, self.now())
        self._reserved_at = taken.reservation.at
        await self._wait_until(taken.reservation.at)
        self._fill(taken.reservation)

    def _fill(self, reserved: Reservation) -> None:
        now = self.now()
        if reserved.count and self._stock is not None and now - reserved.at < TOO_LATE:
            self._stock.fill(reserved.count, now)

    async def _wait_until(self, moment: datetime) -> None:
        """At most a second."""
        if (now := self.now()) < moment:
            await self._sleep(min(moment - now, LOOK_EVERY).total_seconds())

    def _hear(self, limits: RateLimits, now: datetime) -> None:
        self._looked_at = now
        if limits != self._limits:
            self._limits = limits
            self._stock = None if limits.least is None else Stock(limits_of(limits.least))


class CampaignRates:
    """The process's campaigns, each for as long as somebody holds its rate."""

    def __init__(self, ledger: LedgerPool) -> None:
        self._ledger = ledger
        self._rates: WeakValueDictionary[UUID, CampaignRate] = WeakValueDictionary()

    def find(self, project: ProjectCtx, campaign_id: UUID) -> CampaignRate:
        """The campaign's rate, the same one for all who hold it at the same time."""
        rate = self._rates.get(campaign_id)
        if rate is None:
            rate = self._rates[campaign_id] = CampaignRate(self._ledger, project, campaign_id)
        return rate
