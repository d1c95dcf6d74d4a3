"""The import: many users at once, each line by itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from httpx import AsyncClient

from api.imports import MAX_LINE_BYTES, Ndjson, lines_of
from fanfare.db import imports
from fanfare.errors import DatabaseUnavailable

NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv; charset=utf-8"}


def ndjson(*lines: object) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def upload(
    client: AsyncClient, content: bytes | AsyncIterator[bytes], headers: dict[str, str] = NDJSON
) -> dict[str, Any]:
    answer = await client.post("/admin/import", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()["data"]
    return report


async def read(client: AsyncClient, user: str) -> dict[str, Any]:
    data: dict[str, Any] = (await client.get(f"/admin/users/{user}")).json()["data"]
    return data


async def tokens_of(client: AsyncClient, user: str) -> Sequence[dict[str, Any]]:
    answer = await client.get(f"/admin/users/{user}/push-tokens")
    data: Sequence[dict[str, Any]] = answer.json()["data"]
    return data


async def test_users_come_with_devices_and_entitlements(client: AsyncClient) -> None:
    user = {
        "external_id": "u",
        "email": "a@b.c",
        "properties": {"plan": "pro"},
        "entitlements": [{"entitlement_id": "premium"}],
        "push_tokens": [{"token": "AB", "platform": "ios"}, {"token": "f", "platform": "android"}],
    }

    report = await upload(client, ndjson(user))

    assert report == {
        "lines": 1,
        "users": 1,
        "tokens": 2,
        "failed": 0,
        "errors": [],
        "errors_truncated": False,
    }
    assert (await read(client, "u"))["properties"] == {"plan": "pro"}
    assert [token["token"] for token in await tokens_of(client, "u")] == ["f", "ab"]


async def test_bad_lines_are_reported_and_good_ones_kept(client: AsyncClient) -> None:
    content = (
        ndjson({"external_id": "good"})
        + b"not json\n\n\xff\xfe\n"
        + ndjson({"external_id": "x", "push_tokens": [{"token": "zz", "platform": "ios"}]})
        + ndjson({"external_id": "y", "colour": 1})
        + ndjson({"external_id": "\0"})
        + ndjson({"external_id": "also good"})[:-1]
    )

    report = await upload(client, content)

    found = [(error["line"], error["code"], error["path"]) for error in report["errors"]]
    assert found == [
        (2, "INVALID_INPUT", None),
        (4, "INVALID_INPUT", None),
        (5, "INVALID_TOKEN", "push_tokens.0.token"),
        (6, "INVALID_INPUT", "colour"),
        (7, "INVALID_INPUT", None),
    ]
    assert (report["lines"], report["users"], report["failed"]) == (7, 2, 5)


async def test_repetition_changes_nothing(client: AsyncClient) -> None:
    token = {"token": "ab", "platform": "ios"}
    content = ndjson({"external_id": "u", "properties": {"a": 1}, "push_tokens": [token]})
    await upload(client, content)
    before = (await read(client, "u"), await tokens_of(client, "u"))

    await upload(client, content)

    assert (await read(client, "u"), await tokens_of(client, "u")) == before


async def test_repetition_does_not_wake_the_dead(client: AsyncClient) -> None:
    token = {"token": "ab", "platform": "ios"}
    content = ndjson({"external_id": "u", "push_tokens": [token]})
    await upload(client, content)
    await client.delete("/admin/users/u/push-tokens/ab")

    await upload(client, content)

    assert [token["is_active"] for token in await tokens_of(client, "u")] == [False]


async def test_lines_apply_as_if_one_after_the_other(client: AsyncClient) -> None:
    token = {"token": "ab", "platform": "ios"}
    lines = [
        {"external_id": "u", "email": "old", "properties": {"a": 1, "b": 1}},
        {"external_id": "u", "properties": {"a": 2, "b": None}, "push_tokens": [token]},
        {"external_id": "v", "push_tokens": [token, token]},
    ]

    report = await upload(client, ndjson(*lines))

    user = await read(client, "u")
    assert (user["email"], user["properties"]) == ("old", {"a": 2})
    assert (report["users"], report["tokens"]) == (2, 1)
    assert await tokens_of(client, "u") == []
    assert len(await tokens_of(client, "v")) == 1


async def test_entitlements_that_are_left_out_stay(client: AsyncClient) -> None:
    await client.put("/admin/users/u", json={})
    path = "/admin/users/u/entitlements"
    await client.put(path, json={"entitlements": [{"entitlement_id": "a"}]})
    rules = {"field": "entitlements.entitlement_id", "op": "eq", "value": "a"}
    await client.post("/admin/segments", json={"id": "seg_a", "name": "a", "rules": rules})

    await upload(client, ndjson({"external_id": "u"}))
    kept = await client.get("/admin/users?segment_id=seg_a")
    await upload(client, ndjson({"external_id": "u", "entitlements": []}))
    emptied = await client.get("/admin/users?segment_id=seg_a")

    assert [len(answer.json()["data"]) for answer in (kept, emptied)] == [1, 0]


async def test_more_lines_than_a_chunk_holds(client: AsyncClient) -> None:
    lines = [{"external_id": f"u{number}"} for number in range(2_500)]

    report = await upload(client, pieces(ndjson(*lines), 777))

    assert (report["lines"], report["users"]) == (2_500, 2_500)


async def test_chunks_before_a_failure_of_the_database_are_kept(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = ndjson(*({"external_id": f"u{number}"} for number in range(2_500)))
    store = imports.store
    answers: Iterator[Callable[..., Any]] = iter([store, store, _fail])

    def store_or_fail(*arguments: Any) -> Any:  # Any: handed on as they are
        return next(answers)(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(imports, "store", store_or_fail)
        failed = await client.post("/admin/import", content=content, headers=NDJSON)

    kept = [(await client.get(f"/admin/users/u{number}")).status_code for number in (1_999, 2_000)]
    assert (failed.status_code, kept) == (503, [200, 404])
    assert (await upload(client, content))["users"] == 2_500


async def test_two_imports_of_the_same_users_do_not_block_each_other(client: AsyncClient) -> None:
    lines = [
        {
            "external_id": f"u{number}",
            "properties": {"a": number},
            "push_tokens": [{"token": f"{number:04x}", "platform": "ios"}],
        }
        for number in range(500)
    ]

    reports = await asyncio.gather(
        upload(client, ndjson(*lines)), upload(client, ndjson(*reversed(lines)))
    )

    assert [report["failed"] for report in reports] == [0, 0]


async def test_only_the_first_hundred_errors_are_listed(client: AsyncClient) -> None:
    report = await upload(client, b"x\n" * 150)

    assert (report["failed"], len(report["errors"])) == (150, 100)
    assert report["errors_truncated"] is True


async def test_properties_that_grow_too_large_fail_their_line(client: AsyncClient) -> None:
    await client.put("/admin/users/u", json={"properties": {"a": "x" * 40_000}})
    big = {"external_id": "u", "properties": {"b": "x" * 40_000}}

    report = await upload(client, ndjson(big, {"external_id": "v"}))

    assert [(error["line"], error["path"]) for error in report["errors"]] == [(1, "properties")]
    assert (report["users"], report["failed"]) == (1, 1)


async def test_csv_has_users_properties_and_a_device_a_row(client: AsyncClient) -> None:
    content = (
        b"\xef\xbb\xbfexternal_id,email,properties,properties.plan,token,platform\r\n"
        b'u,a@b.c,"{""level"": 7}","pro, ""really""\r\nyes",AB,ios\r\n'
        b"v,,,,,\r\n"
    )

    report = await upload(client, pieces(content, 5), CSV)

    assert (report["lines"], report["users"], report["tokens"], report["failed"]) == (2, 2, 1, 0)
    properties = (await read(client, "u"))["properties"]
    assert properties == {"level": 7, "plan": 'pro, "really"\r\nyes'}
    assert (await read(client, "v"))["email"] is None


async def test_csv_rows_that_are_wrong_are_reported(client: AsyncClient) -> None:
    content = b"external_id,timezone\na,Nowhere\nb\nc,Europe/Rome\n"

    report = await upload(client, content, CSV)

    assert [error["line"] for error in report["errors"]] == [2, 3]
    assert report["users"] == 1


@pytest.mark.parametrize("header", [b"email", b"external_id,colour", b"external_id,external_id"])
async def test_csv_header_that_cannot_be_used_refuses_the_upload(
    client: AsyncClient, header: bytes
) -> None:
    answer = await client.post("/admin/import", content=header + b"\nx\n", headers=CSV)

    assert answer.status_code == 400


async def test_other_content_type_is_refused(client: AsyncClient) -> None:
    assert (await client.post("/admin/import", json={})).status_code == 415


async def test_empty_upload_is_fine(client: AsyncClient) -> None:
    assert (await upload(client, b""))["lines"] == 0


async def test_line_that_is_too_long_costs_only_itself() -> None:
    content = b"a\n" + b"x" * 200_000 + b"\nb\n"

    lines = [line async for line in lines_of(pieces(content, 1_000), Ndjson())]

    assert [line.number for line in lines] == [1, 2, 3]
    assert [len(line.raw) for line in lines] == [1, MAX_LINE_BYTES + 1, 1]


async def test_line_that_is_no_object_is_told_so(client: AsyncClient) -> None:
    report = await upload(client, b"[1]\n")

    assert report["errors"][0]["message"] == "must be an object"


async def _fail(*_: object) -> None:
    raise DatabaseUnavailable("away")
