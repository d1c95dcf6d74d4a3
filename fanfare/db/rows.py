"""From rows to records, and keyset pages."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

import orjson

from fanfare.errors import FieldFault, InvalidInput

Item = TypeVar("Item")

MAX_PAGE = 500
MAX_DIGITS = 18  # what surely fits a bigint


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of a list, and the cursor that continues it: None at the end."""

    items: Sequence[Item]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How many at most, after which. The cursor is opaque to whoever sends it."""

    limit: int = 50
    cursor: str | None = None

    def after(self, parts: int) -> list[str] | None:
        """The `parts` values of the last item seen, None for the first page.

        Raises InvalidInput for a cursor that no list of ours gave out.
        """
        if self.cursor is None:
            return None
        try:
            values = orjson.loads(base64.urlsafe_b64decode(self.cursor))
        except (binascii.Error, orjson.JSONDecodeError, ValueError):
            values = None
        if (
            not isinstance(values, list)
            or len(values) != parts
            or not all(isinstance(value, str) and "\0" not in value for value in values)
        ):
            raise invalid_cursor()
        return values

    def after_id(self) -> UUID | None:
        """The id of the last item seen, in a list that is sorted by id alone."""
        values = self.after(1)
        if values is None:
            return None
        try:
            return UUID(values[0])
        except ValueError:
            raise invalid_cursor() from None

    def after_number(self) -> int | None:
        """The number of the last item seen, in a list that is sorted by a bigint alone."""
        values = self.after(1)
        if values is None:
            return None
        if not values[0].isdecimal() or len(values[0]) > MAX_DIGITS:
            raise invalid_cursor()
        return int(values[0])

    def after_moment(self) -> tuple[datetime, str] | None:
        """Time and id of the last item seen, in a list that is sorted by both."""
        values = self.after(2)
        if values is None:
            return None
        try:
            moment = datetime.fromisoformat(values[0])
            # In UTC, because PostgreSQL does not read every offset that Python does.
            in_utc = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise invalid_cursor() from None
        if moment.tzinfo is None:
            raise invalid_cursor()
        return in_utc, values[1]


def page_of(
    found: Sequence[Item], request: PageRequest, sort_key: Callable[[Item], Sequence[object]]
) -> Page[Item]:
    """The page in `found`, which was asked for with one item more than the page takes."""
    items = found[: request.limit]
    more = len(found) > request.limit
    return Page(items, cursor_of(*sort_key(items[-1])) if more else None)


def invalid_cursor() -> InvalidInput:
    """A cursor that no list of ours gave out."""
    fault = FieldFault("query.cursor", "not a cursor of this list")
    return InvalidInput("The cursor is not one that this list gave out.", [fault])


def cursor_of(*values: object) -> str:
    """The cursor that continues after the item with these values of the sort key."""
    return base64.urlsafe_b64encode(orjson.dumps([str(value) for value in values])).decode()
