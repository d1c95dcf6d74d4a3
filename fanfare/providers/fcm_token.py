"""FCM's access token: fetched with a service account, ahead of need, never on the event loop."""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, timedelta
from functools import partial
from pathlib import Path
from typing import TypeGuard

import requests
import structlog
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials

from fanfare.models import ErrorCode, Outcome, Verdict

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
FETCH_TIMEOUT_SECONDS = 10
# A token lives an hour. The next one is fetched in the background this long before its end, and
# the old one is not used any more in its last half minute.
_RENEW_AHEAD = timedelta(minutes=5).total_seconds()
_LAST_USE = timedelta(seconds=30).total_seconds()
# Pauses after failed fetches, so that a sick endpoint is not asked once for every message.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0

_log = structlog.get_logger(__name__)

Fetch = Callable[[], tuple[str, float]]


class AccessTokenUnavailable(Exception):
    """There is no token to send with; `outcome` is what that means for a message."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class FcmTokenSource:
    """Keeps the `authorization` of one service account. One fetch runs at a time.

    `fetch` blocks, in a thread, and returns the token and its end in epoch seconds.
    """

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._authorization = b""
        self._renew_at = 0.0
        self._usable_until = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self._failure: Outcome | None = None
        self._failures = 0
        self._fetch_after = 0.0
        self._is_on_trial = False

    async def authorization(self) -> bytes:
        """Return the header's value. Raises AccessTokenUnavailable."""
        now = self._clock()
        if now >= self._renew_at and self._fetching is None and now >= self._fetch_after:
            self._fetching = asyncio.create_task(self._renew())
        if now >= self._usable_until and self._fetching is not None:
            await asyncio.shield(self._fetching)
            now = self._clock()
        if now >= self._usable_until:
            raise AccessTokenUnavailable(self._failure or _UNAVAILABLE)
        return self._authorization

    def note_accepted(self) -> None:
        """Google took the present token."""
        self._is_on_trial = False

    def note_refused(self, authorization: bytes) -> bool:
        """Drop a token that Google refused, and return whether another may do better.

        Not so where the refused one was itself the replacement of a refused one, and none was
        accepted since: then the account is at fault.
        """
        if authorization != self._authorization:
            return True
        if self._is_on_trial:
            return False
        self._is_on_trial = True
        # Requests that are still out with it will be refused as well, and learn nothing new.
        self._authorization = b""
        self._renew_at = self._usable_until = 0.0
        return True

    async def close(self) -> None:
        """Let a running fetch end; nobody waits for its token."""
        if self._fetching is not None:
            await self._fetching

    async def _renew(self) -> None:
        try:
            token, ends_at = await asyncio.to_thread(self._fetch)
        except AccessTokenUnavailable as error:
            self._note_failure(error.outcome)
        else:
            self._authorization = b"Bearer " + token.encode()
            self._renew_at = ends_at - _RENEW_AHEAD
            self._usable_until = ends_at - _LAST_USE
            self._failures = 0
            self._failure = None
        finally:
            self._fetching = None

    def _note_failure(self, outcome: Outcome) -> None:
        self._failure = outcome
        self._fetch_after = self._clock() + min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 16)
        _log.warning("fcm_access_token_unavailable", reason=outcome.reason)


def google_fetch(info: Mapping[str, object], oauth_url: str, ca_file: Path | None) -> Fetch:
    """Return a fetch for a service account's JSON at `oauth_url`, which replaces its own.

    `ca_file` holds the only authorities to trust; None is the machine's.
    """
    account = Credentials.from_service_account_info(  # type: ignore[no-untyped-call]  # theirs
        {**info, "token_uri": oauth_url}, scopes=[SCOPE]
    )
    return partial(_fetch_once, account, ca_file)


def _fetch_once(account: Credentials, ca_file: Path | None) -> tuple[str, float]:
    # Said with each request: REQUESTS_CA_BUNDLE in the environment overrides what a session says.
    trust = {"verify": str(ca_file)} if ca_file is not None else {}
    with requests.Session() as session:
        request = partial(Request(session), timeout=FETCH_TIMEOUT_SECONDS, **trust)
        try:
            account.refresh(request)  # type: ignore[no-untyped-call]  # theirs
        except RefreshError as error:
            raise AccessTokenUnavailable(_refusal(error)) from None
        except (GoogleAuthError, *_TRIPPED_OVER_BODY):
            raise AccessTokenUnavailable(_UNAVAILABLE) from None
    if not _is_token(account.token) or account.expiry is None:
        raise AccessTokenUnavailable(_UNAVAILABLE)
    # google-auth keeps the end as a naive UTC time.
    return account.token, account.expiry.replace(tzinfo=UTC).timestamp()


# google-auth takes any 200 for a JSON object with a token and a number of seconds in it.
_TRIPPED_OVER_BODY = (TypeError, ValueError, AttributeError, OverflowError)


def _is_token(value: object) -> TypeGuard[str]:
    # It goes into a header as it is.
    return isinstance(value, str) and value.isascii() and value.isprintable()


_UNAVAILABLE = Outcome(
    Verdict.RETRY, ErrorCode.NETWORK, "oauth_unavailable", retry_after=timedelta(seconds=10)
)


# Of the assertion that we sign, whose times are those of our clock
# (developers.google.com/identity/protocols/oauth2/service-account).
_BAD_TIME_TEXT = "Check your iat and exp values"


def _refusal(error: RefreshError) -> Outcome:
    # The endpoint's trouble is not the account's (RFC 6749, 5.2 names the account's).
    if error.retryable:
        return _UNAVAILABLE
    said = error.args[1] if len(error.args) > 1 else None
    if not isinstance(said, dict):
        return _UNAVAILABLE
    word = said.get("error")
    if word == "invalid_grant" and _BAD_TIME_TEXT in str(said.get("error_description")):
        return Outcome(Verdict.CREDENTIALS, ErrorCode.CREDENTIALS, "clock_skew")
    if word in {"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope"}:
        return Outcome(Verdict.CREDENTIALS, ErrorCode.CREDENTIALS, str(word))
    return _UNAVAILABLE
