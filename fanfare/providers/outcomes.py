"""The tables that make one Outcome of every way in which a provider can answer, or not.

[A] Apple, "Handling notification responses from APNs"; [T] Apple, "Establishing a token-based
connection to APNs"; [F] Google, FCM REST v1 "ErrorCode" and "Error codes"; [Q] Google, "Scale FCM"
and "Throttling and quotas".
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import orjson

from fanfare.models import ErrorCode, Outcome, TokenAction, Verdict
from fanfare.providers.answer_headers import retry_after
from fanfare.providers.exchange import Answer, NotProcessed, Result, Unknown
from fanfare.providers.tally import Tally

_SENT = Outcome(Verdict.SENT)
_REQUEST = Outcome(Verdict.FAILED, ErrorCode.REQUEST)
_PAYLOAD = Outcome(Verdict.FAILED, ErrorCode.PAYLOAD)
_SUSPECT = Outcome(Verdict.FAILED, ErrorCode.INVALID_TOKEN, token_action=TokenAction.QUARANTINE)
_DEAD = Outcome(Verdict.FAILED, ErrorCode.INVALID_TOKEN, token_action=TokenAction.DEACTIVATE_BEFORE)
_CREDENTIALS = Outcome(Verdict.CREDENTIALS, ErrorCode.CREDENTIALS)
_UNRECOGNISED = Outcome(Verdict.FAILED, ErrorCode.UNRECOGNISED)
_ODD_SUCCESS = Outcome(Verdict.UNKNOWN, ErrorCode.UNRECOGNISED)


def _again(error_code: ErrorCode, after: timedelta) -> Outcome:
    return Outcome(Verdict.RETRY, error_code, retry_after=after)


_NOT_PROCESSED = _again(ErrorCode.NETWORK, timedelta(seconds=5))
_NO_ANSWER = Outcome(Verdict.UNKNOWN, ErrorCode.NO_ANSWER)
# "Retry after 15 minutes" [A].
APNS_PATIENCE = timedelta(minutes=15)
_APNS_TROUBLE = _again(ErrorCode.PROVIDER, APNS_PATIENCE)
_APNS_DEVICE_RATE = _again(ErrorCode.THROTTLED, timedelta(seconds=60))
# The first retry of a 5xx not before 10 s, a 429 without Retry-After after 60 s [Q].
_FCM_TROUBLE = _again(ErrorCode.PROVIDER, timedelta(seconds=10))
_FCM_QUOTA = _again(ErrorCode.THROTTLED, timedelta(seconds=60))

APNS_OUTCOMES: Mapping[tuple[int, str], Outcome] = {
    # Apple: never retry; but all tokens answer so in the wrong environment [A].
    (400, "BadDeviceToken"): _SUSPECT,
    # The same for a wrong bundle id [A].
    (400, "DeviceTokenNotForTopic"): _SUSPECT,
    # Headers and bodies that we build: our fault, for every device alike [A].
    (400, "BadCollapseId"): _REQUEST,
    (400, "BadExpirationDate"): _REQUEST,
    (400, "BadMessageId"): _REQUEST,
    (400, "BadPriority"): _REQUEST,
    (400, "InvalidPushType"): _REQUEST,
    (400, "DuplicateHeaders"): _REQUEST,
    (400, "MissingDeviceToken"): _REQUEST,
    (400, "PayloadEmpty"): _PAYLOAD,
    # What the credential names, not what we send [A].
    (400, "BadTopic"): _CREDENTIALS,
    (400, "MissingTopic"): _CREDENTIALS,
    (400, "TopicDisallowed"): _CREDENTIALS,
    # The connection was idle for too long; a new one serves [A].
    (400, "IdleTimeout"): _again(ErrorCode.PROVIDER, timedelta(seconds=1)),
    # Older than an hour by Apple's clock; a fresh one serves, where our clock is right [T].
    (403, "ExpiredProviderToken"): _again(ErrorCode.CREDENTIALS, timedelta(seconds=1)),
    (403, "InvalidProviderToken"): _CREDENTIALS,  # [A]
    (403, "MissingProviderToken"): _CREDENTIALS,  # [A]
    (403, "Forbidden"): _CREDENTIALS,  # on Apple's no-retry list [A]
    (403, "BadCertificate"): _CREDENTIALS,  # [A]
    (403, "BadCertificateEnvironment"): _CREDENTIALS,  # [A]
    # The connection is bound to another key; a new one serves [T].
    (403, "UnrelatedKeyIdInToken"): _again(ErrorCode.CREDENTIALS, timedelta(seconds=1)),
    # Documented with Id, on the wire without it as well (APNSwift#229).
    (403, "BadEnvironmentKeyIdInToken"): _CREDENTIALS,
    (403, "BadEnvironmentKeyInToken"): _CREDENTIALS,
    (403, "TopicMismatch"): _CREDENTIALS,  # [A], broadcast errors
    (404, "BadPath"): _REQUEST,  # [A]
    (405, "MethodNotAllowed"): _REQUEST,  # [A]
    # Final by Apple's word; `timestamp` says since when, so who registered later stays [A].
    (410, "Unregistered"): _DEAD,
    (410, "ExpiredToken"): _DEAD,
    (413, "PayloadTooLarge"): _PAYLOAD,  # on the no-retry list [A]
    # Too many to this one device [A].
    (429, "TooManyRequests"): _APNS_DEVICE_RATE,
    # JSON web tokens change at most every 20 minutes [T].
    (429, "TooManyProviderTokenUpdates"): _again(ErrorCode.THROTTLED, timedelta(minutes=20)),
    (500, "InternalServerError"): _APNS_TROUBLE,  # [A]
    (503, "ServiceUnavailable"): _APNS_TROUBLE,  # [A]
    # One server goes; another connection, to another server, is worth one try at once [A].
    (503, "Shutdown"): _again(ErrorCode.PROVIDER, timedelta(seconds=1)),
}

# What a status says under any other word. A 401 or 403 is about who asks: calling it the messages'
# fault would use up an audience on a key that is merely wrong in a new way.
_APNS_BY_STATUS: Mapping[int, Outcome] = {
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    413: _PAYLOAD,
    429: _APNS_DEVICE_RATE,
}

# After these the connection is of no more use; a refused credential asks for another by itself.
# One on which the token changed too often takes none for a while (forums/thread/770438) [A, T].
APNS_SPOILS_CONNECTION = frozenset({"IdleTimeout", "Shutdown", "TooManyProviderTokenUpdates"})

FCM_OUTCOMES: Mapping[tuple[int, str], Outcome] = {
    # The message's fault; `_is_bad_token` finds the cases that are the token's [F].
    (400, "INVALID_ARGUMENT"): _PAYLOAD,
    # The APNs or web-push key that is stored in Firebase: final for this device, and no word on our
    # account, so that Android goes on [F].
    (401, "THIRD_PARTY_AUTH_ERROR"): Outcome(Verdict.FAILED, ErrorCode.CREDENTIALS),
    (401, "APNS_AUTH_ERROR"): Outcome(Verdict.FAILED, ErrorCode.CREDENTIALS),
    # Our access token; the adapter asks for a new one before it believes this [F].
    (401, "UNAUTHENTICATED"): _CREDENTIALS,
    # Another project's token, or the wrong service account, which looks the same [F].
    (403, "SENDER_ID_MISMATCH"): _SUSPECT,
    (403, "PERMISSION_DENIED"): _CREDENTIALS,  # also: the API is not enabled [F]
    # The app is gone or its token expired; no time is told, so our attempt's counts [F].
    (404, "UNREGISTERED"): _DEAD,
    (404, "NOT_FOUND"): _CREDENTIALS,  # no FcmError: there is no such project [F]
    (429, "QUOTA_EXCEEDED"): _FCM_QUOTA,  # project, device or topic rate [Q]
    (429, "RESOURCE_EXHAUSTED"): _FCM_QUOTA,  # the same without FcmError [Q]
    (500, "INTERNAL"): _FCM_TROUBLE,  # [F]
    (503, "UNAVAILABLE"): _FCM_TROUBLE,  # [F]
}

# Any other word from a status that says enough by itself.
_FCM_BY_STATUS: Mapping[int, Outcome] = {
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: _CREDENTIALS,
    413: _PAYLOAD,
    429: _FCM_QUOTA,
}

# Whose quota a 429 speaks of. A project's comes as RESOURCE_EXHAUSTED with an ErrorInfo and no
# FcmError (firebase/firebase-admin-go#719), a device's as QUOTA_EXCEEDED; from Google's front end
# it has no word [Q]. TooManyRequests is about one device, TooManyProviderTokenUpdates about how
# the key is used, not how much is sent [A].
QUOTAS: Mapping[str, Literal["project", "device", "key"]] = {
    "RATE_LIMIT_EXCEEDED": "project",
    "RESOURCE_EXHAUSTED": "project",
    "http_429": "project",
    "QUOTA_EXCEEDED": "device",
    "TooManyRequests": "device",
    "TooManyProviderTokenUpdates": "key",
}

# A reason goes into logs and the ledger: only what looks like a provider's word does. A token does
# not: APNs' are hex in lower case, and Google's are longer.
_WORD = re.compile(r"[A-Z][A-Za-z_]{0,47}")
_LONGEST_ID = 256
_BAD_TOKEN_TEXT = "not a valid FCM registration token"  # noqa: S105 - Google's wording
_TOKEN_FIELDS = frozenset({"message.token", "message.fid"})


def apns_outcome(result: Result, unrecognised: Tally) -> Outcome:
    """Return what APNs made of the message. Never raises, whatever the body is.

    `unrecognised` counts what stands in no table. An accepted one has no id in it: apns-id
    is ours, and `payload.apns_id` tells it at any time.
    """
    if not isinstance(result, Answer):
        return _without_answer(result)
    if result.status == 200:
        return _SENT
    body = _json_object(result.body)
    reason = _word(body.get("reason"), result.status)
    known = APNS_OUTCOMES.get((result.status, reason))
    if known is None:
        unrecognised.note(result.status, reason)
        known = _APNS_BY_STATUS.get(result.status) or _by_class(result.status, _APNS_TROUBLE)
    since = _moment(body.get("timestamp")) if known is _DEAD else None
    # Apple documents no Retry-After: one may put off what the table says, never bring it forward.
    wait = known.retry_after and max(known.retry_after, _asked_wait(result) or known.retry_after)
    return known._replace(reason=reason, dead_since=since, retry_after=wait)


def fcm_outcome(result: Result, unrecognised: Tally) -> Outcome:
    """Return what FCM made of the message. Never raises, whatever the body is."""
    if not isinstance(result, Answer):
        return _without_answer(result)
    body = _json_object(result.body)
    if result.status == 200:
        return _fcm_sent(body.get("name"), unrecognised)
    error = _mapping(body.get("error"))
    reason = _word(_fcm_code(error) or error.get("status"), result.status)
    if result.status == 400 and _is_bad_token(error):
        return _SUSPECT._replace(reason=reason)
    known = FCM_OUTCOMES.get((result.status, reason))
    if known is None:
        unrecognised.note(result.status, reason)
        known = _FCM_BY_STATUS.get(result.status) or _by_class(result.status, _FCM_TROUBLE)
    wait = known.retry_after and (_asked_wait(result) or known.retry_after)
    return known._replace(reason=reason, retry_after=wait)


def _asked_wait(answer: Answer) -> timedelta | None:
    return retry_after(answer.headers, datetime.now(UTC))


def _without_answer(result: NotProcessed | Unknown) -> Outcome:
    match result:
        case NotProcessed(reason):
            return _NOT_PROCESSED._replace(reason=reason)
        case Unknown(reason):
            return _NO_ANSWER._replace(reason=reason)


def _by_class(status: int, trouble: Outcome) -> Outcome:
    if status >= 500:
        return trouble
    return _ODD_SUCCESS if status < 300 else _UNRECOGNISED


def _fcm_sent(name: object, unrecognised: Tally) -> Outcome:
    # `projects/<project>/messages/<id>`: only the last part differs. PostgreSQL takes no NUL.
    if isinstance(name, str) and name and name.isprintable():
        return Outcome(Verdict.SENT, None, None, name.rpartition("/")[2][:_LONGEST_ID])
    # Accepted all the same: sending again would show it twice.
    unrecognised.note(200, "odd_reply")
    return Outcome(Verdict.SENT, reason="odd_reply")


def _fcm_code(error: Mapping[str, object]) -> object:
    for detail in _mappings(error.get("details")):
        if "errorCode" in detail:
            return detail["errorCode"]
    return None


def _is_bad_token(error: Mapping[str, object]) -> bool:
    # "Any 400" would not do: most of them are the message's fault (manage-tokens).
    if _BAD_TOKEN_TEXT in str(error.get("message")):
        return True
    violations = (
        violation.get("field")
        for detail in _mappings(error.get("details"))
        for violation in _mappings(detail.get("fieldViolations"))
    )
    return any(field in _TOKEN_FIELDS for field in violations if isinstance(field, str))


def _word(reason: object, status: int) -> str:
    if isinstance(reason, str) and _WORD.fullmatch(reason):
        return reason
    return f"http_{status}"


def _moment(milliseconds: object) -> datetime | None:
    # The number is a provider's; a nonsensical one counts as none.
    if not isinstance(milliseconds, int | float) or isinstance(milliseconds, bool):
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _json_object(body: bytes) -> Mapping[str, object]:
    try:
        return _mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return {}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
