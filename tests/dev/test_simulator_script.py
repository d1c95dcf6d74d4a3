"""Scripts: which request a rule takes, and what it does to stream and connection."""

import asyncio

import pytest
from pydantic import ValidationError

from fanfare.dev.simulator import Script, Simulator
from fanfare.dev.simulator.exchange import Endpoint
from tests.dev.conftest import Sender, payload
from tests.dev.simulator_client import SimulatorClient

REFUSED_STREAM = 7


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ({}, "xxxxxx"),
        ({"token": "^a"}, "x.x.x."),
        ({"provider": "fcm"}, "......"),
        ({"every": 3}, "..x..x"),
        ({"after": 4}, "....xx"),
        ({"first": 2}, "xx...."),
        ({"after": 1, "first": 2}, ".xx..."),
        ({"after": 1, "every": 2}, "..x.x."),
        ({"token": "^a", "first": 2}, "x.x..."),
        ({"first_per_token": 1}, "xx...."),
    ],
)
def test_rule_takes_the_requests_it_is_for(match: dict[str, object], taken: str) -> None:
    script = Script.parse([{"match": match, "answer": {"status": 500}}])

    decided = [script.decide(Endpoint.APNS, token) for token in ("a1", "b1") * 3]

    assert "".join("x" if answer else "." for answer in decided) == taken


def test_first_matching_rule_decides_and_is_counted() -> None:
    script = Script.parse(
        [
            {"match": {"token": "^a"}, "answer": {"status": 410}},
            {"answer": {"status": 500}},
        ]
    )

    decided = [script.decide(Endpoint.APNS, token) for token in ("a1", "b1", "a1")]

    assert [answer and answer.status for answer in decided] == [410, 500, 410]
    assert [report.hits for report in script.report()] == [2, 1]


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"answer": {"action": "explode"}},
        {"answer": {"status": 500, "colour": "red"}},
        {"answer": {"reason": "without a status"}},
        {"match": {"token": "("}, "answer": {}},
        {"match": {"every": 0}, "answer": {}},
    ],
)
def test_bad_rule_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Script.parse([rule])


