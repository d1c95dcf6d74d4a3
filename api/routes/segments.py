"""Segments: named rules over users."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, Field

from api import fields
from api.dependencies import (
    AudienceConnection,
    ClaimId,
    Connection,
    Deployment,
    Paging,
    Project,
)
from api.envelopes import Envelope, Listing, documented_errors
from api.principals import requires
from api.rules import PreviewRoute, Rules, RulesRoute, openapi_examples
from fanfare.db import previews, segments
from fanfare.db.segments import NewSegment, SegmentPatch
from fanfare.entities import Scope, Segment, User
from fanfare.segments.compiler import compile_rule
from fanfare.segments.grammar import parse_rules
from workflows import refreshes

router = APIRouter(route_class=RulesRoute, tags=["segments"])
previews_router = APIRouter(route_class=PreviewRoute, tags=["segments"])

_RULES: Mapping[str, object] = {
    "operator": "AND",
    "conditions": [{"field": "last_seen_at", "op": "not_within", "value": "7d"}],
}
_SEGMENT: Mapping[str, object] = {
    "id": "seg_inactive_7d",
    "name": "Inactive for a week",
    "rules": _RULES,
}
_PATCH: Mapping[str, object] = {"name": "Away for a week", "description": None}

Description = Annotated[str, Field(max_length=1000)]


class SegmentBody(fields.Body):
    id: str | None = Field(
        default=None, pattern=r"^seg_[a-z0-9_]{1,60}$", description="Generated where absent."
    )
    name: fields.Name
    description: Description | None = None
    rules: Rules


class SegmentPatchBody(fields.Body):
    """What is left out stays as it is."""

    name: fields.Name = ""
    description: Description | None = None
    rules: Rules = Field(default_factory=dict)

    def patch(self) -> SegmentPatch:
        """The columns that were given. Raises InvalidRules or RulesTooDeep."""
        given = self.model_dump(include=self.model_fields_set)
        if "rules" in given:
            given["rules"] = _checked(self.rules)
        return SegmentPatch(given)


class PreviewBody(fields.Body):
    rules: Rules


class PreviewAnswer(BaseModel):
    """How many users match the rules now, and some of them."""

    count: int
    sample: Sequence[User] = Field(description=f"{previews.SAMPLE} users at most, any that match.")


@router.post(
    "",
    status_code=201,
    dependencies=[requires(Scope.AUDIENCE_WRITE)],
    responses=documented_errors(400, 401, 403, 409, 413, 415, 422, 503),
)
async def create_segment(
    body: Annotated[
        SegmentBody,
        Body(examples=[_SEGMENT], openapi_examples=openapi_examples({"name": "A segment"})),
    ],
    conn: Connection,
    project: Project,
    claim_id: ClaimId,
) -> Envelope[Segment]:
    """Store rules under a name. They are checked now, and evaluated whenever they are used."""
    new = NewSegment(body.name, _checked(body.rules), body.description, body.id)
    return Envelope(data=await segments.create(conn, project, new, claim_id))


@router.get(
    "",
    dependencies=[requires(Scope.AUDIENCE_READ)],
    responses=documented_errors(400, 401, 403, 503),
)
async def list_segments(conn: Connection, project: Project, paging: Paging) -> Listing[Segment]:
    """The project's segments, the newest first."""
    return Listing[Segment].of(await segments.page(conn, project, paging))


@previews_router.post(
    "/preview",
    dependencies=[requires(Scope.AUDIENCE_READ)],
    responses=documented_errors(400, 401, 403, 413, 415, 503),
)
async def preview_segment(
    body: Annotated[
        PreviewBody, Body(examples=[{"rules": _RULES}], openapi_examples=openapi_examples({}))
    ],
    conn: AudienceConnection,
    project: Project,
) -> Envelope[PreviewAnswer]:
    """How many users these rules select now, and ten of them. Nothing is stored."""
    condition = compile_rule(parse_rules(body.rules))
    found = await previews.preview(conn, project, condition)
    return Envelope(data=PreviewAnswer(count=found.count, sample=found.sample))


@router.get(
    "/{id}",
    dependencies=[requires(Scope.AUDIENCE_READ)],
    responses=documented_errors(400, 401, 403, 404, 503),
)
async def get_segment(id: str, conn: Connection, project: Project) -> Envelope[Segment]:  # noqa: A002 - the path's name
    """One segment. `user_count` is of `last_evaluated_at`; both are null until the rules were
    evaluated for the first time."""
    return Envelope(data=await segments.get(conn, project, id))


@router.patch(
    "/{id}",
    dependencies=[requires(Scope.AUDIENCE_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 413, 415, 503),
)
async def update_segment(
    id: str,  # noqa: A002 - the path's name
    body: Annotated[SegmentPatchBody, Body(examples=[_PATCH])],
    conn: Connection,
    project: Project,
) -> Envelope[Segment]:
    """Change a segment. Campaigns that are still to be sent use the new rules. System segments
    cannot be changed."""
    return Envelope(data=await segments.update(conn, project, id, body.patch()))


@router.delete(
    "/{id}",
    status_code=204,
    dependencies=[requires(Scope.AUDIENCE_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 409, 503),
)
async def delete_segment(id: str, conn: Connection, project: Project) -> None:  # noqa: A002 - the path's name
    """Remove a segment that no campaign is still to be sent to, and that is no system segment."""
    await segments.delete(conn, project, id)


@router.post(
    "/{id}/evaluate",
    dependencies=[requires(Scope.AUDIENCE_WRITE)],
    responses=documented_errors(400, 401, 403, 404, 409, 422, 503)
    | {202: {"model": Envelope[Segment], "description": "It takes longer, and goes on."}},
)
async def evaluate_segment(
    id: str,  # noqa: A002 - the path's name
    resources: Deployment,
    project: Project,
    response: Response,
) -> Envelope[Segment]:
    """Refresh the segment's membership and count now, as happens every 15 minutes anyway. 202 with
    the segment as it was where that takes longer than ten seconds."""
    async with resources.database.project(project) as conn:
        await segments.get(conn, project, id)
    if not await refreshes.evaluate(resources.temporal, project.project_id, id):
        response.status_code = 202
    async with resources.database.project(project) as conn:
        return Envelope(data=await segments.get(conn, project, id))


def _checked(rules: Mapping[str, object]) -> Mapping[str, object]:
    return parse_rules(rules).model_dump(mode="json", exclude_none=True)
