"""The worker process: workflows, activities, and a lane per provider. Nothing imports this.

Run `python worker.py`; stop it with SIGTERM: it claims nothing more, waits for what is on the
wire, records it, and ends. As many as wanted may run beside each other.
"""

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import Sequence
from datetime import timedelta

import structlog
import uvloop
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.batches import Batches
from activities.campaigns import Campaigns
from activities.segments import Segments
from activities.senders import Senders
from activities.stores import Stores
from activities.testpush import TestPushes
from activities.upkeep import Upkeep
from fanfare import logs, temporal
from fanfare.db.engine import Database
from fanfare.db.ledger_pool import LedgerPool
from fanfare.models import ProviderName
from fanfare.sealing import KeyRing
from fanfare.settings import WorkerSettings
from workflows import WORKFLOWS, deployment, queues

# A message waits 15 s at most for a stream and 15 s for its answer; then it is recorded.
GRACE = timedelta(seconds=32)

# After a crash the next workflow task waits so long in the dead worker's own queue.
STICKY_TIMEOUT = timedelta(seconds=3)

# Heartbeats are how a cancellation reaches an activity; this bounds how long it takes.
HEARTBEAT_THROTTLE = timedelta(seconds=2)

RECONNECT_SECONDS = 2.0

# A statement of the send path takes a millisecond or two: so many serve far more batches.
LEDGER_CONNECTIONS = 10

# Of the database's ten connections; the others are for campaigns, which do not wait for segments.
REFRESHES_AT_ONCE = 2

# A claim makes some thousands of objects that live for a moment and form no cycles. At Python's own
# threshold of 700 the search for such took a tenth of the sending (docs/benchmarks.md).
GC_THRESHOLD = 50_000

log = structlog.get_logger()


async def serve(settings: WorkerSettings) -> None:
    """Work until SIGTERM or SIGINT, then end within the grace period."""
    stopping = _stop_signals()
    client = await _connect(stopping)
    if client is None:
        return
    url = settings.database_url.get_secret_value()
    stores = Stores(Database(url), LedgerPool(url, size=LEDGER_CONNECTIONS))
    ring = KeyRing(settings.kek.get_secret_value())
    senders = Senders(stores, ring, settings.addresses())
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(stores.database.close)
        stack.push_async_callback(stores.ledger.close)
        await stores.ledger.open()
        stack.push_async_callback(senders.close)
        workers = _workers(client, stores, senders, settings.batches_at_once)
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        await _work(workers, stopping)


async def _work(workers: Sequence[Worker], stopping: asyncio.Event) -> None:
    """Run the workers until told to stop, then end them all at once, not one after the other."""
    async with asyncio.TaskGroup() as running:
        for worker in workers:
            running.create_task(worker.run())
        log.info("worker_ready")
        await stopping.wait()
        log.info("worker_stopping")
        await asyncio.gather(*(worker.shutdown() for worker in workers))


def _workers(
    client: Client, stores: Stores, senders: Senders, batches_at_once: int
) -> Sequence[Worker]:
    campaigns, upkeep = Campaigns(stores), Upkeep(stores.database, client)
    batches, tests = Batches(stores, senders), TestPushes(stores.database, senders)
    main = Worker(
        client,
        task_queue=queues.MAIN,
        workflows=WORKFLOWS,
        activities=[
            campaigns.look,
            campaigns.plan,
            campaigns.begin,
            campaigns.freeze_audience,
            campaigns.stop,
            campaigns.close,
            campaigns.finish,
            tests.send_test_push,
            upkeep.keep_tables,
            upkeep.reconcile_campaigns,
            upkeep.reconcile_refreshes,
        ],
        max_concurrent_activities=50,
        graceful_shutdown_timeout=GRACE,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
    )
    segments = Segments(stores.database)
    refresher = Worker(
        client,
        task_queue=queues.SEGMENTS,
        activities=[segments.list_segments, segments.refresh_segment],
        max_concurrent_activities=REFRESHES_AT_ONCE,
        graceful_shutdown_timeout=GRACE,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )
    lanes = [
        Worker(
            client,
            task_queue=queues.of_provider(provider),
            activities=[batches.send_batch],
            max_concurrent_activities=batches_at_once,
            graceful_shutdown_timeout=GRACE,
            max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        )
        for provider in ProviderName
    ]
    return [main, refresher, *lanes]


async def _connect(stopping: asyncio.Event) -> Client | None:
    """A client, once Temporal answers and the namespace is ready. None where told to stop."""
    while not stopping.is_set():
        try:
            client = await temporal.connect()
            if not await deployment.ensure_search_attributes(client):
                log.warning("search_attributes_must_be_added_by_an_administrator")
            await deployment.ensure_schedules(client)
        except (RuntimeError, RPCError) as error:
            log.warning("waiting_for_temporal", reason=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), RECONNECT_SECONDS)
        else:
            return client
    return None


def _stop_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def main() -> None:
    """Read the settings and serve."""
    settings = WorkerSettings()
    logs.configure(settings.log_level)
    uvloop.run(serve(settings))
    # The SDK's own threads may still let go of Python objects; ending now can crash the process
    # on its way out (temporalio/sdk-python#300).
    time.sleep(0.2)


if __name__ == "__main__":
    main()
