"""Segments: named rules over users."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field

from api import fields
from api.dependencies import Connection, Paging, Project
from api.envelopes import Envelope, Listing, documented_errors
from api.principals import requires
from api.routing import GuardedRoute
from fanfare.db import segments
from fanfare.db.segments import NewSegment
from fanfare.entities import Scope, Segment
from fanfare.segments.grammar import parse_rules

router = APIRouter(route_class=GuardedRoute, tags=["segments"])

_SEGMENT: Mapping[str, object] = {
    "id": "seg_inactive_7d",
    "name": "Inactive for a week",
    "rules": {
        "operator": "AND",
        "conditions": [{"field": "last_seen_at", "op": "not_within", "value": "7d"}],
    },
}


class SegmentBody(fields.Body):
    id: str | None = Field(
        default=None, pattern=r"^seg_[a-z0-9_]{1,60}$", description="Generated where absent."
    )
    name: fields.Name
    description: Annotated[str, Field(max_length=1000)] | None = None
    rules: dict[str, Any] = Field(  # Any: JSON, which the grammar checks
        description="`{operator: AND|OR|NOT, conditions: [...]}` or `{field, op, value}`."
    )


@router.post(
    "",
    status_code=201,
    dependencies=[requires(Scope.AUDIENCE_WRITE)],
    responses=documented_errors(400, 401, 403, 409, 413, 415, 422, 503),
)
async def create_segment(
    body: Annotated[SegmentBody, Body(examples=[_SEGMENT])], conn: Connection, project: Project
) -> Envelope[Segment]:
    """Store rules under a name. They are checked now, and evaluated whenever they are used."""
    rule = parse_rules(body.rules)
    rules = rule.model_dump(mode="json", exclude_none=True)
    new = NewSegment(body.name, rules, body.description, body.id)
    return Envelope(data=await segments.create(conn, project, new))


@router.get(
    "",
    dependencies=[requires(Scope.AUDIENCE_READ)],
    responses=documented_errors(400, 401, 403, 503),
)
async def list_segments(conn: Connection, project: Project, paging: Paging) -> Listing[Segment]:
    """The project's segments, the newest first."""
    return Listing[Segment].of(await segments.page(conn, project, paging))


@router.get(
    "/{id}",
    dependencies=[requires(Scope.AUDIENCE_READ)],
    responses=documented_errors(401, 403, 404, 503),
)
async def get_segment(id: str, conn: Connection, project: Project) -> Envelope[Segment]:  # noqa: A002 - the path's name
    """One segment."""
    return Envelope(data=await segments.get(conn, project, id))
