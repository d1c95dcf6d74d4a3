"""Whether an attempt is the one that Temporal waits for.

A worker that was frozen with a poll open wakes with a task that was given up meanwhile, and that
another works on. If it took the batch, what that one has on the wire would be in doubt for nothing.
"""

import contextlib
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

# A task is begun as soon as it is handed out. One that is older by now slept on its way; or two
# clocks differ, which costs a call for each batch and nothing else.
SUSPICIOUS = timedelta(seconds=5)

_ASK_TIMEOUT = timedelta(seconds=5)


async def require_current() -> None:
    """Return where the activity's attempt is current. Costs a call of Temporal where it is old.

    Raises ApplicationError (SUPERSEDED, which nobody waits for), and RPCError where Temporal does
    not answer.
    """
    info = activity.info()
    if datetime.now(UTC) - info.started_time < SUSPICIOUS:
        return
    attempt = activity.client().get_async_activity_handle(task_token=info.task_token)
    try:
        # Whether it is to be cancelled, it hears by its own heartbeats.
        with contextlib.suppress(AsyncActivityCancelledError):
            await attempt.heartbeat(rpc_timeout=_ASK_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise ApplicationError(
            "another attempt has the batch",
            type="SUPERSEDED",
            category=ApplicationErrorCategory.BENIGN,
        ) from error
