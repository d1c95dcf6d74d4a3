"""The worker process: workflows, activities, and a lane per provider. Nothing imports this.

Run `python worker.py`; stop it with SIGTERM: it claims nothing more, waits for what is on the
wire, records it, and ends. As many as wanted may run beside each other.
"""

import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta

import structlog
import uvloop
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities.batches import Batches
from activities.campaigns import Campaigns
from activities.outages import DatabaseOutages
from activities.presence import Presence
from activities.restores import Restores
from activities.segments import Segments
from activities.senders import Senders
from activities.stores import Stores
from activities.testpush import TestPushes
from activities.upkeep import Upkeep
from fanfare import logs, startup, temporal
from fanfare.db.engine import Database
from fanfare.db.installation import Guard
from fanfare.db.ledger_pool import LedgerPool
from fanfare.errors import Misconfigured
from fanfare.models import ProviderName
from fanfare.readiness import NotReady, database_check, newest_revision, schema_check
from fanfare.sealing import KeyRing
from fanfare.settings import WorkerSettings, read
from workflows import WORKFLOWS, deployment, positions, queues

# A message waits 15 s at most for a stream and 15 s for its answer; then it is recorded.
GRACE = timedelta(seconds=32)

# After a crash the next workflow task waits so long in the dead worker's own queue.
STICKY_TIMEOUT = timedelta(seconds=3)

# Heartbeats are how a cancellation reaches an activity; this bounds how long it takes.
HEARTBEAT_THROTTLE = timedelta(seconds=2)

# A statement of the send path takes a millisecond or two: so many serve far more batches.
LEDGER_CONNECTIONS = 10

# Of the database's ten connections; the others are for campaigns, which do not wait for segments.
REFRESHES_AT_ONCE = 2

# A claim makes some thousands of objects that live for a moment and form no cycles. At Python's own
# threshold of 700 the search for such took a tenth of the sending (docs/benchmarks.md).
GC_THRESHOLD = 50_000

log = structlog.get_logger()


async def serve(settings: WorkerSettings) -> None:
    """Work until SIGTERM or SIGINT, then end within the grace period. Raises Misconfigured.

    Before it begins it waits until PostgreSQL, its tables and Temporal are there.
    """
    stopping = _stop_signals()
    url = settings.database_url.get_secret_value()
    stores = Stores(Database(url), LedgerPool(url, size=LEDGER_CONNECTIONS))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(stores.database.close)
        client = await _connect(stores, url, stopping)
        if client is None:
            return
        stack.push_async_callback(stores.ledger.close)
        await stores.ledger.open()
        ring = KeyRing(settings.kek.get_secret_value())
        senders = Senders(stores, ring, settings.addresses())
        stack.push_async_callback(senders.close)
        workers = _workers(client, stores, senders, settings.batches_at_once)
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        presence = Presence(stores, client, revision=newest_revision(url))
        await _work(workers, presence, stopping)


async def _work(workers: Sequence[Worker], presence: Presence, stopping: asyncio.Event) -> None:
    """Run the workers until told to stop, then end them all at once, not one after the other."""
    async with asyncio.TaskGroup() as running:
        beats = running.create_task(presence.keep())
        for worker in workers:
            running.create_task(worker.run())
        log.info("worker_ready")
        await stopping.wait()
        log.info("worker_stopping")
        await asyncio.gather(*(worker.shutdown() for worker in workers))
        beats.cancel()
    await presence.leave()


def _workers(
    client: Client, stores: Stores, senders: Senders, batches_at_once: int
) -> Sequence[Worker]:
    segments, batches = Segments(stores.database), Batches(stores, senders)
    outages = [DatabaseOutages(stores.ledger_watch)]
    refresher = Worker(
        client,
        task_queue=queues.SEGMENTS,
        activities=[segments.list_segments, segments.refresh_segment],
        max_concurrent_activities=REFRESHES_AT_ONCE,
        interceptors=outages,
        graceful_shutdown_timeout=GRACE,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )
    lanes = [
        Worker(
            client,
            task_queue=queues.of_provider(provider),
            activities=[batches.send_batch],
            max_concurrent_activities=batches_at_once,
            interceptors=outages,
            graceful_shutdown_timeout=GRACE,
            max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        )
        for provider in ProviderName
    ]
    return [_main_worker(client, stores, senders, outages), refresher, *lanes]


def _main_worker(
    client: Client, stores: Stores, senders: Senders, outages: Sequence[DatabaseOutages]
) -> Worker:
    campaigns, upkeep = Campaigns(stores), Upkeep(stores.database, client)
    restores, tests = Restores(stores, client), TestPushes(stores.database, senders)
    return Worker(
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
            restores.check_database,
            upkeep.keep_tables,
            upkeep.reconcile_campaigns,
            upkeep.reconcile_refreshes,
        ],
        max_concurrent_activities=50,
        interceptors=outages,
        graceful_shutdown_timeout=GRACE,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
    )


async def _connect(stores: Stores, url: str, stopping: asyncio.Event) -> Client | None:
    """A client of Temporal, once all is there that the worker stands on. None where told to
    stop."""
    namespace = Namespace(stores.ledger.guard)
    checks = {
        "postgres": database_check(stores.database),
        "schema": schema_check(stores.database, url),
        "temporal": namespace.prepare,
    }
    return namespace.client if await startup.wait_for(checks, stopping) else None


class Namespace:
    """The namespace of Temporal: connected, and with what our workflows need there."""

    def __init__(self, guard: Guard) -> None:
        """`guard` is told how far the database had come, before anything is claimed."""
        self.client: Client | None = None
        self._guard = guard

    async def prepare(self) -> None:
        """Do it, unless it is done. Raises NotReady, Misconfigured."""
        if self.client is not None:
            return
        try:
            client = await temporal.connect()
            if not await deployment.ensure_search_attributes(client):
                log.warning("search_attributes_must_be_added_by_an_administrator")
            await deployment.ensure_schedules(client)
            self._guard.remember(await positions.last_seen(client) or 0)
        except RuntimeError as error:
            raise NotReady("Temporal does not answer.") from error
        except RPCError as error:
            raise NotReady(_reason(error)) from error
        self.client = client


def _reason(error: RPCError) -> str:
    match error.status:
        case RPCStatusCode.NOT_FOUND:
            return "Temporal has no such namespace as TEMPORAL_NAMESPACE names: create it."
        case RPCStatusCode.UNAUTHENTICATED | RPCStatusCode.PERMISSION_DENIED:
            return "Temporal refuses us: see TEMPORAL_API_KEY and TEMPORAL_TLS_*."
        case RPCStatusCode.UNAVAILABLE | RPCStatusCode.DEADLINE_EXCEEDED:
            return "Temporal does not answer."
        case status:
            return f"Temporal says {status.name}."


def _stop_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def main() -> None:
    """Read the settings and serve."""
    try:
        settings = read(WorkerSettings)
        logs.configure(settings.log_level)
        uvloop.run(serve(settings))
    except Misconfigured as error:
        sys.exit(f"The worker cannot start: {error}")
    # The SDK's own threads may still let go of Python objects; ending now can crash the process
    # on its way out (temporalio/sdk-python#300).
    time.sleep(0.2)


if __name__ == "__main__":
    main()
