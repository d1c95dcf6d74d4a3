"""Where figures are kept, and how they are shown."""

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import orjson

RESULTS = Path(__file__).parent / "results"

# What it is, and its figures.
Line: TypeAlias = tuple[str, str]


def keep(name: str, figures: Mapping[str, object]) -> Path:
    """Write the figures, with when and where they were measured, to a file of their own."""
    now = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    place = {"at": now, "cores": os.cpu_count(), "python": platform.python_version()}
    path.write_bytes(orjson.dumps({**place, **figures}, option=orjson.OPT_INDENT_2))
    return path


def table(title: str, lines: Iterable[Line]) -> str:
    """The lines under a title, with their figures in one column."""
    rows = [f"  {what:52} {figures}" for what, figures in lines]
    return "\n".join([title, *rows])


def p50(samples: Sequence[float]) -> float:
    """The median."""
    return statistics.median(samples)


def p99(samples: Sequence[float]) -> float:
    """What one of a hundred exceeds. Needs two samples, and means something from a hundred on."""
    return statistics.quantiles(samples, n=100, method="inclusive")[98]
