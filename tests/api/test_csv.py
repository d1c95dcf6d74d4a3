"""CSV as it really comes: where records end, what cells hold, and what a header must be."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Sequence
from itertools import product

import pytest
from httpx import AsyncClient

from api.imports import MAX_LINE_BYTES, Csv, Line, lines_of
from fanfare.errors import InvalidInput
from tests.api.test_imports import CSV, pieces, read, upload

HEADER = b"external_id,display_name\n"


async def records(content: bytes, size: int = 1_000) -> Sequence[Line]:
    return [line async for line in lines_of(pieces(content, size), Csv())]


async def said(content: bytes) -> Sequence[object]:
    """What the records after the header say."""
    reader = Csv()
    read = [reader.read(line) async for line in lines_of(pieces(content, 7), reader)]
    return [each for each in read if each is not None]


@pytest.mark.parametrize("name", ['a"b', 'a""b', 'b"', 'a "b" c', ' "a"'])
async def test_quote_in_an_unquoted_cell_is_a_quote(name: str) -> None:
    content = HEADER + f"q1,{name}\nq2,c\n".encode()

    assert await said(content) == [
        {"external_id": "q1", "display_name": name},
        {"external_id": "q2", "display_name": "c"},
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
async def test_records_and_their_numbers_are_the_same_whatever_ends_a_line(
    end: bytes, size: int
) -> None:
    content = end.join([b"a", b'"b', b'c",d', b"", b'e"', b"f"])

    lines = await records(content, size)

    quoted = Line(2, b'"b' + end + b'c",d')
    assert lines == [Line(1, b"a"), quoted, Line(4, b""), Line(5, b'e"'), Line(6, b"f")]


@pytest.mark.parametrize(
    "separator", ["\u2028", "\u2029", "\u0085", "\f", "\v", "\x1c", "\r", "\n"]
)
async def test_cell_keeps_what_other_systems_take_for_a_line_end(separator: str) -> None:
    content = HEADER + f'u,"a{separator}b"\nv,c\n'.encode()

    assert await said(content) == [
        {"external_id": "u", "display_name": f"a{separator}b"},
        {"external_id": "v", "display_name": "c"},
    ]


async def test_every_short_text_is_split_as_pythons_csv_module_splits_it() -> None:
    texts = ["".join(letters) for letters in product('",\r\na', repeat=5)]

    found = [len([line for line in await records(text.encode(), 2) if line.raw]) for text in texts]

    expected = [
        len([row for row in csv.reader(io.StringIO(text, newline="")) if row]) for text in texts
    ]
    assert found == expected


async def test_row_with_a_quote_costs_no_other_row(client: AsyncClient) -> None:
    report = await upload(client, HEADER + b'q1,a"b\nq2,c\nq3,"d"e\nq4,f\n', CSV)

    assert (report["lines"], report["users"]) == (4, 3)
    assert [error["line"] for error in report["errors"]] == [4]
    assert (await read(client, "q1"))["display_name"] == 'a"b'
    assert (await read(client, "q2"))["display_name"] == "c"


async def test_content_of_a_cell_that_is_too_long_is_never_read_as_rows(
    client: AsyncClient,
) -> None:
    cell = b"x" * 66_000 + b"\nvictim,pwned"
    content = HEADER + b'a,"' + cell + b'"\nb,c\nd\n'

    report = await upload(client, pieces(content, 5_000), CSV)

    assert [error["line"] for error in report["errors"]] == [2, 5]
    assert (report["lines"], report["users"]) == (3, 1)
    assert (await client.get("/admin/users/victim")).status_code == 404


async def test_cell_that_is_never_closed_is_an_error_that_says_so(client: AsyncClient) -> None:
    content = HEADER + b'a,b\nc,"d\n' + b"e,f\n" * 40_000

    report = await upload(client, pieces(content, 5_000), CSV)

    assert (report["lines"], report["users"]) == (2, 1)
    assert [error["line"] for error in report["errors"]] == [3]
    assert "never closed" in report["errors"][0]["message"]


async def test_memory_for_a_record_is_bounded() -> None:
    (line,) = await records(b'"' + b"x\n" * 500_000 + b'"')

    assert len(line.raw) == MAX_LINE_BYTES + 1
    assert line.fault is not None


async def test_cells_of_many_lines_take_no_longer_than_others() -> None:
    content = b'"' + b"x\n" * 30_000 + b'"\n'

    # Linear, this is a fiftieth of a second; a look back at each line end makes it minutes.
    async with asyncio.timeout(10):
        lines = await records(content * 33, 65_536)

    assert [line.number for line in lines] == [1 + 30_001 * index for index in range(33)]


@pytest.mark.parametrize("size", [1, 2, 4, 1_000])
async def test_byte_order_mark_does_not_hide_a_quote(size: int) -> None:
    content = b'\xef\xbb\xbf"external_id","display_name"\nu,v\n'

    assert (await records(content, size))[0].raw == b'"external_id","display_name"'


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (b"external_id,colour", "the column 'colour' is unknown"),
        (b"external_id,email,email", "the column 'email' comes 2 times"),
        (b"external_id,properties.", "the column 'properties.' is unknown"),
        (b"email", "the column external_id is missing"),
        (b"external_id,\xff", "the line is not UTF-8"),
        (b'"external_id', "a quoted cell is never closed"),
        (b"external_id," + b"x" * 70_000, "the line is longer than 65,536 bytes"),
    ],
)
async def test_refused_header_says_which_column_is_wrong(header: bytes, fault: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await said(header + b"\n")

    assert fault in caught.value.message


async def test_header_with_very_many_faults_names_some(client: AsyncClient) -> None:
    header = ",".join(f"colour{number}" for number in range(1_000)).encode()

    answer = await client.post("/admin/import", content=_whole(header), headers=CSV)

    assert answer.status_code == 400
    assert len(answer.json()["error"]["details"]["fields"]) == 10


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
