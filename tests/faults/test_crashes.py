"""Workers that die with messages in their hands: scenarios 1 to 5, at each crash point.

What a dead worker had claimed and not recorded is in doubt. That has a bound: of a campaign a
worker has IN_FLIGHT messages on the wire at most, and where it dies between an answer and its
commit, one claim of each of its batches.
"""

from collections.abc import AsyncIterator, Mapping

import pytest

from fanfare.models import OnUnknown
from tests.faults.crashes import (
    AUDIENCE,
    BATCHES,
    CANARY,
    IN_FLIGHT,
    NOISE_EVERY,
    Crash,
    CrashingStack,
    Death,
    Moment,
    play_deaths,
    play_kills,
)
from tests.faults.crashing_worker import CrashPoint
from tests.faults.devices import Rule, fcm, rule
from tests.faults.freezes import play_freeze
from tests.faults.oracle import Facts
from tests.faults.stages import staged
from tests.faults.staging import WORKERS, Limits, Stage
from tests.faults.stops import sums

# One in twenty is refused and asked again, and of those that are asked again too.
NOISE = 0.07
LATENCY_MS = 200
# A claim takes no more than may be on the wire, so this is what one batch holds unrecorded.
CLAIM = IN_FLIGHT

FIRST = CANARY + IN_FLIGHT
ACCEPTED = FIRST - IN_FLIGHT // NOISE_EVERY

# At three points exactly one helping is under way, all of it in the same place.
AT_DEATH = {
    CrashPoint.CLAIMED: Moment(FIRST, CANARY, 0, BATCHES, asked=CANARY, accepted=CANARY),
    CrashPoint.WRITTEN: Moment(FIRST, CANARY, 0, BATCHES, asked=FIRST, accepted=CANARY),
    CrashPoint.ACCEPTED: Moment(FIRST, CANARY, 0, BATCHES, asked=FIRST, accepted=ACCEPTED),
}

KILLED_AUDIENCE = 4_000
KILLS_AT = [800, 1_600, 2_400]
# Each worker has one batch at a time.
KILL_BOUND = len(KILLS_AT) * WORKERS * CLAIM

FROZEN_AUDIENCE = 2_500


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("crashes"), lambda _: CrashingStack) as stage:
        yield stage


@pytest.fixture(scope="module")
async def deaths(stage: Stage) -> Mapping[Death, Crash]:
    return await play_deaths(stage)


@pytest.mark.parametrize("on_unknown", OnUnknown)
@pytest.mark.parametrize("point", AT_DEATH)
async def test_one_helping_is_under_way_when_the_worker_dies(
    deaths: Mapping[Death, Crash], point: CrashPoint, on_unknown: OnUnknown
) -> None:
    crash = deaths[Death(point, on_unknown)]

    assert crash.died == AT_DEATH[point]
    assert crash.died.lost == IN_FLIGHT


@pytest.mark.parametrize("on_unknown", OnUnknown)
async def test_every_batch_holds_answers_when_the_worker_dies_before_it_commits(
    deaths: Mapping[Death, Crash], on_unknown: OnUnknown
) -> None:
    died = deaths[Death(CrashPoint.ANSWERED, on_unknown)].died

    assert (died.recorded, died.owed, died.open_batches) == (CANARY, 0, BATCHES)
    assert died.asked == died.claimed
    assert died.accepted == died.asked - died.lost // NOISE_EVERY
    assert IN_FLIGHT < died.lost <= BATCHES * CLAIM


@pytest.mark.parametrize("on_unknown", OnUnknown)
async def test_nothing_is_in_doubt_when_the_worker_dies_after_it_committed(
    deaths: Mapping[Death, Crash], on_unknown: OnUnknown
) -> None:
    died = deaths[Death(CrashPoint.COMMITTED, on_unknown)].died

    assert died.lost == 0
    assert died.open_batches == BATCHES
    assert died.claimed > FIRST
    assert died.accepted == died.recorded
    assert died.owed == (died.claimed - CANARY) // NOISE_EVERY


@pytest.mark.parametrize("point", [CrashPoint.CLAIMED, CrashPoint.WRITTEN])
async def test_what_was_not_accepted_is_sent_once_and_flagged(
    deaths: Mapping[Death, Crash], point: CrashPoint
) -> None:
    crash = deaths[Death(point, OnUnknown.RESEND)]

    assert crash.repeated() == {}
    assert outcome(crash) == ("sent", AUDIENCE, 0, IN_FLIGHT)
    assert crash.staged.violations(facts(crash, repeats=0)) == []


