"""The positive operators on what a path finds in a user's JSON properties.

Data of any shape may stand there, so nothing is cast before its text is known to be castable, and
each condition is true or false, never NULL. Conditions in the form `properties @> ...` are served
by a GIN index on the column.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import reduce

from sqlalchemy import ColumnElement, and_, any_, case, cast, false, func, literal, or_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import NUMERIC, TEXT, TIMESTAMP

from fanfare.segments.columns import AnyColumn, Operand, compare, instant, lies_within
from fanfare.segments.operators import Operator
from fanfare.segments.values import NUMBER_PATTERN, TIMESTAMP_PATTERN


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
                return _known(lies_within(self._timestamp, operand))
            case Operator.CONTAINS, str():
                return or_(self._is_text_with(operand), self._includes([operand]))
            case Operator.IN, tuple():
                return self._is_among(operand)
            case Operator.EQ, bool() | str():
                return self._includes(operand)
            case _, bool() | int() | float():
                return _known(compare(self._number, op, literal(_exact(operand), NUMERIC())))
            case _, str():
                value = literal(instant(operand), TIMESTAMP(timezone=True))
                return _known(compare(self._timestamp, op, value))
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

    def _is_text_with(self, part: str) -> ColumnElement[bool]:
        return _known(and_(self._is("string"), func.strpos(self._text, literal(part, TEXT())) > 0))

    def _is_among(self, values: tuple[bool | int | float | str, ...]) -> ColumnElement[bool]:
        booleans = {value for value in values if isinstance(value, bool)}
        texts = [value for value in values if isinstance(value, str)]
        numbers = [_exact(value) for value in values if not isinstance(value, bool | str)]
        return or_(
            false(),
            *(self._includes(value) for value in sorted(booleans)),
            *([self._is_text_among(texts)] if texts else []),
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
        is_number = or_(self._is("number"), self._matches(NUMBER_PATTERN))
        return case((is_number, cast(self._text, NUMERIC())))

    @property
    def _timestamp(self) -> AnyColumn:
        """A JSON string that is a timestamp, cut to microseconds as in rules; NULL otherwise."""
        # The cast alone would round what is beyond microseconds, and refuse a very long text.
        cut = func.regexp_replace(self._text, r"(\.[0-9]{6})[0-9]+", r"\1")
        return case((self._matches(TIMESTAMP_PATTERN), cast(cut, TIMESTAMP(timezone=True))))

    def _matches(self, pattern: str) -> ColumnElement[bool]:
        return self._text.bool_op("~")(literal(pattern, TEXT()))


def _known(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return func.coalesce(condition, false())


def _exact(number: float) -> Decimal:
    """The number as it was written: through binary, 5.1 would equal no JSON 5.1."""
    return Decimal(repr(number))


def _nest(inner: object, name: str) -> object:
    return {name: inner}
