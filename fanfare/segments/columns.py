"""The positive operators on typed columns. Each condition is true or false, never NULL, and in a
form that a B-tree index on the column serves."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, and_, any_, func, literal
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import BOOLEAN, TEXT, TIMESTAMP, TypeEngine

from fanfare.segments.fields import ValueType
from fanfare.segments.operators import Operator
from fanfare.segments.values import read_timestamp, read_window

Operand: TypeAlias = bool | int | float | str | tuple[bool | int | float | str, ...] | None
# Columns of every type pass through here, and the typing of SQLAlchemy is invariant.
AnyColumn: TypeAlias = ColumnElement[Any]

SQL_TYPES: Mapping[ValueType, TypeEngine[Any]] = {
    ValueType.TEXT: TEXT(),
    ValueType.BOOLEAN: BOOLEAN(),
    ValueType.TIMESTAMP: TIMESTAMP(timezone=True),
    ValueType.JSON: JSONB(),
}


def column_holds(
    subject: AnyColumn, type_: ValueType, op: Operator, operand: Operand
) -> ColumnElement[bool]:
    """`subject op operand`, false where the column is NULL. `op` is one of the positives."""
    if op is Operator.EXISTS:
        return subject.is_not(None)
    return and_(subject.is_not(None), _compare(subject, type_, op, operand))


def _compare(
    subject: AnyColumn, type_: ValueType, op: Operator, operand: Operand
) -> ColumnElement[bool]:
    match op, operand:
        case Operator.WITHIN, str():
            return lies_within(subject, operand)
        case Operator.CONTAINS, str():
            return func.strpos(subject, literal(operand, TEXT())) > 0
        case Operator.IN, tuple():
            values = [_native(each, type_) for each in operand]
            return subject == any_(literal(values, ARRAY(SQL_TYPES[type_])))
        case _:
            return compare(subject, op, literal(_native(operand, type_), SQL_TYPES[type_]))


def compare(subject: AnyColumn, op: Operator, operand: AnyColumn) -> ColumnElement[bool]:
    """The comparisons that SQL has an operator for: eq and the ordered ones."""
    match op:
        case Operator.EQ:
            return subject == operand
        case Operator.GT:
            return subject > operand
        case Operator.GTE:
            return subject >= operand
        case Operator.LT:
            return subject < operand
        case Operator.LTE:
            return subject <= operand
        case _:
            raise ValueError(f"not a comparison: {op}")


def lies_within(instant: AnyColumn, window: str) -> ColumnElement[bool]:
    """The instant lies between `window` ago and now, both included.

    The window is a length in minutes, not in calendar days, so that a day is 24 hours whatever the
    time zone of the session. NULL where the instant is.
    """
    return and_(instant >= earliest_within(window), instant <= now())


def earliest_within(window: str) -> ColumnElement[datetime]:
    """The first instant of a window that ends now."""
    length = read_window(window)
    if length is None:
        raise ValueError(f"not a window: {window}")  # a leaf that parse_rules did not make
    minutes = length // timedelta(minutes=1)
    return now() - func.make_interval(0, 0, 0, 0, 0, minutes)


def instant(text: str) -> datetime:
    """The instant that a checked value names."""
    timestamp = read_timestamp(text)
    if timestamp is None:
        raise ValueError(f"not a timestamp: {text}")  # a leaf that parse_rules did not make
    return timestamp


def _native(operand: object, type_: ValueType) -> object:
    return instant(str(operand)) if type_ is ValueType.TIMESTAMP else operand


def now() -> ColumnElement[datetime]:
    """When the statement began. The transaction's `now()` would be earlier than what the statement
    sees, and put who was seen meanwhile into the future, outside every window."""
    return func.statement_timestamp()
