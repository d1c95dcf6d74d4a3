"""An upload of users as a stream: from bytes to lines, and from lines to what they say."""

import asyncio
import csv
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from typing import Protocol

from api.bodies import MalformedJson, decode_json, is_storable
from fanfare.errors import FieldFault, InvalidInput

MAX_LINE_BYTES = 64 * 1024
# However quickly an upload comes, other requests have their turn after so many lines.
LINES_A_TURN = 200

TOKEN_COLUMNS = ("token", "platform", "provider", "environment", "app_version", "device_model")
_TIMES = ("first_seen_at", "last_seen_at")
USER_COLUMNS = ("external_id", "email", "phone", "display_name", "timezone", "locale", *_TIMES)
PROPERTIES = "properties"

MAX_HEADER_FAULTS = 10
MAX_SHOWN_NAME = 64

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NEVER_CLOSED = "a quoted cell is never closed: all that follows was read as its content"


@dataclass(frozen=True, slots=True)
class Line:
    """One record of the upload without its line end, and the number of its first line, from 1.

    A record with a `fault` cannot be read; it may be cut.
    """

    number: int
    raw: bytes
    fault: str | None = None

    def content(self) -> bytes:
        """The record's bytes. Raises UnreadableLine where it has a fault."""
        if self.fault is not None:
            raise UnreadableLine(self.fault)
        return self.raw


class UnreadableLine(Exception):
    """A record that says nothing that could be checked. The text says why."""


class Format(Protocol):
    """How records are told apart and read."""

    def split(self, chunk: bytes) -> Iterator[Line]:
        """The records that are complete with this chunk, in time linear in its length."""

    def finish(self) -> Iterator[Line]:
        """What is left at the end of the upload."""

    def read(self, line: Line) -> object | None:
        """What the record says, as from JSON; None for one that says nothing.

        Raises UnreadableLine, or InvalidInput where the whole upload cannot be read.
        """


async def lines_of(chunks: AsyncIterator[bytes], format_: Format) -> AsyncIterator[Line]:
    """The records of an upload, in the memory of one chunk and one record.

    One that is too long comes cut, one byte over MAX_LINE_BYTES; the next begins after its end.
    """
    async for chunk in _without_mark(chunks):
        for count, line in enumerate(format_.split(chunk), 1):
            yield line
            if count % LINES_A_TURN == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
    for line in format_.finish():
        yield line


