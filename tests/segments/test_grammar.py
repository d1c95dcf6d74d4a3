"""What the grammar admits, and where and how it says what it does not."""

import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from fanfare.segments.errors import InvalidRules, RulesTooDeep
from fanfare.segments.fields import COLUMN_FIELDS
from fanfare.segments.grammar import Group, Leaf, Rule, parse_rules
from fanfare.segments.operators import Operator
from fanfare.segments.values import read_timestamp
from tests.segments.faults import FAULTS, LEAF, group, leaf
from tests.segments.rules import doubtful_rules, json_values, rules


def nested(depth: int) -> object:
    rule: object = LEAF
    for _ in range(depth):
        rule = group("AND", rule)
    return rule


@pytest.mark.parametrize(
    ("raw", "path", "suggestion"), FAULTS, ids=[str(number) for number in range(len(FAULTS))]
)
def test_fault_is_one_sentence_with_its_pointer(
    raw: object, path: str, suggestion: str | None
) -> None:
    with pytest.raises(InvalidRules) as caught:
        parse_rules(group("OR", LEAF, raw))

    assert caught.value.path == f"/conditions/1{path}"
    assert caught.value.suggestion == suggestion
    assert re.fullmatch(r"\S[^\n]{5,250}\.", caught.value.message)


def test_fault_of_the_whole_has_the_empty_pointer() -> None:
    with pytest.raises(InvalidRules) as caught:
        parse_rules([])

    assert caught.value.path == ""


@pytest.mark.parametrize("depth", [1, 5])
def test_groups_nest_five_deep(depth: int) -> None:
    assert isinstance(parse_rules(nested(depth)), Group)


@pytest.mark.parametrize("depth", [6, 10_000])
def test_sixth_group_is_too_deep(depth: int) -> None:
    with pytest.raises(RulesTooDeep) as caught:
        parse_rules(nested(depth))

    assert caught.value.path == "/conditions/0" * 5


def test_hundred_leaves_are_the_most() -> None:
    parse_rules(group("AND", *[LEAF] * 100))

    with pytest.raises(InvalidRules) as caught:
        parse_rules(group("AND", group("OR", *[LEAF] * 60), group("OR", *[LEAF] * 41)))

    assert caught.value.path == "/conditions/1/conditions/40"


def test_groups_without_leaves_are_counted_too() -> None:
    with pytest.raises(InvalidRules) as caught:
        parse_rules(group("AND", *[group("AND")] * 100_000))

    assert caught.value.path == "/conditions/499"


def test_lists_hold_a_thousand_values() -> None:
    rule = parse_rules(leaf("email", "in", ["a"] * 1_000))

    assert isinstance(rule, Leaf)
    assert rule.value == ("a",) * 1_000


ADMITTED = [
    LEAF,
    leaf("email", "not_exists", None),
    leaf("properties.a._b.C1", "eq", 5),
    leaf("properties." + ".".join("abcdefghij"), "eq", True),
    leaf("properties." + "a" * 100, "eq", "x" * 1_000),
    leaf("properties.p", "eq", 2**63 - 1),
    leaf("properties.p", "eq", sys.float_info.max),
    leaf("properties.p", "in", ["a", 5, 5.0, True]),
    leaf("properties.p", "gt", "2026-01-31 08:00:00.123456789+14:59"),
    leaf("created_at", "within", "36500d"),
    group("AND"),
    group("OR"),
    group("NOT", group("AND")),
]


@pytest.mark.parametrize("raw", ADMITTED)
def test_admits(raw: object) -> None:
    assert isinstance(parse_rules(raw), Leaf | Group)


@pytest.mark.parametrize("name", COLUMN_FIELDS)
def test_every_column_knows_whether_it_exists(name: str) -> None:
    assert parse_rules(leaf(name, "exists")) == Leaf(field=name, op=Operator.EXISTS)


@given(raw=rules)
def test_dump_of_a_rule_is_what_was_read(raw: Any) -> None:
    dumped = parse_rules(raw).model_dump(mode="json", exclude_none=True)

    assert dumped == raw
    assert json.dumps(dumped, sort_keys=True) == json.dumps(raw, sort_keys=True)


@settings(max_examples=1_000)
@given(raw=doubtful_rules | json_values)
def test_anything_else_is_a_fault_that_json_can_carry(raw: Any) -> None:
    said = outcome(raw)

    assert json.dumps(said, ensure_ascii=False).encode()


def outcome(raw: object) -> object:
    try:
        return parse_rules(raw).model_dump(mode="json")
    except InvalidRules as fault:
        return [fault.path, fault.message, fault.suggestion]
    except RulesTooDeep as fault:
        return [fault.path]


def test_rules_are_immutable() -> None:
    rule: Rule = parse_rules(LEAF)

    with pytest.raises(ValidationError):
        rule.field = "phone"  # type: ignore[misc, union-attr]  # what must not be possible


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00+00:00"),
        ("2026-01-31t08:00:00.1234569z", "2026-01-31T08:00:00.123456+00:00"),
        ("2026-01-31 08:00:00.5-05:30", "2026-01-31T13:30:00.500000+00:00"),
        (f"2026-01-31T08:00:00.{'9' * 900}Z", "2026-01-31T08:00:00.999999+00:00"),
        ("2024-02-29T23:59:59+14:59", "2024-02-29T09:00:59+00:00"),
    ],
)
def test_timestamps_are_read_as_instants(text: str, instant: str) -> None:
    timestamp = read_timestamp(text)

    assert timestamp is not None
    assert timestamp.isoformat() == instant
