"""Device tokens of a user. These routes alone are open to a client key."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path
from pydantic import Field

from api import fields
from api.dependencies import Connection, Paging, Project
from api.envelopes import Envelope, Listing, documented_errors
from api.principals import requires
from api.routes.users import ExternalIdPath, UserRoute
from fanfare.db import tokens, users
from fanfare.db.tokens import Device, Origin
from fanfare.db.users import UserPatch
from fanfare.entities import PushToken, Scope
from fanfare.errors import InvalidToken
from fanfare.models import Environment, Platform, ProviderName

router = APIRouter(route_class=UserRoute, tags=["push tokens"])

_TOKEN: Mapping[str, object] = {
    "token": "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0",
    "platform": "ios",
    "app_version": "4.2.0",
    "device_model": "iPhone17,1",
}
_REGISTERS = requires(Scope.DEVICES_REGISTER, Scope.AUDIENCE_WRITE)
_DEFAULT_PROVIDER = {Platform.IOS: ProviderName.APNS, Platform.ANDROID: ProviderName.FCM}
# Stands in for the user where a token is checked before anything is written.
NOBODY = UUID(int=0)
_DESCRIPTIONS = {
    ProviderName.APNS: f"an APNs token is hexadecimal, at most {fields.MAX_APNS_TOKEN} digits",
    ProviderName.FCM: f"an FCM token is 1 to {fields.MAX_FCM_TOKEN:,} visible ASCII characters",
}


class TokenBody(fields.Body):
    token: str
    platform: Platform
    provider: ProviderName | None = Field(
        default=None, description="Default: `apns` for ios, `fcm` for android."
    )
    environment: Environment = Environment.PRODUCTION
    app_version: Annotated[str, Field(max_length=100)] | None = None
    device_model: Annotated[str, Field(max_length=100)] | None = None

    def device(self, user_id: UUID) -> Device:
        """The device as it is stored. Raises InvalidToken."""
        provider = self.provider or _DEFAULT_PROVIDER[self.platform]
        return Device(
            app_user_id=user_id,
            token=self._normal_token(provider),
            platform=self.platform,
            provider=provider,
            environment=self._environment(provider),
            app_version=self.app_version,
            device_model=self.device_model,
        )

    def _normal_token(self, provider: ProviderName) -> str:
        token = fields.normal_token(provider, self.token)
        if token is None or (provider is ProviderName.APNS and self.platform is Platform.ANDROID):
            raise _invalid_token(provider)
        return token

    def _environment(self, provider: ProviderName) -> Environment:
        # FCM knows one world only.
        return self.environment if provider is ProviderName.APNS else Environment.PRODUCTION


@router.post(
    "/{external_id:text}/push-tokens",
    status_code=201,
    dependencies=[_REGISTERS],
    responses=documented_errors(400, 401, 403, 409, 413, 415, 422, 503),
)
async def register_token(
    external_id: ExternalIdPath,
    body: Annotated[TokenBody, Body(examples=[_TOKEN])],
    conn: Connection,
    project: Project,
) -> Envelope[PushToken]:
    """Register a device, at every start of the app and whenever its token changes.

    A user that is not known yet is created: a phone may be quicker than the backend. A token that
    belonged to another user moves to this one, and one that was inactive is active again.
    """
    body.device(NOBODY)
    await users.upsert(conn, project, [UserPatch(external_id, {}, {})])
    user_id = await users.lock_id(conn, project, external_id)
    await users.note_seen(conn, project, user_id)
    device = body.device(user_id)
    await tokens.put(conn, project, [device], Origin.APP)
    return Envelope(data=await tokens.get(conn, project, device.provider, device.token))


@router.get(
    "/{external_id:text}/push-tokens",
    dependencies=[requires(Scope.AUDIENCE_READ)],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def list_tokens(
    external_id: ExternalIdPath, conn: Connection, project: Project, paging: Paging
) -> Listing[PushToken]:
    """The user's devices, the newest first; also those that are no longer active."""
    user_id = await users.lock_id(conn, project, external_id)
    return Listing[PushToken].of(await tokens.page_of_user(conn, project, user_id, paging))


@router.delete(
    "/{external_id:text}/push-tokens/{token:text}",
    status_code=204,
    dependencies=[_REGISTERS],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def unregister_token(
    external_id: ExternalIdPath,
    token: Annotated[str, Path(max_length=4096)],
    conn: Connection,
    project: Project,
) -> None:
    """The device takes no more pushes for this user, as after a logout. It is marked inactive."""
    user_id = await users.lock_id(conn, project, external_id)
    spellings = {token, fields.normal_token(ProviderName.APNS, token) or token}
    await tokens.unregister(conn, project, user_id, sorted(spellings))


def _invalid_token(provider: ProviderName) -> InvalidToken:
    faults = [{"path": "body.token", "message": _DESCRIPTIONS[provider]}]
    return InvalidToken(f"This is no token of {provider}.", {"fields": faults})
