"""python -m tests.faults.soak [--kills N] [--seed N] [--tokens N]

Campaigns under random kills of every part, each judged by the oracle, with a table at the end.
"""

import argparse
import io
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fanfare.dev.processes import ChildProcess, StackProblem
from fanfare.dev.starting import NAMES
from fanfare.dev.terminal import Terminal
from tests.faults.soak import plan, scene, table
from tests.faults.soak.campaigns import Load
from tests.faults.soak.judgement import Verdict
from tests.faults.soak.plan import Round
from tests.faults.soak.rounds import Soak

INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended
KILLS_A_ROUND = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done; the same again breaks the same things again."""

    kills: int
    seed: int
    tokens: int

    @property
    def command(self) -> str:
        return f"make soak KILLS={self.kills} SEED={self.seed} TOKENS={self.tokens}"


def main() -> int:
    """Soak. 0 where everything held, 1 where it did not."""
    asked = _asked()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A check mark is no reason to fail where the locale has none.
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    terminal = Terminal()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C does it: what was started is ended on the way out.
        signal.signal(number, signal.default_int_handler)
    terminal.title("Fanfare soak", f"seed {asked.seed}, {asked.kills} kills: {asked.command}")
    home = Path(tempfile.mkdtemp(prefix="fanfare-soak-"))
    try:
        return _soak(terminal, asked, home)
    except KeyboardInterrupt:
        terminal.note(f"Interrupted. Nothing is left running. The logs are in {home / 'logs'}")
        return INTERRUPTED
    except (StackProblem, OSError) as problem:
        terminal.problem(f"{problem}\nThe logs are in {home / 'logs'}")
        return 1


def _soak(terminal: Terminal, asked: Asked, home: Path) -> int:
    rounds = plan.draw(asked.seed, asked.kills, kills_a_round=KILLS_A_ROUND)
    verdicts: list[Verdict] = []
    try:
        _play(terminal, rounds, Load(asked.tokens), home, verdicts)
    finally:
        if verdicts:
            table.show(terminal, verdicts)
            terminal.note(f"seed {asked.seed}; the same again: {asked.command}")
    if table.sentences(verdicts):
        terminal.note(f"The logs are in {home / 'logs'}")
        return 1
    shutil.rmtree(home, ignore_errors=True)
    terminal.done("Nobody lost, nobody twice without a flag or beyond the bound")
    return 0


def _play(
    terminal: Terminal, rounds: Sequence[Round], load: Load, home: Path, verdicts: list[Verdict]
) -> None:
    terminal.section("Starting")
    began = time.monotonic()

    def say(line: str) -> None:
        terminal.say(f"  {time.monotonic() - began:6.1f} s  {line}")

    def on_ready(part: ChildProcess) -> None:
        name = NAMES.get(part.name, part.name)
        terminal.done(name, seconds=time.monotonic() - began)

    with scene.running(home, on_ready) as (stack, cut):
        terminal.section("Sending", f"{len(rounds)} rounds of {load.size:,}")
        Soak(stack, load, cut, say, verdicts).play(rounds)


def _asked() -> Asked:
    parser = argparse.ArgumentParser("tests.faults.soak", description="Campaigns under kills.")
    parser.add_argument("--kills", type=_positive, default=30, help="in all, ten a round")
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    parser.add_argument("--tokens", type=_positive, default=20_000, help="devices in each round")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    return Asked(given.kills, seed, given.tokens)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
