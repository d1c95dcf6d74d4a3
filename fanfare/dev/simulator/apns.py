"""APNs: POST /3/device/<token>, checked as Apple documents it.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

import re
import time
import uuid
from collections.abc import Callable

import orjson

from fanfare.dev.simulator.account import Account
from fanfare.dev.simulator.apns_token import ProviderTokens
from fanfare.dev.simulator.exchange import Answer, Endpoint, Headers, Refusal, Reply, Request
from fanfare.dev.simulator.ledger import Envelope
from fanfare.dev.simulator.settlement import Message, Settlement
from fanfare.dev.simulator.tokens import SANDBOX_MARKER
from fanfare.models import Environment

PATH = b"/3/device/"
PAYLOAD_LIMIT = 4096
VOIP_PAYLOAD_LIMIT = 5120
TOKEN_LIMIT = 200
COLLAPSE_ID_LIMIT = 64
ENVELOPES_KEPT = 4096
UUID = re.compile(rb"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
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

    def reply(self, request: Request) -> Reply:
        """Answer one request. Costs a few microseconds where the payload was seen before."""
        headers = request.headers
        apns_id = headers.get(b"apns-id")
        authenticated = False
        try:
            self._check_call(request)
            self._authenticate(headers.get(b"authorization"))
            authenticated = True
            envelope = self._envelope(request)
            token = self._device_token(request)
        except _Refused as refused:
            collapse_id = headers.get(b"apns-collapse-id", b"").decode("ascii", "replace")
            self._settlement.reject(Endpoint.APNS, collapse_id, refused.refusal)
            return Reply(self.refuse(_id_to_echo(apns_id), refused.refusal), authenticated)
        message_id = apns_id.decode() if apns_id else str(uuid.uuid4())
        return self._settlement.settle(Message(envelope, token, message_id), self)

    def accept(self, message: Message) -> Answer:
        echoed = (b"apns-id", message.message_id.encode())
        if message.envelope.environment is Environment.SANDBOX:
            # Only the development environment answers with an id for the delivery log.
            return Answer(200, (echoed, (b"apns-unique-id", str(uuid.uuid4()).encode())))
        return Answer(200, (echoed,))

    def refuse(self, message_id: str, refusal: Refusal) -> Answer:
        body: dict[str, str | int] = {"reason": refusal.reason}
        if refusal.status == 410:
            now = int(self._clock() * 1000)
            body["timestamp"] = now if refusal.timestamp_ms is None else refusal.timestamp_ms
        headers: Headers = ((b"apns-id", message_id.encode()),)
        if refusal.retry_after is not None:
            headers += ((b"retry-after", b"%d" % refusal.retry_after),)
        return Answer(refusal.status, headers, orjson.dumps(body))

    def usual_reason(self, status: int) -> str:
        return USUAL_REASONS.get(status, "")

    def _check_call(self, request: Request) -> None:
        if not request.path.startswith(PATH):
            raise _Refused(404, "BadPath")
        if request.method != b"POST":
            raise _Refused(405, "MethodNotAllowed")
        if request.repeats_headers:
            raise _Refused(400, "DuplicateHeaders")

    def _authenticate(self, authorization: bytes | None) -> None:
        fault = self._provider_tokens.fault(authorization)
        if fault is not None:
            raise _Refused(403, fault)

    def _device_token(self, request: Request) -> str:
        token = request.path[len(PATH) :].decode("ascii", "replace").lower()
        if not token:
            raise _Refused(400, "MissingDeviceToken")
        if len(token) > TOKEN_LIMIT or not _is_hex(token):
            raise _Refused(400, "BadDeviceToken")
        is_sandbox = request.environment is Environment.SANDBOX
        if token.startswith(SANDBOX_MARKER) is not is_sandbox:
            raise _Refused(400, "BadDeviceToken")
        return token

    def _envelope(self, request: Request) -> Envelope:
        """What the headers and the payload say, checked once for all messages that say the same.

        The cache is what keeps a campaign of one payload cheap; it is dropped when it is full.
        """
        read = request.headers.get
        _check_apns_id(read(b"apns-id"))
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


def _check_apns_id(apns_id: bytes | None) -> None:
    if apns_id is not None and UUID.fullmatch(apns_id) is None:
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


def _is_hex(token: str) -> bool:
    try:
        # fromhex forgives spaces: the length tells.
        return len(bytes.fromhex(token)) * 2 == len(token)
    except ValueError:
        return False


def _id_to_echo(apns_id: bytes | None) -> str:
    if apns_id is not None and UUID.fullmatch(apns_id):
        return apns_id.decode()
    return str(uuid.uuid4())
