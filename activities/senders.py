"""Open providers, one per project and lane, for as long as their credential stands."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from activities.pace import Pace
from activities.stores import Stores
from fanfare.db import credentials
from fanfare.db.credentials import SealedCredential
from fanfare.errors import CredentialNotFound, InvalidCredential
from fanfare.models import (
    ApnsCredential,
    Credential,
    FcmCredential,
    Lane,
    ProjectCtx,
    ProviderName,
)
from fanfare.providers import Provider
from fanfare.providers.connect import ProviderAddresses, open_provider
from fanfare.sealing import CannotOpen, KeyRing

# A credential that was replaced or deleted is noticed so much later.
LOOK_EVERY_SECONDS = 1.0

# A project that sends nothing for so long keeps no connections.
IDLE_SECONDS = 600.0

# A credential that was refused is tried again so much later: what was wrong may have been mended
# at the provider.
REFUSED_SECONDS = 5.0


@dataclass(slots=True)
class Sender:
    """A provider and its pace, opened with one credential row; and when that was last looked at."""

    credential_id: UUID
    provider: Provider
    pace: Pace
    opened_at: float
    looked_at: float

    def is_fresh(self, now: float) -> bool:
        """Whether it may be used without a look at the credential."""
        return now - self.looked_at < LOOK_EVERY_SECONDS and not self.pace.is_refused

    def is_idle(self, now: float) -> bool:
        """Whether nobody has asked for it for long, and nothing of it is on the wire."""
        return now - self.looked_at > IDLE_SECONDS and self.pace.in_flight == 0

    def stands(self, credential_id: UUID, now: float) -> bool:
        """Whether it is the credential's, and not one that was refused a while ago."""
        is_over = self.pace.is_refused and now - self.opened_at > REFUSED_SECONDS
        return self.credential_id == credential_id and not is_over


class Senders:
    """The process's providers. A replaced credential gets a new one; the old one drains."""

    def __init__(self, stores: Stores, ring: KeyRing, addresses: ProviderAddresses) -> None:
        self._stores = stores
        self._ring = ring
        self._addresses = addresses
        self._open: dict[tuple[UUID, Lane], Sender] = {}
        self._absent_until: dict[tuple[UUID, Lane], float] = {}
        self._looking = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def find(self, project: ProjectCtx, lane: Lane) -> Sender | None:
        """What sends on the lane, None where the project has no credential for it.

        Raises InvalidCredential where the credential cannot be used, DatabaseUnavailable.
        """
        held = self._open.get((project.project_id, lane))
        if held is not None and held.is_fresh(_now()):
            return held
        # One batch looks; those that come meanwhile find what it found.
        async with self._looking:
            held = self._open.get((project.project_id, lane))
            if held is not None and held.is_fresh(_now()):
                return held
            return await self._renew(project, lane, held)

    async def find_other(self, project: ProjectCtx, lane: Lane) -> Sender | None:
        """What sends in the app's other APNs environment, None where nothing can.

        That there is nothing is remembered for a moment, for most apps have but one environment.
        Raises DatabaseUnavailable.
        """
        other = lane.other_environment
        if other is None or _now() < self._absent_until.get((project.project_id, other), 0.0):
            return None
        with suppress(InvalidCredential):
            if (sender := await self.find(project, other)) is not None:
                return sender
        self._absent_until[project.project_id, other] = _now() + LOOK_EVERY_SECONDS
        return None

    async def close(self) -> None:
        """Wait for what is on the wire, and close every provider."""
        for sender in self._open.values():
            self._retire(sender)
        self._open.clear()
        await asyncio.gather(*self._closing)

    async def _renew(self, project: ProjectCtx, lane: Lane, held: Sender | None) -> Sender | None:
        """What is held, where its credential still stands; else what stands in its place."""
        sealed = await self._look(project, lane)
        if held is not None and sealed is not None and held.stands(sealed.stored.id, _now()):
            held.looked_at = _now()
            return held
        self._retire(self._open.pop((project.project_id, lane), None))
        self._retire_idle()
        if sealed is None:
            return None
        stored = sealed.stored
        pace = Pace(self._stores.ledger, project, stored.id, stored.limits)
        provider = self._connect(project, sealed)
        opened = Sender(stored.id, provider, pace, opened_at=_now(), looked_at=_now())
        self._open[project.project_id, lane] = opened
        return opened

    async def _look(self, project: ProjectCtx, lane: Lane) -> SealedCredential | None:
        try:
            async with self._stores.database.transaction() as conn:
                return await credentials.get_sealed(conn, project, lane.provider, lane.environment)
        except CredentialNotFound:
            return None

    def _connect(self, project: ProjectCtx, sealed: SealedCredential) -> Provider:
        stored = sealed.stored
        context = credentials.sealing_context(project, stored.provider, stored.id)
        try:
            secret = self._ring.open(sealed.sealed, context=context)
            return open_provider(credential_of(sealed, secret), self._addresses)
        except (CannotOpen, ValueError) as error:
            message = f"The {stored.provider} credential cannot be used: {error}"
            raise InvalidCredential(message) from error

    def _retire_idle(self) -> None:
        for key, sender in list(self._open.items()):
            if sender.is_idle(_now()):
                self._retire(self._open.pop(key))
        for key, until in list(self._absent_until.items()):
            if until < _now():
                del self._absent_until[key]

    def _retire(self, sender: Sender | None) -> None:
        if sender is not None:
            for ending in (sender.provider.close(), sender.pace.close()):
                closing = asyncio.ensure_future(ending)
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)


def _now() -> float:
    return asyncio.get_running_loop().time()


def credential_of(sealed: SealedCredential, secret: str) -> Credential:
    """A stored credential with its secret, as the providers take it."""
    stored = sealed.stored
    match stored.provider:
        case ProviderName.APNS:
            return ApnsCredential(
                team_id=stored.public["team_id"],
                key_id=stored.public["key_id"],
                bundle_id=stored.public["bundle_id"],
                environment=stored.environment,
                key_p8=secret,
            )
        case ProviderName.FCM:
            return FcmCredential(
                project_id=stored.public["project_id"],
                client_email=stored.public["client_email"],
                service_account_json=secret,
            )
