"""What is stored and has an identity, as it is read back: frozen records, one per noun.

Times are aware and in UTC. `models.py` holds the closed sets and the values without identity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from uuid import UUID

from fanfare.models import (
    CampaignStatus,
    Content,
    DeliveryMode,
    DeliveryStatus,
    Environment,
    Lane,
    OnUnknown,
    PastPolicy,
    PausedReason,
    Platform,
    ProviderName,
)
from fanfare.schedule import DeliveryWindow


class Scope(StrEnum):
    """What a key may do. `admin` is everything within its project."""

    ADMIN = "admin"
    CAMPAIGNS_READ = "campaigns:read"
    CAMPAIGNS_WRITE = "campaigns:write"
    CAMPAIGNS_SEND = "campaigns:send"
    AUDIENCE_READ = "audience:read"
    AUDIENCE_WRITE = "audience:write"
    CREDENTIALS_WRITE = "credentials:write"
    KEYS_WRITE = "keys:write"
    DEVICES_REGISTER = "devices:register"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Project:
    """`timezone` is for users without one; `rate_limit` is messages per minute of all its campaigns
    together; `confirm_above` how many devices a campaign may have without a confirmation."""

    id: UUID
    name: str
    timezone: str
    rate_limit: int | None
    confirm_above: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. A key without a project is an operator's."""

    id: str
    project_id: UUID | None
    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be asked of a provider with one credential.

    `messages_per_minute` is for all workers together, None for no limit; by default half of what
    Google gives a project (600,000), because other senders may share it. The rate rises to it
    over `ramp_seconds`, as Google asks. `max_in_flight` is for each worker process.
    """

    messages_per_minute: int | None = 300_000
    ramp_seconds: int = 60
    max_in_flight: int = 2_000


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A credential without its secret. `public` holds the ids that may be shown."""

    id: UUID
    provider: ProviderName
    environment: Environment
    public: Mapping[str, str]
    fingerprint: str
    status: str
    status_reason: str | None
    checked_at: datetime | None
    created_at: datetime
    updated_at: datetime
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret under AES-256-GCM with a data key of its own, itself under a key-encryption key."""

    secret: bytes
    wrapped_key: bytes
    wrapped_by: str


@dataclass(frozen=True, slots=True)
class Entitlement:
    entitlement_id: str
    product_id: str | None = None
    is_active: bool = True
    store: str | None = None
    period_type: str | None = None
    purchase_date: datetime | None = None
    expiration_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class User:
    id: UUID
    external_id: str
    email: str | None
    phone: str | None
    display_name: str | None
    properties: Mapping[str, object]
    timezone: str | None
    locale: str | None
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class PushToken:
    id: int
    app_user_id: UUID
    token: str
    platform: Platform
    provider: ProviderName
    environment: Environment
    app_version: str | None
    device_model: str | None
    is_active: bool
    deactivated_reason: str | None
    registered_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Segment:
    id: str
    name: str
    description: str | None
    rules: Mapping[str, object]
    is_system: bool
    user_count: int | None
    last_evaluated_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Stats:
    """A campaign's counts. `audience` is None until it is frozen; then, at every moment,
    audience = pending + sent + failed + skipped + unknown."""

    audience: int | None = None
    pending: int = 0
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    opened: int = 0
    possible_duplicates: int = 0
    skipped_by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Timing:
    """When a campaign goes out. `scheduled_at` belongs to the mode `instant`; `local_date` and
    `local_time`, wall-clock, to `local_time`. Without either it waits to be sent by hand."""

    scheduled_at: datetime | None = None
    delivery_mode: DeliveryMode = DeliveryMode.INSTANT
    local_date: date | None = None
    local_time: time | None = None
    timezone_fallback: str = "UTC"
    past_policy: PastPolicy = PastPolicy.SKIP
    window: DeliveryWindow | None = None
    max_lateness: timedelta = timedelta(hours=1)

    @property
    def is_set(self) -> bool:
        """Whether it says when."""
        return self.scheduled_at is not None or self.delivery_mode is DeliveryMode.LOCAL_TIME

    @property
    def goes_by_zones(self) -> bool:
        """Whether it matters in which zone a user is; then its audience is parted by zones."""
        is_windowed = self.window is not None and self.window.timezone is None
        return is_windowed or self.delivery_mode is DeliveryMode.LOCAL_TIME

    @property
    def is_bucketed(self) -> bool:
        """Whether it goes out to some at another moment than to others, or not at every hour."""
        return self.window is not None or self.delivery_mode is DeliveryMode.LOCAL_TIME


@dataclass(frozen=True, slots=True)
class Campaign:
    id: UUID
    project_id: UUID
    name: str
    content: Content
    segment_id: str | None
    status: CampaignStatus
    timing: Timing
    rate_limit: int | None
    expires_at: datetime | None
    on_unknown: OnUnknown
    paused_at: datetime | None
    begun_at: datetime | None
    sent_at: datetime | None
    cancelled_at: datetime | None
    settled_at: datetime | None
    armed_at: datetime | None
    revision: int
    heard_revision: int
    claim_id: UUID | None
    created_at: datetime
    updated_at: datetime
    failure: Failure | None
    in_doubt_since: datetime | None = None

    @property
    def paused_reason(self) -> PausedReason | None:
        """Why it rests; None where it does not."""
        if self.paused_at is None:
            return None
        is_held = self.in_doubt_since is not None and self.paused_at <= self.in_doubt_since
        return PausedReason.DATABASE_RESTORED if is_held else PausedReason.OPERATOR


@dataclass(frozen=True, slots=True)
class Bucket:
    """A part of a campaign's audience that has a turn of its own: the users of some time zones, of
    all where `timezones` is None. Its messages may go out from `opens_at` up to `closes_at`, now or
    next."""

    number: int
    timezones: Sequence[str] | None
    fires_at: datetime
    opens_at: datetime
    closes_at: datetime | None
    frozen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch as a worker finds it. `epoch` is the number that its claims must carry; `owes`
    says that messages of it are to be tried again."""

    number: int
    lane: Lane
    size: int
    claimed: int
    epoch: int
    owes: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """One line of the ledger, with the device and the user where they still exist."""

    campaign_id: UUID
    token_id: int
    app_user_id: UUID | None
    provider: ProviderName | None
    platform: Platform | None
    status: DeliveryStatus
    error_code: str | None
    reason: str | None
    provider_message_id: str | None
    possible_duplicate: bool
    recorded_at: datetime
