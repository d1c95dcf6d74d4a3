"""A credential's pace over a real PostgreSQL, with a clock that is only ever told."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from activities.pace import CredentialReplaced, Pace, PaceClosed
from activities.stores import Stores
from fanfare.db import credentials
from fanfare.db.credentials import NewCredential
from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerConnection, LedgerPool
from fanfare.db.tables import credential_paces
from fanfare.entities import Limits, SealedSecret
from fanfare.errors import DatabaseUnavailable
from fanfare.ids import new_id
from fanfare.models import Environment, ErrorCode, Outcome, ProjectCtx, ProviderName, Verdict
from fanfare.pacing import OPEN_FOR

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

UNLIMITED = Limits(messages_per_minute=None, ramp_seconds=0, max_in_flight=2_000)
STEADY = Limits(messages_per_minute=6_000, ramp_seconds=0, max_in_flight=100_000)

SENT = Outcome(Verdict.SENT)
QUOTA = Outcome(Verdict.RETRY, ErrorCode.THROTTLED, "RESOURCE_EXHAUSTED", retry_after=7 * SECOND)
TROUBLE = Outcome(Verdict.RETRY, ErrorCode.PROVIDER, "UNAVAILABLE")
REFUSED = Outcome(Verdict.CREDENTIALS, ErrorCode.CREDENTIALS, "InvalidProviderToken")


@dataclass
class Clock:
    """Stands still but for who sleeps."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Place:
    """A project's credential, and the workers that send with it."""

    stores: Stores
    project: ProjectCtx
    credential_id: UUID
    clock: Clock = field(default_factory=Clock)

    def pace(self, limits: Limits = UNLIMITED, ledger: LedgerPool | None = None) -> Pace:
        """As another process has it."""
        return Pace(
            ledger or self.stores.ledger,
            self.project,
            self.credential_id,
            limits,
            now=self.clock.now,
            sleep=self.clock.sleep,
        )

    async def shared(self) -> Mapping[str, object]:
        """What all workers share."""
        query = sa.select(credential_paces).where(
            credential_paces.c.project_id == self.project.project_id
        )
        async with self.stores.database.transaction() as conn:
            return dict((await conn.execute(query)).mappings().one())


async def put_credential(database: Database, project: ProjectCtx) -> UUID:
    new = NewCredential(
        id=new_id(),
        provider=ProviderName.FCM,
        environment=Environment.PRODUCTION,
        public={},
        fingerprint="",
        sealed=SealedSecret(b"", b"", "v1"),
    )
    async with database.transaction() as conn:
        return (await credentials.put(conn, project, new)).id


@pytest.fixture
async def place(stores: Stores, project: ProjectCtx) -> Place:
    return Place(stores, project, await put_credential(stores.database, project))


async def admissions(
    clock: Clock, paces: Sequence[Pace], wanted: int, answer: Outcome = SENT
) -> AsyncIterator[tuple[datetime, int]]:
    """Have them admit in turn, each answered at once: when, and how many."""
    while True:
        for pace in paces:
            count = await pace.admit(wanted)
            pace.answered([answer] * count)
            yield clock.now(), count


async def until(
    source: AsyncIterator[tuple[datetime, int]], end: datetime
) -> Sequence[tuple[datetime, int]]:
    found = []
    async for moment, count in source:
        if moment >= end:
            break
        found.append((moment, count))
    return found


def fullest_minute(found: Sequence[tuple[datetime, int]]) -> int:
    return max(
        sum(count for moment, count in found if first <= moment < first + MINUTE)
        for first, _ in found
    )


async def test_two_workers_together_stay_under_the_limit_and_use_it(place: Place) -> None:
    workers = [place.pace(STEADY), place.pace(STEADY)]

    found = await until(admissions(place.clock, workers, wanted=50), START + 2 * MINUTE)

    assert fullest_minute(found) <= 1.02 * 6_000
    assert sum(count for _, count in found) >= 1.98 * 6_000


async def test_reservations_of_many_at_once_add_up(place: Place) -> None:
    workers = [place.pace(STEADY), place.pace(STEADY)]

    counts = await asyncio.gather(*(worker.admit(5) for worker in workers * 20))

    # 100 a second; the clock jumps for whoever sleeps, and may leave some of it unused.
    next_at = (await place.shared())["next_at"]
    assert isinstance(next_at, datetime)
    assert min(counts) >= 1
    assert next_at - START >= sum(counts) / 100 * SECOND


