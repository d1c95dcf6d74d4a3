"""Few lines for many answers."""

from structlog.testing import capture_logs
from structlog.typing import EventDict

from fanfare.providers.tally import MOST_KINDS, Tally


def test_storm_of_one_kind_is_a_line_for_each_power_of_ten_and_one_at_the_end() -> None:
    tally = Tally("unrecognised_answers", provider="apns")

    with capture_logs() as lines:
        _note(tally, 12_345, 400, "SomethingNew")
        tally.close()

    assert [line["count"] for line in lines] == [1, 10, 100, 1_000, 10_000, 12_345]
    assert lines[0] == {
        "event": "unrecognised_answers",
        "log_level": "warning",
        "provider": "apns",
        "status": 400,
        "reason": "SomethingNew",
        "count": 1,
    }


def test_kinds_are_told_apart() -> None:
    tally = Tally("unrecognised_answers")

    with capture_logs() as lines:
        tally.note(400, "One")
        tally.note(400, "Two")
        tally.note(500, "Two")
        tally.close()

    assert [_kind(line) for line in lines] == [(400, "One"), (400, "Two"), (500, "Two")]


def test_words_without_end_cost_no_memory() -> None:
    tally = Tally("unrecognised_answers")

    with capture_logs() as lines:
        _note_words(tally, 11 * MOST_KINDS)
        tally.close()

    assert len({_kind(line) for line in lines}) == MOST_KINDS + 1
    assert lines[-1]["count"] == 10 * MOST_KINDS


def _note(tally: Tally, times: int, status: int, reason: str) -> None:
    for _ in range(times):
        tally.note(status, reason)


def _note_words(tally: Tally, count: int) -> None:
    for number in range(count):
        tally.note(400, f"Word{number}")


def _kind(line: EventDict) -> tuple[int, str]:
    return line["status"], line["reason"]
