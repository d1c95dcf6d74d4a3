"""What the benchmark of rates says of moments, and that it runs."""

from pathlib import Path

from bench import rates
from fanfare.dev.stack import Ports, Stack

TOKENS = 60


def test_fullest_minute_is_found_wherever_it_begins() -> None:
    moments = [0.0, 50.0, 50.5, 100.0, 109.9, 109.95, 130.0]

    even = rates.evenness(moments, rate_limit=4)

    assert (even.fullest_minute, even.first_minute) == (1.25, 0.75)


def test_even_flow_has_seconds_that_are_like_their_share() -> None:
    moments = [n / 10 for n in range(650)]

    even = rates.evenness(moments, rate_limit=600)

    assert even.fullest_minute == even.first_minute == 1
    assert list(even.steady_seconds) == [1, 1, 1]


def test_campaign_with_a_limit_is_slower_and_within_it(tmp_path: Path) -> None:
    load = rates.Load(rate_limit=1_200, tokens=TOKENS, workers=2)

    with Stack.running(tmp_path, Ports.find(preferred=False), workers=2) as stack:
        limited, free = rates.measure(stack, load)

    assert len(limited.moments) == len(free.moments) == TOKENS
    assert limited.moments[-1] > 0.9 * (TOKENS - 1) * 60 / load.rate_limit > free.moments[-1]
