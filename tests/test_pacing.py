"""Pacing: no interleaving of callers goes over the limit, and none waits for ever."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfare.entities import Limits
from fanfare.pacing import (
    HALF_OPEN_STAGES,
    LEAST_FACTOR,
    LEAST_WINDOW,
    OPEN_FOR,
    OUTCOMES_NEEDED,
    OUTCOMES_WATCHED,
    STOCK_KEEPS,
    Breaker,
    RateState,
    Stock,
    Window,
    admit,
    begin,
    hold,
    most_at_once,
)

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

# When messages were let go, and how many.
Admission = tuple[datetime, int]

rates = st.integers(1, 1_000_000)
moments = st.integers(0, 600_000_000).map(lambda micros: START + timedelta(microseconds=micros))
limits_with_rate = st.builds(
    Limits, messages_per_minute=rates, ramp_seconds=st.integers(0, 600), max_in_flight=st.just(1)
)
rate_states = st.builds(
    RateState,
    next_at=moments,
    ramp_from=moments,
    factor=st.floats(LEAST_FACTOR, 1),
    held_until=moments,
)


def greedy(state: RateState, limits: Limits, now: datetime, count: int) -> Iterator[Admission]:
    """A caller that asks again as soon as it may."""
    while True:
        state, now = admit(state, limits, now, count)
        yield now, count


def until(admissions: Iterable[Admission], end: datetime) -> Sequence[Admission]:
    found = []
    for moment, count in admissions:
        if moment >= end:
            break
        found.append((moment, count))
    return found


def total(admissions: Iterable[Admission], begin_at: datetime, end: datetime) -> int:
    return sum(count for moment, count in admissions if begin_at <= moment < end)


def fullest_minute(admissions: Sequence[Admission]) -> int:
    """The most in any minute; it is enough to look at those that begin with an admission."""
    return max(total(admissions, moment, moment + MINUTE) for moment, _ in admissions)


# What a caller does, again and again: who it is, how long it thinks in milliseconds, which share of
# the most that it may ask for it does ask for, and whether it was throttled before.
habits = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 1_000) | st.just(0),
        st.floats(0, 1) | st.just(1.0),
        st.integers(0, 99).map(lambda chance: chance == 0),
    ),
    min_size=1,
    max_size=20,
)


def interleave(limits: Limits, steps: Iterable[tuple[int, int, float, bool]]) -> list[Admission]:
    """Callers of one rate: each asks, waits until its messages may go, thinks, and asks again.

    They take their turns in any order, so that some have a clock that is behind.
    """
    free_at = dict.fromkeys(range(5), START)
    state, admissions = begin(START), []
    for caller, think, share, is_throttled in steps:
        now = free_at[caller] + timedelta(milliseconds=think)
        if is_throttled:
            state = hold(state, now, now + 7 * SECOND, halve=True)
        count = 1 + int(share * (most_at_once(limits) - 1))
        state, free_at[caller] = admit(state, limits, now, count)
        admissions.append((free_at[caller], count))
    return admissions


@given(limits=limits_with_rate, steps=habits)
def test_no_interleaving_of_callers_goes_over_the_limit(
    limits: Limits, steps: Sequence[tuple[int, int, float, bool]]
) -> None:
    admissions = interleave(limits, islice(cycle(steps), 200))

    assert limits.messages_per_minute is not None
    assert fullest_minute(admissions) <= 1.02 * limits.messages_per_minute


@given(state=rate_states, limits=limits_with_rate, now=moments, share=st.floats(0, 1))
def test_every_reservation_ends_in_finite_time(
    state: RateState, limits: Limits, now: datetime, share: float
) -> None:
    count = 1 + int(share * (most_at_once(limits) - 1))

    after, not_before = admit(state, limits, now, count)

    assert limits.messages_per_minute is not None
    at_full = count * MINUTE / limits.messages_per_minute
    longest = timedelta(seconds=limits.ramp_seconds) + 10 * MINUTE + at_full
    assert not_before == max(now, state.next_at, state.held_until)
    assert at_full - SECOND / 1_000 <= after.next_at - not_before <= longest + SECOND / 1_000


@given(rate=st.integers(60, 1_000_000))
def test_the_whole_rate_is_used_once_the_ramp_is_over(rate: int) -> None:
    limits = Limits(messages_per_minute=rate, ramp_seconds=0)

    found = until(
        greedy(begin(START), limits, START, count=most_at_once(limits)), START + 2 * MINUTE
    )

    assert total(found, START, START + 2 * MINUTE) >= 1.98 * rate


def test_rate_rises_in_a_line_and_reaches_its_limit_after_the_ramp() -> None:
    limits = Limits(messages_per_minute=60_000, ramp_seconds=60)

    found = until(greedy(begin(START), limits, START, count=50), START + 2 * MINUTE)

    seconds = [START + n * SECOND for n in range(0, 121, 10)]
    tens = [total(found, a, b) for a, b in pairwise(seconds)]
    # 10,000 in ten seconds at the full rate; 5 % and a line from there, in their middle.
    ideal = [10_000 * min(1, 0.05 + 0.95 * (n + 0.5) / 6) for n in range(12)]
    assert tens == pytest.approx(ideal, rel=0.1)


def test_rate_rises_anew_after_a_minute_of_silence_and_not_after_less() -> None:
    limits = Limits(messages_per_minute=60_000, ramp_seconds=60)
    warm = RateState(next_at=START, ramp_from=START - MINUTE, factor=1.0, held_until=START - MINUTE)

    soon, _ = admit(warm, limits, START + 59 * SECOND, 100)
    late, _ = admit(warm, limits, START + 61 * SECOND, 100)

    assert soon.next_at == START + 59.1 * SECOND
    assert late.next_at > START + 62 * SECOND


def test_without_a_limit_only_a_hold_says_when() -> None:
    limits = Limits(messages_per_minute=None)
    held = hold(begin(START), START, START + 7 * SECOND, halve=True)

    state, not_before = admit(held, limits, START, 1_000_000)

    assert (state, not_before) == (held, START + 7 * SECOND)


def test_throttle_stops_all_then_halves_the_rate_which_recovers_in_minutes() -> None:
    limits = Limits(messages_per_minute=60_000, ramp_seconds=0)
    until_then = START + 7 * SECOND
    held = hold(begin(START), START, until_then, halve=True)

    found = until(greedy(held, limits, START, count=50), until_then + 6 * MINUTE)

    by_minute = [
        total(found, until_then + n * MINUTE, until_then + (n + 1) * MINUTE) for n in range(6)
    ]
    assert found[0][0] == until_then
    # 50 % rising by 10 % a minute: the middle of each minute.
    assert by_minute == pytest.approx([33_000, 39_000, 45_000, 51_000, 57_000, 60_000], rel=0.01)


def test_the_longest_hold_wins_and_one_throttle_halves_once() -> None:
    first = hold(begin(START), START, START + 60 * SECOND, halve=True)
    shorter = hold(first, START + SECOND, START + 8 * SECOND, halve=True)
    longer = hold(first, START + SECOND, START + 90 * SECOND, halve=True)

    assert (shorter.factor, shorter.held_until) == (0.5, START + 60 * SECOND)
    assert (longer.factor, longer.held_until) == (0.5, START + 90 * SECOND)


def throttle_often(throttles: Iterable[tuple[int, int, bool]]) -> tuple[RateState, datetime]:
    """Seconds after the one before, so many seconds long, each. Returns when the last came."""
    state, now = begin(START), START
    for passed, asked, halve in throttles:
        now += passed * SECOND
        state = hold(state, now, now + asked * SECOND, halve=halve)
    return state, now


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 3_600), st.booleans()), max_size=50))
def test_no_number_of_throttles_stops_the_rate_for_good(
    throttles: Sequence[tuple[int, int, bool]],
) -> None:
    state, last_at = throttle_often(throttles)

    assert LEAST_FACTOR <= state.factor <= 1
    assert state.held_until <= last_at + timedelta(hours=1)


def use_stock(stock: Stock, uses: Sequence[int]) -> Sequence[int]:
    """Restock for helpings of 200, and use so many of each. Returns what was ordered."""
    orders = []
    for used in uses:
        orders.append(stock.order(200))
        stock.fill(orders[-1], START)
        stock.enter(min(used, orders[-1]))
    return orders


def test_worker_reserves_more_where_it_uses_all_and_less_where_it_does_not() -> None:
    stock = Stock(Limits(messages_per_minute=600_000))

    assert use_stock(stock, [5_000] * 5) == [200, 400, 800, 1_200, 1_200]
    assert use_stock(stock, [700, 200, 200]) == [1_200, 600, 200]


def test_what_was_reserved_is_for_now() -> None:
    stock = Stock(Limits(messages_per_minute=600_000))
    stock.fill(200, START)

    rooms = [stock.room(START), stock.room(START + STOCK_KEEPS)]

    assert rooms == [200, 0]


@given(limits=limits_with_rate, wanted=st.integers(1, 1_000), used=st.lists(st.integers(0, 10**6)))
def test_no_order_is_larger_than_what_may_go_at_once(
    limits: Limits, wanted: int, used: Sequence[int]
) -> None:
    stock = Stock(limits)

    orders = [*use_stock(stock, used), stock.order(wanted)]

    assert all(1 <= order <= most_at_once(limits) for order in orders)


def troubled(now: datetime = START) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker()
    breaker.note(now, good=0, trouble=OUTCOMES_WATCHED)
    return breaker


def pass_stages(breaker: Breaker, now: datetime, stages: Sequence[int]) -> Sequence[int]:
    """Ask for a thousand, stage by stage, all well. Returns what was allowed each time."""
    rooms = []
    for _ in stages:
        rooms.append(breaker.room(now, 1_000))
        breaker.enter(rooms[-1])
        breaker.note(now, good=rooms[-1], trouble=0)
    return rooms


@pytest.mark.parametrize(("trouble", "room"), [(100, 50), (101, 0)])
def test_breaker_opens_where_more_than_half_of_the_last_200_are_trouble(
    trouble: int, room: int
) -> None:
    breaker = Breaker()

    breaker.note(START, good=10_000, trouble=0)
    breaker.note(START, good=0, trouble=trouble)

    assert breaker.room(START, 50) == room


def test_breaker_tries_with_1_10_and_100_messages_before_it_closes() -> None:
    breaker = troubled()

    assert breaker.room(START + OPEN_FOR - SECOND / 1_000, 1_000) == 0
    assert pass_stages(breaker, START + OPEN_FOR, HALF_OPEN_STAGES) == [1, 10, 100]
    assert breaker.room(START + OPEN_FOR, 1_000) == 1_000


def test_breaker_that_has_closed_forgets_what_it_opened_for() -> None:
    breaker, later = troubled(), START + OPEN_FOR
    pass_stages(breaker, later, HALF_OPEN_STAGES)

    breaker.note(later, good=0, trouble=1)

    assert breaker.room(later, 1_000) == 1_000


@pytest.mark.parametrize(("passed", "trouble"), [(0, 1), (1, 6), (2, 51)])
def test_more_than_half_trouble_in_half_open_opens_it_again(passed: int, trouble: int) -> None:
    breaker, later = troubled(), START + OPEN_FOR
    pass_stages(breaker, later, HALF_OPEN_STAGES[:passed])

    breaker.enter(breaker.room(later, 1_000))
    breaker.note(later, good=0, trouble=trouble)

    assert breaker.room(later + OPEN_FOR - SECOND, 1_000) == 0
    assert breaker.room(later + OPEN_FOR, 1_000) == 1


def test_trouble_that_is_always_there_does_not_keep_it_open() -> None:
    breaker, later = troubled(), START + OPEN_FOR
    pass_stages(breaker, later, HALF_OPEN_STAGES[:1])

    breaker.enter(breaker.room(later, 1_000))
    breaker.note(later, good=9, trouble=1)
    breaker.enter(breaker.room(later, 1_000))
    breaker.note(later, good=95, trouble=5)

    assert breaker.is_closed


def test_a_canary_of_trouble_is_enough_to_open_it() -> None:
    breaker = Breaker()

    breaker.note(START, good=0, trouble=OUTCOMES_NEEDED - 1)
    before = breaker.room(START, 50)
    breaker.note(START, good=0, trouble=1)

    assert (before, breaker.room(START, 50)) == (50, 0)


def test_half_open_asks_no_more_until_it_knows_and_gives_unused_trials_back() -> None:
    breaker, later = troubled(), START + OPEN_FOR
    pass_stages(breaker, later, HALF_OPEN_STAGES[:1])

    breaker.enter(breaker.room(later, 4))
    breaker.enter(breaker.room(later, 1_000))
    asked_out = breaker.room(later, 1_000)
    breaker.leave(3)

    assert (asked_out, breaker.room(later, 1_000)) == (0, 3)


def test_answers_of_before_the_opening_do_not_count() -> None:
    breaker = troubled()

    breaker.note(START + SECOND, good=5_000, trouble=0)
    breaker.note(START + OPEN_FOR - SECOND, good=0, trouble=5_000)

    assert breaker.room(START + OPEN_FOR, 1_000) == 1


# What happens to a breaker or a window: seconds pass, so many go out, and of all that are out a
# share comes back: well, in trouble, or without having been sent.
happenings = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.integers(1, 300),
        st.sampled_from(["good", "trouble", "unsent"]),
        st.floats(0, 1),
    ),
    max_size=60,
)
Happenings = Sequence[tuple[int, int, str, float]]


def live_through(breaker: Breaker, events: Happenings) -> tuple[datetime, int]:
    """Returns when it is over, and how many are still out then."""
    now, out = START, 0
    for seconds, wanted, kind, share in events:
        now += seconds * SECOND
        room = breaker.room(now, wanted)
        breaker.enter(room)
        back = int(share * (out + room))
        out += room - back
        if kind == "unsent":
            breaker.leave(back)
        else:
            counts = {"good": 0, "trouble": 0, kind: back}
            breaker.note(now, good=counts["good"], trouble=counts["trouble"])
    return now, out


@given(events=happenings)
def test_breaker_lets_something_through_in_finite_time_whatever_happened(
    events: Happenings,
) -> None:
    breaker = Breaker()

    now, out = live_through(breaker, events)
    breaker.leave(out)

    assert breaker.room(now + OPEN_FOR, 1_000) >= 1


def use_window(window: Window, events: Happenings) -> Sequence[tuple[int, int]]:
    """Returns its size and what is in flight, after each event."""
    seen = []
    for _, wanted, kind, share in events:
        window.enter(window.room(wanted))
        back = int(share * window.in_flight)
        if kind == "unsent":
            window.leave(back)
        else:
            counts = {"good": 0, "trouble": 0, kind: back}
            window.note(good=counts["good"], trouble=counts["trouble"])
        seen.append((window.size, window.in_flight))
    return seen


@given(most=st.integers(1, 5_000), events=happenings)
def test_window_stays_within_its_bounds_and_never_closes(most: int, events: Happenings) -> None:
    window = Window(most)

    seen = use_window(window, events)
    window.leave(window.in_flight)

    assert all(min(LEAST_WINDOW, most) <= size <= most for size, _ in seen)
    assert all(0 <= in_flight <= most for _, in_flight in seen)
    assert window.room(1) == 1


def round_trips(window: Window, count: int, *, trouble_share: float = 0.0) -> Sequence[int]:
    """Fill it and have all answered, so many times. Returns its size after each."""
    sizes = []
    for _ in repeat(None, count):
        window.enter(window.room(window.most))
        trouble = int(trouble_share * window.in_flight)
        window.note(good=window.in_flight - trouble, trouble=trouble)
        sizes.append(window.size)
    return sizes


def test_window_grows_step_by_step_up_to_what_is_allowed_and_no_further() -> None:
    assert round_trips(Window(2_000), 20)[:3] == [500, 600, 700]
    assert round_trips(Window(2_000), 20)[-3:] == [2_000, 2_000, 2_000]


def test_window_that_nobody_fills_does_not_grow() -> None:
    window = Window(2_000)

    use_window(window, [(0, 10, "good", 1.0)] * 100)

    assert window.size == 400


def test_window_bears_some_trouble() -> None:
    assert round_trips(Window(2_000), 20, trouble_share=0.05)[-1] == 2_000


def storm(window: Window, answers: int) -> Window:
    """Nothing but trouble, answer by answer, each of which speaks of a throttle too."""
    for _ in repeat(None, answers):
        window.halve()
        window.note(good=0, trouble=1)
    return window


@pytest.mark.parametrize("answers", [1, 400])
def test_window_halves_at_most_once_per_round_trip(answers: int) -> None:
    window = Window(2_000)
    window.enter(window.room(400))

    assert storm(window, answers).size == 200


def test_storm_brings_the_window_to_its_floor() -> None:
    assert round_trips(Window(2_000), 10, trouble_share=1)[-1] == LEAST_WINDOW


def test_room_that_is_too_little_for_a_claim_is_none() -> None:
    window = Window(800)
    window.enter(400 - 49)

    assert (window.room(200), window.room(49)) == (0, 49)
    window.leave(1)
    assert window.room(200) == 50
