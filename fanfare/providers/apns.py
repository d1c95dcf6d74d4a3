"""Apple Push Notification service: one credential's way to its devices."""

import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import quote
from uuid import UUID

import structlog
from aioapns import PRIORITY_HIGH, PushType

from fanfare import payload
from fanfare.models import ApnsCredential, ErrorCode, Outcome, ProviderName, Target, Verdict
from fanfare.providers import Answered, Notification, Send
from fanfare.providers.answer_headers import clock_skew
from fanfare.providers.apns_token import ApnsTokenSource
from fanfare.providers.apns_trial import CredentialTrial
from fanfare.providers.credentials import parse_apns_key
from fanfare.providers.exchange import Answer, Exchange, Header, Headers, OnResult, Result
from fanfare.providers.flight import Flight
from fanfare.providers.http2 import DEADLINE, Http2Pool
from fanfare.providers.http2_engine import EngineName
from fanfare.providers.outcomes import APNS_SPOILS_CONNECTION, apns_outcome
from fanfare.providers.tally import Tally

# By then new requests go over another connection.
_SOON = timedelta(seconds=1)
# A clock that is off by less than this is not why a token is refused.
_TOLERATED_SKEW = timedelta(minutes=5)
# After so many internal errors other connections are tried (jchambers/pushy#408).
_REPEATED = 3

_ALERT = PushType.ALERT.value.encode()
_AT_ONCE = PRIORITY_HIGH.encode()

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
        deadline: timedelta = DEADLINE,
        engine: EngineName = "ngh2",
    ) -> None:
        """Raises InvalidCredential where the key is not one."""
        self._topic = credential.bundle_id.encode()
        key = parse_apns_key(credential.key_p8).private_key
        self._tokens = ApnsTokenSource(credential.team_id, credential.key_id, key)
        self._trial = CredentialTrial()
        self._internal_errors = 0
        self._unrecognised = Tally("unrecognised_answers", provider=ProviderName.APNS)
        self._token_churn = Tally("apns_token_churn")
        self._pool = Http2Pool(
            url,
            ssl_context=ssl_context,
            max_connections=max_connections,
            deadline=deadline,
            engine=engine,
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
            read = partial(self._read, authorization, self._trial.round)
            with Flight(self._pool, targets, submit, read) as flight:
                while group := await flight.group():
                    yield group

        return send

    async def close(self) -> None:
        """Wait for what is on the wire, at most the deadline, then close."""
        await self._pool.close()
        self._unrecognised.close()
        self._token_churn.close()

    def _headers(self, notification: Notification) -> tuple[Header, ...]:
        expiration = payload.expiration_epoch(notification.expires_at, datetime.now(UTC))
        return (
            (b"apns-topic", self._topic),
            (b"apns-push-type", _ALERT),
            (b"apns-priority", _AT_ONCE),
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

    def _read(self, authorization: bytes, asked_in: int, result: Result) -> Outcome:
        outcome = apns_outcome(result, self._unrecognised)
        if outcome.reason is None:
            if self._trial.is_on:
                self._trial.note_accepted(asked_in)
            return outcome
        if isinstance(result, Answer):
            self._mind_connection(outcome.reason)
            if outcome.error_code is ErrorCode.CREDENTIALS:
                return self._doubt(authorization, asked_in, outcome, result)
        return outcome

    def _doubt(
        self, authorization: bytes, asked_in: int, outcome: Outcome, answer: Answer
    ) -> Outcome:
        """Believe a refusal of the credential only of a second token or a second connection."""
        if outcome.reason == "ExpiredProviderToken":
            may_recover = self._has_fresher(authorization)
        else:
            may_recover = self._has_another_connection(asked_in)
        if may_recover:
            return outcome._replace(verdict=Verdict.RETRY, retry_after=_SOON)
        return _refused(outcome, answer)

    def _mind_connection(self, reason: str) -> None:
        if reason == "TooManyProviderTokenUpdates":
            self._token_churn.note(429, reason)
        if reason == "InternalServerError":
            self._internal_errors += 1
        if reason in APNS_SPOILS_CONNECTION or self._internal_errors >= _REPEATED:
            self._internal_errors = 0
            self._pool.renew()

    def _has_fresher(self, authorization: bytes) -> bool:
        """Whether another token than this one, which is expired, is at hand by now."""
        if authorization != self._tokens.authorization():
            return True
        is_renewed = self._tokens.note_expired()
        if is_renewed:
            _log.warning("apns_token_expired_early", hint="compare this machine's clock")
        return is_renewed

    def _has_another_connection(self, asked_in: int) -> bool:
        """Whether another connection may do better; it is opened then."""
        trial_before = self._trial.round
        is_open = self._trial.note_refused(asked_in)
        # The next round is believed: none of its requests may go over a connection of this one.
        if self._trial.round != trial_before:
            self._pool.renew(anyway=True)
        return is_open


def _refused(outcome: Outcome, answer: Answer) -> Outcome:
    """The verdict on the credential; where it is our clock's fault, that is the reason."""
    reason = "clock_skew" if _is_of_our_clock(outcome, answer) else outcome.reason
    return outcome._replace(verdict=Verdict.CREDENTIALS, reason=reason)


def _is_of_our_clock(outcome: Outcome, answer: Answer) -> bool:
    if outcome.reason not in {"ExpiredProviderToken", "InvalidProviderToken"}:
        return False
    skew = clock_skew(answer.headers, datetime.now(UTC))
    if skew is None:
        # A token that was signed a moment ago: for whom else should it be expired.
        return outcome.reason == "ExpiredProviderToken"
    return abs(skew) > _TOLERATED_SKEW


def _path(token: str) -> bytes:
    # Tokens are hex; whatever else has got in must not end the path, nor break the connection.
    safe = token if token.isascii() and token.isalnum() else quote(token, safe="")
    return b"/3/device/" + safe.encode()
