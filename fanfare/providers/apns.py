"""Apple Push Notification service: one credential's way to its devices."""

import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote
from uuid import UUID

import structlog

from fanfare import payload
from fanfare.models import ApnsCredential, Outcome, Target, Verdict
from fanfare.providers import Answered, Notification, Send
from fanfare.providers.apns_token import ApnsTokenSource
from fanfare.providers.credentials import parse_apns_key
from fanfare.providers.exchange import Exchange, Header, Headers, OnResult, Result
from fanfare.providers.flight import Flight
from fanfare.providers.http2 import Http2Pool
from fanfare.providers.http2_engine import EngineName
from fanfare.providers.outcomes import APNS_SPOILS_CONNECTION, apns_outcome

_log = structlog.get_logger(__name__)


class ApnsProvider:
    """Sends to the devices of one app in one environment, with one team's key.

    A connection belongs to one team, key and environment (Apple, "Establishing a token-based
    connection to APNs"), so each instance has a pool of its own.
    """

    def __init__(
        self,
        credential: ApnsCredential,
        *,
        url: str,
        ssl_context: ssl.SSLContext,
        max_connections: int = 4,
        engine: EngineName = "ngh2",
    ) -> None:
        """Raises InvalidCredential where the key is not one."""
        self._topic = credential.bundle_id.encode()
        key = parse_apns_key(credential.key_p8).private_key
        self._tokens = ApnsTokenSource(credential.team_id, credential.key_id, key)
        self._pool = Http2Pool(
            url, ssl_context=ssl_context, max_connections=max_connections, engine=engine
        )

    def prepare(self, notification: Notification) -> Send:
        """Render body and constant headers once; the result sends to many devices."""
        body = payload.render_apns(notification.content)
        constant = self._headers(notification)
        notification_id = notification.notification_id

        async def send(targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
            authorization = self._tokens.authorization()
            headers = (*constant, (b"authorization", authorization))
            submit = partial(self._submit, notification_id, headers, body)
            with Flight(self._pool, targets, submit, partial(self._read, authorization)) as flight:
                while group := await flight.group():
                    yield group

        return send

    async def close(self) -> None:
        """Wait for what is on the wire, at most the deadline, then close."""
        await self._pool.close()

    def _headers(self, notification: Notification) -> tuple[Header, ...]:
        expiration = payload.expiration_epoch(notification.expires_at, datetime.now(UTC))
        return (
            (b"apns-topic", self._topic),
            (b"apns-push-type", b"alert"),
            (b"apns-priority", b"10"),
            (b"apns-expiration", b"%d" % expiration),
            (b"apns-collapse-id", payload.collapse_id(notification.notification_id).encode()),
        )

    def _submit(
        self,
        notification_id: UUID,
        headers: Headers,
        body: bytes,
        target: Target,
        on_result: OnResult,
    ) -> Exchange:
        message_id = payload.apns_id(notification_id, target.token_id)
        own = ((b"apns-id", message_id.encode()),)
        return self._pool.submit(_path(target.token), headers, body, on_result, own)

    def _read(self, authorization: bytes, result: Result) -> Outcome:
        outcome = apns_outcome(result)
        if outcome.reason is None:
            return outcome
        if outcome.reason in APNS_SPOILS_CONNECTION:
            self._pool.renew()
        if outcome.reason == "ExpiredProviderToken":
            return self._expired(authorization, outcome)
        return outcome

    def _expired(self, authorization: bytes, outcome: Outcome) -> Outcome:
        """Another try with another token; where ours is as young as can be, our clock is wrong."""
        if authorization != self._tokens.authorization():
            return outcome
        if self._tokens.note_expired():
            _log.warning("apns_token_expired_early", hint="compare this machine's clock")
            return outcome
        return replace(outcome, verdict=Verdict.CREDENTIALS)


def _path(token: str) -> bytes:
    # Tokens are hex; whatever else has got in must not end the path, nor break the connection.
    safe = token if token.isascii() and token.isalnum() else quote(token, safe="")
    return b"/3/device/" + safe.encode()
