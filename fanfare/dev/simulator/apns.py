"""APNs: POST /3/device/<token>, checked as Apple documents it.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from fanfare.dev.simulator import apns_id
from fanfare.dev.simulator.account import Account
from fanfare.dev.simulator.apns_token import ProviderTokenFault, ProviderTokens
from fanfare.dev.simulator.exchange import Answer, Endpoint, Field, Headers, Refusal, Reply, Request
from fanfare.dev.simulator.known_head import KnownHead
from fanfare.dev.simulator.ledger import Envelope
from fanfare.dev.simulator.settlement import Settlement
from fanfare.dev.simulator.tokens import SANDBOX_MARKER
from fanfare.models import Environment

PATH = b"/3/device/"
PAYLOAD_LIMIT = 4096
VOIP_PAYLOAD_LIMIT = 5120
TOKEN_LIMIT = 200
COLLAPSE_ID_LIMIT = 64
ENVELOPES_KEPT = 4096
TOPIC = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
PUSH_TYPE_TOPICS = {
    b"alert": "",
    b"background": "",
    b"complication": ".complication",
    b"controls": ".push-type.controls",
    b"fileprovider": ".pushkit.fileprovider",
    b"liveactivity": ".push-type.liveactivity",
    b"location": ".location-query",
    b"mdm": "",
    b"pushtotalk": ".voip-ptt",
    b"voip": ".voip",
    b"widgets": ".push-type.widgets",
}
PRIORITIES = frozenset({None, b"10", b"5", b"1"})
USUAL_REASONS = {
    400: "BadDeviceToken",
    403: "InvalidProviderToken",
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}


class _Refused(Exception):
    """A request that APNs would refuse, with its status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(status, reason)


class _NotAdmitted(_Refused):
    """A request that is refused before its provider token was found good."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A good request, as the measure of those that differ in device token and id alone."""

    head: KnownHead
    body: bytes
    environment: Environment
    envelope: Envelope
    good_until: float


class Apns:
    """The provider API of both environments. Implements `Replies` and `Dialect`."""

    def __init__(
        self, account: Account, settlement: Settlement, clock: Callable[[], float] = time.time
    ) -> None:
        self._bundle_id = account.bundle_id
        self._settlement = settlement
        self._provider_tokens = ProviderTokens(account, clock)
        self._clock = clock
        self._envelopes: dict[tuple[object, ...], Envelope] = {}
        self._last: _Known | None = None

    def reply(self, request: Request) -> Reply:
        """Answer one request. Costs a few microseconds where the one before said the same."""
        try:
            known = self._known(request)
            path = request.fields[known.head.path_at][1]
            message_id = _message_id(request.fields[known.head.own_at])
            token = _device_token(path, request.environment)
        except _Refused as refused:
            return self._reject(request, refused)
        return self._settlement.settle(known.envelope, token, message_id, self)

    def accept(self, envelope: Envelope, message_id: bytes) -> Answer:
        echoed = (b"apns-id", message_id)
        if envelope.environment is Environment.SANDBOX:
            # Only the development environment answers with an id for the delivery log.
            return Answer(200, (echoed, (b"apns-unique-id", apns_id.make())))
        return Answer(200, (echoed,))

    def refuse(self, message_id: bytes, refusal: Refusal) -> Answer:
        body: dict[str, str | int] = {"reason": refusal.reason}
        if refusal.status == 410:
            now = int(self._clock() * 1000)
            body["timestamp"] = now if refusal.timestamp_ms is None else refusal.timestamp_ms
        headers: Headers = ((b"apns-id", message_id),)
        if refusal.retry_after is not None:
            headers += ((b"retry-after", b"%d" % refusal.retry_after),)
        return Answer(refusal.status, headers, orjson.dumps(body))

    def usual_reason(self, status: int) -> str:
        return USUAL_REASONS.get(status, "")

    def _known(self, request: Request) -> _Known:
        """The last request, where this one says the same, else this one. Raises _Refused."""
        last = self._last
        if (
            last is None
            or request.body != last.body
            or not last.head.fits(request.fields)
            or request.environment is not last.environment
            or self._clock() > last.good_until
        ):
            last = self._last = self._read(request)
        return last

    def _read(self, request: Request) -> _Known:
        """Check all of a request but its device token. Raises _Refused."""
        _check_call(request)
        good_until = self._authenticate(request.headers.get(b"authorization"))
        envelope = self._envelope(request)
        head = KnownHead(request.fields, start=PATH, own=b"apns-id")
        return _Known(head, request.body, request.environment, envelope, good_until)

    def _reject(self, request: Request, refused: _Refused) -> Reply:
        collapse_id = request.headers.get(b"apns-collapse-id", b"").decode("ascii", "replace")
        self._settlement.reject(Endpoint.APNS, collapse_id, refused.refusal)
        message_id = _id_to_echo(request.headers.get(b"apns-id"))
        answer = self.refuse(message_id, refused.refusal)
        return Reply(answer, not isinstance(refused, _NotAdmitted))

    def _authenticate(self, authorization: bytes | None) -> float:
        try:
            return self._provider_tokens.good_until(authorization)
        except ProviderTokenFault as fault:
            raise _NotAdmitted(403, str(fault)) from None

    def _envelope(self, request: Request) -> Envelope:
        """What the headers and the payload say, checked once for all messages that say the same.

        The cache is what keeps a campaign of one payload cheap; it is dropped when it is full.
        """
        read = request.headers.get
        _check_id(read(b"apns-id"))
        key = (
            read(b"apns-topic"),
            read(b"apns-push-type"),
            read(b"apns-priority"),
            read(b"apns-expiration"),
            read(b"apns-collapse-id"),
            request.environment,
            request.body,
        )
        envelope = self._envelopes.get(key)
        if envelope is None:
            envelope = self._read_envelope(request)
            if len(self._envelopes) >= ENVELOPES_KEPT:
                self._envelopes.clear()
            self._envelopes[key] = envelope
        return envelope

    def _read_envelope(self, request: Request) -> Envelope:
        headers = request.headers
        topic = self._topic(headers.get(b"apns-topic"), headers.get(b"apns-push-type"))
        _check_priority(headers.get(b"apns-priority"), headers.get(b"apns-push-type"))
        expiration = headers.get(b"apns-expiration", b"")
        if expiration and not expiration.isdigit():
            raise _Refused(400, "BadExpirationDate")
        collapse_id = headers.get(b"apns-collapse-id", b"")
        if len(collapse_id) > COLLAPSE_ID_LIMIT:
            raise _Refused(400, "BadCollapseId")
        title, body, data = _read_payload(request.body, headers.get(b"apns-push-type"))
        return Envelope(
            provider=Endpoint.APNS,
            environment=request.environment,
            collapse_id=collapse_id.decode("utf-8", "replace"),
            topic=topic,
            expiration=expiration.decode(),
            title=title,
            body=body,
            data=data,
        )

    def _topic(self, raw: bytes | None, push_type: bytes | None) -> str:
        """The topic, which must be the app's with the suffix that the push type asks for.

        Another app of the same vendor is one that the team owns, so that the token is what does
        not fit; anybody else's is not allowed.
        """
        if push_type is not None and push_type not in PUSH_TYPE_TOPICS:
            raise _Refused(400, "InvalidPushType")
        if not raw:
            raise _Refused(400, "MissingTopic")
        topic = raw.decode("ascii", "replace")
        if TOPIC.fullmatch(topic) is None:
            raise _Refused(400, "BadTopic")
        if topic == self._bundle_id + PUSH_TYPE_TOPICS[push_type or b"alert"]:
            return topic
        vendor = self._bundle_id.rpartition(".")[0] + "."
        raise _Refused(
            400, "DeviceTokenNotForTopic" if topic.startswith(vendor) else "TopicDisallowed"
        )


