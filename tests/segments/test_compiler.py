"""What a compiled rule matches, against a second evaluator and against the contract's sentences."""

from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects import postgresql

from fanfare.segments.compiler import compile_rule
from fanfare.segments.errors import InvalidRules, RulesTooDeep
from fanfare.segments.grammar import Rule, parse_rules
from tests.segments.database import (
    APP_USERS,
    matching,
    matching_documents,
    matching_people,
    plan_without_scan,
)
from tests.segments.evaluator import matches
from tests.segments.people import people
from tests.segments.population import Population, User
from tests.segments.rules import doubtful_rules, rules

ANY_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=2_500, deadline=None, suppress_health_check=ANY_SHARED)
@given(raw=rules)
def test_rule_matches_exactly_the_users_that_the_contract_says(
    segment_connection: Connection, stored: Population, raw: Any
) -> None:
    now, found = matching(segment_connection, parse_rules(raw))

    assert found == {user.id for user in stored.users if matches(raw, user, now)}


@settings(max_examples=5_000, deadline=None, suppress_health_check=ANY_SHARED)
@given(raw=rules, strangers=people())
def test_rule_matches_exactly_whom_the_contract_says_whoever_comes(
    segment_connection: Connection, raw: Any, strangers: list[User]
) -> None:
    now, found = matching_people(segment_connection, parse_rules(raw), strangers)

    assert found == {user.id for user in strangers if matches(raw, user, now)}


@settings(max_examples=1_000, deadline=None, suppress_health_check=ANY_SHARED)
@given(raw=doubtful_rules)
def test_whatever_the_grammar_admits_runs(
    segment_connection: Connection, stored: Population, raw: Any
) -> None:
    admitted = [rule for rule in [parsed(raw)] if rule is not None]

    results = [matching(segment_connection, rule) for rule in admitted]

    assert len(results) == len(admitted)


def parsed(raw: object) -> Rule | None:
    try:
        return parse_rules(raw)
    except (InvalidRules, RulesTooDeep):
        return None


@settings(max_examples=300, deadline=None, suppress_health_check=ANY_SHARED)
@given(raw=rules)
def test_condition_is_never_null(
    segment_connection: Connection, stored: Population, raw: Any
) -> None:
    condition = compile_rule(parse_rules(raw))

    unknown = segment_connection.execute(
        select(func.count()).select_from(APP_USERS).where(func.num_nulls(condition) > 0)
    ).scalar_one()

    assert unknown == 0


@settings(max_examples=300, deadline=None, suppress_health_check=ANY_SHARED)
@given(raw=st.lists(rules, max_size=1))
def test_negation_is_the_exact_complement(
    segment_connection: Connection, stored: Population, raw: Any
) -> None:
    group = {"operator": "AND", "conditions": raw}

    _, inside = matching(segment_connection, parse_rules(group))
    _, outside = matching(
        segment_connection, parse_rules({"operator": "NOT", "conditions": [group]})
    )

    assert inside | outside == stored.ids
    assert not inside & outside


NEGATIVES = [
    ("properties.p", "eq", "neq", "pro"),
    ("properties.p", "contains", "not_contains", "pro"),
    ("properties.p", "in", "not_in", ["pro", 5, True]),
    ("properties.p", "within", "not_within", "7d"),
    ("email", "eq", "neq", "pro"),
    ("email", "contains", "not_contains", "pro"),
    ("email", "in", "not_in", ["pro"]),
    ("last_seen_at", "within", "not_within", "7d"),
    ("entitlements.is_active", "eq", "neq", True),
    ("entitlements.expiration_date", "within", "not_within", "7d"),
    ("device.platform", "in", "not_in", ["ios"]),
]


@pytest.mark.parametrize(("field", "positive", "negative", "value"), NEGATIVES)
def test_negative_operator_matches_everyone_else(
    segment_connection: Connection,
    stored: Population,
    field: str,
    positive: str,
    negative: str,
    value: object,
) -> None:
    _, some = matching(
        segment_connection, parse_rules({"field": field, "op": positive, "value": value})
    )
    _, others = matching(
        segment_connection, parse_rules({"field": field, "op": negative, "value": value})
    )

    assert some
    assert others == stored.ids - some


