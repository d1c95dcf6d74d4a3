"""Three accounts of one campaign laid side by side: the seed's, Fanfare's, and the providers'."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Self, TypeAlias

import httpx
import orjson
from pydantic import BaseModel

from fanfare.dev.api_client import Campaign
from fanfare.dev.processes import StackProblem
from fanfare.dev.seed import Fate, SeedToken
from fanfare.models import ProviderName

Device: TypeAlias = tuple[ProviderName, str]

PROVIDERS = {ProviderName.APNS: "APNs", ProviderName.FCM: "FCM"}

# How many tokens a discrepancy names, and how much of each.
NAMED = 3
SHOWN_LETTERS = 12


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to become of a campaign to these devices, by their fates."""

    devices: Mapping[Device, Fate]

    @classmethod
    def of(cls, tokens: Sequence[SeedToken], *, without: Set[Device]) -> Self:
        """An audience of these tokens, without those devices."""
        fates = {(token.provider, token.token): token.fate for token in tokens}
        return cls({device: fate for device, fate in fates.items() if device not in without})

    @property
    def accepted(self) -> Set[Device]:
        return {device for device, fate in self.devices.items() if fate is not Fate.DEAD}

    @property
    def dead(self) -> Set[Device]:
        return self.devices.keys() - self.accepted

    @property
    def throttled(self) -> int:
        return sum(fate is Fate.THROTTLED for fate in self.devices.values())


class ProviderStats(BaseModel):
    """The simulator's counts of one notification. `rejected` counts answers, under words such as
    "apns 410 Unregistered"; `duplicates` are devices that accepted it more than once."""

    accepted: int
    duplicates: int
    rejected: dict[str, int]

    def rejected_with(self, *statuses: int) -> int:
        """How many answers had one of these HTTP statuses."""
        wanted = {str(status) for status in statuses}
        return sum(count for word, count in self.rejected.items() if word.split()[1] in wanted)


@dataclass(frozen=True, slots=True)
class ProvidersAccount:
    """What the providers did with one notification, and how often each device took it."""

    stats: ProviderStats
    taken: Mapping[Device, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One count by three sources; None where a source does not keep it."""

    name: str
    seed: int
    fanfare: int | None
    providers: int | None

    @property
    def agrees(self) -> bool:
        return {self.fanfare, self.providers} <= {self.seed, None}


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The counts, and every sentence that says what differs. None differ where all is well."""

    rows: Sequence[Row]
    discrepancies: Sequence[str]


def reconcile(
    expected: Expected, campaign: Campaign, providers: ProvidersAccount
) -> Reconciliation:
    """Lay the three accounts side by side, count by count and device by device."""
    rows = _rows(expected, campaign, providers)
    return Reconciliation(
        rows,
        [
            *_status_differences(campaign),
            *(_row_difference(row) for row in rows if not row.agrees),
            *_sum_differences(campaign),
            *_device_differences(expected.accepted, providers.taken),
        ],
    )


def read_account(simulator_url: str, notification: str) -> ProvidersAccount:
    """What the simulator's ledger holds under a notification's collapse id.

    Raises StackProblem where it does not answer.
    """
    query = {"collapse_id": notification}
    try:
        with httpx.Client(base_url=simulator_url, params=query, trust_env=False) as http:
            stats = http.get("/ledger/stats").raise_for_status().json()
            lines = http.get("/ledger/tokens").raise_for_status().content.splitlines()
    except httpx.HTTPError as error:
        raise StackProblem(f"The simulator's ledger cannot be read: {error!r}") from error
    entries = [orjson.loads(line) for line in lines]
    taken = {
        (ProviderName(entry["provider"]), entry["token"]): entry["accepted"] for entry in entries
    }
    return ProvidersAccount(ProviderStats.model_validate(stats), taken)


def _rows(expected: Expected, campaign: Campaign, providers: ProvidersAccount) -> Sequence[Row]:
    stats, theirs = campaign.stats, providers.stats
    gone = theirs.rejected_with(404, 410)
    return [
        Row("audience", len(expected.devices), stats.audience or 0, None),
        *(_accepted_by(provider, expected, providers) for provider in ProviderName),
        Row("sent", len(expected.accepted), stats.sent, theirs.accepted),
        Row("failed: device is gone", len(expected.dead), stats.failed, gone),
        Row("throttled, then sent", expected.throttled, None, theirs.rejected_with(429)),
        Row("sent twice", 0, stats.possible_duplicates, theirs.duplicates),
        Row("skipped", 0, stats.skipped, None),
        Row("unknown", 0, stats.unknown, None),
        Row("pending", 0, stats.pending, None),
    ]


def _accepted_by(provider: ProviderName, expected: Expected, providers: ProvidersAccount) -> Row:
    ours = sum(name is provider for name, _ in expected.accepted)
    theirs = sum(count for (name, _), count in providers.taken.items() if name is provider)
    return Row(f"accepted by {PROVIDERS[provider]}", ours, None, theirs)


def _status_differences(campaign: Campaign) -> Sequence[str]:
    if campaign.status == "sent":
        return []
    why = f" ({campaign.failure.code}: {campaign.failure.message})" if campaign.failure else ""
    return [f"the campaign should be sent, and is {campaign.status}{why}"]


def _row_difference(row: Row) -> str:
    counted = [("Fanfare", row.fanfare), ("the providers", row.providers)]
    differing = [f"{who} counted {n:,}" for who, n in counted if n not in {row.seed, None}]
    return f"{row.name}: expected {row.seed:,}, {' and '.join(differing)}"


def _sum_differences(campaign: Campaign) -> Sequence[str]:
    stats = campaign.stats
    total = stats.pending + stats.sent + stats.failed + stats.skipped + stats.unknown
    if total == (stats.audience or 0):
        return []
    return [f"the parts of the audience add up to {total:,}, and it has {stats.audience}"]


def _device_differences(expected: Set[Device], taken: Mapping[Device, int]) -> Sequence[str]:
    kinds = {
        "never reached its provider": expected - taken.keys(),
        "was accepted and should not have been asked": taken.keys() - expected,
        "was accepted more than once": {device for device, times in taken.items() if times > 1},
    }
    return [_devices_difference(what, devices) for what, devices in kinds.items() if devices]


def _devices_difference(what: str, devices: Set[Device]) -> str:
    named = [f"{provider} {token[:SHOWN_LETTERS]}..." for provider, token in sorted(devices)]
    more = ", ..." if len(named) > NAMED else ""
    return f"{len(devices):,} x a message {what}: {', '.join(named[:NAMED])}{more}"
