"""The stack of a soak, with the chaos proxy before APNs' sandbox, which runs in a thread."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fanfare.dev.stack import OnReady, Ports, Stack
from tests.faults.proxy import ChaosProxy
from tests.faults.soak.campaigns import WORKERS
from tests.faults.stages import stack_behind

Cut = Callable[[], None]


@contextmanager
def running(home: Path, on_ready: OnReady) -> Iterator[tuple[Stack, Cut]]:
    """A stack of two workers, and what resets their connections to the sandbox.

    Raises StackProblem where a part does not start.
    """
    ports = Ports.find(preferred=False)
    with (
        _proxy(ports.sandbox) as (proxy, loop),
        stack_behind(proxy.port).running(home, ports, workers=WORKERS, on_ready=on_ready) as stack,
    ):
        proxy.target = ("127.0.0.1", stack.ports.sandbox)

        def cut() -> None:
            loop.call_soon_threadsafe(proxy.cut)

        yield stack, cut


@contextmanager
def _proxy(port: int) -> Iterator[tuple[ChaosProxy, asyncio.AbstractEventLoop]]:
    """The proxy in an event loop of its own."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        context = ChaosProxy.running(port)
        thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
        thread.start()
        proxy = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
        try:
            yield proxy, loop
        finally:
            leaving = context.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(leaving, loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
