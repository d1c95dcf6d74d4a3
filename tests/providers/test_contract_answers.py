"""The contract where the provider answers oddly, refuses, or throttles: both over both engines.

Each hazard ends as one outcome per message that says what is safe to do, never as an exception, a
hang, or the loss of another message.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from fanfare.models import ErrorCode, ProviderName, TokenAction, Verdict
from tests.providers.hostile import (
    Request,
)
from tests.providers.hostile_provider import (
    accept,
    refusal,
)
from tests.providers.hostile_scene import Scene, verdicts

HUGE = b"x" * 1_000_000
FIRST_RETRY = {ProviderName.APNS: timedelta(minutes=15), ProviderName.FCM: timedelta(seconds=10)}
BUSY = {ProviderName.APNS: "ServiceUnavailable", ProviderName.FCM: "UNAVAILABLE"}
TOO_MANY = {ProviderName.APNS: "TooManyRequests", ProviderName.FCM: "QUOTA_EXCEEDED"}
NOT_OURS = {
    ProviderName.APNS: (400, "BadDeviceToken"),
    ProviderName.FCM: (403, "SENDER_ID_MISMATCH"),
}
GONE = {ProviderName.APNS: (410, "Unregistered"), ProviderName.FCM: (404, "UNREGISTERED")}
REVOKED = {
    ProviderName.APNS: (403, "InvalidProviderToken"),
    ProviderName.FCM: (401, "UNAUTHENTICATED"),
}


@pytest.mark.parametrize("answers", [NOT_OURS, GONE])
async def test_five_thousand_refusals_do_not_wedge_the_connection(
    scene: Scene, answers: dict[ProviderName, tuple[int, str]]
) -> None:
    scene.refuse(*answers[scene.name])
    refused = await scene.send(5_000)
    scene.behave(accept)
    accepted = await scene.send(10)

    assert verdicts(refused) == {Verdict.FAILED}
    assert verdicts(accepted) == {Verdict.SENT}
    assert len(scene.server.peers) == 1


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"\x00\xff", b"{}", HUGE])
@pytest.mark.parametrize(
    ("status", "verdict", "code"),
    [
        (400, Verdict.FAILED, ErrorCode.UNRECOGNISED),
        (403, Verdict.RETRY, ErrorCode.CREDENTIALS),
        (429, Verdict.RETRY, ErrorCode.THROTTLED),
        (500, Verdict.RETRY, ErrorCode.PROVIDER),
        (502, Verdict.RETRY, ErrorCode.PROVIDER),
        (503, Verdict.RETRY, ErrorCode.PROVIDER),
        (202, Verdict.UNKNOWN, ErrorCode.UNRECOGNISED),
    ],
)
async def test_body_that_says_nothing_leaves_the_status_to_speak(
    scene: Scene, status: int, body: bytes, verdict: Verdict, code: ErrorCode
) -> None:
    scene.answer(status, body)

    [outcome] = await scene.send()

    assert (outcome.verdict, outcome.error_code) == (verdict, code)
    assert outcome.reason == f"http_{status}"


@pytest.mark.parametrize("body", [b"", b"<html>Welcome</html>", b"\x00\xff", b"{}", HUGE])
async def test_acceptance_with_an_odd_body_is_sent(scene: Scene, body: bytes) -> None:
    scene.answer(200, body)

    [outcome] = await scene.send()

    assert (outcome.verdict, outcome.error_code) == (Verdict.SENT, None)
    assert len(scene.server.requests) == 1


async def test_body_that_is_split_over_frames_is_read_whole(scene: Scene) -> None:
    status, reason = GONE[scene.name]
    body = refusal(scene.name, reason)

    def in_pieces(request: Request) -> None:
        request.begin(status, {})
        request.send(body[:7])
        request.send(body[7:20])
        request.send(body[20:])
        request.send(b"", end=True)

    scene.behave(in_pieces)
    [outcome] = await scene.send()

    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, reason)


async def test_huge_bodies_cost_neither_connection_nor_others(scene: Scene) -> None:
    scene.answer(500, HUGE)
    troubled = await scene.send(5)
    scene.behave(accept)
    accepted = await scene.send(5)

    assert (verdicts(troubled), verdicts(accepted)) == ({Verdict.RETRY}, {Verdict.SENT})


async def test_revoked_key_in_mid_campaign_is_confirmed_and_fails_no_message(scene: Scene) -> None:
    accepted = await scene.send(100)
    scene.refuse(*REVOKED[scene.name])
    doubted, confirmed = await scene.send(100), await scene.send(100)
    scene.behave(accept)
    await scene.send()
    mended = await scene.send(100)

    assert verdicts(accepted) == verdicts(mended) == {Verdict.SENT}
    assert verdicts(doubted) == {Verdict.RETRY}
    assert verdicts(confirmed) == {Verdict.CREDENTIALS}
    assert {outcome.error_code for outcome in doubted} == {ErrorCode.CREDENTIALS}


async def test_key_that_is_refused_while_messages_are_out_costs_two_rounds_at_most(
    scene: Scene,
) -> None:
    held: list[Request] = []
    scene.behave(held.append)
    first, second = asyncio.create_task(scene.send(20)), asyncio.create_task(scene.send(20))
    await scene.server.seen(lambda: len(held) == 40)

    status, reason = REVOKED[scene.name]
    scene.refuse(status, reason)
    _refuse_all(held, status, refusal(scene.name, reason))
    doubted = await first + await second
    confirmed = await scene.send(20)

    assert verdicts(doubted) == {Verdict.RETRY}
    assert verdicts(confirmed) == {Verdict.CREDENTIALS}
    assert len(scene.server.requests) == 60


async def test_wrong_environment_deactivates_no_token(scene: Scene) -> None:
    scene.refuse(*NOT_OURS[scene.name])

    outcomes = await scene.send(200)

    assert {outcome.token_action for outcome in outcomes} == {TokenAction.QUARANTINE}


@pytest.mark.parametrize("as_date", [False, True])
async def test_throttle_says_when_to_come_again(scene: Scene, *, as_date: bool) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=300)
    asked = format_datetime(moment, usegmt=True) if as_date else "300"
    scene.refuse(429, TOO_MANY[scene.name], retry_after=asked)

    [outcome] = await scene.send()

    assert (outcome.verdict, outcome.error_code) == (Verdict.RETRY, ErrorCode.THROTTLED)
    assert outcome.retry_after is not None
    assert timedelta(seconds=240) < outcome.retry_after <= timedelta(seconds=300)


async def test_storm_of_503_is_retried_later_and_over_the_same_connection(scene: Scene) -> None:
    scene.refuse(503, BUSY[scene.name])
    storm = await scene.send(1_000)
    scene.behave(accept)
    after = await scene.send()

    assert {(o.verdict, o.error_code, o.retry_after) for o in storm} == {
        (Verdict.RETRY, ErrorCode.PROVIDER, FIRST_RETRY[scene.name])
    }
    assert verdicts(after) == {Verdict.SENT}
    assert (len(scene.server.requests), len(scene.server.peers)) == (1_001, 1)


def _refuse_all(requests: list[Request], status: int, body: bytes) -> None:
    for request in requests:
        request.answer(status, body)
