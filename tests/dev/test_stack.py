"""The stack: what it does where a port or the disk is not to be had."""

import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from fanfare.dev.processes import StackProblem
from fanfare.dev.stack import Ports, Stack


class Usage(NamedTuple):
    """What shutil.disk_usage answers, in bytes."""

    total: int
    used: int
    free: int


def test_starts_on_other_ports_where_one_is_taken_meanwhile(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        ports = replace(Ports.find(preferred=False), temporal=taken)

        with Stack.running(tmp_path, ports) as stack:
            stack.check()
            chosen = stack.ports

    assert chosen.temporal != taken


def test_says_that_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 5 * 2**20))

    with (
        pytest.raises(StackProblem, match="5 MB left; the stack needs 512 MB"),
        Stack.running(tmp_path / "new", Ports.find(preferred=False)),
    ):
        pass
