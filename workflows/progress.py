"""What a campaign's run is given, and what it hands to the next when it continues as new."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from fanfare.models import Lane
from workflows.stubs import Audience, BatchResult, Standing


class LaneProgress(BaseModel):
    """Where a lane stands: the next batch, the counts, and the batches that owe messages."""

    next: int
    counts: BatchResult = BatchResult()
    owing: dict[int, BatchResult] = Field(default_factory=dict)

    def first_due(self) -> datetime | None:
        """When the first of what is owed is due."""
        return min((result.due_at for result in self.owing.values() if result.due_at), default=None)

    def is_undecided(self, by: datetime) -> bool:
        """Whether no message has ended, and the first that is owed is due by then."""
        first = self.first_due()
        return self.counts == BatchResult() and first is not None and first <= by

    def due_by(self, now: datetime) -> list[int]:
        """Which batches owe messages that are due, by number."""
        return [n for n, owes in self.owing.items() if owes.due_at is None or owes.due_at <= now]


class Progress(BaseModel):
    """How far a frozen audience is: what a run hands to the next when it continues as new."""

    model_config = ConfigDict(frozen=True)

    audience: Audience
    lanes: dict[Lane, LaneProgress]


class CampaignInput(BaseModel):
    """Which campaign, and when. A run that continues another carries its progress.

    The row is the word: what is said here of time and pause is what the row said last.
    """

    model_config = ConfigDict(frozen=True)

    project_id: UUID
    campaign_id: UUID
    scheduled_at: datetime | None = None
    is_bucketed: bool = False
    max_lateness: timedelta | None = None
    revision: int | None = None
    is_paused: bool = False
    # Which ledger it goes by: a restored one is another.
    in_doubt_since: datetime | None = None
    # Whether the row may say something else by now.
    must_look: bool = False
    # Of the one bucket of a campaign that goes out to all at once.
    progress: Progress | None = None
    # Of the others, by number.
    buckets: dict[int, Progress] = Field(default_factory=dict)

    def heard(self, standing: Standing) -> "CampaignInput":
        """With what the row says now."""
        return self.model_copy(
            update={
                "scheduled_at": standing.scheduled_at,
                "is_bucketed": standing.is_bucketed,
                "max_lateness": standing.max_lateness,
                "revision": standing.revision,
                "is_paused": standing.is_paused,
                "in_doubt_since": standing.in_doubt_since,
            }
        )

    def all_progress(self) -> Mapping[int, Progress]:
        """The progress of each bucket that was frozen, by number."""
        whole = {} if self.progress is None else {0: self.progress}
        return {**whole, **self.buckets}


def table(size: int, counts: BatchResult) -> str:
    """The counts as Markdown, in one row."""
    final = counts.sent + counts.failed + counts.skipped + counts.unknown
    return (
        "| audience | sent | failed | skipped | unknown | in batches not done |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        f"| {size:,} | {counts.sent:,} | {counts.failed:,} "
        f"| {counts.skipped:,} | {counts.unknown:,} | {size - final:,} |"
    )
