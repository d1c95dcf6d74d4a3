"""Temporal dies, goes silent, or its links are cut, in the midst of campaigns.

What may be sent is settled in PostgreSQL alone: an activity that Temporal has given up goes on
with its batch until another attempt takes that, and not one claim longer.
"""

import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from fanfare.dev.api_client import Campaign
from fanfare.dev.stack import answers
from tests.faults.devices import fcm, rule
from tests.faults.oracle import Facts
from tests.faults.outages import Deed, Links, linked
from tests.faults.staging import HELLO, Limits, Stage, Staged
from tests.faults.stops import reaches
from workflows.fanout import HEARTBEAT

AUDIENCE = 1_200
IN_FLIGHT = 100
# So slowly that every batch is still under way when Temporal is back.
SLOWLY = Limits(messages_per_minute=2_520, max_in_flight=IN_FLIGHT)
LEASE_SECONDS = HEARTBEAT.total_seconds()
OUTAGE_SECONDS = LEASE_SECONDS + 5
RECOVERY_SECONDS = 30
# How late what fell due without Temporal is at least.
LATE_SECONDS = 2
CUTS = 5

SLOW = rule("0f8[1-9]", latency_ms=300)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outage:
    """A campaign without Temporal. `in_lease`, `after_lease`: what was accepted meanwhile.

    `ended_after`: how many seconds after the mend it ended.
    """

    staged: Staged
    in_lease: int
    after_lease: int
    ended_after: float
    ended: Campaign


@pytest.fixture(scope="module")
async def links(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Links]:
    async with linked(tmp_path_factory.mktemp("temporal")) as links:
        await links.stage.script([SLOW])
        yield links


async def start_temporal(stage: Stage) -> None:
    """Start Temporal, and wait until the API has it back."""
    stage.stack.temporal.start()
    await stage.until(lambda: answers(f"{stage.stack.api_url}/readyz"))


async def silence(links: Links) -> None:
    links.workers_temporal.stall()


async def end_silence(links: Links) -> None:
    links.workers_temporal.resume()


async def play(staged: Staged, strike: Deed, mend: Deed) -> Outage:
    """Send, and take Temporal away in the midst of it, for longer than heartbeats may fail."""
    stage = staged.stage
    await staged.send()
    await reaches(staged, staged.size // 8)
    struck_at = time.time()
    await strike()
    await stage.until(lambda: time.time() > struck_at + OUTAGE_SECONDS)
    accepted = staged.accepted_at()
    await mend()
    mended_at = time.time()
    ended = await staged.over()
    lease_ended_at = struck_at + LEASE_SECONDS
    outage = Outage(
        staged=staged,
        in_lease=sum(struck_at < at < lease_ended_at for at in accepted),
        after_lease=sum(at > lease_ended_at for at in accepted),
        ended_after=time.time() - mended_at,
        ended=ended,
    )
    log.info(
        "in lease %d, after it %d, asked %d of %d, flagged %d, ended %.1f s after the mend",
        *(outage.in_lease, outage.after_lease, staged.asked(), staged.size),
        *(ended.stats.possible_duplicates, outage.ended_after),
    )
    return outage


async def test_sending_goes_on_without_temporal_and_is_fenced_when_it_is_back(
    links: Links,
) -> None:
    stage = links.stage
    staged = await stage.campaign(fcm("0f81", AUDIENCE), SLOWLY)
    due_at = datetime.now(UTC) + timedelta(seconds=OUTAGE_SECONDS)
    late = await stage.campaign(
        fcm("0f82", 100), content={**HELLO, "scheduled_at": due_at.isoformat()}
    )

    run = await play(
        staged, partial(stage.do, stage.stack.temporal.kill), partial(start_temporal, stage)
    )
    fired = await late.over()

    assert (run.ended.status, run.ended.stats.sent) == ("sent", AUDIENCE)
    assert run.in_lease > 0
    assert run.after_lease > 0
    assert run.ended.stats.possible_duplicates <= IN_FLIGHT
    assert run.ended_after < RECOVERY_SECONDS
    facts = Facts(repeats=IN_FLIGHT, retry_budget=IN_FLIGHT / AUDIENCE)
    assert await staged.stage.do(partial(staged.violations, facts)) == []
    assert (fired.status, fired.stats.sent, late.asked()) == ("sent", 100, 100)
    assert late.accepted_at()[0] > due_at.timestamp() + LATE_SECONDS
    assert await late.stage.do(late.violations) == []


async def test_a_black_hole_before_temporal_is_an_outage_of_temporal(links: Links) -> None:
    staged = await links.stage.campaign(fcm("0f83", AUDIENCE), SLOWLY)

    run = await play(staged, partial(silence, links), partial(end_silence, links))

    assert (run.ended.status, run.ended.stats.sent) == ("sent", AUDIENCE)
    assert run.in_lease > 0
    assert run.after_lease > 0
    assert run.ended.stats.possible_duplicates <= IN_FLIGHT
    assert run.ended_after < RECOVERY_SECONDS
    facts = Facts(repeats=IN_FLIGHT, retry_budget=IN_FLIGHT / AUDIENCE)
    assert await staged.stage.do(partial(staged.violations, facts)) == []


async def test_links_to_temporal_that_are_cut_change_nothing(links: Links) -> None:
    staged = await links.stage.campaign(fcm("0f84", 4_000), Limits(max_in_flight=300))
    await staged.send()

    for share in range(1, CUTS + 1):
        await reaches(staged, share * 4_000 // (CUTS + 2))
        links.workers_temporal.cut()
    ended = await staged.over()

    assert (ended.status, ended.stats.sent) == ("sent", 4_000)
    assert ended.stats.possible_duplicates == 0
    assert staged.asked() == 4_000
    assert await staged.stage.do(staged.violations) == []