async def test_what_was_accepted_and_not_heard_is_repeated_and_flagged(
    deaths: Mapping[Death, Crash],
) -> None:
    crash = deaths[Death(CrashPoint.ACCEPTED, OnUnknown.RESEND)]

    repeated = crash.repeated()
    assert len(repeated) == ACCEPTED - CANARY
    assert {len(set(ids)) for ids in repeated.values()} == {1}
    assert outcome(crash) == ("sent", AUDIENCE, 0, IN_FLIGHT)
    assert crash.staged.violations(facts(crash, repeats=IN_FLIGHT)) == []


async def test_what_was_answered_and_not_committed_is_repeated_and_flagged(
    deaths: Mapping[Death, Crash],
) -> None:
    crash = deaths[Death(CrashPoint.ANSWERED, OnUnknown.RESEND)]

    repeated = crash.repeated()
    assert len(repeated) == crash.died.accepted - CANARY
    assert {len(set(ids)) for ids in repeated.values()} == {1}
    assert outcome(crash) == ("sent", AUDIENCE, 0, crash.died.lost)
    assert crash.staged.violations(facts(crash, repeats=BATCHES * CLAIM)) == []


@pytest.mark.parametrize("on_unknown", OnUnknown)
async def test_what_was_committed_is_not_sent_again(
    deaths: Mapping[Death, Crash], on_unknown: OnUnknown
) -> None:
    crash = deaths[Death(CrashPoint.COMMITTED, on_unknown)]

    assert crash.repeated() == {}
    assert outcome(crash) == ("sent", AUDIENCE, 0, 0)
    assert crash.staged.violations(facts(crash, repeats=0)) == []


@pytest.mark.parametrize(
    "point", [point for point in CrashPoint if point is not CrashPoint.COMMITTED]
)
async def test_what_is_in_doubt_is_written_off_where_nobody_is_to_be_told_twice(
    deaths: Mapping[Death, Crash], point: CrashPoint
) -> None:
    crash = deaths[Death(point, OnUnknown.SKIP)]

    lost = crash.died.lost
    assert crash.repeated() == {}
    assert outcome(crash) == ("sent", AUDIENCE - lost, lost, 0)
    assert len(crash.listed("unknown")) == lost
    assert crash.staged.violations(facts(crash, repeats=0)) == []


async def test_workers_that_are_all_killed_again_and_again_lose_nothing(stage: Stage) -> None:
    await stage.script([noise("0b4d"), rule("0b4d", latency_ms=LATENCY_MS)])
    limits = Limits(max_in_flight=IN_FLIGHT)
    campaign = await stage.campaign(fcm("0b4d", KILLED_AUDIENCE), limits)

    run = await play_kills(stage, campaign, KILLS_AT)

    facts = Facts(repeats=KILL_BOUND, retry_budget=KILL_BOUND / KILLED_AUDIENCE + NOISE)
    assert run.meanwhile == []
    assert list(sums(run.seen)) == []
    assert (run.ended.status, run.ended.stats.sent) == ("sent", KILLED_AUDIENCE)
    assert 0 < run.ended.stats.possible_duplicates <= KILL_BOUND
    assert campaign.violations(facts) == []


async def test_a_worker_that_was_frozen_repeats_no_more_than_it_had_on_the_wire(
    stage: Stage,
) -> None:
    await stage.script([noise("0b5d"), rule("0b5d", latency_ms=LATENCY_MS)])
    campaign = await stage.campaign(fcm("0b5d", FROZEN_AUDIENCE), Limits(max_in_flight=IN_FLIGHT))

    run = await play_freeze(stage, campaign, FROZEN_AUDIENCE // 4)

    facts = Facts(repeats=IN_FLIGHT, retry_budget=IN_FLIGHT / FROZEN_AUDIENCE + NOISE)
    assert (run.ended.status, run.ended.stats.sent) == ("sent", FROZEN_AUDIENCE)
    assert run.lost
    assert run.claims == []
    assert run.ended.stats.possible_duplicates > 0
    assert len(run.repeated()) <= IN_FLIGHT
    assert campaign.violations(facts) == []


def noise(prefix: str) -> Rule:
    """One in twenty is put off for a second, but for the canary."""
    match = {"after": CANARY, "every": NOISE_EVERY}
    return rule(prefix, match, status=503, retry_after=1)


def outcome(crash: Crash) -> tuple[str, int, int, int]:
    """How it ended, and how many were sent, are unknown, and may be duplicates."""
    stats = crash.ended.stats
    return crash.ended.status, stats.sent, stats.unknown, stats.possible_duplicates


def facts(crash: Crash, *, repeats: int) -> Facts:
    """Each message that was in doubt may be asked for twice, and the noise asks for its own."""
    return Facts(repeats=repeats, retry_budget=crash.died.lost / AUDIENCE + NOISE)
