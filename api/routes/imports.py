"""The import of users with devices: streamed, in chunks that are kept one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError

from api import fields
from api.bodies import UnsupportedMediaType, media_type
from api.dependencies import Deployment, Project
from api.envelopes import Envelope, documented_errors
from api.errors import faults_of, status_and_code
from api.imports import Csv, Format, Line, Ndjson, UnreadableLine, lines_of
from api.principals import requires
from api.routes.tokens import NOBODY, TokenBody
from api.routes.users import EntitlementBody, UserBody, distinct_entitlements
from api.routing import StreamedRoute
from fanfare.db import imports
from fanfare.db.engine import Database
from fanfare.db.imports import Imported, ImportedUser
from fanfare.db.tokens import Device
from fanfare.entities import Entitlement, Scope
from fanfare.errors import InvalidInput, InvalidToken, TransactionConflict
from fanfare.models import ProjectCtx

router = APIRouter(route_class=StreamedRoute, tags=["import"])

CHUNK_LINES = 1_000
# A chunk of the longest lines is sent off sooner, so that memory stays flat.
CHUNK_BYTES = 4 * 1024 * 1024
MAX_ERRORS = 100
CONFLICTS_BORNE = 5
MAX_TOKENS_PER_LINE = 100

_INVALID: Final = "INVALID_INPUT"
_TOO_LARGE: Final = "the user's properties would become too large"

_FORMATS: Final[Mapping[str, type[Format]]] = {"application/x-ndjson": Ndjson, "text/csv": Csv}
_NDJSON = (
    '{"external_id": "user-42", "email": "ada@example.com", "properties": {"plan": "pro"}, '
    '"push_tokens": [{"token": "00fc13adff78", "platform": "ios"}]}\n'
)
_CSV = "external_id,email,properties.plan,token,platform\nuser-42,ada@example.com,pro,00fc13,ios\n"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}, "example": _NDJSON},
            "text/csv": {"schema": {"type": "string"}, "example": _CSV},
        },
    }
}


class ImportLine(UserBody):
    """A user with devices and entitlements; what is left out stays as it is."""

    external_id: fields.ExternalId
    entitlements: list[EntitlementBody] | None = None
    push_tokens: Annotated[list[TokenBody], Field(max_length=MAX_TOKENS_PER_LINE)] = Field(
        default_factory=list
    )


class LineError(BaseModel):
    """Why a line was left out."""

    line: int
    code: str
    message: str
    path: str | None = None


class ImportReport(BaseModel):
    """What became of an upload. `users` and `tokens` count what good lines named, once a chunk."""

    lines: int
    users: int
    tokens: int
    failed: int
    errors: list[LineError] = Field(description=f"The first {MAX_ERRORS}.")
    errors_truncated: bool


@router.post(
    "",
    dependencies=[requires(Scope.AUDIENCE_WRITE)],
    responses=documented_errors(400, 401, 403, 415, 503),
    openapi_extra=_BODY,
)
async def import_users(
    request: Request, project: Project, resources: Deployment
) -> Envelope[ImportReport]:
    """Create or change users with their devices, by the million.

    NDJSON, one user a line, or CSV with a header row: the columns of a user, `properties` (JSON)
    or `properties.<name>` (text), and one device a row. A line that is wrong is reported and left
    out; the others are kept, 1,000 at a time. To repeat an import is harmless: equal users are not
    written, and a device that is held for dead stays so until its app registers it.
    """
    reader = _format_of(request)
    upload = _Upload(resources.database, project)
    async for line in lines_of(request.stream(), reader):
        await upload.add(line, reader)
    return Envelope(data=await upload.finish())


@dataclass(slots=True)
class _Upload:
    """What has come of an import so far, and the lines that are not stored yet."""

    database: Database
    project: ProjectCtx
    waiting: list[tuple[int, ImportedUser]] = field(default_factory=list)
    waiting_bytes: int = 0
    lines: int = 0
    users: int = 0
    tokens: int = 0
    failed: int = 0
    errors: list[LineError] = field(default_factory=list)

    async def add(self, line: Line, reader: Format) -> None:
        """Take one line; store a chunk when there is one.

        Raises InvalidInput where the whole upload cannot be read, and DatabaseUnavailable.
        """
        try:
            user = _read(line, reader)
        except UnreadableLine as error:
            self._refuse(line, str(error))
        except ValidationError as error:
            fault = faults_of(error.errors(include_url=False, include_input=False))[0]
            self._refuse(line, fault.message, path=fault.path)
        except RefusedLine as error:
            self._refuse(line, str(error), path=error.path, code=error.code)
        else:
            if user is not None:
                await self._keep(line, user)

    async def finish(self) -> ImportReport:
        """Store what is left, and say what became of everything."""
        await self._store()
        return ImportReport(
            lines=self.lines,
            users=self.users,
            tokens=self.tokens,
            failed=self.failed,
            errors=self.errors,
            errors_truncated=self.failed > len(self.errors),
        )

    async def _keep(self, line: Line, user: ImportedUser) -> None:
        self.lines += 1
        self.waiting.append((line.number, user))
        self.waiting_bytes += len(line.raw)
        if len(self.waiting) >= CHUNK_LINES or self.waiting_bytes >= CHUNK_BYTES:
            await self._store()

    async def _store(self) -> None:
        done = await self._store_waiting()
        self.users += done.users
        self.tokens += done.tokens
        for number, user in self.waiting:
            if user.patch.external_id in done.oversized:
                self._note(number, _TOO_LARGE, path="properties")
        self.waiting.clear()
        self.waiting_bytes = 0

    async def _store_waiting(self) -> Imported:
        """Write the chunk; again where its locks crossed those of campaigns being sent."""
        users = [user for _, user in self.waiting]
        for attempt in count(1):
            try:
                async with self.database.project(self.project) as conn:
                    return await imports.store(conn, self.project, users)
            except TransactionConflict:
                if attempt == CONFLICTS_BORNE:
                    raise
        raise AssertionError("count never ends")

    def _refuse(
        self, line: Line, message: str, *, path: str | None = None, code: str = _INVALID
    ) -> None:
        self.lines += 1
        self._note(line.number, message, path=path, code=code)

    def _note(self, number: int, message: str, *, path: str | None, code: str = _INVALID) -> None:
        self.failed += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(LineError(line=number, code=code, message=message, path=path))


class RefusedLine(Exception):
    """A line whose fields are well-formed and cannot be taken all the same."""

    def __init__(self, message: str, *, path: str, code: str) -> None:
        super().__init__(message)
        self.path = path
        self.code = code


def _format_of(request: Request) -> Format:
    named = media_type(request.headers)
    if named not in _FORMATS:
        raise UnsupportedMediaType(f"Send {' or '.join(_FORMATS)} as Content-Type.")
    return _FORMATS[named]()


def _read(line: Line, reader: Format) -> ImportedUser | None:
    said = reader.read(line)
    if said is None:
        return None
    body = ImportLine.model_validate(said)
    return ImportedUser(body.patch(body.external_id), _entitlements(body), _devices(body))


def _entitlements(body: ImportLine) -> Sequence[Entitlement] | None:
    if body.entitlements is None:
        return None
    try:
        return distinct_entitlements(body.entitlements)
    except InvalidInput as error:
        raise RefusedLine(error.message, path="entitlements", code=_INVALID) from error


def _devices(body: ImportLine) -> Sequence[Device]:
    return [_device(token, f"push_tokens.{index}") for index, token in enumerate(body.push_tokens)]


def _device(token: TokenBody, path: str) -> Device:
    try:
        return token.device(NOBODY)
    except InvalidToken as error:
        _, code = status_and_code(error)
        raise RefusedLine(error.message, path=f"{path}.token", code=code) from error