def _check_call(request: Request) -> None:
    if not request.path.startswith(PATH):
        raise _NotAdmitted(404, "BadPath")
    if request.method != b"POST":
        raise _NotAdmitted(405, "MethodNotAllowed")
    if request.repeats_headers:
        raise _NotAdmitted(400, "DuplicateHeaders")


def _check_id(given: bytes | None) -> None:
    if given is not None and not apns_id.is_valid(given):
        raise _Refused(400, "BadMessageId")


def _check_priority(priority: bytes | None, push_type: bytes | None) -> None:
    # Apple: a background notification with priority 10 is an error.
    if priority not in PRIORITIES or (push_type == b"background" and priority != b"5"):
        raise _Refused(400, "BadPriority")


def _read_payload(body: bytes, push_type: bytes | None) -> tuple[str, str, dict[str, object]]:
    """Title, body and the keys beside `aps`."""
    if not body:
        raise _Refused(400, "PayloadEmpty")
    if len(body) > (VOIP_PAYLOAD_LIMIT if push_type == b"voip" else PAYLOAD_LIMIT):
        raise _Refused(413, "PayloadTooLarge")
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _Refused(400, "PayloadEmpty") from None
    if not isinstance(payload, dict) or not isinstance(payload.get("aps"), dict):
        raise _Refused(400, "PayloadEmpty")
    title, text = _read_alert(payload["aps"].get("alert"))
    return title, text, {key: value for key, value in payload.items() if key != "aps"}


def _read_alert(alert: object) -> tuple[str, str]:
    match alert:
        case str():
            return "", alert
        case dict():
            return str(alert.get("title", "")), str(alert.get("body", ""))
        case _:
            return "", ""


def _message_id(field: Field) -> bytes:
    name, value = field
    if name != b"apns-id":
        return apns_id.make()
    if not apns_id.is_valid(value):
        raise _Refused(400, "BadMessageId")
    return value


def _device_token(path: bytes, environment: Environment) -> str:
    token = path[len(PATH) :]
    if not token:
        raise _Refused(400, "MissingDeviceToken")
    # What is left of whole bytes in hex without its digits is nothing.
    if len(token) > TOKEN_LIMIT or len(token) % 2 or token.translate(None, apns_id.HEX_DIGITS):
        raise _Refused(400, "BadDeviceToken")
    name = token.decode().lower()
    if name.startswith(SANDBOX_MARKER) is not (environment is Environment.SANDBOX):
        raise _Refused(400, "BadDeviceToken")
    return name


def _id_to_echo(given: bytes | None) -> bytes:
    if given is not None and apns_id.is_valid(given):
        return given
    return apns_id.make()
