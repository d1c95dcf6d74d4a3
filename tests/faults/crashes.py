"""Deaths of workers: at one point for each of several campaigns, at random, and not quite."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fanfare.dev.api_client import Campaign
from fanfare.dev.processes import ChildProcess
from fanfare.dev.reconciliation import Device
from fanfare.dev.stack import Stack
from fanfare.models import OnUnknown
from tests.faults.acceptances import ids_of_repeated
from tests.faults.crashing_worker import (
    BATCH_SIZE,
    HOLDS,
    HOLDS_FILE,
    STANDS,
    CrashPoint,
)
from tests.faults.devices import Rule, apns, fcm, rule
from tests.faults.staging import DEADLINE_SECONDS, HELLO, Limits, Stage, Staged
from tests.faults.stops import reaches

HOLDS_NAME = "holds.json"

# The first batch of a lane, which goes all the way before there is another.
CANARY = 20
BATCH = 500
AUDIENCE = 2_000
BATCHES = -(-(AUDIENCE - CANARY) // BATCH)
# How many messages a worker may have on the wire for a campaign: what one connection to FCM takes.
IN_FLIGHT = 100
NOISE_EVERY = 20

AT_ONCE = "FANFARE_BATCHES_AT_ONCE"


class CrashingStack(Stack):
    """A stack whose workers can be told where to stand."""

    def _worker_arguments(self) -> Sequence[str]:
        return ["-m", "tests.faults.crashing_worker"]

    def _worker_environment(self) -> Mapping[str, str]:
        told = {HOLDS: str(holds_file(self)), BATCH_SIZE: str(BATCH), AT_ONCE: "1"}
        return {**super()._worker_environment(), **told}


def holds_file(stack: Stack) -> Path:
    """Where the next worker that starts reads where to stand."""
    return stack.home / HOLDS_NAME


class Death(NamedTuple):
    """Where a campaign's messages are when their worker dies, and what becomes of those."""

    point: CrashPoint
    on_unknown: OnUnknown

    @property
    def devices(self) -> Sequence[Device]:
        """Whom the campaign goes to: each provider has one of the two kinds."""
        if self.on_unknown is OnUnknown.SKIP:
            return fcm(self.prefix, AUDIENCE)
        return apns(self.prefix, AUDIENCE)

    @property
    def prefix(self) -> str:
        kind = "b" if self.on_unknown is OnUnknown.SKIP else "a"
        return f"0{kind}c{self.point[1]}"

    @property
    def noise(self) -> Rule:
        """What goes wrong now and then, at no time to the canary."""
        match = {"after": CANARY, "every": NOISE_EVERY}
        if self.on_unknown is OnUnknown.SKIP:
            return rule(self.prefix, match, status=503, retry_after=1)
        return rule(self.prefix, match, action="refuse")


DEATHS = [Death(point, on_unknown) for on_unknown in OnUnknown for point in CrashPoint]
NOISE = [death.noise for death in DEATHS]
# What is refused on its second way to APNs waits for up to 20 s.
LATER_NOISE = [death.noise for death in DEATHS if death.on_unknown is OnUnknown.SKIP]
# Of what is written at P2 nothing is accepted, as long as the worker lives.
SILENCE = [
    rule(death.prefix, {"after": CANARY}, action="silence")
    for death in DEATHS
    if death.point is CrashPoint.WRITTEN
]


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a campaign was: by the batches, the ledger, the notes, and the provider."""

    claimed: int
    recorded: int
    owed: int
    open_batches: int
    asked: int
    accepted: int

    @property
    def lost(self) -> int:
        """How many were claimed, and nothing of them is known."""
        return self.claimed - self.recorded - self.owed


def look(staged: Staged) -> Moment:
    """How far it is. Exact where it stands."""
    return Moment(
        claimed=int(staged.value(_CLAIMED)),
        recorded=staged.rows("true"),
        owed=staged.owed(),
        open_batches=int(staged.value(_OPEN_BATCHES)),
        asked=staged.asked(),
        accepted=staged.accepted(),
    )


@dataclass(frozen=True, slots=True)
class Crash:
    """A campaign whose worker died at a point."""

    staged: Staged
    died: Moment
    ended: Campaign
    seconds: float

    def repeated(self) -> Mapping[str, Sequence[str]]:
        """The messages' ids at the provider, by token, where one was accepted more than once."""
        return ids_of_repeated(self.staged.stage.stack.simulator_url, self.staged.id)

    def listed(self, status: str) -> Sequence[str]:
        """The lines of the list of deliveries with that status."""
        with self.staged.http() as http:
            query = {"status": status, "format": "ndjson"}
            answer = http.get(f"/admin/push/{self.staged.id}/deliveries", params=query)
            return answer.raise_for_status().text.splitlines()


