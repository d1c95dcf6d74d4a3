"""Firebase Cloud Messaging, HTTP v1: one service account's way to its project's devices."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from fanfare import payload
from fanfare.models import ErrorCode, FcmCredential, Outcome, Target, Verdict
from fanfare.providers import Notification, Send
from fanfare.providers.credentials import parse_service_account
from fanfare.providers.exchange import Answer
from fanfare.providers.fcm_token import (
    AccessTokenUnavailable,
    FcmTokenSource,
    google_fetch,
)
from fanfare.providers.http2 import Http2Pool
from fanfare.providers.http2_engine import EngineName
from fanfare.providers.outcomes import fcm_outcome

_CONTENT_TYPE = (b"content-type", b"application/json")
_REFUSED_ONCE = Outcome(
    Verdict.RETRY, ErrorCode.CREDENTIALS, "UNAUTHENTICATED", retry_after=timedelta(seconds=1)
)


class FcmProvider:
    """Sends to the devices of one Firebase project."""

    def __init__(
        self,
        credential: FcmCredential,
        *,
        url: str,
        oauth_url: str,
        ca_file: Path | None,
        ssl_context: ssl.SSLContext,
        max_connections: int = 10,
        engine: EngineName = "ngh2",
    ) -> None:
        """`max_connections`: Google allows 100 streams each. Raises InvalidCredential."""
        account = parse_service_account(credential.service_account_json)
        project = quote(credential.project_id, safe="")
        self._path = f"/v1/projects/{project}/messages:send".encode()
        self._tokens = FcmTokenSource(google_fetch(account.info, oauth_url, ca_file))
        self._pool = Http2Pool(
            url, ssl_context=ssl_context, max_connections=max_connections, engine=engine
        )

    def prepare(self, notification: Notification) -> Send:
        """Render the message once but for token and time to live; the result sends to one."""
        template = payload.render_fcm(notification.content, notification.notification_id)
        expires_at = notification.expires_at

        async def send(target: Target) -> Outcome:
            try:
                authorization = await self._tokens.authorization()
            except AccessTokenUnavailable as error:
                return error.outcome
            ttl = payload.ttl_seconds(expires_at, datetime.now(UTC))
            body = payload.fill_fcm(template, token=target.token, ttl_seconds=ttl)
            return await self._exchange(body, authorization)

        return send

    async def close(self) -> None:
        """Wait for what is on the wire, at most the deadline, then close."""
        await self._pool.close()
        await self._tokens.close()

    async def _exchange(self, body: bytes, authorization: bytes) -> Outcome:
        headers = (_CONTENT_TYPE, (b"authorization", authorization))
        result = await self._pool.request(self._path, headers, body)
        outcome = fcm_outcome(result)
        if outcome.reason == "UNAUTHENTICATED" and self._tokens.note_refused(authorization):
            return _REFUSED_ONCE
        if isinstance(result, Answer) and result.status == 200:
            self._tokens.note_accepted()
        return outcome
