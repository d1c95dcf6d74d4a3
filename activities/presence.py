"""A worker's own word, every few seconds in PostgreSQL, that it lives and what is in its way."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import psycopg
import structlog
from temporalio.client import Client

from activities.stores import Stores
from fanfare.db import workers
from fanfare.db.workers import Beat
from fanfare.degradation import Trouble
from fanfare.errors import DatabaseUnavailable, TemporalUnavailable
from fanfare.ids import new_id
from fanfare.temporal import answering

INTERVAL = timedelta(seconds=5)

# Of Temporal, and of PostgreSQL: together with the interval less than what others wait to hear.
PATIENCE = timedelta(seconds=4)

log = structlog.get_logger()


class Presence:
    """One process. Whoever looks at a campaign learns from its beats why nothing moves.

    A worker that cannot write to PostgreSQL is silent, which is a word too.
    """

    def __init__(self, stores: Stores, temporal: Client, *, revision: str) -> None:
        """`revision`: the newest migration that the code knows."""
        self._stores = stores
        self._temporal = temporal
        self._id = new_id()
        self._revision = revision
        self._is_noted = True

    async def keep(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(INTERVAL.total_seconds())

    async def beat(self) -> None:
        """Note that the process lives. Where PostgreSQL does not take it, the log says so once."""
        beat = Beat(
            self._id, self._temporal.identity, self._revision, trouble=await self._trouble()
        )
        try:
            async with (
                asyncio.timeout(PATIENCE.total_seconds()),
                self._stores.ledger.connection() as conn,
            ):
                await workers.note(conn, beat)
                # So it knows how far the database had come, should an older copy take its place.
                await self._stores.ledger.guard.check(conn)
        except (DatabaseUnavailable, TimeoutError, psycopg.Error):
            # The last: a database that was replaced by one without our tables.
            self._say(is_noted=False)
        else:
            self._say(is_noted=True)

    async def leave(self) -> None:
        """Take the process off the list, as one that ends in order. It may fail: the list forgets
        by itself."""
        with suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(1), self._stores.ledger.connection() as conn:
                await workers.leave(conn, self._id)

    async def _trouble(self) -> Trouble | None:
        if self._stores.ledger_watch.is_refusing:
            return Trouble.LEDGER_NOT_WRITABLE
        try:
            async with answering(PATIENCE):
                await self._temporal.service_client.check_health(timeout=PATIENCE)
        except TemporalUnavailable:
            return Trouble.TEMPORAL_UNREACHABLE
        return None

    def _say(self, *, is_noted: bool) -> None:
        if is_noted != self._is_noted:
            self._is_noted = is_noted
            log.warning("worker_is_heard_of" if is_noted else "worker_is_not_heard_of")
