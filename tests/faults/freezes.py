"""A worker that stands still until it is given up, and then goes on as if nothing had been."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from pydantic import BaseModel

from fanfare.dev.api_client import Campaign
from fanfare.dev.processes import ChildProcess
from tests.faults.acceptances import ids_of_repeated
from tests.faults.crashing_worker import CLAIMED
from tests.faults.staging import Stage, Staged
from tests.faults.stops import reaches


class Claim(BaseModel):
    """A line of a worker's log: up to where it has claimed a batch, by which attempt."""

    event: str
    campaign: UUID
    batch: int
    epoch: int
    claimed: int


@dataclass(frozen=True, slots=True)
class Position:
    """An open batch as the database has it."""

    batch: int
    epoch: int
    claimed: int
    in_doubt: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """What became of a campaign. `lost` are the batches of the frozen worker, as it left them, that
    another had taken when it went on; `claims` those that it made of them after that."""

    staged: Staged
    lost: Sequence[Position]
    claims: Sequence[Claim]
    ended: Campaign
    seconds: float

    def repeated(self) -> Mapping[str, Sequence[str]]:
        """The messages' ids at the provider, by token, where one was accepted more than once."""
        return ids_of_repeated(self.staged.stage.stack.simulator_url, self.staged.id)


async def play_freeze(stage: Stage, staged: Staged, moment: int) -> Freeze:
    """Stop a worker with messages on the wire, and let it go on when another has its batches.

    Each worker has one batch at a time, and polls for no other: what Temporal hands to a frozen
    poller is lost until its heartbeat is missed.
    """
    began, zombie = time.monotonic(), stage.stack.workers[0]
    await staged.send()
    await reaches(staged, moment)
    await stage.until(lambda: _is_caught(zombie, staged))
    held = await stage.do(partial(_held, zombie, staged))
    await stage.until(lambda: len(_lost(held, staged)) == len(held))
    lost, before = await stage.do(partial(_lost, held, staged)), len(_claims(zombie, staged))
    _signal(zombie, signal.SIGCONT)
    ended = await staged.over()
    claims = [each for each in _claims(zombie, staged)[before:] if _is_of(each, lost)]
    return Freeze(staged, lost, claims, ended, time.monotonic() - began)


def _is_caught(worker: ChildProcess, staged: Staged) -> bool:
    """Stop the worker, and leave it so where it has messages on the wire."""
    _signal(worker, signal.SIGSTOP)
    if _held(worker, staged):
        return True
    _signal(worker, signal.SIGCONT)
    return False


def _held(worker: ChildProcess, staged: Staged) -> Sequence[Position]:
    """The worker's batches that hold messages of which nothing is known."""
    taken = {(claim.batch, claim.epoch) for claim in _claims(worker, staged)}
    return [
        each for each in _open(staged) if each.in_doubt > 0 and (each.batch, each.epoch) in taken
    ]


def _lost(held: Sequence[Position], staged: Staged) -> Sequence[Position]:
    """Those of the batches that a later attempt has taken."""
    left = {(each.batch, each.epoch) for each in _open(staged)}
    return [each for each in held if (each.batch, each.epoch) not in left]


def _is_of(claim: Claim, lost: Sequence[Position]) -> bool:
    """Whether it goes beyond where one of these batches was left: a commit may be heard late."""
    left = {(each.batch, each.epoch): each.claimed for each in lost}
    return claim.claimed > left.get((claim.batch, claim.epoch), claim.claimed)


def _open(staged: Staged) -> Sequence[Position]:
    names = {"project": staged.project_id, "id": staged.id}
    with (
        psycopg.connect(staged.stage.stack.database_url) as conn,
        conn.cursor(row_factory=class_row(Position)) as cursor,
    ):
        return cursor.execute(_OPEN, names).fetchall()


def _claims(worker: ChildProcess, staged: Staged) -> Sequence[Claim]:
    """What the worker has claimed of the campaign, by its log."""
    lines = worker.log.read_text().splitlines()
    return [
        Claim.model_validate_json(line)
        for line in lines
        if f'"{CLAIMED}"' in line and str(staged.id) in line
    ]


def _signal(worker: ChildProcess, number: signal.Signals) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, number)


_OPEN = """
    SELECT number AS batch, epoch, claimed,
        claimed - sent - failed - skipped - unknown - (
            SELECT count(*) FROM push_owed o WHERE o.project_id = b.project_id
              AND o.campaign_id = b.campaign_id AND o.number = b.number) AS in_doubt
    FROM push_batches b
    WHERE project_id = %(project)s AND campaign_id = %(id)s AND completed_at IS NULL
"""
