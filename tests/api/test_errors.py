"""Whatever goes wrong, the answer has one shape."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from structlog.testing import capture_logs

from api.app import create_app
from api.errors import STATUS_AND_CODE
from api.resources import Resources
from fanfare import errors
from fanfare.db.engine import API_ROLE, Database
from fanfare.db.read_pool import ReadPool
from tests.api.conftest import KEY_RING, NO_READS, NO_TEMPORAL, open_client

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/admin/users/", 400, "INVALID_INPUT"),
        ("DELETE", "/healthz", 405, "METHOD_NOT_ALLOWED"),
        ("PATCH", "/admin/users", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/admin/users/%00", 400, "INVALID_INPUT"),
        ("GET", "/admin/users?q=%00", 400, "INVALID_INPUT"),
        ("GET", "/admin/users?limit=501", 400, "INVALID_INPUT"),
        ("GET", "/admin/users/%FF", 400, "INVALID_INPUT"),
        ("PUT", "/admin/users/%fe", 400, "INVALID_INPUT"),
        ("DELETE", "/admin/users/u/push-tokens/%c0%80", 400, "INVALID_INPUT"),
        ("GET", "/admin/users?q=%ff", 400, "INVALID_INPUT"),
        ("GET", "/admin/users?cursor=nonsense", 400, "INVALID_INPUT"),
        ("GET", "/admin/users?segment_id=seg_none", 404, "SEGMENT_NOT_FOUND"),
        ("GET", "/admin/users/nobody", 404, "NOT_FOUND"),
    ],
)
async def test_error_has_code_message_and_request_id(
    client: AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "INVALID_INPUT"),
        (b"not json", 400, "INVALID_INPUT"),
        (b"[" * 10_000, 400, "INVALID_INPUT"),
        (b'{"properties":' + b'{"a":' * 100 + b"1" + b"}" * 101, 400, "INVALID_INPUT"),
        (b'{"properties": {"a": "\\u0000"}}', 400, "INVALID_INPUT"),
        (b'{"properties": {"\\u0000": 1}}', 400, "INVALID_INPUT"),
        (b'{"properties": {"a": "\\ud800"}}', 400, "INVALID_INPUT"),
        (b'{"properties": {"a": NaN}}', 400, "INVALID_INPUT"),
        (b'{"properties": {"a": 1e999}}', 400, "INVALID_INPUT"),
        (b'{"properties": {"a": ' + b"9" * 5_000 + b"}}", 400, "INVALID_INPUT"),
        (b'{"properties": {"a": 18446744073709551616}}', 400, "INVALID_INPUT"),
        (b'{"email": "\xff"}', 400, "INVALID_INPUT"),
        (b'{"unknown": 1}', 400, "INVALID_INPUT"),
        (b"[]", 400, "INVALID_INPUT"),
        (b"null", 400, "INVALID_INPUT"),
        (b" " * 1_000_000, 413, "REQUEST_TOO_LARGE"),
    ],
)
async def test_hostile_body_is_refused(
    client: AsyncClient, content: bytes, status: int, code: str
) -> None:
    answer = await client.put("/admin/users/u", content=content, headers=JSON)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_body_of_another_content_type_is_refused(client: AsyncClient) -> None:
    answer = await client.put("/admin/users/u", content=b"a=b", headers={"Content-Type": "x/y"})

    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "UNSUPPORTED_MEDIA_TYPE"


async def test_faults_are_named_by_path_without_their_values(client: AsyncClient) -> None:
    body = {"timezone": "Mars/Olympus", "locale": "!", "first_seen_at": 5}

    answer = await client.put("/admin/users/u", json=body)

    faults = answer.json()["error"]["details"]["fields"]
    paths = [fault["path"] for fault in faults]
    assert paths == ["body.timezone", "body.locale", "body.first_seen_at"]
    assert "Olympus" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("PUT", "/admin/users/u", {"timezone": "x"}, "not an IANA time zone"),
        ("PUT", "/admin/users/u", [], "must be an object"),
        ("PUT", "/admin/users/u", {"properties": []}, "must be an object"),
        ("POST", "/admin/keys", {"name": "k", "scopes": []}, "must have 1 or more items"),
    ],
)
async def test_fault_is_told_without_words_of_the_implementation(
    client: AsyncClient, method: str, path: str, body: object, message: str
) -> None:
    answer = await client.request(method, path, json=body)

    (fault,) = answer.json()["error"]["details"]["fields"]
    assert fault["message"].startswith(message)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/admin/project", {"confirm_above": True}),
        ("PATCH", "/admin/project", {"rate_limit": "600"}),
        (
            "PUT",
            "/admin/users/u/entitlements",
            {"entitlements": [{"entitlement_id": "e", "is_active": 0}]},
        ),
    ],
)
async def test_value_of_another_type_is_not_read_as_if_it_were_right(
    client: AsyncClient, method: str, path: str, body: object
) -> None:
    await client.put("/admin/users/u", json={})

    answer = await client.request(method, path, json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["fields"][-1]["message"].startswith("Input should be")


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/admin/users/u"), ("POST", "/admin/import"), ("GET", "/admin/keys")],
)
async def test_encoded_body_is_refused(
    client: AsyncClient, method: str, path: str, encoding: str
) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}

    answer = await client.request(method, path, content=b"\x1f\x8b", headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_identity_is_no_encoding(client: AsyncClient) -> None:
    answer = await client.put("/admin/users/u", json={}, headers={"Content-Encoding": "identity"})

    assert answer.status_code == 201


async def test_request_id_is_echoed_where_it_is_harmless(client: AsyncClient) -> None:
    kept = await client.get("/healthz", headers={"X-Request-Id": "abc-1"})
    replaced = await client.get("/healthz", headers={"X-Request-Id": "no good"})

    assert kept.headers["X-Request-Id"] == "abc-1"
    assert replaced.headers["X-Request-Id"] != "no good"


async def test_log_has_one_line_a_request_and_no_token(client: AsyncClient) -> None:
    token = "feedfacecafe0123"
    body = {"token": token, "platform": "ios"}

    with capture_logs() as logs:
        await client.post("/admin/users/u/push-tokens", json=body)
        await client.delete(f"/admin/users/u/push-tokens/{token}")

    assert [(line["event"], line["operation"], line["status"]) for line in logs] == [
        ("request", "register_token", 201),
        ("request", "unregister_token", 204),
    ]
    assert token not in str(logs)


async def test_database_that_is_away_is_503_with_retry_after() -> None:
    nowhere = Database("postgresql://fanfare@127.0.0.1:1/none")
    reads = ReadPool("postgresql://fanfare@127.0.0.1:1/none", role=API_ROLE)
    await reads.open()
    app = create_app(
        Resources(
            database=nowhere, reads=reads, temporal=NO_TEMPORAL, key_ring=KEY_RING, pepper=b"p" * 32
        ),
    )

    async with open_client(app, f"pk_abcdefgh_{'x' * 43}") as client:
        answer = await client.get("/admin/users")
    await nowhere.close()
    await reads.close()

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "DATABASE_UNAVAILABLE"
    assert int(answer.headers["Retry-After"]) > 0


async def test_unexpected_error_says_nothing_of_itself(api_database: Database) -> None:
    app = create_app(
        Resources(
            database=api_database,
            reads=NO_READS,
            temporal=NO_TEMPORAL,
            key_ring=KEY_RING,
            pepper=b"p" * 32,
        ),
    )
    app.add_api_route("/explode", _explode)

    async with open_client(app, None) as client:
        with capture_logs() as logs:
            answer = await client.get("/explode")

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "INTERNAL"
    assert "hidden" not in answer.text + str(logs)


def test_every_domain_error_has_a_line_in_the_table(app: FastAPI) -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    domain = {kind for kind in kinds if issubclass(kind, errors.FanfareError)}

    unmapped = [kind for kind in domain - {errors.FanfareError} if not _is_mapped(kind)]

    assert unmapped == []


def _is_mapped(kind: type[errors.FanfareError]) -> bool:
    return any(base in STATUS_AND_CODE for base in kind.__mro__)


async def _explode() -> None:
    raise RuntimeError("a hidden value")
