"""python -m fanfare.dev.simulator --port P --control-port C --directory DIR"""

import argparse
import asyncio
import gc
import signal
import sys
from pathlib import Path

import orjson

from fanfare.dev.simulator.simulator import Simulator

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

ALLOCATIONS_BETWEEN_ROUNDS = 100_000


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    _calm_the_garbage_collector()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "fanfare.dev.simulator", description="APNs and FCM, simulated."
    )
    parser.add_argument("--port", type=int, required=True, help="TLS port of both providers")
    parser.add_argument("--sandbox-port", type=int, help="TLS port of APNs' sandbox, if wanted")
    parser.add_argument("--control-port", type=int, required=True, help="page, script and ledger")
    parser.add_argument("--directory", type=Path, required=True, help="where the account is kept")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--many-streams-at-once",
        action="store_true",
        help="do not hold a connection to one stream until it has shown a valid token",
    )
    return parser.parse_args()


def _calm_the_garbage_collector() -> None:
    """Spare it what is there to stay, and rounds that find nothing.

    Each request makes two dozen tuples and frees them with its answer: a round for every 700 that
    are alive would find all of a thousand open requests, and cost a tenth of the whole.
    """
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_BETWEEN_ROUNDS, 20, 20)


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Simulator.start(
        directory=arguments.directory,
        control=True,
        host=arguments.host,
        port=arguments.port,
        sandbox_port=arguments.sandbox_port,
        control_port=arguments.control_port,
        one_stream_until_authenticated=not arguments.many_streams_at_once,
    ) as simulator:
        print(_start_line(simulator), flush=True)
        await stop.wait()


def _start_line(simulator: Simulator) -> str:
    line = {
        "event": "simulator_started",
        "url": simulator.url,
        "sandbox_url": simulator.sandbox_url,
        "control_url": simulator.control_url,
        "directory": str(simulator.account.directory),
    }
    return orjson.dumps(line).decode()


if __name__ == "__main__":
    main()
