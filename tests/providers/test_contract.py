"""The one contract of a provider: both adapters against the simulator, over HTTP/2 and TLS."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from fanfare import payload
from fanfare.dev.simulator import Simulator
from fanfare.models import (
    ApnsCredential,
    Content,
    Environment,
    ErrorCode,
    Outcome,
    ProviderName,
    Target,
    TokenAction,
    Verdict,
)
from fanfare.providers import Notification, Provider
from fanfare.providers.connect import ProviderAddresses, open_provider
from fanfare.providers.http2_engine import EngineName
from tests.providers.simulated import credential, open_simulated, send_all, send_one, wrong

CAMPAIGN = UUID("01932c5e-8f7a-7cc3-98c4-dc0c0c07398f")
NOTIFICATION = Notification(CAMPAIGN, Content("Hello", "Grüße", {"url": "app://x", "n": 3}))
SUSPECT, DEAD = TokenAction.QUARANTINE, TokenAction.DEACTIVATE_BEFORE


@pytest.fixture
async def provider(
    simulator: Simulator, name: ProviderName, engine: EngineName
) -> AsyncIterator[Provider]:
    """The provider under test, with the account that the simulator knows."""
    provider = open_simulated(simulator, credential(simulator, name), engine)
    yield provider
    await provider.close()


async def test_message_is_accepted_once_with_what_it_says(
    simulator: Simulator, provider: Provider, name: ProviderName
) -> None:
    outcome = await _send(provider, "aa00")

    [accepted] = simulator.ledger.acceptances()
    last_part = accepted.message_id.rpartition("/")[2]
    message_id = {ProviderName.APNS: None, ProviderName.FCM: last_part}[name]
    assert outcome == Outcome(Verdict.SENT, provider_message_id=message_id)
    assert accepted.token == "aa00"
    assert (accepted.envelope.title, accepted.envelope.body) == ("Hello", "Grüße")
    assert accepted.envelope.collapse_id == payload.collapse_id(CAMPAIGN)


async def test_data_reaches_the_app(
    simulator: Simulator, provider: Provider, name: ProviderName
) -> None:
    await _send(provider, "aa00")

    [accepted] = simulator.ledger.acceptances()
    number = {ProviderName.APNS: 3, ProviderName.FCM: "3"}[name]
    assert accepted.envelope.data == {"url": "app://x", "n": number}


async def test_message_expires_when_the_notification_does(
    simulator: Simulator, provider: Provider, name: ProviderName
) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=2, seconds=0.9)

    await _send(provider, "aa00", replace(NOTIFICATION, expires_at=expires_at))

    [accepted] = simulator.ledger.acceptances()
    seconds = {ProviderName.APNS: str(int(expires_at.timestamp())), ProviderName.FCM: "7200s"}
    assert accepted.envelope.expiration == seconds[name]


async def test_thousand_at_once_are_each_accepted_once(
    simulator: Simulator, provider: Provider
) -> None:
    send = provider.prepare(NOTIFICATION)

    outcomes = await send_all(send, _targets(1_000))

    assert {outcome.verdict for outcome in outcomes} == {Verdict.SENT}
    totals = simulator.ledger.totals(collapse_id=payload.collapse_id(CAMPAIGN))
    assert (totals.tokens, totals.requests, totals.duplicates) == (1_000, 1_000, 0)


@pytest.mark.parametrize(
    ("token", "verdict", "code", "action"),
    [
        ("dead01", Verdict.FAILED, ErrorCode.INVALID_TOKEN, DEAD),
        ("bad001", Verdict.FAILED, ErrorCode.INVALID_TOKEN, SUSPECT),
        ("429a01", Verdict.RETRY, ErrorCode.THROTTLED, TokenAction.NONE),
        ("503a01", Verdict.RETRY, ErrorCode.PROVIDER, TokenAction.NONE),
    ],
)
async def test_refusal_says_what_becomes_of_message_and_token(
    provider: Provider, token: str, verdict: Verdict, code: ErrorCode, action: TokenAction
) -> None:
    outcome = await _send(provider, token)

    assert (outcome.verdict, outcome.error_code, outcome.token_action) == (verdict, code, action)


async def test_what_is_to_be_retried_says_when_and_is_accepted_then(
    simulator: Simulator, provider: Provider
) -> None:
    first = await _send(provider, "429a01")
    second = await _send(provider, "429a01")

    assert first.retry_after is not None
    assert first.retry_after > timedelta(0)
    assert second.verdict is Verdict.SENT


async def test_one_bad_answer_costs_no_other_message(
    simulator: Simulator, provider: Provider
) -> None:
    html = {"status": 502, "body": "<html>Bad Gateway</html>"}
    simulator.script([{"match": {"token": "^ab"}, "answer": html}])
    send = provider.prepare(NOTIFICATION)

    outcomes = await send_all(send, [Target(i, f"a{'ab'[i % 2]}{i:02x}") for i in range(20)])

    assert [o.verdict for o in outcomes] == [Verdict.SENT, Verdict.RETRY] * 10


@pytest.mark.parametrize(
    ("action", "verdict", "code"),
    [
        ("refuse", Verdict.RETRY, ErrorCode.NETWORK),
        ("reset", Verdict.UNKNOWN, ErrorCode.NO_ANSWER),
        ("close", Verdict.UNKNOWN, ErrorCode.NO_ANSWER),
    ],
)
async def test_transport_s_fault_is_an_outcome_too(
    simulator: Simulator, provider: Provider, action: str, verdict: Verdict, code: ErrorCode
) -> None:
    simulator.script([{"match": {"token": "^bb"}, "answer": {"action": action}}])

    outcome = await _send(provider, "bb00")

    assert (outcome.verdict, outcome.error_code) == (verdict, code)


async def test_goaway_loses_and_doubles_nothing(simulator: Simulator, provider: Provider) -> None:
    simulator.script([{"match": {"every": 50}, "answer": {"action": "goaway"}}])
    send = provider.prepare(NOTIFICATION)

    outcomes = await send_all(send, _targets(400))

    sent = [outcome for outcome in outcomes if outcome.verdict is Verdict.SENT]
    assert {outcome.verdict for outcome in outcomes} <= {Verdict.SENT, Verdict.RETRY}
    totals = simulator.ledger.totals(collapse_id=payload.collapse_id(CAMPAIGN))
    assert (totals.accepted, totals.duplicates) == (len(sent), 0)


async def test_wrong_credentials_are_told_apart_from_bad_tokens(
    simulator: Simulator, name: ProviderName, engine: EngineName
) -> None:
    provider = open_simulated(simulator, wrong(credential(simulator, name)), engine)
    send = provider.prepare(NOTIFICATION)

    await send_all(send, [Target(1, "aa00")])
    [outcome] = await send_all(send, [Target(2, "aa01")])
    await provider.close()

    assert (outcome.verdict, outcome.error_code) == (Verdict.CREDENTIALS, ErrorCode.CREDENTIALS)
    assert list(simulator.ledger.acceptances()) == []


async def test_provider_that_cannot_be_reached_is_an_outcome(
    simulator: Simulator, name: ProviderName, engine: EngineName
) -> None:
    addresses = ProviderAddresses(
        apns_url="https://127.0.0.1:1",
        fcm_url="https://127.0.0.1:1",
        oauth_url=f"{simulator.url}/token",
        ca_file=simulator.ca_file,
    )
    provider = open_provider(credential(simulator, name), addresses, engine=engine)

    outcome = await _send(provider, "aa00")
    await provider.close()

    assert (outcome.verdict, outcome.error_code) == (Verdict.RETRY, ErrorCode.NETWORK)
    assert outcome.reason == "refused"


async def test_nothing_that_is_shown_holds_the_token(
    simulator: Simulator,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    send = provider.prepare(NOTIFICATION)
    tokens = ["badf00d1", "bad0f00d", "deadf00d", "503af00d"]

    outcomes = await send_all(send, [Target(i, token) for i, token in enumerate(tokens)])

    shown = f"{caplog.text}{outcomes}{provider}{capsys.readouterr()}"
    assert "f00d" not in shown


async def test_apns_refuses_what_is_of_the_other_world(
    simulator: Simulator, engine: EngineName
) -> None:
    production = credential(simulator, ProviderName.APNS)
    assert isinstance(production, ApnsCredential)
    sandbox = replace(production, environment=Environment.SANDBOX)
    provider = open_simulated(simulator, sandbox, engine)

    outcomes = [await _send(provider, "5a00"), await _send(provider, "aa00")]
    await provider.close()

    assert [outcome.verdict for outcome in outcomes] == [Verdict.SENT, Verdict.FAILED]
    assert outcomes[1].reason == "BadDeviceToken"


async def test_apns_says_since_when_a_token_is_dead(
    simulator: Simulator, engine: EngineName
) -> None:
    began = datetime.now(UTC)
    provider = open_simulated(simulator, credential(simulator, ProviderName.APNS), engine)

    outcome = await _send(provider, "dead01")
    await provider.close()

    assert outcome.dead_since is not None
    assert abs(outcome.dead_since - began) < timedelta(seconds=30)


async def _send(
    provider: Provider, token: str, notification: Notification = NOTIFICATION
) -> Outcome:
    return await send_one(provider, notification, Target(7, token))


def _targets(count: int) -> list[Target]:
    return [Target(i, f"aa{i:04x}") for i in range(count)]
