"""The activities' signatures, owned by the workflows that call them.

`activities/` implements these. One model goes in and one comes out; only ids, numbers, times and
counts, because all of it is kept in the workflow's history: never a token, title or body.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from fanfare.models import CampaignStatus, Lane


class Message(BaseModel):
    """What passes between a workflow and its activities."""

    model_config = ConfigDict(frozen=True)


class CampaignKey(Message):
    """Which campaign, and whose."""

    project_id: UUID
    campaign_id: UUID


class Begun(Message):
    """Whether there is anything to send."""

    to_send: bool


class LaneRange(Message):
    """The batches of one lane: numbers `first`, its canary, up to, not including, `end`."""

    lane: Lane
    first: int
    end: int


class Audience(Message):
    """How many devices the frozen audience holds, and which batches hold them."""

    size: int
    lanes: Sequence[LaneRange]


class BatchInput(CampaignKey):
    """Which batch of a campaign."""

    number: int


class BatchResult(Message):
    """A batch's counts so far; suspects are those failed that look like another app's devices.

    `owed` messages are to be tried again at `due_at` and later. `stopped`: the batch was left,
    because its campaign is not sending any more.
    """

    stopped: bool = False
    owed: int = 0
    due_at: datetime | None = None
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    suspects: int = 0

    def plus(self, other: "BatchResult") -> "BatchResult":
        """The counts of both together."""
        return BatchResult(
            sent=self.sent + other.sent,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            unknown=self.unknown + other.unknown,
            suspects=self.suspects + other.suspects,
        )

    def minus(self, other: "BatchResult") -> "BatchResult":
        """What this counts beyond the other."""
        return BatchResult(
            sent=self.sent - other.sent,
            failed=self.failed - other.failed,
            skipped=self.skipped - other.skipped,
            unknown=self.unknown - other.unknown,
            suspects=self.suspects - other.suspects,
        )


class EndInput(CampaignKey):
    """How a campaign ended. `failed` says why."""

    status: CampaignStatus
    failure_code: str | None = None
    failure_message: str | None = None


class TestKey(Message):
    """Which test push, and whose."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    project_id: UUID
    test_id: UUID


class SegmentPage(Message):
    """Which segments: so many of a project's, by their ids, from the first one after `after`."""

    project_id: UUID
    after: str | None
    limit: int


class SegmentIds(Message):
    """Segments by their ids, which are names that an operator gave and no secrets."""

    ids: Sequence[str]


class SegmentKey(Message):
    """Which segment, and whose."""

    project_id: UUID
    segment_id: str


class SegmentCounts(Message):
    """How many users a segment holds now, and how many of them are new, or left."""

    users: int
    entered: int
    left: int


class CampaignActivities:
    """What concerns a campaign as a whole. Task queue: `queues.MAIN`."""

    @activity.defn(name="begin_campaign")
    async def begin(self, key: CampaignKey) -> Begun:
        raise NotImplementedError

    @activity.defn(name="freeze_audience")
    async def freeze_audience(self, key: CampaignKey) -> Audience:
        raise NotImplementedError

    @activity.defn(name="stop_campaign")
    async def stop(self, end: EndInput) -> None:
        raise NotImplementedError

    @activity.defn(name="close_campaign")
    async def close(self, end: EndInput) -> None:
        raise NotImplementedError

    @activity.defn(name="finish_campaign")
    async def finish(self, key: CampaignKey) -> None:
        raise NotImplementedError


class BatchActivities:
    """Sending one batch. Task queue: `queues.of_lane`."""

    @activity.defn(name="send_batch")
    async def send_batch(self, batch: BatchInput) -> BatchResult:
        raise NotImplementedError


class TestPushActivities:
    """The one-off test push. Task queue: `queues.MAIN`."""

    __test__ = False

    @activity.defn(name="send_test_push")
    async def send_test_push(self, key: TestKey) -> None:
        raise NotImplementedError


class SegmentActivities:
    """The snapshot of who is in which segment. Task queue: `queues.SEGMENTS`."""

    @activity.defn(name="list_segments")
    async def list_segments(self, page: SegmentPage) -> SegmentIds:
        raise NotImplementedError

    @activity.defn(name="refresh_segment")
    async def refresh_segment(self, key: SegmentKey) -> SegmentCounts:
        raise NotImplementedError


class UpkeepActivities:
    """What keeps the system in order. Task queue: `queues.MAIN`."""

    @activity.defn(name="reconcile_campaigns")
    async def reconcile_campaigns(self) -> int:
        raise NotImplementedError

    @activity.defn(name="keep_tables")
    async def keep_tables(self) -> None:
        raise NotImplementedError

    @activity.defn(name="reconcile_refreshes")
    async def reconcile_refreshes(self) -> int:
        raise NotImplementedError
