"""How the commands speak: lines, bars and tables on a terminal, plain lines in a log."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
)
from rich.table import Table
from rich.text import Text

from fanfare.dev.api_client import Campaign
from fanfare.dev.reconciliation import Reconciliation, Row

LABEL_WIDTH = 14
NAME_WIDTH = 16
STEP_WIDTH = 58
BAR_WIDTH = 20

# In a log a line every so often says that it goes on.
SECONDS_BETWEEN_LINES = 2.0

Follow: TypeAlias = Callable[[Campaign], None]


class Terminal:
    """One voice for both commands. Whether there is a screen decides how much moves."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    def title(self, text: str, subtitle: str) -> None:
        """The first two lines."""
        self.say()
        self.say(Text(f"  {text}", "bold"))
        self.say(Text(f"  {subtitle}", "dim"))

    def section(self, text: str, detail: str = "") -> None:
        """What comes next, after an empty line."""
        self.say()
        line = Text.assemble("  ", (text, "bold"), "  ", (detail, "dim"))
        line.rstrip()
        self.say(line)

    def done(self, what: str, *, seconds: float | None = None) -> None:
        """A step that went well, and how long it took."""
        line = Text.assemble(("  ✓ ", "green"), what)
        if seconds is not None:
            line.append(f"{seconds:{STEP_WIDTH - len(what)}.1f} s", "dim")
        self.say(line)

    def note(self, text: str) -> None:
        """A remark."""
        self.say(Text(f"  {text}", "dim"))

    def problem(self, text: str) -> None:
        """What went wrong, in full."""
        self.say()
        first, *rest = text.splitlines()
        self.say(Text.assemble(("  ✗ ", "bold red"), (first, "bold")))
        for line in rest:
            self.say(Text(f"    {line}"))

    def pairs(self, rows: Mapping[str, str]) -> None:
        """Names and addresses, aligned; an address is never broken."""
        width = max(LABEL_WIDTH, *(len(name) + 2 for name in rows))
        for name, value in rows.items():
            self.say(Text.assemble((f"  {name.ljust(width)}", "dim"), value))

    def verbatim(self, lines: Sequence[str]) -> None:
        """Something to copy."""
        for line in lines:
            self.say(Text(line, "cyan"))

    def reconciliation(self, found: Reconciliation) -> None:
        """The three accounts side by side, then what differs."""
        self.say()
        self.console.print(Padding.indent(_table(found.rows), 2))
        self.say()
        if not found.discrepancies:
            self.done("Apple and Google accepted exactly the expected devices")
        for sentence in found.discrepancies:
            self.say(Text.assemble(("  ✗ ", "bold red"), sentence))

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar that each call moves on by one, gone at the end; nothing in a log."""
        if not self.console.is_terminal:
            yield lambda: None
            return
        with self._progress(transient=True) as progress:
            task = progress.add_task(what, total=total, state=f"of {total:,}")
            yield lambda: progress.advance(task)

    @contextmanager
    def following(self, name: str) -> Iterator[Follow]:
        """A bar that each look at the campaign moves; in a log, a line now and then."""
        if not self.console.is_terminal:
            yield _LogFollower(self.say)
            return
        with self._progress(transient=False) as progress:
            task = progress.add_task(name.ljust(NAME_WIDTH), total=None, state="")
            yield lambda campaign: _move(progress, task, campaign)

    def _progress(self, *, transient: bool) -> Progress:
        return Progress(
            TextColumn(" "),
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(BAR_WIDTH, complete_style="cyan", finished_style="green"),
            TextColumn("[dim]{task.fields[state]}"),
            console=self.console,
            transient=transient,
            refresh_per_second=15,
        )

    def say(self, line: Text | str = "") -> None:
        """A line as it is, by itself an empty one; the terminal wraps it, not we."""
        self.console.print(line, soft_wrap=True)


class _LogFollower:
    """Writes a line when the campaign's status changes, and now and then between."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._status = ""
        self._line = ""
        self._said_at = 0.0

    def __call__(self, campaign: Campaign) -> None:
        now = time.monotonic()
        line = f"  . {campaign.name}: {campaign.status}, {_state(campaign)}".removesuffix(", ")
        is_early = now - self._said_at < SECONDS_BETWEEN_LINES
        if line == self._line or (campaign.status == self._status and is_early):
            return
        self._status, self._line, self._said_at = campaign.status, line, now
        self.say(line)


def _move(progress: Progress, task: TaskID, campaign: Campaign) -> None:
    stats = campaign.stats
    done = (stats.audience or 0) - stats.pending
    progress.update(
        task, total=stats.audience, completed=done, state=_state(campaign) or campaign.status
    )


def _state(campaign: Campaign) -> str:
    stats = campaign.stats
    if stats.audience is None:
        return ""
    return f"{stats.sent:,} sent, {stats.failed:,} failed of {stats.audience:,}"


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.add_column("", min_width=26)
    for source in ("Expected", "Fanfare", "Providers"):
        table.add_column(source, justify="right", min_width=10)
    table.add_column("")
    for row in rows:
        counts = [_count(count) for count in (row.seed, row.fanfare, row.providers)]
        mark = Text("✓", "green") if row.agrees else Text("✗", "bold red")
        table.add_row(row.name, *counts, mark)
    return table


def _count(count: int | None) -> Text:
    if count is None:
        return Text("·", "dim")
    return Text(f"{count:,}", "dim" if count == 0 else "")
