"""What a campaign's content becomes on each provider's wire, and how large that is. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from firebase_admin import messaging

from fanfare.models import Content, ProviderName

# APNs: 4,096 bytes of uncompressed JSON (sending-notification-requests-to-apns).
# FCM: 4,096 bytes counting keys and values (docs/reference/fcm/rest/v1/ErrorCode).
MAX_PAYLOAD_BYTES = 4096
# FCM's longest and default time to live (setting-message-lifespan); APNs keeps up to 30 days.
MAX_TIME_TO_LIVE = timedelta(days=28)

_MAX_TTL_SECONDS = int(MAX_TIME_TO_LIVE.total_seconds())
_RESERVED_KEYS = frozenset({"aps", "from", "message_type"})
_RESERVED_PREFIXES = ("google", "gcm")
# A message needs a target to be checked; each request has its own.
_NOBODY = "nobody"
# What stands around the message and before the token of a request.
_FCM_FRAME_BYTES = len(b'{"message":,"token":}')
# A token number fills the lower 62 bits of an id: version and variant stay what they are.
_TOKEN_ID_MASK = 2**62 - 1


class UnrenderableContent(ValueError):
    """The content holds what JSON on the wire cannot: a lone surrogate, or a number too large."""


class FcmTemplate(NamedTuple):
    """An FCM request body with two gaps: the time to live, then the token."""

    before_ttl: bytes
    before_token: bytes
    after_token: bytes


class FcmBody(NamedTuple):
    """An FCM request body with one gap: the token."""

    before_token: bytes
    after_token: bytes


def reserved_data_keys(data: Mapping[str, object]) -> list[str]:
    """Return the top-level keys that a provider keeps for itself, in order.

    `aps` is Apple's; `from`, `message_type` and whatever begins with `google` or `gcm` are FCM's
    (docs/reference/fcm/rest/v1/ErrorCode).
    """
    return [key for key in data if key in _RESERVED_KEYS or key.startswith(_RESERVED_PREFIXES)]


def payload_sizes(content: Content) -> dict[ProviderName, int]:
    """Return the bytes that each provider counts against `MAX_PAYLOAD_BYTES`.

    APNs: exactly the body that is sent. FCM: the compact JSON of `message` without `token`, with
    the longest tag and ttl. Google counts keys and values only, so this is at most a few dozen
    bytes too strict and never too lax. Raises UnrenderableContent.
    """
    template = with_ttl(render_fcm(content, UUID(int=0)), _MAX_TTL_SECONDS)
    return {
        ProviderName.APNS: len(render_apns(content)),
        ProviderName.FCM: len(b"".join(template)) - _FCM_FRAME_BYTES,
    }


def render_apns(content: Content) -> bytes:
    """Return the APNs body, the same for every device. Raises UnrenderableContent."""
    alert = {"title": content.title, "body": content.body}
    return _json({**content.data, "aps": {"alert": alert, "mutable-content": 1}})


def render_fcm(content: Content, notification_id: UUID) -> FcmTemplate:
    """Return the FCM body but for time to live and token. Raises UnrenderableContent."""
    message = _fcm_message(content, collapse_id(notification_id))
    # `android` and in it `ttl` come last, so that one cut parts them off.
    android = {**message.pop("android"), "ttl": ""}
    rendered = _json({**message, "android": android})
    end = b'"}}'
    return FcmTemplate(
        before_ttl=b'{"message":' + rendered.removesuffix(end),
        before_token=b's"},"token":',
        after_token=b"}}",
    )


def with_ttl(template: FcmTemplate, ttl_seconds: int) -> FcmBody:
    """Return the body of one send: all but the token."""
    before_token = b"%b%d%b" % (template.before_ttl, ttl_seconds, template.before_token)
    return FcmBody(before_token, template.after_token)


def fill_fcm(body: FcmBody, token: str) -> bytes:
    """Return the body for one device, in well under a microsecond."""
    before_token, after_token = body
    return b"%b%b%b" % (before_token, orjson.dumps(token), after_token)


def apns_id(notification_id: UUID, token_id: int) -> str:
    """Return the id of one message: a lower-case UUID, the same on every attempt.

    Unique for a notification's tokens, and as unlike other notifications' as their ids are.
    """
    # Once for each message: `str(UUID(int=...))` says the same at three times the cost.
    text = "%032x" % (notification_id.int ^ (token_id & _TOKEN_ID_MASK))
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def collapse_id(notification_id: UUID) -> str:
    """Return what makes a phone show a repeated message once: 36 bytes of at most 64."""
    return str(notification_id)


def expiration_epoch(expires_at: datetime | None, now: datetime) -> int:
    """Return `apns-expiration` in epoch seconds: the given time, else 28 days from now."""
    return int((expires_at if expires_at is not None else now + MAX_TIME_TO_LIVE).timestamp())


def ttl_seconds(expires_at: datetime | None, now: datetime) -> int:
    """Return FCM's ttl, 0 to 2,419,200 seconds; 0 is "now or never" (setting-message-lifespan)."""
    if expires_at is None:
        return _MAX_TTL_SECONDS
    return max(0, min(_MAX_TTL_SECONDS, int((expires_at - now).total_seconds())))


def _fcm_message(content: Content, tag: str) -> dict[str, Any]:  # Any: JSON
    """What firebase-admin makes of the content, by its own models and checks, without a target.

    firebase-admin's sender is another matter: see docs/benchmarks.md.
    """
    try:
        message = messaging.Message(
            notification=messaging.Notification(title=content.title, body=content.body),
            data={key: _fcm_value(value) for key, value in content.data.items()},
            # The tag, not collapse_key: notification messages ignore that
            # (collapsible-message-types).
            android=messaging.AndroidConfig(
                priority="high", notification=messaging.AndroidNotification(tag=tag)
            ),
            fid=_NOBODY,
        )
        fields: dict[str, Any] = orjson.loads(str(message))  # Any: JSON
    except ValueError as error:
        raise UnrenderableContent(str(error)) from error
    del fields["fid"]
    return fields


def _fcm_value(value: object) -> str:
    # FCM answers anything but a string with 400 TYPE_STRING (docs/reference/fcm/rest/v1).
    return value if isinstance(value, str) else _json(value).decode()


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise UnrenderableContent(str(error)) from error
