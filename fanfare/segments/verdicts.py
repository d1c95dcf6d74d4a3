"""What a rule says of one user, condition by condition: the rule's own tree with the answers in it.

The database answers the leaves. A group follows from its conditions, since no leaf is ever NULL.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from fanfare.segments.grammar import Group, GroupOperator, Leaf, Rule, Scalar
from fanfare.segments.operators import Operator


@dataclass(frozen=True, slots=True)
class LeafVerdict:
    """A leaf as it was written, and whether the user satisfies it."""

    field: str
    op: Operator
    value: Scalar | tuple[Scalar, ...] | None
    matches: bool


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """A group as it was written, and whether the user satisfies it."""

    operator: GroupOperator
    matches: bool
    conditions: tuple["GroupVerdict | LeafVerdict", ...]


ConditionVerdict: TypeAlias = GroupVerdict | LeafVerdict


def leaves_of(rule: Rule) -> Sequence[Leaf]:
    """The rule's leaves, in the order in which they are written."""
    match rule:
        case Leaf():
            return [rule]
        case Group():
            return [leaf for condition in rule.conditions for leaf in leaves_of(condition)]
        case _:
            assert_never(rule)


def judge(rule: Rule, answers: Iterable[bool]) -> ConditionVerdict:
    """The rule's tree with an answer at each node; `answers` are those of `leaves_of(rule)`."""
    return _judge(rule, iter(answers))


def _judge(rule: Rule, answers: Iterator[bool]) -> ConditionVerdict:
    match rule:
        case Leaf():
            return LeafVerdict(rule.field, rule.op, rule.value, next(answers))
        case Group():
            conditions = tuple(_judge(condition, answers) for condition in rule.conditions)
            return GroupVerdict(rule.operator, _holds(rule.operator, conditions), conditions)
        case _:
            assert_never(rule)


def _holds(operator: GroupOperator, conditions: Sequence[ConditionVerdict]) -> bool:
    match operator:
        case "AND":
            return all(condition.matches for condition in conditions)
        case "OR":
            return any(condition.matches for condition in conditions)
        case "NOT":
            return not conditions[0].matches
        case _:
            assert_never(operator)
