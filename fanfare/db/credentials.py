"""The table `credentials`: one per project, provider and environment, the secret sealed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.db.tables import credentials
from fanfare.entities import Limits, SealedSecret, StoredCredential
from fanfare.errors import CredentialNotFound
from fanfare.models import Environment, ProjectCtx, ProviderName

_UNCHECKED = "unchecked"
_LIMITS = [field.name for field in fields(Limits)]
_SHOWN = [
    credentials.c[name]
    for name in (*(field.name for field in fields(StoredCredential)), *_LIMITS)
    if name != "limits"
]


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A checked credential whose secret was sealed for the row `id`.

    `limits`: None for those of the credential before, or the defaults where there was none.
    """

    id: UUID
    provider: ProviderName
    environment: Environment
    public: Mapping[str, str]
    fingerprint: str
    sealed: SealedSecret
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class SealedCredential:
    """A credential as the sender takes it, to be opened with `sealing_context`."""

    stored: StoredCredential
    sealed: SealedSecret


def sealing_context(project: ProjectCtx, provider: ProviderName, credential_id: UUID) -> str:
    """What a secret is bound to: it opens for this row and no other."""
    return f"{project.project_id}|{provider}|{credential_id}"


async def put(conn: AsyncConnection, project: ProjectCtx, new: NewCredential) -> StoredCredential:
    """Store a credential in the place of the one before, unchecked again. Its id is new.

    Limits that it does not name stay those of its place.
    """
    values = {
        "id": new.id,
        "public": dict(new.public),
        "fingerprint": new.fingerprint,
        "secret": new.sealed.secret,
        "wrapped_key": new.sealed.wrapped_key,
        "wrapped_by": new.sealed.wrapped_by,
        "status": _UNCHECKED,
        "status_reason": None,
        "checked_at": None,
        "updated_at": sa.func.now(),
    }
    if new.limits is not None:
        values |= asdict(new.limits)
    statement = insert(credentials).values(
        project_id=project.project_id,
        provider=new.provider,
        environment=new.environment,
        **(asdict(Limits()) | values),
    )
    place = ["project_id", "provider", "environment"]
    stored = statement.on_conflict_do_update(index_elements=place, set_=values).returning(*_SHOWN)
    return _credential((await conn.execute(stored)).mappings().one())


async def all_of(conn: AsyncConnection, project: ProjectCtx) -> Sequence[StoredCredential]:
    """The project's credentials: three at most."""
    statement = (
        sa.select(*_SHOWN)
        .where(credentials.c.project_id == project.project_id)
        .order_by(credentials.c.provider, credentials.c.environment)
    )
    return [_credential(row) for row in (await conn.execute(statement)).mappings()]


async def get(
    conn: AsyncConnection, project: ProjectCtx, provider: ProviderName, environment: Environment
) -> StoredCredential:
    """One credential, without its secret. Raises CredentialNotFound."""
    return (await get_sealed(conn, project, provider, environment)).stored


async def get_sealed(
    conn: AsyncConnection, project: ProjectCtx, provider: ProviderName, environment: Environment
) -> SealedCredential:
    """One credential with its sealed secret. Raises CredentialNotFound."""
    statement = sa.select(credentials).where(*_is(project, provider, environment))
    row = (await conn.execute(statement)).mappings().one_or_none()
    if row is None:
        raise CredentialNotFound(f"There is no {provider} credential for {environment}.")
    sealed = SealedSecret(row["secret"], row["wrapped_key"], row["wrapped_by"])
    return SealedCredential(_credential(row), sealed)


async def note_test(
    conn: AsyncConnection,
    project: ProjectCtx,
    credential_id: UUID,
    status: str,
    reason: str | None,
) -> None:
    """Keep what a test of the credential found, unless it was replaced meanwhile."""
    statement = (
        sa.update(credentials)
        .where(credentials.c.project_id == project.project_id, credentials.c.id == credential_id)
        .values(status=status, status_reason=reason, checked_at=sa.func.now())
    )
    await conn.execute(statement)


async def delete(
    conn: AsyncConnection, project: ProjectCtx, provider: ProviderName, environment: Environment
) -> None:
    """Remove a credential for good. Raises CredentialNotFound."""
    statement = sa.delete(credentials).where(*_is(project, provider, environment))
    if (await conn.execute(statement)).rowcount == 0:
        raise CredentialNotFound(f"There is no {provider} credential for {environment}.")


def _is(
    project: ProjectCtx, provider: ProviderName, environment: Environment
) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        credentials.c.project_id == project.project_id,
        credentials.c.provider == provider,
        credentials.c.environment == environment,
    )


def _credential(row: sa.RowMapping) -> StoredCredential:
    return StoredCredential(
        id=row["id"],
        provider=ProviderName(row["provider"]),
        environment=Environment(row["environment"]),
        public=row["public"],
        fingerprint=row["fingerprint"],
        status=row["status"],
        status_reason=row["status_reason"],
        checked_at=row["checked_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        limits=Limits(**{name: row[name] for name in _LIMITS}),
    )
