"""Updates as diagnostics show and trigger them: what the Director assigned to this vehicle, and how it stands. Pure but for `answered`.

A workshop sees an assigned update, lets the vehicle get it ready, and lets it begin. Nothing here brings an update, and
nothing here agrees to one: the orchestrator looks, verifies, asks and waits as ever, and what it waits for is why a
trigger is refused.

The words of `status` are SOVD's: phase ``prepare`` until everything is staged, then ``execute``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from ringroad.kernel.errors import Conflict, NotFound
from ringroad.protocol.vehicle import VehicleState
from ringroad.vehicle.decide import ECU_LOCKED
from ringroad.vehicle.ecu_tries import try_text
from ringroad.vehicle.glance import Glance
from ringroad.vehicle.kept import PastEcu, PastUpdate, ecus_of
from ringroad.vehicle.states import BEFORE_INSTALLING, TOUCHED, CampaignState, EcuPlan, EcuState

if TYPE_CHECKING:
    from ringroad.vehicle.diagnostics.tree import Ask
    from ringroad.vehicle.orchestrator import Orchestrator

Trigger = Literal["prepare", "execute"]

_HINTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("consent", "postponed"), "the driver's word is the driver's"),
    ECU_LOCKED: "wait until then, or ask them to give it back",
}
_PREPARING: Final[frozenset[VehicleState]] = BEFORE_INSTALLING - {"READY"}
_DONE: Final[frozenset[VehicleState]] = frozenset({"SUCCEEDED", "DOWNLOADED"})
# ECUs in one of these have nothing left to do in this state of the vehicle; those of other update groups stand further.
_PAST: Final[Mapping[VehicleState, frozenset[EcuState]]] = {
    "INSTALLING": frozenset({EcuState.ACTIVATED, EcuState.VERIFIED, EcuState.COMMITTED}),
    "CHECKING": frozenset({EcuState.VERIFIED, EcuState.COMMITTED}),
    "COMMITTING": frozenset({EcuState.COMMITTED}),
    "ROLLING_BACK": frozenset(EcuState) - TOUCHED,
}


def answered(
    ask: Ask, orchestrator: Orchestrator, *, free: Callable[[Sequence[str]], None]
) -> dict[str, Any]:
    """Answer a request about updates; the orchestrator is told to look now, and alone decides what follows.

    Args:
        ask: what is asked.
        orchestrator: of the vehicle.
        free: gives back the locks that the session holds on components; raises Conflict if another one holds one.

    Raises:
        NotFound, Conflict: see `require_trigger`.
    """
    glance, assigned = orchestrator.glance(), orchestrator.assigned
    match ask.what:
        case "look":
            orchestrator.wake()
        case "update":
            return update_details(glance, ask.names[0], assigned=assigned)
        case "prepare":
            require_trigger(glance, ask.names[0], "prepare", assigned=assigned)
            orchestrator.wake()
            if begins(glance, ask.names[0]):
                orchestrator.hear()
        case "execute_update":
            require_trigger(glance, ask.names[0], "execute", assigned=assigned)
            free(components_of(glance))
            orchestrator.hear()
        case _:
            pass
    if ask.names:
        return update_status(glance, ask.names[0], assigned=assigned)
    return {"items": update_list(glance, assigned=assigned)}


def update_list(glance: Glance, *, assigned: int | None) -> list[dict[str, Any]]:
    """Return one that is assigned and not begun with, the update that is under way, and those that ended, newest first.

    Args:
        glance: at the orchestrator.
        assigned: the action that the server orders; None without one.
    """
    state = glance.state
    items = []
    if assigned is not None and assigned != state.action_id and assigned not in state.finished:
        items.append({"id": str(assigned), "state": "ASSIGNED"})
    if state.action_id is not None and state.action_id not in {each.action_id for each in state.past}:
        items.append(_item(state))
    return items + [_past_item(each) for each in state.past]


def update_status(glance: Glance, update_id: str, *, assigned: int | None) -> dict[str, Any]:
    """Return how one update stands. Raises: NotFound."""
    _require(glance, update_id, assigned=assigned)
    state = glance.state
    if (past := _past(glance, update_id)) is not None:
        return _past_status(past)
    if str(state.action_id) != update_id:
        return {"id": update_id, "phase": "prepare", "status": "pending", "state": "ASSIGNED", "progress": 0}
    told: dict[str, Any] = {
        "id": update_id,
        "phase": "prepare" if state.state in _PREPARING or state.state == "DOWNLOADED" else "execute",
        "status": _status(glance),
        "state": state.state,
        "progress": _percent(glance),
    }
    if glance.waits_code:
        told["waits_for"] = {
            "code": glance.waits_code,
            "about": glance.waits_about,
            "text": glance.waits_text,
        }
    elif not state.resting and (failing := _failing(glance)):
        told["waits_for"] = failing
    return told | _why(state)


def update_details(glance: Glance, update_id: str, *, assigned: int | None) -> dict[str, Any]:
    """Return one update with its ECUs. Raises: NotFound."""
    told = update_status(glance, update_id, assigned=assigned)
    if (past := _past(glance, update_id)) is not None:
        told |= _past_item(past)
        if past.ecus:
            told["components"] = [_component(ecu, glance) for ecu in past.ecus]
    state = glance.state
    if str(state.action_id) != update_id:
        return told
    plan = state.plan
    told = {**_item(state), **told}
    if plan is not None:
        told |= {
            "notes": plan.notes,
            "preconditions": list(plan.preconditions),
            "components": [_component(ecu, glance) for ecu in ecus_of(state, now=glance.at)],
        }
    return told


def require_trigger(glance: Glance, update_id: str, trigger: Trigger, *, assigned: int | None) -> None:
    """Raise unless the vehicle may be told to go on with an update now.

    Raises:
        NotFound: it is not assigned to this vehicle.
        Conflict: it is past that, not ready for it, or waits for something that no workshop gives.
    """
    _require(glance, update_id, assigned=assigned)
    state = glance.state
    if (past := _past(glance, update_id)) is not None:
        raise Conflict(f"this update is over: {past.state}", code="over")
    if str(state.action_id) != update_id:
        if trigger == "prepare" and state.resting and not state.blocked:
            return
        raise Conflict("the vehicle has not begun with it", code="not_prepared", hint="prepare it first")
    if state.resting:  # with a journal from before what is over was kept
        raise Conflict(f"this update is over: {state.state}", code="over")
    if trigger == "prepare" and state.state not in _PREPARING:
        raise Conflict("this update is prepared", code="prepared", hint="execute it")
    if trigger == "execute" and state.state in _PREPARING:
        raise Conflict(
            f"the update is not ready: {state.state}", code="not_prepared", hint="prepare it first"
        )
    if trigger == "execute" and state.state != "READY":
        raise Conflict(f"the update is under way: {state.state}", code="under_way")
    if glance.waits_code == ECU_LOCKED and trigger == "execute":
        return  # whoever holds the locks gives them back by it, and another one is refused for them
    if glance.waits_code:
        hint = _HINTS.get(glance.waits_code, "")
        raise Conflict(f"not now: {glance.waits_text}", code=glance.waits_code, hint=hint)


def begins(glance: Glance, update_id: str) -> bool:
    """Say whether the vehicle may be told to look at once: one that is at it tries again when its own pause is over.

    Each look would be one of the tries that it has.
    """
    state = glance.state
    return str(state.action_id) != update_id or state.state == "AWAITING_CONSENT"


def components_of(glance: Glance) -> list[str]:
    """Return the names of the ECUs that the running update changes."""
    plan = glance.state.plan
    return [] if plan is None else [glance.names.get(ecu.serial, ecu.serial) for ecu in plan.ecus]


def _require(glance: Glance, update_id: str, *, assigned: int | None) -> None:
    if update_id not in {each["id"] for each in update_list(glance, assigned=assigned)}:
        raise NotFound(
            f"no update {update_id[:40]!r} is assigned to this vehicle",
            hint="the list of updates names those that are",
        )


def _past(glance: Glance, update_id: str) -> PastUpdate | None:
    return next((each for each in glance.state.past if str(each.action_id) == update_id), None)


def _past_item(past: PastUpdate) -> dict[str, Any]:
    told: dict[str, Any] = {"id": str(past.action_id), "state": str(past.state), **_why(past)}
    told |= {"release": past.release_id, "version": past.version} if past.release_id else {}
    told |= {"began_at": past.began_at.isoformat()} if past.began_at else {}
    return told | {"ended_at": past.ended_at.isoformat()}


def _past_status(past: PastUpdate) -> dict[str, Any]:
    done = past.state in _DONE
    return {
        "id": str(past.action_id),
        "phase": "prepare" if past.state == "DOWNLOADED" else "execute",
        "status": "completed" if done else "failed",
        "state": str(past.state),
        "progress": 100 if done else 0,
        **_why(past),
    }


def _component(ecu: PastEcu, glance: Glance) -> dict[str, Any]:
    return {
        "component": glance.names.get(ecu.serial, ecu.serial),
        "from_version": ecu.from_version,
        "to_version": ecu.to_version,
        "state": ecu.state,
        **({"why": ecu.why} if ecu.why else {}),
    }


def _failing(glance: Glance) -> dict[str, Any]:
    """Return which ECU was tried in vain last, and when it is tried again; empty if none was."""
    failing, names = glance.state.failing, glance.names
    if not failing:
        return {}
    told = {names.get(serial, serial): try_text(one, now=glance.at) for serial, one in failing.items()}
    return {
        "code": [*failing.values()][-1].code,
        "about": ", ".join(told),
        "text": "; ".join(map(": ".join, told.items())),
    }


def _item(state: CampaignState) -> dict[str, Any]:
    plan = state.plan
    told = {"id": str(state.action_id), "state": str(state.state), **_why(state)}
    told |= {"began_at": state.began_at.isoformat()} if state.began_at else {}
    return told | ({"release": plan.release_id, "version": plan.release_version} if plan else {})


def _why(state: CampaignState | PastUpdate) -> dict[str, Any]:
    """Return why it stands where it does; empty if the state says it."""
    told = {"code": state.code, "detail": state.detail}
    return {key: value for key, value in told.items() if value}


def _status(glance: Glance) -> str:
    state = glance.state
    if state.state in _DONE:
        return "completed"
    if state.resting:
        return "failed"
    return "pending" if glance.waits_code else "inProgress"


def _percent(glance: Glance) -> int:
    """Return how much of the vehicle's present state is done, by bytes; 0 where nobody counts, 100 when it is over."""
    state, plan = glance.state, glance.state.plan
    if state.state in _DONE:
        return 100
    if plan is None:
        return 0
    if state.state == "DOWNLOADING":
        whole = sum(one.length for one in plan.images())
        begun = sum(part for part, size in glance.done.values() if part < size)
        done = whole - (whole if glance.missing_bytes is None else glance.missing_bytes) + begun
    else:
        past = _PAST.get(state.state, frozenset())
        whole = sum(ecu.target.length for ecu in plan.ecus)
        done = sum(_done_bytes(ecu, glance, past) for ecu in plan.ecus)
    return min(100, done * 100 // whole) if whole else 0


def _done_bytes(ecu: EcuPlan, glance: Glance, past: frozenset[EcuState]) -> int:
    at, length = glance.state.ecus.get(ecu.serial, EcuState.IDLE), ecu.target.length
    if at in past or (glance.state.state == "STAGING" and at is not EcuState.IDLE):
        return length
    part, size = glance.done.get(ecu.serial, (0, 0))
    return length * min(part, size) // size if size else 0
