"""When and how often the providers accepted a campaign's messages, by the simulator's ledger."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from pydantic import BaseModel


class Acceptance(BaseModel):
    """What the ledger says of one acceptance, as far as it is asked here."""

    accepted_at: datetime


class Page(BaseModel):
    data: list[Acceptance]
    next_cursor: int | None


def totals(simulator_url: str, campaign_id: UUID) -> Any:  # Any: JSON
    """The simulator's counts. Raises httpx.HTTPError where it does not answer."""
    query = {"collapse_id": str(campaign_id)}
    answer = httpx.get(f"{simulator_url}/ledger/stats", params=query, trust_env=False)
    return answer.raise_for_status().json()


def moments(simulator_url: str, campaign_id: UUID) -> Iterator[float]:
    """When each message was accepted, in epoch seconds, the first one first."""
    cursor: int | None = 0
    with httpx.Client(base_url=simulator_url, trust_env=False) as http:
        while cursor is not None:
            query: dict[str, str | int] = {"collapse_id": str(campaign_id), "limit": 500}
            query["cursor"] = cursor
            page = Page.model_validate(http.get("/ledger", params=query).raise_for_status().json())
            yield from (entry.accepted_at.timestamp() for entry in page.data)
            cursor = page.next_cursor
