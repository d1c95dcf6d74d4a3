"""How quickly the API answers while a campaign of 200,000 is sent, and when all is quiet again.

    python -m bench.api [--tokens 200000]

A client in a process of its own asks for the campaign and creates a draft (with an
Idempotency-Key of its own) ten times a second each, one after the other, over one connection.
Its own work is in the figures: a millisecond or so.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import httpx

from bench import campaigns, records
from bench.records import Line
from fanfare.dev.api_client import ApiClient
from fanfare.dev.stack import Ports, Stack

# How often each of the two is asked, and how often once all is quiet.
EVERY_SECONDS = 0.1
QUIET_ROUNDS = 100

_OVER = {"sent", "failed", "cancelled"}


@dataclass(frozen=True, slots=True)
class Door:
    """Where the client asks, and for what."""

    url: str
    key: str
    campaign_id: UUID


@dataclass(frozen=True, slots=True)
class Waits:
    """How long each answer took, in milliseconds."""

    get: list[float] = field(default_factory=list)
    create: list[float] = field(default_factory=list)


def main() -> None:
    """Measure, print and keep it."""
    parser = argparse.ArgumentParser("bench.api", description=__doc__)
    parser.add_argument("--tokens", type=int, default=200_000)
    run(parser.parse_args().tokens)


def run(tokens: int) -> Sequence[Line]:
    """Ask a stack of its own under load and at rest, keep and print what came out."""
    with (
        TemporaryDirectory(prefix="fanfare-bench-") as home,
        Stack.running(Path(home), Ports.find(preferred=False)) as stack,
    ):
        loaded, quiet = measure(stack, tokens)
    waits = {"sending": asdict(loaded), "quiet": asdict(quiet)}
    records.keep("api", {"tokens": tokens, "every_seconds": EVERY_SECONDS, "waits_ms": waits})
    lines = [_line("GET campaign", loaded.get, quiet.get)]
    lines += [_line("create with an Idempotency-Key", loaded.create, quiet.create)]
    print(records.table(f"The API while {tokens:,} messages are sent", lines))
    return lines


def measure(stack: Stack, tokens: int, *, quiet_rounds: int = QUIET_ROUNDS) -> tuple[Waits, Waits]:
    """The client's waits while a campaign is sent, and after."""
    project = campaigns.project_with_devices(stack, tokens)
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn) as client,
        ApiClient(stack.api_url, project.api_key) as api,
    ):
        # Its start takes a second, which is not to fall into the campaign.
        client.submit(time.monotonic).result()
        door = Door(stack.api_url, project.api_key, campaigns.begin(api))
        loaded = client.submit(watch_to_the_end, door).result()
        if (campaign := api.campaign(door.campaign_id)).stats.sent != tokens:
            raise SystemExit(f"not all were sent: {campaign}")
        quiet = client.submit(watch, door, quiet_rounds).result()
    return loaded, quiet


def watch_to_the_end(door: Door) -> Waits:
    """Ask until the campaign is over."""
    waits = Waits()
    with _open(door) as client:
        for _ in _ticks():
            if _ask_both(client, door, waits) in _OVER:
                return waits
    raise AssertionError("ticks never end")


def watch(door: Door, rounds: int) -> Waits:
    """Ask so many times."""
    waits = Waits()
    with _open(door) as client:
        for _ in zip(range(rounds), _ticks(), strict=False):
            _ask_both(client, door, waits)
    return waits


def _open(door: Door) -> httpx.Client:
    headers = {"Authorization": f"Bearer {door.key}"}
    return httpx.Client(base_url=door.url, headers=headers, timeout=60, trust_env=False)


def _ticks() -> Iterator[None]:
    """One now and one each tenth of a second; those that were missed do not come in a crowd."""
    next_at = time.monotonic()
    while True:
        yield
        next_at = max(next_at + EVERY_SECONDS, time.monotonic())
        time.sleep(max(0.0, next_at - time.monotonic()))


def _ask_both(client: httpx.Client, door: Door, waits: Waits) -> str:
    """The campaign's status."""
    seen = _timed(waits.get, lambda: client.get(f"/admin/push/{door.campaign_id}"))
    draft = {"title": "Draft", "body": "Not to be sent."}
    headers = {"Idempotency-Key": str(uuid4())}
    _timed(waits.create, lambda: client.post("/admin/push", json=draft, headers=headers))
    return str(seen.json()["data"]["status"])


def _timed(waits: list[float], ask: Callable[[], httpx.Response]) -> httpx.Response:
    asked = time.perf_counter()
    answer = ask().raise_for_status()
    waits.append((time.perf_counter() - asked) * 1000)
    return answer


def _line(what: str, loaded: Sequence[float], quiet: Sequence[float]) -> Line:
    under_load = f"p50 {records.p50(loaded):.1f} ms, p99 {records.p99(loaded):.1f} ms"
    at_rest = f"p50 {records.p50(quiet):.1f} ms, p99 {records.p99(quiet):.1f} ms"
    ratio = records.p50(loaded) / records.p50(quiet)
    return what, f"{under_load}; at rest {at_rest}; {ratio:.1f} x"


if __name__ == "__main__":
    main()
