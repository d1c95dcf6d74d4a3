"""FCM HTTP v1: POST /v1/projects/<project>/messages:send.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send and, for the errors,
https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
"""

import time
from collections import deque
from collections.abc import Callable

import orjson

from fanfare.dev.simulator import fcm_message
from fanfare.dev.simulator.access_tokens import AccessTokens
from fanfare.dev.simulator.account import Account
from fanfare.dev.simulator.exchange import Answer, Endpoint, Headers, Refusal, Reply, Request
from fanfare.dev.simulator.fcm_message import FcmMessage, MessageFault, SendRequest, Violation
from fanfare.dev.simulator.known_body import KnownBody, learn
from fanfare.dev.simulator.ledger import Envelope
from fanfare.dev.simulator.settlement import Settlement
from fanfare.models import Environment

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"
JSON = (b"content-type", b"application/json; charset=UTF-8")
ENVELOPES_KEPT = 4096
BODIES_KEPT = 8
STATUS_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
USUAL_REASONS = STATUS_WORDS | {404: "UNREGISTERED", 429: "QUOTA_EXCEEDED"}
# Only these come with an FcmError; UNAUTHENTICATED and PERMISSION_DENIED are not FCM's own words.
FCM_ERROR_CODES = frozenset(
    {
        "INVALID_ARGUMENT",
        "UNREGISTERED",
        "SENDER_ID_MISMATCH",
        "QUOTA_EXCEEDED",
        "UNAVAILABLE",
        "INTERNAL",
        "THIRD_PARTY_AUTH_ERROR",
    }
)
MESSAGES = {
    "INVALID_ARGUMENT": "Request contains an invalid argument.",
    "UNAUTHENTICATED": "Request had invalid authentication credentials.",
    "PERMISSION_DENIED": "The caller may not send messages for this project.",
    "SENDER_ID_MISMATCH": "SenderId mismatch",
    "NOT_FOUND": "Requested entity was not found.",
    "UNREGISTERED": "Requested entity was not found.",
    "QUOTA_EXCEEDED": "Message rate exceeded.",
    "RATE_LIMIT_EXCEEDED": "Quota exceeded for quota metric 'Send requests'",
    "UNAVAILABLE": "The service is currently unavailable.",
    "INTERNAL": "Internal error encountered.",
    "THIRD_PARTY_AUTH_ERROR": "Auth error from APNS or Web Push Service",
}


