"""The simulator's account as credentials, and adapters that are pointed at it."""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from fanfare.dev.simulator import Simulator
from fanfare.models import (
    ApnsCredential,
    Credential,
    Environment,
    FcmCredential,
    Outcome,
    ProviderName,
    Target,
)
from fanfare.providers import Answered, Notification, Provider, Send
from fanfare.providers.connect import ProviderAddresses, open_provider
from fanfare.providers.http2_engine import EngineName


def credential(simulator: Simulator, name: ProviderName) -> Credential:
    """The credential that the simulator's account stands for."""
    account = simulator.account
    match name:
        case ProviderName.APNS:
            return ApnsCredential(
                account.team_id,
                account.key_id,
                account.bundle_id,
                Environment.PRODUCTION,
                account.key_p8,
            )
        case ProviderName.FCM:
            info = account.service_account
            text = orjson.dumps(info).decode()
            return FcmCredential(info["project_id"], info["client_email"], text)


def open_simulated(simulator: Simulator, credential: Credential, engine: EngineName) -> Provider:
    """The credential's adapter, pointed at the simulator."""
    addresses = ProviderAddresses(
        apns_url=simulator.url,
        apns_sandbox_url=simulator.sandbox_url or "",
        fcm_url=simulator.url,
        oauth_url=f"{simulator.url}/token",
        ca_file=simulator.ca_file,
    )
    return open_provider(credential, addresses, engine=engine)


def wrong(credential: Credential) -> Credential:
    """A credential of the same shape that the provider refuses."""
    match credential:
        case ApnsCredential():
            return replace(credential, team_id="OTHERTEAM1")
        case FcmCredential():
            return replace(credential, project_id="another-project")


async def send_all(send: Send, targets: Sequence[Target]) -> list[Outcome]:
    """Send to these, each of which is answered once; outcomes in their order."""
    outcomes = dict(answered_of([group async for group in send(targets)]))
    return [outcomes[target] for target in targets]


async def send_one(provider: Provider, notification: Notification, target: Target) -> Outcome:
    """Send to one device."""
    [outcome] = await send_all(provider.prepare(notification), [target])
    return outcome


def answered_of(groups: Sequence[Sequence[Answered]]) -> list[Answered]:
    """What the groups hold, one after the other."""
    answered = [item for group in groups for item in group]
    assert len({target for target, _ in answered}) == len(answered)
    return answered
