"""Configuration from the environment, read once, in main. Temporal's own variables stand beside it.

Nothing that is dangerous in production has a default: secrets and the database must be named.
"""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from fanfare.providers.connect import ProviderAddresses

_REAL = ProviderAddresses()


class Common(BaseSettings):
    """What the API and the worker both need."""

    model_config = SettingsConfigDict(env_prefix="FANFARE_", env_ignore_empty=True, extra="ignore")

    database_url: SecretStr = Field(description="postgresql://user:password@host/database")
    kek: SecretStr = Field(
        description="Key-encryption keys, `name:<base64 of 32 bytes>`, the sealing one first"
    )
    log_level: str = "info"


class ApiSettings(Common):
    """The HTTP API."""

    key_pepper: SecretStr = Field(description="Keys the hash of API keys; at least 32 characters")
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
