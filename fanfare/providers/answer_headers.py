"""What an answer's headers say beside its status: when to come again, and what time it is."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from fanfare.providers.exchange import Headers

# Google gives a message up after an hour of trouble ("Scale FCM"); no wait is longer.
LONGEST_WAIT = timedelta(hours=1)


def retry_after(headers: Headers, now: datetime) -> timedelta | None:
    """Return the wait that `Retry-After` asks for, in seconds or as a date (RFC 9110, 10.2.3).

    At most `LONGEST_WAIT`; None where it is not said, or says nothing.
    """
    value = _value(headers, b"retry-after")
    if value is None:
        return None
    if value.isdecimal():
        return timedelta(seconds=min(int(value[:9]), LONGEST_WAIT.total_seconds()))
    moment = _moment(value)
    return None if moment is None else min(max(moment - now, timedelta(0)), LONGEST_WAIT)


def clock_skew(headers: Headers, now: datetime) -> timedelta | None:
    """Return how far our clock is ahead of the peer's `Date` (RFC 9110, 6.6.1), None without one.

    Negative where ours is behind; right to a second and the time that the answer travelled.
    """
    value = _value(headers, b"date")
    moment = None if value is None else _moment(value)
    return None if moment is None else now - moment


def _value(headers: Headers, wanted: bytes) -> str | None:
    for name, value in headers:
        if name == wanted:
            return value.decode("ascii", "replace").strip()
    return None


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
