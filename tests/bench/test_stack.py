"""The benchmarks of the whole stack do run, over small ones of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import api, campaigns, pipeline, workers
from fanfare.dev.stack import Ports, Stack

TOKENS = 400


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack.running(tmp_path, Ports.find(preferred=False)) as stack:
        yield stack


def test_pipeline_accounts_for_every_process(stack: Stack) -> None:
    report = pipeline.measure(stack, pipeline.Load(tokens=TOKENS))

    names = {"postgres", "temporal", "simulator", "api", "worker-1"}
    assert report.cpu_us_per_message.keys() == names
    assert report.statements_per_1000 > 0
    assert report.rows_written_per_message >= 1
    assert report.ledger_bytes_per_message > 0
    assert report.history_events > 0


def test_client_waits_for_answers_under_load_and_at_rest(stack: Stack) -> None:
    loaded, quiet = api.measure(stack, TOKENS, quiet_rounds=3)

    assert len(loaded.get) == len(loaded.create) > 0
    assert len(quiet.get) == len(quiet.create) == 3


def test_round_is_bound_by_the_latency_that_was_asked_for(stack: Stack) -> None:
    load = workers.Load(tokens=TOKENS, latency_ms=50, in_flight=10)
    project = campaigns.project_with_devices(stack, TOKENS)
    campaigns.limit_in_flight(stack, project, load.in_flight)
    campaigns.answer_after(stack, load.latency_ms)

    sent = workers.Site(stack, project).send(load)

    assert 0 < sent.messages_per_second < load.bound
