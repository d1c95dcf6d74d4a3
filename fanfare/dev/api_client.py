"""What the demonstration asks of the HTTP API, and what it reads of the answers."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
import orjson
from pydantic import BaseModel, Field

from fanfare.dev.processes import StackProblem

# An import of many users takes a while to answer.
TIMEOUT = httpx.Timeout(10, read=120)

IMPORT_CHUNK_BYTES = 64 * 1024

# The simulator has none, and a benchmark is to measure the machine.
NO_LIMITS = {"messages_per_minute": None, "ramp_seconds": 0, "max_in_flight": 5_000}


class ApiRefused(StackProblem):
    """The API answered with an error, or not at all."""


class ApiUnavailable(ApiRefused):
    """It did not answer, or says that the same request may be answered later."""


class NewProject(BaseModel):
    """A project, with the key that it came with."""

    project_id: UUID
    api_key: str


class ImportReport(BaseModel):
    """What became of an upload; `errors` are the first ones."""

    lines: int
    users: int
    tokens: int
    failed: int
    errors: list[dict[str, Any]]  # Any: shown as it is


class CampaignStats(BaseModel):
    """A campaign's counts. `audience` is None until it is frozen."""

    audience: int | None = None
    pending: int = 0
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    possible_duplicates: int = 0
    skipped_by: dict[str, int] = Field(default_factory=dict)


class CampaignFailure(BaseModel):
    code: str
    message: str


class Campaign(BaseModel):
    """A campaign as the API shows it. `in_flight_at_most` is how many messages of a stopped one may
    still be accepted."""

    id: UUID
    name: str
    status: str
    stats: CampaignStats
    failure: CampaignFailure | None
    scheduled_at: datetime | None = None
    paused_at: datetime | None = None
    in_flight_at_most: int | None = None
    held_until: datetime | None = None

    @property
    def is_over(self) -> bool:
        return self.status in {"sent", "failed", "cancelled"}


class ApiClient:
    """One key's view of the API. Every method raises ApiRefused where it is not answered well."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def create_project(self, name: str) -> NewProject:
        """Make a project; needs an operator's key."""
        made = self._ask("POST", "/admin/projects", json={"name": name})
        return NewProject(project_id=made["project"]["id"], api_key=made["key"]["secret"])

    def check_key(self) -> None:
        """Do nothing where the key is a live one."""
        self._ask("GET", "/admin/project")

    def put_credentials(self, account: Path) -> None:
        """Set the APNs key and the FCM service account from the simulator's account folder."""
        identity = orjson.loads((account / "account.json").read_bytes())
        apns = {name: identity[name] for name in ("team_id", "key_id", "bundle_id")}
        key_p8 = (account / "AuthKey.p8").read_text()
        apns |= {"key_p8": key_p8, "limits": NO_LIMITS}
        self._ask("PUT", "/admin/credentials/apns", json=apns)
        service_account = (account / "service-account.json").read_text()
        fcm = {"service_account_json": service_account, "limits": NO_LIMITS}
        self._ask("PUT", "/admin/credentials/fcm", json=fcm)

    def import_users(self, lines: Iterable[bytes]) -> ImportReport:
        """Upload users with devices as NDJSON, in a stream."""
        headers = {"Content-Type": "application/x-ndjson"}
        chunks = _chunks(lines)
        done = self._ask("POST", "/admin/import", content=chunks, headers=headers)
        return ImportReport.model_validate(done)

    def create_segment(self, segment: Mapping[str, object]) -> None:
        self._ask("POST", "/admin/segments", json=segment)

    def create_campaign(self, campaign: Mapping[str, object]) -> Campaign:
        return Campaign.model_validate(self._ask("POST", "/admin/push", json=campaign))

    def send_campaign(self, campaign_id: UUID) -> Campaign:
        return Campaign.model_validate(self._ask("POST", f"/admin/push/{campaign_id}/send"))

    def pause_campaign(self, campaign_id: UUID) -> Campaign:
        return Campaign.model_validate(self._ask("POST", f"/admin/push/{campaign_id}/pause"))

    def resume_campaign(self, campaign_id: UUID) -> Campaign:
        return Campaign.model_validate(self._ask("POST", f"/admin/push/{campaign_id}/resume"))

    def cancel_campaign(self, campaign_id: UUID) -> Campaign:
        return Campaign.model_validate(self._ask("POST", f"/admin/push/{campaign_id}/cancel"))

    def change_campaign(self, campaign_id: UUID, change: Mapping[str, object]) -> Campaign:
        path = f"/admin/push/{campaign_id}"
        return Campaign.model_validate(self._ask("PATCH", path, json=change))

    def delete_campaign(self, campaign_id: UUID) -> None:
        self._ask("DELETE", f"/admin/push/{campaign_id}")

    def campaign(self, campaign_id: UUID) -> Campaign:
        return Campaign.model_validate(self._ask("GET", f"/admin/push/{campaign_id}"))

    def _ask(self, method: str, path: str, **request: Any) -> Any:  # Any: httpx's options; JSON
        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise ApiUnavailable(f"{method} {path}: {error!r}") from error
        if not response.is_success:
            refused = ApiUnavailable if "Retry-After" in response.headers else ApiRefused
            raise refused(f"{method} {path}: {_said(response)}")
        return None if response.status_code == 204 else response.json()["data"]


def _said(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return f"{response.status_code} {error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.text[:200]}"


def _chunks(lines: Iterable[bytes]) -> Iterable[bytes]:
    """Lines put together, so that not every one is a chunk of HTTP by itself."""
    waiting = bytearray()
    for line in lines:
        waiting += line
        if len(waiting) >= IMPORT_CHUNK_BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)
