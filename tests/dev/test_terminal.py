"""What the commands say where nobody watches: plain lines, and every difference by name."""

import io
from uuid import UUID

import pytest
from rich.console import Console

from fanfare.dev.api_client import Campaign, CampaignStats
from fanfare.dev.reconciliation import Reconciliation, Row
from fanfare.dev.terminal import Terminal


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def terminal(log: io.StringIO) -> Terminal:
    return Terminal(Console(file=log, width=80))


def campaign(status: str, **counts: int) -> Campaign:
    stats = CampaignStats.model_validate(counts)
    return Campaign(id=UUID(int=1), name="spring", status=status, stats=stats, failure=None)


def test_a_log_has_a_line_where_the_status_changes(terminal: Terminal, log: io.StringIO) -> None:
    with terminal.following("spring") as look:
        look(campaign("scheduled"))
        look(campaign("scheduled"))
        look(campaign("sending", audience=5, sent=1, pending=4))
        look(campaign("sending", audience=5, sent=2, pending=3))
        look(campaign("sent", audience=5, sent=4, failed=1))

    assert log.getvalue().splitlines() == [
        "  . spring: scheduled",
        "  . spring: sending, 1 sent, 0 failed of 5",
        "  . spring: sent, 4 sent, 1 failed of 5",
    ]


def test_a_difference_is_marked_in_its_row_and_named(terminal: Terminal, log: io.StringIO) -> None:
    rows = [Row("sent", 3, 3, 2), Row("skipped", 0, 0, None)]
    sentence = "sent: expected 3, the providers counted 2"

    terminal.reconciliation(Reconciliation(rows, [sentence]))

    lines = [line.split() for line in log.getvalue().splitlines()]
    assert ["sent", "3", "3", "2", "✗"] in lines
    assert ["skipped", "0", "0", "·", "✓"] in lines
    assert ["✗", *sentence.split()] in lines
    assert "accepted exactly" not in log.getvalue()


def test_an_address_is_never_broken(terminal: Terminal, log: io.StringIO) -> None:
    address = "http://127.0.0.1:8233/" + 100 * "x"

    terminal.pairs({"Temporal UI": address})

    assert log.getvalue() == f"  Temporal UI   {address}\n"
