"""Pause and cancel where a part of the stack dies beside: one campaign, or two, at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from fanfare.dev.api_client import ApiClient, Campaign
from fanfare.dev.stack import answers
from tests.faults.devices import fcm, rule
from tests.faults.oracle import Facts
from tests.faults.staging import Limits, Stage, Staged
from tests.faults.stops import Run, reaches, resume, stop

AUDIENCE = 4_000
LIMITS = Limits(max_in_flight=300)
LATENCY_MS = 300
# Temporal is given 5 s to answer; the rest is for a machine that does something else as well.
WITHOUT_TEMPORAL_SECONDS = 8

# Messages of which the answers are known after a while: some are on the wire when it happens.
SLOW = rule("0f3[789]", latency_ms=LATENCY_MS)


@dataclass(frozen=True)
class Bereaved:
    """A campaign of which a worker died while it was paused.

    `bound`: what was in flight when it was paused; `accepted_after`: of it, until it was resumed.
    """

    staged: Staged
    bound: int
    accepted_after: int
    meanwhile: Sequence[str]
    ended: Campaign


@pytest.fixture(scope="module")
async def slow(stage: Stage) -> AsyncIterator[Stage]:
    await stage.script([SLOW])
    yield stage
    await stage.script([])


async def draft(stage: Stage, prefix: str) -> Staged:
    return await stage.campaign(fcm(prefix, AUDIENCE), LIMITS)


async def play_death(staged: Staged) -> Bereaved:
    """Kill a worker with messages on the wire, the moment the campaign is paused."""
    stage, worker = staged.stage, staged.stage.stack.workers[0]
    await staged.send()
    await reaches(staged, AUDIENCE // 4)
    answer = await stage.do(partial(pause_and_kill, staged))
    answered_at = time.time()
    worker.start()
    await stage.until(lambda: worker.has_logged("worker_ready"))
    meanwhile, resumed_at = staged.violations_meanwhile(), time.time()
    await resume(staged)
    ended = await staged.over()
    accepted = [at for at in staged.accepted_at() if answered_at < at < resumed_at]
    return Bereaved(staged, answer.in_flight_at_most or 0, len(accepted), meanwhile, ended)


def pause_and_kill(staged: Staged) -> Campaign:
    with staged.api() as api:
        answer = api.pause_campaign(staged.id)
    staged.stage.stack.workers[0].kill()
    return answer


async def play_without_temporal(going_on: Staged, given_up: Staged) -> tuple[Run, Run]:
    """Pause one and cancel the other while Temporal is away."""
    stage, temporal = going_on.stage, going_on.stage.stack.temporal
    await asyncio.gather(going_on.send(), given_up.send())
    await asyncio.gather(*(reaches(each, AUDIENCE // 4) for each in (going_on, given_up)))
    await stage.do(temporal.kill)
    pause, cancel = await asyncio.gather(
        stage.do(partial(stop, going_on, ApiClient.pause_campaign, looks=5)),
        stage.do(partial(stop, given_up, ApiClient.cancel_campaign, looks=5)),
    )
    temporal.start()
    await stage.until(lambda: answers(f"{stage.stack.api_url}/readyz"))
    await resume(going_on)
    gone_on, gave_up = await asyncio.gather(going_on.over(), given_up.over())
    return Run(going_on, [pause], gone_on), Run(given_up, [cancel], gave_up)


async def test_worker_that_dies_during_a_pause_repeats_no_more_than_was_in_flight(
    slow: Stage,
) -> None:
    staged = await draft(slow, "0f37")

    run = await play_death(staged)

    assert run.meanwhile == []
    assert 0 <= run.accepted_after <= run.bound > 0
    assert (run.ended.status, run.ended.stats.sent) == ("sent", AUDIENCE)
    assert run.ended.stats.possible_duplicates <= run.bound
    assert staged.violations(Facts(repeats=run.bound, retry_budget=0.3)) == []


async def test_pause_and_cancel_need_no_temporal(slow: Stage) -> None:
    staged = [await draft(slow, prefix) for prefix in ("0f38", "0f39")]

    paused, cancelled = await play_without_temporal(*staged)

    waits = [each.answered_at - each.asked_at for each in (*paused.stops, *cancelled.stops)]
    assert max(waits) < WITHOUT_TEMPORAL_SECONDS
    assert paused.violations(Facts()) == []
    assert (paused.ended.status, paused.ended.stats.sent) == ("sent", AUDIENCE)
    assert paused.ended.stats.possible_duplicates == 0
    assert cancelled.violations(cancelled.cancelled_at(Facts())) == []
    assert cancelled.ended.stats.skipped_by == {"cancelled": AUDIENCE - cancelled.ended.stats.sent}
