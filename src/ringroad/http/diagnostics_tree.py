"""Signal: the tree of one vehicle's diagnostics, SOVD-aligned: what each place asks of the vehicle, and nothing more.

Sessions, and how a vehicle is asked: `diagnostics.py`. What the vehicle makes of it: `vehicle/diagnostics`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, Parameter, QueryParameter
from msgspec import Meta

from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.diagnostics import ERRORS, WAIT_S, DiagnosticJob, Wait, ask
from ringroad.http.routes import Command, Id, Req, route
from ringroad.protocol.diagnostics import DATA_ID, VALUE_BYTES_MAX

HEX_ID = re.compile(
    r"[0-9A-Fa-f]{4}"
)  # a UDS data identifier; any other name is the ECU's own and keeps its letters
DATA_IDS = DATA_ID.removesuffix("$") + f"(,{DATA_ID.strip('^$')}){{0,7}}$"
Component = Annotated[
    str, Parameter(pattern=r"^[^\x00/]{1,100}$", description="The component: the ECU's name in its programme")
]
Did = Annotated[
    str,
    Parameter(
        pattern=DATA_ID,
        description="Data identifier: four hex digits, or the name that an ECU without UDS has for it",
    ),
]
Code = Annotated[
    str, Parameter(pattern=r"^[PCBU][0-3][0-9A-F]{3}-[0-9A-F]{2}$", description="Fault code, as P0A1F-00")
]
Operation = Annotated[
    str, Parameter(pattern=r"^[a-z][a-z0-9\-]{0,40}$", description="reset, self-test or check-preconditions")
]
Mode = Annotated[
    str,
    Parameter(
        pattern=r"^[a-z]{1,40}$", description="session, security or authentication, dtcsetting, commctrl"
    ),
]
InCategory = Annotated[
    Literal["identData", "currentData", "storedData", "sysInfo"] | None,
    QueryParameter(description="Only data of this category"),
]
Mask = Annotated[int, Parameter(ge=1, le=255, description="Only faults with one of these status bits")]


class WriteData(Command, frozen=True, kw_only=True):
    """A value to write, as the vehicle lists what may be written: a text, a whole number, or hex digits."""

    data: (
        Annotated[str, Meta(max_length=2 * VALUE_BYTES_MAX, pattern=r"^[\x20-\x7e]*$")]
        | Annotated[int, Meta(ge=0, lt=2**48)]
    )


class SetMode(Command, frozen=True, kw_only=True):
    """A mode's new value, and how long it holds."""

    value: Literal[
        "default",
        "extended",
        "locked",
        "unlocked",
        "deauthenticated",
        "authenticated",
        "on",
        "off",
        "enabled",
        "disabled",
    ]
    mode_expiration: Annotated[int, Meta(ge=1, le=600)] = 60  # s


class Subscribe(Command, frozen=True, kw_only=True):
    """What is read, how often and for how long."""

    data: Annotated[str, Meta(pattern=DATA_IDS)]  # identifiers, with commas
    interval: Annotated[int, Meta(ge=1, le=60)] = 1  # s
    duration: Annotated[int, Meta(ge=1, le=600)] = 60  # s


class TakeLock(Command, frozen=True, kw_only=True):
    """Take a component's lock, or hold it longer."""

    lock_expiration: Annotated[int, Meta(ge=1, le=3_600)] = 300  # s


def declare(
    method: str, path: str, *, media_type: str | None = None, in_part: bool = False
) -> Callable[[Callable[..., Any]], HTTPRouteHandler]:
    """Declare one place of the tree."""
    return route(
        method, f"/vehicles/{{vin:str}}/diagnostics/{path}", role=Role.OPERATOR, tag="signal", errors=ERRORS,
        accepted=DiagnosticJob, media_type=media_type, in_part=in_part,
    )  # fmt: skip


def as_data_id(text: str) -> str:
    """Return a data identifier as vehicles know it."""
    return text.upper() if HEX_ID.fullmatch(text) else text


