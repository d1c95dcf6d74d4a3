"""SendTestPush: one message to a few devices, outside any campaign, at once."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from workflows.stubs import TestKey, TestPushActivities


@workflow.defn(name="SendTestPush")
class SendTestPush:
    """Sends what the row of the test says, once: whoever tests wants to see the first answer."""

    @workflow.run
    async def run(self, key: TestKey) -> None:
        """Return when the row holds an answer per device."""
        await workflow.execute_activity_method(
            TestPushActivities.send_test_push,
            key,
            start_to_close_timeout=timedelta(seconds=45),
            retry_policy=RetryPolicy(maximum_attempts=1),
            summary="send test push",
        )
