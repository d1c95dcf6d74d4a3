"""An activity that PostgreSQL does not let work comes again soon, however often it has tried."""

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.outages import TRY_AGAIN, DatabaseOutages
from activities.stores import LedgerWatch
from fanfare.errors import DatabaseUnavailable


@activity.defn
async def work() -> None:
    raise DatabaseUnavailable("PostgreSQL does not answer.")


@activity.defn
async def stumble() -> None:
    raise ValueError("a defect of ours")


class Innermost(ActivityInboundInterceptor):
    """Calls the activity itself."""

    def __init__(self) -> None:
        """There is nothing behind it."""

    async def execute_activity(self, input: ExecuteActivityInput) -> object:  # noqa: A002
        return await input.fn(*input.args)


async def run(function: object) -> None:
    assert callable(function)
    call = ExecuteActivityInput(fn=function, args=(), executor=None, headers={})
    wrapped = DatabaseOutages(LedgerWatch()).intercept_activity(Innermost())
    await ActivityEnvironment().run(wrapped.execute_activity, call)


async def test_activity_without_a_database_is_tried_again_soon() -> None:
    with pytest.raises(ApplicationError) as raised:
        await run(work)

    assert raised.value.type == "DATABASE_UNAVAILABLE"
    assert raised.value.next_retry_delay == TRY_AGAIN
    assert not raised.value.non_retryable
    assert raised.value.category is ApplicationErrorCategory.BENIGN


async def test_defect_of_an_activity_is_left_as_it_is() -> None:
    with pytest.raises(ValueError, match="a defect of ours"):
        await run(stumble)
