"""When what one claim is refused stops a campaign, and when it does not."""

import pytest

from activities.refusals import CredentialsRefused, MessageRefused, Refusals
from fanfare.models import ErrorCode, Outcome, TokenAction, Verdict

SENT = Outcome(Verdict.SENT)
TOO_LARGE = Outcome(Verdict.FAILED, ErrorCode.PAYLOAD, "PayloadTooLarge")
BAD_PRIORITY = Outcome(Verdict.FAILED, ErrorCode.REQUEST, "BadPriority")
BAD_PATH = Outcome(Verdict.FAILED, ErrorCode.REQUEST, "BadPath")
NEW_WORD = Outcome(Verdict.FAILED, ErrorCode.UNRECOGNISED, "SomethingNew")
REVOKED = Outcome(Verdict.CREDENTIALS, ErrorCode.CREDENTIALS, "InvalidProviderToken")
DOUBTED = Outcome(Verdict.RETRY, ErrorCode.CREDENTIALS, "InvalidProviderToken")
APPLE_S_KEY = Outcome(Verdict.FAILED, ErrorCode.CREDENTIALS, "THIRD_PARTY_AUTH_ERROR")
BUSY = Outcome(Verdict.RETRY, ErrorCode.PROVIDER, "UNAVAILABLE")
ODD = Outcome(Verdict.UNKNOWN, ErrorCode.UNRECOGNISED, "http_202")
GONE = Outcome(
    Verdict.FAILED,
    ErrorCode.INVALID_TOKEN,
    "Unregistered",
    token_action=TokenAction.DEACTIVATE_BEFORE,
)


def test_body_that_is_too_large_once_is_too_large_for_all() -> None:
    with pytest.raises(MessageRefused, match="PayloadTooLarge"):
        _check([TOO_LARGE])


@pytest.mark.parametrize("refusal", [BAD_PRIORITY, BAD_PATH])
def test_three_refused_alike_are_no_chance(refusal: Outcome) -> None:
    with pytest.raises(MessageRefused, match=refusal.reason):
        _check([GONE, refusal, BUSY, refusal, refusal])


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [SENT] * 200,
        [BAD_PRIORITY] * 2,
        [BAD_PRIORITY] * 100 + [SENT],
        [SENT] + [TOO_LARGE] * 100,
        [GONE] * 200,
        [BUSY] * 200,
        [ODD] * 200,
        [DOUBTED] * 200,
        [APPLE_S_KEY] * 19,
        [NEW_WORD] * 19,
        [APPLE_S_KEY] * 180 + [SENT] * 20,
    ],
)
def test_what_is_said_of_single_devices_stops_nothing(outcomes: list[Outcome]) -> None:
    _check(outcomes)


def test_refused_credential_is_refused_whatever_was_accepted_before() -> None:
    with pytest.raises(CredentialsRefused, match="InvalidProviderToken"):
        _check([SENT] * 199 + [REVOKED])


def test_canary_of_nothing_but_devices_that_need_another_key_stops() -> None:
    with pytest.raises(CredentialsRefused, match="THIRD_PARTY_AUTH_ERROR"):
        _check([APPLE_S_KEY] * 20)


def test_canary_that_answers_with_a_word_nobody_knows_stops() -> None:
    with pytest.raises(MessageRefused, match="SomethingNew"):
        _check([NEW_WORD] * 20)


def test_groups_of_a_claim_are_judged_together() -> None:
    refusals = Refusals()

    refusals.note([BAD_PRIORITY, BAD_PRIORITY])
    refusals.note([BAD_PRIORITY])

    with pytest.raises(MessageRefused):
        refusals.check()


def _check(outcomes: list[Outcome]) -> None:
    refusals = Refusals()
    refusals.note(outcomes)
    refusals.check()
