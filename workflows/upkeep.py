"""Upkeep: what a Temporal Schedule runs every minute to keep the system in order."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from workflows.stubs import Message, Position, RestoreActivities, UpkeepActivities

SHORT = timedelta(minutes=5)


class UpkeepReport(Message):
    """How many campaigns had to be taken up, and how far the database had come.

    Temporal keeps the last one and hands it to the next run: a database that is behind it was
    restored.
    """

    taken_up: int = 0
    position: int | None = None

    @classmethod
    def of(cls, kept: object) -> "UpkeepReport":
        """The report that Temporal kept; an empty one where there is none, or one of older code,
        which was a number."""
        return cls.model_validate(kept) if isinstance(kept, dict) else cls()


@workflow.defn(name="Upkeep")
class Upkeep:
    """Holds the campaigns of a restored database, starts the workflow of every campaign that has
    none, prepares the tables ahead, and gives every project the Schedule that refreshes its
    segments."""

    @workflow.run
    async def run(self) -> UpkeepReport:
        """What was done, for the Temporal UI and the next run."""
        position = None
        # Runs that began under the code before a step go on without it.
        if workflow.patched("check-database"):
            position = await self._check_database()
        await workflow.execute_activity_method(
            UpkeepActivities.keep_tables, start_to_close_timeout=SHORT, summary="keep tables"
        )
        taken_up = await workflow.execute_activity_method(
            UpkeepActivities.reconcile_campaigns,
            start_to_close_timeout=SHORT,
            summary="reconcile campaigns",
        )
        if workflow.patched("reconcile-refreshes"):
            await workflow.execute_activity_method(
                UpkeepActivities.reconcile_refreshes,
                start_to_close_timeout=SHORT,
                # A Schedule that cannot be made must not keep the next upkeep from the campaigns.
                retry_policy=RetryPolicy(maximum_attempts=3),
                summary="reconcile refreshes",
            )
        return UpkeepReport(taken_up=taken_up, position=position)

    async def _check_database(self) -> int | None:
        """Before any campaign is taken up: whether the database is behind what the last run saw."""
        before = UpkeepReport.of(workflow.get_last_completion_result())
        found = await workflow.execute_activity_method(
            RestoreActivities.check_database,
            Position(position=before.position),
            start_to_close_timeout=SHORT,
            summary="check database",
        )
        return found.position
