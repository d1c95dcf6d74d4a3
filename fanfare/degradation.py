"""Why a campaign that is due does not move, in words for whoever looks at it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# A worker notes every five seconds that it lives; one that missed three of them is not heard of.
SILENCE = timedelta(seconds=20)

# How late a campaign begins in a healthy system at most, with the upkeep's minute.
LATE = timedelta(minutes=1)


class Trouble(StrEnum):
    """What a worker knows to be wrong with what it stands on, while it can still say so."""

    TEMPORAL_UNREACHABLE = "temporal_unreachable"
    LEDGER_NOT_WRITABLE = "ledger_not_writable"


class DegradedCode(StrEnum):
    """Why a campaign does not move. A closed set: programs match it."""

    NO_WORKER = "NO_WORKER"
    TEMPORAL_UNREACHABLE = "TEMPORAL_UNREACHABLE"
    LEDGER_NOT_WRITABLE = "LEDGER_NOT_WRITABLE"
    NOT_BEGUN = "NOT_BEGUN"
    PROVIDER_HELD = "PROVIDER_HELD"


@dataclass(frozen=True, slots=True)
class Degraded:
    """Why nothing moves now, and since when. It ends by itself once the cause does."""

    code: DegradedCode
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers, as the database heard of them.

    `heard_at`: the last beat of any. `live` were heard of within `SILENCE`, `well` of those report
    no trouble. `trouble`, `trouble_since`: what one of the others reports, and when the last of
    them began to. `is_read_only`: the database takes no writes, so that no beat can be noted.
    """

    live: int
    well: int
    heard_at: datetime | None = None
    trouble: Trouble | None = None
    trouble_since: datetime | None = None
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a campaign that is `sending`, or `scheduled`, and not paused.

    `due_at`: since when it should be moving. `is_late`: it should have begun by now, and did not.
    `held_since`: when throttles were last told that hold all that is left of it.
    """

    due_at: datetime
    is_late: bool
    is_sending: bool
    crew: Crew
    held_since: datetime | None = None


def degraded_of(facts: Facts) -> Degraded | None:
    """The nearest cause, None where nothing is known to stand in its way."""
    if not (facts.is_sending or facts.is_late):
        return None
    code, since = _cause(facts)
    if code is None:
        return None
    return Degraded(code, MESSAGES[code], max(since or facts.due_at, facts.due_at))


def _cause(facts: Facts) -> tuple[DegradedCode | None, datetime | None]:
    crew = facts.crew
    if crew.live == 0:
        code = DegradedCode.LEDGER_NOT_WRITABLE if crew.is_read_only else DegradedCode.NO_WORKER
        return code, crew.heard_at
    if crew.well == 0 and crew.trouble is not None:
        return _OF_TROUBLE[crew.trouble], crew.trouble_since
    if facts.is_late:
        return DegradedCode.NOT_BEGUN, facts.due_at
    if facts.held_since is not None:
        return DegradedCode.PROVIDER_HELD, facts.held_since
    return None, None


_OF_TROUBLE = {
    Trouble.TEMPORAL_UNREACHABLE: DegradedCode.TEMPORAL_UNREACHABLE,
    Trouble.LEDGER_NOT_WRITABLE: DegradedCode.LEDGER_NOT_WRITABLE,
}

MESSAGES = {
    DegradedCode.NO_WORKER: "No worker has been heard of for more than 20 seconds: none runs, or "
    "none can reach PostgreSQL. Nothing is lost; the campaign goes on when one is back.",
    DegradedCode.TEMPORAL_UNREACHABLE: "No worker can reach Temporal. Messages under way are "
    "finished, nothing new begins; the campaign goes on when Temporal is back.",
    DegradedCode.LEDGER_NOT_WRITABLE: "PostgreSQL takes no writes: its disk may be full, or it is "
    "read-only. Nothing new is sent; the campaign goes on when it takes them again.",
    DegradedCode.NOT_BEGUN: "It was due more than a minute ago and has not begun. A run that is "
    "missing is started within a minute; its page in the Temporal web UI says more.",
    DegradedCode.PROVIDER_HELD: "A provider holds all that is left of it, because of its quota "
    "(429) or of trouble there. The campaign goes on by itself at `held_until`.",
}
