"""Whether a campaign's rate holds, how evenly it is used, and what it costs: two workers, one rate.

    python -m bench.rates [--rate-limit 12000] [--tokens 19000] [--workers 2]

One campaign with a limit and one without, over the same stack. The moments are the simulator's: it
notes when it accepted each message. The limit is above 5,000 a minute, so the first minute is the
ramp, from 5 % of the limit in a line: 52.5 % of the limit in all. What processes use at rest is
measured first and taken off: the campaign with the limit lasts a hundred times as long.
"""

import argparse
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from bench import accounts, campaigns, records
from bench.records import Line
from fanfare.dev.api_client import ApiClient, NewProject
from fanfare.dev.processes import ChildProcess
from fanfare.dev.stack import Ports, Stack

MINUTE = 60.0
REST_SECONDS = 5.0
LOOK_SECONDS = 0.5
PAGE = 500

_CAMPAIGN = {"title": "Bench", "body": "How evenly?"}


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent; `rate_limit` is messages per minute."""

    rate_limit: int = 12_000
    tokens: int = 19_000
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Run:
    """A campaign that is through: when each message was accepted, in seconds from the first."""

    moments: Sequence[float]
    seconds: float
    cpu_us_per_message: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evenness:
    """Of a run with a limit. `steady_seconds` are those behind the ramp, as shares of a second's
    part of the limit; the first and the last one are not whole, and left out.
    """

    fullest_minute: float
    first_minute: float
    steady_seconds: Sequence[float]


def main() -> None:
    """Measure, print and keep it."""
    parser = argparse.ArgumentParser("bench.rates", description=__doc__)
    parser.add_argument("--rate-limit", type=int, default=12_000)
    parser.add_argument("--tokens", type=int, default=19_000)
    parser.add_argument("--workers", type=int, default=2)
    run(Load(**vars(parser.parse_args())))


def run(load: Load) -> Sequence[Line]:
    """Measure on a stack of its own, keep and print what came out."""
    with (
        TemporaryDirectory(prefix="fanfare-bench-") as home,
        Stack.running(Path(home), Ports.find(preferred=False), workers=load.workers) as stack,
    ):
        limited, free = measure(stack, load)
    even = evenness(limited.moments, load.rate_limit)
    figures = {
        "load": asdict(load),
        "evenness": asdict(even),
        "seconds": {"limited": limited.seconds, "free": free.seconds},
        "cpu_us_per_message": {
            "limited": limited.cpu_us_per_message,
            "free": free.cpu_us_per_message,
        },
    }
    records.keep("rates", figures)
    lines = _lines(even, limited, free)
    title = f"{load.tokens:,} messages, {load.rate_limit:,} a minute, workers: {load.workers}"
    print(records.table(title, lines))
    return lines


def measure(stack: Stack, load: Load) -> tuple[Run, Run]:
    """One campaign with the limit and one without, the other way round: the second is warm."""
    project = campaigns.project_with_devices(stack, load.tokens)
    at_rest = _at_rest(stack)
    free = _send(stack, project, load, None, at_rest)
    return _send(stack, project, load, load.rate_limit, at_rest), free


def evenness(moments: Sequence[float], rate_limit: int) -> Evenness:
    """What the moments say of the limit. They are in order, and begin at 0."""
    fullest = max(
        bisect_left(moments, begin + MINUTE) - index for index, begin in enumerate(moments)
    )
    by_second = Counter(int(moment) for moment in moments)
    steady = range(int(MINUTE) + 1, int(moments[-1]))
    return Evenness(
        fullest_minute=round(fullest / rate_limit, 4),
        first_minute=round(bisect_left(moments, MINUTE) / rate_limit, 4),
        steady_seconds=[round(by_second[n] * MINUTE / rate_limit, 3) for n in steady],
    )


def _send(
    stack: Stack,
    project: NewProject,
    load: Load,
    rate_limit: int | None,
    at_rest: Mapping[str, float],
) -> Run:
    httpx.delete(f"{stack.simulator_url}/ledger").raise_for_status()
    with ApiClient(stack.api_url, project.api_key) as api:
        campaign_id = api.create_campaign({**_CAMPAIGN, "rate_limit": rate_limit}).id
        before, began = accounts.cpu_seconds(_paying(stack)), time.monotonic()
        api.send_campaign(campaign_id)
        while not (campaign := api.campaign(campaign_id)).is_over:
            time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - began
    after = accounts.cpu_seconds(_paying(stack))
    if campaign.stats.sent != load.tokens:
        raise SystemExit(f"not all were sent: {campaign}")
    cpu = {
        name: round((after[name] - used - at_rest[name] * seconds) * 1e6 / load.tokens, 1)
        for name, used in before.items()
    }
    return Run(_moments(stack), round(seconds, 2), cpu)


def _paying(stack: Stack) -> Sequence[ChildProcess]:
    return [stack.postgres, *stack.workers]


def _at_rest(stack: Stack) -> Mapping[str, float]:
    """Seconds of CPU in a second in which nothing is sent."""
    before = accounts.cpu_seconds(_paying(stack))
    time.sleep(REST_SECONDS)
    after = accounts.cpu_seconds(_paying(stack))
    return {name: (after[name] - used) / REST_SECONDS for name, used in before.items()}


def _moments(stack: Stack) -> Sequence[float]:
    """When the simulator accepted each message of its ledger."""
    found: list[datetime] = []
    cursor: int | None = 0
    with httpx.Client(base_url=stack.simulator_url, trust_env=False) as simulator:
        while cursor is not None:
            asked = simulator.get("/ledger", params={"limit": PAGE, "cursor": cursor})
            page = asked.raise_for_status().json()
            found += [datetime.fromisoformat(entry["accepted_at"]) for entry in page["data"]]
            cursor = page["next_cursor"]
    return [(moment - found[0]).total_seconds() for moment in found]


def _lines(even: Evenness, limited: Run, free: Run) -> Sequence[Line]:
    lines = [
        ("seconds, with the limit; without", f"{limited.seconds:.1f}; {free.seconds:.1f}"),
        ("the fullest of any 60 s, of the limit", f"{even.fullest_minute:.3f} x"),
        ("the first 60 s, of the limit (0.525 is the ramp)", f"{even.first_minute:.3f} x"),
    ]
    if steady := even.steady_seconds:
        spread = f"{min(steady):.2f}, {records.p50(steady):.2f}, {max(steady):.2f} x"
        lines.append(("seconds after the ramp: least, p50, most", spread))
    for what, sent in (("with", limited), ("without", free)):
        cpu = sent.cpu_us_per_message
        figures = ", ".join(f"{name} {cpu[name]:.1f}" for name in cpu)
        lines.append((f"µs of CPU a message {what} the limit", figures))
    ratio = sum(limited.cpu_us_per_message.values()) / sum(free.cpu_us_per_message.values())
    return [*lines, ("with the limit, of what it costs without", f"{ratio:.2f} x")]


if __name__ == "__main__":
    main()
