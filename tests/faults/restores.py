"""A database that is restored while campaigns are under way, played on a stack of its own.

The copy is the data directory as it was in the middle of the sending. What goes out after it is
lost to the database when the copy takes its place: the same server, the same timeline, older rows.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
from temporalio.client import ScheduleOverlapPolicy

from fanfare.dev import postgres
from fanfare.dev.api_client import Campaign
from fanfare.dev.stack import Stack
from tests.faults.devices import fcm
from tests.faults.staging import HELLO, Limits, Stage, Staged
from workflows import positions
from workflows.deployment import UPKEEP_ID

PACE = Limits(messages_per_minute=24_000)
TAKEN_AT = 300
DUE_IN = timedelta(seconds=7)
NEXT_WEEK = timedelta(days=7)

SKIPPING = {**HELLO, "on_unknown": "skip"}

_OTHER_TIMELINE = """
    UPDATE installation
    SET timeline = timeline - 1, written_by = pg_current_xact_id()::xid::text::bigint
"""
_HANG_UP = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Held:
    """A campaign that the restore found open: `accepted` before it, and `later` before anybody
    resumed it; `known`: how many of them the restored ledger knows."""

    staged: Staged
    accepted: int
    known: int
    later: int
    seen: Campaign
    reason: str | None


@dataclass(frozen=True)
class Cast:
    """Who is under way when the copy is taken: half sent, due soon, and due in a week."""

    resending: Staged
    skipping: Staged
    due: Staged
    ahead: Staged

    def all(self) -> Sequence[Staged]:
        return self.resending, self.skipping, self.due, self.ahead


async def begin(stage: Stage) -> Cast:
    """Have two campaigns half sent, and two that wait."""
    at = datetime.now(UTC)
    cast = Cast(
        resending=await stage.campaign(fcm("0f61", 1_600), PACE),
        skipping=await stage.campaign(fcm("0f62", 1_200), PACE, SKIPPING),
        due=await stage.campaign(fcm("0f63", 200), PACE, _at(at + DUE_IN)),
        ahead=await stage.campaign(fcm("0f64", 200), PACE, _at(at + NEXT_WEEK)),
    )
    await cast.resending.send()
    await cast.skipping.send()
    await stage.until(lambda: min(map(Staged.accepted, cast.all()[:2])) >= TAKEN_AT)
    return cast


async def live_on(stage: Stage, cast: Cast) -> None:
    """Have all of it sent, one a week before its time; and the upkeep see how far it came."""

    def move_up() -> None:
        with cast.ahead.http() as http:
            soon = {"scheduled_at": (datetime.now(UTC) + timedelta(seconds=1)).isoformat()}
            http.patch(f"/admin/push/{cast.ahead.id}", json=soon).raise_for_status()

    await stage.do(move_up)
    await asyncio.gather(*(each.over() for each in cast.all()))
    await upkeep(stage)


async def upkeep(stage: Stage) -> None:
    """Have the upkeep run to its end."""
    before = await positions.last_seen(stage.temporal)
    # Beside one whose worker was killed.
    schedule = stage.temporal.get_schedule_handle(UPKEEP_ID)
    await schedule.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
    async with asyncio.timeout(30):
        while await positions.last_seen(stage.temporal) == before:  # noqa: ASYNC110 - what a server knows
            await asyncio.sleep(0.1)


async def take_copy(stage: Stage) -> Path:
    """The data directory as it is now. The sending goes on after it."""
    stack = stage.stack
    copy = stack.home / "copy"

    def take() -> None:
        stack.postgres.stop()
        # With its owner, which need not be us.
        subprocess.run(["cp", "-a", str(_data(stack)), str(copy)], check=True)
        _start_database(stack)

    await stage.do(take)
    return copy


async def restore(stage: Stage, copy: Path) -> None:
    """Put the copy in its place, as an operator does: the workers are stopped, and start again."""
    stack = stage.stack

    def put_back() -> None:
        for worker in stack.workers:
            worker.kill()
        stack.postgres.stop()
        shutil.rmtree(_data(stack))
        copy.rename(_data(stack))
        _start_database(stack)
        for worker in stack.workers:
            worker.start()

    await stage.do(put_back)
    await stage.until(lambda: all(each.has_logged("worker_ready") for each in stack.workers))


async def held(stage: Stage, cast: Cast) -> Sequence[Held]:
    """The campaigns once every workflow has been told of the restore, and nobody resumed any."""
    accepted = [await stage.do(each.accepted) for each in cast.all()]
    known = [await stage.do(partial(each.rows, "true")) for each in cast.all()]
    await upkeep(stage)
    await stage.until(lambda: _told(stage.stack))
    await stage.until(lambda: all(reason(each) is not None for each in cast.all()))
    return [
        Held(each, before, rows, each.accepted(), each.now(), reason(each))
        for each, before, rows in zip(cast.all(), accepted, known, strict=True)
    ]


async def move(stage: Stage) -> None:
    """Have the database found on another timeline, on connections that are all new."""

    def promote() -> None:
        with psycopg.connect(stage.stack.database_url, autocommit=True) as conn:
            conn.execute(_OTHER_TIMELINE)
            conn.execute(_HANG_UP)

    await stage.do(promote)


async def resume(staged: Staged) -> Campaign:
    """Resume it, and wait for its end."""

    def resume() -> None:
        with staged.http() as http:
            http.post(f"/admin/push/{staged.id}/resume").raise_for_status()

    await staged.stage.do(resume)
    return await staged.over()


def reason(staged: Staged) -> str | None:
    """Why it rests, as GET says."""
    with staged.http() as http:
        answer = http.get(f"/admin/push/{staged.id}").raise_for_status()
    said: str | None = answer.json()["data"]["paused_reason"]
    return said


def _told(stack: Stack) -> bool:
    return any(each.has_logged("campaigns_told_of_restore") for each in stack.workers)


def _at(moment: datetime) -> dict[str, object]:
    return {**HELLO, "scheduled_at": moment.isoformat()}


def _data(stack: Stack) -> Path:
    return stack.home / "postgres"


def _start_database(stack: Stack) -> None:
    port, password = stack.ports.postgres, stack.secrets.database_password
    stack.postgres.start()
    stack.postgres.wait_until(lambda: postgres.accepts(port, password=password))
