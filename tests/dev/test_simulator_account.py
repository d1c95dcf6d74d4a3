"""The account on disk, and the process that serves it."""

import asyncio
import os
import signal
import ssl
import sys
from pathlib import Path

import httpx
import orjson
import pytest

from fanfare.dev.simulator import Simulator
from fanfare.dev.simulator.account import prepare

SECRETS = ["AuthKey.p8", "server-key.pem", "service-account.json", "token-secret"]


def test_account_is_kept_from_one_start_to_the_next(tmp_path: Path) -> None:
    first = prepare(tmp_path)

    second = prepare(tmp_path)

    assert first == second


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_readable_by_their_owner_only(account_directory: Path, name: str) -> None:
    prepare(account_directory)

    assert (account_directory / name).stat().st_mode & 0o777 == 0o600


def test_account_file_names_what_a_sender_configures(account_directory: Path) -> None:
    account = prepare(account_directory)

    assert orjson.loads((account_directory / "account.json").read_bytes()) == {
        "team_id": account.team_id,
        "key_id": account.key_id,
        "bundle_id": account.bundle_id,
        "fcm_project_id": account.fcm_project_id,
    }


async def test_certificate_passes_strict_verification(simulator: Simulator) -> None:
    context = ssl.create_default_context(cafile=simulator.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT

    async with httpx.AsyncClient(verify=context) as http:
        by_address = await http.get(simulator.url)
        by_name = await http.get(simulator.url.replace("127.0.0.1", "localhost"))

    assert (by_address.status_code, by_name.status_code) == (404, 404)


async def test_process_says_where_it_serves_and_ends_at_sigterm(account_directory: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fanfare.dev.simulator", "--port", "0", "--control-port", "0"),
        *("--sandbox-port", "0", "--directory", str(account_directory)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    line = orjson.loads(await asyncio.wait_for(process.stdout.readline(), 30))

    async with httpx.AsyncClient() as http:
        health = await http.get(f"{line['control_url']}/healthz")
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 5)

    assert line["event"] == "simulator_started"
    assert (health.status_code, process.returncode, errors) == (200, 0, b"")