async def _without_mark(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    head: bytes | None = b""
    async for chunk in chunks:
        if head is None:
            yield chunk
        elif len(head := head + chunk) >= len(_BYTE_ORDER_MARK):
            yield head.removeprefix(_BYTE_ORDER_MARK)
            head = None
    if head:
        yield head


@dataclass(slots=True)
class _Record:
    """The record that is being read. What is over the limit is dropped."""

    number: int = 1
    line_ends: int = 0  # within it
    raw: bytearray = field(default_factory=bytearray)

    def add(self, part: bytes) -> None:
        room = MAX_LINE_BYTES + 1 - len(self.raw)
        if room > 0:
            self.raw += part[:room]

    def take(self, fault: str | None = None) -> Line:
        """The record as it is, at its end; what comes next is another."""
        if len(self.raw) > MAX_LINE_BYTES:
            fault = fault or f"the line is longer than {MAX_LINE_BYTES:,} bytes"
        line = Line(self.number, bytes(self.raw), fault)
        self.number += self.line_ends + 1
        self.line_ends = 0
        self.raw.clear()
        return line


@dataclass(slots=True)
class Ndjson:
    """One JSON object a line."""

    record: _Record = field(default_factory=_Record)

    def split(self, chunk: bytes) -> Iterator[Line]:
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            self.record.add(part)
            yield self.record.take()
        self.record.add(rest)

    def finish(self) -> Iterator[Line]:
        if self.record.raw:
            yield self.record.take()

    def read(self, line: Line) -> object | None:
        content = line.content()
        if not content.strip():
            return None
        try:
            return decode_json(content)
        except MalformedJson as error:
            raise UnreadableLine(f"the line is not JSON that can be taken: {error}") from error


class _State(Enum):
    CELL_BEGINS = auto()
    PLAIN = auto()
    QUOTED = auto()
    QUOTE_IN_QUOTED = auto()


# Only a cell that begins with a quote is quoted; what begins at a chunk's end is seen in the next.
_END_OF_PLAIN = re.compile(rb',(?="|\Z)|\r\n?|\n')
_CONTENT_OF_QUOTED = re.compile(rb'[^"]*+(?:""[^"]*+)*+')


@dataclass(slots=True)
class Csv:
    """RFC 4180 with a header row, and what Python's csv module takes beyond it: a quote within an
    unquoted cell is a quote, and a line ends with LF, CR LF or CR. An empty cell is a field that
    is absent."""

    header: Sequence[str] = ()
    record: _Record = field(default_factory=_Record)
    state: _State = _State.CELL_BEGINS
    held: bytes = b""  # a CR, of which the next chunk says whether an LF follows

    def split(self, chunk: bytes) -> Iterator[Line]:
        chunk = self.held + chunk
        self.held = chunk[-1:] if chunk.endswith(b"\r") else b""
        return self._scan(chunk.removesuffix(b"\r"))

    def finish(self) -> Iterator[Line]:
        yield from self._scan(self.held)
        if self.record.raw:
            yield self.record.take(_NEVER_CLOSED if self.state is _State.QUOTED else None)

    def read(self, line: Line) -> object | None:
        if not self.header:
            self.header = _header_of(line)
            return None
        cells = _cells(line)
        if not cells:
            return None
        if len(cells) != len(self.header):
            raise UnreadableLine(f"{len(cells)} cells where the header has {len(self.header)}")
        return _as_json({name: cell for name, cell in zip(self.header, cells, strict=True) if cell})

    def _scan(self, chunk: bytes) -> Iterator[Line]:
        at = 0
        while at < len(chunk):
            match self.state:
                case _State.PLAIN:
                    at, ended = self._pass_plain(chunk, at)
                    if ended:
                        yield self.record.take()
                case _State.QUOTED:
                    at = self._pass_quoted(chunk, at)
                case _State.CELL_BEGINS | _State.QUOTE_IN_QUOTED:
                    at = self._pass_quote(chunk, at)

    def _pass_plain(self, chunk: bytes, at: int) -> tuple[int, bool]:
        """Where a cell begins next, and whether it is the first of another record."""
        found = _END_OF_PLAIN.search(chunk, at)
        if found is None:
            self.record.add(chunk[at:])
            return len(chunk), False
        self.state = _State.CELL_BEGINS
        ended = found[0] != b","
        self.record.add(chunk[at : found.start() if ended else found.end()])
        return found.end(), ended

    def _pass_quoted(self, chunk: bytes, at: int) -> int:
        found = _CONTENT_OF_QUOTED.match(chunk, at)
        assert found is not None
        content = found[0]
        line_ends = content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")
        self.record.line_ends += line_ends
        self.record.add(content)
        if found.end() == len(chunk):
            return len(chunk)
        self.record.add(b'"')
        self.state = _State.QUOTE_IN_QUOTED
        return found.end() + 1

    def _pass_quote(self, chunk: bytes, at: int) -> int:
        """One quote opens a quoted cell, or was doubled within it; else it is plain from here."""
        if not chunk.startswith(b'"', at):
            self.state = _State.PLAIN
            return at
        self.record.add(b'"')
        self.state = _State.QUOTED
        return at + 1


def _cells(line: Line) -> list[str]:
    try:
        text = line.content().decode()
    except UnicodeDecodeError as error:
        raise UnreadableLine("the line is not UTF-8") from error
    if not is_storable(text):
        raise UnreadableLine("the line holds a NUL")
    try:
        (cells,) = csv.reader([text], strict=True)
    except csv.Error as error:
        raise UnreadableLine("text follows the closing quote of a cell") from error
    return cells


def _header_of(line: Line) -> Sequence[str]:
    """The columns; none for a blank line. Raises InvalidInput for what is no header."""
    header: list[str] = []
    try:
        header = [cell.strip() for cell in _cells(line)]
        faults = list(islice(_header_faults(header), MAX_HEADER_FAULTS))
    except UnreadableLine as error:
        faults = [str(error)]
    if faults:
        message = f"The CSV's header row cannot be used: {'; '.join(faults)}."
        raise InvalidInput(message, [FieldFault("header", fault) for fault in faults])
    return header


def _header_faults(header: Sequence[str]) -> Iterator[str]:
    known = {*USER_COLUMNS, *TOKEN_COLUMNS, PROPERTIES}
    if header and "external_id" not in header:
        yield "the column external_id is missing"
    for name, times in Counter(header).items():
        shown = repr(name[:MAX_SHOWN_NAME])
        if name not in known and not _property_of(name):
            yield f"the column {shown} is unknown"
        if times > 1:
            yield f"the column {shown} comes {times} times"


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
