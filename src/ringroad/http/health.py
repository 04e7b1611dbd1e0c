"""Is the server up, and does its database answer? The only API operation that needs no account."""

from __future__ import annotations

import msgspec
from litestar import Response

from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.device.overload import Shed
from ringroad.http.express import EXTENSION
from ringroad.http.routes import Req, route
from ringroad.kernel.steady import HINT as CLOCK_HINT
from ringroad.signal.silence import Silence
from ringroad.signal.store_silence import read_silence


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What a load balancer wants to know."""

    status: str  # ok, overloaded, degraded
    database: bool
    gateways: str  # ok, or what the process that answers turns away
    telemetry: str = ""  # ok, or since when it is silent and why; empty while the database does not answer
    clock: str = (
        "ok"  # or by how much the clock of this process was set; while that is so, its worker decides nothing
    )
    hint: str = ""  # what to look at, where something is wrong with it
    express: (
        bool  # polls and reports go past ASGI; False: something wraps the application, and they cost more
    )


@route("GET", "/health", role=Role.VIEWER, tag="health", public=True)
def get_health(ctx: Ctx, request: Req) -> Response[Health]:
    """Answer 200 while the server works, if overloaded or without telemetry, and 503 while the database does not.

    Vehicles poll and report without telemetry: who sends them elsewhere for that sends them away.
    """
    shed = ctx.pressure.shed
    express = EXTENSION in (request.scope.get("extensions") or {})
    try:
        with ctx.pool.connection(timeout=1.0) as conn:
            silence = read_silence(conn) or (ctx.watch.deaf if ctx.watch else None)
    except Exception:  # noqa: BLE001 - whatever is wrong, the answer is the same
        health = Health(status="degraded", database=False, gateways=shed.text, express=express)
        return Response(health, status_code=503)
    return Response(health_of(shed, silence, express=express, clock=ctx.pressure.clock))


def health_of(shed: Shed, silence: Silence | None, *, express: bool, clock: str = "ok") -> Health:
    """Return the health of a server whose database answers; of load and another trouble `status` names the load."""
    return Health(
        status="overloaded" if shed else "degraded" if silence or clock != "ok" else "ok",
        database=True,
        gateways=shed.text,
        telemetry=silence.text if silence else "ok",
        clock=clock,
        hint=silence.hint if silence else CLOCK_HINT if clock != "ok" else "",
        express=express,
    )


handlers = [get_health]
