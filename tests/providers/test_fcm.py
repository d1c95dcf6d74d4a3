"""FCM's access token: fetched once for many, dropped when refused, and blamed last."""

import asyncio
from uuid import UUID

import pytest

from fanfare.dev.simulator import Simulator
from fanfare.dev.simulator.exchange import Endpoint
from fanfare.models import Content, ErrorCode, Outcome, ProviderName, Target, Verdict
from fanfare.providers import Notification
from fanfare.providers.http2_engine import EngineName
from tests.providers.simulated import credential, open_simulated, send_all, send_one

CAMPAIGN = UUID("01932c5e-8f7a-7cc3-98c4-dc0c0c07398f")
NOTIFICATION = Notification(CAMPAIGN, Content("Hello", "World", {}))


async def test_fcm_s_access_token_is_fetched_once_for_many(
    simulator: Simulator, engine: EngineName
) -> None:
    provider = open_simulated(simulator, credential(simulator, ProviderName.FCM), engine)
    send = provider.prepare(NOTIFICATION)

    await asyncio.gather(*(send_all(send, _targets(10)) for _ in range(10)))
    await provider.close()

    assert simulator.ledger.totals(provider=Endpoint.OAUTH).requests == 1


async def test_fcm_asks_for_a_new_access_token_before_it_blames_the_account(
    simulator: Simulator, engine: EngineName
) -> None:
    refusal = {"status": 401, "reason": "UNAUTHENTICATED"}
    simulator.script([{"match": {"provider": "fcm", "first": 2}, "answer": refusal}])
    provider = open_simulated(simulator, credential(simulator, ProviderName.FCM), engine)

    outcomes = [await send_one(provider, NOTIFICATION, Target(7, "aa00")) for _ in range(3)]
    await provider.close()

    verdicts = [outcome.verdict for outcome in outcomes]
    assert verdicts == [Verdict.RETRY, Verdict.CREDENTIALS, Verdict.SENT]
    assert simulator.ledger.totals(provider=Endpoint.OAUTH).requests == 2


async def test_fcm_token_that_is_refused_in_mid_flight_is_fetched_anew_once(
    simulator: Simulator, engine: EngineName
) -> None:
    refusal = {"status": 401, "reason": "UNAUTHENTICATED"}
    simulator.script([{"match": {"provider": "fcm", "token": "^ab"}, "answer": refusal}])
    provider = open_simulated(simulator, credential(simulator, ProviderName.FCM), engine)
    send = provider.prepare(NOTIFICATION)

    refused = await send_all(send, [Target(i, f"ab{i:02x}") for i in range(20)])
    accepted = await send_all(send, _targets(20))
    await provider.close()

    assert {outcome.verdict for outcome in refused} == {Verdict.RETRY}
    assert {outcome.verdict for outcome in accepted} == {Verdict.SENT}
    assert simulator.ledger.totals(provider=Endpoint.OAUTH).requests == 2


async def test_fcm_account_that_google_refuses_is_the_credentials(
    simulator: Simulator, engine: EngineName
) -> None:
    refusal = {"status": 400, "body": '{"error":"invalid_grant","error_description":"x"}'}
    simulator.script([{"match": {"provider": "oauth"}, "answer": refusal}])
    provider = open_simulated(simulator, credential(simulator, ProviderName.FCM), engine)

    outcomes = await send_all(provider.prepare(NOTIFICATION), _targets(3))
    await provider.close()

    refused = Outcome(Verdict.CREDENTIALS, ErrorCode.CREDENTIALS, "invalid_grant")
    assert outcomes == [refused] * 3


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500, "body": '{"error":"internal_failure"}'},
        {"status": 503, "body": "<html>Service Unavailable</html>"},
        {"status": 429, "body": '{"error":"rate_limit_exceeded"}'},
        {"status": 400, "body": ""},
        {"status": 400, "body": '{"error":"something_new"}'},
        {"status": 200, "body": "<html>Welcome</html>"},
        {"status": 200, "body": "{}"},
        {"status": 200, "body": "[]"},
        {"status": 200, "body": '{"access_token":7,"expires_in":3600}'},
        {"status": 200, "body": '{"access_token":"a\\nb","expires_in":3600}'},
        {"status": 200, "body": '{"access_token":"a"}'},
        {"status": 200, "body": '{"access_token":"a","expires_in":"soon"}'},
        {"status": 200, "body": '{"access_token":"a","expires_in":1e99}'},
        {"action": "close"},
    ],
)
async def test_fcm_s_token_endpoint_in_trouble_is_no_fault_of_the_account(
    simulator: Simulator, answer: dict[str, object]
) -> None:
    simulator.script([{"match": {"provider": "oauth"}, "answer": answer}])
    provider = open_simulated(simulator, credential(simulator, ProviderName.FCM), "ngh2")

    outcomes = await send_all(provider.prepare(NOTIFICATION), _targets(3))
    await provider.close()

    assert {(o.verdict, o.error_code, o.reason) for o in outcomes} == {
        (Verdict.RETRY, ErrorCode.NETWORK, "oauth_unavailable")
    }
    assert simulator.ledger.totals(provider=Endpoint.FCM).requests == 0


