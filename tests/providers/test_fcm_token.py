"""When an access token is fetched, how often, and what a failure means."""

import asyncio
import threading
from datetime import timedelta

import pytest

from fanfare.models import ErrorCode, Outcome, Verdict
from fanfare.providers.credentials import parse_service_account
from fanfare.providers.fcm_token import (
    AccessTokenUnavailable,
    FcmTokenSource,
    google_fetch,
)
from tests.providers.hostile import hostile_server
from tests.providers.keys import service_account

HOUR = 3_600.0
DOWN = Outcome(Verdict.RETRY, ErrorCode.NETWORK, "down", retry_after=timedelta(seconds=1))


class Endpoint:
    """A token endpoint with a clock: each fetch gives the next token, good for an hour."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.fetches = 0
        self.failure: Outcome | None = None
        self.threads: set[int] = set()

    def clock(self) -> float:
        return self.now

    def fetch(self) -> tuple[str, float]:
        self.fetches += 1
        self.threads.add(threading.get_ident())
        if self.failure is not None:
            raise AccessTokenUnavailable(self.failure)
        return f"t{self.fetches}", self.now + HOUR

    def source(self) -> FcmTokenSource:
        return FcmTokenSource(self.fetch, clock=self.clock)


async def test_token_is_fetched_once_off_the_loop_for_all_who_wait() -> None:
    endpoint = Endpoint()
    source = endpoint.source()

    tokens = await asyncio.gather(*(source.authorization() for _ in range(20)))

    assert set(tokens) == {b"Bearer t1"}
    assert endpoint.fetches == 1
    assert threading.get_ident() not in endpoint.threads


async def test_next_token_is_fetched_ahead_while_the_old_one_is_used() -> None:
    endpoint = Endpoint()
    source = endpoint.source()
    await source.authorization()
    endpoint.now += HOUR - 200

    old = await source.authorization()
    await source.close()
    new = await source.authorization()

    assert (old, new) == (b"Bearer t1", b"Bearer t2")


async def test_token_at_its_end_is_not_used() -> None:
    endpoint = Endpoint()
    source = endpoint.source()
    await source.authorization()
    endpoint.now += HOUR - 10

    assert await source.authorization() == b"Bearer t2"


async def test_failure_is_every_waiting_message_s_outcome_and_keeps_a_pause() -> None:
    endpoint = Endpoint()
    endpoint.failure = DOWN
    source = endpoint.source()

    outcomes = [await _outcome(source), await _outcome(source)]
    endpoint.now += 60
    endpoint.failure = None
    token = await source.authorization()

    assert outcomes == [DOWN, DOWN]
    assert (token, endpoint.fetches) == (b"Bearer t2", 2)


async def test_failed_renewal_leaves_the_old_token_in_use() -> None:
    endpoint = Endpoint()
    source = endpoint.source()
    await source.authorization()
    endpoint.now += HOUR - 200
    endpoint.failure = DOWN
    await source.authorization()
    await source.close()

    assert await source.authorization() == b"Bearer t1"


async def test_refused_token_is_replaced_once_for_all_that_were_out_with_it() -> None:
    source = Endpoint().source()
    first = await source.authorization()

    another_may_help = [source.note_refused(first), source.note_refused(first)]
    second = await source.authorization()
    another_may_help.append(source.note_refused(first))

    assert second == b"Bearer t2"
    assert another_may_help == [True, True, True]


async def test_refusal_of_the_replacement_is_the_account_s_fault() -> None:
    source = Endpoint().source()
    source.note_refused(await source.authorization())
    second = await source.authorization()

    assert not source.note_refused(second)


async def test_accepted_token_ends_the_trial() -> None:
    source = Endpoint().source()
    source.note_refused(await source.authorization())
    second = await source.authorization()
    source.note_accepted()

    assert source.note_refused(second)


async def test_endpoint_that_cannot_be_reached_says_nothing_of_the_message() -> None:
    async with hostile_server() as server:
        pass
    info = parse_service_account(service_account()).info
    source = FcmTokenSource(google_fetch(info, f"{server.url}/token", None))

    outcome = await _outcome(source)

    assert (outcome.verdict, outcome.error_code) == (Verdict.RETRY, ErrorCode.NETWORK)
    assert outcome.reason == "oauth_unavailable"


async def _outcome(source: FcmTokenSource) -> Outcome:
    with pytest.raises(AccessTokenUnavailable) as caught:
        await source.authorization()
    return caught.value.outcome
