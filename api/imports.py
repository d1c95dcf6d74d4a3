"""An upload of users as a stream: from bytes to lines, and from lines to what they say."""

import csv
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from api.bodies import MalformedJson, decode_json, is_storable
from fanfare.errors import FieldFault, InvalidInput

MAX_LINE_BYTES = 64 * 1024

TOKEN_COLUMNS = ("token", "platform", "provider", "environment", "app_version", "device_model")
USER_COLUMNS = (
    "external_id",
    "email",
    "phone",
    "display_name",
    "timezone",
    "locale",
    "first_seen_at",
    "last_seen_at",
)
PROPERTIES = "properties"


@dataclass(frozen=True, slots=True)
class Line:
    """One record of the upload, and the number of its first line, from 1."""

    number: int
    raw: bytes


class UnreadableLine(Exception):
    """A record that says nothing that could be checked. The text says why."""


class Format(Protocol):
    """How records are told apart and read."""

    def ends(self, record: bytes) -> bool:
        """Whether the record is complete at this line end."""

    def read(self, line: Line) -> object | None:
        """What the record says, as from JSON; None for one that says nothing.

        Raises UnreadableLine, or InvalidInput where the whole upload cannot be read.
        """


async def lines_of(chunks: AsyncIterator[bytes], format_: Format) -> AsyncIterator[Line]:
    """The records of an upload, in the memory of one chunk and one record.

    One that is too long comes cut, one byte over MAX_LINE_BYTES; the next begins at a line end.
    """
    splitter = _Splitter(format_)
    async for chunk in chunks:
        for line in splitter.feed(chunk):
            yield line
    for line in splitter.finish():
        yield line


class Ndjson:
    """One JSON object a line."""

    def ends(self, record: bytes) -> bool:
        del record
        return True

    def read(self, line: Line) -> object | None:
        if not line.raw.strip():
            return None
        try:
            return decode_json(line.raw)
        except MalformedJson as error:
            raise UnreadableLine(f"the line is not JSON that can be taken: {error}") from error


@dataclass(slots=True)
class Csv:
    """RFC 4180 with a header row. An empty cell is a field that is absent."""

    header: Sequence[str] = ()

    def ends(self, record: bytes) -> bool:
        # Inside quotes a line end belongs to the cell; quotes within are doubled, so parity holds.
        return record.count(b'"') % 2 == 0

    def read(self, line: Line) -> object | None:
        cells = _cells(line.raw)
        if not cells:
            return None
        if not self.header:
            self.header = _checked_header(cells)
            return None
        if len(cells) != len(self.header):
            raise UnreadableLine(f"{len(cells)} cells where the header has {len(self.header)}")
        given = {name: cell for name, cell in zip(self.header, cells, strict=True) if cell}
        return _as_json(given)


@dataclass(slots=True)
class _Splitter:
    format_: Format
    number: int = 1  # of the line that the pending record began at
    lines: int = 0  # in the pending record
    pending: bytearray = field(default_factory=bytearray)
    skipping: bool = False

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The records that are complete with this chunk."""
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            self._add(part)
            self.lines += 1
            if self._at_end():
                yield from self._take()
            else:
                self._add(b"\n")
        self._add(rest)

    def finish(self) -> Iterator[Line]:
        """What is left at the end of the upload."""
        if self.pending:
            self.lines += 1
            yield from self._take()

    def _add(self, part: bytes) -> None:
        room = MAX_LINE_BYTES + 1 - len(self.pending)
        self.pending += part[: max(room, 0)]

    def _at_end(self) -> bool:
        # A record that is too long is over at the next line end, whatever its quotes say: one
        # quote too many must not swallow the rest of the upload.
        return len(self.pending) > MAX_LINE_BYTES or self.format_.ends(bytes(self.pending))

    def _take(self) -> Iterator[Line]:
        yield Line(self.number, bytes(self.pending))
        self.number += self.lines
        self.lines = 0
        self.pending.clear()


def _cells(raw: bytes) -> list[str]:
    try:
        text = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UnreadableLine("the line is not UTF-8") from error
    if not is_storable(text):
        raise UnreadableLine("the line holds a NUL")
    try:
        rows = list(csv.reader(text.splitlines(keepends=True), strict=True))
    except csv.Error as error:
        raise UnreadableLine("the line is not CSV") from error
    return rows[0] if rows else []


def _checked_header(cells: Sequence[str]) -> Sequence[str]:
    header = [cell.strip() for cell in cells]
    known = {*USER_COLUMNS, *TOKEN_COLUMNS, PROPERTIES}
    unknown = [name for name in header if name not in known and not _property_of(name)]
    if unknown or "external_id" not in header or len(set(header)) != len(header):
        wanted = "external_id is required, unknown and repeated columns are refused"
        fault = FieldFault("header", wanted)
        raise InvalidInput("The CSV's header row cannot be used.", [fault])
    return header


def _property_of(column: str) -> str:
    prefix, _, name = column.partition(".")
    return name if prefix == PROPERTIES else ""


def _as_json(given: Mapping[str, str]) -> object:
    user: dict[str, object] = {name: given[name] for name in USER_COLUMNS if name in given}
    named = {name: cell for column, cell in given.items() if (name := _property_of(column))}
    if named or PROPERTIES in given:
        user[PROPERTIES] = _properties(given.get(PROPERTIES, "{}"), named)
    if "token" in given:
        user["push_tokens"] = [{name: given[name] for name in TOKEN_COLUMNS if name in given}]
    return user


def _properties(text: str, named: Mapping[str, str]) -> object:
    try:
        properties = decode_json(text.encode())
    except MalformedJson as error:
        raise UnreadableLine(f"the cell properties is not JSON: {error}") from error
    return {**properties, **named} if isinstance(properties, dict) else properties