@pytest.mark.parametrize(
    ("error", "description", "reason"),
    [
        ("invalid_client", "The OAuth client was not found.", "invalid_client"),
        ("invalid_grant", "Invalid JWT Signature.", "invalid_grant"),
        (
            "invalid_grant",
            "Invalid JWT: Token must be short-lived. Check your iat and exp values in the claim.",
            "clock_skew",
        ),
    ],
)
async def test_fcm_refused_assertion_says_whether_it_is_the_account_or_our_clock(
    simulator: Simulator, error: str, description: str, reason: str
) -> None:
    body = f'{{"error":"{error}","error_description":"{description}"}}'
    refusal = {"status": 400, "body": body}
    simulator.script([{"match": {"provider": "oauth"}, "answer": refusal}])
    provider = open_simulated(simulator, credential(simulator, ProviderName.FCM), "ngh2")

    outcome = await send_one(provider, NOTIFICATION, Target(7, "aa00"))
    await provider.close()

    assert (outcome.verdict, outcome.reason) == (Verdict.CREDENTIALS, reason)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_fcm_believes_a_refusal_only_of_a_second_access_token(
    simulator: Simulator, status: int
) -> None:
    refusal = {"status": status, "body": "<html>Error</html>"}
    simulator.script([{"match": {"provider": "fcm"}, "answer": refusal}])
    provider = open_simulated(simulator, credential(simulator, ProviderName.FCM), "ngh2")

    outcomes = [await send_one(provider, NOTIFICATION, Target(7, "aa00")) for _ in range(2)]
    await provider.close()

    assert [outcome.verdict for outcome in outcomes] == [Verdict.RETRY, Verdict.CREDENTIALS]
    assert {outcome.error_code for outcome in outcomes} == {ErrorCode.CREDENTIALS}
    assert simulator.ledger.totals(provider=Endpoint.OAUTH).requests == 2


async def test_fcm_trouble_with_apple_s_key_ends_ios_alone_and_leaves_the_account_trusted(
    simulator: Simulator,
) -> None:
    refusal = {"status": 401, "reason": "THIRD_PARTY_AUTH_ERROR"}
    simulator.script([{"match": {"provider": "fcm", "token": "^105"}, "answer": refusal}])
    provider = open_simulated(simulator, credential(simulator, ProviderName.FCM), "ngh2")
    targets = [Target(0, "105a"), Target(1, "aa00"), Target(2, "105b"), Target(3, "aa01")]

    outcomes = await send_all(provider.prepare(NOTIFICATION), targets)
    await provider.close()

    assert [o.verdict for o in outcomes] == [Verdict.FAILED, Verdict.SENT] * 2
    assert outcomes[0].error_code is ErrorCode.CREDENTIALS
    assert simulator.ledger.totals(provider=Endpoint.OAUTH).requests == 1


def _targets(count: int) -> list[Target]:
    return [Target(i, f"aa{i:04x}") for i in range(count)]
