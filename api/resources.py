"""What the process gives its routes. Made once by `create_app`, read through the request."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from temporalio.client import Client

from fanfare.db.engine import Database
from fanfare.db.read_pool import ReadPool
from fanfare.sealing import KeyRing

# Raises where the thing is not ready; the name says which thing.
ReadinessCheck = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Resources:
    """Connections and secrets.

    `reads` answers what every request asks, its key, and what is asked again and again.
    """

    database: Database
    reads: ReadPool
    temporal: Client
    key_ring: KeyRing = field(repr=False)
    pepper: bytes = field(repr=False)
    operator_key: str | None = field(repr=False, default=None)
    temporal_ui_url: str | None = None
    readiness_checks: Mapping[str, ReadinessCheck] = field(default_factory=dict)


def resources_of(request: Request) -> Resources:
    """The resources of the process that this request came to."""
    resources = request.app.state.resources
    assert isinstance(resources, Resources)
    return resources
