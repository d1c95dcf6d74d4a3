"""The decision table's waits and limits: what is owed when, and what is given up."""

from datetime import UTC, datetime, timedelta

import pytest

from activities.decisions import Moments, decide
from fanfare.db.claims import ClaimedToken
from fanfare.db.ledger import Settlement
from fanfare.models import ErrorCode, OnUnknown, Outcome, Verdict
from fanfare.providers.exchange import Answer
from fanfare.providers.outcomes import apns_outcome, fcm_outcome
from fanfare.providers.tally import Tally

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR = 1, 60, 3_600
QUARTER = 15 * MINUTE
UNRECOGNISED = Tally("unrecognised_answers")


def _apns(status: int, reason: str) -> Outcome:
    return apns_outcome(Answer(status, (), b'{"reason":"%s"}' % reason.encode()), UNRECOGNISED)


def _fcm(status: int, word: str, wait: str = "") -> Outcome:
    headers = [(b"retry-after", wait.encode())] if wait else []
    body = b'{"error":{"status":"%s"}}' % word.encode()
    return fcm_outcome(Answer(status, headers, body), UNRECOGNISED)


@pytest.mark.parametrize(
    ("outcome", "waits"),
    [
        (_apns(503, "Shutdown"), [SECOND, QUARTER, 2 * QUARTER, HOUR]),
        (_apns(503, "ServiceUnavailable"), [QUARTER, 2 * QUARTER, HOUR, HOUR]),
        (_apns(500, "InternalServerError"), [QUARTER, 2 * QUARTER, HOUR, HOUR]),
        (_apns(502, "SomethingNew"), [QUARTER, 2 * QUARTER, HOUR, HOUR]),
        (_apns(429, "TooManyProviderTokenUpdates"), [20 * MINUTE, 40 * MINUTE, HOUR, HOUR]),
        (_fcm(500, "INTERNAL"), [10, 20, 40, 80]),
        (_fcm(503, "UNAVAILABLE"), [10, 20, 40, 80]),
        (_fcm(502, "<html>"), [10, 20, 40, 80]),
        (_fcm(503, "UNAVAILABLE", "7"), [7, 14, 28, 56]),
        (_fcm(503, "UNAVAILABLE", "300"), [300, 600, 600, 600]),
        (_apns(400, "IdleTimeout"), [1, 2, 4, 8]),
    ],
)
def test_waits_grow_from_try_to_try_until_the_fifth_is_the_last(
    outcome: Outcome, waits: list[int]
) -> None:
    least = [_wait(outcome, attempts, chance=0.0) for attempts in range(4)]

    assert least == [timedelta(seconds=wait) for wait in waits]
    assert _owed(outcome, 4) == []


@pytest.mark.parametrize("outcome", [_apns(429, "TooManyRequests"), _fcm(429, "QUOTA_EXCEEDED")])
def test_device_that_is_sent_too_much_is_tried_three_times_more(outcome: Outcome) -> None:
    least = [_wait(outcome, attempts, chance=0.0) for attempts in range(3)]

    assert least == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    assert _owed(outcome, 3) == []


@pytest.mark.parametrize(
    "outcome",
    [
        _fcm(429, "RESOURCE_EXHAUSTED"),
        _fcm(429, "RATE_LIMIT_EXCEEDED"),
        _fcm(429, ""),
        Outcome(Verdict.RETRY, ErrorCode.NETWORK, "refused_stream"),
        Outcome(Verdict.RETRY, ErrorCode.CREDENTIALS, "UnrelatedKeyIdInToken"),
        Outcome(Verdict.CREDENTIALS, ErrorCode.CREDENTIALS, "InvalidProviderToken"),
    ],
)
@pytest.mark.parametrize("attempts", [0, 4])
def test_what_says_nothing_of_the_message_is_no_attempt_at_it(
    outcome: Outcome, attempts: int
) -> None:
    assert _owed(outcome, attempts) == [attempts]


@pytest.mark.parametrize(
    ("outcome", "most"),
    [
        (_fcm(503, "UNAVAILABLE"), timedelta(seconds=20)),
        (_apns(503, "ServiceUnavailable"), timedelta(minutes=18)),
    ],
)
def test_chance_adds_as_much_as_the_wait_and_three_minutes_at_most(
    outcome: Outcome, most: timedelta
) -> None:
    assert _wait(outcome, 0, chance=1.0) == most


def test_what_was_refused_together_returns_together() -> None:
    settlement, moments = Settlement(), Moments(NOW, NOW)

    decide(settlement, _token(1), _fcm(503, ""), moments, OnUnknown.RESEND)
    decide(settlement, _token(2), _fcm(503, ""), moments, OnUnknown.RESEND)

    assert settlement.owed[0].due_at == settlement.owed[1].due_at


def test_attempt_of_which_the_answer_was_lost_makes_no_wait_longer() -> None:
    shutdown = _apns(503, "Shutdown")

    waits = [_wait(shutdown, attempts, chance=0.0, ambiguous=True) for attempts in range(4)]

    assert waits == [timedelta(seconds=wait) for wait in (SECOND, SECOND, QUARTER, 2 * QUARTER)]


def _wait(outcome: Outcome, attempts: int, *, chance: float, ambiguous: bool = False) -> timedelta:
    """How long a message that was refused so after `attempts` waits. `ambiguous`: the answer to
    one of these was lost."""
    settlement = Settlement()
    token = _token(1, attempts)._replace(ambiguous=ambiguous)
    decide(settlement, token, outcome, Moments(NOW, NOW, chance), OnUnknown.RESEND)
    [note] = settlement.owed
    return note.due_at - NOW


def _owed(outcome: Outcome, attempts: int) -> list[int]:
    """The attempts that are noted of a message that is still owed; empty where it is given up."""
    settlement = Settlement()
    decide(settlement, _token(1, attempts), outcome, Moments(NOW, NOW), OnUnknown.RESEND)
    return [note.attempts for note in settlement.owed]


def _token(token_id: int, attempts: int = 0) -> ClaimedToken:
    return ClaimedToken(
        token_id=token_id,
        attempts=attempts,
        ambiguous=False,
        owed=attempts > 0,
        token="aa",
        is_active=True,
        deactivated_reason=None,
        registered_at=NOW,
        suspicions=0,
    )
