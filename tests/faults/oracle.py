"""The oracle: ten statements that hold of a campaign, whatever happened to it on its way.

It lays side by side what nobody can talk round: the ledger in PostgreSQL, the providers' own
account of what they accepted, and the API's counters. Each violation is a sentence that begins
with the invariant's name. All comparing is done by PostgreSQL, as sets: 100,000 rows take a second.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import psycopg

from fanfare.dev.api_client import ApiClient, CampaignStats
from fanfare.dev.reconciliation import Device, read_account
from tests.faults import acceptances, comparison
from tests.faults.comparison import Balance, Comparison

# What is on the wire when a campaign is stopped may still be accepted: a request's deadline.
GRACE = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a scenario says of itself beforehand.

    `dead`: the devices that the providers call gone. `repeats`: how many devices may get the
    message twice. `stopped_at`: when it was cancelled or expired. `retry_budget`: how many
    requests may be made beyond one per device, as a share of the audience.
    """

    dead: Set[Device] = frozenset()
    repeats: int = 0
    stopped_at: datetime | None = None
    retry_budget: float = 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """The providers' own account of one campaign; `taken` is how often each device accepted it."""

    requests: int
    last_accepted_at: datetime | None
    taken: Mapping[Device, int]


@dataclass(frozen=True, slots=True)
class Oracle:
    """Judges campaigns of one stack."""

    database_url: str
    simulator_url: str

    def violations(
        self, api: ApiClient, campaign_id: UUID, facts: Facts | None = None
    ) -> Sequence[str]:
        """Everything that does not hold of a campaign that has ended; empty where all is well."""
        stats = api.campaign(campaign_id).stats
        account = read(self.simulator_url, campaign_id)
        with psycopg.connect(self.database_url) as conn:
            return judge(conn, campaign_id, account, stats, facts or Facts())

    def violations_meanwhile(self, campaign_id: UUID) -> Sequence[str]:
        """What does not hold of a campaign that is under way: I1, of one snapshot."""
        with psycopg.connect(self.database_url) as conn:
            return _balance_violations(comparison.balance(conn, campaign_id))


def read(simulator_url: str, campaign_id: UUID) -> Account:
    """The simulator's account. Raises StackProblem or httpx.HTTPError where it does not answer."""
    stats = acceptances.totals(simulator_url, campaign_id)
    last = stats["last_accepted_at"]
    return Account(
        requests=stats["requests"],
        last_accepted_at=None if last is None else datetime.fromisoformat(last),
        taken=read_account(simulator_url, str(campaign_id)).taken,
    )


def judge(
    conn: psycopg.Connection,
    campaign_id: UUID,
    account: Account,
    stats: CampaignStats,
    facts: Facts,
) -> Sequence[str]:
    """Every invariant that is broken, as a sentence. Makes temporary tables on the connection."""
    balance = comparison.balance(conn, campaign_id)
    compared = comparison.compare(conn, campaign_id, account.taken, facts.dead)
    return [
        *_balance_violations(balance),
        *_ending_violations(balance, compared),
        *_acceptance_violations(compared, facts),
        *_lateness(account, facts),
        *_deactivation_violations(compared),
        *_counter_violations(balance, compared, stats),
        *_budget_violations(balance, account, facts),
    ]


def _balance_violations(balance: Balance) -> Sequence[str]:
    said = []
    if balance.rows + balance.pending != balance.audience:
        said.append(
            f"I1: {balance.rows} rows and {balance.pending} pending are not the frozen audience "
            f"of {balance.audience}"
        )
    if balance.members != balance.audience:
        said.append(f"I1: the batches hold {balance.members} devices of {balance.audience}")
    if balance.strangers:
        said.append(f"I1: {balance.strangers} rows are of nobody in the audience")
    if (balance.status == "sent" or balance.is_settled) and balance.pending:
        said.append(f"I1: the campaign is {balance.status} and {balance.pending} are pending")
    return said


def _ending_violations(balance: Balance, compared: Comparison) -> Sequence[str]:
    said = []
    if compared.not_final:
        said.append(f"I2: {compared.not_final} rows are not final")
    if balance.status == "sent" and (compared.owed or compared.open_batches):
        said.append(
            f"I2: the campaign is sent, {compared.owed} messages are owed and "
            f"{compared.open_batches} batches open"
        )
    if balance.status == "cancelled" and not balance.is_settled:
        said.append("I2: the campaign is cancelled and not settled")
    return said


def _acceptance_violations(compared: Comparison, facts: Facts) -> Iterable[str]:
    if compared.sent_unaccepted:
        yield f"I3: {compared.sent_unaccepted} rows are sent and were not accepted"
    if compared.accepted_without_row or compared.accepted_and_denied:
        yield (
            f"I4: of the devices that accepted {compared.accepted_without_row} have no row and "
            f"{compared.accepted_and_denied} one that is neither sent nor unknown"
        )
    if compared.repeated_unflagged:
        yield (
            f"I5: {compared.repeated_unflagged} of {compared.repeated} devices that accepted more "
            "than once are not flagged"
        )
    if compared.repeated > facts.repeats:
        yield f"I6: {compared.repeated} devices accepted more than once, over {facts.repeats}"


def _lateness(account: Account, facts: Facts) -> Iterable[str]:
    if facts.stopped_at is None or account.last_accepted_at is None:
        return
    late = account.last_accepted_at - facts.stopped_at
    if late > GRACE:
        yield f"I7: the last acceptance came {late.total_seconds():.1f} s after the end"


def _deactivation_violations(compared: Comparison) -> Iterable[str]:
    if compared.wrongly_deactivated or compared.wrongly_active:
        yield (
            f"I8: {compared.wrongly_deactivated} living devices were deactivated and "
            f"{compared.wrongly_active} dead ones were not"
        )


def _counter_violations(
    balance: Balance, compared: Comparison, stats: CampaignStats
) -> Iterable[str]:
    counted: Mapping[str, tuple[object, object]] = {
        "audience": (stats.audience or 0, balance.audience),
        "pending": (stats.pending, balance.audience - balance.rows),
        "sent": (stats.sent, compared.sent),
        "failed": (stats.failed, compared.failed),
        "skipped": (stats.skipped, compared.skipped),
        "unknown": (stats.unknown, compared.unknown),
        "possible duplicates": (stats.possible_duplicates, compared.possible_duplicates),
        "skipped for a reason": (stats.skipped_by, compared.skipped_by),
    }
    for name, (shown, held) in counted.items():
        if shown != held:
            yield f"I9: the API shows {shown} {name} where the ledger holds {held}"


def _budget_violations(balance: Balance, account: Account, facts: Facts) -> Iterable[str]:
    most = int(balance.audience * (1 + facts.retry_budget))
    if account.requests > most:
        yield f"I10: {account.requests} requests were made for {balance.audience}, over {most}"
