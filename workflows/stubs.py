"""The activities' signatures, owned by the workflows that call them.

`activities/` implements these. One model goes in and one comes out; only ids, numbers, times and
counts, because all of it is kept in the workflow's history: never a token, title or body.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
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


class Standing(Message):
    """What the campaign's row says. `status` is None where the row is gone."""

    status: CampaignStatus | None = None
    is_paused: bool = False
    revision: int = 0
    scheduled_at: datetime | None = None
    is_bucketed: bool = False
    max_lateness: timedelta | None = None
    # Since when what was sent of it may be unknown to its ledger: the database was restored.
    in_doubt_since: datetime | None = None


class BeginInput(CampaignKey):
    """A campaign whose time has come, by this revision of its row."""

    revision: int | None = None


class Begun(Message):
    """Whether there is anything to send now; where there is not, what the row says."""

    to_send: bool
    standing: Standing | None = None


class BucketTimes(Message):
    """When a bucket's messages may go out, now or next: from `opens_at` up to `closes_at`."""

    number: int
    opens_at: datetime
    closes_at: datetime | None = None
    is_frozen: bool = False


class Plan(Message):
    """The buckets that have something to send, or may have. The rest is done, or past.

    `revision` is that of the row by which they were planned; None where it is gone. `is_begun`:
    whether the audience of any of the campaign's buckets was frozen.
    """

    buckets: Sequence[BucketTimes]
    revision: int | None = None
    is_begun: bool = False


class FreezeInput(CampaignKey):
    """Whose audience is to be frozen: a bucket's."""

    bucket: int = 0


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
    because its campaign is not sending any more. `unfinished`: it was given back for a while, and
    there is more of it to send.
    """

    stopped: bool = False
    unfinished: bool = False
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
    """How a campaign ended, by the revision that its run knows. `failed` says why."""

    revision: int | None = None

    status: CampaignStatus
    failure_code: str | None = None
    failure_message: str | None = None


class FinishInput(CampaignKey):
    """A campaign whose batches have all ended, as far as a run of this ledger knows.

    Names the ledger by the moment since which it is in doubt; None: never.
    """

    in_doubt_since: datetime | None = None


class Position(Message):
    """How far the database had come when somebody saw it; None: nobody did."""

    position: int | None = None


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

    @activity.defn(name="look_at_campaign")
    async def look(self, key: CampaignKey) -> Standing:
        raise NotImplementedError

    @activity.defn(name="plan_campaign")
    async def plan(self, key: CampaignKey) -> Plan:
        raise NotImplementedError

    @activity.defn(name="begin_campaign")
    async def begin(self, begin: BeginInput) -> Begun:
        raise NotImplementedError

    @activity.defn(name="freeze_audience")
    async def freeze_audience(self, freeze: FreezeInput) -> Audience:
        raise NotImplementedError

    @activity.defn(name="stop_campaign")
    async def stop(self, end: EndInput) -> None:
        raise NotImplementedError

    @activity.defn(name="close_campaign")
    async def close(self, end: EndInput) -> None:
        raise NotImplementedError

    @activity.defn(name="finish_campaign")
    async def finish(self, finish: FinishInput) -> Standing | None:
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


class RestoreActivities:
    """What guards a database that was restored. Task queue: `queues.MAIN`."""

    @activity.defn(name="check_database")
    async def check_database(self, seen: Position) -> Position:
        raise NotImplementedError
