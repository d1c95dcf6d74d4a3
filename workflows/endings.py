"""How a campaign ends that is stopped, and why."""

from temporalio.exceptions import ActivityError, ApplicationError

from fanfare.models import CampaignStatus
from workflows.stubs import CampaignKey, EndInput


def failure_of(error: ActivityError) -> ApplicationError:
    """Why the campaign cannot go on: the activity's own word, where it has one."""
    cause = error.cause
    known = cause if isinstance(cause, ApplicationError) else None
    return known or ApplicationError(str(error), type="INTERNAL")


def ending_of(key: CampaignKey, failure: ApplicationError | None) -> EndInput:
    """`failed` for the failure, `cancelled` where there is none."""
    if failure is None:
        return EndInput(**dict(key), status=CampaignStatus.CANCELLED)
    return EndInput(
        **dict(key),
        status=CampaignStatus.FAILED,
        failure_code=failure.type or "INTERNAL",
        failure_message=failure.message,
    )
