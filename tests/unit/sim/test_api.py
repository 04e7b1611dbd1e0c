"""What the people and plants of a simulation make of the server's answers."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from ringroad.kernel.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    RingroadError,
    Unavailable,
    Untrusted,
)
from ringroad.sim.api import check_answer


def answer(status: int, kind: str) -> httpx.Response:
    error = {"kind": kind, "code": "exact", "message": "what", "hint": "how"}
    return httpx.Response(status, content=msgspec.json.encode({"error": error}))


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_input", InvalidInput),
        (401, "unauthenticated", Forbidden),
        (403, "forbidden", Forbidden),
        (404, "not_found", NotFound),
        (409, "conflict", Conflict),
        (413, "invalid_input", InvalidInput),
        (422, "untrusted", Untrusted),
        (429, "too_many", Unavailable),
        (503, "unavailable", Unavailable),
        (500, "error", Unavailable),  # a fault of the server's is waited for
        (500, "corrupt", Unavailable),
    ],
)
def test_a_refusal_is_the_error_that_the_server_meant(
    status: int, kind: str, expected: type[RingroadError]
) -> None:
    with pytest.raises(RingroadError) as refused:
        check_answer(answer(status, kind))
    assert type(refused.value) is expected
    assert (refused.value.message, refused.value.hint) == ("what", "how")


@pytest.mark.parametrize("status", [302, 404, 502])
def test_what_is_no_answer_of_ours_is_waited_for(status: int) -> None:
    with pytest.raises(Unavailable, match=str(status)):
        check_answer(httpx.Response(status, content=b"<html>"))


def test_a_success_is_none_of_these() -> None:
    check_answer(httpx.Response(201, content=b"{}"))
