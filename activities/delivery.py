"""One attempt's way through one batch: claim, send, record, until nothing is left to claim."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from temporalio import activity

from activities.admission import Admission, giving_back
from activities.decisions import Moments, decide, reason_to_skip, skip
from activities.environments import OtherWay, with_other
from activities.refusals import Refusals
from activities.stores import Stores
from fanfare.db import batches, claims, deliveries, ledger, owed
from fanfare.db.batches import BatchCounts, BatchKey
from fanfare.db.claims import ClaimedToken
from fanfare.db.ledger import AlreadyRecorded, Settlement
from fanfare.db.ledger_pool import LedgerPool
from fanfare.db.owed import Owing
from fanfare.entities import Batch, Campaign
from fanfare.errors import DatabaseUnavailable
from fanfare.models import OnUnknown, SkipReason, Target
from fanfare.providers import Send

# How many tokens one claim takes. It bounds, with the batches in flight, what a crash leaves
# ambiguous; larger claims mean fewer statements per message.
CLAIM_SIZE = 200

# Between tries to claim, or to record what is known, while PostgreSQL is away.
AGAIN_SECONDS = 1.0

log = structlog.get_logger()


class PassEndedEarly(Exception):
    """The worker is being shut down. What was claimed is recorded; another takes the rest."""


class PassTimeUp(Exception):
    """The pass has had its batch for long enough. What was claimed is recorded."""


class CampaignExpired(Exception):
    """Nothing more of it is to be sent."""


@dataclass(frozen=True, slots=True)
class Passed:
    """How far an attempt brought its batch. `is_unfinished`: there is more to claim of it."""

    counts: BatchCounts
    owing: Owing
    is_unfinished: bool = False


@dataclass(slots=True)
class BatchPass:
    """One attempt at one batch. A second one takes up what has no row in the ledger.

    `ends_at`: until when it may last, as `time.monotonic()` counts.
    """

    stores: Stores
    key: BatchKey
    batch: Batch
    campaign: Campaign
    send: Send
    pace: Admission
    other: OtherWay | None = None
    ends_at: float = math.inf
    claimed: int = 0
    claiming: int = 0
    owes: bool = False
    is_accepted: bool = False

    async def run(self) -> Passed:
        """Send what can be sent now. Returns the batch's counts, and what it owes.

        Raises ClaimRefused, CredentialsRefused, MessageRefused, PassEndedEarly or
        DatabaseUnavailable; whatever was on the wire is recorded before.
        """
        self.claimed, self.owes = self.batch.claimed, self.batch.owes
        await self._take_up_lost()
        is_unfinished = False
        try:
            while await self._take_turn():
                pass
        except CampaignExpired:
            await self._expire()
        except PassTimeUp:
            is_unfinished = True
        return await self._close(is_unfinished=is_unfinished)

    async def _take_turn(self) -> bool:
        """Send as many as the pace admits. False where nothing is left to send now."""
        end_wait(self.campaign, self.ends_at)
        if (wanted := self._claimable()) == 0:
            return False
        try:
            admitted = await self.pace.admit(wanted)
        except DatabaseUnavailable as error:
            await self._wait_for_database(error)
            return True
        try:
            tokens = await self._claim_in_the_end(admitted)
        except BaseException:
            self.pace.done(admitted)
            raise
        self.pace.done(admitted - len(tokens))
        if tokens:
            await self._deliver_whole(tokens)
        return bool(tokens)

    def _claimable(self) -> int:
        """How many a claim could find: what is admitted beyond that is lost to a rate."""
        return CLAIM_SIZE if self.owes else min(CLAIM_SIZE, self.batch.size - self.claimed)

    async def _take_up_lost(self) -> None:
        if self.claimed == 0:
            return
        async with self.stores.ledger.transaction() as conn:
            await owed.note_lost(conn, self.key, claimed=self.claimed)
            if self.campaign.on_unknown is OnUnknown.SKIP:
                await owed.write_off_ambiguous(conn, self.key)
        self.owes = True

    async def _claim_in_the_end(self, most: int) -> Sequence[ClaimedToken]:
        """Claim as soon as PostgreSQL answers.

        The claim that was not answered is made once more, not another: it may have been committed,
        and nothing of it was sent.
        """
        while True:
            try:
                return await self._claim(most)
            except DatabaseUnavailable as error:
                await self._wait_for_database(error)

    async def _wait_for_database(self, error: DatabaseUnavailable) -> None:
        """A moment. Raises what `end_wait` raises."""
        end_wait(self.campaign, self.ends_at)
        log.warning("claim_waits_for_database", batch=self.key.number)
        await self._wait_a_moment(error)

    async def _claim(self, most: int) -> Sequence[ClaimedToken]:
        """What is owed and due, else the next of the batch; empty at its end."""
        end_if_expired(self.campaign)
        async with self.stores.ledger.connection() as conn:
            epoch = self.batch.epoch
            is_answered = self.claiming <= self.claimed
            if (
                self.owes
                and is_answered
                and (due := await claims.claim_due(conn, self.key, epoch=epoch, limit=most))
            ):
                return due
            self.claiming = min(self.claimed + most, self.batch.size)
            if self.claiming == self.claimed:
                return ()
            tokens = await claims.claim_next(
                conn, self.key, epoch=epoch, claimed=self.claimed, upto=self.claiming
            )
        self.claimed = self.claiming
        return tokens

    async def _expire(self) -> None:
        await close_batch(self.stores.ledger, self.key, self.batch, SkipReason.EXPIRED)

    async def _deliver_whole(self, tokens: Sequence[ClaimedToken]) -> None:
        """Deliver, and record even when cancelled meanwhile: what is on the wire is not lost."""
        delivery = asyncio.create_task(self._deliver(tokens))
        try:
            await asyncio.shield(delivery)
        except asyncio.CancelledError:
            await delivery
            raise

    async def _deliver(self, tokens: Sequence[ClaimedToken]) -> None:
        """Send a claim. Outcomes are recorded as they become known, not when the last one is."""
        settlement = Settlement()
        waiting = _wanted(settlement, tokens)
        self.pace.done(len(tokens) - len(waiting))
        refusals = Refusals(is_accepted=self.is_accepted)
        asked_at = datetime.now(UTC)
        async for answered in self._way()([_target(token) for token in waiting.values()]):
            refusals.note([outcome for _, outcome in answered])
            moments = Moments(asked_at, datetime.now(UTC))
            for target, outcome in answered:
                token = waiting[target.token_id]
                decide(settlement, token, outcome, moments, self.campaign.on_unknown)
            await self._record(settlement)
            settlement = Settlement()
        await self._record(settlement)
        self.is_accepted = refusals.is_accepted
        refusals.check()

    def _way(self) -> Send:
        way = giving_back(self.send, self.pace)
        return way if self.other is None else with_other(way, self.other)

    async def _record(self, settlement: Settlement) -> None:
        """Write it, however long PostgreSQL is away: these answers are nowhere else.

        Only a worker that is being shut down gives up; then they are in doubt.
        """
        self.owes = self.owes or bool(settlement.owed)
        recorded = settlement.is_empty()
        while not recorded:
            try:
                await self._settle(settlement)
                recorded = True
            except DatabaseUnavailable as error:
                if activity.is_worker_shutdown():
                    raise
                log.warning("ledger_waits_for_database", batch=self.key.number)
                await self._wait_a_moment(error)

    async def _wait_a_moment(self, error: DatabaseUnavailable) -> None:
        self.stores.ledger_watch.note(error)
        await asyncio.sleep(AGAIN_SECONDS)

    async def _settle(self, settlement: Settlement) -> None:
        pool = self.stores.ledger
        opened = pool.connection() if settlement.is_plain else pool.transaction()
        try:
            async with opened as conn:
                await ledger.settle(conn, self.key, self.batch.epoch, settlement)
        except AlreadyRecorded:
            async with self.stores.ledger.transaction() as conn:
                await ledger.settle_missing(conn, self.key, self.batch.epoch, settlement)

    async def _close(self, *, is_unfinished: bool) -> Passed:
        async with self.stores.ledger.connection() as conn:
            counts = await batches.close(conn, self.key)
            nothing = Owing(0, None)
            owing = nothing if counts.is_complete else await owed.owing(conn, self.key)
        return Passed(counts, owing, is_unfinished and not counts.is_complete)


def end_wait(campaign: Campaign, ends_at: float = math.inf) -> None:
    """Raise PassEndedEarly, CampaignExpired or PassTimeUp where nobody is to wait any more to send.

    `ends_at`: until when the pass may last, as `time.monotonic()` counts.
    """
    if activity.is_worker_shutdown():
        raise PassEndedEarly
    end_if_expired(campaign)
    if time.monotonic() > ends_at:
        raise PassTimeUp


def end_if_expired(campaign: Campaign) -> None:
    """Raise CampaignExpired where nothing more may be claimed."""
    if campaign.expires_at is not None and campaign.expires_at <= datetime.now(UTC):
        raise CampaignExpired


async def close_batch(
    ledger_pool: LedgerPool, key: BatchKey, batch: Batch, reason: SkipReason
) -> None:
    """End what is left of a batch that is the caller's. Raises ClaimRefused where it is not."""
    async with ledger_pool.transaction() as conn:
        await claims.hold(conn, key, epoch=batch.epoch)
        await deliveries.close_rest(conn, key.project, key.campaign_id, reason, number=key.number)


def _wanted(settlement: Settlement, tokens: Sequence[ClaimedToken]) -> Mapping[int, ClaimedToken]:
    """The tokens to ask for, by id; the others are noted as skipped."""
    wanted = {}
    for token in tokens:
        reason = reason_to_skip(token)
        if reason is None:
            wanted[token.token_id] = token
        else:
            skip(settlement, token, reason)
    return wanted


def _target(token: ClaimedToken) -> Target:
    assert token.token is not None
    return Target(token.token_id, token.token)
