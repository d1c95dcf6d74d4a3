"""Credentials for APNs and FCM: checked, sealed, and never shown again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body
from pydantic import Field, SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from api import fields
from api.dependencies import Connection, Deployment, Project
from api.envelopes import Envelope, documented_errors
from api.principals import requires
from api.routing import GuardedRoute
from fanfare import errors
from fanfare.db import credentials
from fanfare.db.credentials import NewCredential
from fanfare.entities import Limits, Scope, StoredCredential
from fanfare.ids import new_id
from fanfare.models import Environment, ProjectCtx, ProviderName
from fanfare.providers.credentials import (
    InvalidCredential,
    parse_apns_key,
    parse_service_account,
)
from fanfare.sealing import KeyRing

router = APIRouter(route_class=GuardedRoute, tags=["credentials"])

_APNS: Mapping[str, object] = {
    "team_id": "ABCDE12345",
    "key_id": "FGHIJ67890",
    "bundle_id": "com.example.app",
    "environment": "production",
    "key_p8": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
}
_FCM: Mapping[str, object] = {"service_account_json": {"type": "service_account", "...": "..."}}
_WRITES = requires(Scope.CREDENTIALS_WRITE)

_DEFAULTS = Limits()

_BUNDLE_ID = r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"
AppleId = Annotated[str, Field(pattern=r"^[A-Z0-9]{10}$")]


class LimitsBody(fields.Body):
    """What may be asked of the provider. What is left out has a default that it can bear."""

    messages_per_minute: Annotated[int, Field(strict=True, ge=1, le=100_000_000)] | None = Field(
        _DEFAULTS.messages_per_minute,
        description="For all workers together; null is no limit. Google gives a project 600,000 "
        "unless it was asked for more.",
    )
    ramp_seconds: int = Field(
        _DEFAULTS.ramp_seconds,
        strict=True,
        ge=0,
        le=3_600,
        description="How long the rate rises after a minute of silence. Google asks for 60.",
    )
    max_in_flight: int = Field(
        _DEFAULTS.max_in_flight,
        strict=True,
        ge=1,
        le=20_000,
        description="How many messages a worker process may wait for at once, at most.",
    )

    def limits(self) -> Limits:
        """The same, as it is stored."""
        return Limits(**self.model_dump())


GivenLimits = Annotated[
    LimitsBody | None,
    Field(description="Left out, they stay as they are; a new credential has the defaults."),
]


class ApnsBody(fields.Body):
    team_id: AppleId
    key_id: AppleId
    bundle_id: Annotated[str, Field(pattern=_BUNDLE_ID, max_length=155)]
    environment: Environment = Environment.PRODUCTION
    key_p8: Annotated[SecretStr, Field(max_length=10_000, description="The .p8 file's text.")]
    limits: GivenLimits = None


class FcmBody(fields.Body):
    service_account_json: SecretStr | dict[str, Any] = Field(  # Any: JSON, which is checked
        description="The service account's file, as an object or as text."
    )
    limits: GivenLimits = None

    def text(self) -> str:
        """The file's text."""
        given = self.service_account_json
        if isinstance(given, SecretStr):
            return given.get_secret_value()
        return orjson.dumps(given).decode()


@router.put(
    "/apns",
    dependencies=[_WRITES],
    responses=documented_errors(400, 401, 403, 413, 415, 503),
)
async def put_apns_credential(
    body: Annotated[ApnsBody, Body(examples=[_APNS])],
    conn: Connection,
    project: Project,
    resources: Deployment,
) -> Envelope[StoredCredential]:
    """Set the token-signing key for one of APNs' environments, in the place of the one before."""
    text = body.key_p8.get_secret_value()
    with _refusing():
        fingerprint = parse_apns_key(text).fingerprint
    public = {"team_id": body.team_id, "key_id": body.key_id, "bundle_id": body.bundle_id}
    checked = CheckedCredential(
        ProviderName.APNS, body.environment, public, fingerprint=fingerprint, secret=text
    )
    return Envelope(data=await _store(conn, project, checked, body.limits, resources.key_ring))


@router.put(
    "/fcm",
    dependencies=[_WRITES],
    responses=documented_errors(400, 401, 403, 413, 415, 503),
)
async def put_fcm_credential(
    body: Annotated[FcmBody, Body(examples=[_FCM])],
    conn: Connection,
    project: Project,
    resources: Deployment,
) -> Envelope[StoredCredential]:
    """Set the service account that sends, in the place of the one before."""
    text = body.text()
    with _refusing():
        account = parse_service_account(text)
    public = {"project_id": account.project_id, "client_email": account.client_email}
    checked = CheckedCredential(
        ProviderName.FCM,
        Environment.PRODUCTION,
        public,
        fingerprint=account.fingerprint,
        secret=text,
    )
    return Envelope(data=await _store(conn, project, checked, body.limits, resources.key_ring))


@router.get("", dependencies=[_WRITES], responses=documented_errors(400, 401, 403, 503))
async def list_credentials(
    conn: Connection, project: Project
) -> Envelope[Sequence[StoredCredential]]:
    """The project's credentials, at most three, without their secrets."""
    found = await credentials.all_of(conn, project)
    return Envelope(data=[_shown(each) for each in found])


@router.get(
    "/{provider}", dependencies=[_WRITES], responses=documented_errors(400, 401, 403, 404, 503)
)
async def get_credential(
    provider: ProviderName,
    conn: Connection,
    project: Project,
    environment: Environment = Environment.PRODUCTION,
) -> Envelope[StoredCredential]:
    """One credential, without its secret."""
    return Envelope(data=_shown(await credentials.get(conn, project, provider, environment)))


@router.delete(
    "/{provider}",
    status_code=204,
    dependencies=[_WRITES],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def delete_credential(
    provider: ProviderName,
    conn: Connection,
    project: Project,
    environment: Environment = Environment.PRODUCTION,
) -> None:
    """Remove a credential. What is still to be sent with it is skipped."""
    await credentials.delete(conn, project, provider, environment)


@dataclass(frozen=True, slots=True)
class CheckedCredential:
    """A credential that can be used, not stored yet."""

    provider: ProviderName
    environment: Environment
    public: Mapping[str, str]
    fingerprint: str
    secret: str = field(repr=False)


async def _store(
    conn: AsyncConnection,
    project: ProjectCtx,
    checked: CheckedCredential,
    limits: LimitsBody | None,
    key_ring: KeyRing,
) -> StoredCredential:
    credential_id = new_id()
    context = credentials.sealing_context(project, checked.provider, credential_id)
    new = NewCredential(
        id=credential_id,
        provider=checked.provider,
        environment=checked.environment,
        public=checked.public,
        fingerprint=checked.fingerprint,
        sealed=key_ring.seal(checked.secret, context=context),
        limits=None if limits is None else limits.limits(),
    )
    return _shown(await credentials.put(conn, project, new))


def _shown(stored: StoredCredential) -> StoredCredential:
    public = dict(stored.public)
    if "key_id" in public:
        public["key_id"] = f"...{public['key_id'][-4:]}"
    return replace(stored, public=public)


@contextmanager
def _refusing() -> Iterator[None]:
    """Have a credential that cannot work refused as an input that is wrong."""
    try:
        yield
    except InvalidCredential as error:
        faults = [{"path": f"body.{error.field}", "message": str(error)}]
        raise errors.InvalidCredential(f"{error}.", {"fields": faults}) from error
