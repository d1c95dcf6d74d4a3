"""FCM's access token: fetched once for many, dropped when refused, and blamed last."""

import asyncio
from uuid import UUID

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


def _targets(count: int) -> list[Target]:
    return [Target(i, f"aa{i:04x}") for i in range(count)]
