"""When and how often the providers accepted a campaign's messages, by the simulator's ledger."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from pydantic import BaseModel


class Acceptance(BaseModel):
    """What the ledger says of one acceptance, as far as it is asked here."""

    token: str
    message_id: str
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
    return (entry.accepted_at.timestamp() for entry in _entries(simulator_url, campaign_id))


def ids_of_repeated(simulator_url: str, campaign_id: UUID) -> Mapping[str, Sequence[str]]:
    """The messages' ids at the provider, by token, where one was accepted more than once."""
    ids = defaultdict[str, list[str]](list)
    for entry in _entries(simulator_url, campaign_id):
        ids[entry.token].append(entry.message_id)
    return {token: found for token, found in ids.items() if len(found) > 1}


def _entries(simulator_url: str, campaign_id: UUID) -> Iterator[Acceptance]:
    cursor: int | None = 0
    with httpx.Client(base_url=simulator_url, trust_env=False) as http:
        while cursor is not None:
            query: dict[str, str | int] = {"collapse_id": str(campaign_id), "limit": 500}
            query["cursor"] = cursor
            page = Page.model_validate(http.get("/ledger", params=query).raise_for_status().json())
            yield from page.data
            cursor = page.next_cursor
