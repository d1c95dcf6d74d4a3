"""What became of a round: the oracle's word, and the numbers of the table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import psycopg

from fanfare.dev.api_client import ApiClient
from fanfare.dev.simulator.tokens import DEAD
from fanfare.dev.stack import Stack
from fanfare.models import OnUnknown
from tests.faults import acceptances, comparison, oracle
from tests.faults.comparison import Comparison
from tests.faults.oracle import Facts
from tests.faults.soak.campaigns import LANES, WORKERS, Load, Prepared
from tests.faults.soak.chaos import Absence
from tests.faults.soak.plan import Blow, Part, Round
from tests.faults.soak.watch import Halt, Watch

# The noise, the messages that are asked for again after a blow, and the breaker's trials.
RETRY_BUDGET = 0.1

# What a heartbeat is old, at most, when Temporal dies: every 5 s, thinned out by 2 s, of 15 s.
UNNOTICED_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One round in numbers. `lost`: living devices that end neither sent nor unknown, and
    acceptances without a row that says so. `twice`: devices that accepted more than once, of which
    `unflagged` have no flag, and `bound` is how many may be. Times are in seconds."""

    number: int
    is_careful: bool
    kills: Mapping[Part, int]
    sleeps: int
    cuts: int
    audience: int
    lost: int
    twice: int
    bound: int
    unflagged: int
    unknown: int
    longest_stall: float
    seconds: float
    violations: Sequence[str]


def judge(
    stack: Stack,
    round_: Round,
    load: Load,
    prepared: Prepared,
    watch: Watch,
    absences: Sequence[Absence],
) -> Verdict:
    """Lay the three accounts of an ended campaign side by side."""
    facts = _facts(round_, load, prepared, absences)
    account = oracle.read(stack.simulator_url, prepared.id)
    accepted_at = list(acceptances.moments(stack.simulator_url, prepared.id))
    with ApiClient(stack.api_url, prepared.key) as api:
        stats = api.campaign(prepared.id).stats
    with psycopg.connect(stack.database_url) as conn:
        broken = oracle.judge(conn, prepared.id, account, stats, facts)
        compared = comparison.compare(conn, prepared.id, account.taken, prepared.dead)
        lost = _lost(conn, prepared, compared)
    ending = _ending(watch, prepared, stats.audience, lost)
    return Verdict(
        number=round_.number,
        is_careful=round_.on_unknown is OnUnknown.SKIP,
        kills=_kills(absences),
        sleeps=sum(absence.blow is Blow.SLEEP for absence in absences),
        cuts=sum(absence.blow is Blow.CUT for absence in absences),
        audience=stats.audience or 0,
        lost=lost,
        twice=compared.repeated,
        bound=facts.repeats,
        unflagged=compared.repeated_unflagged,
        unknown=compared.unknown,
        longest_stall=longest_stall(watch.sent_at, accepted_at, watch.halts),
        seconds=watch.ended_at - watch.sent_at,
        violations=[*ending, *broken, *watch.violations(accepted_at)],
    )


def _facts(round_: Round, load: Load, prepared: Prepared, absences: Sequence[Absence]) -> Facts:
    at_risk = bound(load, absences)
    return Facts(
        dead=prepared.dead,
        # What sends nothing twice repeats nobody, whatever is struck.
        repeats=0 if round_.on_unknown is OnUnknown.SKIP else at_risk,
        retry_budget=RETRY_BUDGET + at_risk / prepared.size,
    )


def bound(load: Load, absences: Sequence[Absence]) -> int:
    """How many devices may get the message twice: what each worker that was struck had at risk, or
    all of them where Temporal was away for so long that it took them for dead."""
    return sum(_at_risk(load, absence) for absence in absences)


def _at_risk(load: Load, absence: Absence) -> int:
    match absence.part:
        case Part.WORKER_1 | Part.WORKER_2:
            return LANES * load.at_risk
        case Part.TEMPORAL if absence.seconds > UNNOTICED_SECONDS:
            return WORKERS * LANES * load.at_risk
        case None:
            # A cut ends the connections of all workers, in one lane.
            return WORKERS * load.at_risk
        case _:
            return 0


def longest_stall(sent_at: float, accepted_at: Sequence[float], halts: Sequence[Halt]) -> float:
    """The longest time without an acceptance from the send to the last one, in seconds. What of it
    the campaign was paused does not count. All moments are epoch seconds, the first one first."""
    gaps = pairwise([sent_at, *accepted_at])
    return max((_unpaused(began, ended, halts) for began, ended in gaps), default=0.0)


def _unpaused(began: float, ended: float, halts: Sequence[Halt]) -> float:
    paused = (min(ended, halt.resumed_at) - max(began, halt.paused_at) for halt in halts)
    return ended - began - sum(max(0.0, overlap) for overlap in paused)


def _kills(absences: Sequence[Absence]) -> Mapping[Part, int]:
    killed = [absence.part for absence in absences if absence.blow is Blow.KILL]
    return {part: killed.count(part) for part in Part}


def _lost(conn: psycopg.Connection, prepared: Prepared, compared: Comparison) -> int:
    names = {"project": prepared.project_id, "campaign": prepared.id, "dead": DEAD}
    row = conn.execute(_UNREACHED, names).fetchone()
    assert row is not None
    return int(row[0]) + compared.accepted_without_row + compared.accepted_and_denied


def _ending(watch: Watch, prepared: Prepared, audience: int | None, lost: int) -> Iterator[str]:
    status = watch.seen[-1].status if watch.seen else "not seen"
    if status != "sent":
        yield f"the campaign should be sent, and is {status}"
    if audience != prepared.size:
        yield f"the audience is {audience}, and should be {prepared.size}"
    if lost:
        yield f"{lost} devices are lost"


_UNREACHED = """
    SELECT count(*) FROM push_tokens t
    WHERE t.project_id = %(project)s AND NOT starts_with(t.token, %(dead)s)
      AND NOT EXISTS (
        SELECT FROM push_deliveries d
        WHERE d.project_id = t.project_id AND d.campaign_id = %(campaign)s
          AND d.token_id = t.id AND d.status IN ('sent', 'unknown'))
"""
