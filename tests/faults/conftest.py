"""A stack of these tests' own, with a proxy before APNs' sandbox."""

from collections.abc import AsyncIterator

import pytest

from tests.faults.stages import staged
from tests.faults.staging import Stage


@pytest.fixture(scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("faults")) as stage:
        yield stage
