"""An upgrade in the middle of a campaign: the next schema, then worker after worker.

Nothing is lost, sent twice or flagged, and nobody who waits for a message has to wait for long.
"""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from fanfare.dev.api_client import ApiClient, Campaign
from fanfare.dev.processes import ChildProcess
from fanfare.dev.stack import CHECKOUT
from tests.faults import next_schema
from tests.faults.devices import fcm, rule
from tests.faults.stages import staged
from tests.faults.staging import WORKERS, Limits, Stage, Staged
from tests.faults.stops import reaches, resume, stop

AUDIENCE = 4_000
# So that a campaign takes some fifteen seconds.
LATENCY_MS = 250
LIMITS = Limits(max_in_flight=35)
SLOW = rule("0f5[123]", latency_ms=LATENCY_MS)

# A report that reads a campaign for so long. No ALTER TABLE gets past it, and whoever came after
# one that waited would wait as well.
REPORT_SECONDS = 7.0
LONGEST_GAP_SECONDS = 4.0

# What a worker is given to record what is on the wire.
GRACE_SECONDS = 40.0

REPORT = "SELECT count(*) FROM push_campaigns, push_tokens"


@dataclass(frozen=True)
class Upgraded:
    """A campaign during which the operator did something.

    `accepted_before` and `accepted_after`: how many messages had been accepted then.
    """

    staged: Staged
    accepted_before: int
    accepted_after: int
    said: str
    ended: Campaign

    def longest_gap(self) -> float:
        """Seconds between two acceptances."""
        moments = self.staged.accepted_at()
        return max(later - earlier for earlier, later in pairwise(moments))


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A stack of this module's own: its schema is not that of the others."""
    async with staged(tmp_path_factory.mktemp("upgrades")) as stage:
        await stage.script([SLOW])
        yield stage


@contextmanager
def reported(url: str) -> Iterator[None]:
    """While somebody reads the tables, in a transaction that goes on."""
    with psycopg.connect(url) as conn:
        conn.execute(REPORT.encode())
        yield


def migrate_beside_a_report(stage: Stage, log: Path) -> str:
    """Migrate by a command, as an operator does. Returns what it said."""
    migration = ChildProcess(
        "migration",
        [sys.executable, "-m", "tests.faults.next_schema"],
        log,
        environment={"FANFARE_DATABASE_URL": stage.stack.database_url},
        directory=CHECKOUT,
    )
    with reported(stage.stack.database_url):
        migration.start()
        ends_at = time.monotonic() + REPORT_SECONDS
        stage.stack.simulator.wait_until(lambda: time.monotonic() > ends_at)
    migration.wait_for_end(seconds=60)
    return log.read_text()


def restart_one_by_one(stage: Stage) -> str:
    """Restart the workers by SIGTERM, the second once the first is back. Returns what they said."""
    return "".join(map(_restarted, stage.stack.workers))


def _restarted(worker: ChildProcess) -> str:
    worker.ask_to_stop()
    worker.wait_for_end(seconds=GRACE_SECONDS)
    said = worker.tail(lines=100)
    worker.start()
    worker.wait_until(partial(worker.has_logged, "worker_ready"))
    return said


async def upgraded(staged: Staged, operator: Callable[[], str]) -> Upgraded:
    """Have an operator do something when a sixth of a campaign is sent."""
    stage = staged.stage
    await staged.send()
    await reaches(staged, AUDIENCE // 6)
    before = await stage.do(staged.accepted)
    said = await stage.do(operator)
    after = await stage.do(staged.accepted)
    return Upgraded(staged, before, after, said, await staged.over())


async def test_migrating_beside_a_report_holds_up_nobody_for_long(
    stage: Stage, tmp_path: Path
) -> None:
    staged = await stage.campaign(fcm("0f51", AUDIENCE), LIMITS)

    run = await upgraded(staged, partial(migrate_beside_a_report, stage, tmp_path / "log"))

    assert "waiting for process" in run.said
    assert "stepped aside" in run.said
    assert run.said.splitlines()[-1] == f"database is at {next_schema.HEAD}"
    # All of it happened while messages went out.
    assert run.accepted_before < run.accepted_after < AUDIENCE
    assert run.longest_gap() < LONGEST_GAP_SECONDS
    assert (run.ended.stats.sent, run.ended.stats.possible_duplicates) == (AUDIENCE, 0)
    assert staged.violations() == []


async def test_workers_restarted_one_by_one_lose_and_repeat_nothing(stage: Stage) -> None:
    staged = await stage.campaign(fcm("0f52", AUDIENCE), LIMITS)

    run = await upgraded(staged, partial(restart_one_by_one, stage))

    assert run.said.count("worker_stopping") == WORKERS
    assert run.accepted_before < run.accepted_after < AUDIENCE
    assert run.longest_gap() < LONGEST_GAP_SECONDS
    assert (run.ended.stats.sent, run.ended.stats.possible_duplicates) == (AUDIENCE, 0)
    assert staged.violations() == []


async def test_run_that_is_terminated_while_paused_is_followed_by_one_that_repeats_nothing(
    stage: Stage,
) -> None:
    """What the operator's page says of campaigns that another version must finish."""
    staged = await stage.campaign(fcm("0f53", AUDIENCE), LIMITS)
    await staged.send()
    await reaches(staged, AUDIENCE // 6)

    stopped = await stage.do(partial(stop, staged, ApiClient.pause_campaign, looks=1))
    await staged.workflow().terminate("rolled back")
    await resume(staged)
    await stage.until(lambda: staged.now().is_over)

    ended = staged.now()
    assert stopped.seen[-1].stats.sent < AUDIENCE
    assert (ended.stats.sent, ended.stats.possible_duplicates) == (AUDIENCE, 0)
    assert staged.violations() == []
