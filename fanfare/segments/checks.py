"""The checks of a leaf when it is written: its field, its operator, and a value that fits both.

A value that passes can be bound: no NUL and no lone surrogate (PostgreSQL has neither in text), no
number beyond what JSON parsers and `numeric` agree on.
"""

from fanfare.segments.errors import InvalidRules
from fanfare.segments.fields import MAX_PATH_PARTS, OPERATORS, Field, ValueType, find_field
from fanfare.segments.operators import Operator, positive_of
from fanfare.segments.shapes import Json, child
from fanfare.segments.suggestions import suggest_field, suggest_operator
from fanfare.segments.values import read_timestamp, read_window

MAX_VALUE_LENGTH = 1_000
MAX_LISTED_VALUES = 1_000
MAX_INTEGER = 2**63 - 1

_TIMESTAMP_ADVICE = 'an ISO timestamp with an offset, such as "2026-01-31T08:00:00Z"'


def check_field(raw: object, path: str) -> tuple[str, Field]:
    """The name and the field that it names. Raises InvalidRules."""
    if not isinstance(raw, str):
        raise InvalidRules(path, "A field is named by a string.")
    field = find_field(raw)
    if field is not None:
        return raw, field
    if raw.startswith("properties"):
        raise InvalidRules(
            path,
            f'A property is "properties." and 1 to {MAX_PATH_PARTS} names joined by dots, each of '
            "letters, digits and underscores, not led by a digit or two underscores.",
            suggest_field(raw),
        )
    raise InvalidRules(path, "Unknown field.", suggest_field(raw))


def check_operator(raw: object, name: str, field: Field, path: str) -> Operator:
    """The operator, if the field's type has it. Raises InvalidRules."""
    if not isinstance(raw, str):
        raise InvalidRules(path, "An operator is a string.")
    try:
        op = Operator(raw)
    except ValueError:
        raise InvalidRules(path, "Unknown operator.", suggest_operator(raw)) from None
    if op not in OPERATORS[field.type]:
        raise InvalidRules(
            path, f'"{op}" does not apply to "{name}", which is of type {field.type}.'
        )
    return op


def check_value(
    leaf: Json, field: Field, op: Operator, path: str
) -> bool | int | float | str | tuple[bool | int | float | str, ...] | None:
    """The leaf's value, if it fits the field and the operator. Raises InvalidRules.

    A null value is no value.
    """
    raw = leaf.get("value")
    at = child(path, "value")
    match positive_of(op):
        case Operator.EXISTS if raw is None:
            return None
        case Operator.EXISTS:
            raise InvalidRules(at, f'"{op}" takes no value.')
        case Operator.IN:
            return _check_list(raw, field, op, at)
        case _ if raw is None:
            raise _no_value(leaf, op, path)
        case positive:
            return _check_operand(raw, field, positive, at)


def _no_value(leaf: Json, op: Operator, path: str) -> InvalidRules:
    if "value" not in leaf:
        return InvalidRules(path, f'"{op}" needs a "value".')
    return InvalidRules(
        child(path, "value"),
        f'"{op}" does not compare with null; "exists" and "not_exists" do.',
        {Operator.EQ: "not_exists", Operator.NEQ: "exists"}.get(op),
    )


def _check_list(
    raw: object, field: Field, op: Operator, path: str
) -> tuple[bool | int | float | str, ...]:
    if not isinstance(raw, list | tuple) or not 1 <= len(raw) <= MAX_LISTED_VALUES:
        raise InvalidRules(path, f'"{op}" takes a list of 1 to {MAX_LISTED_VALUES:,} values.')
    return tuple(
        _check_operand(each, field, Operator.EQ, f"{path}/{index}")
        for index, each in enumerate(raw)
    )


def _check_operand(raw: object, field: Field, op: Operator, path: str) -> bool | int | float | str:
    scalar = _check_scalar(raw, path)
    match op:
        case Operator.WITHIN:
            return _check_window(scalar, path)
        case Operator.CONTAINS if not isinstance(scalar, str):
            raise InvalidRules(path, '"contains" and "not_contains" take a string.')
        case Operator.GT | Operator.GTE | Operator.LT | Operator.LTE:
            return _check_ordered(scalar, field, path)
        case _:
            return _check_type(scalar, field.type, path)


def _check_scalar(raw: object, path: str) -> bool | int | float | str:
    match raw:
        case bool():
            return raw
        case str():
            return _check_text(raw, path)
        case int() | float():
            return _check_number(raw, path)
        case _:
            raise InvalidRules(path, "A value is a string, a number or a boolean.")


def _check_text(text: str, path: str) -> str:
    if len(text) > MAX_VALUE_LENGTH:
        raise InvalidRules(path, f"A string has at most {MAX_VALUE_LENGTH:,} characters.")
    if "\0" in text:
        raise InvalidRules(path, "A string holds no NUL character.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidRules(path, "A string is well-formed Unicode, without lone surrogates.")
    return text


def _check_number(number: float, path: str) -> int | float:
    if isinstance(number, int) and abs(number) > MAX_INTEGER:
        raise InvalidRules(path, f"An integer lies within {MAX_INTEGER} on either side of zero.")
    # Also false for NaN, which compares with nothing.
    if not abs(number) < float("inf"):
        raise InvalidRules(path, "A number is finite.")
    return number


def _check_window(scalar: bool | float | str, path: str) -> str:
    if not isinstance(scalar, str) or read_window(scalar) is None:
        raise InvalidRules(
            path,
            'A window is a whole number above zero and a unit (m, h, d or w) such as "7d", up to '
            "100 years.",
        )
    return scalar


def _check_ordered(scalar: bool | float | str, field: Field, path: str) -> int | float | str:
    if isinstance(scalar, str) and read_timestamp(scalar) is not None:
        return scalar
    if field.type is ValueType.TIMESTAMP:
        raise InvalidRules(path, f"The value is {_TIMESTAMP_ADVICE}.")
    if isinstance(scalar, bool | str):
        raise InvalidRules(path, f"The value is a number or {_TIMESTAMP_ADVICE}.")
    return scalar


def _check_type(
    scalar: bool | float | str, type_: ValueType, path: str
) -> bool | int | float | str:
    match type_:
        case ValueType.TEXT if not isinstance(scalar, str):
            raise InvalidRules(path, "The value is a string, as the field is text.")
        case ValueType.BOOLEAN if not isinstance(scalar, bool):
            raise InvalidRules(path, "The value is true or false, as the field is boolean.")
        case ValueType.TIMESTAMP if not _is_timestamp(scalar):
            raise InvalidRules(path, f"The value is {_TIMESTAMP_ADVICE}.")
        case _:
            return scalar


def _is_timestamp(scalar: bool | float | str) -> bool:
    return isinstance(scalar, str) and read_timestamp(scalar) is not None
