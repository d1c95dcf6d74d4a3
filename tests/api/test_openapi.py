"""The description tells the truth: its examples run as they are written."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from uuid import UUID

import orjson
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx import AsyncClient
from temporalio import activity
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from api.app import create_app
from api.resources import Resources
from fanfare.db import campaigns, push_tests
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.db.push_tests import TestResult
from fanfare.db.tables import app_users
from fanfare.models import Content, ProjectCtx
from tests.api.campaigning import HELLO, Desk, Json, result_of
from tests.api.conftest import KEY_RING, NO_READS, NO_TEMPORAL, Tenant, open_client
from tests.providers.keys import apns_key, pem, service_account
from workflows import queues
from workflows.stubs import TestKey, TestPushActivities
from workflows.testpush import SendTestPush

# What examples call their campaign and their user.
EXAMPLE_ID = UUID("0190b5a2-3c58-7d6e-9f10-2b3c4d5e6f70")
SEGMENT = {"id": "seg_inactive_7d", "name": "n", "rules": {"operator": "AND", "conditions": []}}

# Where an example says "...", for a secret that no documentation may hold.
SECRETS: Mapping[str, Json] = {
    "put_apns_credential": {"key_p8": pem(apns_key())},
    "put_fcm_credential": {"service_account_json": orjson.loads(service_account())},
}


@dataclass(frozen=True, slots=True)
class Example:
    """One body of one operation, as the description has it."""

    name: str
    method: str
    path: str
    content_type: str
    content: bytes
    successes: frozenset[str]

    @property
    def makes_the_segment(self) -> bool:
        return self.name.startswith("create_segment")


def _described() -> Json:
    resources = Resources(
        database=Database("postgresql://nobody@127.0.0.1:1/none"),
        reads=NO_READS,
        temporal=NO_TEMPORAL,
        key_ring=KEY_RING,
        pepper=b"",
    )
    return create_app(resources).openapi()


DESCRIBED = _described()


def _bodies_of(operation: Json) -> list[tuple[str, bytes]]:
    content = operation.get("requestBody", {}).get("content", {})
    texts = [
        (kind, body["example"].encode()) for kind, body in content.items() if "example" in body
    ]
    examples = content.get("application/json", {}).get("schema", {}).get("examples", ())
    secret = SECRETS.get(operation["operationId"].removesuffix("_in_project"), {})
    return texts + [("application/json", orjson.dumps({**each, **secret})) for each in examples]


EXAMPLES = [
    Example(
        name=operation["operationId"],
        method=method,
        path=path,
        content_type=kind,
        content=content,
        successes=frozenset(each for each in operation["responses"] if each.startswith("2")),
    )
    for path, methods in DESCRIBED["paths"].items()
    for method, operation in methods.items()
    for kind, content in _bodies_of(operation)
]


class AnsweredTests(TestPushActivities):
    """A provider's side of test pushes: everything is accepted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="send_test_push")
    async def send_test_push(self, key: TestKey) -> None:
        project = ProjectCtx(key.project_id)
        async with self._database.transaction() as conn:
            test = await push_tests.get(conn, project, key.test_id)
            assert test is not None
            accepted = [TestResult("sent", None, None, "1") for _ in test.targets]
            await push_tests.answer(conn, project, key.test_id, accepted)


@pytest.fixture(scope="module")
async def attended(
    app: FastAPI, temporal_env: WorkflowEnvironment, database: Database
) -> AsyncIterator[FastAPI]:
    """The application, with a worker for test pushes and for nothing else."""
    resources: Resources = app.state.resources
    tests = AnsweredTests(database)
    async with Worker(
        temporal_env.client,
        task_queue=queues.MAIN,
        workflows=[SendTestPush],
        activities=[tests.send_test_push],
    ):
        yield create_app(replace(resources, temporal=temporal_env.client))


@pytest.fixture
async def desk(tenant: Tenant, database: Database) -> Desk:
    """A project with the campaign and the user that the examples name."""
    desk = Desk(tenant, database)
    await _make_user(desk)
    new = NewCampaign(name="Hello", content=Content(HELLO["title"], HELLO["body"], {}))
    async with database.transaction() as conn:
        await campaigns.create(conn, desk.project, new, campaign_id=EXAMPLE_ID)
    return desk


async def _make_user(desk: Desk) -> None:
    values = {"id": EXAMPLE_ID, "project_id": desk.project.project_id, "external_id": "user-42"}
    async with desk.database.transaction() as conn:
        await conn.execute(sa.insert(app_users).values(values))
    token = {"token": "00ff", "platform": "ios"}
    await desk.client.post("/admin/users/user-42/push-tokens", json=token)


def _filled(path: str, desk: Desk) -> str:
    project_id = desk.tenant.project_id
    values = {
        "/projects/{id}": f"/projects/{project_id}",
        "{project_id}": project_id,
        "/segments/{id}": "/segments/seg_inactive_7d",
        "{external_id}": "user-42",
        "{id}": str(EXAMPLE_ID),
    }
    return reduce(lambda text, name: text.replace(name, values[name]), values, path)


def _app_for(example: Example, app: FastAPI, attended: FastAPI) -> FastAPI:
    return attended if example.path.endswith("/test") else app


def _client_for(example: Example, app: FastAPI, desk: Desk, operator: AsyncClient) -> AsyncClient:
    is_operators = example.path.startswith("/admin/projects")
    return operator if is_operators else open_client(app, desk.tenant.key)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
async def test_example_runs_as_it_is_written(
    app: FastAPI, attended: FastAPI, desk: Desk, operator: AsyncClient, example: Example
) -> None:
    segments = [] if example.makes_the_segment else [SEGMENT]
    made = [await desk.client.post("/admin/segments", json=each) for each in segments]
    client = _client_for(example, _app_for(example, app, attended), desk, operator)

    answer = await client.request(
        example.method,
        _filled(example.path, desk),
        content=example.content,
        headers={"Content-Type": example.content_type},
    )

    assert [each.status_code for each in made] == [201] * len(segments)
    assert str(answer.status_code) in example.successes, answer.text


def test_every_body_that_is_described_has_an_example() -> None:
    with_bodies = {
        operation["operationId"]
        for methods in DESCRIBED["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    }

    assert with_bodies == {example.name for example in EXAMPLES}


def test_every_example_says_something() -> None:
    silent = {example.name for example in EXAMPLES if example.content == b"{}"}

    # Where nobody asks for a confirmation, there is nothing to say to `send`.
    assert silent == {"send_campaign", "send_campaign_in_project"}


async def test_default_that_is_described_is_one_that_is_taken(desk: Desk) -> None:
    fields = DESCRIBED["components"]["schemas"]["CampaignBody"]["properties"]
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}

    answer = await desk.offer(HELLO, **defaults)

    assert defaults
    assert result_of(answer) == (201, None)


def test_both_doors_are_described_alike() -> None:
    short = [_without_door(example) for example in EXAMPLES if "_in_project" not in example.name]
    long = [_without_door(example) for example in EXAMPLES if "_in_project" in example.name]

    assert long
    assert [each for each in long if each not in short] == []


def _without_door(example: Example) -> tuple[str, str, bytes, frozenset[str]]:
    name = example.name.removesuffix("_in_project")
    return name, example.content_type, example.content, example.successes
