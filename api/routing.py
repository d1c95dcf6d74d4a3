"""The route class of every guarded route: who may, once or again, and what body; in this order."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Header, Request, Response
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.types import Receive, Scope, Send

from api import idempotency
from api.bodies import MAX_BODY_BYTES, decode_body, read_body, refuse_encoded
from api.principals import Requirement
from api.resources import resources_of
from fanfare.errors import FieldFault, InvalidInput


class TextConvertor(PathConvertor):
    """Whatever is in a path: slashes, and line feeds too.

    Without it `/users/u%0A` would name the user `u`: the end of starlette's patterns lets a line
    feed follow, and its own `path` stops at one.
    """

    regex = "(?s:.*)"


# Starlette keeps these by name, and reads them while routes are declared.
register_url_convertor("text", TextConvertor())


class RouteWithoutScope(Exception):
    """A route was declared that does not say who may call it."""


class GuardedRoute(APIRoute):
    """A route that admits whoever its `requires(...)` names, before it reads a byte of the body.

    A POST with an Idempotency-Key runs once; `key_patience` is how long others wait for its answer.
    """

    runs_once = True
    max_body_bytes = MAX_BODY_BYTES
    key_patience = idempotency.PATIENCE

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],  # Any: FastAPI's type
        *,
        dependencies: Sequence[Dependency] | None = None,
        **options: Any,  # Any: handed on to FastAPI
    ) -> None:
        self.requirement = _requirement_among(dependencies or (), endpoint)
        is_keyed = self.runs_once and "POST" in (options.get("methods") or ())
        documented = [Depends(_idempotency_key)] if is_keyed else []
        dependencies = [*(dependencies or ()), *documented]
        super().__init__(path, endpoint, dependencies=dependencies, **options)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Errors are raised for the application's handlers."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive)
        resources_of(request).gate.check()
        _check_url(scope)
        principal = await self.requirement.check(request)
        refuse_encoded(request.headers)
        if self._is_keyed(request):
            await idempotency.run_once(
                super().handle,
                scope,
                receive,
                send,
                principal=principal,
                limit=self.max_body_bytes,
                patience=self.key_patience,
            )
        else:
            await super().handle(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_checked(request: Request) -> Response:
            checked = CheckedRequest(request.scope, request.receive)
            if self.body_field is not None:
                await checked.load(self.max_body_bytes)
            return await handle(checked)

        return handle_checked

    def _is_keyed(self, request: Request) -> bool:
        return self.runs_once and request.method == "POST" and idempotency.HEADER in request.headers


class StreamedRoute(GuardedRoute):
    """A guarded route that reads its body itself, piece by piece, and takes no Idempotency-Key."""

    runs_once = False


class CheckedRequest(Request):
    """A request whose body is bounded, and JSON that can be stored."""

    async def load(self, limit: int) -> None:
        """Read the body, of `limit` bytes at most.

        Raises RequestTooLarge, UnsupportedMediaType or InvalidInput.
        """
        self._body = await read_body(self.stream(), limit)
        if self._body:
            self._json = decode_body(self._body, self.headers)


# A coroutine, as every dependency: FastAPI hands what is none to a thread, for 0.2 ms a request.
async def _idempotency_key(
    _key: Annotated[
        str | None,
        Header(
            alias=idempotency.HEADER,
            description="Makes a repetition safe: the same request again gets the same answer. "
            "While the first one runs, it waits: ten seconds, then 409 IDEMPOTENCY_KEY_IN_USE.",
        ),
    ] = None,
) -> None:
    """For the OpenAPI description; the route acts on it before any dependency is asked."""


def _requirement_among(
    dependencies: Sequence[Dependency], endpoint: Callable[..., Any]
) -> Requirement:
    for dependency in dependencies:
        if isinstance(dependency.dependency, Requirement):
            return dependency.dependency
    raise RouteWithoutScope(f"{endpoint.__name__} has no requires(...) in its dependencies")


def _check_url(scope: Scope) -> None:
    # The server has replaced what is not UTF-8, so that unlike paths would name the same thing; and
    # PostgreSQL cannot hold a NUL, so no path and no filter can mean it.
    for raw in (scope.get("raw_path") or scope["path"].encode(), scope["query_string"]):
        unquoted = unquote_to_bytes(raw)
        if b"\0" in unquoted:
            raise _invalid_url("holds a NUL")
        try:
            unquoted.decode()
        except UnicodeDecodeError as error:
            raise _invalid_url("is not UTF-8") from error


def _invalid_url(message: str) -> InvalidInput:
    return InvalidInput(f"The URL {message}.", [FieldFault("url", message)])
