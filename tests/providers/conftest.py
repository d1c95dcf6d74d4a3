"""What the transport's and the adapters' tests share."""

import pytest

from fanfare.providers.http2_engine import EngineName


@pytest.fixture(params=["ngh2", "h2"])
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Every guarantee of the transport holds over both libraries."""
    return "h2" if request.param == "h2" else "ngh2"
