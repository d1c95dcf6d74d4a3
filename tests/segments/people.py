"""Hypothesis strategies for users: columns that may be null, and properties of any shape."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

from hypothesis import strategies as st

from tests.segments.population import User
from tests.segments.rules import NUMBERS, TEXTS, TIMESTAMPS, texts, timestamps

# Decoded JSON of any shape.
Json: TypeAlias = Any
Strategy: TypeAlias = st.SearchStrategy[Json]

# Those that rules look at, so that most rules find something.
KEYS = ("p", "q", "r", "proto", "a")

offsets: Strategy = st.integers(-899, 899).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# hypothesis adds the offset to these.
EARLIEST = datetime(2, 1, 1)  # noqa: DTZ001
LATEST = datetime(9998, 1, 1)  # noqa: DTZ001

moments: Strategy = st.datetimes(EARLIEST, LATEST, timezones=offsets)
scalars: Strategy = st.one_of(
    st.none(),
    st.booleans(),
    texts,
    st.sampled_from(TEXTS),
    st.sampled_from(NUMBERS),
    st.integers(-(10**45), 10**45),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(NUMBERS).map(str),
    st.sampled_from(TIMESTAMPS),
    timestamps,
    moments.map(datetime.isoformat),
)
values: Strategy = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2)
    ),
    max_leaves=4,
)
properties: Strategy = st.dictionaries(st.sampled_from(KEYS), values, max_size=3)
columns: Strategy = st.fixed_dictionaries(
    {},
    optional={
        "email": st.none() | texts,
        "locale": st.none() | texts,
        "last_seen_at": st.none() | moments,
        "created_at": moments,
    },
)


def _user(number: int, row: Json, document: Json) -> User:
    return User(number, columns=row, properties=json.dumps(document))


@st.composite
def people(draw: st.DrawFn) -> list[User]:
    """A few users, each of their own kind."""
    rows = draw(st.lists(st.tuples(columns, properties), min_size=1, max_size=6))
    return [_user(number, row, document) for number, (row, document) in enumerate(rows)]
