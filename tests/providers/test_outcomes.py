"""The outcome tables, row by row, and what stands in no table."""

from datetime import UTC, datetime, timedelta
from functools import partial

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fanfare.models import ErrorCode, Outcome, TokenAction, Verdict
from fanfare.providers.exchange import Answer, Header, NotProcessed, Unknown
from fanfare.providers.outcomes import APNS_OUTCOMES, FCM_OUTCOMES, QUOTAS
from fanfare.providers.outcomes import apns_outcome as apns_outcome_of
from fanfare.providers.outcomes import fcm_outcome as fcm_outcome_of
from fanfare.providers.tally import Tally

apns_outcome = partial(apns_outcome_of, unrecognised=Tally("unrecognised_answers"))
fcm_outcome = partial(fcm_outcome_of, unrecognised=Tally("unrecognised_answers"))

FAILED, RETRY, CREDENTIALS = Verdict.FAILED, Verdict.RETRY, Verdict.CREDENTIALS
MINUTE, QUARTER = 60, 900
NO, DEAD, SUSPECT = TokenAction.NONE, TokenAction.DEACTIVATE_BEFORE, TokenAction.QUARANTINE

APNS_ROWS = [
    (400, "BadDeviceToken", FAILED, ErrorCode.INVALID_TOKEN, SUSPECT, None),
    (400, "DeviceTokenNotForTopic", FAILED, ErrorCode.INVALID_TOKEN, SUSPECT, None),
    (400, "BadCollapseId", FAILED, ErrorCode.REQUEST, NO, None),
    (400, "BadExpirationDate", FAILED, ErrorCode.REQUEST, NO, None),
    (400, "BadMessageId", FAILED, ErrorCode.REQUEST, NO, None),
    (400, "BadPriority", FAILED, ErrorCode.REQUEST, NO, None),
    (400, "InvalidPushType", FAILED, ErrorCode.REQUEST, NO, None),
    (400, "DuplicateHeaders", FAILED, ErrorCode.REQUEST, NO, None),
    (400, "MissingDeviceToken", FAILED, ErrorCode.REQUEST, NO, None),
    (400, "PayloadEmpty", FAILED, ErrorCode.PAYLOAD, NO, None),
    (400, "BadTopic", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (400, "MissingTopic", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (400, "TopicDisallowed", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (400, "IdleTimeout", RETRY, ErrorCode.PROVIDER, NO, 1),
    (403, "ExpiredProviderToken", RETRY, ErrorCode.CREDENTIALS, NO, 1),
    (403, "InvalidProviderToken", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (403, "MissingProviderToken", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (403, "Forbidden", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (403, "BadCertificate", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (403, "BadCertificateEnvironment", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (403, "UnrelatedKeyIdInToken", RETRY, ErrorCode.CREDENTIALS, NO, 1),
    (403, "BadEnvironmentKeyIdInToken", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (403, "BadEnvironmentKeyInToken", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (403, "TopicMismatch", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (404, "BadPath", FAILED, ErrorCode.REQUEST, NO, None),
    (405, "MethodNotAllowed", FAILED, ErrorCode.REQUEST, NO, None),
    (410, "Unregistered", FAILED, ErrorCode.INVALID_TOKEN, DEAD, None),
    (410, "ExpiredToken", FAILED, ErrorCode.INVALID_TOKEN, DEAD, None),
    (413, "PayloadTooLarge", FAILED, ErrorCode.PAYLOAD, NO, None),
    (429, "TooManyRequests", RETRY, ErrorCode.THROTTLED, NO, MINUTE),
    (429, "TooManyProviderTokenUpdates", RETRY, ErrorCode.THROTTLED, NO, 20 * MINUTE),
    (500, "InternalServerError", RETRY, ErrorCode.PROVIDER, NO, QUARTER),
    (503, "ServiceUnavailable", RETRY, ErrorCode.PROVIDER, NO, QUARTER),
    (503, "Shutdown", RETRY, ErrorCode.PROVIDER, NO, 1),
]

FCM_ROWS = [
    (400, "INVALID_ARGUMENT", FAILED, ErrorCode.PAYLOAD, NO, None),
    (401, "THIRD_PARTY_AUTH_ERROR", FAILED, ErrorCode.CREDENTIALS, NO, None),
    (401, "APNS_AUTH_ERROR", FAILED, ErrorCode.CREDENTIALS, NO, None),
    (401, "UNAUTHENTICATED", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (403, "SENDER_ID_MISMATCH", FAILED, ErrorCode.INVALID_TOKEN, SUSPECT, None),
    (403, "PERMISSION_DENIED", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (404, "UNREGISTERED", FAILED, ErrorCode.INVALID_TOKEN, DEAD, None),
    (404, "NOT_FOUND", CREDENTIALS, ErrorCode.CREDENTIALS, NO, None),
    (429, "QUOTA_EXCEEDED", RETRY, ErrorCode.THROTTLED, NO, MINUTE),
    (429, "RESOURCE_EXHAUSTED", RETRY, ErrorCode.THROTTLED, NO, MINUTE),
    (500, "INTERNAL", RETRY, ErrorCode.PROVIDER, NO, 10),
    (503, "UNAVAILABLE", RETRY, ErrorCode.PROVIDER, NO, 10),
]

BODIES = [
    b"",
    b"<html>Bad Gateway</html>",
    b"[]",
    b"null",
    b'"x"',
    b"{}",
    b'{"reason":7,"error":8}',
    b'{"error":{"details":[7,{"fieldViolations":3}]}}',
    b"\xff\xfe",
    b'{"reason":',
]


@pytest.mark.parametrize(("status", "reason", "verdict", "code", "action", "wait"), APNS_ROWS)
def test_apns_row(
    status: int,
    reason: str,
    verdict: Verdict,
    code: ErrorCode,
    action: TokenAction,
    wait: int | None,
) -> None:
    outcome = apns_outcome(_answer(status, {"reason": reason}))

    assert outcome == Outcome(
        verdict, code, reason, token_action=action, retry_after=_seconds(wait)
    )


@pytest.mark.parametrize(("status", "reason", "verdict", "code", "action", "wait"), FCM_ROWS)
def test_fcm_row(
    status: int,
    reason: str,
    verdict: Verdict,
    code: ErrorCode,
    action: TokenAction,
    wait: int | None,
) -> None:
    outcome = fcm_outcome(_fcm(status, reason))

    assert outcome == Outcome(
        verdict, code, reason, token_action=action, retry_after=_seconds(wait)
    )


def test_every_row_of_the_tables_is_tested() -> None:
    assert {row[:2] for row in APNS_ROWS} == set(APNS_OUTCOMES)
    assert {row[:2] for row in FCM_ROWS} == set(FCM_OUTCOMES)


def test_apns_acceptances_are_all_alike() -> None:
    outcomes = [apns_outcome(_answer(200, None)), apns_outcome(_answer(200, {"odd": 1}))]

    assert outcomes == [Outcome(Verdict.SENT)] * 2


def test_apns_timestamp_says_since_when_a_token_is_dead() -> None:
    answer = _answer(410, {"reason": "Unregistered", "timestamp": 1_700_000_000_123})

    outcome = apns_outcome(answer)

    assert outcome.dead_since == datetime.fromtimestamp(1_700_000_000.123, UTC)


@pytest.mark.parametrize("timestamp", [None, True, "x", 1e300, -1e300, 10**30, [], float("nan")])
def test_nonsensical_timestamp_counts_as_none(timestamp: object) -> None:
    body = b'{"reason":"Unregistered","timestamp":%s}' % str(timestamp).encode()
    answers = [Answer(410, (), body), _answer(410, {"reason": "Unregistered", "timestamp": "x"})]

    outcomes = [apns_outcome(answer) for answer in answers]

    assert {outcome.dead_since for outcome in outcomes} == {None}


def test_fcm_acceptance_carries_the_name() -> None:
    outcome = fcm_outcome(_answer(200, {"name": "projects/p/messages/1"}))

    assert outcome == Outcome(Verdict.SENT, provider_message_id="1")


@pytest.mark.parametrize("body", BODIES)
def test_fcm_acceptance_without_a_name_is_sent_all_the_same(body: bytes) -> None:
    assert fcm_outcome(Answer(200, (), body)) == Outcome(Verdict.SENT, reason="odd_reply")


def test_fcm_bad_token_is_known_by_its_text() -> None:
    message = "The registration token is not a valid FCM registration token"

    outcome = fcm_outcome(_fcm(400, "INVALID_ARGUMENT", message=message))

    assert (outcome.error_code, outcome.token_action) == (ErrorCode.INVALID_TOKEN, SUSPECT)


@pytest.mark.parametrize("field", ["message.token", "message.fid"])
def test_fcm_bad_token_is_known_by_the_violated_field(field: str) -> None:
    violations: dict[str, object] = {
        "fieldViolations": [{"field": field, "description": "Invalid"}]
    }

    outcome = fcm_outcome(_fcm(400, "INVALID_ARGUMENT", details=[violations]))

    assert (outcome.error_code, outcome.token_action) == (ErrorCode.INVALID_TOKEN, SUSPECT)


def test_fcm_violation_of_another_field_is_the_message_s_fault() -> None:
    violations: dict[str, object] = {"fieldViolations": [{"field": "message.data[0].value"}]}

    outcome = fcm_outcome(_fcm(400, "INVALID_ARGUMENT", details=[violations]))

    assert (outcome.error_code, outcome.token_action) == (ErrorCode.PAYLOAD, NO)


@pytest.mark.parametrize(("status", "wait"), [(429, 7), (503, 7)])
def test_fcm_retry_after_is_heeded(status: int, wait: int) -> None:
    outcome = fcm_outcome(_fcm(status, "X", headers=[(b"retry-after", b"7")]))

    assert (outcome.verdict, outcome.retry_after) == (RETRY, timedelta(seconds=wait))


@pytest.mark.parametrize(
    ("status", "verdict", "code"),
    [
        (400, FAILED, ErrorCode.UNRECOGNISED),
        (418, FAILED, ErrorCode.UNRECOGNISED),
        (301, FAILED, ErrorCode.UNRECOGNISED),
        (500, RETRY, ErrorCode.PROVIDER),
        (502, RETRY, ErrorCode.PROVIDER),
        (504, RETRY, ErrorCode.PROVIDER),
        (204, Verdict.UNKNOWN, ErrorCode.UNRECOGNISED),
    ],
)
@pytest.mark.parametrize("body", [*BODIES, b'{"reason":"SomethingNew"}'])
def test_what_is_in_no_table_goes_by_its_class(
    status: int, verdict: Verdict, code: ErrorCode, body: bytes
) -> None:
    outcomes = [apns_outcome(Answer(status, (), body)), fcm_outcome(Answer(status, (), body))]

    assert {(outcome.verdict, outcome.error_code) for outcome in outcomes} == {(verdict, code)}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_fcm_refusal_without_a_known_word_is_the_credentials(status: int) -> None:
    assert fcm_outcome(Answer(status, (), b"<html>")).verdict is CREDENTIALS


@pytest.mark.parametrize(
    ("status", "verdict", "code", "wait"),
    [
        (401, CREDENTIALS, ErrorCode.CREDENTIALS, None),
        (403, CREDENTIALS, ErrorCode.CREDENTIALS, None),
        (413, FAILED, ErrorCode.PAYLOAD, None),
        (429, RETRY, ErrorCode.THROTTLED, MINUTE),
    ],
)
@pytest.mark.parametrize("body", [*BODIES, b'{"reason":"SomethingNew"}'])
def test_status_that_says_enough_needs_no_known_word(
    status: int, verdict: Verdict, code: ErrorCode, wait: int | None, body: bytes
) -> None:
    outcomes = [apns_outcome(Answer(status, (), body)), fcm_outcome(Answer(status, (), body))]

    assert {(o.verdict, o.error_code, o.retry_after) for o in outcomes} == {
        (verdict, code, _seconds(wait))
    }


def test_unknown_word_never_costs_a_token() -> None:
    answers = [_answer(status, {"reason": "SomethingNew"}) for status in range(200, 600)]

    actions = {outcome(a).token_action for a in answers for outcome in (apns_outcome, fcm_outcome)}

    assert actions == {NO}


def test_what_is_in_no_table_is_told() -> None:
    tally = Tally("unrecognised_answers")

    with capture_logs() as lines:
        apns_outcome_of(_answer(400, {"reason": "SomethingNew"}), tally)
        apns_outcome_of(_answer(400, {"reason": "BadDeviceToken"}), tally)
        fcm_outcome_of(Answer(502, (), b"<html>"), tally)
        fcm_outcome_of(_answer(200, {}), tally)
        fcm_outcome_of(_answer(200, {"name": "projects/p/messages/1"}), tally)

    told = [(line["status"], line["reason"]) for line in lines]
    assert told == [(400, "SomethingNew"), (502, "http_502"), (200, "odd_reply")]


@pytest.mark.parametrize(
    "reason", ["bad token 00c0ffee", "00c0ffee", "c0ffee", "X" * 49, "Odd\n", "Ödd", "odd\x00"]
)
def test_reason_that_is_no_word_is_kept_out_of_the_outcome(reason: str) -> None:
    outcomes = [apns_outcome(_answer(400, {"reason": reason})), fcm_outcome(_fcm(400, reason))]

    assert [outcome.reason for outcome in outcomes] == ["http_400", "http_400"]


@pytest.mark.parametrize("name", ["projects/p/messages/\x00", "projects/p/messages/a\nb"])
def test_id_that_no_ledger_takes_is_left_out(name: str) -> None:
    outcome = fcm_outcome(_answer(200, {"name": name}))

    assert outcome == Outcome(Verdict.SENT, reason="odd_reply")


def test_endless_id_is_cut() -> None:
    outcome = fcm_outcome(_answer(200, {"name": f"projects/p/messages/{'x' * 10_000}"}))

    assert outcome.provider_message_id == "x" * 256


def test_quotas_are_those_of_the_throttles() -> None:
    throttles = {
        reason
        for (_, reason), outcome in {**APNS_OUTCOMES, **FCM_OUTCOMES}.items()
        if outcome.error_code is ErrorCode.THROTTLED
    }

    assert throttles <= set(QUOTAS)


@pytest.mark.parametrize(("asked", "wait"), [(b"7", QUARTER), (b"1800", 2 * QUARTER)])
def test_apns_retry_after_puts_off_and_never_brings_forward(asked: bytes, wait: int) -> None:
    answer = _answer(503, {"reason": "ServiceUnavailable"}, [(b"retry-after", asked)])

    assert apns_outcome(answer).retry_after == _seconds(wait)


@pytest.mark.parametrize("reason", ["refused", "tls", "refused_stream"])
def test_what_was_not_processed_is_safe_to_retry(reason: str) -> None:
    outcomes = {apns_outcome(NotProcessed(reason)), fcm_outcome(NotProcessed(reason))}

    assert outcomes == {Outcome(RETRY, ErrorCode.NETWORK, reason, retry_after=timedelta(seconds=5))}


def test_what_nobody_answered_is_unknown() -> None:
    outcomes = {apns_outcome(Unknown("deadline")), fcm_outcome(Unknown("deadline"))}

    assert outcomes == {Outcome(Verdict.UNKNOWN, ErrorCode.NO_ANSWER, "deadline")}


@given(st.integers(200, 599), st.binary(max_size=200))
def test_no_body_raises(status: int, body: bytes) -> None:
    answer = Answer(status, ((b"retry-after", body),), body)

    outcomes = [apns_outcome(answer), fcm_outcome(answer)]

    assert all(outcome.verdict in Verdict for outcome in outcomes)


def _answer(status: int, body: object, headers: list[Header] | None = None) -> Answer:
    return Answer(status, headers or [], orjson.dumps(body) if body is not None else b"")


def _fcm(
    status: int,
    code: str,
    *,
    message: str = "",
    details: list[dict[str, object]] | None = None,
    headers: list[Header] | None = None,
) -> Answer:
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    shown = [{"@type": kind, "errorCode": code}, *(details or [])]
    error = {"code": status, "status": "OTHER", "message": message, "details": shown}
    return _answer(status, {"error": error}, headers)


def _seconds(count: int | None) -> timedelta | None:
    return None if count is None else timedelta(seconds=count)
