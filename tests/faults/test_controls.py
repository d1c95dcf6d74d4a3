"""Pause, resume and cancel at any moment: nothing is lost, nothing repeated, and the bound kept.

The moments are drawn by a seed, which is in the test's name: the same draws again are one `-k`
away. Campaigns that nothing crashes under run side by side; what kills a part of the stack has it
for itself, after these.
"""

import asyncio
import random
import time
from bisect import bisect
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from fanfare.dev.api_client import ApiClient, Campaign
from tests.faults.devices import Rule, apns, fcm, rule
from tests.faults.oracle import Facts
from tests.faults.staging import DEADLINE_SECONDS, HELLO, WORKERS, Limits, Stage, Staged, leave
from tests.faults.stops import FLUTTERS, Run, Stop, flutter, reaches, resume, stop
from tests.faults.upkeep import has_taken_up

SEEDS = (11, 20_260_421)

AUDIENCE = 20_000
SMALL = 4_000
IN_FLIGHT = 300
LIMITS = Limits(max_in_flight=IN_FLIGHT)
# A lane's messages on the wire, and as many that are answered and not recorded yet.
MOST_IN_FLIGHT = 2 * 2 * WORKERS * IN_FLIGHT
LATENCY_MS = 100

# Stops are drawn from the first part, so that something is left to stop.
ROUNDS, LAST_STOP = 4, 0.5
# One in twenty of FCM's, once each: they are owed for some seconds.
NOISE: Mapping[str, object] = {"provider": "fcm", "every": 20, "first_per_token": 1}
NOISE_ANSWER = {"status": 503, "retry_after": 2, "latency_ms": LATENCY_MS}
NOISY = Facts(retry_budget=0.06)

# Messages per minute. A change is heard of within a second or two.
RATE, SLOW_RATE = 4_800, 600
HEARD_SECONDS, SLOW_SECONDS = 4, 5

# Each fills a batch: one is refused while the first of the other have no answer yet.
REFUSED, SLOW = apns("0a34bb", 1_000), apns("0a34cc", 1_000)
SLOWLY = {"latency_ms": 4_000}

REFUSAL = rule("0a34bb", status=403, reason="InvalidProviderToken")
SCRIPT: Sequence[Rule] = [
    rule("0f3", NOISE, **NOISE_ANSWER),
    rule("0a34cc", {"first": 200}, **SLOWLY),
    rule("0[af]3", latency_ms=LATENCY_MS),
]


@dataclass(frozen=True)
class SentAgain(Run):
    """A campaign that failed, and was sent again before the run that failed had ended."""

    failed: Campaign


@dataclass(frozen=True)
class Rated:
    """A campaign whose rate was changed twice: made slow, and let go `freed_at`.

    `slow_from` is some seconds after it was made slow, when every worker has heard of it.
    """

    staged: Staged
    slow_from: float
    freed_at: float
    ended: Campaign


@dataclass(frozen=True)
class Plays:
    """The scenarios under way, by their seeds."""

    paused: Mapping[int, asyncio.Task[Run]]
    cancelled: Mapping[int, asyncio.Task[Run]]
    cancelled_paused: asyncio.Task[Run]
    withdrawn: asyncio.Task[Run]
    cautious: asyncio.Task[Run]
    sent_again: asyncio.Task[SentAgain]
    rated: asyncio.Task[Rated]

    def tasks(self) -> Sequence[asyncio.Task[Any]]:  # Any: whatever they play
        one = (self.cancelled_paused, self.withdrawn, self.cautious, self.sent_again, self.rated)
        return [*self.paused.values(), *self.cancelled.values(), *one]


@pytest.fixture(scope="module")
async def plays(stage: Stage) -> AsyncIterator[Plays]:
    """Start them all; nothing of the stack breaks while they run."""
    await stage.script([REFUSAL, *SCRIPT])
    large, small = (partial(audience, stage, size=size) for size in (AUDIENCE, SMALL))
    failing = stage.campaign([*apns("0a34aa", 2_000), *REFUSED, *SLOW], LIMITS)
    plays = Plays(
        paused={
            SEEDS[0]: asyncio.create_task(play_pauses(large("30"), SEEDS[0])),
            SEEDS[1]: asyncio.create_task(play_pauses(small("31"), SEEDS[1])),
        },
        cancelled={
            SEEDS[0]: asyncio.create_task(play_cancel(small("32"), SEEDS[0])),
            SEEDS[1]: asyncio.create_task(play_cancel(small("33"), SEEDS[1])),
        },
        cautious=asyncio.create_task(play_pauses(small("35", on_unknown="skip"), SEEDS[0])),
        cancelled_paused=asyncio.create_task(play_cancel_of_paused(small("36"))),
        withdrawn=asyncio.create_task(play_withdrawal(small("3b"))),
        sent_again=asyncio.create_task(play_sent_again(failing)),
        rated=asyncio.create_task(play_rates(small("3a", rate_limit=RATE))),
    )
    yield plays
    await leave(plays.tasks())
    await stage.script([])


