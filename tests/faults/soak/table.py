"""The soak's last word: a table of its rounds, and every violation as a sentence."""

from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fanfare.dev.terminal import Terminal
from tests.faults.soak.judgement import Verdict
from tests.faults.soak.plan import Part

WIDTH = 124

Cell = Callable[[Verdict], float]

# Name, what a round shows, how the total comes of all, and the digits after the point.
COLUMNS: Sequence[tuple[str, Cell, Callable[[Iterator[float]], float], int]] = [
    ("worker", lambda v: v.kills[Part.WORKER_1] + v.kills[Part.WORKER_2], sum, 0),
    ("postgres", lambda v: v.kills[Part.POSTGRES], sum, 0),
    ("temporal", lambda v: v.kills[Part.TEMPORAL], sum, 0),
    ("api", lambda v: v.kills[Part.API], sum, 0),
    ("stop", lambda v: v.sleeps, sum, 0),
    ("cut", lambda v: v.cuts, sum, 0),
    ("audience", lambda v: v.audience, sum, 0),
    ("lost", lambda v: v.lost, sum, 0),
    ("twice", lambda v: v.twice, sum, 0),
    ("bound", lambda v: v.bound, sum, 0),
    ("unflagged", lambda v: v.unflagged, sum, 0),
    ("unknown", lambda v: v.unknown, sum, 0),
    ("stall", lambda v: v.longest_stall, lambda stalls: max(stalls, default=0.0), 1),
    ("seconds", lambda v: v.seconds, sum, 0),
]

LEGEND = (
    "worker, postgres, temporal, api: kill -9. stop: SIGSTOP beyond the heartbeat time-out.",
    "cut: connections reset. twice: devices that accepted more than once; bound: how many may.",
    "A round marked skip has on_unknown: skip. stall: the longest time without an acceptance.",
)


def show(terminal: Terminal, verdicts: Sequence[Verdict]) -> None:
    """The table with its total, then what does not hold, round by round."""
    terminal.say()
    # A log has no width, and a narrow terminal wraps: better than cells that are cut short.
    terminal.console.width = max(terminal.console.width, WIDTH)
    terminal.console.print(Padding.indent(table(verdicts), 2))
    terminal.say()
    for line in LEGEND:
        terminal.note(line)
    for sentence in sentences(verdicts):
        terminal.say(Text.assemble(("  ✗ ", "bold red"), sentence))


def table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each round, and their total: sums, and the longest of the stalls."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    made.add_column("round", no_wrap=True)
    for name, *_ in COLUMNS:
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("")
    for verdict in verdicts:
        name = f"{verdict.number} skip" if verdict.is_careful else str(verdict.number)
        made.add_row(name, *_cells([verdict]), _mark([verdict]))
    made.add_section()
    made.add_row("all", *_cells(verdicts), _mark(verdicts))
    return made


def sentences(verdicts: Sequence[Verdict]) -> Sequence[str]:
    """Every violation, with its round."""
    return [
        f"round {verdict.number}: {violation}"
        for verdict in verdicts
        for violation in verdict.violations
    ]


def _cells(verdicts: Sequence[Verdict]) -> Iterator[Text]:
    for _, cell, total, digits in COLUMNS:
        value = total(cell(verdict) for verdict in verdicts)
        yield Text("·", "dim") if value == 0 else Text(f"{value:,.{digits}f}")


def _mark(verdicts: Sequence[Verdict]) -> Text:
    return Text("✗", "bold red") if sentences(verdicts) else Text("✓", "green")
