"""A whole campaign through every process of one machine: how many a second, and who pays.

    python -m bench.pipeline [--tokens 200000] [--workers 1] [--latency-ms 0]

Half of the devices are APNs', half FCM's, all are accepted, the ledger is on, and nothing limits
the credentials. CPU is user and system time by process, from just before /send to the status
`sent`, while the API is asked for the campaign ten times a second.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from temporalio.client import Client

from bench import accounts, campaigns, records
from bench.campaigns import Run
from bench.records import Line
from fanfare.dev.stack import Ports, Stack
from workflows import starter


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent, by how many workers, to a provider that answers after so many ms."""

    tokens: int = 200_000
    workers: int = 1
    latency_ms: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """One campaign's figures; CPU in microseconds a message, memory in MiB, by process.

    `rows_written` are inserted, updated and deleted ones.
    """

    load: Load
    seconds: float
    messages_per_second: int
    cpu_us_per_message: Mapping[str, float]
    peak_mebibytes: Mapping[str, int]
    statements_per_1000: float
    rows_written_per_message: float
    wal_bytes_per_message: float
    ledger_bytes_per_message: float
    history_events: int


def main() -> None:
    """Run one campaign, print its figures and keep them."""
    parser = argparse.ArgumentParser("bench.pipeline", description=__doc__)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--latency-ms", type=int, default=0)
    run(Load(**vars(parser.parse_args())))


def run(load: Load) -> Sequence[Line]:
    """Measure one campaign on a stack of its own, keep and print its figures."""
    with (
        TemporaryDirectory(prefix="fanfare-bench-") as home,
        Stack.running(Path(home), Ports.find(preferred=False), workers=load.workers) as stack,
    ):
        report = measure(stack, load)
    records.keep(f"pipeline-{load.tokens}-{load.workers}w-{load.latency_ms}ms", asdict(report))
    lines = _lines(report)
    title = f"{load.tokens:,} messages, workers: {load.workers}, latency: {load.latency_ms} ms"
    print(records.table(title, lines))
    return lines


def measure(stack: Stack, load: Load) -> Report:
    """Send one broadcast over the running stack, which has no workers any more after it."""
    accounts.count_statements(stack)
    project = campaigns.project_with_devices(stack, load.tokens)
    if load.latency_ms:
        campaigns.answer_after(stack, load.latency_ms)
    before = _Reading.of(stack)
    with accounts.MemoryWatch(stack.parts) as memory:
        sent = campaigns.send(stack, project, load.tokens)
    after = _Reading.of(stack)
    return _report(stack, load, sent, _Spent(before, after, memory.peaks))


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the processes and PostgreSQL had spent at one moment."""

    cpu_seconds: Mapping[str, float]
    statements: int
    wal_bytes: int
    rows_written: int

    @classmethod
    def of(cls, stack: Stack) -> "_Reading":
        return cls(
            accounts.cpu_seconds(stack.parts),
            accounts.statements(stack),
            accounts.wal_bytes(stack),
            accounts.rows_written(stack),
        )


@dataclass(frozen=True, slots=True)
class _Spent:
    before: _Reading
    after: _Reading
    peak_mebibytes: Mapping[str, int]

    def cpu_us(self, messages: int) -> Mapping[str, float]:
        """By process, for each message."""
        before, after = self.before.cpu_seconds, self.after.cpu_seconds
        return {
            name: round((after[name] - used) * 1e6 / messages, 1) for name, used in before.items()
        }


def _report(stack: Stack, load: Load, sent: Run, spent: _Spent) -> Report:
    before, after, tokens = spent.before, spent.after, load.tokens
    history_events = asyncio.run(_history_events(stack, sent.campaign.id))
    # A server process tells what it wrote when it ends, or a while later.
    for worker in stack.workers:
        worker.stop()
    written = accounts.rows_written(stack) - before.rows_written
    return Report(
        load=load,
        seconds=round(sent.seconds, 2),
        messages_per_second=round(tokens / sent.seconds),
        cpu_us_per_message=spent.cpu_us(tokens),
        peak_mebibytes=spent.peak_mebibytes,
        statements_per_1000=round((after.statements - before.statements) * 1000 / tokens, 1),
        rows_written_per_message=round(written / tokens, 3),
        wal_bytes_per_message=round((after.wal_bytes - before.wal_bytes) / tokens, 1),
        ledger_bytes_per_message=round(accounts.ledger_bytes(stack) / tokens, 1),
        history_events=history_events,
    )


def _lines(report: Report) -> Sequence[Line]:
    cpu, memory = report.cpu_us_per_message, report.peak_mebibytes
    return [
        ("seconds; messages a second", f"{report.seconds:.1f}; {report.messages_per_second:,}"),
        ("µs of CPU a message", ", ".join(f"{name} {cpu[name]:.1f}" for name in cpu)),
        ("peak memory, MiB", ", ".join(f"{name} {memory[name]}" for name in memory)),
        ("statements per 1,000 messages", f"{report.statements_per_1000:.1f}"),
        ("rows written a message", f"{report.rows_written_per_message:.3f}"),
        ("bytes of WAL a message", f"{report.wal_bytes_per_message:.0f}"),
        ("bytes of ledger and its indexes a message", f"{report.ledger_bytes_per_message:.0f}"),
        ("history events", f"{report.history_events:,}"),
    ]


async def _history_events(stack: Stack, campaign_id: UUID) -> int:
    client = await Client.connect(stack.temporal_address)
    workflow = starter.workflow_id(campaign_id)
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{workflow}'")]
    return sum(run.history_length for run in runs)


if __name__ == "__main__":
    main()
