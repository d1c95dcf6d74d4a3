"""The semantics of rules a second time, in plain Python over decoded JSON, as the test's oracle.

Written from the contract and not from the compiler: this one parses, where that one matches
patterns.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from tests.segments.population import PROJECT, Row, User

# Decoded JSON: its shape is what the evaluator is there to find out.
Json: TypeAlias = Any

NEGATIVES: Mapping[str, str] = {
    "neq": "eq",
    "not_contains": "contains",
    "not_exists": "exists",
    "not_within": "within",
    "not_in": "in",
}
UNITS: Mapping[str, int] = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
# PostgreSQL knows instants before year 1 and after 9999, where local time plus offset leads.
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local times are counted from it, less their offset
TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def matches(rule: Json, user: User, now: datetime) -> bool:
    """Whether the user matches the rule, given as plain JSON that the grammar admits."""
    if "operator" not in rule:
        return _leaf_matches(rule, user, now)
    results = [matches(condition, user, now) for condition in rule["conditions"]]
    return {"AND": all(results), "OR": any(results), "NOT": not all(results)}[rule["operator"]]


def _leaf_matches(leaf: Json, user: User, now: datetime) -> bool:
    negative = leaf["op"] in NEGATIVES
    op = NEGATIVES.get(leaf["op"], leaf["op"])
    found = any(
        _holds(value, op, leaf.get("value"), now) for value in _values_of(leaf["field"], user)
    )
    return found != negative


def _values_of(field: str, user: User) -> Sequence[Json]:
    root, _, rest = field.partition(".")
    if root == "properties":
        return [_walk(_decode(user.properties), rest.split("."))]
    if root == "entitlements":
        return [row.get(rest) for row in _owned(user.entitlements)]
    if root == "device":
        return [row.get(rest) for row in _owned(user.devices) if row.get("is_active", True)]
    return [user.columns.get(field)]


def _owned(rows: Sequence[Row]) -> Sequence[Row]:
    return [row for row in rows if row.get("project_id", PROJECT) == PROJECT]


def _decode(text: str) -> Json:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def _walk(value: Json, path: Sequence[str]) -> Json:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _holds(found: Json, op: str, wanted: Json, now: datetime) -> bool:
    if found is None:
        return False
    match op:
        case "exists":
            return True
        case "eq":
            return _equal(found, wanted)
        case "in":
            return any(_equal(found, each) for each in wanted)
        case "contains":
            return isinstance(found, list | str) and wanted in found
        case "within":
            return _within(found, wanted, now)
        case _:
            return _ordered(found, op, wanted)


def _equal(found: Json, wanted: Json) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    if isinstance(found, datetime):
        return _instant(found) == _instant(wanted)
    if isinstance(wanted, str):
        return isinstance(found, str) and found == wanted
    return _number(found) == Decimal(repr(wanted))


def _ordered(found: Json, op: str, wanted: Json) -> bool:
    left, right = (
        (_instant(found), _instant(wanted))
        if isinstance(wanted, str)
        else (_number(found), Decimal(repr(wanted)))
    )
    compare: Mapping[str, Callable[[Json, Json], bool]] = {
        "gt": lambda a, b: bool(a > b),
        "gte": lambda a, b: bool(a >= b),
        "lt": lambda a, b: bool(a < b),
        "lte": lambda a, b: bool(a <= b),
    }
    return left is not None and compare[op](left, right)


def _within(found: Json, window: str, now: datetime) -> bool:
    instant, latest = _instant(found), _instant(now)
    length = timedelta(seconds=int(window[:-1]) * UNITS[window[-1]])
    return instant is not None and latest is not None and latest - length <= instant <= latest


def _number(found: Json) -> Decimal | None:
    if isinstance(found, Decimal):
        return found
    if not isinstance(found, str) or found != found.strip() or len(found) > 90:
        return None
    try:
        number = _decode(found)
    except ValueError:
        return None
    return number if isinstance(number, Decimal) and _is_bounded(found) else None


def _is_bounded(text: str) -> bool:
    _, _, exponent = text.lower().partition("e")
    return len(exponent.lstrip("+-")) <= 3


def _instant(found: Json) -> timedelta | None:
    """As the time since 1970, in UTC and microseconds."""
    if isinstance(found, datetime):
        return found.astimezone(UTC).replace(tzinfo=None) - EPOCH
    parts = TIMESTAMP.fullmatch(found) if isinstance(found, str) else None
    if parts is None:
        return None
    date, time, fraction, sign, hours, minutes = parts.groups("0")
    if int(hours) > 14 or int(minutes) > 59:
        return None
    try:
        local = datetime.strptime(f"{date} {time}", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - local
    except ValueError:
        return None
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    return local - EPOCH - offset + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
