"""What the process gives its routes. Made once by `create_app`, read through the request."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from temporalio.client import Client

from api.chores import Chores
from api.gate import Gate
from api.recent import Recent
from fanfare.db.engine import Database
from fanfare.db.read_pool import ReadPool
from fanfare.readiness import Check
from fanfare.sealing import KeyRing


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
    readiness_checks: Mapping[str, Check] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    chores: Chores = field(default_factory=Chores)
    readiness: Recent = field(default_factory=Recent)


def resources_of(request: Request) -> Resources:
    """The resources of the process that this request came to."""
    resources = request.app.state.resources
    assert isinstance(resources, Resources)
    return resources
