"""The senders that `bench.transport` compares, each behind one call: send this batch of tokens."""

import asyncio
import os
import ssl
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aioapns
import firebase_admin
import orjson
from aioapns.connection import APNsTLSClientProtocol
from firebase_admin import credentials, messaging

from fanfare.models import (
    ApnsCredential,
    Content,
    Credential,
    Environment,
    FcmCredential,
    Target,
    Verdict,
)
from fanfare.providers import Notification
from fanfare.providers.connect import ProviderAddresses, open_provider
from fanfare.providers.http2_engine import EngineName

TITLE = "Spring sale"
TEXT = "Everything in the shop is cheaper until Sunday evening, and delivery is free of charge."
DATA = {"url": "https://example.com/spring"}

SendBatch = Callable[[Sequence[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sink:
    """Where the simulator is, and the directory with the account that it knows."""

    url: str
    directory: Path

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    def read(self, name: str) -> str:
        """A file of the account."""
        return (self.directory / name).read_text()


Open = Callable[[Sink], AbstractAsyncContextManager[SendBatch]]


@dataclass(frozen=True, slots=True)
class Contender:
    """One sender, and how many messages make a round of about a second."""

    lane: str
    open: Open
    messages: int


@asynccontextmanager
async def _ours(sink: Sink, *, lane: str, engine: EngineName) -> AsyncIterator[SendBatch]:
    addresses = ProviderAddresses(
        apns_url=sink.url, fcm_url=sink.url, oauth_url=f"{sink.url}/token", ca_file=sink.ca_file
    )
    provider = open_provider(_credential(sink, lane), addresses, engine=engine)
    prepared = provider.prepare(Notification(uuid.uuid4(), Content(TITLE, TEXT, DATA)))

    async def send(tokens: Sequence[str]) -> None:
        accepted = 0
        async for group in prepared([Target(number, token) for number, token in enumerate(tokens)]):
            accepted += sum(outcome.verdict is Verdict.SENT for _, outcome in group)
        _check(accepted, tokens)

    try:
        yield send
    finally:
        await provider.close()


@asynccontextmanager
async def _aioapns(sink: Sink) -> AsyncIterator[SendBatch]:
    account = orjson.loads(sink.read("account.json"))
    client = aioapns.APNs(
        key=sink.read("AuthKey.p8"),
        key_id=account["key_id"],
        team_id=account["team_id"],
        topic=account["bundle_id"],
        ssl_context=ssl.create_default_context(cafile=sink.ca_file),
    )
    address = urlsplit(sink.url)
    client.pool.protocol_class = type(
        "SimulatedProtocol",
        (APNsTLSClientProtocol,),
        {"APNS_SERVER": address.hostname, "APNS_PORT": address.port},
    )
    collapse_id = str(uuid.uuid4())

    async def send(tokens: Sequence[str]) -> None:
        results = await asyncio.gather(
            *(client.send_notification(_aioapns_request(token, collapse_id)) for token in tokens)
        )
        _check(sum(result.is_successful for result in results), tokens)

    try:
        yield send
    finally:
        client.pool.close()


def _aioapns_request(token: str, collapse_id: str) -> Any:  # Any: aioapns says no types
    alert = {"title": TITLE, "body": TEXT}
    return aioapns.NotificationRequest(
        token,
        {**DATA, "aps": {"alert": alert, "mutable-content": 1}},
        time_to_live=86_400,
        priority=10,
        collapse_key=collapse_id,
        push_type=aioapns.PushType.ALERT,
    )


@asynccontextmanager
async def _firebase_admin(sink: Sink) -> AsyncIterator[SendBatch]:
    # Where it finds the authority: one for httpx, one for requests.
    os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = str(sink.ca_file)
    # There is no public way to another address.
    messaging._MessagingService.FCM_URL = f"{sink.url}/v1/projects/{{0}}/messages:send"  # noqa: SLF001
    account = orjson.loads(sink.read("service-account.json"))
    certificate = credentials.Certificate({**account, "token_uri": f"{sink.url}/token"})
    app = firebase_admin.initialize_app(certificate, name=str(uuid.uuid4()))
    tag = str(uuid.uuid4())

    async def send(tokens: Sequence[str]) -> None:
        messages = [_firebase_message(token, tag) for token in tokens]
        answer = await messaging.send_each_async(messages, app=app)
        _check(answer.success_count, tokens)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield send
    finally:
        # It runs a loop of its own to close its client.
        await asyncio.to_thread(firebase_admin.delete_app, app)


def _firebase_message(token: str, tag: str) -> Any:  # Any: firebase-admin says no types
    shown = messaging.AndroidNotification(tag=tag)
    return messaging.Message(
        token=token,
        notification=messaging.Notification(title=TITLE, body=TEXT),
        data=DATA,
        android=messaging.AndroidConfig(priority="high", ttl=86_400, notification=shown),
    )


def _credential(sink: Sink, lane: str) -> Credential:
    if lane == "fcm":
        text = sink.read("service-account.json")
        info = orjson.loads(text)
        return FcmCredential(info["project_id"], info["client_email"], text)
    account = orjson.loads(sink.read("account.json"))
    return ApnsCredential(
        account["team_id"],
        account["key_id"],
        account["bundle_id"],
        Environment.PRODUCTION,
        sink.read("AuthKey.p8"),
    )


def _check(accepted: int, tokens: Sequence[str]) -> None:
    if accepted != len(tokens):
        raise RuntimeError(f"{accepted} of {len(tokens)} were accepted")


# The first of a lane is what the others of that lane are compared with.
CONTENDERS: Mapping[str, Contender] = {
    "fanfare apns, ngh2": Contender("apns", partial(_ours, lane="apns", engine="ngh2"), 20_000),
    "fanfare apns, h2": Contender("apns", partial(_ours, lane="apns", engine="h2"), 3_000),
    "aioapns": Contender("apns", _aioapns, 2_000),
    "fanfare fcm, ngh2": Contender("fcm", partial(_ours, lane="fcm", engine="ngh2"), 20_000),
    "fanfare fcm, h2": Contender("fcm", partial(_ours, lane="fcm", engine="h2"), 3_000),
    "firebase-admin": Contender("fcm", _firebase_admin, 600),
}
