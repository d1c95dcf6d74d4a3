"""CPU of the transport: `python -m tests.providers.measure [ngh2|h2] [requests]`.

The server runs in a process of its own; what is printed is the client's user and system time.
"""

import asyncio
import multiprocessing
import multiprocessing.connection
import os
import resource
import ssl
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from fanfare.providers.exchange import Answer
from fanfare.providers.http2 import Http2Pool
from fanfare.providers.http2_engine import EngineName
from tests.providers.hostile import hostile_server

IN_FLIGHT = 500
HEADERS = [
    (b"authorization", b"bearer " + b"j" * 200),
    (b"apns-topic", b"com.example.app"),
    (b"apns-push-type", b"alert"),
    (b"apns-priority", b"10"),
    (b"apns-expiration", b"1800000000"),
    (b"apns-collapse-id", b"018f0000-0000-7000-8000-000000000000"),
]
BODY = orjson.dumps({"aps": {"alert": {"title": "t" * 40, "body": "b" * 120}}})


async def _serve(pipe: multiprocessing.connection.Connection, ca_file: Path) -> None:
    async with hostile_server(max_streams=1_000, window=1 << 24) as server:
        server.authority.cert_pem.write_to_path(ca_file)
        pipe.send(server.url)
        await asyncio.to_thread(pipe.recv)


def _server(pipe: multiprocessing.connection.Connection, ca_file: Path) -> None:
    asyncio.run(_serve(pipe, ca_file))


async def _send(pool: Http2Pool, numbers: range) -> None:
    for number in numbers:
        own = ((b"apns-id", b"018f0000-0000-7000-8000-%012d" % number),)
        result = await pool.request(b"/3/device/%064x" % number, HEADERS, BODY, own_headers=own)
        assert isinstance(result, Answer)


async def _measure(url: str, ca_file: Path, engine: EngineName, count: int) -> None:
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    pool = Http2Pool(url, ssl_context=context, engine=engine)
    await _send(pool, range(100))
    began, cpu = time.perf_counter(), _cpu_seconds()
    share = count // IN_FLIGHT
    await asyncio.gather(
        *(_send(pool, range(i * share, (i + 1) * share)) for i in range(IN_FLIGHT))
    )
    spent, wall = _cpu_seconds() - cpu, time.perf_counter() - began
    sys.stdout.write(
        f"{engine}: {spent / count * 1e6:.1f} ms CPU per 1,000 requests, "
        f"{count / wall:,.0f} requests/s\n"
    )
    await pool.close()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure one engine."""
    engine: EngineName = "h2" if sys.argv[1:2] == ["h2"] else "ngh2"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    with TemporaryDirectory() as directory:
        ca_file = Path(directory) / "ca.pem"
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_server, args=(theirs, ca_file)
        )
        process.start()
        asyncio.run(_measure(ours.recv(), ca_file, engine, count))
        ours.send(os.getpid())
        process.join()


if __name__ == "__main__":
    main()
