"""How management routes are declared: role, errors, threads and tags in one place, so that none is forgotten."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import msgspec
from litestar import Request, delete, get, patch, post, put
from litestar.connection import ASGIConnection
from litestar.exceptions import ClientException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from litestar.params import Parameter, QueryParameter
from msgspec import Meta

from ringroad.http.auth import Account, Role
from ringroad.http.errors import ErrorBody
from ringroad.kernel.limits import PAGE_ROWS_MAX

Req = Request[Account, str, Any]

_DESCRIPTIONS = {
    400: "The request is malformed",
    401: "Nobody is signed in",
    403: "The account may not do this",
    404: "There is no such thing",
    409: "It moved on, or exists already",
    413: "The body is too large",
    422: "Well-formed, and wrong",
    423: "Somebody else holds it",
    429: "Too many attempts",
    503: "Something we need does not answer; try again",
}
_METHODS: dict[str, Callable[..., Any]] = {
    "GET": get,
    "POST": post,
    "PUT": put,
    "PATCH": patch,
    "DELETE": delete,
}

NAME_PATTERN = r"^[^\x00]*$"  # PostgreSQL text holds everything else

TEXT_PATTERN = r"^[^\x00]*[^\s\x00][^\x00]*$"  # not blank

# The same for texts of a megabyte. In a group: what draws texts by the schema folds a length into a bare repetition, and
# cannot count so far.
LONG_NAME_PATTERN = r"^([^\x00]+|)$"

LONG_TEXT_PATTERN = r"^([^\x00]*[^\s\x00][^\x00]*)$"

Limit = Annotated[int, Parameter(ge=1, le=PAGE_ROWS_MAX, description="Rows to return")]
Offset = Annotated[int, Parameter(ge=0, le=1_000_000, description="Rows to skip")]
Name = Annotated[
    str | None,
    Parameter(pattern=NAME_PATTERN, min_length=1, max_length=200, description="Only rows with exactly this"),
]
InState = Annotated[
    str | None,
    QueryParameter(
        name="state",
        pattern=NAME_PATTERN,
        min_length=1,
        max_length=200,
        description="Only rows in this state",
    ),
]
Id = Annotated[str, Parameter(pattern=r"^[A-Za-z0-9_.:\-]{1,200}$", description="Its id")]


Seen = Annotated[int, Meta(ge=1, le=2**31 - 1, description="As it was read")]
Generation = Annotated[int, Meta(ge=1, le=2**31 - 1, description="As it was read; none: as it is now")] | None
Text = Annotated[str, Meta(min_length=1, max_length=2_000, pattern=TEXT_PATTERN)]
Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=TEXT_PATTERN)]
Ref = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:\-]{1,200}$")]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of request bodies: unknown fields are refused."""


def commands() -> list[type[Command]]:
    """Return every request body."""
    return list(Command.__subclasses__())


class Reason(Command, frozen=True, kw_only=True):
    """Why, for the ledger."""

    reason: Text
    generation: Generation = None


class Approve(Command, frozen=True, kw_only=True):
    """Approve what was read, and nothing that took its place since."""

    generation: Seen


class Go(Command, frozen=True, kw_only=True):
    """Do it; with a generation, only to what was read."""

    generation: Generation = None


class Stop(Command, frozen=True, kw_only=True):
    """Stop it, and say why. Without a generation it never fails for being late."""

    reason: Text = "by hand"
    generation: Generation = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a command: what it was about."""

    id: str
    state: str = "done"


def needs(role: Role) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]:
    """Return a guard for a role; `Authenticate` ran before it."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        connection.user.require(role)

    return guard


