"""The one table from error kinds to HTTP, and the one shape of an error body.

Foreign exceptions end here: what is not ours becomes a 500 without its text.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Redirect
from psycopg import DataError, OperationalError
from psycopg_pool import PoolTimeout

from ringroad.http.auth import TooMany
from ringroad.kernel.errors import RingroadError

log = structlog.get_logger()

STATUS_OF: Mapping[str, int] = MappingProxyType(
    {
        "invalid_input": 422,  # well-formed, and wrong; malformed requests are 400
        "not_found": 404,
        "conflict": 409,
        "forbidden": 403,
        "untrusted": 422,
        "unavailable": 503,
        "corrupt": 500,
        "error": 500,
    }
)
RETRY_AFTER_S = 5  # seconds; an embedded database restarts in well under one


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong and what to do about it."""

    kind: str  # branch of the error tree; decides the exit status of the command line
    code: str  # stable and exact
    message: str
    hint: str = ""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class Unauthenticated(RingroadError):  # noqa: N818 - named by what the caller can do
    """Nobody, or nobody any more: sign in."""

    kind = "unauthenticated"


def to_response(error: RingroadError) -> Response[ErrorBody]:
    """Return the response for one of our errors."""
    headers: dict[str, str] = {}
    match error:
        case Unauthenticated():
            status, headers = 401, {"WWW-Authenticate": "Bearer"}
        case TooMany(wait_s=wait_s):
            status, headers = 429, {"Retry-After": str(wait_s)}
        case _:
            status = STATUS_OF.get(error.kind, 500)
    if status == 503:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
    detail = ErrorDetail(kind=error.kind, code=error.code, message=error.message, hint=error.hint)
    return _body(status, detail, headers)


def handle_ours(request: Request[Any, Any, Any], error: RingroadError) -> Response[Any]:
    """Answer with one of our errors; its detail goes to the log only. Pages send strangers to the login."""
    path = request.url.path
    if isinstance(error, Unauthenticated) and request.method == "GET" and not path.startswith("/api/"):
        return Redirect(f"/login?next={quote(path)}", status_code=303)
    if error.detail:
        log.info("refused", path=request.url.path, code=error.code, detail=error.detail)
    return to_response(error)


def handle_framework(_request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorBody]:
    """Translate what the framework refuses: unknown paths and methods, malformed requests, large bodies."""
    status = error.status_code
    kind = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 429: "too_many"}.get(
        status, "invalid_input" if status < 500 else "error"
    )
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    message = error.detail if status < 500 else "the server failed"
    hint = "/api/v1/openapi.json says what each field holds" if status == 400 else ""
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        parts = [f"{item.get('key', '')}: {item.get('message', '')}".lstrip(": ") for item in error.extra]
        message = "; ".join(parts) or message
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return _body(status, ErrorDetail(kind=kind, code=code, message=message, hint=hint), headers)


def handle_foreign(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """End a foreign exception: an absent database is 503, everything else is our bug."""
    if isinstance(error, PoolTimeout | OperationalError):
        log.warning("database unavailable", path=request.url.path, detail=str(error))
        detail = ErrorDetail(
            kind="unavailable", code="unavailable", message="the database does not answer", hint="try again"
        )
        return _body(503, detail, {"Retry-After": str(RETRY_AFTER_S)})
    if isinstance(error, DataError):
        detail = ErrorDetail(kind="invalid_input", code="unstorable", message="a value cannot be stored")
        return _body(422, detail, {})
    if isinstance(error, RecursionError):  # whatever parsed it: nothing of ours nests a hundred deep
        message = "the request is nested too deep"
        return _body(422, ErrorDetail(kind="invalid_input", code="nested_too_deep", message=message), {})
    trace = "".join(traceback.format_exception(error))  # without local variables: they may hold secrets
    log.error("request failed", path=request.url.path, trace=trace)
    detail = ErrorDetail(
        kind="error", code="error", message="the server failed", hint="the server's log says why"
    )
    return _body(500, detail, {})


def _body(status: int, detail: ErrorDetail, headers: Mapping[str, str]) -> Response[ErrorBody]:
    return Response(
        ErrorBody(error=detail), status_code=status, headers=dict(headers), media_type="application/json"
    )
