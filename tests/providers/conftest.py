"""What the transport's and the adapters' tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fanfare.dev.simulator import Simulator
from fanfare.providers.http2_engine import EngineName


@pytest.fixture(params=["ngh2", "h2"])
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Every guarantee of the transport holds over both libraries."""
    return "h2" if request.param == "h2" else "ngh2"


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    """APNs, FCM and Google's token endpoint on a free port."""
    async with Simulator.start(directory=tmp_path) as simulator:
        yield simulator
