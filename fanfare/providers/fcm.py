"""Firebase Cloud Messaging, HTTP v1: one service account's way to its project's devices."""

import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

from fanfare import payload
from fanfare.models import FcmCredential, Outcome, ProviderName, Target, Verdict
from fanfare.providers import Answered, Notification, Send
from fanfare.providers.credentials import parse_service_account
from fanfare.providers.exchange import Exchange, Headers, OnResult, Result
from fanfare.providers.fcm_token import (
    AccessTokenUnavailable,
    FcmTokenSource,
    google_fetch,
)
from fanfare.providers.flight import Flight
from fanfare.providers.http2 import DEADLINE, Http2Pool
from fanfare.providers.http2_engine import EngineName
from fanfare.providers.outcomes import fcm_outcome
from fanfare.providers.tally import Tally

_CONTENT_TYPE = (b"content-type", b"application/json")
# By then there is another access token.
_SOON = timedelta(seconds=1)


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
        deadline: timedelta = DEADLINE,
        engine: EngineName = "ngh2",
    ) -> None:
        """`max_connections`: Google allows 100 streams each. Raises InvalidCredential."""
        account = parse_service_account(credential.service_account_json)
        project = quote(credential.project_id, safe="")
        self._path = f"/v1/projects/{project}/messages:send".encode()
        self._tokens = FcmTokenSource(google_fetch(account.info, oauth_url, ca_file))
        self._unrecognised = Tally("unrecognised_answers", provider=ProviderName.FCM)
        self._pool = Http2Pool(
            url,
            ssl_context=ssl_context,
            max_connections=max_connections,
            deadline=deadline,
            engine=engine,
        )

    def prepare(self, notification: Notification) -> Send:
        """Render the message once but for token and time to live; the result sends to many."""
        template = payload.render_fcm(notification.content, notification.notification_id)
        expires_at = notification.expires_at

        async def send(targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
            try:
                authorization = await self._tokens.authorization()
            except AccessTokenUnavailable as error:
                yield [(target, error.outcome) for target in targets]
                return
            ttl = payload.ttl_seconds(expires_at, datetime.now(UTC))
            submit = partial(self._submit, _headers(authorization), payload.with_ttl(template, ttl))
            read = partial(self._read, authorization)
            with Flight(self._pool, targets, submit, read) as flight:
                while group := await flight.group():
                    yield group

        return send

    async def close(self) -> None:
        """Wait for what is on the wire, at most the deadline, then close."""
        await self._pool.close()
        await self._tokens.close()
        self._unrecognised.close()

    def _submit(
        self, headers: Headers, message: payload.FcmBody, target: Target, on_result: OnResult
    ) -> Exchange:
        body = payload.fill_fcm(message, target.token)
        return self._pool.submit(self._path, headers, body, on_result)

    def _read(self, authorization: bytes, result: Result) -> Outcome:
        outcome = fcm_outcome(result, self._unrecognised)
        if outcome.verdict is Verdict.SENT:
            self._tokens.note_accepted()
        elif outcome.verdict is Verdict.CREDENTIALS and self._tokens.note_refused(authorization):
            # Not believed before another access token is refused as well.
            return outcome._replace(verdict=Verdict.RETRY, retry_after=_SOON)
        return outcome


def _headers(authorization: bytes) -> Headers:
    return (_CONTENT_TYPE, (b"authorization", authorization))
