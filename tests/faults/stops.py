"""Stops: what is seen of a campaign that an operator pauses or cancels, and what must hold of it.

From the answer on at most `in_flight_at_most` more messages are accepted; once nothing is in
flight, none at all, until it is resumed. The providers' own account says when each was accepted.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from uuid import UUID

from fanfare.dev.api_client import ApiClient, ApiRefused, Campaign
from tests.faults.oracle import Facts
from tests.faults.staging import Staged

# The most who flutter at once.
FLUTTERS = 4

# Stops a campaign, and returns the answer.
Control = Callable[[ApiClient, UUID], Campaign]


@dataclass(frozen=True, slots=True)
class Stop:
    """What was seen of one stop. `seen`: the campaign as it was answered, and at every look since.

    All moments are epoch seconds by the clock of this machine, which is the simulator's as well:
    `asked_at` before the stop, `answered_at` after it, `still_at` after a look that showed nothing
    in flight, `ended_at` after the last look.
    """

    asked_at: float
    answered_at: float
    still_at: float
    ended_at: float
    seen: Sequence[Campaign]
    unbalanced: Sequence[str]

    @property
    def bound(self) -> int | None:
        """How many more might be accepted, by the answer."""
        return self.seen[0].in_flight_at_most

    def violations(self, accepted_at: Sequence[float]) -> Sequence[str]:
        """What does not hold of it, by when each message was accepted, the first one first."""
        return [
            *self.unbalanced,
            *self._late_acceptances(accepted_at),
            *self._odd_answers(),
            *sums(self.seen),
        ]

    def _late_acceptances(self, accepted_at: Sequence[float]) -> Iterator[str]:
        answered, still, ended = (
            bisect_right(accepted_at, moment)
            for moment in (self.answered_at, self.still_at, self.ended_at)
        )
        if self.bound is None or ended - answered > self.bound:
            yield f"stop: {ended - answered} were accepted after the answer, over {self.bound}"
        if ended > still:
            yield f"stop: {ended - still} were accepted when nothing was in flight"

    def _odd_answers(self) -> Iterator[str]:
        bounds = [look.in_flight_at_most or 0 for look in self.seen]
        if any(later > earlier for earlier, later in pairwise(bounds)):
            yield f"stop: what is in flight grew: {bounds}"
        # Of what has no message left, the last outcomes make it `sent`, paused or not.
        stopped = {(look.status, look.paused_at) for look in self.seen if look.status != "sent"}
        if len(stopped) > 1:
            yield "stop: it did not stay as it was answered"


def sums(seen: Sequence[Campaign]) -> Iterator[str]:
    """Looks at which the counters do not add up, or went back since the look before."""
    for stats in (look.stats for look in seen):
        final = stats.sent + stats.failed + stats.skipped + stats.unknown
        if (stats.audience or 0) != stats.pending + final:
            yield f"sum: {stats}"
    for earlier, later in pairwise(look.stats for look in seen):
        if earlier.sent > later.sent or earlier.skipped > later.skipped:
            yield f"sum: {later} after {earlier}"


@dataclass(frozen=True)
class Run:
    """A campaign that has ended, with all its stops."""

    staged: Staged
    stops: Sequence[Stop]
    ended: Campaign

    def violations(self, facts: Facts) -> Sequence[str]:
        """What does not hold of the whole, or of a stop."""
        accepted_at = self.staged.accepted_at()
        broken = [said for each in self.stops for said in each.violations(accepted_at)]
        return [*broken, *self.staged.violations(facts)]

    def bounds(self) -> Sequence[int]:
        """How many more might be accepted, by the answer to each stop."""
        return [each.seen[0].in_flight_at_most or 0 for each in self.stops]

    def cancelled_at(self, facts: Facts) -> Facts:
        """The facts, with its last stop as its end."""
        return replace(facts, stopped_at=datetime.fromtimestamp(self.stops[-1].answered_at, UTC))


@dataclass(slots=True)
class _Watch:
    """Looks at a stopped campaign, again and again."""

    api: ApiClient
    campaign_id: UUID
    seen: list[Campaign] = field(default_factory=list)
    looks: int = 0

    def is_still(self) -> bool:
        """Whether nothing is in flight."""
        self.seen.append(self.api.campaign(self.campaign_id))
        return not self.seen[-1].in_flight_at_most

    def has_lasted(self) -> bool:
        """Whether it was looked at so often as it was to be, after that."""
        self.seen.append(self.api.campaign(self.campaign_id))
        self.looks -= 1
        return self.looks <= 0


def stop(staged: Staged, control: Control, *, looks: int) -> Stop:
    """Pause or cancel, wait until nothing is in flight, and look so often after that. Blocks."""
    simulator = staged.stage.stack.simulator
    with staged.api() as api:
        asked_at = time.time()
        answer = control(api, staged.id)
        answered_at = time.time()
        watch = _Watch(api, staged.id, [answer], looks)
        unbalanced = staged.violations_meanwhile()
        simulator.wait_until(watch.is_still)
        still_at = time.time()
        unbalanced = [*unbalanced, *staged.violations_meanwhile()]
        simulator.wait_until(watch.has_lasted)
        ended_at = time.time()
    return Stop(asked_at, answered_at, still_at, ended_at, watch.seen, unbalanced)


def flutter(staged: Staged, times: int) -> None:
    """Have so many operators pause and resume it at once, and resume it at last. Blocks."""
    controls = [ApiClient.pause_campaign, ApiClient.resume_campaign] * times
    with staged.api() as api, ThreadPoolExecutor(2 * FLUTTERS) as operators:
        list(operators.map(lambda control: _unless_sent(api, staged.id, control), controls))
        _unless_sent(api, staged.id, ApiClient.resume_campaign)


def _unless_sent(api: ApiClient, campaign_id: UUID, control: Control) -> None:
    """It may have been sent between two of them."""
    try:
        control(api, campaign_id)
    except ApiRefused as refused:
        if "The campaign is sent" not in str(refused):
            raise


async def reaches(staged: Staged, moment: int) -> None:
    """Return when the providers have accepted so many."""
    await staged.stage.until(lambda: staged.accepted() >= moment)


async def resume(staged: Staged) -> None:
    with staged.api() as api:
        await staged.stage.do(partial(api.resume_campaign, staged.id))
