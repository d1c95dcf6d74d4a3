"""The texts that stand for something else: timestamps, windows and numbers, in rules and in data.

The two patterns are read by Python's `re` and by PostgreSQL alike. They admit exactly what
PostgreSQL casts without an error, because a failed cast would fail the whole query; version 15 has
no `pg_input_is_valid` to ask first.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

# Year 0000 is left out by spelling the others: PostgreSQL pays for a lookahead at every character.
_YEAR = "([0-9][0-9][0-9][1-9]|[0-9][0-9][1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR = "([0-9][0-9](0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_DAY_OF_MONTH = (
    "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    "|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8])"
)
_DATE = f"({_YEAR}-({_DAY_OF_MONTH})|{_LEAP_YEAR}-02-29)"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
_OFFSET = "([Zz]|[+-](0[0-9]|1[0-4]):[0-5][0-9])"

TIMESTAMP_PATTERN = f"^{_DATE}[Tt ]{_TIME}{_OFFSET}$"
"""RFC 3339 with years 0001 to 9999 and offsets to 14:59; a space may stand for the T.
PostgreSQL casts it once the fraction is cut to six digits."""

NUMBER_PATTERN = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"
"""A JSON number with 3 digits in the exponent at most. Within MAX_NUMBER_LENGTH no text of it
overflows `numeric`; bounds on every part would cost PostgreSQL four times as much."""

MAX_NUMBER_LENGTH = 90

_TIMESTAMP = re.compile(TIMESTAMP_PATTERN)
_WINDOW = re.compile("([1-9][0-9]{0,7})([mhdw])")
_UNITS: Mapping[str, timedelta] = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
MAX_WINDOW = timedelta(days=36_500)


def read_timestamp(text: str) -> datetime | None:
    """The instant in UTC that `text` names, cut to microseconds; None where it names none."""
    if text.endswith("\n") or not _TIMESTAMP.match(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        return None


def read_window(text: str) -> timedelta | None:
    """The length that `text` ("7d"; units m, h, d, w) names, up to 100 years; None otherwise."""
    found = _WINDOW.fullmatch(text)
    if found is None:
        return None
    window = int(found[1]) * _UNITS[found[2]]
    return window if window <= MAX_WINDOW else None
