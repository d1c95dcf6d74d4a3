"""A campaign with a frozen audience in the database, and a provider that answers as told."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.delivery import BatchPass
from activities.stores import Stores
from fanfare.db import audience, batches, campaigns
from fanfare.db.audience import BatchSizes
from fanfare.db.batches import BatchKey
from fanfare.db.campaigns import NewCampaign
from fanfare.db.engine import Database
from fanfare.db.tables import app_users, push_deliveries, push_tokens
from fanfare.entities import Campaign, Stats
from fanfare.ids import new_id
from fanfare.models import Content, OnUnknown, Outcome, ProjectCtx, Target, Verdict
from fanfare.providers import Answered

SENT = Outcome(Verdict.SENT)
ONE_BATCH = BatchSizes(batch=1_000, canary=0)


async def devices(database: Database, project: ProjectCtx, count: int) -> Sequence[int]:
    """So many users with one iOS device each. Returns the token ids."""
    users = [
        {"project_id": project.project_id, "id": new_id(), "external_id": f"user-{number}"}
        for number in range(count)
    ]
    tokens = [
        {
            "project_id": project.project_id,
            "app_user_id": user["id"],
            "token": f"{number:064x}",
            "platform": "ios",
            "provider": "apns",
            "environment": "production",
        }
        for number, user in enumerate(users)
    ]
    async with database.transaction() as conn:
        await conn.execute(sa.insert(app_users), users)
        await conn.execute(sa.insert(push_tokens), tokens)
        return await _token_ids(conn, project)


async def _token_ids(conn: AsyncConnection, project: ProjectCtx) -> Sequence[int]:
    query = (
        sa.select(push_tokens.c.id)
        .where(push_tokens.c.project_id == project.project_id)
        .order_by(push_tokens.c.id)
    )
    return [int(row) for row in (await conn.execute(query)).scalars()]


async def campaign(
    database: Database,
    project: ProjectCtx,
    *,
    on_unknown: OnUnknown = OnUnknown.RESEND,
    expires_at: datetime | None = None,
    sizes: BatchSizes = ONE_BATCH,
) -> Campaign:
    """A campaign that is sending to everyone, its audience frozen."""
    new = NewCampaign(
        "a campaign", Content("Hi", "There", {}), expires_at=expires_at, on_unknown=on_unknown
    )
    async with database.transaction() as conn:
        draft = await campaigns.create(conn, project, new)
        sent = await campaigns.begin_sending(conn, project, draft.id)
        sending = await campaigns.begin(conn, project, draft.id, revision=sent.revision)
        assert sending is not None
        await audience.freeze(conn, sending, sa.true(), sizes)
        return sending


@dataclass
class FakeProvider:
    """Answers by token id, `SENT` where nothing is laid ready; keeps what it was asked."""

    answers: dict[int, Outcome] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    on_ask: Callable[[int], None] = lambda _: None

    async def send(self, targets: Sequence[Target]) -> AsyncIterator[Sequence[Answered]]:
        for target in targets:
            self.asked.append(target.token_id)
            self.on_ask(target.token_id)
        yield [(target, self.answers.get(target.token_id, SENT)) for target in targets]


@dataclass
class FreePace:
    """Admits whatever is wanted; counts what is out."""

    out: int = 0

    async def admit(self, wanted: int) -> int:
        self.out += wanted
        return wanted

    def answered(self, outcomes: Iterable[Outcome]) -> None:
        self.out -= len(list(outcomes))

    def done(self, count: int) -> None:
        self.out -= count


async def attempt(
    stores: Stores, sending: Campaign, provider: FakeProvider, number: int = 0
) -> BatchPass:
    """A new attempt at one batch, ready to run."""
    key = BatchKey(ProjectCtx(sending.project_id), sending.id, number)
    async with stores.ledger.connection() as conn:
        batch = await batches.take(conn, key)
    assert batch is not None
    return BatchPass(stores, key, batch, sending, provider.send, FreePace())


async def environments(database: Database, project: ProjectCtx) -> Mapping[int, str]:
    """Which of APNs' environments each token is held to belong to, by token id."""
    query = sa.select(push_tokens.c.id, push_tokens.c.environment).where(
        push_tokens.c.project_id == project.project_id
    )
    async with database.transaction() as conn:
        return {int(row.id): str(row.environment) for row in await conn.execute(query)}


@dataclass(frozen=True)
class Recorded:
    """A line of the ledger, as tests compare it."""

    status: str
    error_code: str | None
    reason: str | None
    possible_duplicate: bool


async def ledger(database: Database, sending: Campaign) -> Mapping[int, Recorded]:
    """The campaign's ledger by token id."""
    columns = push_deliveries.c
    query = sa.select(
        columns.token_id,
        columns.status,
        columns.error_code,
        columns.reason,
        columns.possible_duplicate,
    ).where(columns.project_id == sending.project_id, columns.campaign_id == sending.id)
    async with database.transaction() as conn:
        rows = (await conn.execute(query)).all()
    return {token_id: Recorded(*rest) for token_id, *rest in rows}


async def stats(database: Database, sending: Campaign) -> Stats:
    """The campaign's counts, as the API shows them."""
    project = ProjectCtx(sending.project_id)
    async with database.transaction() as conn:
        found: Mapping[UUID, Stats] = await batches.stats(conn, project, [sending.id])
    return found[sending.id]
