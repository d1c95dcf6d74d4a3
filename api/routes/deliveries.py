"""A campaign's ledger: what became of each device of its audience."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from api.dependencies import Connection, Deployment, Paging, Project
from api.envelopes import Listing, documented_errors
from api.principals import requires
from api.routing import GuardedRoute
from fanfare.db import campaigns, deliveries
from fanfare.db.deliveries import DeliveryFilter
from fanfare.db.engine import Database
from fanfare.db.rows import PageRequest
from fanfare.entities import Delivery, Scope
from fanfare.models import DeliveryStatus, ErrorCode, ProjectCtx

router = APIRouter(route_class=GuardedRoute, tags=["campaigns"])

Format = Literal["json", "csv", "ndjson"]

COLUMNS = tuple(Delivery.__dataclass_fields__)
LINES_AT_ONCE = 2_000
_NDJSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


def _delivery_filter(
    status: DeliveryStatus | None = None,
    error_code: ErrorCode | None = None,
    app_user_id: UUID | None = None,
) -> DeliveryFilter:
    return DeliveryFilter(status, error_code, app_user_id)


@router.get(
    "/{id}/deliveries",
    dependencies=[requires(Scope.CAMPAIGNS_READ)],
    response_model=Listing[Delivery],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def list_deliveries(
    id: UUID,  # noqa: A002 - the path's name
    conn: Connection,
    project: Project,
    paging: Paging,
    wanted: Annotated[DeliveryFilter, Depends(_delivery_filter)],
    resources: Deployment,
    format: Annotated[  # noqa: A002 - the query's name
        Format, Query(description="`csv` and `ndjson` stream all of it, whatever its size.")
    ] = "json",
) -> Listing[Delivery] | Response:
    """The ledger, by token. Rows appear when an outcome is known; `pending` ones have none."""
    await campaigns.get(conn, project, id)
    if format == "json":
        return Listing[Delivery].of(await deliveries.page(conn, project, id, paging, wanted))
    rows = _rows(resources.database, project, id, wanted)
    if format == "csv":
        return StreamingResponse(as_csv(rows), media_type="text/csv")
    return StreamingResponse(as_ndjson(rows), media_type="application/x-ndjson")


async def _rows(
    database: Database, project: ProjectCtx, campaign_id: UUID, wanted: DeliveryFilter
) -> AsyncIterator[Sequence[Delivery]]:
    """All rows, some at a time. However slowly they are read, no connection waits for it."""
    cursor: str | None = None
    while True:
        async with database.project(project) as conn:
            request = PageRequest(LINES_AT_ONCE, cursor)
            page = await deliveries.page(conn, project, campaign_id, request, wanted)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return


async def as_csv(rows: AsyncIterator[Sequence[Delivery]]) -> AsyncIterator[str]:
    """RFC 4180 with a header row. Values are spelt as in JSON; what is absent is empty."""
    yield ",".join(COLUMNS) + "\r\n"
    async for some in rows:
        text = io.StringIO()
        csv.writer(text).writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in some)
        yield text.getvalue()


async def as_ndjson(rows: AsyncIterator[Sequence[Delivery]]) -> AsyncIterator[bytes]:
    """One JSON object a line."""
    async for some in rows:
        yield b"".join(orjson.dumps(row, option=_NDJSON_OPTIONS) for row in some)


def _cell(value: object) -> object:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case _:
            return value
