"""Logging must not get in the way of what is logged."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]

# More than any buffer between it and the device holds.
PROGRAM = """
import sys
import structlog
from fanfare import logs
logs.configure("info")
log = structlog.get_logger("a name")
for number in range(1_000):
    log.warning("something_happened", number=number, filler="x" * 100)
sys.stderr.write("went on")
sys.stderr.flush()
"""


def test_a_full_disk_of_logs_ends_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=CHECKOUT,
            check=False,
        )

    assert ended.stderr.startswith(b"went on")
