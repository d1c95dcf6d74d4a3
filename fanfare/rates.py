"""The rates of a campaign and of its project: when their messages may go, and how many.

No I/O and no clock: `now` is passed in. Each rate is one state that all workers share
(`pacing.RateState`); what is reserved of both goes at one moment, so that both hold at the wire.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from fanfare import pacing
from fanfare.entities import Limits
from fanfare.pacing import RateState

# A higher rate than this, in messages per minute, rises to it over so many seconds.
RAMPED_ABOVE = 5_000
RAMP_SECONDS = 60

# Slower than the limit by this: what reaches the provider up to 0.6 s late makes no minute too
# full, not even one of a few messages, where a single one more would be many per cent.
STRETCH = 1.01

# What goes at one moment is at most what the rate of the moment gives in so long: a second is as
# full as the next one, and a worker that is late with it adds a 480th of a minute.
PORTION = timedelta(seconds=0.125)

# Nothing is reserved further ahead, so that a change of the limit is felt soon.
HORIZON = timedelta(seconds=0.5)
# By so much do workers' clocks differ at most, where one reads what another wrote.
CLOCK_SKEW = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Messages per minute of a campaign and of its whole project; None for no limit."""

    campaign: int | None
    project: int | None

    @property
    def least(self) -> int | None:
        """The one that binds first, None where neither is set."""
        return min((n for n in (self.campaign, self.project) if n is not None), default=None)


class Rate(NamedTuple):
    """A limit, and where all its callers stand."""

    limits: Limits
    state: RateState


@dataclass(frozen=True, slots=True)
class Reservation:
    """So many may go from `at` on. Where it is 0, nothing is reserved: ask again then."""

    count: int
    at: datetime


def limits_of(messages_per_minute: int) -> Limits:
    """The limit with the ramp that its height asks for. In flight it bounds nothing."""
    ramp = RAMP_SECONDS if messages_per_minute > RAMPED_ABOVE else 0
    return Limits(messages_per_minute, ramp)


def reserve(
    rates: Sequence[Rate], now: datetime, wanted: int
) -> tuple[Sequence[RateState], Reservation]:
    """Reserve up to `wanted` messages of one or two rates, the campaign's before the project's.

    Returns the states after it, in their order. The count is positive where the moment is within
    HORIZON. No one waits in the project's queue before the campaign's own moment has come: what
    lies between would be lost to the other campaigns.
    """
    rates = [Rate(limits, _plausible(limits, state, now)) for limits, state in rates]
    *before, last = [max(now, state.next_at, state.held_until) for _, state in rates]
    states = [state for _, state in rates]
    if before and before[0] > last:
        return states, Reservation(0, before[0])
    if last - now > HORIZON:
        return states, Reservation(0, last - HORIZON)
    count = min(wanted, *(_portion(rate, last) for rate in rates))
    return [_after(rate, last, count) for rate in rates], Reservation(count, last)


def _after(rate: Rate, at: datetime, count: int) -> RateState:
    state, start = pacing.admit(rate.state, rate.limits, at, count)
    return replace(state, next_at=start + (state.next_at - start) * STRETCH)


def _portion(rate: Rate, at: datetime) -> int:
    return max(1, PORTION // (_after(rate, at, 1).next_at - at))


def _plausible(limits: Limits, state: RateState, now: datetime) -> RateState:
    """The state; where its queue is longer than this limit ever makes it, without the queue.

    That was a lower limit's: at one message a minute, the next one would wait for a minute.
    """
    one = _after(Rate(limits, replace(state, next_at=now)), now, 1).next_at - now
    longest = HORIZON + max(PORTION, one) + CLOCK_SKEW
    return state if state.next_at - now <= longest else replace(state, next_at=now)
