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
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from api.dependencies import Caller, Connection, Deployment, Paging, Project
from api.envelopes import Listing, documented_errors
from api.principals import requires
from api.routing import GuardedRoute
from fanfare.db import campaigns, deliveries, explanations, users
from fanfare.db.deliveries import DeliveryFilter
from fanfare.db.engine import Database
from fanfare.db.rows import PageRequest
from fanfare.entities import Delivery, Scope
from fanfare.errors import FieldFault, InvalidInput, UserNotFound
from fanfare.explanations.facts import MEANINGS, Explanation
from fanfare.models import DeliveryStatus, ErrorCode, ProjectCtx

router = APIRouter(route_class=GuardedRoute, tags=["campaigns"])

Format = Literal["json", "csv", "ndjson"]

COLUMNS = tuple(Delivery.__dataclass_fields__)
LINES_AT_ONCE = 2_000
_FORMATS = {
    "description": "A page, or all of it where the format says so.",
    "content": {
        "text/csv": {"schema": {"type": "string"}},
        "application/x-ndjson": {"schema": {"type": "string"}},
    },
}
_NDJSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


_EXPLANATION = """
Why the user got the message, or did not, also where it was not in the audience. Null without
`app_user_id` or `external_id`, and for keys that may not read the audience (`audience:read`).
`rule` is the segment's rule with an answer at each condition, of `evaluated_at`: `frozen` rules are
those that the audience was chosen by, `current` ones the segment's present rules. `verdict` is:

"""


class DeliveryListing(Listing[Delivery]):
    """A page of the ledger."""

    explanation: Explanation | None = Field(
        description=_EXPLANATION
        + "\n".join(f"* `{verdict}`: {meaning}" for verdict, meaning in MEANINGS.items())
    )


async def _delivery_filter(
    conn: Connection,
    project: Project,
    status: DeliveryStatus | None = None,
    error_code: ErrorCode | None = None,
    app_user_id: Annotated[UUID | None, Query(description="With an `explanation`.")] = None,
    external_id: Annotated[
        str | None, Query(description="Your own id of the user, instead of `app_user_id`.")
    ] = None,
) -> DeliveryFilter:
    if external_id is None:
        return DeliveryFilter(status, error_code, app_user_id)
    if app_user_id is not None:
        fault = FieldFault("query.external_id", "not together with app_user_id")
        raise InvalidInput("Name the user by app_user_id or by external_id, not by both.", [fault])
    return DeliveryFilter(status, error_code, await _id_of(conn, project, external_id))


async def _id_of(conn: AsyncConnection, project: ProjectCtx, external_id: str) -> UUID:
    try:
        return (await users.get(conn, project, external_id)).id
    except UserNotFound:
        return explanations.NOBODY


@router.get(
    "/{id}/deliveries",
    dependencies=[requires(Scope.CAMPAIGNS_READ)],
    response_model=DeliveryListing,
    responses=documented_errors(400, 401, 403, 404, 503) | {200: _FORMATS},
)
async def list_deliveries(
    id: UUID,  # noqa: A002 - the path's name
    conn: Connection,
    project: Project,
    caller: Caller,
    paging: Paging,
    wanted: Annotated[DeliveryFilter, Depends(_delivery_filter)],
    resources: Deployment,
    format: Annotated[  # noqa: A002 - the query's name
        Format, Query(description="`csv` and `ndjson` stream all of it, whatever its size.")
    ] = "json",
) -> DeliveryListing | Response:
    """The ledger, by token. Rows appear when an outcome is known; `pending` ones have none."""
    campaign = await campaigns.get(conn, project, id)
    if format == "json":
        page = await deliveries.page(conn, project, id, paging, wanted)
        asked = wanted.app_user_id if caller.may(Scope.AUDIENCE_READ) else None
        found = asked and await explanations.of_user(conn, project, campaign, asked)
        return DeliveryListing(data=page.items, next_cursor=page.next_cursor, explanation=found)
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
