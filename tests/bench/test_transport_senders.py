"""What the benchmark compares does send."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.transport_senders import CONTENDERS, Sink
from fanfare.dev.simulator import Simulator


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    """A sink in this process, open to all streams at once as in the benchmark."""
    async with Simulator.start(
        directory=tmp_path, one_stream_until_authenticated=False
    ) as simulator:
        yield simulator


# firebase-admin fetches its access token on the event loop, where this sink would have to answer.
@pytest.mark.parametrize("name", sorted(set(CONTENDERS) - {"firebase-admin"}))
async def test_contender_s_messages_are_accepted(simulator: Simulator, name: str) -> None:
    async with CONTENDERS[name].open(Sink(simulator.url, simulator.account.directory)) as send:
        await send(["aa00", "aa01", "aa02"])

    assert simulator.ledger.totals().accepted == 3
