"""Waiting for a campaign, by asking as any client does."""

import time
from typing import Any
from uuid import UUID

import httpx

from fanfare.dev.api_client import ApiClient, Campaign

DEADLINE_SECONDS = 120


def until_over(api: ApiClient, campaign_id: UUID) -> Campaign:
    """The campaign, once it has ended."""
    limit = time.monotonic() + DEADLINE_SECONDS
    while not (campaign := api.campaign(campaign_id)).is_over:
        assert time.monotonic() < limit, campaign
    return campaign


def until_some_are_sent(api: ApiClient, campaign_id: UUID) -> None:
    """Return in the middle of the campaign."""
    limit = time.monotonic() + DEADLINE_SECONDS
    while api.campaign(campaign_id).stats.sent == 0:
        assert time.monotonic() < limit


def until_held(api: ApiClient, campaign_id: UUID) -> Campaign:
    """The campaign, once its provider holds it."""
    limit = time.monotonic() + DEADLINE_SECONDS
    while (campaign := api.campaign(campaign_id)).held_until is None:
        assert time.monotonic() < limit, campaign
    return campaign


def until_status(http: httpx.Client, campaign_id: str, status: str) -> dict[str, Any]:  # Any: JSON
    """The campaign as JSON, once it has that status."""
    limit = time.monotonic() + DEADLINE_SECONDS
    while True:
        found: dict[str, Any] = http.get(f"/admin/push/{campaign_id}").json()["data"]
        if found["status"] == status:
            return found
        assert time.monotonic() < limit, found
