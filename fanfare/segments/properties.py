"""The positive operators on what a path finds in a user's JSON properties.

Data of any shape may stand there, so nothing is cast before its text is known to be castable, and
each condition is true or false, never NULL. Conditions in the form `properties @> ...` are served
by a GIN index on the column.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import TypeVar

from sqlalchemy import (
    ColumnElement,
    and_,
    any_,
    case,
    cast,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, INTERVAL, JSONB
from sqlalchemy.types import NUMERIC, TEXT, TIMESTAMP

from fanfare.segments.columns import (
    AnyColumn,
    Operand,
    compare,
    earliest_within,
    instant,
    now,
)
from fanfare.segments.operators import Operator
from fanfare.segments.values import MAX_NUMBER_LENGTH, NUMBER_PATTERN, TIMESTAMP_PATTERN

# More alternatives cost more on every row than the index spares.
MAX_LOOKED_UP = 16

# As in 2026-01-31T08:00:00.123456Z: nothing this short has a longer fraction.
_SURELY_MICROSECONDS = 27

Native = TypeVar("Native")

_DAY = literal_column("interval '1 day'", INTERVAL())
_DAY_FORMAT = literal_column("'YYYY-MM-DD'", TEXT())
_DAY_LENGTH = 10


@dataclass(frozen=True, slots=True)
class Property:
    """What `path` finds in the JSON column `root`; nothing, where any step is missing."""

    root: AnyColumn
    path: tuple[str, ...]

    def holds(self, op: Operator, operand: Operand) -> ColumnElement[bool]:
        """`property op operand`, false where it is missing or null. `op` is a positive."""
        match op, operand:
            case Operator.EXISTS, _:
                return self._text.is_not(None)
            case Operator.WITHIN, str():
                return self._lies_within(operand)
            case Operator.CONTAINS, str():
                return or_(self._is_text_with(operand), self._includes([operand]))
            case Operator.IN, tuple():
                return self._is_among(operand)
            case Operator.EQ, bool() | str():
                return self._includes(operand)
            case _, bool() | int() | float():
                return _known(compare(self._number, op, literal(_exact(operand), NUMERIC())))
            case _, str():
                return self._is_ordered(op, instant(operand))
            case _:
                raise ValueError(f"not an operand of {op}")

    def _includes(self, value: bool | str | list[str]) -> ColumnElement[bool]:
        """Equal to the scalar, or an array with the members. Containment is exact for scalars:
        an array contains a bare scalar only at the root, and the root here is an object."""
        nothing_around: object = value
        document = reduce(_nest, reversed(self.path), nothing_around)
        return and_(
            self.root.is_not(None),
            self.root.bool_op("@>")(literal(document, JSONB())),
        )

    def _is_ordered(self, op: Operator, value: datetime) -> ColumnElement[bool]:
        right = compare(self._timestamp, op, literal(value, TIMESTAMP(timezone=True)))
        match op:
            case Operator.GT | Operator.GTE:
                return _known(and_(self._is_of_day(earliest=_day(value, -1)), right))
            case _:
                return _known(and_(self._is_of_day(latest=_day(value, 1)), right))

    def _lies_within(self, window: str) -> ColumnElement[bool]:
        # What does not depend on the row is evaluated once a statement, and the timestamp, which
        # is costly to read, once a row.
        earliest = _first(func.to_char(_utc(earliest_within(window)) - _DAY, _DAY_FORMAT))
        latest = _first(func.to_char(_utc(now()) + _DAY, _DAY_FORMAT))
        range_ = _first(func.tstzrange(earliest_within(window), now(), literal_column("'[]'")))
        near = self._is_of_day(earliest=earliest, latest=latest)
        return _known(and_(near, self._timestamp.bool_op("<@")(range_)))

    def _is_of_day(
        self,
        *,
        earliest: ColumnElement[str] | None = None,
        latest: ColumnElement[str] | None = None,
    ) -> ColumnElement[bool]:
        """True for every timestamp whose own day, in its own zone, lies there.

        It is true for some other text too, but spares most of it the costly pattern. A timestamp
        begins with its day, and no offset is as long as a day: hence the day on either side.
        """
        day = func.left(self._text, _DAY_LENGTH).collate("C")
        conditions = [] if earliest is None else [day >= earliest]
        return and_(true(), *conditions, *([] if latest is None else [day <= latest]))

    def _is_text_with(self, part: str) -> ColumnElement[bool]:
        return _known(and_(self._is("string"), func.strpos(self._text, literal(part, TEXT())) > 0))

    def _is_among(self, values: tuple[bool | int | float | str, ...]) -> ColumnElement[bool]:
        booleans = {value for value in values if isinstance(value, bool)}
        texts = [value for value in values if isinstance(value, str)]
        numbers = [_exact(value) for value in values if not isinstance(value, bool | str)]
        # A few texts are looked up in the index one by one; many are compared in one go.
        few = [] if len(texts) > MAX_LOOKED_UP else texts
        return or_(
            false(),
            *(self._includes(value) for value in sorted(booleans)),
            *(self._includes(value) for value in few),
            *([self._is_text_among(texts)] if texts and not few else []),
            *([self._is_number_among(numbers)] if numbers else []),
        )

    def _is_text_among(self, texts: list[str]) -> ColumnElement[bool]:
        found = self._text == any_(literal(texts, ARRAY(TEXT())))
        return _known(and_(self._is("string"), found))

    def _is_number_among(self, numbers: list[Decimal]) -> ColumnElement[bool]:
        return _known(self._number == any_(literal(numbers, ARRAY(NUMERIC()))))

    def _is(self, json_type: str) -> ColumnElement[bool]:
        return func.jsonb_typeof(self._json) == literal(json_type, TEXT())

    @property
    def _json(self) -> AnyColumn:
        return self.root.op("#>")(literal(list(self.path), ARRAY(TEXT())))

    @property
    def _text(self) -> ColumnElement[str]:
        """A string's own characters or another value's JSON; NULL where missing or null."""
        return self.root.op("#>>", return_type=TEXT())(literal(list(self.path), ARRAY(TEXT())))

    @property
    def _number(self) -> AnyColumn:
        """A JSON number, or a JSON string that is exactly a number; NULL otherwise."""
        # The text of no other value looks like a number. A JSON number is not asked to: it may be
        # longer than a text is believed to be.
        is_short = func.octet_length(self._text) <= MAX_NUMBER_LENGTH
        is_number = or_(self._is("number"), and_(is_short, self._matches(NUMBER_PATTERN)))
        return case((is_number, cast(self._text, NUMERIC())))

    @property
    def _timestamp(self) -> AnyColumn:
        """A JSON string that is a timestamp, cut to microseconds as in rules; NULL otherwise."""
        # The cast alone would round what is beyond microseconds, and refuse a very long text.
        cut = func.regexp_replace(self._text, r"(\.[0-9]{6})[0-9]+", r"\1")
        exact = case((func.length(self._text) <= _SURELY_MICROSECONDS, self._text), else_=cut)
        return case((self._matches(TIMESTAMP_PATTERN), cast(exact, TIMESTAMP(timezone=True))))

    def _matches(self, pattern: str) -> ColumnElement[bool]:
        return self._text.bool_op("~")(literal(pattern, TEXT()))


def _known(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return func.coalesce(condition, false())


def _day(value: datetime, days: int) -> ColumnElement[str] | None:
    """The day so many days later; None where the calendar has none."""
    try:
        return literal((value + timedelta(days=days)).date().isoformat(), TEXT())
    except OverflowError:
        return None


def _utc(instant: ColumnElement[datetime]) -> ColumnElement[datetime]:
    return func.timezone("UTC", instant)


def _first(value: ColumnElement[Native]) -> ColumnElement[Native]:
    """Evaluated once for the statement."""
    return select(value).scalar_subquery()


def _exact(number: float) -> Decimal:
    """The number as it was written: through binary, 5.1 would equal no JSON 5.1."""
    return Decimal(repr(number))


def _nest(inner: object, name: str) -> object:
    return {name: inner}