async def test_scripted_status_takes_the_place_of_acceptance(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    answer = {"status": 410, "reason": "ExpiredToken", "timestamp_ms": 5, "headers": {"x-why": "t"}}
    simulator.script([{"answer": answer}])

    answered = await client.post("/3/device/aa", sender.apns_headers(), payload())

    assert (answered.status, answered.headers["x-why"]) == (410, "t")
    assert answered.json == {"reason": "ExpiredToken", "timestamp": 5}
    assert len(simulator.ledger) == 0


async def test_raw_body_is_sent_as_it_is(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    simulator.script([{"answer": {"status": 503, "body": "<html>", "retry_after": 9}}])

    answered = await client.post("/3/device/aa", sender.apns_headers(), payload())

    assert (answered.body, answered.headers["retry-after"]) == (b"<html>", "9")


async def test_latency_delays_the_normal_answer(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    simulator.script([{"match": {"token": "^aa"}, "answer": {"latency_ms": 60}}])
    await client.post("/3/device/bb", sender.apns_headers(), payload())
    await client.until(lambda: client.stream_limits[-1] == 1000)
    ended: list[str] = []

    slow = client.send("/3/device/aa", sender.apns_headers(), payload())
    quick = client.send("/3/device/bb", sender.apns_headers(), payload())
    slow.add_done_callback(lambda _: ended.append("slow"))
    quick.add_done_callback(lambda _: ended.append("quick"))
    answers = await asyncio.gather(slow, quick)

    assert [answer.status for answer in answers] == [200, 200]
    assert ended == ["quick", "slow"]


async def test_late_answer_to_a_closed_connection_is_dropped(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    simulator.script([{"match": {"first": 1}, "answer": {"latency_ms": 30}}])
    client.send("/3/device/aa", sender.apns_headers(), payload())
    client.close()
    other = await SimulatorClient.connect(simulator.url, simulator.ca_file)

    simulator.script([{"answer": {"latency_ms": 60}}])
    answered = await other.post("/3/device/bb", sender.apns_headers(), payload())
    other.close()

    assert answered.status == 200


@pytest.mark.parametrize(
    ("action", "accepted", "unanswered"),
    [("silence", 0, {"apns silence": 1}), ("accept_then_silence", 1, {})],
)
async def test_silence_leaves_the_stream_open(
    simulator: Simulator,
    client: SimulatorClient,
    sender: Sender,
    action: str,
    accepted: int,
    unanswered: dict[str, int],
) -> None:
    simulator.script([{"match": {"token": "^aa"}, "answer": {"action": action}}])
    await client.post("/3/device/bb", sender.apns_headers(apns_collapse_id="other"), payload())
    await client.until(lambda: client.stream_limits[-1] == 1000)

    silent = client.send("/3/device/aa", sender.apns_headers(), payload())
    await client.post("/3/device/bb", sender.apns_headers(apns_collapse_id="other"), payload())

    totals = simulator.ledger.totals(collapse_id="spring")
    assert not silent.done()
    assert (totals.accepted, totals.unanswered) == (accepted, unanswered)


@pytest.mark.parametrize(
    ("answer", "code", "accepted"),
    [
        ({"action": "reset"}, 2, 0),
        ({"action": "reset", "code": 11, "accepted": True}, 11, 1),
        ({"action": "refuse"}, REFUSED_STREAM, 0),
    ],
)
async def test_reset_ends_one_stream(
    simulator: Simulator,
    client: SimulatorClient,
    sender: Sender,
    answer: dict[str, object],
    code: int,
    accepted: int,
) -> None:
    simulator.script([{"match": {"token": "^aa"}, "answer": answer}])

    reset = await client.post("/3/device/aa", sender.apns_headers(), payload())
    after = await client.post("/3/device/bb", sender.apns_headers(apns_collapse_id="x"), payload())

    assert (reset.reset, after.status) == (code, 200)
    assert simulator.ledger.totals(collapse_id="spring").accepted == accepted


async def test_goaway_answers_what_was_processed_and_refuses_the_rest(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/bb", sender.apns_headers(apns_collapse_id="x"), payload())
    await client.until(lambda: client.stream_limits[-1] == 1000)
    answer = {"action": "goaway", "reason": "Shutdown"}
    simulator.script([{"match": {"every": 2}, "answer": answer}])

    sends = [client.send("/3/device/aa", sender.apns_headers(), payload()) for _ in range(4)]
    answers = await asyncio.gather(*sends)
    await client.until(lambda: client.is_closed)

    assert client.goaway is not None
    assert (client.goaway.last_stream_id, client.goaway.debug_data) == (5, b'{"reason":"Shutdown"}')
    assert [answer.status for answer in answers[:2]] == [200, 200]
    assert [answer.reset for answer in answers[2:]] == [REFUSED_STREAM, REFUSED_STREAM]
    assert simulator.ledger.totals(collapse_id="spring").accepted == 2


async def test_close_drops_the_connection(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    simulator.script([{"answer": {"action": "close", "accepted": True}}])

    unanswered = client.send("/3/device/aa", sender.apns_headers(), payload())
    await client.until(lambda: client.is_closed)

    assert not unanswered.done()
    assert len(simulator.ledger) == 1


async def test_requests_behind_a_close_are_not_processed(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/bb", sender.apns_headers(apns_collapse_id="x"), payload())
    await client.until(lambda: client.stream_limits[-1] == 1000)
    simulator.script([{"match": {"first": 1}, "answer": {"action": "close"}}])

    client.send("/3/device/aa", sender.apns_headers(), payload())
    client.send("/3/device/aa", sender.apns_headers(), payload())
    await client.until(lambda: client.is_closed)

    assert simulator.ledger.totals(collapse_id="spring").requests == 1


async def test_rule_without_a_provider_leaves_the_token_endpoint_alone() -> None:
    script = Script.parse([{"answer": {"status": 500}}])

    assert script.decide(Endpoint.OAUTH, "") is None
    assert script.decide(Endpoint.FCM, "phone") is not None


async def test_stream_limit_can_be_scripted(
    simulator: Simulator, client: SimulatorClient, sender: Sender
) -> None:
    simulator.script([{"match": {"every": 2}, "answer": {"max_concurrent_streams": 3}}])

    await client.post("/3/device/aa", sender.apns_headers(), payload())
    await client.post("/3/device/aa", sender.apns_headers(), payload())
    await client.until(lambda: client.stream_limits[-1] == 3)

    assert client.stream_limits == [1, 1000, 3]
