"""Whether a credential works, by the provider's own word: a message to a device that cannot be."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.dependencies import Deployment, Project
from api.envelopes import Envelope, documented_errors
from api.principals import requires
from api.routes.testpushes import run_test
from api.routing import GuardedRoute
from fanfare.db import credentials
from fanfare.db.push_tests import TestResult, TestTarget
from fanfare.entities import Scope
from fanfare.models import Content, Environment, ErrorCode, Lane, ProviderName

router = APIRouter(route_class=GuardedRoute, tags=["credentials"])

CredentialStatus = Literal["ok", "refused", "unclear"]

# Well-formed, and nobody's: whoever is let in is told so.
NOBODY = {
    ProviderName.APNS: "00" * 32,
    ProviderName.FCM: "nobody:" + "0" * 140,
}
PROBE = Content("Fanfare", "A test of credentials.", {})


class CredentialTest(BaseModel):
    """What the provider said to a message for a device that cannot exist."""

    status: CredentialStatus = Field(
        description="`ok`: the provider let us in and found no such device. `refused`: it did not "
        "let us in. `unclear`: it said neither; try again."
    )
    reason: str | None = Field(description="The provider's own word.")


@router.post(
    "/{provider}/test",
    dependencies=[requires(Scope.CREDENTIALS_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 409, 422, 503),
)
async def probe_credential(
    provider: ProviderName,
    project: Project,
    resources: Deployment,
    environment: Annotated[Environment, Query()] = Environment.PRODUCTION,
) -> Envelope[CredentialTest]:
    """Ask the provider whether it takes this credential. No phone hears of it."""
    async with resources.database.project(project) as conn:
        stored = await credentials.get(conn, project, provider, environment)
    target = TestTarget(Lane.of(provider, environment), NOBODY[provider])
    (result,) = await run_test(resources, project, PROBE, [target])
    status = _status(result)
    async with resources.database.project(project) as conn:
        await credentials.note_test(conn, project, stored.id, status, result.reason)
    return Envelope(data=CredentialTest(status=status, reason=result.reason))


def _status(result: TestResult) -> CredentialStatus:
    if result.error_code == ErrorCode.CREDENTIALS:
        return "refused"
    let_in = result.status == "sent" or result.error_code == ErrorCode.INVALID_TOKEN
    return "ok" if let_in else "unclear"
