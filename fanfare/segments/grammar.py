"""The grammar of a segment's rules: a tree of groups, with leaves that compare one field.

`parse_rules` is the only door: it checks everything, so that a `Rule` it returned compiles and runs
without an error. Limits are the contract's; the others guard the database and are named here.
"""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from fanfare.segments.checks import check_field, check_operator, check_value
from fanfare.segments.errors import InvalidRules, RulesTooDeep
from fanfare.segments.operators import Operator
from fanfare.segments.shapes import Json, child, expect_keys, expect_object
from fanfare.segments.suggestions import suggest_group_operator

GroupOperator: TypeAlias = Literal["AND", "OR", "NOT"]
Scalar: TypeAlias = bool | int | float | str

MAX_DEPTH = 5
MAX_LEAVES = 100
# Groups without leaves cost as much as any; a rule of 100 leaves at full depth needs no more.
MAX_GROUPS = MAX_LEAVES * MAX_DEPTH


class Leaf(BaseModel):
    """One comparison. `value` is None exactly for exists and not_exists."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    field: str
    op: Operator
    value: Scalar | tuple[Scalar, ...] | None = None


class Group(BaseModel):
    """AND of nothing is everyone, OR of nothing is nobody, NOT has exactly one condition."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    operator: GroupOperator
    conditions: tuple["Group | Leaf", ...]


Rule: TypeAlias = Group | Leaf


def parse_rules(raw: object) -> Rule:
    """Check rules as decoded from JSON and return them, immutable.

    Stops at the first fault, so that its cost is bounded whatever the nesting or width.
    `Rule.model_dump(mode="json", exclude_none=True)` gives back what was read.
    Raises InvalidRules or RulesTooDeep.
    """
    return _Parser().parse(raw, path="", depth=1)


class _Parser:
    """Counts what it has met so far across the whole tree."""

    def __init__(self) -> None:
        self._groups = 0
        self._leaves = 0

    def parse(self, raw: object, *, path: str, depth: int) -> Rule:
        condition = expect_object(raw, path)
        if "field" in condition and "conditions" not in condition:
            return self._parse_leaf(condition, path)
        if "operator" in condition or "conditions" in condition:
            return self._parse_group(condition, path, depth)
        return self._parse_leaf(condition, path)

    def _parse_group(self, raw: Json, path: str, depth: int) -> Group:
        if depth > MAX_DEPTH:
            raise RulesTooDeep(path)
        self._groups += 1
        if self._groups > MAX_GROUPS:
            raise InvalidRules(path, f"Rules hold at most {MAX_GROUPS} groups.")
        expect_keys(raw, path, required=("operator", "conditions"))
        operator = _check_group_operator(raw["operator"], child(path, "operator"))
        conditions = _check_conditions(operator, raw["conditions"], child(path, "conditions"))
        return Group(
            operator=operator,
            conditions=tuple(
                self.parse(each, path=f"{path}/conditions/{index}", depth=depth + 1)
                for index, each in enumerate(conditions)
            ),
        )

    def _parse_leaf(self, raw: Json, path: str) -> Leaf:
        self._leaves += 1
        if self._leaves > MAX_LEAVES:
            raise InvalidRules(path, f"Rules hold at most {MAX_LEAVES} leaves.")
        expect_keys(raw, path, required=("field", "op"), optional=("value",))
        name, field = check_field(raw["field"], child(path, "field"))
        op = check_operator(raw["op"], name, field, child(path, "op"))
        return Leaf(field=name, op=op, value=check_value(raw, field, op, path))


def _check_group_operator(raw: object, path: str) -> GroupOperator:
    match raw:
        case "AND" | "OR" | "NOT":
            return raw
        case _:
            raise InvalidRules(
                path, "A group's operator is AND, OR or NOT.", suggest_group_operator(raw)
            )


def _check_conditions(operator: GroupOperator, raw: object, path: str) -> list[object]:
    if not isinstance(raw, list):
        raise InvalidRules(path, "A group's conditions are a list.")
    if operator == "NOT" and len(raw) != 1:
        raise InvalidRules(path, "NOT takes exactly one condition.")
    return raw
