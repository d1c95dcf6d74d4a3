"""What a campaign's run is given, and what it hands to the next when it continues as new."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from fanfare.models import Lane
from workflows.stubs import Audience, BatchResult


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
    """What a run hands to the next when it continues as new."""

    model_config = ConfigDict(frozen=True)

    audience: Audience
    lanes: dict[Lane, LaneProgress]


class CampaignInput(BaseModel):
    """Which campaign, and when. A run that continues another carries its progress."""

    model_config = ConfigDict(frozen=True)

    project_id: UUID
    campaign_id: UUID
    scheduled_at: datetime | None = None
    progress: Progress | None = None


def table(audience: Audience, counts: BatchResult) -> str:
    """The counts as Markdown, in one row."""
    final = counts.sent + counts.failed + counts.skipped + counts.unknown
    return (
        "| audience | sent | failed | skipped | unknown | in batches not done |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        f"| {audience.size:,} | {counts.sent:,} | {counts.failed:,} "
        f"| {counts.skipped:,} | {counts.unknown:,} | {audience.size - final:,} |"
    )
