"""The body of FCM's messages:send: its shape, its limits, and Google's way to point at a fault.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

import re
from typing import Annotated, Literal, NamedTuple, Required

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictStr,
    TypeAdapter,
    ValidationError,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

CONTENT_LIMIT = 4096
TOPIC_CONTENT_LIMIT = 2048
LONGEST_TTL_S = 2_419_200
DURATION = re.compile(r"(\d+(?:\.\d{1,9})?)s")
RESERVED_KEYS = frozenset({"from", "message_type"})
RESERVED_PREFIXES = ("google", "gcm")
TARGETS = frozenset({"token", "fid", "topic", "condition"})
ADDRESS_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_:%.-"


class Violation(NamedTuple):
    """A fault at a field. Without a field Google answers with no details at all."""

    field: str
    description: str


class MessageFault(Exception):
    """A body that FCM would refuse with INVALID_ARGUMENT."""

    def __init__(self, message: str, *violations: Violation) -> None:
        super().__init__(message)
        self.message = message
        self.violations = violations


def _duration(value: str) -> str:
    seconds = DURATION.fullmatch(value)
    if seconds is None or float(seconds[1]) > LONGEST_TTL_S:
        raise ValueError("a duration such as 86400s, at most four weeks")
    return value


# Protobuf's JSON takes a field by either of its names, and no unknown field. Dictionaries rather
# than models, because those fill in every default: 4 microseconds a message instead of 11.
SHAPE = ConfigDict(
    extra="forbid",
    alias_generator=to_camel,
    validate_by_name=True,
    validate_by_alias=True,
    loc_by_alias=False,
)


class Notification(TypedDict, total=False):
    __pydantic_config__ = SHAPE  # type: ignore[misc] # pydantic's place for it

    title: StrictStr
    body: StrictStr
    image: StrictStr


class AndroidNotification(Notification, total=False):
    icon: StrictStr
    color: StrictStr
    sound: StrictStr
    tag: StrictStr
    click_action: StrictStr
    body_loc_key: StrictStr
    body_loc_args: list[StrictStr]
    title_loc_key: StrictStr
    title_loc_args: list[StrictStr]
    channel_id: StrictStr
    ticker: StrictStr
    sticky: StrictBool
    event_time: StrictStr
    local_only: StrictBool
    notification_priority: StrictStr
    default_sound: StrictBool
    default_vibrate_timings: StrictBool
    default_light_settings: StrictBool
    vibrate_timings: list[StrictStr]
    visibility: StrictStr
    notification_count: int
    light_settings: dict[str, JsonValue]
    proxy: StrictStr


class Android(TypedDict, total=False):
    __pydantic_config__ = SHAPE  # type: ignore[misc] # pydantic's place for it

    collapse_key: StrictStr
    priority: Literal["normal", "high", "NORMAL", "HIGH"]
    ttl: Annotated[StrictStr, AfterValidator(_duration)]
    restricted_package_name: StrictStr
    data: dict[str, StrictStr]
    notification: AndroidNotification
    fcm_options: dict[str, JsonValue]
    direct_boot_ok: StrictBool
    bandwidth_constrained_ok: StrictBool
    restricted_satellite_ok: StrictBool


class Apns(TypedDict, total=False):
    __pydantic_config__ = SHAPE  # type: ignore[misc] # pydantic's place for it

    headers: dict[str, StrictStr]
    payload: dict[str, JsonValue]
    fcm_options: dict[str, JsonValue]
    live_activity_token: StrictStr


class FcmOptions(TypedDict, total=False):
    __pydantic_config__ = SHAPE  # type: ignore[misc] # pydantic's place for it

    analytics_label: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9\-_.~%]{1,50}$")]


class FcmMessage(TypedDict, total=False):
    """What is to be sent. Exactly one of the four targets is there."""

    __pydantic_config__ = SHAPE  # type: ignore[misc] # pydantic's place for it

    token: StrictStr
    fid: StrictStr
    topic: StrictStr
    condition: StrictStr
    name: StrictStr
    notification: Notification
    data: dict[str, StrictStr]
    android: Android
    apns: Apns
    webpush: dict[str, JsonValue]
    fcm_options: FcmOptions
    android_v2: dict[str, JsonValue]


class SendRequest(TypedDict, total=False):
    __pydantic_config__ = SHAPE  # type: ignore[misc] # pydantic's place for it

    message: Required[FcmMessage]
    validate_only: StrictBool


SEND_REQUEST = TypeAdapter(SendRequest)


def address(message: FcmMessage) -> str:
    """The registration, or `topic:` or `condition:` with what it names."""
    registration = message.get("token") or message.get("fid")
    if registration:
        return registration
    topic = message.get("topic")
    return f"topic:{topic}" if topic else f"condition:{message.get('condition')}"


def collapse_id(message: FcmMessage) -> str:
    """What makes a repeat replace what is shown: the tag, or APNs' own header for iOS."""
    tag = message.get("android", {}).get("notification", {}).get("tag")
    return tag or message.get("apns", {}).get("headers", {}).get("apns-collapse-id", "")


def read(body: bytes) -> SendRequest:
    """Return the checked body. Raises MessageFault."""
    try:
        request = SEND_REQUEST.validate_json(body)
    except ValidationError as error:
        raise _as_fault(error.errors(include_url=False)) from None
    message = request["message"]
    _check_target(message)
    _check_data(message.get("data", {}))
    _check_size(message)
    return request


def token_fault(field: str = "message.token") -> MessageFault:
    """The fault of a registration that is none. Clients know it by these words or by its field."""
    text = "The registration token is not a valid FCM registration token"
    return MessageFault(text, Violation(field, text))


def _as_fault(errors: list[ErrorDetails]) -> MessageFault:
    violations = [_violation(error) for error in errors]
    return MessageFault("; ".join(v.description for v in violations), *violations)


def _violation(error: ErrorDetails) -> Violation:
    field = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "json_invalid":
            return Violation("", "Invalid JSON payload received")
        case "extra_forbidden":
            return Violation(field, f'Invalid JSON payload received. Unknown name "{field}"')
        case "string_type":
            return Violation(field, f"Invalid value at '{field}' (TYPE_STRING)")
        case _:
            return Violation(field, f"Invalid value at '{field}': {error['msg']}")


def _check_target(message: FcmMessage) -> None:
    targets = TARGETS & message.keys()
    if len(targets) != 1:
        text = "Exactly one of token, fid, topic or condition is required"
        raise MessageFault(text, Violation("message", text))
    registration = message.get("token", message.get("fid"))
    if registration is not None and not _is_address(registration):
        raise token_fault(f"message.{next(iter(targets))}")


def _is_address(text: str) -> bool:
    return text != "" and not text.encode().translate(None, ADDRESS_CHARACTERS)


def _check_data(data: dict[str, str]) -> None:
    for key in data:
        if key in RESERVED_KEYS or key.startswith(RESERVED_PREFIXES):
            text = f"Invalid data payload key: {key}"
            raise MessageFault(text, Violation(f"message.data.{key}", text))


def _check_size(message: FcmMessage) -> None:
    limit = TOPIC_CONTENT_LIMIT if "topic" in message else CONTENT_LIMIT
    if content_size(message) > limit:
        raise MessageFault("Android message is too big")


def content_size(message: FcmMessage) -> int:
    """Bytes of the keys and values of the notification and the data, as Google counts them."""
    notification, data = message.get("notification", {}), message.get("data", {})
    texts = (
        *notification,
        notification.get("title", ""),
        notification.get("body", ""),
        notification.get("image", ""),
        *data,
        *data.values(),
    )
    return len("".join(texts).encode())
