"""`make demo`: the whole system on one machine, three campaigns, and an audit of every message.

The seed knows what must become of each device, Fanfare says what it did, and the simulated
providers say what reached them. The demonstration succeeds where the three agree.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fanfare.dev.api_client import ApiClient, Campaign
from fanfare.dev.processes import StackProblem
from fanfare.dev.project import CAMPAIGN, SEGMENT, import_seed, register
from fanfare.dev.reconciliation import (
    Device,
    Expected,
    Reconciliation,
    read_account,
    reconcile,
)
from fanfare.dev.seed import Fate, Seed, SeedUser
from fanfare.dev.stack import Ports, Stack
from fanfare.dev.starting import start_aloud
from fanfare.dev.terminal import Terminal

SCHEDULED_IN = timedelta(seconds=5)
CAMPAIGN_LIMIT = timedelta(seconds=120)
SECONDS_BETWEEN_LOOKS = 0.1

BROADCAST: Mapping[str, object] = {
    "name": "hello-everyone",
    "title": "Hello!",
    "body": "Version 4.2 is here.",
    "data": {"screen": "news", "version": {"major": 4, "minor": 2}},
}
SCHEDULED: Mapping[str, object] = {
    "name": "evening-reminder",
    "title": "Five minutes are enough",
    "body": "Keep your streak alive today.",
}


def run(terminal: Terminal, *, users: int, tokens: int) -> bool:
    """Run the demonstration. Whether all accounts agree; nothing is left running or on disk.

    Raises StackProblem where it cannot be run to its end.
    """
    began = time.monotonic()
    terminal.title(
        "Fanfare demo", "Everything is real and runs here; only Apple and Google are not."
    )
    with ExitStack() as stack_of_one_run:
        enter = stack_of_one_run.enter_context
        home = enter(tempfile.TemporaryDirectory(prefix="fanfare-", ignore_cleanup_errors=True))
        stack = enter(start_aloud(terminal, Path(home), Ports.find(preferred=False)))
        demo = _prepare(terminal, stack, Seed(users, tokens, datetime.now(UTC)))
        enter(demo.api)
        _campaigns(demo)
        _farewell(demo)
    seconds = time.monotonic() - began
    return _verdict(demo, seconds)


@dataclass(slots=True)
class _Demo:
    """One run: its parts, and what it knows so far. `gone` are devices found dead before."""

    terminal: Terminal
    stack: Stack
    seed: Seed
    people: Sequence[SeedUser]
    api: ApiClient
    gone: set[Device] = field(default_factory=set)
    over: list[tuple[Campaign, Reconciliation]] = field(default_factory=list)

    def expected(self, *, inactive_only: bool) -> Expected:
        """What the next campaign must come to."""
        tokens = [
            token
            for user in self.people
            if not inactive_only or user.is_inactive(self.seed.now)
            for token in user.tokens
        ]
        return Expected.of(tokens, without=self.gone)


def _prepare(terminal: Terminal, stack: Stack, seed: Seed) -> _Demo:
    terminal.section("Project")
    began = time.monotonic()
    project = register(stack, "Demo")
    terminal.done("project, APNs key, FCM service account", seconds=time.monotonic() - began)
    api = ApiClient(stack.api_url, project.api_key)
    began = time.monotonic()
    with terminal.counting("importing users", seed.users) as count:
        import_seed(api, seed, count)
    imported = f"{seed.users:,} users with {seed.tokens:,} devices imported"
    terminal.done(imported, seconds=time.monotonic() - began)
    people = list(seed.people())
    terminal.note(f"  {_shares(people)}")
    api.create_segment(SEGMENT)
    terminal.done(f"segment {SEGMENT['id']}: not seen for 7 days")
    return _Demo(terminal, stack, seed, people, api)


def _shares(people: Sequence[SeedUser]) -> str:
    fates = [token.fate for user in people for token in user.tokens]
    dead, throttled = fates.count(Fate.DEAD), fates.count(Fate.THROTTLED)
    return (
        f"{dead:,} of the devices are gone: the first campaign finds that out, the next leave them "
        f"out. {throttled:,} will be throttled at first"
    )


def _campaigns(demo: _Demo) -> None:
    demo.terminal.section("1 of 3", "a broadcast to every device")
    _send_now(demo, BROADCAST, demo.expected(inactive_only=False))
    demo.terminal.section("2 of 3", f"{CAMPAIGN['name']}, to the segment {SEGMENT['id']}")
    _send_now(demo, CAMPAIGN, demo.expected(inactive_only=True))
    seconds = SCHEDULED_IN.seconds
    demo.terminal.section("3 of 3", f"a campaign scheduled {seconds} seconds ahead")
    _send_at(demo, SCHEDULED, datetime.now(UTC) + SCHEDULED_IN, demo.expected(inactive_only=False))


def _send_now(demo: _Demo, campaign: Mapping[str, object], expected: Expected) -> None:
    created = demo.api.create_campaign(campaign)
    _audit(demo, demo.api.send_campaign(created.id), expected)


def _send_at(
    demo: _Demo, campaign: Mapping[str, object], moment: datetime, expected: Expected
) -> None:
    scheduled = {**campaign, "scheduled_at": moment.isoformat()}
    _audit(demo, demo.api.create_campaign(scheduled), expected)


def _audit(demo: _Demo, campaign: Campaign, expected: Expected) -> None:
    over = _follow(demo, campaign)
    found = reconcile(expected, over, read_account(demo.stack.simulator_url, str(over.id)))
    demo.terminal.reconciliation(found)
    demo.gone |= expected.dead
    demo.over.append((over, found))


def _follow(demo: _Demo, campaign: Campaign) -> Campaign:
    """Watch it until it is over. Raises StackProblem where that takes too long."""
    limit = time.monotonic() + CAMPAIGN_LIMIT.total_seconds()
    with demo.terminal.following(campaign.name) as look:
        while not campaign.is_over:
            if time.monotonic() > limit:
                raise StackProblem(f"{campaign.name} is still {campaign.status}: {campaign.stats}")
            demo.stack.check()
            time.sleep(SECONDS_BETWEEN_LOOKS)
            campaign = demo.api.campaign(campaign.id)
            look(campaign)
    return campaign


def _farewell(demo: _Demo) -> None:
    demo.terminal.section(
        "Where this was to be seen", "gone with the demo; `make dev` has pages that stay"
    )
    pages = {over.name: demo.stack.workflow_url(str(over.id)) for over, _ in demo.over}
    simulator = f"{demo.stack.simulator_url}/"
    demo.terminal.pairs({**pages, "API docs": f"{demo.stack.api_url}/docs", "phones": simulator})


def _verdict(demo: _Demo, seconds: float) -> bool:
    differing = sum(len(found.discrepancies) for _, found in demo.over)
    sent = sum(over.stats.sent for over, _ in demo.over)
    if differing:
        demo.terminal.problem(
            f"{differing} discrepancies, in {seconds:.0f} s. They are named above."
        )
        return False
    demo.terminal.section("All accounts agree")
    demo.terminal.done(f"{sent:,} messages in three campaigns, each exactly once", seconds=seconds)
    return True
