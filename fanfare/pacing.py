"""When messages may go out and how many at once: the rate, the breaker, the window.

No I/O and no clock: `now` is passed in, and whoever keeps a state says where. The rate is one per
credential, shared by all workers; breaker and window are one per credential and process.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import repeat

from fanfare.entities import Limits

MINUTE = timedelta(minutes=1)

# A rate that was not used for so long rises anew. Google counts by the minute.
IDLE = MINUTE
# Where the ramp begins, as a share of the rate: Google asks to go "from 0 to maximum over 60 s".
RAMP_FLOOR = 0.05
# After a throttle: this much of the full rate is won back a minute, and no less than this is left.
RECOVERY = 0.10
LEAST_FACTOR = 1 / 32
# What goes out at one moment counts whole in the minute that it ends: 1 % of the limit, so that
# another one is left for callers that are late.
PORTION = 100

# How long a worker may use what it reserved: less than the hundredth of a minute that is left.
STOCK_KEEPS = timedelta(seconds=0.25)
# A worker reserves what it uses in an eighth of a second: a reservation costs a transaction.
STOCKS_PER_MINUTE = 480

# The provider breaker: of the last so many, and at least a canary's, more than half are trouble.
OUTCOMES_WATCHED = 200
OUTCOMES_NEEDED = 20
# Longer than a request's deadline of 15 s: what is answered in half-open was asked in half-open.
OPEN_FOR = timedelta(seconds=30)
HALF_OPEN_STAGES = (1, 10, 100)

FIRST_WINDOW = 400
LEAST_WINDOW = 10
# Growth from nothing to `max_in_flight` takes so many round trips.
WINDOW_STEPS = 20
# Some messages always meet trouble, and a connection that ends takes a few with it: only a larger
# share of a round trip's answers than this, and more than a few, say that there are too many.
TOLERATED_SHARE = 0.10
TOLERATED_FEW = 3
# Who asks for room gets an eighth of the window or waits: a claim of one token costs as much as
# one of a hundred.
LEAST_ROOM = 8


@dataclass(frozen=True, slots=True)
class RateState:
    """What all callers of one credential's rate share.

    `next_at`: before it nothing more may go. `ramp_from`: since when the rate rises. `factor`: the
    share of the rate that the last throttle left, at `held_until`; before that nothing goes at all.
    """

    next_at: datetime
    ramp_from: datetime
    factor: float
    held_until: datetime


def begin(now: datetime) -> RateState:
    """The state of a rate that nobody used yet."""
    return RateState(next_at=now, ramp_from=now, factor=1.0, held_until=now)


def most_at_once(limits: Limits) -> int:
    """How many messages `admit` may be asked for in one go. Needs a rate."""
    assert limits.messages_per_minute is not None
    return 1 + limits.messages_per_minute // PORTION


def admit(
    state: RateState, limits: Limits, now: datetime, count: int
) -> tuple[RateState, datetime]:
    """Reserve `count` messages: the state after it, and the moment from which they may go.

    Virtual scheduling (GCRA, ITU-T I.371, without a burst): each reservation takes the time that
    its messages need at the rate of the moment. By those moments no minute has more than 1.01
    times the limit, however many callers share the state, as long as none asks for more than
    `most_at_once`. A reservation that is not used is lost. The wait always ends: the next one can
    begin at the latest `count` messages at the full rate after ramp and recovery are over.
    """
    if limits.messages_per_minute is None:
        return state, max(now, state.held_until)
    start = max(now, state.next_at, state.held_until)
    if start - state.next_at > IDLE:
        state = replace(state, ramp_from=start)
    return replace(state, next_at=start + _time_for(state, limits, start, count)), start


def hold(state: RateState, now: datetime, until: datetime, *, halve: bool) -> RateState:
    """The state after a throttle: nothing goes before `until`, and then half of what went.

    Of several holds the longest stands; one that comes while another does is the same throttle,
    seen by a message that was on the wire, and does not halve once more.
    """
    is_held = now < state.held_until
    factor = _factor(state, max(now, state.held_until))
    if halve and not is_held:
        factor = max(factor / 2, LEAST_FACTOR)
    return replace(state, factor=factor, held_until=max(until, state.held_until))


def _time_for(state: RateState, limits: Limits, start: datetime, count: int) -> timedelta:
    assert limits.messages_per_minute is not None
    # Rounded up: a microsecond that is lost a thousand times would be over the limit.
    at_full = timedelta(microseconds=-(-count * 60_000_000 // limits.messages_per_minute))
    ramp = timedelta(seconds=limits.ramp_seconds)
    now_possible = _ramped(state, ramp, start) * _factor(state, start)
    recovered_at = state.held_until + (1 - state.factor) / RECOVERY * MINUTE
    full_from = max(start, state.ramp_from + ramp, recovered_at)
    return min(at_full / now_possible, full_from - start + at_full)


def _ramped(state: RateState, ramp: timedelta, at: datetime) -> float:
    passed = max(at - state.ramp_from, timedelta(0))
    return 1.0 if passed >= ramp else RAMP_FLOOR + (1 - RAMP_FLOOR) * (passed / ramp)


def _factor(state: RateState, at: datetime) -> float:
    return min(1.0, state.factor + RECOVERY * ((at - state.held_until) / MINUTE))


@dataclass(slots=True)
class Stock:
    """What a worker has reserved of a shared rate and not used yet.

    It is for as long as STOCK_KEEPS; the next one is twice as large where all was used, and
    smaller by what was left over where it was not, since that was lost to the others.
    """

    limits: Limits
    left: int = 0
    size: int = 0
    good_until: datetime | None = None

    def room(self, now: datetime) -> int:
        """How many may go out now."""
        return self.left if self.good_until is not None and now < self.good_until else 0

    def enter(self, count: int) -> None:
        """Note that `count` go out."""
        self.left -= count

    def order(self, wanted: int) -> int:
        """How many to reserve next, where `wanted` could go out at once. At least 1."""
        assert self.limits.messages_per_minute is not None
        usual = self.size - self.left if self.left else 2 * self.size
        usual = min(usual, self.limits.messages_per_minute // STOCKS_PER_MINUTE)
        # Whole helpings: what is over would go out as a claim of a few.
        return min(max(usual // wanted, 1) * wanted, most_at_once(self.limits))

    def fill(self, count: int, now: datetime) -> None:
        """Note that `count` were reserved, in the place of what was left, and may go now."""
        self.left = self.size = count
        self.good_until = now + STOCK_KEEPS


@dataclass(slots=True)
class Breaker:
    """Stops asking a provider that is in trouble, then tries with 1, 10 and 100 messages.

    Closed, `stage` is None and all may pass. What enters comes back exactly once: by `note` with
    an outcome, or by `leave` without one.
    """

    open_until: datetime | None = None
    stage: int | None = None
    left: int = 0
    good: int = 0
    bad: int = 0
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=OUTCOMES_WATCHED))

    def room(self, now: datetime, wanted: int) -> int:
        """How many of `wanted` may be asked for now; 0 while open and while a trial is out."""
        if self.open_until is not None:
            if now < self.open_until:
                return 0
            self.open_until = None
            self._try(0)
        return wanted if self.stage is None else min(wanted, self.left)

    def enter(self, count: int) -> None:
        """Note that `count` go out; no more than there was room for."""
        if self.stage is not None:
            self.left -= count

    def leave(self, count: int) -> None:
        """Note that `count` came back without an outcome: they were not tried."""
        if self.stage is not None and self.open_until is None:
            self.left = min(self.left + count, HALF_OPEN_STAGES[self.stage] - self.good - self.bad)

    @property
    def is_closed(self) -> bool:
        """Whether all may pass."""
        return self.open_until is None and self.stage is None

    def open(self, until: datetime) -> None:
        """Let nothing pass before that moment, and then a few."""
        self.open_until = until
        self.recent.clear()

    def note(self, now: datetime, *, good: int, trouble: int) -> None:
        """Learn from outcomes. Those of before the opening say nothing new while it is open."""
        if self.open_until is not None:
            return
        if self.stage is not None:
            self._judge(now, self.stage, good, trouble)
            return
        self.recent.extend(repeat(True, min(trouble, OUTCOMES_WATCHED)))
        self.recent.extend(repeat(False, min(good, OUTCOMES_WATCHED)))
        is_enough = len(self.recent) >= OUTCOMES_NEEDED
        if trouble and is_enough and sum(self.recent) > len(self.recent) / 2:
            self.open(now + OPEN_FOR)

    def _judge(self, now: datetime, stage: int, good: int, trouble: int) -> None:
        # As when it is closed, some trouble is always there: a trial without any may never come.
        self.good, self.bad = self.good + good, self.bad + trouble
        if self.bad > HALF_OPEN_STAGES[stage] / 2:
            return self.open(now + OPEN_FOR)
        if self.good + self.bad < HALF_OPEN_STAGES[stage]:
            return None
        if stage + 1 < len(HALF_OPEN_STAGES):
            return self._try(stage + 1)
        self.stage = None
        return None

    def _try(self, stage: int) -> None:
        self.stage, self.left, self.good, self.bad = stage, HALF_OPEN_STAGES[stage], 0, 0


@dataclass(slots=True)
class Window:
    """How many messages may be in flight: more while all goes well, half where it does not (AIMD).

    It changes at most once per round trip, which is counted in answers: the round ends when as
    many have come as were in flight at its beginning. It grows only where someone wanted more.
    Always between LEAST_WINDOW, or `most` where that is less, and `most`.
    """

    most: int
    size: int = field(init=False)
    in_flight: int = 0
    round_left: int = 0
    trouble: int = 0
    tolerated: float = 0
    halved: bool = False
    pinched: bool = False

    def __post_init__(self) -> None:
        self.size = min(FIRST_WINDOW, self.most)

    def room(self, wanted: int) -> int:
        """How many of `wanted` there is room for; 0 where it is too little to be worth a claim."""
        free = self.size - self.in_flight
        if free < wanted:
            self.pinched = True
        return min(free, wanted) if free >= min(wanted, max(1, self.size // LEAST_ROOM)) else 0

    def enter(self, count: int) -> None:
        """Note that `count` go out."""
        self.in_flight += count

    def leave(self, count: int) -> None:
        """Note that `count` came back without an outcome."""
        self.in_flight -= count

    def note(self, *, good: int, trouble: int) -> None:
        """Learn from outcomes, which leave the window."""
        if self.round_left <= 0:
            self._begin_round()
        self.in_flight -= good + trouble
        self.round_left -= good + trouble
        self.trouble += trouble
        if self.trouble > self.tolerated and not self.halved:
            self.halve()
        if self.round_left <= 0:
            self._end_round()

    def halve(self) -> None:
        """Halve it, unless this round trip has done so."""
        if self.halved and self.round_left > 0:
            return
        self.size = max(self.size // 2, min(LEAST_WINDOW, self.most))
        self._begin_round()
        self.halved = True

    def _begin_round(self) -> None:
        self.round_left, self.trouble, self.halved = self.in_flight, 0, False
        self.tolerated = max(TOLERATED_SHARE * self.in_flight, TOLERATED_FEW)

    def _end_round(self) -> None:
        if self.pinched and not self.halved:
            self.size = min(self.size + max(1, self.most // WINDOW_STEPS), self.most)
        self.pinched = False
