"""How a campaign ends that is stopped, and why."""

from datetime import datetime, timedelta

from temporalio.exceptions import ActivityError, ApplicationError

from fanfare.models import CampaignStatus
from workflows.stubs import CampaignKey, EndInput

MISSED_SCHEDULE = "MISSED_SCHEDULE"


def failure_of(error: ActivityError) -> ApplicationError:
    """Why the campaign cannot go on: the activity's own word, where it has one."""
    cause = error.cause
    known = cause if isinstance(cause, ApplicationError) else None
    return known or ApplicationError(str(error), type="INTERNAL")


def missed(due: datetime, patience: timedelta) -> ApplicationError:
    """Too late to go out without surprising people."""
    return ApplicationError(
        f"The campaign was due at {due:%Y-%m-%d %H:%M:%S} UTC and could not begin within its "
        f"max_lateness of {patience}. Nothing was sent; sending it again sends it now.",
        type=MISSED_SCHEDULE,
    )


def none_left() -> ApplicationError:
    """Its local time has passed in every zone."""
    return ApplicationError(
        "The campaign's local time has passed in every time zone where it could have been sent. "
        "Nothing was sent.",
        type=MISSED_SCHEDULE,
    )


def ending_of(key: CampaignKey, failure: ApplicationError | None, revision: int | None) -> EndInput:
    """`failed` for the failure, `cancelled` where there is none."""
    if failure is None:
        return EndInput(**dict(key), status=CampaignStatus.CANCELLED, revision=revision)
    return EndInput(
        **dict(key),
        status=CampaignStatus.FAILED,
        revision=revision,
        failure_code=failure.type or "INTERNAL",
        failure_message=failure.message,
    )
