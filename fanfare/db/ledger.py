"""One settlement: everything that a set of outcomes changes, in one transaction of the caller.

Ledger rows, the batch's counts, the notes of what is still owed, and what the outcomes say about
the tokens: either all of it is there after a crash, or none.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import psycopg

from fanfare.db import batches, deliveries, owed, verdicts
from fanfare.db.batches import BatchKey, Counts
from fanfare.db.deliveries import FinalOutcome
from fanfare.db.ledger_pool import LedgerConnection
from fanfare.db.owed import OwedNote
from fanfare.db.verdicts import DeadToken
from fanfare.models import DeliveryStatus


class AlreadyRecorded(Exception):
    """A superseded attempt recorded some of these first. The transaction is void."""


@dataclass(slots=True)
class Settlement:
    """What is to be written for some messages of one batch.

    `retried` are the token ids among the final ones that had an owed note; `moved` those that were
    accepted in the other environment than their batch's.
    """

    final: list[FinalOutcome] = field(default_factory=list)
    owed: list[OwedNote] = field(default_factory=list)
    retried: list[int] = field(default_factory=list)
    dead: list[DeadToken] = field(default_factory=list)
    suspect: list[int] = field(default_factory=list)
    cleared: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)

    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.final and not self.owed

    @property
    def is_plain(self) -> bool:
        """Whether one statement writes it: it says something of the ledger and the counts only."""
        return not (
            self.owed or self.retried or self.dead or self.suspect or self.cleared or self.moved
        )


async def settle(conn: LedgerConnection, key: BatchKey, epoch: int, settlement: Settlement) -> None:
    """Write it, as the attempt whose number is `epoch`; in a transaction, unless it is plain.

    Raises AlreadyRecorded where a superseded attempt wrote some of it first: roll back, and write
    it by `settle_missing` in a transaction of its own. Costs about 3 microseconds of client and 5
    of server time a row.
    """
    if settlement.final:
        await _record(conn, key, settlement)
    await _settle_rest(conn, key, epoch, settlement)


async def settle_missing(
    conn: LedgerConnection, key: BatchKey, epoch: int, settlement: Settlement
) -> None:
    """Write what is not there yet. Slower than `settle`, and never refused.

    Where two attempts were both told that a message was accepted, its row is flagged.
    """
    if settlement.final:
        written = await deliveries.record_missing(
            conn, key.project, key.campaign_id, settlement.final
        )
        final = [outcome for outcome in settlement.final if outcome.token_id in written.new]
        # One refusal is one suspicion, whoever wrote it and however often.
        suspect = [token_id for token_id in settlement.suspect if token_id in written.new]
        settlement = replace(settlement, suspect=suspect)
        counts = _counts(final, len(suspect))
        repeats = counts.repeats + written.flagged
        await batches.count(conn, key, replace(counts, repeats=repeats))
    await _settle_rest(conn, key, epoch, settlement)


async def _record(conn: LedgerConnection, key: BatchKey, settlement: Settlement) -> None:
    final = settlement.final
    counts = _counts(final, len(settlement.suspect))
    statement = _RECORD_SKIPPED if counts.skipped else _RECORD
    values = {**key.values(), **deliveries.columns_of(final), **counts.values()}
    try:
        await conn.execute(statement, values, prepare=True)
    except psycopg.errors.UniqueViolation as error:
        raise AlreadyRecorded from error


async def _settle_rest(
    conn: LedgerConnection, key: BatchKey, epoch: int, settlement: Settlement
) -> None:
    if settlement.owed:
        await owed.note(conn, key, epoch, settlement.owed)
    if settlement.retried:
        await owed.forget(conn, key, settlement.retried)
    if settlement.dead:
        await verdicts.deactivate(conn, key.project, settlement.dead)
    if settlement.suspect:
        await verdicts.suspect(conn, key.project, settlement.suspect)
    if settlement.cleared:
        await verdicts.clear(conn, key.project, settlement.cleared)
    if settlement.moved:
        await verdicts.move(conn, key, settlement.moved)


def _counts(final: Collection[FinalOutcome], suspects: int) -> Counts:
    statuses = [outcome.status for outcome in final]
    skipped = (outcome for outcome in final if outcome.status is DeliveryStatus.SKIPPED)
    return Counts(
        sent=statuses.count(DeliveryStatus.SENT),
        failed=statuses.count(DeliveryStatus.FAILED),
        skipped=statuses.count(DeliveryStatus.SKIPPED),
        unknown=statuses.count(DeliveryStatus.UNKNOWN),
        suspects=suspects,
        repeats=sum(outcome.possible_duplicate for outcome in final),
        skipped_by=Counter(str(outcome.reason) for outcome in skipped),
    )


# The rows first, then the count: whoever writes the same rows takes both locks in this order.
_RECORD = f"WITH counted AS ({batches.COUNT}) {deliveries.INSERT}"
_RECORD_SKIPPED = f"WITH counted AS ({batches.COUNT_SKIPPED}) {deliveries.INSERT}"