class Fcm:
    """One project's send endpoint. Implements `Replies` and `Dialect`."""

    def __init__(
        self,
        account: Account,
        settlement: Settlement,
        access_tokens: AccessTokens,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = f"/v1/projects/{account.fcm_project_id}/messages:send".encode()
        self._name = f"projects/{account.fcm_project_id}/messages/".encode()
        self._settlement = settlement
        self._access_tokens = access_tokens
        self._clock = clock
        self._messages = 0
        self._envelopes: dict[tuple[object, ...], Envelope] = {}
        self._known_bodies: deque[KnownBody] = deque(maxlen=BODIES_KEPT)
        self._good_fields: Headers = ()
        self._good_until = 0.0

    def reply(self, request: Request) -> Reply:
        """Answer one request. Costs a few microseconds where only the token is a new one."""
        if request.fields != self._good_fields or self._clock() >= self._good_until:
            refusal = self._fault_of_call(request)
            if refusal is not None:
                self._settlement.reject(Endpoint.FCM, "", refusal)
                return Reply(self.refuse(b"", refusal), refusal.status == 403)
        for known in self._known_bodies:
            address = known.address(request.body)
            if address is not None:
                return self._settle(known.envelope, address)
        return self._reply_to_new(request.body)

    def accept(self, _envelope: Envelope, message_id: bytes) -> Answer:
        # A project's id holds nothing that JSON would have to escape.
        return Answer(200, (JSON,), b'{"name":"%b"}' % message_id)

    def refuse(self, _message_id: bytes, refusal: Refusal) -> Answer:
        if refusal.reason == "INVALID_ARGUMENT":
            return _invalid(fcm_message.token_fault())
        headers: Headers = (JSON,)
        if refusal.retry_after is not None:
            headers += ((b"retry-after", b"%d" % refusal.retry_after),)
        status = STATUS_WORDS.get(refusal.status, refusal.reason)
        text = MESSAGES.get(refusal.reason, refusal.reason)
        return Answer(
            refusal.status, headers, _error(refusal.status, status, text, _details(refusal.reason))
        )

    def usual_reason(self, status: int) -> str:
        return USUAL_REASONS.get(status, "")

    def _fault_of_call(self, request: Request) -> Refusal | None:
        if request.method != b"POST" or not request.path.endswith(b"/messages:send"):
            return Refusal(404, "NOT_FOUND")
        good_until = self._access_tokens.good_until(request.headers.get(b"authorization", b""))
        if self._clock() >= good_until:
            return Refusal(401, "UNAUTHENTICATED")
        if request.path != self._path:
            return Refusal(403, "PERMISSION_DENIED")
        self._good_fields, self._good_until = request.fields, good_until
        return None

    def _reply_to_new(self, body: bytes) -> Reply:
        try:
            sending = fcm_message.read(body)
        except MessageFault as fault:
            self._settlement.reject(Endpoint.FCM, "", Refusal(400, "INVALID_ARGUMENT"))
            return Reply(_invalid(fault), True)
        message = sending["message"]
        if sending.get("validate_only"):
            return self._dry_run(message)
        return self._settle(self._envelope(body, sending), fcm_message.address(message))

    def _settle(self, envelope: Envelope, address: str) -> Reply:
        self._messages += 1
        name = b"%b0:%d%%%016x" % (self._name, self._clock() * 1e6, self._messages)
        return self._settlement.settle(envelope, address, name, self)

    def _dry_run(self, message: FcmMessage) -> Reply:
        self._settlement.ledger.count(Endpoint.FCM, fcm_message.collapse_id(message))
        return Reply(Answer(200, (JSON,), b'{"name":"%bfake_message_id"}' % self._name), True)

    def _envelope(self, body: bytes, sending: SendRequest) -> Envelope:
        """The shared part of the message, one object for all messages that say the same.

        What comes a second time is likely to come again: its body is learned.
        """
        message = sending["message"]
        notification = message.get("notification", {})
        key = (
            fcm_message.collapse_id(message),
            message.get("topic"),
            message.get("android", {}).get("ttl"),
            notification.get("title"),
            notification.get("body"),
            *message.get("data", {}).items(),
        )
        envelope = self._envelopes.get(key)
        if envelope is not None:
            self._learn(body, sending, envelope)
            return envelope
        if len(self._envelopes) >= ENVELOPES_KEPT:
            self._envelopes.clear()
        envelope = self._envelopes[key] = _new_envelope(message)
        return envelope

    def _learn(self, body: bytes, sending: SendRequest, envelope: Envelope) -> None:
        known = learn(body, sending, envelope)
        if known is not None:
            self._known_bodies.appendleft(known)


def _new_envelope(message: FcmMessage) -> Envelope:
    notification = message.get("notification", {})
    return Envelope(
        provider=Endpoint.FCM,
        environment=Environment.PRODUCTION,
        collapse_id=fcm_message.collapse_id(message),
        topic=message.get("topic", ""),
        expiration=message.get("android", {}).get("ttl", ""),
        title=notification.get("title", ""),
        body=notification.get("body", ""),
        data=message.get("data", {}),
    )


def _details(reason: str) -> list[dict[str, object]]:
    details: list[dict[str, object]] = []
    if reason in FCM_ERROR_CODES:
        details.append({"@type": FCM_ERROR, "errorCode": reason})
    if reason == "QUOTA_EXCEEDED":
        violations = [{"subject": "device", "description": "Device message rate exceeded"}]
        details.append({"@type": QUOTA_FAILURE, "violations": violations})
    if reason == "RATE_LIMIT_EXCEEDED":
        # The project's quota is not FCM's own: no FcmError, firebase/firebase-admin-go#719.
        details.append({"@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com"})
    return details


def _invalid(fault: MessageFault) -> Answer:
    """INVALID_ARGUMENT. A fault of no field (too big) comes without any details."""
    details: list[dict[str, object]] = []
    fields = [_field_violation(violation) for violation in fault.violations if violation.field]
    if fields:
        details = [*_details("INVALID_ARGUMENT"), {"@type": BAD_REQUEST, "fieldViolations": fields}]
    return Answer(400, (JSON,), _error(400, "INVALID_ARGUMENT", fault.message, details))


def _field_violation(violation: Violation) -> dict[str, str]:
    return {"field": violation.field, "description": violation.description}


def _error(code: int, status: str, message: str, details: list[dict[str, object]]) -> bytes:
    error: dict[str, object] = {"code": code, "message": message, "status": status}
    if details:
        error["details"] = details
    return orjson.dumps({"error": error})
