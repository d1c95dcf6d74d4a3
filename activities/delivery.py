"""One attempt's way through one batch: claim, send, record, until nothing is left to claim."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from temporalio import activity

from activities.decisions import Answered, decide, reason_to_skip, skip
from fanfare.db import batches, claims, deliveries, ledger, owed
from fanfare.db.batches import BatchKey
from fanfare.db.claims import ClaimedToken
from fanfare.db.deliveries import AlreadyRecorded
from fanfare.db.engine import Database
from fanfare.db.ledger import Settlement
from fanfare.db.owed import Owing
from fanfare.entities import Batch, Campaign, Stats
from fanfare.errors import DatabaseUnavailable
from fanfare.models import ErrorCode, OnUnknown, Outcome, SkipReason, Target, Verdict
from fanfare.providers import Send

# How many tokens one claim takes. It bounds, with the batches in flight, what a crash leaves
# ambiguous; larger claims mean fewer statements per message.
CLAIM_SIZE = 200

# Answers are recorded at least this often while others of the same claim are awaited.
FLUSH_SECONDS = 0.05

# Between tries to record what is known, while PostgreSQL is away.
RECORD_AGAIN_SECONDS = 1.0

log = structlog.get_logger()


class CredentialsRefused(Exception):
    """The provider refused the credential: no message of it would be accepted."""


class PassEndedEarly(Exception):
    """The worker is being shut down. What was claimed is recorded; another takes the rest."""


@dataclass(slots=True)
class BatchPass:
    """One attempt at one batch. A second one takes up what has no row in the ledger."""

    database: Database
    key: BatchKey
    batch: Batch
    campaign: Campaign
    send: Send
    claimed: int = 0

    async def run(self) -> Stats | Owing:
        """Send what can be sent now. The batch's counts where it is done, else what it owes.

        Raises ClaimRefused, CredentialsRefused, PassEndedEarly or DatabaseUnavailable; whatever
        was on the wire is recorded before.
        """
        self.claimed = self.batch.claimed
        await self._take_up_lost()
        going_on = True
        while going_on and (tokens := await self._claim()):
            going_on = await self._deliver_whole(tokens)
        return await self._close()

    async def _take_up_lost(self) -> None:
        if self.claimed == 0:
            return
        async with self.database.transaction() as conn:
            await owed.note_lost(conn, self.key, claimed=self.claimed)
            if self.campaign.on_unknown is OnUnknown.SKIP:
                await owed.write_off_ambiguous(conn, self.key)

    async def _claim(self) -> Sequence[ClaimedToken]:
        """What is owed and due, else the next of the batch; empty at its end."""
        if activity.is_worker_shutdown():
            raise PassEndedEarly
        async with self.database.transaction() as conn:
            if _expired(self.campaign):
                number = self.key.number
                await deliveries.close_rest(
                    conn, self.key.project, self.key.campaign_id, SkipReason.EXPIRED, number=number
                )
                return ()
            epoch = self.batch.epoch
            if due := await owed.claim_due(conn, self.key, epoch=epoch, limit=CLAIM_SIZE):
                return due
            upto = min(self.claimed + CLAIM_SIZE, self.batch.size)
            if upto == self.claimed:
                return ()
            tokens = await claims.claim_next(
                conn, self.key, epoch=epoch, claimed=self.claimed, upto=upto
            )
        self.claimed = upto
        return tokens

    async def _deliver_whole(self, tokens: Sequence[ClaimedToken]) -> bool:
        """Deliver, and record even when cancelled meanwhile: what is on the wire is not lost."""
        delivery = asyncio.create_task(self._deliver(tokens))
        try:
            return await asyncio.shield(delivery)
        except asyncio.CancelledError:
            await delivery
            raise

    async def _deliver(self, tokens: Sequence[ClaimedToken]) -> bool:
        """Whether to go on: not where the provider took nothing of it now."""
        settlement = Settlement()
        sending = {asyncio.create_task(self._ask(token)) for token in _wanted(settlement, tokens)}
        verdicts: set[Verdict] = set()
        while sending:
            answered, sending = await asyncio.wait(sending, timeout=FLUSH_SECONDS)
            for task in answered:
                answer = task.result()
                verdicts.add(answer.outcome.verdict)
                decide(settlement, answer, self.campaign.on_unknown)
            if sending:
                await self._record(settlement)
                settlement = Settlement()
        await self._record(settlement)
        if Verdict.CREDENTIALS in verdicts:
            raise CredentialsRefused
        return verdicts != {Verdict.RETRY}

    async def _ask(self, token: ClaimedToken) -> Answered:
        assert token.token is not None
        asked_at = datetime.now(UTC)
        try:
            outcome: Outcome = await self.send(Target(token.token_id, token.token))
        except Exception as error:  # noqa: BLE001 - a defect at one message must not cost the others
            log.error("send_raised", kind=type(error).__name__)
            outcome = Outcome(Verdict.UNKNOWN, ErrorCode.NO_ANSWER, "internal")
        return Answered(token, outcome, asked_at, datetime.now(UTC))

    async def _record(self, settlement: Settlement) -> None:
        """Write it, however long PostgreSQL is away: these answers are nowhere else."""
        recorded = settlement.is_empty()
        while not recorded:
            try:
                await self._settle(settlement)
                recorded = True
            except DatabaseUnavailable:
                log.warning("ledger_waits_for_database", batch=self.key.number)
                await asyncio.sleep(RECORD_AGAIN_SECONDS)

    async def _settle(self, settlement: Settlement) -> None:
        try:
            async with self.database.transaction() as conn:
                await ledger.settle(conn, self.key, settlement)
        except AlreadyRecorded:
            async with self.database.transaction() as conn:
                await ledger.settle_missing(conn, self.key, settlement)

    async def _close(self) -> Stats | Owing:
        async with self.database.transaction() as conn:
            done = await batches.complete(conn, self.key)
            return done if done is not None else await owed.owing(conn, self.key)


def delay_until_due(owing: Owing) -> timedelta:
    """How long to wait before the batch is worth another attempt: at least a moment."""
    due = owing.next_due or datetime.now(UTC)
    return max(due - datetime.now(UTC), timedelta(milliseconds=100))


def _wanted(settlement: Settlement, tokens: Sequence[ClaimedToken]) -> Sequence[ClaimedToken]:
    """The tokens to ask for; the others are noted as skipped."""
    wanted = []
    for token in tokens:
        reason = reason_to_skip(token)
        if reason is None:
            wanted.append(token)
        else:
            skip(settlement, token, reason)
    return wanted


def _expired(campaign: Campaign) -> bool:
    return campaign.expires_at is not None and campaign.expires_at <= datetime.now(UTC)
