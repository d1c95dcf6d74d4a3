"""One settlement: everything that a set of outcomes changes, in one transaction of the caller.

Ledger rows, the batch's counts, the notes of what is still owed, and what the outcomes say about
the tokens: either all of it is there after a crash, or none.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db import batches, deliveries, owed, verdicts
from fanfare.db.batches import BatchKey, Counts
from fanfare.db.deliveries import FinalOutcome
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


async def settle(conn: AsyncConnection, key: BatchKey, settlement: Settlement) -> Counts:
    """Write it. Returns what it added to the batch's counts.

    Raises AlreadyRecorded where a superseded attempt wrote some of it first: roll back, and write
    it by `settle_missing` in a transaction of its own.
    """
    final = settlement.final
    if final:
        await deliveries.record(conn, key.project, key.campaign_id, final)
    return await _settle_rest(conn, key, settlement, final)


async def settle_missing(conn: AsyncConnection, key: BatchKey, settlement: Settlement) -> Counts:
    """Write what is not there yet. Slower than `settle`, and never refused."""
    final: Sequence[FinalOutcome] = ()
    if settlement.final:
        new = await deliveries.record_missing(conn, key.project, key.campaign_id, settlement.final)
        final = [outcome for outcome in settlement.final if outcome.token_id in new]
    return await _settle_rest(conn, key, settlement, final)


async def _settle_rest(
    conn: AsyncConnection, key: BatchKey, settlement: Settlement, final: Sequence[FinalOutcome]
) -> Counts:
    counts = _counts(final)
    if final:
        await batches.count(conn, key, counts)
    if settlement.owed:
        await owed.note(conn, key, settlement.owed)
    if settlement.retried:
        await owed.forget(conn, key, settlement.retried)
    if settlement.dead:
        await verdicts.deactivate(conn, key.project, settlement.dead)
    if settlement.suspect:
        await verdicts.suspect(conn, key.project, settlement.suspect)
    if settlement.cleared:
        await verdicts.clear(conn, key.project, settlement.cleared)
    return counts


def _counts(final: Collection[FinalOutcome]) -> Counts:
    by_status = Counter(outcome.status for outcome in final)
    skipped = (outcome for outcome in final if outcome.status is DeliveryStatus.SKIPPED)
    return Counts(
        sent=by_status[DeliveryStatus.SENT],
        failed=by_status[DeliveryStatus.FAILED],
        skipped=by_status[DeliveryStatus.SKIPPED],
        unknown=by_status[DeliveryStatus.UNKNOWN],
        repeats=sum(outcome.possible_duplicate for outcome in final),
        skipped_by=Counter(str(outcome.reason) for outcome in skipped),
    )
