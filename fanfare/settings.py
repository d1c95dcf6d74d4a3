"""Configuration from the environment, read once, in main. Temporal's own variables stand beside it.

Nothing that is dangerous in production has a default: secrets and the database must be named.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from fanfare.db.engine import driver_url
from fanfare.errors import Misconfigured
from fanfare.providers.connect import ProviderAddresses
from fanfare.sealing import KeyRing

_REAL = ProviderAddresses()

MIN_PEPPER = 32

PREFIX = "FANFARE_"

Kind = TypeVar("Kind", bound=BaseSettings)


def read(kind: type[Kind]) -> Kind:
    """The settings in the environment. Raises Misconfigured, which names every variable that is
    missing or cannot be meant, and quotes none."""
    try:
        return kind()
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise Misconfigured("; ".join(map(_fault, faults)) + ".") from None


def _fault(problem: Mapping[str, object]) -> str:
    location = problem["loc"]
    assert isinstance(location, tuple)
    variable = f"{PREFIX}{location[0]}".upper()
    if problem["type"] == "missing":
        return f"{variable} is not set"
    return f"{variable}: {str(problem['msg']).removeprefix('Value error, ')}"


def _database_url(secret: SecretStr) -> SecretStr:
    try:
        make_url(driver_url(secret.get_secret_value()))
    except (ArgumentError, ValueError):
        # Whatever says more may quote the password.
        raise ValueError("must be postgresql://user:password@host/database") from None
    return secret


def _key_ring(secret: SecretStr) -> SecretStr:
    try:
        KeyRing(secret.get_secret_value())
    except ValueError:
        raise ValueError("must be <name>:<base64 of 32 bytes>, more parted by commas") from None
    return secret


def _pepper(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_PEPPER:
        raise ValueError(f"must have at least {MIN_PEPPER} characters")
    return secret


def _log_level(name: str) -> str:
    if name.upper() not in logging.getLevelNamesMapping():
        raise ValueError("must be debug, info, warning or error")
    return name


class Common(BaseSettings):
    """What the API and the worker both need."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore")

    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        description="postgresql://user:password@host/database"
    )
    kek: Annotated[SecretStr, AfterValidator(_key_ring)] = Field(
        description="Key-encryption keys, `name:<base64 of 32 bytes>`, the sealing one first"
    )
    log_level: Annotated[str, AfterValidator(_log_level)] = "info"


class ApiSettings(Common):
    """The HTTP API."""

    key_pepper: Annotated[SecretStr, AfterValidator(_pepper)] = Field(
        description="Keys the hash of API keys; at least 32 characters"
    )
    operator_key: SecretStr | None = Field(
        default=None, description="A key that creates projects; see api_keys for its shape"
    )
    host: str = "127.0.0.1"
    port: int = 8000
    temporal_ui_url: str | None = Field(
        default=None, description="Where the Temporal web UI is, for links.workflow"
    )


class WorkerSettings(Common):
    """The worker. The providers' addresses are the real ones unless others are named."""

    apns_url: str = _REAL.apns_url
    apns_sandbox_url: str = _REAL.apns_sandbox_url
    fcm_url: str = _REAL.fcm_url
    oauth_url: str = _REAL.oauth_url
    provider_ca_file: Path | None = Field(
        default=None, description="Certificates to trust instead of the system's"
    )
    # A campaign has 16 under way. One that its provider holds waits in all of them, and costs
    # nothing but its slots: so there are some for many campaigns.
    batches_at_once: int = Field(default=400, ge=1, le=2_000, description="Per provider, process")

    def addresses(self) -> ProviderAddresses:
        """Where the providers are."""
        return ProviderAddresses(
            apns_url=self.apns_url,
            apns_sandbox_url=self.apns_sandbox_url,
            fcm_url=self.fcm_url,
            oauth_url=self.oauth_url,
            ca_file=self.provider_ca_file,
        )
