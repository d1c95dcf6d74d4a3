"""Hypothesis strategies for rules as plain JSON: such as the grammar admits, and such as not."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

# Decoded JSON of any shape.
Json: TypeAlias = Any
Strategy: TypeAlias = st.SearchStrategy[Json]

TEXTS: Sequence[str] = (
    *("pro", "PRO", "a pro plan", "5", "5.0", "%", "_", "a_b", "a\\b", "", " ", "Zoë 🎉", "true"),
    *("ios", "android", "apns", "fcm", "Europe/Berlin", "de-DE", "app_store", "'; --", '"', "{a}"),
    *(":name", "%(x)s", "\n", "$1", "NaN", "9" * 40, "\U0010ffff"),
)
NUMBERS: Sequence[float] = (
    *(0, -0.0, 5, 5.0, 0.1, -7, 1e308, 5e-324, 2**63 - 1, -(2**63) + 1, 9007199254740993),
    *(9.9e39, 1e40, 0.30000000000000004),
)
TIMESTAMPS: Sequence[str] = (
    "2026-01-31T08:00:00Z",
    "2026-01-31 09:00:00.000+01:00",
    "2026-01-31t08:00:00.123456z",
    "2026-01-31T08:00:00.1234569Z",
    "2024-02-29T08:00:00-14:59",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
)
PROPERTIES: Sequence[str] = (
    *("properties.p",) * 6,
    "properties.p.q",
    "properties.p.q.r",
    "properties.q",
    "properties.proto.p",
    "properties._missing",
    "properties.a.b.c.d.e.f.g.h.i.j",
)

texts: Strategy = st.sampled_from(TEXTS) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)
integers: Strategy = st.integers(-(2**63) + 1, 2**63 - 1)
numbers: Strategy = (
    st.sampled_from(NUMBERS) | integers | st.floats(allow_nan=False, allow_infinity=False)
)
timestamps: Strategy = st.sampled_from(TIMESTAMPS) | st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format,
    st.integers(2, 9998),
    st.integers(1, 12),
    st.integers(1, 28),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 59),
)
windows: Strategy = st.sampled_from(["1m", "1h", "1d", "24h", "7d", "4w", "30d", "5214w", "36500d"])
scalars: Strategy = texts | numbers | timestamps | st.booleans()


def _leaves(fields: Sequence[str], operands: Mapping[tuple[str, ...], Strategy]) -> Strategy:
    field = st.sampled_from(fields)
    return st.one_of(
        st.fixed_dictionaries({"field": field, "op": st.sampled_from(["exists", "not_exists"])}),
        *(
            st.fixed_dictionaries({"field": field, "op": st.sampled_from(ops), "value": value})
            for ops, value in operands.items()
        ),
    )


def _listed(values: Strategy) -> Strategy:
    return st.lists(values, min_size=1, max_size=5)


EQUALITY = ("eq", "neq")
MEMBERSHIP = ("in", "not_in")
ORDER = ("gt", "gte", "lt", "lte")
WINDOW = ("within", "not_within")
PART = ("contains", "not_contains")

leaves: Strategy = st.one_of(
    _leaves(
        PROPERTIES,
        {
            EQUALITY: scalars,
            ORDER: numbers | timestamps,
            PART: texts,
            MEMBERSHIP: _listed(scalars),
            WINDOW: windows,
        },
    ),
    _leaves(
        [
            *("external_id", "email", "phone", "display_name", "timezone", "locale"),
            *("entitlements.entitlement_id", "entitlements.product_id", "entitlements.store"),
            *("entitlements.period_type", "device.platform", "device.provider"),
            "device.app_version",
        ],
        {EQUALITY: texts, PART: texts, MEMBERSHIP: _listed(texts)},
    ),
    _leaves(
        [
            *("first_seen_at", "last_seen_at", "created_at", "updated_at", "device.last_seen_at"),
            *("entitlements.purchase_date", "entitlements.expiration_date"),
        ],
        {
            EQUALITY: timestamps,
            ORDER: timestamps,
            MEMBERSHIP: _listed(timestamps),
            WINDOW: windows,
        },
    ),
    _leaves(
        ["entitlements.is_active"],
        {EQUALITY: st.booleans(), MEMBERSHIP: _listed(st.booleans())},
    ),
)


def _groups(inner: Strategy, width: int) -> Strategy:
    conditions = st.lists(inner, max_size=width)
    return st.fixed_dictionaries(
        {"operator": st.sampled_from(["AND", "OR"]), "conditions": conditions}
    ) | st.fixed_dictionaries(
        {"operator": st.just("NOT"), "conditions": st.lists(inner, min_size=1, max_size=1)}
    )


rules: Strategy = leaves | _groups(leaves | _groups(leaves | _groups(leaves, 2), 3), 3)
"""Rules that the grammar admits, up to three groups deep."""

json_values: Strategy = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def _perhaps(right: Strategy) -> Strategy:
    return st.one_of(right, right, right, right, json_values)


OPS: Sequence[str] = (
    *("eq", "neq", "gt", "gte", "lt", "lte", "contains", "not_contains", "exists", "not_exists"),
    *("within", "not_within", "in", "not_in"),
)
doubtful_leaves: Strategy = st.fixed_dictionaries(
    {
        "field": _perhaps(
            st.sampled_from(PROPERTIES)
            | st.sampled_from(["email", "created_at", "entitlements.is_active", "device.platform"])
            | st.text(max_size=8).map("properties.{}".format)
        ),
        "op": _perhaps(st.sampled_from(OPS)),
    },
    optional={
        "value": st.one_of(
            scalars,
            timestamps,
            windows,
            st.text(st.characters(), max_size=3),
            st.lists(scalars, max_size=3),
            json_values,
        )
    },
)
doubtful_rules: Strategy = doubtful_leaves | st.fixed_dictionaries(
    {
        "operator": _perhaps(st.sampled_from(["AND", "OR", "NOT"])),
        "conditions": _perhaps(st.lists(doubtful_leaves, max_size=2)),
    }
)
"""Rules of which about half break the grammar, in small ways."""