async def audience(stage: Stage, prefix: str, *, size: int, **content: object) -> Staged:
    """A draft to that many devices of both providers."""
    devices = [*apns(f"0a{prefix}", size // 2), *fcm(f"0f{prefix}", size // 2)]
    return await stage.campaign(devices, LIMITS, {**HELLO, **content})


async def play_pauses(draft: Awaitable[Staged], seed: int) -> Run:
    """Pause it at once, and then again and again; now and then many times in a row."""
    rng = random.Random(seed)
    staged = await sent(draft)
    stops = []
    for moment in [0, *moments(staged, rng)]:
        await reaches(staged, moment)
        if (await staged.stage.do(staged.now)).is_over:
            break
        stops.append(await paused(staged, rng))
        times = rng.randint(0, FLUTTERS)
        await staged.stage.do(partial(flutter, staged, times))
    return Run(staged, stops, await staged.over())


async def play_cancel(draft: Awaitable[Staged], seed: int) -> Run:
    """Pause it once, and cancel it later."""
    rng = random.Random(seed)
    staged = await sent(draft)
    first, *_, last = moments(staged, rng)
    await reaches(staged, first)
    pause = await paused(staged, rng)
    await resume(staged)
    await reaches(staged, last)
    cancel = await staged.stage.do(partial(stop, staged, ApiClient.cancel_campaign, looks=5))
    return Run(staged, [pause, cancel], await staged.over())


async def play_cancel_of_paused(draft: Awaitable[Staged]) -> Run:
    """Cancel it while it is paused and its last messages are on the wire."""
    staged = await sent(draft)
    await reaches(staged, SMALL // 4)
    cancel = await staged.stage.do(partial(stop, staged, pause_and_cancel, looks=5))
    return Run(staged, [cancel], await staged.over())


async def play_withdrawal(draft: Awaitable[Staged]) -> Run:
    """Cancel it the moment it is sent, whether or not its audience is frozen yet."""
    staged = await sent(draft)
    cancel = await staged.stage.do(partial(stop, staged, ApiClient.cancel_campaign, looks=5))
    return Run(staged, [cancel], await staged.over())


async def play_sent_again(draft: Awaitable[Staged]) -> SentAgain:
    """Mend the cause and send it again while the run that failed waits for its slow messages."""
    staged = await sent(draft)
    stage = staged.stage
    await stage.until(lambda: staged.now().is_over)
    failed = await stage.do(staged.now)
    await stage.script(SCRIPT)
    await stage.do(staged.put_credentials)
    await staged.send()
    await stage.until(lambda: staged.now().is_over)
    return SentAgain(staged, [], await staged.over(), failed)


async def play_rates(draft: Awaitable[Staged]) -> Rated:
    """Change its rate in the middle, look on for a while, and take it away."""
    staged = await sent(draft)
    stage = staged.stage
    await reaches(staged, RATE // 30)
    await change(staged, {"rate_limit": SLOW_RATE})
    slow_from = time.time() + HEARD_SECONDS
    await stage.until(lambda: time.time() > slow_from + SLOW_SECONDS)
    freed_at = time.time()
    await change(staged, {"rate_limit": None})
    return Rated(staged, slow_from, freed_at, await staged.over())


async def sent(draft: Awaitable[Staged]) -> Staged:
    """The campaign, which begins to be sent."""
    staged = await draft
    await staged.send()
    return staged


def moments(staged: Staged, rng: random.Random) -> Sequence[int]:
    """After how many acceptances it is stopped."""
    most = int(LAST_STOP * staged.size)
    return sorted(rng.randrange(most) for _ in range(ROUNDS))


async def paused(staged: Staged, rng: random.Random) -> Stop:
    """Pause it, and see that it stays so for a while."""
    looks = rng.randint(1, 10)
    return await staged.stage.do(partial(stop, staged, ApiClient.pause_campaign, looks=looks))


async def change(staged: Staged, what: Mapping[str, object]) -> None:
    with staged.api() as api:
        await staged.stage.do(partial(api.change_campaign, staged.id, what))


def pause_and_cancel(api: ApiClient, campaign_id: UUID) -> Campaign:
    api.pause_campaign(campaign_id)
    return api.cancel_campaign(campaign_id)


@pytest.mark.parametrize("seed", SEEDS)
async def test_pauses_at_any_moment_lose_nothing_and_repeat_nothing(
    plays: Plays, seed: int
) -> None:
    run = await plays.paused[seed]

    stats = run.ended.stats
    assert run.violations(NOISY) == []
    assert len(run.stops) > ROUNDS / 2
    assert max(run.bounds()) <= MOST_IN_FLIGHT
    assert (run.ended.status, stats.sent) == ("sent", run.staged.size)
    assert (stats.unknown, stats.possible_duplicates) == (0, 0)


async def test_pause_of_a_campaign_that_takes_no_risk_leaves_nothing_unknown(plays: Plays) -> None:
    run = await plays.cautious

    stats = run.ended.stats
    assert run.violations(NOISY) == []
    assert (run.ended.status, stats.sent) == ("sent", SMALL)
    assert (stats.unknown, stats.possible_duplicates) == (0, 0)


@pytest.mark.parametrize("seed", SEEDS)
async def test_cancel_at_any_moment_ends_what_is_not_on_the_wire_as_skipped(
    plays: Plays, seed: int
) -> None:
    run = await plays.cancelled[seed]

    assert run.violations(run.cancelled_at(NOISY)) == []
    assert run.ended.status == "cancelled"
    assert run.ended.in_flight_at_most is None
    assert 0 < run.ended.stats.sent < SMALL
    assert run.ended.stats.skipped_by == {"cancelled": SMALL - run.ended.stats.sent}


async def test_cancel_of_a_paused_campaign_ends_the_rest_as_skipped(plays: Plays) -> None:
    run = await plays.cancelled_paused

    assert run.violations(run.cancelled_at(NOISY)) == []
    assert (run.ended.status, run.ended.paused_at) == ("cancelled", None)
    assert 0 < run.ended.stats.sent < SMALL
    assert run.ended.stats.skipped_by == {"cancelled": SMALL - run.ended.stats.sent}


async def test_cancel_before_anything_is_sent_leaves_an_audience_that_is_skipped_or_none(
    plays: Plays,
) -> None:
    run = await plays.withdrawn

    stats = run.ended.stats
    assert run.violations(run.cancelled_at(NOISY)) == []
    assert run.ended.status == "cancelled"
    assert (stats.audience or 0) == stats.sent + stats.skipped
    assert stats.sent <= max(run.bounds())


async def test_failed_campaign_that_is_sent_again_at_once_goes_on_at_once(plays: Plays) -> None:
    run = await plays.sent_again

    assert run.failed.failure is not None
    assert run.failed.failure.code == "CREDENTIALS_REFUSED"
    assert 0 < run.failed.stats.pending < SMALL
    assert (run.ended.status, run.ended.stats.sent) == ("sent", SMALL)
    assert not has_taken_up(run.staged.stage.stack, run.staged.id)
    assert run.ended.stats.possible_duplicates == 0
    assert run.violations(Facts(retry_budget=0.25)) == []


async def test_rate_that_is_changed_holds_from_then_on(plays: Plays) -> None:
    run = await plays.rated

    accepted_at = run.staged.accepted_at()
    slowly = bisect(accepted_at, run.freed_at) - bisect(accepted_at, run.slow_from)
    expected = (run.freed_at - run.slow_from) * SLOW_RATE / 60
    before = bisect(accepted_at, run.slow_from)
    assert expected / 4 < slowly < 2 * expected
    # At the slow rate, what was left then would take minutes more than anybody here waits.
    assert SMALL - before - slowly > DEADLINE_SECONDS * SLOW_RATE / 60
    assert (run.ended.status, run.ended.stats.sent) == ("sent", SMALL)
    assert run.staged.violations(NOISY) == []