PROPERTY_CASES = [
    ("eq", "pro", ['"pro"'], ['"PRO"', '["pro"]', '{"pro": 1}', "null"]),
    ("eq", "5", ['"5"'], ["5", '"5.0"']),
    ("eq", 5, ["5", "5.0", '"5"', '"5.0"', '"5e0"'], ['" 5"', '"05"', '"5."', "[5]", "true"]),
    ("eq", 0.1, ["0.1", '"0.1"', "1e-1"], ["0.1000000000000000055"]),
    ("eq", 9007199254740993, ["9007199254740993"], ["9007199254740992"]),
    ("eq", 1, ["1"], ["true"]),
    ("eq", True, ["true"], ['"true"', "1", "[true]", "false"]),
    ("eq", False, ["false"], ["null", "0"]),
    ("gt", 5, ["6", '"5.1"', "1e1000"], ["5", '"six"', "true", "null", "[6]"]),
    ("gte", 5, ["5", '"5"'], ["4.9"]),
    ("lt", 5, ["-1e1000", '"-5"'], ['""', '"1e999999"', '"NaN"']),
    ("lte", 5, ["5"], ["5.0000000001"]),
    (
        "gt",
        "2026-01-31T08:00:00Z",
        ['"2026-01-31T08:00:01Z"', '"2026-01-31T03:00:00.001-05:00"'],
        ['"2026-01-31T08:00:00Z"', '"2026-13-45T00:00:00Z"', '"zebra"', "9999999999"],
    ),
    (
        "lte",
        "2026-01-31T08:00:00.123456Z",
        ['"2026-01-31T08:00:00.1234569Z"', '"2026-01-31T08:00:00.1234569999999999999999Z"'],
        ['"2026-01-31T08:00:00.123457Z"', '"2026-01-31T08:00:00.Z"'],
    ),
    ("lte", "2026-01-31T08:00:00Z", ['"2026-01-31T09:00:00+01:00"'], ['"2026-01-30"']),
    (
        "gte",
        "2026-01-31T08:00:00Z",
        ['"2026-01-30T20:00:00-14:59"', '"2026-02-01T00:00:00+14:59"'],
        ['"2026-01-30T17:00:00-14:59"', '"2026-01-31T22:58:59+14:59"'],
    ),
    (
        "lt",
        "2026-01-31T20:00:00Z",
        ['"2026-02-01T10:58:59+14:59"', '"2026-01-31T05:00:59-14:59"'],
        ['"2026-02-01T10:59:00+14:59"', '"2026-01-31T05:01:00-14:59"'],
    ),
    ("gte", "0001-01-01T00:00:00Z", ['"0001-01-01T00:00:00Z"'], ['"0001-01-01T00:00:00+00:01"']),
    ("lte", "9999-12-31T00:00:00Z", ['"9999-12-31T14:59:00+14:59"'], ['"9999-12-31T00:00:01Z"']),
    ("contains", "ro_", ['"pro_x"'], ['"pro"', '"prox"']),
    ("contains", "pro", ['"a pro"', '["pro"]', '[1, "pro"]'], ['["a pro"]', '{"pro": 1}']),
    ("contains", "5", ['"55"', '["5"]'], ["5", "[5]"]),
    ("in", ["pro", 5, True], ['"pro"', '"5.0"', "5", "true"], ["6", '"true"', "1", "null"]),
    ("in", [*map(str, range(20)), "pro"], ['"pro"', '"7"'], ["7", '["pro"]', '"20"']),
    ("exists", None, ['""', "0", "false", "[]", "{}"], ["null"]),
    ("not_exists", None, ["null"], ['""', "0", "false"]),
    ("neq", "pro", ["null", "5", '["pro"]'], ['"pro"']),
]


@pytest.mark.parametrize(("op", "value", "hits", "misses"), PROPERTY_CASES)
def test_property_operator(
    segment_connection: Connection, op: str, value: object, hits: list[str], misses: list[str]
) -> None:
    rule = parse_rules({"field": "properties.a.b", "op": op, "value": value})

    found = matching_documents(segment_connection, rule, hits + misses)

    assert found == [f'{{"a": {{"b": {value}}}}}' for value in hits]


