"""A refusal says where the fault is, and repeats nothing that may be a secret."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from structlog.testing import capture_logs

from tests.api.conftest import Tenant, open_client
from tests.api.test_openapi import EXAMPLES, Example

CANARY: Final = "canary-7319"
# Looks like each thing that it stands for, and is none.
SECRET_KEY: Final = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"
SHORT_DOOR: Final = [example for example in EXAMPLES if not example.path.startswith("/v1")]
WITH_JSON: Final = [each for each in SHORT_DOOR if each.content_type == "application/json"]

Json = Mapping[str, Any]  # Any: JSON


def _poisoned(value: Any) -> Any:  # Any: JSON
    """The same with a canary for every text and every number, and one thing more."""
    match value:
        case dict():
            return {name: _poisoned(each) for name, each in value.items()} | {"more": CANARY}
        case list():
            return [_poisoned(each) for each in value]
        case bool() | None:
            return value
        case _:
            return SECRET_KEY


@pytest.mark.parametrize("example", WITH_JSON, ids=lambda example: example.name)
async def test_refused_body_is_not_repeated(tenant: Tenant, example: Example) -> None:
    body = orjson.dumps(_poisoned(orjson.loads(example.content)))
    headers = {"Content-Type": "application/json"}

    with capture_logs() as logs:
        answer = await tenant.client.request(
            example.method, example.path, content=body, headers=headers
        )

    assert 400 <= answer.status_code < 500
    assert CANARY not in answer.text + str(logs)


@pytest.mark.parametrize("example", WITH_JSON, ids=lambda example: example.name)
async def test_text_that_is_not_json_is_not_repeated(tenant: Tenant, example: Example) -> None:
    content, headers = f'{{"{CANARY}'.encode(), {"Content-Type": "application/json"}

    answer = await tenant.client.request(
        example.method, example.path, content=content, headers=headers
    )

    assert 400 <= answer.status_code < 500
    assert CANARY not in answer.text


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/x-ndjson", f'{{"external_id": "{CANARY}", "locale": "{CANARY}!"}}'),
        ("application/x-ndjson", f'{{"external_id": "u", "push_tokens": ["{CANARY}"]}}'),
        ("application/x-ndjson", f"{CANARY}"),
        ("text/csv", f"external_id,token,platform\nu,{CANARY},ios\n"),
        ("text/csv", f"external_id,email\nu,a,{CANARY}\n"),
    ],
)
async def test_refused_line_of_an_import_is_not_repeated(
    client: AsyncClient, kind: str, content: str
) -> None:
    headers = {"Content-Type": kind}

    answer = await client.post("/admin/import", content=content, headers=headers)

    assert answer.json()["data"]["failed"] == 1
    assert CANARY not in answer.text


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/admin/users", {"cursor": CANARY}),
        ("/admin/push", {"status": CANARY}),
        ("/admin/users", {"limit": CANARY}),
        (f"/admin/users/{CANARY}", {}),
        (f"/admin/users/{CANARY}/push-tokens", {}),
        (f"/admin/nothing/{CANARY}", {}),
        (f"/admin/credentials/{CANARY}", {}),
    ],
)
async def test_refused_url_is_not_repeated(
    client: AsyncClient, path: str, params: Mapping[str, str]
) -> None:
    with capture_logs() as logs:
        answer = await client.get(path, params=params)

    assert answer.is_client_error
    assert CANARY not in answer.text + str(logs)


@pytest.mark.parametrize("key", [f"pk_abcdefgh_{CANARY:x<43}", CANARY, f"Basic {CANARY}"])
async def test_refused_key_is_not_repeated(app: FastAPI, key: str) -> None:
    async with open_client(app, key) as client:
        with capture_logs() as logs:
            answer = await client.get("/admin/users", headers={"Idempotency-Key": CANARY})

    assert answer.status_code == 401
    assert CANARY not in answer.text + str(logs)
