"""What the providers accepted, and what they were asked: the oracle of every fault test.

Columns of plain values rather than an object per acceptance, so that a million of them stay
around 300 MB and out of the garbage collector's way.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from fanfare.dev.simulator.exchange import Endpoint
from fanfare.models import Environment


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all acceptances of one notification share. `expiration` is as the sender wrote it:
    epoch seconds for APNs, a time to live such as "86400s" for FCM.
    """

    provider: Endpoint
    environment: Environment
    collapse_id: str
    topic: str
    expiration: str
    title: str
    body: str
    data: Mapping[str, object]


class Acceptance(NamedTuple):
    """One message that a provider said yes to. `sequence` grows by one with each, from 1."""

    sequence: int
    token: str
    message_id: str
    accepted_at: datetime
    envelope: Envelope


@dataclass(slots=True)
class Tally:
    """The counts of one provider and collapse id. `tokens` holds how often each was accepted."""

    requests: int = 0
    accepted: int = 0
    duplicates: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    last_accepted_at: float = 0.0

    def accept(self, token: str, at: float) -> None:
        self.requests += 1
        self.accepted += 1
        self.last_accepted_at = at
        times = self.tokens.get(token, 0) + 1
        self.tokens[token] = times
        if times == 2:
            self.duplicates += 1


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over tallies. `duplicates` counts tokens that were accepted more than once."""

    requests: int
    accepted: int
    tokens: int
    duplicates: int
    rejected: Mapping[str, int]
    unanswered: Mapping[str, int]
    last_accepted_at: datetime | None


class Ledger:
    """Records every acceptance and counts every request. One event loop only, no locks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.clear()

    def __len__(self) -> int:
        return len(self._tokens)

    def clear(self) -> None:
        self._tokens: list[str] = []
        self._message_ids: list[bytes] = []
        self._envelopes: list[Envelope] = []
        self._times = array("d")
        self._tallies: dict[Endpoint, dict[str, Tally]] = {endpoint: {} for endpoint in Endpoint}

    def accept(self, envelope: Envelope, token: str, message_id: bytes) -> None:
        """Record an acceptance. The id is ASCII."""
        now = self._clock()
        self._tokens.append(token)
        self._message_ids.append(message_id)
        self._envelopes.append(envelope)
        self._times.append(now)
        tally = self._tallies[envelope.provider].get(envelope.collapse_id)
        if tally is None:
            tally = self._tally(envelope.provider, envelope.collapse_id)
        tally.accept(token, now)

    def reject(self, endpoint: Endpoint, collapse_id: str, status: int, reason: str) -> None:
        """Count a request that was refused, under for example "apns 410 Unregistered"."""
        tally = self._tally(endpoint, collapse_id)
        tally.requests += 1
        tally.rejected[f"{endpoint} {status} {reason}".rstrip()] += 1

    def leave_unanswered(self, endpoint: Endpoint, collapse_id: str, action: str) -> None:
        """Count a request that was neither accepted nor answered, under what was done instead."""
        tally = self._tally(endpoint, collapse_id)
        tally.requests += 1
        tally.unanswered[f"{endpoint} {action}"] += 1

    def count(self, endpoint: Endpoint, collapse_id: str = "") -> None:
        """Count a request that was answered and left nothing to record (OAuth, a dry run)."""
        self._tally(endpoint, collapse_id).requests += 1

    def acceptances(
        self,
        *,
        provider: Endpoint | None = None,
        collapse_id: str | None = None,
        token: str | None = None,
        after: int = 0,
    ) -> Iterator[Acceptance]:
        """Yield what was accepted, oldest first, from the sequence number behind `after`.

        A filter costs a scan of what lies behind `after`.
        """
        for index in range(after, len(self._tokens)):
            envelope = self._envelopes[index]
            if (
                (token is None or self._tokens[index] == token)
                and (collapse_id is None or envelope.collapse_id == collapse_id)
                and (provider is None or envelope.provider is provider)
            ):
                yield self._acceptance(index)

    def latest(self, count: int) -> list[Acceptance]:
        """The newest acceptances, newest first."""
        return [self._acceptance(i) for i in islice(reversed(range(len(self))), count)]

    def totals(self, *, provider: Endpoint | None = None, collapse_id: str | None = None) -> Totals:
        """Sums for a provider and a collapse id, each None for all."""
        tallies = [tally for _, _, tally in self.tallies(provider, collapse_id)]
        last = max((tally.last_accepted_at for tally in tallies), default=0.0)
        return Totals(
            requests=sum(tally.requests for tally in tallies),
            accepted=sum(tally.accepted for tally in tallies),
            tokens=sum(len(tally.tokens) for tally in tallies),
            duplicates=sum(tally.duplicates for tally in tallies),
            rejected=dict(sum((tally.rejected for tally in tallies), Counter[str]())),
            unanswered=dict(sum((tally.unanswered for tally in tallies), Counter[str]())),
            last_accepted_at=datetime.fromtimestamp(last, UTC) if last else None,
        )

    def tallies(
        self, provider: Endpoint | None = None, collapse_id: str | None = None
    ) -> Iterator[tuple[Endpoint, str, Tally]]:
        for endpoint, by_collapse_id in self._tallies.items():
            if provider is None or endpoint is provider:
                keys = (
                    by_collapse_id if collapse_id is None else by_collapse_id.keys() & {collapse_id}
                )
                for key in keys:
                    yield endpoint, key, by_collapse_id[key]

    def _tally(self, endpoint: Endpoint, collapse_id: str) -> Tally:
        tallies = self._tallies[endpoint]
        tally = tallies.get(collapse_id)
        if tally is None:
            tally = tallies[collapse_id] = Tally()
        return tally

    def _acceptance(self, index: int) -> Acceptance:
        return Acceptance(
            sequence=index + 1,
            token=self._tokens[index],
            message_id=self._message_ids[index].decode(),
            accepted_at=datetime.fromtimestamp(self._times[index], UTC),
            envelope=self._envelopes[index],
        )
