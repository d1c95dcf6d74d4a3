"""The worker's two ways to the database, and what is known of it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg

from activities import heartbeats
from activities.heartbeats import Wait
from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerPool
from fanfare.errors import DatabaseUnavailable

# Who is refused tries again every second; so soon after the last refusal the ledger takes writes.
REFUSING_SECONDS = 5.0

# The classes of SQLSTATE by which a server that answers refuses to write: read-only (25006), out
# of disk or memory (53), an error of its system (58). PostgreSQL, "Error Codes".
_REFUSALS = ("25006", "53", "58")


class LedgerWatch:
    """Whether PostgreSQL answers, and yet takes no outcomes: a full disk, a read-only database."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused_at: float | None = None

    @property
    def is_refusing(self) -> bool:
        """Whether a write was refused within the last seconds."""
        refused_at = self._refused_at
        return refused_at is not None and self._clock() - refused_at < REFUSING_SECONDS

    def note(self, error: DatabaseUnavailable) -> None:
        """Note that an activity waits for PostgreSQL, and why."""
        heartbeats.note(Wait.DATABASE)
        if any(code.startswith(_REFUSALS) for code in _codes(error)):
            self._refused_at = self._clock()


def _codes(error: BaseException) -> Iterator[str]:
    """What PostgreSQL's codes for it are, among its causes."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, psycopg.Error) and cause.sqlstate is not None:
            yield cause.sqlstate
        cause = cause.__cause__


@dataclass(frozen=True, slots=True)
class Stores:
    """For what a campaign costs once, and for what each of its messages shares in."""

    database: Database
    ledger: LedgerPool
    ledger_watch: LedgerWatch = field(default_factory=LedgerWatch)
