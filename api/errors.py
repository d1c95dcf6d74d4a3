"""From what is wrong to a status and a code: the one table, and the body that every error has."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from api.bodies import RequestTooLarge, UnsupportedMediaType
from fanfare import errors
from fanfare.errors import FanfareError, FieldFault, InvalidInput
from fanfare.segments.errors import InvalidRules, RulesTooDeep

# A class stands for its subclasses, unless they have a line of their own.
STATUS_AND_CODE: Final[Mapping[type[Exception], tuple[int, str]]] = {
    errors.InvalidInput: (400, "INVALID_INPUT"),
    errors.InvalidScheduledAt: (400, "INVALID_SCHEDULED_AT"),
    errors.ScheduledAtInPast: (400, "SCHEDULED_AT_IN_PAST"),
    errors.ReservedDataKey: (400, "RESERVED_DATA_KEY"),
    errors.InvalidToken: (400, "INVALID_TOKEN"),
    errors.InvalidCredential: (400, "INVALID_CREDENTIAL"),
    InvalidRules: (400, "INVALID_SEGMENT_RULES"),
    RulesTooDeep: (400, "SEGMENT_RULES_TOO_DEEP"),
    errors.Unauthorized: (401, "UNAUTHORIZED"),
    errors.Forbidden: (403, "FORBIDDEN"),
    errors.ProjectForbidden: (403, "PROJECT_FORBIDDEN"),
    errors.SystemSegmentReadOnly: (403, "SYSTEM_SEGMENT"),
    errors.NotFound: (404, "NOT_FOUND"),
    errors.SegmentNotFound: (404, "SEGMENT_NOT_FOUND"),
    errors.CampaignAlreadySent: (409, "ALREADY_SENT"),
    errors.CampaignAlreadyScheduled: (409, "ALREADY_SCHEDULED"),
    errors.CampaignNotEditable: (409, "NOT_EDITABLE"),
    errors.CampaignNotPausable: (409, "NOT_PAUSABLE"),
    errors.CampaignNotResumable: (409, "NOT_RESUMABLE"),
    errors.CampaignNotCancellable: (409, "NOT_CANCELLABLE"),
    errors.ConfirmationRequired: (409, "CONFIRMATION_REQUIRED"),
    errors.AudienceChanged: (409, "AUDIENCE_CHANGED"),
    errors.SegmentExists: (409, "SEGMENT_EXISTS"),
    errors.SegmentInUse: (409, "SEGMENT_IN_USE"),
    errors.IdempotencyKeyInUse: (409, "IDEMPOTENCY_KEY_IN_USE"),
    errors.PayloadTooLarge: (413, "PAYLOAD_TOO_LARGE"),
    RequestTooLarge: (413, "REQUEST_TOO_LARGE"),
    UnsupportedMediaType: (415, "UNSUPPORTED_MEDIA_TYPE"),
    errors.SegmentNotEvaluated: (422, "SEGMENT_NOT_EVALUATED"),
    errors.NoActiveTokens: (422, "NO_ACTIVE_TOKENS"),
    errors.IdempotencyKeyReused: (422, "IDEMPOTENCY_KEY_REUSED"),
    errors.Unavailable: (503, "UNAVAILABLE"),
    errors.DatabaseUnavailable: (503, "DATABASE_UNAVAILABLE"),
    errors.TemporalUnavailable: (503, "TEMPORAL_UNAVAILABLE"),
    errors.WorkerUnavailable: (503, "WORKER_UNAVAILABLE"),
}
UNEXPECTED: Final = (500, "INTERNAL")

# What the framework itself says no to.
_HTTP_CODES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("INVALID_INPUT", "The request cannot be read."),
    404: ("NOT_FOUND", "There is nothing at this path."),
    405: ("METHOD_NOT_ALLOWED", "This path does not take this method."),
    413: ("REQUEST_TOO_LARGE", "The body is too large."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "This path does not read this Content-Type."),
}

_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

_log = structlog.get_logger()


def install(app: FastAPI) -> None:
    """Have every error of a route answered with the error body."""
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    for kind in (FanfareError, InvalidRules, RulesTooDeep):
        app.add_exception_handler(kind, answer)


async def answer(request: Request, error: Exception) -> Response:
    """The response for an error of the table."""
    status, code = status_and_code(error)
    if status >= 500:
        _log.warning("request_refused", code=code, cause=type(error.__cause__).__name__)
    body = error_body(request, code, message_of(error), details_of(error))
    return JSONResponse(body, status, headers=_headers_of(error))


def status_and_code(error: Exception) -> tuple[int, str]:
    """What the table says about the error's class, or the nearest class above it."""
    lines = (STATUS_AND_CODE.get(kind) for kind in type(error).__mro__)
    return next((line for line in lines if line is not None), UNEXPECTED)


def message_of(error: Exception) -> str:
    """The sentence for a person."""
    message = getattr(error, "message", None)
    return message if isinstance(message, str) else str(error)


def details_of(error: Exception) -> Mapping[str, object] | None:
    """What a program may read of the error."""
    match error:
        case FanfareError():
            return error.details
        case InvalidRules():
            found = {"path": error.path, "suggestion": error.suggestion}
            return {key: value for key, value in found.items() if value is not None}
        case RulesTooDeep():
            return {"path": error.path}
        case _:
            return None


def error_body(
    request: Request, code: str, message: str, details: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The body that every error has."""
    error: dict[str, object] = {"code": code, "message": message}
    if details:
        error["details"] = jsonable_encoder(details)
    return {"error": error | {"request_id": getattr(request.state, "request_id", None)}}


def faults_of(problems: Sequence[Mapping[str, object]]) -> list[FieldFault]:
    """pydantic's list of problems as ours: where and what, never the value."""
    return [FieldFault(_path(problem["loc"]), _message(problem)) for problem in problems]


def _message(problem: Mapping[str, object]) -> str:
    # pydantic's own words name classes of Python, which mean nothing to whoever sent JSON.
    match problem:
        case {"type": "dict_type" | "model_type" | "model_attributes_type" | "dataclass_type"}:
            return "must be an object"
        case {"type": "too_short", "ctx": {"min_length": least}}:
            return f"must have {least} or more items"
        case {"type": "too_long", "ctx": {"max_length": most}}:
            return f"must have {most} items at most"
        case _:
            return str(problem["msg"]).removeprefix("Value error, ")


async def _answer_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = faults_of(error.errors())
    where = ", ".join(fault.path for fault in faults[:3])
    return await answer(request, InvalidInput(f"The request is not valid: {where}.", faults))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    fallback = (f"HTTP_{error.status_code}", "The request was refused.")
    code, message = _HTTP_CODES.get(error.status_code, fallback)
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return JSONResponse(error_body(request, code, message), error.status_code, headers)


def _allowed(request: Request) -> str:
    # The framework names the methods of the first route of the path; here each has one method.
    scopes = {method: _scope_of(request, method) for method in _METHODS}
    routes = request.app.routes
    taken = (
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in routes)
    )
    return ", ".join(taken)


def _scope_of(request: Request, method: str) -> Scope:
    kept = {key: request.scope[key] for key in ("type", "path", "headers")}
    return {**kept, "root_path": request.scope.get("root_path", ""), "method": method}


def _headers_of(error: Exception) -> dict[str, str]:
    match error:
        case errors.Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case errors.Unavailable():
            return {"Retry-After": str(max(1, round(error.retry_after.total_seconds())))}
        case _:
            return {}


def _path(location: object) -> str:
    return ".".join(map(str, location)) if isinstance(location, tuple | list) else str(location)
