"""Apple Push Notification service: one credential's way to its devices."""

import ssl
from datetime import UTC, datetime
from urllib.parse import quote

import structlog

from fanfare import payload
from fanfare.models import ApnsCredential, Outcome, Target
from fanfare.providers import Notification, Send
from fanfare.providers.apns_token import ApnsTokenSource
from fanfare.providers.credentials import parse_apns_key
from fanfare.providers.exchange import Header
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
        """Render body and constant headers once; the result sends to one device."""
        body = payload.render_apns(notification.content)
        constant = self._headers(notification)
        notification_id = notification.notification_id

        async def send(target: Target) -> Outcome:
            message_id = payload.apns_id(notification_id, target.token_id)
            result = await self._pool.request(
                _path(target.token),
                (*constant, (b"authorization", self._tokens.authorization())),
                body,
                own_headers=((b"apns-id", message_id.encode()),),
            )
            outcome = apns_outcome(result, message_id)
            if outcome.reason is not None:
                self._heed(outcome.reason)
            return outcome

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

    def _heed(self, reason: str) -> None:
        """Do what a reason asks for beyond its message."""
        if reason == "ExpiredProviderToken" and self._tokens.note_expired():
            _log.warning("apns_token_expired_early", hint="compare this machine's clock")
        if reason in APNS_SPOILS_CONNECTION:
            self._pool.renew()


def _path(token: str) -> bytes:
    # Tokens are hex; whatever else has got in must not end the path, nor break the connection.
    safe = token if token.isascii() and token.isalnum() else quote(token, safe="")
    return b"/3/device/" + safe.encode()
