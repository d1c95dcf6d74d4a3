"""Plans as the database keeps them, in memory, by the clock of the server that a workflow runs on.

Scenes have dates of their own, whenever they are played: between the server's clock and the
scene's lies a fixed time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from temporalio.testing import WorkflowEnvironment

from fanfare.entities import Timing
from fanfare.models import DeliveryMode, PastPolicy
from fanfare.schedule import PlannedBucket, common_interval
from fanfare.turns import turns_of
from tests.workflows.fakes import FakeActivities
from workflows.stubs import BucketTimes, Plan

MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass
class Scene:
    """A campaign of users in some zones, which was armed when the scene begins.

    `fan_out` says what happens to it; what it noted is read by the scene's clock.
    """

    fan_out: FakeActivities
    timing: Timing
    zones: Sequence[str]
    armed_at: datetime
    shift: timedelta
    # By their numbers; one that was planned once keeps it.
    buckets: list[PlannedBucket] = field(default_factory=list)

    def plan(self, server_now: datetime) -> Plan:
        """What the activity answers: a bucket that was frozen stays, one that is past does not."""
        now = server_now - self.shift
        self.buckets += [turn for turn in self._turns() if turn not in self.buckets]
        numbered = enumerate(self.buckets)
        left = [(number, turn) for number, turn in numbered if self._is_left(number, turn, now)]
        return Plan(
            buckets=[self._times(number, turn, now) for number, turn in left],
            is_begun=bool(self.fan_out.frozen_at),
        )

    def fired(self) -> Mapping[tuple[str, ...], datetime]:
        """At which minute the audience of which zones was frozen."""
        frozen_at = self.fan_out.frozen_at
        return {
            self.buckets[number].timezones or (): self.shown(moment)
            for number, moment in frozen_at.items()
        }

    def shown(self, server_time: datetime) -> datetime:
        """The scene's clock then, to the minute."""
        return (server_time - self.shift).replace(second=0, microsecond=0)

    def _turns(self) -> Sequence[PlannedBucket]:
        if self.fan_out.frozen_at and self.timing.delivery_mode is DeliveryMode.INSTANT:
            # It is frozen as a whole.
            return () if self.buckets else (PlannedBucket(self.armed_at, None, None),)
        return turns_of(self.timing, self.zones, armed_at=self.armed_at)

    def _is_left(self, number: int, turn: PlannedBucket, now: datetime) -> bool:
        timing = self.timing
        is_late = now - turn.fires_at > timing.max_lateness
        is_skipped = (
            timing.delivery_mode is DeliveryMode.LOCAL_TIME
            and timing.past_policy is PastPolicy.SKIP
        )
        return number in self.fan_out.frozen_at or not (is_late and is_skipped)

    def _times(self, number: int, turn: PlannedBucket, now: datetime) -> BucketTimes:
        is_frozen = number in self.fan_out.frozen_at
        opens_at, closes_at = (
            self._hours(turn, now) if is_frozen else (turn.fires_at, turn.closes_at)
        )
        return BucketTimes(
            number=number,
            opens_at=opens_at + self.shift,
            closes_at=None if closes_at is None else closes_at + self.shift,
            is_frozen=is_frozen,
        )

    def _hours(self, turn: PlannedBucket, now: datetime) -> tuple[datetime, datetime | None]:
        """When a frozen one may go out, by the window as it is now."""
        if self.timing.window is None:
            return turn.fires_at, None
        at = max(now, turn.fires_at)
        interval = common_interval(self.timing.window, turn.timezones or (), at)
        return interval.opens_at, interval.closes_at


async def scene(
    env: WorkflowEnvironment,
    fan_out: FakeActivities,
    timing: Timing,
    zones: Sequence[str],
    *,
    begins: str,
) -> Scene:
    """A campaign that is scheduled at that moment of the scene, in UTC, which is now."""
    begins_at = utc(begins)
    shift = await env.get_current_time() - begins_at
    made = Scene(fan_out, timing, zones, begins_at, shift)
    fan_out.on_plan = made.plan
    return made
