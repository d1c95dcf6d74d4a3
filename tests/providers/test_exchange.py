"""How a request ends, whatever the peer says."""

import pytest

from fanfare.providers.exchange import Answer, Exchange, Result


@pytest.mark.parametrize(
    ("said", "status"),
    [(b"200", 200), (b"", 0), (b"abc", 0), (b"-20", 0), (b"99999", 0), (b"9" * 5_000, 0)],
)
def test_status_that_is_none_counts_as_zero(said: bytes, status: int) -> None:
    results: list[Result] = []
    exchange = Exchange(b"/", (), (), b"", results.append)

    exchange.begin_answer([(b":status", said)])
    exchange.finish_answer()

    assert results == [Answer(status, [(b":status", said)], b"")]
