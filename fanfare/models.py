"""The nouns of a campaign as values: closed sets and frozen records, no behaviour of a process.

Names are the product's contract: they stand in the API, the tables, the logs and the metrics alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class ProviderName(StrEnum):
    """Who takes a message to the phone."""

    APNS = "apns"
    FCM = "fcm"


class Platform(StrEnum):
    """What the phone runs. An iOS device may be reached through FCM."""

    IOS = "ios"
    ANDROID = "android"


class Environment(StrEnum):
    """Which of APNs' two worlds a token belongs to. FCM knows only production."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"


class Lane(StrEnum):
    """One credential's stream of batches: a provider in one environment.

    A batch has exactly one lane, so that it needs exactly one credential.
    """

    APNS = "apns"
    APNS_SANDBOX = "apns-sandbox"
    FCM = "fcm"

    @property
    def provider(self) -> ProviderName:
        return ProviderName.FCM if self is Lane.FCM else ProviderName.APNS

    @property
    def environment(self) -> Environment:
        return Environment.SANDBOX if self is Lane.APNS_SANDBOX else Environment.PRODUCTION

    @property
    def other_environment(self) -> "Lane | None":
        """The same app's lane in APNs' other world; FCM has but one."""
        match self:
            case Lane.APNS:
                return Lane.APNS_SANDBOX
            case Lane.APNS_SANDBOX:
                return Lane.APNS
            case Lane.FCM:
                return None

    @classmethod
    def of(cls, provider: ProviderName, environment: Environment) -> "Lane":
        """The lane for a provider and environment. FCM has one, whatever the environment."""
        match provider:
            case ProviderName.FCM:
                return cls.FCM
            case ProviderName.APNS:
                return cls.APNS_SANDBOX if environment is Environment.SANDBOX else cls.APNS


class CampaignStatus(StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    SENT = "sent"
    CANCELLED = "cancelled"
    FAILED = "failed"


class PausedReason(StrEnum):
    """Who lets a campaign rest: an operator, or the guard of restored databases."""

    OPERATOR = "operator"
    DATABASE_RESTORED = "database_restored"


class OnUnknown(StrEnum):
    """What becomes of a message whose outcome a crash or a time-out left unknown."""

    RESEND = "resend"
    SKIP = "skip"


class DeliveryMode(StrEnum):
    """`instant`: at one moment. `local_time`: at one wall-clock time, in each user's own zone."""

    INSTANT = "instant"
    LOCAL_TIME = "local_time"


class PastPolicy(StrEnum):
    """What becomes of users in whose zone the campaign's local time had passed already."""

    SKIP = "skip"
    SEND_NOW = "send_now"


class DeliveryStatus(StrEnum):
    """The final states of a delivery. `sent` means accepted by Apple or Google, never delivered."""

    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class SkipReason(StrEnum):
    """Why a device of the frozen audience was never asked for."""

    TOKEN_GONE = "token_gone"  # noqa: S105 - a reason, not a secret
    TOKEN_INACTIVE = "token_inactive"  # noqa: S105 - a reason, not a secret
    TOKEN_MOVED = "token_moved"  # noqa: S105 - a reason, not a secret
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    NO_CREDENTIAL = "no_credential"
    PAST = "past"


class ErrorCode(StrEnum):
    """Our word for why a delivery did not succeed; the provider's own word stands beside it."""

    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a reason, not a secret
    SUPERSEDED = "superseded"
    PAYLOAD = "payload"
    REQUEST = "request"
    CREDENTIALS = "credentials"
    THROTTLED = "throttled"
    PROVIDER = "provider"
    NETWORK = "network"
    NO_ANSWER = "no_answer"
    UNRECOGNISED = "unrecognised"


class Verdict(StrEnum):
    """What one attempt came to, before the ledger decides what to write.

    `retry`: definitely not accepted, safe to send again, the token stays owed.
    `credentials`: definitely not accepted, nor will any other be until an operator acts.
    `unknown`: it may have been accepted; nobody can tell.
    """

    SENT = "sent"
    FAILED = "failed"
    RETRY = "retry"
    CREDENTIALS = "credentials"
    UNKNOWN = "unknown"


class TokenAction(StrEnum):
    """What an outcome says about the token itself.

    `deactivate_before`: dead, unless the device registered after `Outcome.dead_since`
    (None: after this attempt began). `quarantine`: suspect; one campaign's word is not enough.
    `other_environment`: it was accepted there.
    """

    NONE = "none"
    DEACTIVATE_BEFORE = "deactivate_before"
    QUARANTINE = "quarantine"
    OTHER_ENVIRONMENT = "other_environment"


class Outcome(NamedTuple):
    """What the provider, or its silence, made of one message. Exactly one per message.

    `reason` is the provider's own word ("Unregistered", "QUOTA_EXCEEDED") or the transport's
    ("deadline"); it never contains a token. `retry_after` is how long the provider asked us to
    wait, where it asked.
    """

    verdict: Verdict
    error_code: ErrorCode | None = None
    reason: str | None = None
    provider_message_id: str | None = None
    token_action: TokenAction = TokenAction.NONE
    dead_since: datetime | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What a campaign says, the same for everyone."""

    title: str
    body: str
    data: Mapping[str, object]


class Target(NamedTuple):
    """One device to reach. `token_id` is our number for it; `token` the provider's secret name."""

    token_id: int
    token: str


@dataclass(frozen=True, slots=True)
class ApnsCredential:
    """A token-signing key of one Apple team, for one app and one environment."""

    team_id: str
    key_id: str
    bundle_id: str
    environment: Environment
    key_p8: str


@dataclass(frozen=True, slots=True)
class FcmCredential:
    """A Google service account that may send for one Firebase project."""

    project_id: str
    client_email: str
    service_account_json: str


Credential = ApnsCredential | FcmCredential


@dataclass(frozen=True, slots=True)
class ProjectCtx:
    """Whose data a request or an activity may touch. Every repository function takes one."""

    project_id: UUID
