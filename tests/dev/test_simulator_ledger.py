"""The ledger: what was accepted, how often, and what else was asked."""

import itertools

from fanfare.dev.simulator import Ledger, Simulator
from fanfare.dev.simulator.exchange import Endpoint
from fanfare.dev.simulator.ledger import Envelope
from fanfare.models import Environment
from tests.dev.conftest import Sender, payload
from tests.dev.simulator_client import SimulatorClient

SPRING = Envelope(
    provider=Endpoint.APNS,
    environment=Environment.PRODUCTION,
    collapse_id="spring",
    topic="dev.fanfare.demo",
    expiration="0",
    title="Sale",
    body="Now",
    data={},
)


def test_sequence_grows_with_each_acceptance_and_time_is_the_clocks() -> None:
    clock = itertools.count(1_000)
    ledger = Ledger(lambda: float(next(clock)))

    ledger.accept(SPRING, "aa", b"1")
    ledger.accept(SPRING, "bb", b"2")

    found = list(ledger.acceptances())
    assert [(one.sequence, one.token, one.message_id) for one in found] == [
        (1, "aa", "1"),
        (2, "bb", "2"),
    ]
    assert [one.accepted_at.timestamp() for one in found] == [1_000, 1_001]


def test_token_accepted_twice_is_one_duplicate() -> None:
    ledger = Ledger(lambda: 1.0)

    ledger.accept(SPRING, "aa", b"1")
    ledger.accept(SPRING, "aa", b"2")
    ledger.accept(SPRING, "aa", b"3")
    ledger.accept(SPRING, "bb", b"4")

    totals = ledger.totals(collapse_id="spring")
    assert (totals.accepted, totals.tokens, totals.duplicates) == (4, 2, 1)


def test_every_kind_of_request_is_counted() -> None:
    ledger = Ledger(lambda: 1.0)

    ledger.accept(SPRING, "aa", b"1")
    ledger.reject(Endpoint.APNS, "spring", 410, "Unregistered")
    ledger.leave_unanswered(Endpoint.APNS, "spring", "silence")
    ledger.count(Endpoint.OAUTH)

    totals = ledger.totals()
    assert (totals.requests, totals.accepted) == (4, 1)
    assert totals.rejected == {"apns 410 Unregistered": 1}
    assert totals.unanswered == {"apns silence": 1}


def test_totals_are_apart_by_provider_and_collapse_id() -> None:
    ledger = Ledger(lambda: 1.0)
    ledger.accept(SPRING, "aa", b"1")
    ledger.reject(Endpoint.FCM, "summer", 404, "UNREGISTERED")

    by_provider = ledger.totals(provider=Endpoint.FCM)
    by_collapse_id = ledger.totals(collapse_id="spring")

    assert (by_provider.requests, by_provider.accepted) == (1, 0)
    assert (by_collapse_id.requests, by_collapse_id.accepted) == (1, 1)


def test_filters_hold_together() -> None:
    ledger = Ledger(lambda: 1.0)
    ledger.accept(SPRING, "aa", b"1")
    ledger.accept(SPRING, "bb", b"2")

    found = ledger.acceptances(provider=Endpoint.APNS, collapse_id="spring", token="bb")

    assert [one.message_id for one in found] == ["2"]
    assert list(ledger.acceptances(collapse_id="summer")) == []


async def test_acceptance_holds_what_was_sent(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/AA11", sender.apns_headers(), payload(deep_link="app://sale"))

    accepted = next(simulator.ledger.acceptances())

    assert accepted.token == "aa11"
    assert accepted.envelope == Envelope(
        provider=Endpoint.APNS,
        environment=Environment.PRODUCTION,
        collapse_id="spring",
        topic="dev.fanfare.demo",
        expiration="1900000000",
        title="Sale",
        body="Now",
        data={"deep_link": "app://sale"},
    )


async def test_rejection_is_counted_under_its_collapse_id(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/dead", sender.apns_headers(), payload())

    totals = simulator.ledger.totals(collapse_id="spring")

    assert (totals.requests, totals.rejected) == (1, {"apns 410 Unregistered": 1})
