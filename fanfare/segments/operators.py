"""The operators of a leaf, and which of them is the complement of which."""

from collections.abc import Mapping
from enum import StrEnum


class Operator(StrEnum):
    EQ = "eq"
    NEQ = "neq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"
    WITHIN = "within"
    NOT_WITHIN = "not_within"
    IN = "in"
    NOT_IN = "not_in"


POSITIVE_OF: Mapping[Operator, Operator] = {
    Operator.NEQ: Operator.EQ,
    Operator.NOT_CONTAINS: Operator.CONTAINS,
    Operator.NOT_EXISTS: Operator.EXISTS,
    Operator.NOT_WITHIN: Operator.WITHIN,
    Operator.NOT_IN: Operator.IN,
}


def positive_of(op: Operator) -> Operator:
    """The operator whose exact complement `op` is, or `op` itself where it is no negative."""
    return POSITIVE_OF.get(op, op)
