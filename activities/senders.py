"""Open providers, one per project and lane, for as long as their credential stands."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from fanfare.db import credentials
from fanfare.db.credentials import SealedCredential
from fanfare.db.engine import Database
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


@dataclass(frozen=True, slots=True)
class OpenSender:
    """A provider and the credential row that it was opened with."""

    credential_id: UUID
    provider: Provider


class Senders:
    """The process's providers. A replaced credential gets a new one; the old one drains."""

    def __init__(self, database: Database, ring: KeyRing, addresses: ProviderAddresses) -> None:
        self._database = database
        self._ring = ring
        self._addresses = addresses
        self._open: dict[tuple[UUID, Lane], OpenSender] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def find(self, project: ProjectCtx, lane: Lane) -> Provider | None:
        """The lane's provider, None where the project has no credential for it.

        Raises InvalidCredential where the credential cannot be used, DatabaseUnavailable.
        """
        try:
            async with self._database.transaction() as conn:
                sealed = await credentials.get_sealed(
                    conn, project, lane.provider, lane.environment
                )
        except CredentialNotFound:
            self._retire(self._open.pop((project.project_id, lane), None))
            return None
        found = self._open.get((project.project_id, lane))
        if found is not None and found.credential_id == sealed.stored.id:
            return found.provider
        self._retire(found)
        provider = self._connect(project, sealed)
        self._open[project.project_id, lane] = OpenSender(sealed.stored.id, provider)
        return provider

    async def close(self) -> None:
        """Wait for what is on the wire, and close every provider."""
        for sender in self._open.values():
            self._retire(sender)
        self._open.clear()
        await asyncio.gather(*self._closing)

    def _connect(self, project: ProjectCtx, sealed: SealedCredential) -> Provider:
        stored = sealed.stored
        context = credentials.sealing_context(project, stored.provider, stored.id)
        try:
            secret = self._ring.open(sealed.sealed, context=context)
            return open_provider(credential_of(sealed, secret), self._addresses)
        except (CannotOpen, ValueError) as error:
            message = f"The {stored.provider} credential cannot be used: {error}"
            raise InvalidCredential(message) from error

    def _retire(self, sender: OpenSender | None) -> None:
        if sender is not None:
            closing = asyncio.create_task(sender.provider.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


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
