"""When the provider token changes, and that every process has the same."""

import jwt
import pytest

from fanfare.providers.apns_token import ApnsTokenSource
from tests.providers.keys import apns_key

HALF_HOUR = 1_800
NOON = 1_800_000_000
MINUTE = 60


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_token_is_an_es256_jwt_of_team_and_key() -> None:
    token = _token(_source(Clock(NOON)))
    claims = jwt.decode(
        token, apns_key().public_key(), algorithms=["ES256"], options={"verify_iat": False}
    )

    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "KEY0000001"}
    assert claims == {"iss": "TEAM000001", "iat": _issued_at(_source(Clock(NOON)))}


@pytest.mark.parametrize("minute", range(0, 60, 7))
def test_issue_time_lies_on_a_half_hour_20_to_50_minutes_back(minute: int) -> None:
    now = NOON + minute * MINUTE

    issued_at = _issued_at(_source(Clock(now)))

    assert issued_at % HALF_HOUR == 0
    assert 20 * MINUTE <= now - issued_at < 50 * MINUTE


@pytest.mark.parametrize("minute", range(0, 60, 7))
def test_processes_hold_the_very_same_token_whenever_they_were_started(minute: int) -> None:
    clock = Clock(NOON)
    old = _source(clock)
    old.authorization()
    clock.now = NOON + minute * MINUTE

    assert old.authorization() == _source(clock).authorization()


def test_token_is_signed_once_in_half_an_hour() -> None:
    clock = Clock(NOON // HALF_HOUR * HALF_HOUR + 20 * MINUTE)
    source = _source(clock)
    first = source.authorization()
    clock.now += HALF_HOUR - 1
    same = source.authorization()
    clock.now += 1

    assert same is first
    assert source.authorization() != first


def test_expired_token_is_replaced_at_once_and_the_replacement_after_20_minutes() -> None:
    clock = Clock(NOON)
    source = _source(clock)
    regular = source.authorization()
    replaced = [source.note_expired(), source.note_expired()]
    fresh = source.authorization()
    clock.now = _issued_at(source) + 20 * MINUTE - 1
    replaced.append(source.note_expired())
    clock.now += 1
    replaced.append(source.note_expired())

    assert replaced == [True, False, False, True]
    assert len({regular, fresh, source.authorization()}) == 3
    assert clock.now - _issued_at(source) < 10 * MINUTE


@pytest.mark.parametrize("minute", range(10))
def test_processes_whose_token_is_expired_agree_on_the_next(minute: int) -> None:
    early, late = _source(Clock(NOON)), _source(Clock(NOON + minute * MINUTE))
    sources = [early, late]

    replaced = [(source.authorization(), source.note_expired()) for source in sources]

    assert {is_new for _, is_new in replaced} == {True}
    assert early.authorization() == late.authorization()


def test_clock_that_is_set_back_leads_to_a_new_token() -> None:
    clock = Clock(NOON)
    source = _source(clock)
    source.authorization()
    clock.now -= 3 * HALF_HOUR

    assert _issued_at(source) <= clock.now


def _source(clock: Clock) -> ApnsTokenSource:
    return ApnsTokenSource("TEAM000001", "KEY0000001", apns_key(), clock=clock)


def _token(source: ApnsTokenSource) -> str:
    return source.authorization().decode().removeprefix("bearer ")


def _issued_at(source: ApnsTokenSource) -> int:
    claims = jwt.decode(_token(source), options={"verify_signature": False})
    issued_at = claims["iat"]
    assert isinstance(issued_at, int)
    return issued_at
