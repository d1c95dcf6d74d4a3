"""Stages: a whole stack, with a proxy before APNs' sandbox."""

from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.client import Client

from fanfare.dev.stack import Ports, Stack
from tests.faults.proxy import ChaosProxy
from tests.faults.staging import WORKERS, Stage

# Each scenario that runs waits in one or two.
THREADS = 48


def stack_behind(port: int) -> type[Stack]:
    """A stack whose workers reach APNs' sandbox through that port."""

    class StackBehindProxy(Stack):
        def _worker_environment(self) -> Mapping[str, str]:
            address = f"https://127.0.0.1:{port}"
            return {**super()._worker_environment(), "FANFARE_APNS_SANDBOX_URL": address}

    return StackBehindProxy


@asynccontextmanager
async def staged(
    home: Path, kind: Callable[[int], type[Stack]] = stack_behind
) -> AsyncIterator[Stage]:
    """A stage with a stack that keeps its files in `home`.

    `kind` makes the stack for the port of the proxy.
    """
    ports = Ports.find(preferred=False)
    async with ChaosProxy.running(ports.sandbox) as proxy:
        with (
            ThreadPoolExecutor(THREADS) as threads,
            kind(proxy.port).running(home, ports, workers=WORKERS) as stack,
        ):
            proxy.target = ("127.0.0.1", stack.ports.sandbox)
            temporal = await Client.connect(stack.temporal_address)
            yield Stage(stack, proxy, temporal, threads)
