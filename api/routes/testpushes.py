"""Test pushes: one message to one's own devices, and each provider's own answer."""

from collections.abc import Sequence
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field, StrictBool, model_validator

from api import fields
from api.contents import Data, Text, Title, content_of
from api.dependencies import Deployment, Project
from api.envelopes import Envelope, documented_errors
from api.principals import requires
from api.resources import Resources
from api.routing import GuardedRoute
from fanfare.db import push_tests, tokens
from fanfare.db.push_tests import TestResult, TestTarget
from fanfare.entities import Scope
from fanfare.errors import InvalidToken, NoActiveTokens
from fanfare.models import Content, Environment, Lane, ProjectCtx, ProviderName
from workflows import starter

router = APIRouter(route_class=GuardedRoute, tags=["campaigns"])

_TO_A_USER = {
    "title": "Hello from staging",
    "body": "Does it arrive?",
    "app_user_id": "0190b5a2-3c58-7d6e-9f10-2b3c4d5e6f70",
}
_TO_A_DEVICE = {
    "title": "Hello from staging",
    "body": "Does it arrive?",
    "device_token": "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90",
    "provider": "apns",
}


class TestPushBody(fields.Body):
    __test__ = False

    title: Title
    body: Text
    data: Data = Field(default_factory=dict)
    app_user_id: UUID | None = Field(default=None, description="All of this user's devices.")
    newest_only: StrictBool = Field(default=False, description="Only the device seen last.")
    device_token: Annotated[str, Field(max_length=4_096)] | None = None
    provider: ProviderName | None = Field(default=None, description="With `device_token`.")
    environment: Environment = Environment.PRODUCTION

    @model_validator(mode="after")
    def _names_one_target(self) -> Self:
        if (self.app_user_id is None) == (self.device_token is None):
            raise ValueError("name either app_user_id or device_token")
        if self.device_token is not None and self.provider is None:
            raise ValueError("device_token needs provider")
        return self


class DeviceAnswer(BaseModel):
    """What became of the message to one device."""

    provider: ProviderName
    environment: Environment
    token_ends_in: str
    status: str = Field(description="`sent` (accepted by the provider), `failed` or `unknown`.")
    error_code: str | None
    reason: str | None = Field(description="The provider's own word.")
    provider_message_id: str | None


class TestPushAnswer(BaseModel):
    __test__ = False

    devices: Sequence[DeviceAnswer]


@router.post(
    "/test",
    dependencies=[requires(Scope.CAMPAIGNS_SEND)],
    responses=documented_errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def send_test_push(
    body: Annotated[TestPushBody, Body(examples=[_TO_A_USER, _TO_A_DEVICE])],
    project: Project,
    resources: Deployment,
) -> Envelope[TestPushAnswer]:
    """Send once, now, outside any campaign; the answer holds each provider's own answer."""
    content = content_of(body.title, body.body, body.data)
    targets = await _targets(body, project, resources)
    results = await run_test(resources, project, content, targets)
    answers = [_answer(target, result) for target, result in zip(targets, results, strict=True)]
    return Envelope(data=TestPushAnswer(devices=answers))


async def run_test(
    resources: Resources, project: ProjectCtx, content: Content, targets: Sequence[TestTarget]
) -> Sequence[TestResult]:
    """Have a worker send to the targets. Raises TemporalUnavailable or WorkerUnavailable."""
    async with resources.database.project(project) as conn:
        test_id = await push_tests.create(conn, project, content, targets)
    try:
        await starter.send_test(resources.temporal, project.project_id, test_id)
        async with resources.database.project(project) as conn:
            test = await push_tests.get(conn, project, test_id)
    finally:
        async with resources.database.project(project) as conn:
            await push_tests.delete(conn, project, test_id)
    assert test is not None
    assert test.results is not None
    return test.results


async def _targets(
    body: TestPushBody, project: ProjectCtx, resources: Resources
) -> Sequence[TestTarget]:
    if body.device_token is not None and body.provider is not None:
        spelling = fields.normal_token(body.provider, body.device_token)
        if spelling is None:
            raise InvalidToken(f"device_token is not a token of {body.provider}.")
        return [TestTarget(Lane.of(body.provider, body.environment), spelling)]
    assert body.app_user_id is not None
    async with resources.database.project(project) as conn:
        found = await tokens.active_of(conn, project, body.app_user_id)
    if not found:
        raise NoActiveTokens("The user has no active device.")
    chosen = found[:1] if body.newest_only else found
    return [
        TestTarget(Lane.of(token.provider, token.environment), token.token, token.id)
        for token in chosen
    ]


def _answer(target: TestTarget, result: TestResult) -> DeviceAnswer:
    return DeviceAnswer(
        provider=target.lane.provider,
        environment=target.lane.environment,
        token_ends_in=target.token[-6:],
        status=result.status,
        error_code=result.error_code,
        reason=result.reason,
        provider_message_id=result.provider_message_id,
    )
