"""From a rule to SQL: one condition over the row `app_users` in which nothing is ever NULL.

Every leaf's positive is true or false by construction, so that negation is the exact complement.
Values travel as bound parameters; only names from the list of fields become part of the statement.
"""

from typing import assert_never

from sqlalchemy import (
    ColumnElement,
    FromClause,
    and_,
    column,
    exists,
    false,
    literal_column,
    not_,
    or_,
    select,
    table,
    true,
)
from sqlalchemy.types import BOOLEAN, UUID

from fanfare.segments.columns import SQL_TYPES, AnyColumn, column_holds
from fanfare.segments.fields import (
    DEVICE_COLUMNS,
    ENTITLEMENT_COLUMNS,
    Field,
    Source,
    find_field,
)
from fanfare.segments.grammar import Group, Leaf, Rule
from fanfare.segments.operators import positive_of
from fanfare.segments.properties import Property

_ENTITLEMENTS = table(
    "user_entitlements",
    column("project_id", UUID()),
    column("app_user_id", UUID()),
    *(column(name, SQL_TYPES[type_]) for name, type_ in ENTITLEMENT_COLUMNS.items()),
).alias("rule_entitlement")

_DEVICES = table(
    "push_tokens",
    column("project_id", UUID()),
    column("app_user_id", UUID()),
    column("is_active", BOOLEAN()),
    *(column(name, SQL_TYPES[type_]) for name, type_ in DEVICE_COLUMNS.items()),
).alias("rule_device")


def compile_rule(rule: Rule) -> ColumnElement[bool]:
    """The SQL condition that holds for exactly the users that match; it is never NULL.

    It names the columns of `app_users` without adding a FROM, so the statement that uses it selects
    from `app_users` under that name. It does not restrict the project: the statement does.
    "Now" is when the statement begins.
    """
    match rule:
        case Group():
            return _compile_group(rule)
        case Leaf():
            return _compile_leaf(rule)
        case _:
            assert_never(rule)


def _compile_group(group: Group) -> ColumnElement[bool]:
    conditions = [compile_rule(condition) for condition in group.conditions]
    match group.operator:
        case "AND":
            return and_(true(), *conditions)
        case "OR":
            return or_(false(), *conditions)
        case "NOT":
            return not_(conditions[0])
        case _:
            assert_never(group.operator)


def _compile_leaf(leaf: Leaf) -> ColumnElement[bool]:
    field = find_field(leaf.field)
    if field is None:
        raise ValueError(f"no such field: {leaf.field}")  # a leaf that parse_rules did not make
    positive = _compile_positive(field, leaf)
    return positive if positive_of(leaf.op) is leaf.op else not_(positive)


def _compile_positive(field: Field, leaf: Leaf) -> ColumnElement[bool]:
    op = positive_of(leaf.op)
    match field.source:
        case Source.USER:
            return column_holds(_user_column(field), field.type, op, leaf.value)
        case Source.PROPERTIES:
            return Property(_user_column(field), field.path).holds(op, leaf.value)
        case Source.ENTITLEMENTS:
            subject = _ENTITLEMENTS.c[field.column]
            return _owns(_ENTITLEMENTS, column_holds(subject, field.type, op, leaf.value))
        case Source.DEVICE:
            holds = column_holds(_DEVICES.c[field.column], field.type, op, leaf.value)
            return _owns(_DEVICES, and_(_DEVICES.c.is_active, holds))
        case _:
            assert_never(field.source)


def _owns(rows: FromClause, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Some row of the user's satisfies the condition."""
    mine = and_(
        rows.c.project_id == literal_column("app_users.project_id", UUID()),
        rows.c.app_user_id == literal_column("app_users.id", UUID()),
    )
    # A constant and not `*`, which would ask for the right to read every column.
    return exists(select(literal_column("1")).where(mine, condition).correlate(None))


def _user_column(field: Field) -> AnyColumn:
    # A literal column brings no FROM of its own: beside the caller's own `app_users` a second
    # one would be a cross join.
    return literal_column(f"app_users.{field.column}", SQL_TYPES[field.type])
