"""What the transport's and the adapters' tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fanfare.dev.simulator import Simulator
from fanfare.models import ProviderName
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile_provider import hand_out_access_tokens
from tests.providers.hostile_scene import LONG, SHORT, Scene, open_scene


@pytest.fixture(params=["ngh2", "h2"])
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Every guarantee of the transport holds over both libraries."""
    return "h2" if request.param == "h2" else "ngh2"


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    """APNs, FCM and Google's token endpoint on a free port."""
    async with Simulator.start(directory=tmp_path) as simulator:
        yield simulator


@pytest.fixture(params=list(ProviderName))
def name(request: pytest.FixtureRequest) -> ProviderName:
    """Each provider in turn."""
    return ProviderName(request.param)


@pytest.fixture
async def scene(
    name: ProviderName, engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    """A provider at a hostile server, with the usual patience."""
    hand_out_access_tokens(monkeypatch)
    async with open_scene(name, engine, LONG) as scene:
        yield scene


@pytest.fixture
async def hasty(
    name: ProviderName, engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    """The same, but its deadline is short, and its connection is open."""
    hand_out_access_tokens(monkeypatch)
    async with open_scene(name, engine, SHORT) as scene:
        await scene.send()
        scene.server.requests.clear()
        yield scene
