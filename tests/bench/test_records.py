"""How figures are kept and shown."""

from pathlib import Path

import orjson
import pytest

from bench import records
from bench.workers import Load


def test_figures_are_kept_with_when_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")

    path = records.keep("api", {"tokens": 5})

    kept = orjson.loads(path.read_bytes())
    assert path.parent == tmp_path / "results"
    assert path.name.startswith("api-")
    assert kept.keys() == {"at", "cores", "python", "tokens"}
    assert kept["tokens"] == 5


def test_table_shows_a_line_each() -> None:
    shown = records.table("Title", [("what", "1"), ("more", "2")])

    assert [line.split() for line in shown.splitlines()] == [
        ["Title"],
        ["what", "1"],
        ["more", "2"],
    ]


def test_p99_is_what_one_of_a_hundred_exceeds() -> None:
    samples = [float(number) for number in range(1, 102)]

    assert (records.p50(samples), records.p99(samples)) == (51, 100)


def test_latency_bounds_a_worker_by_what_is_in_flight() -> None:
    assert Load(latency_ms=50, in_flight=50).bound == 2_000
