"""A hostile server, one provider that talks to it, and what comes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from fanfare.models import Content, Outcome, ProviderName, Target, Verdict
from fanfare.providers import Notification, Provider
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import (
    Behaviour,
    HostileServer,
    hostile_server,
)
from tests.providers.hostile_provider import (
    accept,
    open_hostile,
    refusal,
)
from tests.providers.simulated import send_all

CAMPAIGN = UUID("01932c5e-8f7a-7cc3-98c4-dc0c0c07398f")
NOTIFICATION = Notification(CAMPAIGN, Content("Hello", "World", {}))
LONG = timedelta(seconds=15)
# Also how long a TLS handshake may take, on a machine that does other things meanwhile.
SHORT = timedelta(seconds=1.5)


@dataclass
class Scene:
    """A server that accepts until it is told otherwise, and the provider that talks to it."""

    name: ProviderName
    server: HostileServer
    provider: Provider

    def behave(self, behaviour: Behaviour) -> None:
        """Do this with every request from now on."""
        self.server.behaviour = behaviour

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Answer everything so from now on."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.behave(lambda request: request.answer(status, body, named))

    def refuse(self, status: int, reason: str, **headers: str) -> None:
        """Refuse everything, in the provider's own form."""
        self.answer(status, refusal(self.name, reason), **headers)

    async def send(self, count: int = 1) -> list[Outcome]:
        """Send to so many devices; outcomes in their order."""
        async with asyncio.timeout(60):
            return await send_all(self.provider.prepare(NOTIFICATION), _targets(count))


def verdicts(outcomes: list[Outcome]) -> set[Verdict]:
    """What the outcomes came to."""
    return {outcome.verdict for outcome in outcomes}


def _targets(count: int) -> list[Target]:
    return [Target(number, f"aa{number:06x}") for number in range(count)]


@asynccontextmanager
async def open_scene(
    name: ProviderName, engine: EngineName, deadline: timedelta
) -> AsyncIterator[Scene]:
    """A scene for one test. FCM's needs `hand_out_access_tokens`."""
    async with (
        hostile_server(accept) as server,
        open_hostile(server, name, engine, deadline) as provider,
    ):
        yield Scene(name, server, provider)