def test_and_of_nothing_is_everyone_and_or_of_nothing_nobody(
    segment_connection: Connection, stored: Population
) -> None:
    _, everyone = matching(segment_connection, parse_rules({"operator": "AND", "conditions": []}))
    _, nobody = matching(segment_connection, parse_rules({"operator": "OR", "conditions": []}))

    assert everyone == stored.ids
    assert nobody == frozenset()


WINDOW_EDGES = [
    ("statement_timestamp()", True),
    ("statement_timestamp() - length", True),
    ("statement_timestamp() - length - interval '1 microsecond'", False),
    ("statement_timestamp() + interval '1 microsecond'", False),
    ("NULL::timestamptz", False),
]


# From any day of the year, one of these leads across a change of the session's clocks.
@pytest.mark.parametrize(
    ("window", "hours"), [("7d", 168), ("13w", 2184), ("26w", 4368), ("273d", 6552)]
)
@pytest.mark.parametrize(("instant", "expected"), WINDOW_EDGES)
def test_window_is_a_number_of_hours_and_includes_both_ends(
    segment_connection: Connection, window: str, hours: int, instant: str, expected: bool
) -> None:
    on_column = compile_rule(
        parse_rules({"field": "last_seen_at", "op": "within", "value": window})
    )
    on_property = compile_rule(
        parse_rules({"field": "properties.p", "op": "within", "value": window})
    )
    app_users = text(
        f"(SELECT {instant} AS last_seen_at, jsonb_build_object('p', {instant}) AS properties "
        f"FROM (SELECT interval '{hours} hours' AS length) AS lengths) AS app_users"
    )

    found = segment_connection.execute(select(on_column, on_property).select_from(app_users)).one()

    assert found == (expected, expected)


def test_every_calendar_day_and_no_other_is_a_timestamp(segment_connection: Connection) -> None:
    rule = parse_rules({"field": "properties.a.b", "op": "gte", "value": "0001-01-01T00:00:00Z"})
    days = [
        f'"{year:04}-{month:02}-{day:02}T00:00:00Z"'
        for year in (0, 1, 4, 99, 1900, 2000, 2023, 2024, 2100, 2400, 9999)
        for month in range(14)
        for day in range(33)
    ]

    found = matching_documents(segment_connection, rule, days)

    assert found == [f'{{"a": {{"b": {day}}}}}' for day in days if is_day(day)]


def is_day(quoted: str) -> bool:
    try:
        date.fromisoformat(quoted[1:11])
    except ValueError:
        return False
    return True


INDEXED = [
    ({"field": "email", "op": "eq", "value": "pro"}, "app_users_email"),
    ({"field": "properties.p", "op": "eq", "value": "pro"}, "app_users_properties"),
    ({"field": "properties.p", "op": "eq", "value": True}, "app_users_properties"),
    ({"field": "properties.p", "op": "in", "value": ["pro", "team"]}, "app_users_properties"),
]


@pytest.mark.parametrize(("raw", "index"), INDEXED)
def test_plain_equality_is_served_by_an_index(
    segment_connection: Connection, stored: Population, raw: object, index: str
) -> None:
    plan = plan_without_scan(segment_connection, parse_rules(raw))

    assert index in plan


def test_values_travel_as_parameters() -> None:
    hostile = "'; DROP TABLE app_users; --"
    raw = {
        "operator": "OR",
        "conditions": [
            {"field": "email", "op": "contains", "value": hostile},
            {"field": "properties.p", "op": "eq", "value": hostile},
            {"field": "properties.p", "op": "in", "value": [hostile]},
        ],
    }

    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy left it untyped
    statement = str(compile_rule(parse_rules(raw)).compile(dialect=dialect))

    assert "DROP" not in statement


def test_largest_rule_runs(segment_connection: Connection, stored: Population) -> None:
    leaf = {
        "field": "properties.p",
        "op": "not_in",
        "value": [*("x" * 20 + str(n) for n in range(500)), *range(6, 506)],
    }
    raw = {"operator": "AND", "conditions": [leaf] * 100}

    _, found = matching(segment_connection, parse_rules(raw))

    assert found
