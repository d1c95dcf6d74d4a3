"""What the network does to connections: silence, slowness, ends, and limits that come and go.

The campaigns run side by side; each test waits for its own. That a new connection serves before
the old one has drained, and that no more streams are open than allowed, are proven where streams
can be seen: tests/providers/test_http2.py and test_http2_faults.py.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import psutil
import pytest

from fanfare.dev.api_client import Campaign
from tests.faults.devices import Rule, apns, fcm, rule
from tests.faults.oracle import Facts
from tests.faults.staging import WORKERS, Limits, Stage, Staged, leave

# How many messages a worker may wait for, where a scenario is about those in flight.
IN_FLIGHT = 200
NARROW = Limits(max_in_flight=IN_FLIGHT)
# Less than a claim takes, so that the claim has to wait for room.
SLOWLY = 100
DEADLINE_SECONDS = 15
CLOSES = 2
# What the provider's trouble costs where it stops a campaign: the breaker's pause.
PAUSE_SECONDS = 30

SCRIPT: Sequence[Rule] = [
    rule("0a10", latency_ms=12_000),
    rule("0[af]13", {"every": 500}, action="goaway"),
    rule("0b13", {"after": 300, "first": CLOSES}, action="close"),
    # What always goes wrong somewhere must not keep a campaign from going on after an incident.
    rule("0b13", {"every": 20}, action="refuse"),
    rule("0a14", {"every": 400}, max_concurrent_streams=1),
    rule("0a14", {"every": 50}, max_concurrent_streams=1_000),
]


@dataclass(frozen=True)
class Ended:
    """A campaign that has ended, and the requests that were made for it."""

    staged: Staged
    campaign: Campaign


@dataclass(frozen=True)
class BlackHole(Ended):
    """`doubted_after` is when the first message in the black hole was given up, in seconds."""

    doubted_after: float
    grown_bytes: int
    meanwhile: Sequence[str]


@dataclass(frozen=True)
class Slow(Ended):
    """`waiting` is how many messages were asked and not recorded, from moment to moment."""

    waiting: Sequence[int]


@dataclass(frozen=True)
class Plays:
    """The scenarios under way."""

    black_hole: asyncio.Task[BlackHole]
    slow: asyncio.Task[Slow]
    graceful: asyncio.Task[Ended]
    abrupt: asyncio.Task[Ended]
    streams: asyncio.Task[Ended]


@pytest.fixture(scope="module")
async def plays(stage: Stage) -> AsyncIterator[Plays]:
    """Start them all; they wait at the same time."""
    await stage.script(SCRIPT)
    plays = Plays(
        black_hole=asyncio.create_task(play_black_hole(stage)),
        slow=asyncio.create_task(play_slow(stage)),
        graceful=asyncio.create_task(
            play(await stage.campaign([*apns("0a13", 5_000), *fcm("0f13", 2_000)]))
        ),
        abrupt=asyncio.create_task(play(await stage.campaign(apns("0b13", 3_000), NARROW))),
        streams=asyncio.create_task(play(await stage.campaign(apns("0a14", 4_000)))),
    )
    yield plays
    await leave(vars(plays).values())
    await stage.script([])


async def play(staged: Staged) -> Ended:
    await staged.send()
    return Ended(staged, await staged.over())


async def play_black_hole(stage: Stage) -> BlackHole:
    """Let no byte through in the middle, until the first requests have been given up."""
    # Far enough away that a good part is still to come.
    stage.proxy.latency = 0.1
    staged = await stage.campaign(apns("5a09", 4_000), NARROW)
    await staged.send()
    await stage.until(lambda: staged.rows("true") > 500)
    stage.proxy.stall()
    began, before = time.monotonic(), _worker_bytes(stage)
    await stage.until(lambda: staged.owed("ambiguous") > 0)
    doubted_after = time.monotonic() - began
    meanwhile = staged.violations_meanwhile()
    stage.proxy.resume()
    campaign = await staged.over()
    return BlackHole(staged, campaign, doubted_after, _worker_bytes(stage) - before, meanwhile)


async def play_slow(stage: Stage) -> Slow:
    """Count what is waited for until it is over."""
    staged = await stage.campaign(apns("0a10", 220), Limits(max_in_flight=SLOWLY))
    await staged.send()
    waiting: list[int] = []

    def look() -> bool:
        asked = staged.asked()
        waiting.append(asked - staged.rows("true"))
        return staged.now().is_over

    await stage.until(look)
    return Slow(staged, await staged.over(), waiting)


def _worker_bytes(stage: Stage) -> int:
    return sum(psutil.Process(worker.pid).memory_info().rss for worker in stage.stack.workers)


async def test_a_black_hole_costs_a_deadline_and_one_flagged_resend(plays: Plays) -> None:
    run = await plays.black_hole

    in_flight = WORKERS * IN_FLIGHT
    stats = run.campaign.stats
    assert run.campaign.status == "sent"
    assert DEADLINE_SECONDS - 1 < run.doubted_after < DEADLINE_SECONDS + 5
    assert (stats.sent, stats.unknown) == (4_000, 0)
    assert 0 < stats.possible_duplicates <= in_flight
    assert run.grown_bytes < 64 * 1024 * 1024
    assert run.meanwhile == []
    assert run.staged.violations(Facts(repeats=in_flight, retry_budget=0.2)) == []


async def test_a_slow_provider_is_waited_for_and_not_asked_twice(plays: Plays) -> None:
    run = await plays.slow

    assert run.campaign.status == "sent"
    assert max(run.waiting) == SLOWLY
    assert run.campaign.stats.possible_duplicates == 0
    assert run.staged.violations() == []


async def test_a_connection_that_goes_away_in_order_costs_nothing(plays: Plays) -> None:
    run = await plays.graceful

    accepted = run.staged.accepted_at()
    stats = run.campaign.stats
    assert run.campaign.status == "sent"
    assert (stats.sent, stats.unknown, stats.possible_duplicates) == (7_000, 0, 0)
    assert accepted[-1] - accepted[0] < PAUSE_SECONDS
    assert run.staged.violations() == []


async def test_a_connection_that_is_cut_costs_a_flagged_resend_of_what_was_on_it(
    plays: Plays,
) -> None:
    run = await plays.abrupt

    bound = CLOSES * IN_FLIGHT
    stats = run.campaign.stats
    assert run.campaign.status == "sent"
    assert (stats.sent, stats.unknown) == (3_000, 0)
    assert 0 < stats.possible_duplicates <= bound
    assert run.staged.violations(Facts(repeats=bound, retry_budget=0.2)) == []


async def test_a_limit_of_streams_that_falls_and_rises_stalls_nothing(plays: Plays) -> None:
    run = await plays.streams

    accepted = run.staged.accepted_at()
    assert run.campaign.status == "sent"
    assert run.campaign.stats.sent == len(accepted) == 4_000
    assert accepted[-1] - accepted[0] < PAUSE_SECONDS
    assert run.staged.violations() == []
