"""The control port: script, ledger and page over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest

from fanfare.dev.simulator import Simulator
from tests.dev.conftest import Sender, payload
from tests.dev.simulator_client import SimulatorClient


@pytest.fixture
async def simulator(account_directory: Path) -> AsyncIterator[Simulator]:
    async with Simulator.start(directory=account_directory, control=True) as running:
        yield running


@pytest.fixture
async def control(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=str(simulator.control_url)) as http:
        yield http


async def test_script_is_put_in_force_shown_with_hits_and_cleared(
    control: httpx.AsyncClient, client: SimulatorClient, sender: Sender
) -> None:
    rules = [{"match": {"token": "^aa"}, "answer": {"status": 503}}]

    await control.post("/script", json=rules)
    answer = await client.post("/3/device/aa", sender.apns_headers(), payload())
    shown = (await control.get("/script")).json()["data"]
    cleared = await control.delete("/script")

    assert answer.status == 503
    assert (shown[0]["hits"], shown[0]["rule"]["match"]["token"]) == (1, "^aa")
    assert (cleared.status_code, (await control.get("/script")).json()) == (204, {"data": []})


async def test_bad_script_is_refused_with_its_path_and_the_old_one_stays(
    control: httpx.AsyncClient,
) -> None:
    await control.post("/script", json=[{"answer": {"status": 503}}])

    answer = await control.post("/script", json=[{"answer": {"status": 503, "colour": "red"}}])

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["fields"][0]["path"] == "0.answer.colour"
    assert len((await control.get("/script")).json()["data"]) == 1


async def test_ledger_is_read_in_pages(
    control: httpx.AsyncClient, client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/aa", sender.apns_headers(), payload())
    await client.post("/3/device/bb", sender.apns_headers(), payload())
    await client.post("/3/device/cc", sender.apns_headers(), payload())

    first = (await control.get("/ledger", params={"limit": 2})).json()
    second = (await control.get("/ledger", params={"cursor": first["next_cursor"]})).json()

    assert [entry["token"] for entry in first["data"]] == ["aa", "bb"]
    assert [entry["token"] for entry in second["data"]] == ["cc"]
    assert second["next_cursor"] is None


async def test_ledger_is_filtered_and_emptied(
    control: httpx.AsyncClient, client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/aa", sender.apns_headers(), payload())

    hit = await control.get("/ledger", params={"provider": "apns", "collapse_id": "spring"})
    miss = await control.get("/ledger", params={"token": "bb"})
    await control.delete("/ledger")
    emptied = await control.get("/ledger")

    assert [len(one.json()["data"]) for one in (hit, miss, emptied)] == [1, 0, 0]


async def test_stats_count_requests_tokens_and_connections(
    control: httpx.AsyncClient, client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/aa", sender.apns_headers(), payload())
    await client.post("/3/device/aa", sender.apns_headers(), payload())
    await client.post("/3/device/dead", sender.apns_headers(), payload())

    stats = (await control.get("/ledger/stats", params={"collapse_id": "spring"})).json()

    counts = [stats[name] for name in ("requests", "accepted", "tokens", "duplicates")]
    assert counts == [3, 2, 1, 1]
    assert stats["rejected"] == {"apns 410 Unregistered": 1}
    assert stats["by_provider"]["fcm"]["requests"] == 0
    assert (stats["open_connections"], stats["peak_streams"]) == (1, 1)


async def test_tokens_are_streamed_with_their_counts(
    control: httpx.AsyncClient, client: SimulatorClient, sender: Sender
) -> None:
    await client.post("/3/device/aa", sender.apns_headers(), payload())
    await client.post("/3/device/aa", sender.apns_headers(), payload())

    answer = await control.get("/ledger/tokens", params={"collapse_id": "spring"})

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [orjson.loads(line) for line in answer.text.splitlines()] == [
        {"provider": "apns", "collapse_id": "spring", "token": "aa", "accepted": 2}
    ]


async def test_page_escapes_what_it_shows(
    control: httpx.AsyncClient, client: SimulatorClient, sender: Sender
) -> None:
    body = payload("<script>alert(1)</script>", "<b>&", note="</dd><img>")
    await client.post("/3/device/aa", sender.apns_headers(), body)

    page = await control.get("/")

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script>alert" not in page.text
    assert "<b>&" not in page.text
    assert "<img>" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_empty_page_says_how_to_send_the_first(control: httpx.AsyncClient) -> None:
    page = await control.get("/")

    assert "/admin/push/test" in page.text


@pytest.mark.parametrize("path", ["/page.css", "/page.js", "/healthz"])
async def test_page_has_what_it_refers_to(control: httpx.AsyncClient, path: str) -> None:
    answer = await control.get(path)

    assert (answer.status_code, answer.content != b"") == (200, True)
