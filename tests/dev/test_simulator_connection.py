"""What a connection promises: the settings it announces, and how many streams it takes."""

import asyncio
from pathlib import Path

import pytest

from fanfare.dev.simulator import Simulator
from tests.dev.conftest import Sender, payload
from tests.dev.simulator_client import SimulatorClient


async def test_one_stream_until_a_valid_token_then_a_thousand(
    client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/aa", sender.apns_headers(authorization="bearer x"), payload())
    limits_before = list(client.stream_limits)
    await client.post("/3/device/bad0", sender.apns_headers(), payload())
    await client.until(lambda: len(client.stream_limits) == 2)

    assert (limits_before, client.stream_limits) == ([1], [1, 1000])


async def test_second_stream_at_the_limit_of_one_is_refused(
    simulator: Simulator, sender: Sender
) -> None:
    client = await SimulatorClient.connect(simulator.url, simulator.ca_file, heed_settings=False)

    sends = [client.send("/3/device/aa", sender.apns_headers(), payload()) for _ in range(2)]
    first, second = await asyncio.gather(*sends)
    client.close()

    assert (first.status, second.reset) == (200, 7)
    assert len(simulator.ledger) == 1


async def test_limit_of_one_can_be_switched_off(account_directory: Path) -> None:
    async with Simulator.start(
        directory=account_directory, one_stream_until_authenticated=False
    ) as simulator:
        client = await SimulatorClient.connect(simulator.url, simulator.ca_file)
        client.close()

    assert client.stream_limits == [1000]


@pytest.mark.parametrize("latency_ms", [0, 20])
async def test_stream_that_the_client_reset_harms_no_other(
    simulator: Simulator, client: SimulatorClient, sender: Sender, latency_ms: int
) -> None:
    simulator.script([{"answer": {"latency_ms": latency_ms}}])
    await client.post("/3/device/bb", sender.apns_headers(), payload())
    await client.until(lambda: client.stream_limits[-1] == 1000)

    reset = client.send("/3/device/aa", sender.apns_headers(), payload())
    client.reset_newest()
    after = await client.post("/3/device/bb", sender.apns_headers(), payload())

    assert after.status == 200
    assert (await reset).reset == 8


async def test_thousand_error_bodies_do_not_exhaust_the_window(
    client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/dead", sender.apns_headers(), payload())
    await client.until(lambda: client.stream_limits[-1] == 1000)

    sends = [client.send("/3/device/dead", sender.apns_headers(), payload()) for _ in range(500)]
    answers = await asyncio.gather(*sends)

    assert {answer.status for answer in answers} == {410}


async def test_leaving_closes_every_connection(account_directory: Path) -> None:
    async with Simulator.start(directory=account_directory) as simulator:
        client = await SimulatorClient.connect(simulator.url, simulator.ca_file)

    await client.until(lambda: client.is_closed)

    assert len(simulator.connections) == 0
