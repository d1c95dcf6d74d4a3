"""Whatever the size of an upload, and of a line in it, the import's memory stays as it was."""

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from itertools import repeat

import pytest
from httpx import AsyncClient

CHUNK = b"x" * 65_536
# 50 MB.
CHUNKS = 800
MOST_BYTES = 4 * 1024 * 1024


@pytest.fixture
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize(
    ("kind", "before", "after", "is_closed"),
    [
        ("application/x-ndjson", b'{"external_id": "a"}\n', b'\n{"external_id": "b"}\n', True),
        ("text/csv", b"external_id,email\na,\nb,", b"\nc,\n", True),
        ("text/csv", b'external_id,email\na,\nb,"', b'"\nc,\n', True),
        ("text/csv", b'external_id,email\na,\nb,"', b"\nc,\n", False),
    ],
)
async def test_line_of_fifty_megabytes_costs_itself_and_no_memory(
    client: AsyncClient, kind: str, before: bytes, after: bytes, is_closed: bool
) -> None:
    await client.post("/admin/import", content=b"", headers={"Content-Type": kind})
    tracemalloc.reset_peak()
    began = tracemalloc.get_traced_memory()[0]

    answer = await client.post(
        "/admin/import", content=_upload(before, after), headers={"Content-Type": kind}
    )

    report = answer.json()["data"]
    assert (report["users"], report["failed"]) == (1 + is_closed, 1)
    assert tracemalloc.get_traced_memory()[1] - began < MOST_BYTES


async def _upload(before: bytes, after: bytes) -> AsyncIterator[bytes]:
    yield before
    for chunk in repeat(CHUNK, CHUNKS):
        yield chunk
    yield after
