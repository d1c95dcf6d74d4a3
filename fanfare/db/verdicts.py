"""What a campaign's outcomes say about the tokens themselves, written to `push_tokens`.

A provider's final word deactivates a token, unless the device registered again since. One
BadDeviceToken proves little (a wrong environment looks the same for all): a token that is called
bad by a second campaign, a day or more after the first, is believed to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from fanfare.models import ProjectCtx


@dataclass(frozen=True, slots=True)
class DeadToken:
    """A token that the provider calls gone, and since when."""

    token_id: int
    since: datetime


async def deactivate(conn: AsyncConnection, project: ProjectCtx, dead: Sequence[DeadToken]) -> None:
    """Deactivate each token whose device has not registered since."""
    values = {
        "project_id": project.project_id,
        "token_ids": [token.token_id for token in dead],
        "since": [token.since for token in dead],
    }
    await conn.execute(_DEACTIVATE, values)


async def suspect(conn: AsyncConnection, project: ProjectCtx, token_ids: Sequence[int]) -> None:
    """Mark tokens as suspect; deactivate those that were so at least a day ago."""
    await conn.execute(_SUSPECT, {"project_id": project.project_id, "token_ids": list(token_ids)})


async def clear(conn: AsyncConnection, project: ProjectCtx, token_ids: Sequence[int]) -> None:
    """Lift the suspicion from tokens that were accepted."""
    await conn.execute(_CLEAR, {"project_id": project.project_id, "token_ids": list(token_ids)})


_TOKEN_IDS = sa.bindparam("token_ids", type_=ARRAY(sa.BigInteger))

_DEACTIVATE = sa.text(
    """
    UPDATE push_tokens t SET is_active = false, deactivated_reason = 'unregistered'
    FROM unnest(:token_ids, :since) AS dead(token_id, since)
    WHERE t.project_id = :project_id AND t.id = dead.token_id
      AND t.is_active AND t.registered_at <= dead.since
    """
).bindparams(_TOKEN_IDS, sa.bindparam("since", type_=ARRAY(sa.TIMESTAMP(timezone=True))))

_SUSPECT = sa.text(
    """
    UPDATE push_tokens SET
        suspicions = suspicions + 1,
        suspected_at = coalesce(suspected_at, now()),
        is_active = is_active AND (suspected_at IS NULL OR suspected_at > now() - interval '1 day'),
        deactivated_reason = CASE
            WHEN is_active AND suspected_at <= now() - interval '1 day' THEN 'bad_token'
            ELSE deactivated_reason END
    WHERE project_id = :project_id AND id = ANY(:token_ids)
    """
).bindparams(_TOKEN_IDS)

_CLEAR = sa.text(
    """
    UPDATE push_tokens SET suspicions = 0, suspected_at = NULL
    WHERE project_id = :project_id AND id = ANY(:token_ids)
    """
).bindparams(_TOKEN_IDS)
