"""What a campaign or a test push may say, and when: checked before anything is stored."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fanfare.errors import (
    FieldFault,
    InvalidInput,
    InvalidScheduledAt,
    PayloadTooLarge,
    ReservedDataKey,
    ScheduledAtInPast,
)
from fanfare.models import Content
from fanfare.payload import (
    MAX_PAYLOAD_BYTES,
    UnrenderableContent,
    payload_sizes,
    reserved_data_keys,
)
from fanfare.schedule import instant_of, last_instant

# A timer further away than this is more likely a slip of the pen than a plan.
FURTHEST_SCHEDULE = timedelta(days=5 * 365)

# The island that is furthest ahead of UTC.
_FIRST_CLOCK = timezone(timedelta(hours=14))


def _read_instant(value: object) -> datetime | None:
    """An ISO 8601 time with an offset, in UTC. Raises InvalidScheduledAt."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidScheduledAt("scheduled_at must be an ISO 8601 text, 2027-04-20T09:00:00Z.")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise InvalidScheduledAt("scheduled_at needs an offset: end it with Z, or +02:00.")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = "scheduled_at is not an ISO 8601 time such as 2027-04-20T09:00:00Z."
        raise InvalidScheduledAt(message) from error


Title = Annotated[str, Field(min_length=1, max_length=500)]
Text = Annotated[str, Field(min_length=1, max_length=3_000)]
Data = Annotated[
    dict[str, Any],  # Any: JSON, checked by `content_of`
    Field(
        description="Handed to the app. APNs keeps JSON values; FCM gets them as text. `aps`, "
        "`from`, `message_type` and whatever begins with `google` or `gcm` are reserved."
    ),
]
ScheduledAt = Annotated[
    datetime | None,
    BeforeValidator(_read_instant),
    Field(
        description="ISO 8601 with an offset, in the future, at most five years ahead. A campaign "
        "with a time is `scheduled`, one without is a `draft`."
    ),
]


def content_of(title: str, body: str, data: dict[str, Any]) -> Content:
    """The content, once both providers can take it.

    Raises ReservedDataKey, PayloadTooLarge or InvalidInput.
    """
    if reserved := reserved_data_keys(data):
        names = ", ".join(reserved)
        raise ReservedDataKey(
            f"data uses names that providers reserve: {names}.", {"keys": reserved}
        )
    content = Content(title, body, data)
    try:
        sizes = payload_sizes(content)
    except UnrenderableContent as error:
        fault = FieldFault("body.data", "holds what JSON on the wire cannot")
        raise InvalidInput("The content cannot be rendered.", [fault]) from error
    for provider, size in sizes.items():
        if size > MAX_PAYLOAD_BYTES:
            raise _too_large(provider, size)
    return content


def check_schedule(scheduled_at: datetime | None, now: datetime) -> None:
    """Raises ScheduledAtInPast, or InvalidScheduledAt for a time that is years away."""
    if scheduled_at is None:
        return
    if scheduled_at <= now:
        raise ScheduledAtInPast(f"scheduled_at has gone by; it is {now:%Y-%m-%dT%H:%M:%SZ} now.")
    if scheduled_at > now + FURTHEST_SCHEDULE:
        raise InvalidScheduledAt("scheduled_at is more than five years ahead.")


def check_local_time(day: date, at: time, now: datetime) -> None:
    """Raises ScheduledAtInPast where that time has passed everywhere, or InvalidScheduledAt."""
    try:
        last = last_instant(day, at)
    except OverflowError as error:
        raise InvalidScheduledAt("local_date is out of reach.") from error
    if last <= now:
        raise ScheduledAtInPast("local_date and local_time have gone by in every time zone.")
    if last > now + FURTHEST_SCHEDULE:
        raise InvalidScheduledAt("local_date is more than five years ahead.")


def earliest_instant(day: date, at: time) -> datetime:
    """Before that wall-clock time has come in any zone."""
    return instant_of(day, at, _FIRST_CLOCK)


def check_expiry(expires_at: datetime | None, begins_at: datetime) -> None:
    """Raises InvalidInput where a campaign would expire before it begins."""
    if expires_at is not None and expires_at <= begins_at:
        fault = FieldFault("body.expires_at", "must lie after the campaign's time")
        raise InvalidInput("The campaign would expire before it is sent.", [fault])


def _too_large(provider: str, size: int) -> PayloadTooLarge:
    over = size - MAX_PAYLOAD_BYTES
    details = {"provider": provider, "bytes": size, "limit": MAX_PAYLOAD_BYTES, "over_by": over}
    return PayloadTooLarge(f"The {provider} payload is {over} bytes too large.", details)
