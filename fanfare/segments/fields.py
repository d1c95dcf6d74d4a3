"""The one list of fields that a leaf may name. The check and the compiler both read it, so a field
that passes the one has a column in the other."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fanfare.segments.operators import Operator

MAX_PATH_PARTS = 10
MAX_PART_LENGTH = 100


class Source(StrEnum):
    """Where a field lives: on the user's own row, or in rows that belong to the user."""

    USER = "user"
    PROPERTIES = "properties"
    ENTITLEMENTS = "entitlements"
    DEVICE = "device"


class ValueType(StrEnum):
    TEXT = "text"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Field:
    """A field that exists. `column` is a column's name; `path` leads into it, for properties."""

    source: Source
    column: str
    type: ValueType
    path: tuple[str, ...] = ()


USER_COLUMNS: Mapping[str, ValueType] = {
    "external_id": ValueType.TEXT,
    "email": ValueType.TEXT,
    "phone": ValueType.TEXT,
    "display_name": ValueType.TEXT,
    "timezone": ValueType.TEXT,
    "locale": ValueType.TEXT,
    "first_seen_at": ValueType.TIMESTAMP,
    "last_seen_at": ValueType.TIMESTAMP,
    "created_at": ValueType.TIMESTAMP,
    "updated_at": ValueType.TIMESTAMP,
}
ENTITLEMENT_COLUMNS: Mapping[str, ValueType] = {
    "entitlement_id": ValueType.TEXT,
    "product_id": ValueType.TEXT,
    "store": ValueType.TEXT,
    "period_type": ValueType.TEXT,
    "is_active": ValueType.BOOLEAN,
    "purchase_date": ValueType.TIMESTAMP,
    "expiration_date": ValueType.TIMESTAMP,
}
DEVICE_COLUMNS: Mapping[str, ValueType] = {
    "platform": ValueType.TEXT,
    "provider": ValueType.TEXT,
    "app_version": ValueType.TEXT,
    "last_seen_at": ValueType.TIMESTAMP,
}

COLUMN_FIELDS: Mapping[str, Field] = {
    **{name: Field(Source.USER, name, type_) for name, type_ in USER_COLUMNS.items()},
    **{
        f"entitlements.{name}": Field(Source.ENTITLEMENTS, name, type_)
        for name, type_ in ENTITLEMENT_COLUMNS.items()
    },
    **{
        f"device.{name}": Field(Source.DEVICE, name, type_)
        for name, type_ in DEVICE_COLUMNS.items()
    },
}

_ANY_TYPE = frozenset(
    {Operator.EQ, Operator.NEQ, Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.NOT_EXISTS}
)
OPERATORS: Mapping[ValueType, frozenset[Operator]] = {
    ValueType.TEXT: _ANY_TYPE | {Operator.CONTAINS, Operator.NOT_CONTAINS},
    ValueType.BOOLEAN: _ANY_TYPE,
    ValueType.TIMESTAMP: _ANY_TYPE
    | {Operator.GT, Operator.GTE, Operator.LT, Operator.LTE}
    | {Operator.WITHIN, Operator.NOT_WITHIN},
    ValueType.JSON: frozenset(Operator),
}

# Two leading underscores are refused: JavaScript clients give such names (`__proto__`) a meaning.
_PATH_PART = re.compile(rf"(?!__)[A-Za-z_][A-Za-z0-9_]{{0,{MAX_PART_LENGTH - 1}}}")


def find_field(name: str) -> Field | None:
    """The field called `name`, or None where there is none. Linear in the name's length."""
    if name.startswith("properties."):
        return _find_property(name.removeprefix("properties."))
    return COLUMN_FIELDS.get(name)


def _find_property(dotted: str) -> Field | None:
    parts = tuple(dotted.split(".", MAX_PATH_PARTS))
    if len(parts) > MAX_PATH_PARTS or not all(map(_PATH_PART.fullmatch, parts)):
        return None
    return Field(Source.PROPERTIES, "properties", ValueType.JSON, parts)
