"""One settlement: everything that a set of outcomes changes, in one transaction of the caller.

Ledger rows, the batch's counts, the notes of what is still owed, and what the outcomes say about
the tokens: either all of it is there after a crash, or none.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from fanfare.db import batches, deliveries, owed, verdicts
from fanfare.db.batches import BatchKey, Counts
from fanfare.db.deliveries import FinalOutcome
from fanfare.db.ledger_pool import LedgerConnection
from fanfare.db.owed import OwedNote
from fanfare.db.verdicts import DeadToken
from fanfare.models import DeliveryStatus


@dataclass(slots=True)
class Settlement:
    """What is to be written for some messages of one batch.

    `retried` are the token ids among the final ones that had an owed note.
    """

    final: list[FinalOutcome] = field(default_factory=list)
    owed: list[OwedNote] = field(default_factory=list)
    retried: list[int] = field(default_factory=list)
    dead: list[DeadToken] = field(default_factory=list)
    suspect: list[int] = field(default_factory=list)
    cleared: list[int] = field(default_factory=list)

    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.final and not self.owed


async def settle(conn: LedgerConnection, key: BatchKey, epoch: int, settlement: Settlement) -> None:
    """Write it, as the attempt whose number is `epoch`.

    Raises AlreadyRecorded where a superseded attempt wrote some of it first: roll back, and write
    it by `settle_missing` in a transaction of its own.
    """
    final = settlement.final
    if final:
        await deliveries.record(conn, key.project, key.campaign_id, final)
        await batches.count(conn, key, _counts(final, len(settlement.suspect)))
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
        counts = _counts(final, len(settlement.suspect))
        repeats = counts.repeats + written.flagged
        await batches.count(conn, key, replace(counts, repeats=repeats))
    await _settle_rest(conn, key, epoch, settlement)


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


def _counts(final: Collection[FinalOutcome], suspects: int) -> Counts:
    by_status = Counter(outcome.status for outcome in final)
    skipped = (outcome for outcome in final if outcome.status is DeliveryStatus.SKIPPED)
    return Counts(
        sent=by_status[DeliveryStatus.SENT],
        failed=by_status[DeliveryStatus.FAILED],
        skipped=by_status[DeliveryStatus.SKIPPED],
        unknown=by_status[DeliveryStatus.UNKNOWN],
        suspects=suspects,
        repeats=sum(outcome.possible_duplicate for outcome in final),
        skipped_by=Counter(str(outcome.reason) for outcome in skipped),
    )