async def test_what_one_worker_reserves_and_does_not_use_is_not_sent_later(place: Place) -> None:
    pace = place.pace(Limits(messages_per_minute=300_000, ramp_seconds=0, max_in_flight=5_000))

    found = await until(admissions(place.clock, [pace], wanted=200), START + SECOND)
    place.clock.time += SECOND
    reserved_until = (await place.shared())["next_at"]
    await pace.admit(200)

    assert sum(count for _, count in found) == pytest.approx(5_000, rel=0.15)
    assert reserved_until != (await place.shared())["next_at"]


async def test_no_more_is_admitted_at_once_than_a_hundredth_of_the_limit(place: Place) -> None:
    assert await place.pace(STEADY).admit(200) == 61


async def test_rate_begins_low_and_rises(place: Place) -> None:
    limits = Limits(messages_per_minute=6_000, ramp_seconds=60, max_in_flight=2_000)

    found = await until(admissions(place.clock, [place.pace(limits)], 10), START + MINUTE)

    first_tenth = sum(count for moment, count in found if moment < START + 6 * SECOND)
    assert first_tenth == pytest.approx(60, rel=0.35)
    assert sum(count for _, count in found) == pytest.approx(3_150, rel=0.1)


async def test_retry_after_that_one_worker_sees_holds_the_other(place: Place) -> None:
    seeing, other = place.pace(), place.pace()
    await other.admit(1)

    seeing.answered([SENT] * await seeing.admit(10) + [QUOTA])
    await seeing.close()
    place.clock.time += SECOND
    await other.admit(1)

    assert place.clock.now() == START + 7 * SECOND
    assert seeing.held_until == other.held_until == START + 7 * SECOND
    assert (await place.shared())["factor"] == 0.5


async def test_throttle_holds_the_worker_that_sees_it_at_once(place: Place) -> None:
    pace = place.pace(STEADY)

    await pace.admit(10)
    pace.answered([QUOTA] * 10)
    await pace.admit(10)
    await pace.close()

    assert place.clock.now() >= START + 7 * SECOND


async def test_throttle_without_a_time_holds_for_a_minute(place: Place) -> None:
    pace = place.pace()

    await pace.admit(1)
    pace.answered([Outcome(Verdict.RETRY, ErrorCode.THROTTLED, "RATE_LIMIT_EXCEEDED")])
    await pace.close()

    assert pace.held_until == START + MINUTE


async def test_throttle_that_many_messages_see_is_told_once(place: Place) -> None:
    ledger = CountingPool(place.stores.ledger)
    pace = place.pace(ledger=ledger)

    await pace.admit(100)
    pace.answered([QUOTA] * 50)
    pace.answered([QUOTA] * 50)
    await pace.close()

    assert ledger.uses == 2


@pytest.mark.parametrize(
    "reason", ["QUOTA_EXCEEDED", "TooManyRequests", "TooManyProviderTokenUpdates"]
)
async def test_throttle_of_a_device_or_a_key_holds_nobody(place: Place, reason: str) -> None:
    pace = place.pace()

    await pace.admit(10)
    pace.answered([Outcome(Verdict.RETRY, ErrorCode.THROTTLED, reason, retry_after=MINUTE)] * 10)
    await pace.admit(10)

    assert (pace.held_until, place.clock.now()) == (None, START)


async def test_storm_opens_the_breaker_which_then_tries_one_message(place: Place) -> None:
    pace = place.pace()
    await pace.admit(200)

    pace.answered([TROUBLE] * 200)

    assert await pace.admit(200) == 1
    assert place.clock.now() == START + OPEN_FOR


async def test_storm_that_one_worker_meets_holds_the_other_which_then_tries_one_message(
    place: Place,
) -> None:
    first, second = place.pace(), place.pace()
    await first.admit(20)

    first.answered([TROUBLE] * 20)
    await first.close()

    assert await second.admit(200) == 1
    assert place.clock.now() == START + OPEN_FOR


@pytest.mark.parametrize("reason", ["going_away", "refused_stream"])
async def test_streams_that_are_not_taken_are_no_storm(place: Place, reason: str) -> None:
    pace = place.pace()
    await pace.admit(200)

    pace.answered([TROUBLE._replace(error_code=ErrorCode.NETWORK, reason=reason)] * 200)

    assert await pace.admit(200) == 200
    assert place.clock.now() == START


