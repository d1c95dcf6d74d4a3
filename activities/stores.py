"""The worker's two ways to the database."""

from dataclasses import dataclass

from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerPool


@dataclass(frozen=True, slots=True)
class Stores:
    """For what a campaign costs once, and for what each of its messages shares in."""

    database: Database
    ledger: LedgerPool
