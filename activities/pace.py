"""One credential's pace in one process: when, and how many at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from fanfare.db import paces
from fanfare.db.ledger_pool import LedgerPool
from fanfare.entities import Limits
from fanfare.errors import CredentialNotFound, DatabaseUnavailable
from fanfare.models import ErrorCode, Outcome, ProjectCtx, Verdict
from fanfare.pacing import Breaker, Stock, Window
from fanfare.providers.http2_reasons import GOING_AWAY, REFUSED_STREAM
from fanfare.providers.outcomes import QUOTAS

# What another worker saw is known here so much later, and no wait is longer without a look.
LOOK_EVERY = timedelta(seconds=1)

# Where a 429 says no Retry-After: Google, "Scale FCM".
DEFAULT_HOLD = timedelta(seconds=60)

# The provider, or the way to it, is in trouble; everything else is an answer about one message.
TROUBLE = frozenset({ErrorCode.PROVIDER, ErrorCode.NETWORK, ErrorCode.NO_ANSWER})

log = structlog.get_logger()


class PaceClosed(Exception):
    """The provider refused the credential: nothing more goes out with it."""


class CredentialReplaced(Exception):
    """The credential is no more; another may stand in its place, with a pace of its own."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Pace:
    """Holds back what goes out with one credential, for all batches of the process.

    Each admitted message is given back exactly once: to `answered` with its outcome, or to `done`
    where it has none. Without a limit it costs a statement a second and microseconds per call.
    """

    def __init__(
        self,
        ledger: LedgerPool,
        project: ProjectCtx,
        credential_id: UUID,
        limits: Limits,
        *,
        now: Callable[[], datetime] = _utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._key = (project, credential_id)
        self._limits = limits
        self._now = now
        self._sleep = sleep
        self._window = Window(limits.max_in_flight)
        self._breaker = Breaker()
        self._stock = Stock(limits)
        self._is_refused = False
        self._held_until: datetime | None = None
        self._looked_at: datetime | None = None
        # First come, first served; and a worker has one reservation of the shared rate at most.
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._holding: set[asyncio.Task[None]] = set()

    @property
    def held_until(self) -> datetime | None:
        """Until when a throttle holds the credential, as far as is known here; may have passed."""
        return self._held_until

    def closed_until(self) -> datetime | None:
        """Until when nothing goes out: a throttle, or trouble there. None where it is open."""
        return self._closed_until(self._now())

    @property
    def in_flight(self) -> int:
        """How many messages were admitted and not given back."""
        return self._window.in_flight

    @property
    def is_refused(self) -> bool:
        """Whether the provider refused the credential: `admit` raises PaceClosed."""
        return self._is_refused

    async def admit(self, wanted: int) -> int:
        """Wait until something may go out, and return how many: 1 to `wanted`, which is positive.

        Raises PaceClosed once the credential was refused, CredentialReplaced where it is gone,
        DatabaseUnavailable. Cancelled or raising, it has admitted nothing.
        """
        async with self._turn:
            room = await self._wait_for_room(wanted)
            while not (count := self._admissible(room)):
                await self._reserve(room)
                # A throttle, or trouble, may have come meanwhile.
                room = await self._wait_for_room(wanted)
            self._window.enter(count)
            self._breaker.enter(count)
            self._stock.enter(count)
            return count

    def answered(self, outcomes: Iterable[Outcome]) -> None:
        """Give messages back with what became of them, and learn from it."""
        now, count, trouble, storm, orderly = self._now(), 0, 0, 0, 0
        for outcome in outcomes:
            count += 1
            if outcome.error_code in TROUBLE:
                # A connection that ends in order leaves hundreds of streams: that is nothing.
                orderly += outcome.reason == GOING_AWAY
                trouble += outcome.reason != GOING_AWAY
                # A refused stream says that too many are open, not that nobody is there.
                storm += outcome.reason not in {GOING_AWAY, REFUSED_STREAM}
            if outcome.error_code is ErrorCode.THROTTLED:
                self._throttled(outcome, now)
            elif outcome.verdict is Verdict.CREDENTIALS:
                self.refused()
        self._window.note(good=count - trouble, trouble=trouble)
        self._breaker.leave(orderly)
        self._learn_of_trouble(now, good=count - orderly - storm, trouble=storm)
        self._changed.set()

    def done(self, count: int) -> None:
        """Give back messages that were admitted and not sent, or of which nothing is known."""
        self._window.leave(count)
        self._breaker.leave(count)
        self._changed.set()

    def refused(self) -> None:
        """Admit nothing more. `answered` does so by itself at a verdict on the credential."""
        self._is_refused = True
        self._changed.set()

    async def close(self) -> None:
        """Wait until what other workers are to know is written."""
        await asyncio.gather(*self._holding)

    def _admissible(self, room: int) -> int:
        """How many of those may go out; 0 where the rate has to be asked first."""
        if self._limits.messages_per_minute is None:
            return room
        return min(room, self._stock.room(self._now()))

    async def _wait_for_room(self, wanted: int) -> int:
        while True:
            if self._is_refused:
                raise PaceClosed
            await self._look()
            now = self._now()
            closed_until = self._closed_until(now)
            if closed_until is not None:
                await self._sleep(_seconds(min(closed_until - now, LOOK_EVERY)))
            elif room := min(self._window.room(wanted), self._breaker.room(now, wanted)):
                return room
            else:
                self._changed.clear()
                await self._changed.wait()

    def _closed_until(self, now: datetime) -> datetime | None:
        for until in (self._held_until, self._breaker.open_until):
            if until is not None and now < until:
                return until
        return None

    async def _wait_until(self, moment: datetime) -> None:
        while (now := self._now()) < moment and not self._is_refused:
            await self._sleep(_seconds(min(moment - now, LOOK_EVERY)))

    async def _look(self) -> None:
        """Learn what other workers were told, at most once a second."""
        now = self._now()
        if self._looked_at is not None and now - self._looked_at < LOOK_EVERY:
            return
        try:
            async with self._ledger.connection() as conn:
                self._hear(await paces.held_until(conn, *self._key), now)
        except CredentialNotFound as error:
            raise CredentialReplaced from error
        self._looked_at = now

    async def _reserve(self, wanted: int) -> None:
        """Take from the shared rate, and wait until that may go out."""
        count, limits = self._stock.order(wanted), self._limits
        try:
            async with self._ledger.transaction() as conn:
                not_before = await paces.take(conn, *self._key, limits, count, now=self._now())
        except CredentialNotFound as error:
            raise CredentialReplaced from error
        await self._wait_until(not_before)
        self._stock.fill(count, self._now())

    def _learn_of_trouble(self, now: datetime, *, good: int, trouble: int) -> None:
        """Where a storm begins, every worker is told: each would learn it at the same price."""
        was_closed = self._breaker.is_closed
        self._breaker.note(now, good=good, trouble=trouble)
        if was_closed and self._breaker.open_until is not None:
            self._share_hold(self._breaker.open_until, now, halve=False)

    def _throttled(self, outcome: Outcome, now: datetime) -> None:
        if QUOTAS.get(outcome.reason or "") != "project":
            return
        self._window.halve()
        until = now + (outcome.retry_after or DEFAULT_HOLD)
        # The answers of one throttle differ by moments, which are not worth a statement each.
        if self._held_until is None or until - self._held_until >= LOOK_EVERY:
            self._share_hold(until, now, halve=True)

    def _share_hold(self, until: datetime, now: datetime, *, halve: bool) -> None:
        self._hold_until(until)
        telling = asyncio.create_task(self._tell(until, now, halve=halve))
        self._holding.add(telling)
        telling.add_done_callback(self._holding.discard)

    def _hear(self, until: datetime | None, now: datetime) -> None:
        """Take over a hold that another worker shared; after it a few messages go first."""
        if until is None or until <= now:
            return
        if self._held_until is None or until > self._held_until:
            self._held_until = until
            self._breaker.open(until)

    def _hold_until(self, until: datetime) -> None:
        if self._held_until is None or until > self._held_until:
            self._held_until = until

    async def _tell(self, until: datetime, now: datetime, *, halve: bool) -> None:
        """Have every worker hold. Where the database is away, nobody claims anything either."""
        try:
            async with self._ledger.transaction() as conn:
                await paces.hold(conn, *self._key, until, now=now, halve=halve)
        except (CredentialNotFound, DatabaseUnavailable) as error:
            log.warning("hold_is_not_shared", reason=type(error).__name__)
        else:
            event = "provider_throttles" if halve else "provider_in_trouble"
            log.warning(event, until=until.isoformat())


def _seconds(wait: timedelta) -> float:
    return wait.total_seconds()
