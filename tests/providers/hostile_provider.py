"""Adapters that are pointed at the hostile server, and what each provider says by JSON."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import orjson
import pytest

from fanfare.models import ProviderName
from fanfare.providers import Provider, fcm
from fanfare.providers.apns import ApnsProvider
from fanfare.providers.fcm import FcmProvider
from fanfare.providers.fcm_token import Fetch
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import HostileServer, Request
from tests.providers.keys import apns_credential, fcm_credential

LATE = 4_000_000_000.0


def accept(request: Request) -> None:
    """Accept the message, as the provider does whose path this is."""
    is_fcm = request.path.startswith("/v1/")
    request.answer(200, b'{"name":"projects/demo/messages/1"}' if is_fcm else b"")


def refusal(name: ProviderName, reason: str) -> bytes:
    """The body of a refusal in the provider's own form."""
    match name:
        case ProviderName.APNS:
            return orjson.dumps({"reason": reason})
        case ProviderName.FCM:
            kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
            details = [{"@type": kind, "errorCode": reason}]
            return orjson.dumps({"error": {"status": "OTHER", "details": details}})


@asynccontextmanager
async def open_hostile(
    server: HostileServer, name: ProviderName, engine: EngineName, deadline: timedelta
) -> AsyncIterator[Provider]:
    """The provider's adapter, closed at the end. FCM's needs `hand_out_access_tokens`."""
    provider = _open(server, name, engine, deadline)
    try:
        yield provider
    finally:
        await provider.close()


def hand_out_access_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give FCM's adapters a token of their own, so that a test has one server alone."""
    tokens = iter(range(1_000_000))

    def fetch() -> tuple[str, float]:
        return f"t{next(tokens)}", LATE

    def new_fetch(*_: object) -> Fetch:
        return fetch

    monkeypatch.setattr(fcm, "google_fetch", new_fetch)


def _open(
    server: HostileServer, name: ProviderName, engine: EngineName, deadline: timedelta
) -> Provider:
    match name:
        case ProviderName.APNS:
            return ApnsProvider(
                apns_credential(),
                url=server.url,
                ssl_context=server.ssl_context,
                max_connections=1,
                deadline=deadline,
                engine=engine,
            )
        case ProviderName.FCM:
            return FcmProvider(
                fcm_credential(),
                url=server.url,
                oauth_url="",
                ca_file=None,
                ssl_context=server.ssl_context,
                max_connections=1,
                deadline=deadline,
                engine=engine,
            )
