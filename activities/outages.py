"""What Temporal is told of an activity that PostgreSQL does not let work: when to come again."""

from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.stores import LedgerWatch
from fanfare.errors import DatabaseUnavailable

# The pauses of a retry policy grow with each try, to a minute and more: so long would everything
# stand still after a long outage.
TRY_AGAIN = timedelta(seconds=3)

log = structlog.get_logger()


class DatabaseOutages(Interceptor):
    """Has every activity tried again soon after PostgreSQL is back, however long it was away.

    Meanwhile the failure stands by the pending activity in the Temporal UI.
    """

    def __init__(self, watch: LedgerWatch) -> None:
        self._watch = watch

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        """Wrap each activity."""
        return _Inbound(next, self._watch)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, wrapped: ActivityInboundInterceptor, watch: LedgerWatch) -> None:
        super().__init__(wrapped)
        self._watch = watch

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's name and type
        try:
            return await super().execute_activity(input)
        except DatabaseUnavailable as error:
            self._watch.note(error)
            log.warning("activity_waits_for_database", activity=activity.info().activity_type)
            raise ApplicationError(
                error.message,
                type="DATABASE_UNAVAILABLE",
                category=ApplicationErrorCategory.BENIGN,
                next_retry_delay=TRY_AGAIN,
            ) from error
