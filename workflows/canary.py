"""When the devices that are refused mean that it is the credential that is wrong."""

from datetime import timedelta

from temporalio.exceptions import ApplicationError

from fanfare.models import Lane
from workflows.stubs import BatchResult

WRONG_CREDENTIAL = "WRONG_ENVIRONMENT_OR_TOPIC"
CANARY = 20
ENOUGH_TO_JUDGE = 200
WRONG_SHARE = 0.2
# The rest of a lane waits for a canary that knows nothing yet, where it will so soon. A refused
# credential is confirmed after a second or two; a provider in trouble takes longer.
CANARY_PATIENCE = timedelta(seconds=3)


def looks_wrong(counts: BatchResult) -> bool:
    """Whether so many devices were refused as another app's that the credential must be wrong.

    Every one of the canary, or a fifth of the first few hundred (providers' decision table).
    """
    asked = counts.sent + counts.failed
    return (asked >= CANARY and counts.suspects == asked) or (
        asked >= ENOUGH_TO_JUDGE and counts.suspects > asked * WRONG_SHARE
    )


def wrong_credential(lane: Lane) -> ApplicationError:
    return ApplicationError(
        f"Too many devices of {lane} were refused as not of this app. Check the credential: "
        "environment and bundle id for APNs, the Firebase project for FCM. No device was "
        "deactivated.",
        type=WRONG_CREDENTIAL,
    )
