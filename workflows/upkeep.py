"""Upkeep: what a Temporal Schedule runs every minute to keep the system in order."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from workflows.stubs import UpkeepActivities

SHORT = timedelta(minutes=5)


@workflow.defn(name="Upkeep")
class Upkeep:
    """Starts the workflow of every campaign that has none, prepares the tables ahead, and gives
    every project the Schedule that refreshes its segments."""

    @workflow.run
    async def run(self) -> int:
        """How many campaigns had to be taken up."""
        await workflow.execute_activity_method(
            UpkeepActivities.keep_tables, start_to_close_timeout=SHORT, summary="keep tables"
        )
        taken_up = await workflow.execute_activity_method(
            UpkeepActivities.reconcile_campaigns,
            start_to_close_timeout=SHORT,
            summary="reconcile campaigns",
        )
        # Runs that began under the code before this step go on without it.
        if workflow.patched("reconcile-refreshes"):
            await workflow.execute_activity_method(
                UpkeepActivities.reconcile_refreshes,
                start_to_close_timeout=SHORT,
                # A Schedule that cannot be made must not keep the next upkeep from the campaigns.
                retry_policy=RetryPolicy(maximum_attempts=3),
                summary="reconcile refreshes",
            )
        return taken_up