async def test_trial_that_a_connection_s_end_cut_short_is_made_again(place: Place) -> None:
    pace = place.pace()
    await pace.admit(20)
    pace.answered([TROUBLE] * 20)
    first = await pace.admit(200)

    pace.answered([TROUBLE._replace(error_code=ErrorCode.NETWORK, reason="going_away")])

    assert (first, await pace.admit(200)) == (1, 1)


async def test_storm_that_lasts_is_met_with_one_message_every_half_minute(place: Place) -> None:
    pace = place.pace()
    await pace.admit(200)
    pace.answered([TROUBLE] * 200)

    found = take(4, admissions(place.clock, [pace], 200, answer=TROUBLE))

    assert [count async for _, count in found] == [1, 1, 1, 1]
    assert place.clock.now() == START + 4 * OPEN_FOR


async def test_storm_that_is_over_lets_more_and_more_through(place: Place) -> None:
    pace = place.pace()
    await pace.admit(200)
    pace.answered([TROUBLE] * 200)

    found = [count async for _, count in take(4, admissions(place.clock, [pace], 200))]

    assert found == [1, 10, 100, 200]


async def test_refused_credential_closes_the_pace(place: Place) -> None:
    pace = place.pace()

    await pace.admit(10)
    pace.answered([SENT, REFUSED])

    with pytest.raises(PaceClosed):
        await pace.admit(1)


async def test_refused_credential_releases_who_waits(place: Place) -> None:
    pace = place.pace(Limits(None, 0, max_in_flight=1))
    await pace.admit(1)

    asyncio.get_running_loop().call_soon(pace.refused)
    waiting = await asyncio.gather(pace.admit(1), pace.admit(1), return_exceptions=True)

    assert [type(error) for error in waiting] == [PaceClosed, PaceClosed]


async def test_what_is_in_flight_is_bounded(place: Place) -> None:
    pace = place.pace(Limits(None, 0, max_in_flight=10))
    first = await pace.admit(200)

    asyncio.get_running_loop().call_soon(pace.answered, [SENT] * 4)
    asyncio.get_running_loop().call_soon(pace.done, 1)
    second = await pace.admit(200)

    assert (first, second, pace.in_flight) == (10, 5, 10)


async def test_who_gives_up_waiting_has_admitted_nothing(place: Place) -> None:
    pace = place.pace(Limits(None, 0, max_in_flight=1))
    await pace.admit(1)

    waiting = asyncio.create_task(pace.admit(1))
    asyncio.get_running_loop().call_soon(waiting.cancel)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    pace.done(1)

    assert pace.in_flight == 0
    assert await pace.admit(1) == 1


@pytest.mark.parametrize("limits", [UNLIMITED, STEADY])
async def test_credential_that_was_replaced_has_no_pace_any_more(
    place: Place, limits: Limits
) -> None:
    pace = place.pace(limits)
    await pace.admit(1)

    await put_credential(place.stores.database, place.project)
    place.clock.time += SECOND

    with pytest.raises(CredentialReplaced):
        await pace.admit(1)


async def test_without_a_limit_it_costs_one_statement_a_second(place: Place) -> None:
    ledger = CountingPool(place.stores.ledger)
    pace = place.pace(ledger=ledger)

    found = take(1_000, admissions(place.clock, [pace], 200))
    total = sum([count async for _, count in found])

    assert (total, ledger.uses) == (200_000, 1)


async def test_database_that_is_away_is_said_and_holds_nothing_back_later(
    place: Place, database_url: str
) -> None:
    ledger = LedgerPool(database_url, size=1)
    pace = place.pace(STEADY, ledger)

    with pytest.raises(DatabaseUnavailable):
        await pace.admit(1)
    await ledger.open()
    count = await pace.admit(1)
    await ledger.close()

    assert (count, pace.in_flight) == (1, 1)


class CountingPool(LedgerPool):
    """Another pool, and how often it was used."""

    def __init__(self, pool: LedgerPool) -> None:
        self.pool = pool
        self.uses = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[LedgerConnection]:
        self.uses += 1
        async with self.pool.connection() as conn:
            yield conn


async def take(
    count: int, source: AsyncIterator[tuple[datetime, int]]
) -> AsyncIterator[tuple[datetime, int]]:
    for _ in range(count):
        yield await anext(source)