async def play_deaths(stage: Stage) -> Mapping[Death, Crash]:
    """One worker dies, once, with a campaign at each point. Two others take them up."""
    began = time.monotonic()
    drafts = await asyncio.gather(*(_draft(stage, death) for death in DEATHS))
    staged = dict(zip(DEATHS, drafts, strict=True))
    doomed, heir = stage.stack.workers
    await stage.script([*SILENCE, *NOISE])
    # Alone, so that every batch is the doomed one's.
    await stage.do(heir.kill)
    await _start_doomed(stage, doomed, staged)
    await asyncio.gather(*(each.send() for each in drafts))
    await stage.until(lambda: all(_stands(doomed, *each) for each in staged.items()))
    died = await asyncio.gather(*(stage.do(partial(look, each)) for each in drafts))
    doomed.kill()
    await stage.script(LATER_NOISE)
    await restart(stage, heir, doomed)
    ended = await asyncio.gather(*(each.over() for each in drafts))
    seconds = time.monotonic() - began
    crashes = zip(drafts, died, ended, strict=True)
    return dict(zip(DEATHS, (Crash(*each, seconds) for each in crashes), strict=True))


async def restart(stage: Stage, *workers: ChildProcess, at_once: int = 1) -> None:
    """Kill those that live, and return when the new ones are ready.

    `at_once`: how many batches of each provider one of them works at.
    """
    for worker in workers:
        await stage.do(worker.kill)
        worker.environment = {**worker.environment, AT_ONCE: str(at_once)}
        worker.start()
    for worker in workers:
        await stage.until(partial(worker.has_logged, "worker_ready"))


async def _draft(stage: Stage, death: Death) -> Staged:
    content = {**HELLO, "on_unknown": death.on_unknown}
    return await stage.campaign(death.devices, Limits(max_in_flight=IN_FLIGHT), content)


async def _start_doomed(stage: Stage, doomed: ChildProcess, staged: Mapping[Death, Staged]) -> None:
    points = {each.id: death.point for death, each in staged.items()}
    holds_file(stage.stack).write_bytes(HOLDS_FILE.dump_json(points))
    await restart(stage, doomed, at_once=len(DEATHS) * BATCHES)


def _stands(doomed: ChildProcess, death: Death, staged: Staged) -> bool:
    """Whether nothing of the campaign moves any more."""
    match death.point:
        case CrashPoint.CLAIMED:
            return bool(staged.value(_CLAIMED) == CANARY + IN_FLIGHT)
        case CrashPoint.WRITTEN | CrashPoint.ACCEPTED:
            return staged.asked() == CANARY + IN_FLIGHT
        case CrashPoint.ANSWERED | CrashPoint.COMMITTED:
            return _said(doomed, STANDS, staged) == BATCHES


def _said(worker: ChildProcess, event: str, staged: Staged) -> int:
    """How often a worker has logged that of the campaign."""
    lines = worker.log.read_text().splitlines()
    return sum(event in line and str(staged.id) in line for line in lines)


@dataclass(frozen=True, slots=True)
class Kills:
    """A campaign whose workers were all killed, again and again."""

    staged: Staged
    seen: Sequence[Campaign]
    meanwhile: Sequence[str]
    ended: Campaign
    seconds: float


async def play_kills(stage: Stage, staged: Staged, moments: Sequence[int]) -> Kills:
    """Kill all workers whenever so many messages were accepted, and start them anew."""
    began = time.monotonic()
    await staged.send()
    watch = asyncio.create_task(stage.do(partial(_watch, staged)))
    meanwhile = [said for moment in moments for said in await _kill_all(staged, moment)]
    ended = await staged.over()
    return Kills(staged, await watch, meanwhile, ended, time.monotonic() - began)


async def _kill_all(staged: Staged, moment: int) -> Sequence[str]:
    """Kill all workers when so many were accepted; what the oracle says with none alive."""
    stage, workers = staged.stage, staged.stage.stack.workers
    await reaches(staged, moment)
    for worker in workers:
        worker.kill()
    meanwhile = await stage.do(staged.violations_meanwhile)
    await restart(stage, *workers)
    return meanwhile


def _watch(staged: Staged) -> Sequence[Campaign]:
    """Look at the campaign until it is over. Blocks."""
    seen: list[Campaign] = []
    with staged.api() as api:

        def is_over() -> bool:
            seen.append(api.campaign(staged.id))
            return seen[-1].is_over

        staged.stage.stack.simulator.wait_until(is_over, seconds=DEADLINE_SECONDS)
    return seen


_CLAIMED = """
    SELECT coalesce(sum(claimed), 0) FROM push_batches
    WHERE project_id = %(project)s AND campaign_id = %(id)s
"""
_OPEN_BATCHES = """
    SELECT count(*) FROM push_batches
    WHERE project_id = %(project)s AND campaign_id = %(id)s AND completed_at IS NULL
"""