def route(
    method: str,
    path: str,
    *,
    role: Role,
    tag: str,
    errors: Sequence[int] = (),
    public: bool = False,
    status: int = 200,
    body_bytes_max: int | None = None,
    upload: str | None = None,
    media_type: str | None = None,
    accepted: type | None = None,
    in_part: bool = False,
) -> Callable[[Callable[..., Any]], HTTPRouteHandler]:
    """Declare one API operation.

    Args:
        method: GET, POST, PUT, PATCH or DELETE.
        path: below /api/v1.
        role: least role that may call it.
        tag: stage, for the documentation.
        errors: statuses besides 400, 401, 403, 404 and 503 that it may answer with.
        public: True if nobody need be signed in.
        status: of success.
        body_bytes_max: limit of the body where it differs from the application's.
        upload: media type of a body that the handler streams itself.
        media_type: of success, where it is not application/json.
        accepted: body of a 202: it is taken, and done later.
        in_part: whether a Range is answered, with 206.
    """
    codes = sorted({400, 401, 403, 404, 503, *errors})
    extra: dict[str, Any] = {} if body_bytes_max is None else {"request_max_body_size": body_bytes_max}
    if media_type is not None:
        extra["media_type"] = media_type
    if upload is not None:
        extra["operation_class"] = _upload_operation(upload)
    others = _others(accepted, media_type if in_part else None)

    def declare(handler: Callable[..., Any]) -> HTTPRouteHandler:
        if "data" in handler.__annotations__:
            extra["before_request"] = _strict(get_type_hints(handler)["data"])
        made: HTTPRouteHandler = _METHODS[method](
            path,
            guards=[] if public else [needs(role)],
            opt={"public": public, "role": role.value},
            tags=[tag],
            status_code=status,
            operation_id=handler.__name__,
            sync_to_thread=None if _is_async(handler) else True,
            security=[] if public else [{"bearer": []}, {"session": []}],
            responses=others
            | {
                code: ResponseSpec(ErrorBody, description=_DESCRIPTIONS[code], generate_examples=False)
                for code in codes
            },
            **extra,
        )(handler)
        return made

    return declare


def _others(accepted: type | None, in_part: str | None) -> dict[int, ResponseSpec]:
    """Return what else than success an operation may answer well with: later, or a range of this media type."""
    told: dict[int, ResponseSpec] = {}
    if accepted is not None:
        told[202] = ResponseSpec(accepted, description="Taken, and done later", generate_examples=False)
    if in_part is not None:
        told[206] = ResponseSpec(bytes, description="The range", generate_examples=False, media_type=in_part)
    return told


def stream(
    path: str, *, role: Role, tag: str, media: Sequence[str], errors: Sequence[int] = ()
) -> Callable[[Callable[..., Any]], HTTPRouteHandler]:
    """Declare an answer that goes on for as long as there is something to send; its path begins below /api/v1.

    Args:
        path: below /api/v1.
        role: that may read it.
        tag: as for `route`.
        media: types that the answer may have; the first is what it has unless something else is asked for.
        errors: status codes besides those that all have, and 429.
    """
    codes = sorted({400, 401, 403, 429, 503, *errors})

    def declare(handler: Callable[..., Any]) -> HTTPRouteHandler:
        made: HTTPRouteHandler = get(
            f"/api/v1{path}",
            guards=[needs(role)],
            opt={"role": role.value},
            tags=[tag],
            operation_id=handler.__name__,
            operation_class=_stream_operation(tuple(media)),
            security=[{"bearer": []}, {"session": []}],
            responses={
                code: ResponseSpec(ErrorBody, description=_DESCRIPTIONS[code], generate_examples=False)
                for code in codes
            },
        )(handler)
        return made

    return declare


def _stream_operation(media: tuple[str, ...]) -> type[Operation]:
    """Return an operation that documents what the framework takes for bytes of no type."""

    @dataclass
    class Streamed(Operation):
        def __post_init__(self) -> None:
            schema = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
            success = (self.responses or {}).get("200")
            if isinstance(success, OpenAPIResponse):
                success.content = {each: OpenAPIMediaType(schema=schema) for each in media}

    return Streamed


def _is_async(handler: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(handler)


def _strict(kind: type[msgspec.Struct]) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """Return a hook that refuses what the framework would bend: 0 or "no" into a boolean, 0 into a time."""
    whole = kind if getattr(kind, "strict", False) else None
    names = [field.name for field in msgspec.structs.fields(kind) if field.type in {bool, bool | None}]

    async def check(request: Request[Any, Any, Any]) -> None:
        if not names and whole is None:
            return
        try:
            body = msgspec.json.decode(await request.body(), type=whole or Any)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClientException(detail=f"body: {error}") from error
        for name in names:
            if isinstance(body, dict) and not isinstance(body.get(name), bool | None):
                raise ClientException(detail=f"body: {name} is true or false")

    return check


def _upload_operation(media_type: str) -> type[Operation]:
    """Return an operation that documents a body which the framework does not parse."""

    @dataclass
    class Upload(Operation):
        def __post_init__(self) -> None:
            schema = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
            self.request_body = RequestBody(
                required=True, content={media_type: OpenAPIMediaType(schema=schema)}
            )

    return Upload