@declare("GET", "components")
async def list_components(
    ctx: Ctx, request: Req, *, vin: Id, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List the vehicle's components: its ECUs."""
    return await ask(ctx, request.user, vin, "GET", ["components"], wait_s=wait_s)


@declare("GET", "components/{component:str}")
async def get_component(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Show a component: whether it answers, what it runs."""
    return await ask(ctx, request.user, vin, "GET", ["components", component], wait_s=wait_s)


@declare("GET", "components/{component:str}/data")
async def list_component_data(
    ctx: Ctx,
    request: Req,
    *,
    vin: Id,
    component: Component,
    category: InCategory = None,
    wait_s: Wait = WAIT_S,
) -> Response[dict[str, Any]]:
    """List the data of a component that have names; any identifier can be read."""
    body = {"categories": [category]} if category else {}
    path = ["components", component, "data"]
    return await ask(ctx, request.user, vin, "GET", path, body=body, wait_s=wait_s)


@declare("GET", "components/{component:str}/data/{did:str}")
async def get_component_data(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, did: Did, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Read one value of a component."""
    path = ["components", component, "data", as_data_id(did)]
    return await ask(ctx, request.user, vin, "GET", path, wait_s=wait_s)


@declare("PUT", "components/{component:str}/data/{did:str}")
async def write_component_data(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, did: Did, data: JSONBody[WriteData],
    wait_s: Wait = WAIT_S,
) -> Response[dict[str, Any]]:  # fmt: skip
    """Write one value that the vehicle's configuration allows; needs the lock, and a vehicle that stands still.

    The answer has the value before and the one that is held then; both are in the fact of it.
    """
    path = ["components", component, "data", as_data_id(did)]
    return await ask(ctx, request.user, vin, "PUT", path, body={"data": data.data}, wait_s=wait_s)


@declare("GET", "components/{component:str}/faults")
async def list_component_faults(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, mask: Mask = 255, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List the fault memory of a component."""
    path = ["components", component, "faults"]
    return await ask(ctx, request.user, vin, "GET", path, body={"mask": mask}, wait_s=wait_s)


@declare("GET", "components/{component:str}/faults/{fault_code:str}")
async def get_component_fault(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, fault_code: Code, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Show one fault with its snapshots and extended data."""
    path = ["components", component, "faults", fault_code]
    return await ask(ctx, request.user, vin, "GET", path, wait_s=wait_s)


@declare("DELETE", "components/{component:str}/faults")
async def clear_component_faults(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Clear the fault memory of a component; needs its lock, and a vehicle that stands still."""
    return await ask(ctx, request.user, vin, "DELETE", ["components", component, "faults"], wait_s=wait_s)


@declare("DELETE", "components/{component:str}/faults/{fault_code:str}")
async def clear_component_fault(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, fault_code: Code, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Clear one fault of a component; needs its lock, and a vehicle that stands still."""
    path = ["components", component, "faults", fault_code]
    return await ask(ctx, request.user, vin, "DELETE", path, wait_s=wait_s)


@declare("GET", "components/{component:str}/locks")
async def list_component_locks(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Show who holds a component's lock."""
    return await ask(ctx, request.user, vin, "GET", ["components", component, "locks"], wait_s=wait_s)


@declare("POST", "components/{component:str}/locks")
async def take_component_lock(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, data: JSONBody[TakeLock], wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Take a component's lock, or hold it longer; 423 while somebody else holds it."""
    path, body = ["components", component, "locks"], {"lock_expiration": data.lock_expiration}
    return await ask(ctx, request.user, vin, "POST", path, body=body, wait_s=wait_s)


@declare("DELETE", "components/{component:str}/locks")
async def release_component_lock(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Give a component's lock back."""
    return await ask(ctx, request.user, vin, "DELETE", ["components", component, "locks"], wait_s=wait_s)


@declare("GET", "components/{component:str}/operations")
async def list_component_operations(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List what a component can be told to do."""
    return await ask(ctx, request.user, vin, "GET", ["components", component, "operations"], wait_s=wait_s)


@declare("POST", "components/{component:str}/operations/{operation:str}/executions")
async def start_component_operation(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, operation: Operation, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Begin an operation; needs the lock, and a vehicle that stands still. The answer names the execution."""
    path = ["components", component, "operations", operation, "executions"]
    return await ask(ctx, request.user, vin, "POST", path, wait_s=wait_s)


@declare("GET", "components/{component:str}/operations/{operation:str}/executions")
async def list_component_executions(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, operation: Operation, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List the executions of an operation, newest first."""
    path = ["components", component, "operations", operation, "executions"]
    return await ask(ctx, request.user, vin, "GET", path, wait_s=wait_s)


@declare("GET", "components/{component:str}/operations/{operation:str}/executions/{execution_id:str}")
async def get_component_execution(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, operation: Operation, execution_id: Id,
    wait_s: Wait = WAIT_S,
) -> Response[dict[str, Any]]:  # fmt: skip
    """Show how an execution stands: running, completed, failed or stopped."""
    path = ["components", component, "operations", operation, "executions", execution_id]
    return await ask(ctx, request.user, vin, "GET", path, wait_s=wait_s)


@declare("DELETE", "components/{component:str}/operations/{operation:str}/executions/{execution_id:str}")
async def stop_component_execution(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, operation: Operation, execution_id: Id,
    wait_s: Wait = WAIT_S,
) -> Response[dict[str, Any]]:  # fmt: skip
    """Stop an execution; what the ECU did by then is done."""
    path = ["components", component, "operations", operation, "executions", execution_id]
    return await ask(ctx, request.user, vin, "DELETE", path, wait_s=wait_s)


@declare("GET", "components/{component:str}/modes")
async def list_component_modes(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List the modes of a component and until when they hold."""
    return await ask(ctx, request.user, vin, "GET", ["components", component, "modes"], wait_s=wait_s)


@declare("PUT", "components/{component:str}/modes/{mode:str}")
async def set_component_mode(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, mode: Mode, data: JSONBody[SetMode],
    wait_s: Wait = WAIT_S,
) -> Response[dict[str, Any]]:  # fmt: skip
    """Put a component into a mode for a time; needs the lock, and a vehicle that stands still."""
    path, body = ["components", component, "modes", mode], msgspec.to_builtins(data)
    return await ask(ctx, request.user, vin, "PUT", path, body=body, wait_s=wait_s)


@declare("GET", "components/{component:str}/cyclic-subscriptions")
async def list_component_subscriptions(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List your cyclic subscriptions of a component."""
    path = ["components", component, "cyclic-subscriptions"]
    return await ask(ctx, request.user, vin, "GET", path, wait_s=wait_s)


@declare("POST", "components/{component:str}/cyclic-subscriptions")
async def subscribe_to_component(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, data: JSONBody[Subscribe], wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Let the vehicle read data of a component again and again, and publish it; ends with your session."""
    path = ["components", component, "cyclic-subscriptions"]
    body = {"data": data.data.split(","), "interval": data.interval, "duration": data.duration}
    return await ask(ctx, request.user, vin, "POST", path, body=body, wait_s=wait_s)


@declare("GET", "components/{component:str}/cyclic-subscriptions/{subscription_id:str}")
async def get_component_subscription(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, subscription_id: Id, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """Show how a cyclic subscription stands."""
    path = ["components", component, "cyclic-subscriptions", subscription_id]
    return await ask(ctx, request.user, vin, "GET", path, wait_s=wait_s)


@declare("DELETE", "components/{component:str}/cyclic-subscriptions/{subscription_id:str}")
async def end_component_subscription(
    ctx: Ctx, request: Req, *, vin: Id, component: Component, subscription_id: Id, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """End a cyclic subscription."""
    path = ["components", component, "cyclic-subscriptions", subscription_id]
    return await ask(ctx, request.user, vin, "DELETE", path, wait_s=wait_s)


@declare("GET", "functions/vehicle-health")
async def get_vehicle_health(
    ctx: Ctx, request: Req, *, vin: Id, mask: Mask = 255, wait_s: Wait = WAIT_S
) -> Response[dict[str, Any]]:
    """List the faults of every component, and which components did not answer."""
    path = ["functions", "vehicle-health"]
    return await ask(ctx, request.user, vin, "GET", path, body={"mask": mask}, wait_s=wait_s)


router = Router(
    "/",
    route_handlers=[
        list_components,
        get_component,
        list_component_data,
        get_component_data,
        write_component_data,
        list_component_faults,
        get_component_fault,
        clear_component_faults,
        clear_component_fault,
        list_component_locks,
        take_component_lock,
        release_component_lock,
        list_component_operations,
        start_component_operation,
        list_component_executions,
        get_component_execution,
        stop_component_execution,
        list_component_modes,
        set_component_mode,
        list_component_subscriptions,
        subscribe_to_component,
        get_component_subscription,
        end_component_subscription,
        get_vehicle_health,
    ],
)
