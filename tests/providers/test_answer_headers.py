"""Waits and clocks, as answers tell them."""

from datetime import UTC, datetime, timedelta

import pytest

from fanfare.providers.answer_headers import clock_skew, retry_after

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"7", 7),
        (b"0", 0),
        (b"99999999999999999999", 3_600),
        (b"Mon, 23 Nov 2026 12:00:30 GMT", 30),
        (b"Mon, 23 Nov 2026 11:00:00 GMT", 0),
        (b"Mon, 23 Nov 9999 11:00:00 GMT", 3_600),
        (b"soon", None),
        (b"-1", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value: bytes, seconds: int | None) -> None:
    wait = None if seconds is None else timedelta(seconds=seconds)

    assert retry_after([(b"x", b"1"), (b"retry-after", value)], NOW) == wait


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"Mon, 23 Nov 2026 12:00:00 GMT", 0),
        (b"Mon, 23 Nov 2026 10:50:00 GMT", 4_200),
        (b"Mon, 23 Nov 2026 13:10:00 GMT", -4_200),
        (b"now", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_clock_is_compared_with_the_peer_s(value: bytes, seconds: int | None) -> None:
    skew = None if seconds is None else timedelta(seconds=seconds)

    assert clock_skew([(b"x", b"1"), (b"date", value)], NOW) == skew


def test_without_headers_nothing_is_known() -> None:
    assert (retry_after([], NOW), clock_skew([], NOW)) == (None, None)
