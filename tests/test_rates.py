"""Rates of campaigns: no interleaving of workers goes over a limit, and changes are felt soon."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfare import pacing
from fanfare.pacing import RateState
from fanfare.rates import (
    CLOCK_SKEW,
    HORIZON,
    PORTION,
    RAMPED_ABOVE,
    Rate,
    RateLimits,
    limits_of,
    reserve,
)

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

# When messages were let go, and how many.
Going = tuple[datetime, int]

heights = st.integers(1, 1_000_000) | st.integers(1, 60)


def fresh(*messages_per_minute: int) -> Sequence[Rate]:
    """Rates that nobody used yet."""
    return [Rate(limits_of(each), pacing.begin(START)) for each in messages_per_minute]


def warm(messages_per_minute: int) -> Rate:
    """A rate whose ramp is over, if it has one."""
    state = RateState(next_at=START, ramp_from=START - MINUTE, factor=1.0, held_until=START)
    return Rate(limits_of(messages_per_minute), state)


def take_turns(
    rates: Sequence[Rate], steps: Iterable[tuple[int, int]], clocks: Sequence[timedelta]
) -> Iterator[Going]:
    """Workers of the same rates, as they ask one after the other; `clocks` are ahead by so much.

    Who is free first thinks for some ms, asks for so many, waits, and lets them go.
    """
    free_at, asked_at = dict.fromkeys(range(len(clocks)), START), START
    for think, wanted in steps:
        worker = min(free_at, key=free_at.__getitem__)
        asked_at = max(asked_at, free_at[worker] + timedelta(milliseconds=think))
        now = asked_at + clocks[worker]
        states, reservation = reserve(rates, now, wanted)
        rates = [Rate(each.limits, state) for each, state in zip(rates, states, strict=True)]
        free_at[worker] = max(now, reservation.at) - clocks[worker]
        yield free_at[worker], reservation.count


def flow(*rates: Rate, lasts: timedelta, wanted: int = 10**6) -> Sequence[Going]:
    """What goes within that time where one worker asks again as soon as it may."""
    found = []
    for moment, count in take_turns(rates, cycle([(0, wanted)]), [timedelta(0)]):
        if moment >= START + lasts:
            break
        found.append((moment, count))
    return found


def total(found: Iterable[Going], first: datetime, end: datetime) -> int:
    return sum(count for moment, count in found if first <= moment < end)


def fullest(found: Sequence[Going], span: timedelta) -> int:
    """The most in any such span; it is enough to look at those that begin with a message."""
    return max(total(found, moment, moment + span) for moment, _ in found)


habits = st.lists(
    st.tuples(st.integers(0, 900) | st.just(0), st.integers(1, 10_000) | st.just(200)),
    min_size=1,
    max_size=20,
)
skews = st.floats(0, 1).map(lambda share: share * CLOCK_SKEW)


@given(heights=st.lists(heights, min_size=1, max_size=2), steps=habits, workers=st.integers(1, 12))
def test_no_interleaving_of_workers_goes_over_any_limit(
    heights: Sequence[int], steps: Sequence[tuple[int, int]], workers: int
) -> None:
    clocks = [timedelta(0)] * workers

    found = list(take_turns(fresh(*heights), islice(cycle(steps), 200), clocks))

    assert fullest(found, MINUTE) <= min(heights)


@given(height=heights, steps=habits, clocks=st.lists(skews, min_size=2, max_size=8))
def test_clocks_that_differ_by_a_second_add_less_than_a_fiftieth(
    height: int, steps: Sequence[tuple[int, int]], clocks: Sequence[timedelta]
) -> None:
    found = list(take_turns(fresh(height), islice(cycle(steps), 200), clocks))

    assert fullest(found, MINUTE) <= 1.02 * height + 1


@pytest.mark.parametrize("limit", [1, 7, 60, 5_000, 12_000, 600_000])
def test_nearly_the_whole_limit_is_used_and_no_more(limit: int) -> None:
    found = flow(warm(limit), lasts=3 * MINUTE)

    assert 0.98 * 3 * limit <= total(found, START, START + 3 * MINUTE) <= 3 * limit


@pytest.mark.parametrize("limit", [60, 600, 5_000, 12_000, 600_000])
def test_no_second_is_fuller_than_its_share_by_more_than_a_portion(limit: int) -> None:
    found = flow(warm(limit), lasts=MINUTE)

    assert fullest(found, SECOND) <= limit / 60 * (1 + PORTION / SECOND) + 1


def test_rate_above_5000_rises_in_a_line_over_its_first_minute_evenly() -> None:
    found = flow(*fresh(60_000), lasts=2 * MINUTE)

    seconds = [START + n * SECOND for n in range(0, 121, 5)]
    fives = [total(found, a, b) for a, b in pairwise(seconds)]
    ideal = [4_950 * min(1, 0.05 + 0.95 * (n + 0.5) / 12) for n in range(24)]
    assert fives == pytest.approx(ideal, rel=0.1)


def test_rate_up_to_5000_is_there_from_the_first_second() -> None:
    found = flow(*fresh(RAMPED_ABOVE), lasts=10 * SECOND)

    assert total(found, START, START + SECOND) == pytest.approx(RAMPED_ABOVE / 60, rel=0.15)


def test_the_lower_of_two_limits_binds() -> None:
    found = flow(warm(3_000), warm(1_200), lasts=MINUTE)
    other_way = flow(warm(1_200), warm(3_000), lasts=MINUTE)

    assert total(found, START, START + MINUTE) == pytest.approx(1_200, rel=0.03)
    assert total(other_way, START, START + MINUTE) == pytest.approx(1_200, rel=0.03)


def test_campaign_that_has_to_wait_leaves_the_project_s_rate_to_others() -> None:
    campaign, project = warm(60), warm(6_000)
    (campaign_state, project_state), first = reserve([campaign, project], START, 200)

    states, second = reserve(
        [Rate(campaign.limits, campaign_state), Rate(project.limits, project_state)], START, 200
    )

    assert (first.count, second.count) == (1, 0)
    assert second.at == campaign_state.next_at
    assert list(states) == [campaign_state, project_state]


def test_campaign_that_waited_for_its_project_does_not_catch_up() -> None:
    campaign = warm(600)
    project = Rate(limits_of(6_000), RateState(START + HORIZON, START, 1.0, START))

    (campaign_state, _), reservation = reserve([campaign, project], START, 1)

    assert reservation.at == START + HORIZON
    assert campaign_state.next_at >= reservation.at + SECOND / 10


def test_nothing_is_reserved_further_ahead_than_the_horizon() -> None:
    queued = Rate(limits_of(600), RateState(START + SECOND, START, 1.0, START))

    _, now = reserve([queued], START, 10)
    _, later = reserve([queued], START + SECOND - HORIZON, 10)

    assert (now.count, now.at) == (0, START + SECOND - HORIZON)
    assert (later.count, later.at) == (1, START + SECOND)


@given(before=heights, after=heights, asked_after=st.integers(0, 60_000))
def test_limit_that_was_changed_is_felt_within_two_seconds_or_its_own_interval(
    before: int, after: int, asked_after: int
) -> None:
    (state,), _ = reserve([warm(before)], START, 200)
    now = START + timedelta(milliseconds=asked_after)

    _, reservation = reserve([Rate(limits_of(after), state)], now, 1)

    interval = MINUTE / after
    assert reservation.at - now <= HORIZON + CLOCK_SKEW + max(PORTION, 1.02 * interval)


def test_least_limit_is_the_one_that_is_set() -> None:
    assert RateLimits(None, None).least is None
    assert RateLimits(5, None).least == RateLimits(7, 5).least == RateLimits(None, 5).least == 5
