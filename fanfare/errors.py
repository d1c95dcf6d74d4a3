"""What can be wrong, named for what is so. These know neither HTTP nor Temporal.

`api/errors.py` holds the one table that gives each a status and a code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta


class FanfareError(Exception):
    """A rule of the product was broken. `details` says where, for a program to read."""

    def __init__(self, message: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One fault of an input: where (a path such as `push_tokens.0.token`) and what."""

    path: str
    message: str


class InvalidInput(FanfareError):
    """The request's fields do not fit their description."""

    def __init__(self, message: str, fields: Sequence[FieldFault] = ()) -> None:
        faults = [{"path": field.path, "message": field.message} for field in fields]
        super().__init__(message, {"fields": faults})


class InvalidScheduledAt(FanfareError):
    """A time that is not RFC 3339 with an offset."""


class ScheduledAtInPast(FanfareError):
    """A time that has gone by."""


class ReservedDataKey(FanfareError):
    """`data` uses a name that APNs or FCM keeps for itself."""


class PayloadTooLarge(FanfareError):
    """The rendered message is over what the provider takes."""


class InvalidToken(FanfareError):
    """Not a device token of the named provider."""


class InvalidTimezone(InvalidInput):
    """Not an IANA zone that this system knows."""


class NotFound(FanfareError):
    """No such thing in this project."""


class CampaignNotFound(NotFound):
    """No such campaign in this project."""


class SegmentNotFound(NotFound):
    """No such segment in this project."""


class UserNotFound(NotFound):
    """No such user in this project."""


class TokenNotFound(NotFound):
    """No such device token under this user."""


class CredentialNotFound(NotFound):
    """No credential of this provider and environment."""


class ProjectNotFound(NotFound):
    """No such project."""


class KeyNotFound(NotFound):
    """No such API key in this project."""


class CampaignAlreadySent(FanfareError):
    """Sending has begun, or ended; or the campaign was cancelled."""


class CampaignAlreadyScheduled(FanfareError):
    """The campaign waits for its own time."""


class CampaignNotEditable(FanfareError):
    """It is on its way, or has ended."""


class CampaignNotPausable(FanfareError):
    """There is nothing to pause: it has not been scheduled or sent, or it has ended."""


class CampaignNotResumable(FanfareError):
    """There is nothing to resume."""


class CampaignNotCancellable(FanfareError):
    """There is nothing to cancel: it has not been scheduled or sent, or it has ended."""


class ConfirmationRequired(FanfareError):
    """The project wants to see a confirmation for an audience of this size, and none fits."""


class AudienceChanged(FanfareError):
    """The audience is not what was confirmed."""


class SegmentExists(FanfareError):
    """The chosen segment id is taken."""


class SegmentInUse(FanfareError):
    """A campaign that is still to be sent names the segment."""


class SegmentNotEvaluated(FanfareError):
    """The segment's rules could not be evaluated."""


class SystemSegmentReadOnly(FanfareError):
    """A segment that every project has; nobody changes or deletes it."""


class NoActiveTokens(FanfareError):
    """A test push to a user without a device that can take it."""


class InvalidCredential(FanfareError):
    """A key or service account that cannot work, whatever the provider says."""


class Unauthorized(FanfareError):
    """No key, or not a live one."""


class Forbidden(FanfareError):
    """The key lacks the scope."""


class ProjectForbidden(FanfareError):
    """The path names a project that is not the key's."""


class IdempotencyKeyReused(FanfareError):
    """The key came before with another request."""


class IdempotencyKeyInUse(FanfareError):
    """The first request with this key has not ended yet."""


class Unavailable(FanfareError):
    """Something we stand on does not answer. Nothing was left half done."""

    def __init__(self, message: str, retry_after: timedelta = timedelta(seconds=5)) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DatabaseUnavailable(Unavailable):
    """PostgreSQL cannot be reached, or refuses new work."""


class QueryTookTooLong(DatabaseUnavailable):
    """PostgreSQL gave the query up when its time had run out."""


class TransactionConflict(DatabaseUnavailable):
    """Two transactions waited for each other, and PostgreSQL ended this one. Run it again."""


class TemporalUnavailable(Unavailable):
    """The Temporal service cannot be reached."""


class WorkerUnavailable(Unavailable):
    """No worker took the work in time."""


class Misconfigured(Exception):
    """The process cannot work as it is configured, however long it waits. The text is one line for
    whoever starts it, and holds no secret."""
