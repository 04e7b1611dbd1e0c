"""How a refusal of the vehicle's diagnostics is said: one table from errors to statuses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import RingroadError, Unavailable
from ringroad.protocol.diagnostics import DiagnosticAnswer, Refused
from ringroad.vehicle.diagnostics.faults import plain
from ringroad.vehicle.locks import LOCKED

STATUS_OF: Final[Mapping[str, int]] = {
    "invalid_input": 422,
    "not_found": 404,
    "conflict": 409,
    "forbidden": 403,
    "untrusted": 422,
    "unavailable": 503,
}


def refuse(request_id: str, error: RingroadError, *, clock: Clock) -> DiagnosticAnswer:
    """Return the answer that says why not."""
    status = 423 if error.code == LOCKED else STATUS_OF.get(error.kind, 500)
    if isinstance(error, Unavailable) and not error.hint:
        error.hint = "the ECU does not answer; try again"
    why = Refused(kind=error.kind, code=error.code, message=error.message, hint=error.hint)
    body = {"error": plain(why), **getattr(error, "values", {})}
    return DiagnosticAnswer(id=request_id, status=status, at=clock.now(), body=body)
