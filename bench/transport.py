"""What a message costs the sender: Fanfare over both HTTP/2 engines, aioapns and firebase-admin.

    python -m bench.transport [--rounds 3]

All send the same text to the same sink (the simulator in a process of its own, over TLS) in
batches of 200, one after another, in turn. Each sender lives in its own process, and what is
counted is the user and system time of that process alone. Only figures of one run compare.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import uvloop

from bench import records
from bench.records import Line
from bench.transport_senders import CONTENDERS, Contender, Sink

# A limit of aioapns: it cannot wait for the 65,535 bytes that APNs lets be on the way.
BATCH = 200
WARM_UP = 200


@dataclass(frozen=True, slots=True)
class Score:
    """A sender's rounds in milliseconds of CPU per 1,000 messages, and their median's ratio."""

    sender: str
    rounds: Sequence[float]
    median: float
    times_ours: float


def main() -> None:
    """Measure all in turn, print the table and keep it."""
    parser = argparse.ArgumentParser("bench.transport", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    run(rounds)


def run(rounds: int) -> Sequence[Line]:
    """Measure all senders in turn so many times, keep and print what came out."""
    scores = _scores(_sample(rounds))
    print(_table(scores))
    print(f"\nkept in {_keep(scores)}")
    return [
        (score.sender, f"{score.median:.1f} µs a message, {score.times_ours:.1f} x ours")
        for score in scores
    ]


def _sample(rounds: int) -> Mapping[str, Sequence[float]]:
    with ExitStack() as stack:
        sink = stack.enter_context(_simulator())
        spawn = multiprocessing.get_context("spawn")
        workers = {
            name: stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn))
            for name in CONTENDERS
        }
        samples: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for number in range(rounds):
            # There and back, so that a machine that grows slower harms none in particular.
            for name in list(CONTENDERS)[:: 1 if number % 2 == 0 else -1]:
                samples[name].append(workers[name].submit(measure, name, sink).result())
    return samples


def measure(name: str, sink: Sink) -> float:
    """Run one round in this process: milliseconds of CPU per 1,000 messages."""
    return uvloop.run(_measure(CONTENDERS[name], sink))


async def _measure(contender: Contender, sink: Sink) -> float:
    # What begins otherwise may be one that the simulator refuses.
    tokens = [
        f"aa{uuid.uuid4().hex}{uuid.uuid4().hex}"[:64] for _ in range(WARM_UP + contender.messages)
    ]
    async with contender.open(sink) as send:
        await send(tokens[:WARM_UP])
        began = time.process_time()
        for start in range(WARM_UP, len(tokens), BATCH):
            await send(tokens[start : start + BATCH])
        spent = time.process_time() - began
    return spent / contender.messages * 1e6


@contextmanager
def _simulator() -> Iterator[Sink]:
    with TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "fanfare.dev.simulator", "--many-streams-at-once"]
        command += ["--port", "0", "--control-port", "0", "--directory", directory]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = orjson.loads(process.stdout.readline())
                yield Sink(line["url"], Path(directory))
            finally:
                process.terminate()


def _scores(samples: Mapping[str, Sequence[float]]) -> list[Score]:
    medians = {name: statistics.median(rounds) for name, rounds in samples.items()}
    ours: dict[str, float] = {}
    for name, contender in CONTENDERS.items():
        ours.setdefault(contender.lane, medians[name])
    return [
        Score(name, rounds, medians[name], medians[name] / ours[CONTENDERS[name].lane])
        for name, rounds in samples.items()
    ]


def _table(scores: Sequence[Score]) -> str:
    lines = [
        f"CPU of the sender on {os.cpu_count()} cores, Python {platform.python_version()}",
        f"{'':20} {'ms / 1,000':>12} {'x ours':>8}   all rounds",
    ]
    for score in scores:
        rounds = " ".join(f"{value:.1f}" for value in score.rounds)
        lines.append(f"{score.sender:20} {score.median:12.1f} {score.times_ours:8.1f}   {rounds}")
    return "\n".join(lines)


def _keep(scores: Sequence[Score]) -> Path:
    packages = ["ngh2", "h2", "aioapns", "firebase-admin", "httpx", "uvloop"]
    content = {
        "versions": {name: version(name) for name in packages},
        "batch": BATCH,
        "unit": "milliseconds of CPU per 1,000 messages",
        "scores": [asdict(score) for score in scores],
    }
    return records.keep("transport", content)


if __name__ == "__main__":
    main()
