"""Whether workers add up: the same campaign through one and through two, far from the provider.

    python -m bench.workers [--rounds 3] [--tokens 60000] [--latency-ms 50] [--in-flight 50]

The simulator answers after 50 ms, and a worker may have 50 messages on the wire with each of the
two credentials: so 2 x 50 / 0.05 s = 2,000 messages a second are all that one worker can do (a
claim's own milliseconds count too), and it waits for most of a core's time. That is the case in
which more workers help; with the limits of a fresh credential (2,000 in flight) the bound is 80,000
a second, the processor comes first, and two workers that share its cores are no quicker than one.

A worker has 4 batches of each provider at once, where 16 are usual: of the 16 that a campaign has
under way, one worker may otherwise hold nearly all, and end long after the other. In a campaign of
some hundred batches that evens out; this one is small, to be over in seconds.

One stack with one worker and one with two stand side by side and send in turn.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import accounts, campaigns, records
from bench.records import Line
from fanfare.dev.api_client import NewProject
from fanfare.dev.stack import Ports, Stack

WORKERS = (1, 2)
LANES = 2
BATCHES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Load:
    """What each round sends; `in_flight` is for each credential and worker."""

    rounds: int = 3
    tokens: int = 60_000
    latency_ms: int = 50
    in_flight: int = 50

    @property
    def bound(self) -> float:
        """What latency lets one worker send in a second."""
        return LANES * self.in_flight * 1000 / self.latency_ms


@dataclass(frozen=True, slots=True)
class Round:
    """One campaign. `cores` is how many of them its workers kept busy."""

    seconds: float
    messages_per_second: int
    cores: float


class StackOfFewBatches(Stack):
    """A stack whose workers take so few batches at once that they share them evenly."""

    def _worker_environment(self) -> Mapping[str, str]:
        return {**super()._worker_environment(), "FANFARE_BATCHES_AT_ONCE": str(BATCHES_AT_ONCE)}


@dataclass(frozen=True, slots=True)
class Site:
    """A stack of its own, with a project that is ready to be sent to."""

    stack: Stack
    project: NewProject

    def send(self, load: Load) -> Round:
        """Send one campaign to everyone."""
        before = _cpu_seconds(self.stack)
        run = campaigns.send(self.stack, self.project, load.tokens)
        cores = (_cpu_seconds(self.stack) - before) / run.seconds
        speed = round(load.tokens / run.seconds)
        return Round(round(run.seconds, 2), speed, round(cores, 2))


def main() -> None:
    """Measure, print the ratio and keep it."""
    parser = argparse.ArgumentParser("bench.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--latency-ms", type=int, default=50)
    parser.add_argument("--in-flight", type=int, default=50)
    run(Load(**vars(parser.parse_args())))


def run(load: Load) -> Sequence[Line]:
    """Send the rounds in turn, keep and print what came out."""
    rounds: dict[int, list[Round]] = {workers: [] for workers in WORKERS}
    with ExitStack() as stack:
        sites = {workers: stack.enter_context(_site(workers, load)) for workers in WORKERS}
        for number in range(load.rounds):
            # There and back, so that a machine that grows slower harms neither in particular.
            for workers in WORKERS[:: 1 if number % 2 == 0 else -1]:
                rounds[workers].append(sites[workers].send(load))
    ratio = _speed(rounds[2]) / _speed(rounds[1])
    records.keep(
        "workers",
        {
            "load": asdict(load),
            "bound": load.bound,
            "ratio": ratio,
            "rounds": {str(workers): list(map(asdict, rounds[workers])) for workers in WORKERS},
        },
    )
    lines = _lines(load, rounds, ratio)
    title = f"{load.tokens:,} messages, latency {load.latency_ms} ms, {load.in_flight} in flight"
    print(records.table(title, lines))
    return lines


@contextmanager
def _site(workers: int, load: Load) -> Iterator[Site]:
    with (
        TemporaryDirectory(prefix="fanfare-bench-") as home,
        StackOfFewBatches.running(
            Path(home), Ports.find(preferred=False), workers=workers
        ) as stack,
    ):
        project = campaigns.project_with_devices(stack, load.tokens)
        campaigns.limit_in_flight(stack, project, load.in_flight)
        campaigns.answer_after(stack, load.latency_ms)
        yield Site(stack, project)


def _cpu_seconds(stack: Stack) -> float:
    return sum(accounts.cpu_seconds(stack.workers).values())


def _speed(rounds: Sequence[Round]) -> float:
    return records.p50([one.messages_per_second for one in rounds])


def _lines(load: Load, rounds: Mapping[int, Sequence[Round]], ratio: float) -> Sequence[Line]:
    lines = [("latency's bound on one worker, messages a second", f"{load.bound:,.0f}")]
    for workers in WORKERS:
        speeds = ", ".join(f"{one.messages_per_second:,}" for one in rounds[workers])
        cores = records.p50([one.cores for one in rounds[workers]])
        lines.append((f"workers: {workers}; messages a second, all rounds", speeds))
        lines.append((f"workers: {workers}; cores that they kept busy", f"{cores:.2f}"))
    return [*lines, ("two workers against one", f"{ratio:.2f} x")]


if __name__ == "__main__":
    main()
