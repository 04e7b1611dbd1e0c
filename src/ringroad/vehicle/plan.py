"""The plan of one campaign: what goes onto which ECU, in which order, and how it could be undone.

Pure. Made once, in SYNCING, from what both repositories vouch for and from what every ECU says about itself.

Invariant: an ECU that is missing, unknown, exchanged, without a way back or of software that does not fit is `Refused`
here, so that nothing is ever installed next to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.preconditions import parse_precondition
from ringroad.protocol.vehicle import OBEYS_CONDUCT, UpdateGroup, VehiclePackage
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.agents.base import EcuInventory, Failed
from ringroad.vehicle.states import EcuPlan, Plan
from ringroad.vehicle.terms import Change, Refused, Runs, as_running, check_terms


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuOnBoard:
    """One ECU as the vehicle's configuration knows it.

    Attributes:
        name: in the programme.
        serial: its unique id.
        hardware_id: what it is.
        mode: ``"ab"`` or ``"inplace"``.
        primary: whether the orchestrator itself runs on it.
        factory: the image it left the plant with, if known.
        line: what its bytes travel on; ECUs of one line are staged one after another.
    """

    name: str
    serial: str
    hardware_id: str
    mode: str
    primary: bool = False
    factory: VerifiedTarget | None = None
    line: str = ""


def make_plan(
    package: VehiclePackage,
    targets: Mapping[str, VerifiedTarget],
    *,
    ecus: Sequence[EcuOnBoard],
    inventory: Mapping[str, EcuInventory | Failed],
    installed: Mapping[str, VerifiedTarget],
    before: Mapping[str, str],
) -> Plan | Refused:
    """Return how to install `package`, or why it cannot be.

    Args:
        package: signed by the Director.
        targets: by ECU serial, matched by both repositories.
        ecus: of this vehicle.
        inventory: what each of them answered, by configured serial.
        installed: the image last committed, by serial.
        before: digest of the image that ran before that one, by serial.
    """
    for expression in package.preconditions:
        try:
            parse_precondition(expression)
        except InvalidInput as error:
            return Refused(code="bad_precondition", detail=error.message)
    groups = order_groups(package.groups, last=[ecu.serial for ecu in ecus if ecu.primary])
    if isinstance(groups, Refused):
        return groups
    on_board = {ecu.serial: ecu for ecu in ecus}
    planned: dict[str, EcuPlan] = {}
    for group in groups:
        for serial in group.ecus:
            ecu, target, answer = on_board.get(serial), targets.get(serial), inventory.get(serial)
            if ecu is None or answer is None:
                return Refused(code="unknown_ecu", detail=f"ECU {serial} is not in this vehicle")
            if target is None:
                return Refused(code="partial_bundle", detail=f"ECU {serial} is in a group but has no image")
            if isinstance(answer, Failed):
                return Refused(code=answer.reason, detail=f"{ecu.name}: {answer.detail}")
            plan = _plan_ecu(ecu, target, answer, installed.get(serial))
            if isinstance(plan, Refused):
                return plan
            if plan is not None:
                planned[serial] = plan
    changes = [
        Change(
            name=on_board[serial].name,
            target=plan.target,
            returns=package.rollback and before.get(serial) == plan.target.sha256,
        )
        for serial, plan in planned.items()
        if plan.from_sha256 != plan.target.sha256
    ]
    refused = check_terms(changes, _running(ecus, inventory, installed, targets))
    if refused is not None:
        return refused
    return Plan(
        release_id=package.release_id,
        release_version=package.release_version,
        groups=tuple(
            UpdateGroup(name=group.name, ecus=[s for s in group.ecus if s in planned], after=group.after)
            for group in groups
            if any(serial in planned for serial in group.ecus)
        ),
        ecus=tuple(planned.values()),
        post_checks=tuple(package.post_checks),
        preconditions=tuple(one for one in package.preconditions if one != OBEYS_CONDUCT),
        notes=package.notes,
        conduct=package.conduct,
    )


def order_groups(groups: Sequence[UpdateGroup], *, last: Collection[str] = ()) -> list[UpdateGroup] | Refused:
    """Return `groups` so that each stands behind those it names in `after`; otherwise in their signed order.

    Args:
        groups: as they are signed.
        last: serials whose groups come as late as `after` lets them: the orchestrator does not restart itself early.
    """
    ordered: list[UpdateGroup] = []
    left = list(groups)
    while left:
        done = {group.name for group in ordered}
        free = [group for group in left if done.issuperset(group.after)]
        # `min` is stable: otherwise the signed order stands.
        ready = min(free, key=lambda group: not set(last).isdisjoint(group.ecus), default=None)
        if ready is None:
            names = ", ".join(group.name for group in left)
            return Refused(code="partial_bundle", detail=f"update groups wait for each other: {names}")
        ordered.append(ready)
        left.remove(ready)
    return ordered


def _running(
    ecus: Sequence[EcuOnBoard],
    inventory: Mapping[str, EcuInventory | Failed],
    installed: Mapping[str, VerifiedTarget],
    targets: Mapping[str, VerifiedTarget],
) -> dict[str, Runs]:
    """Return what each ECU runs, by name; where the bootloader answers, what it ran last.

    One that runs the very bytes of its target runs what these are signed as, whatever it calls them.
    """
    found: dict[str, Runs] = {}
    for ecu in ecus:
        answer, known = inventory.get(ecu.serial), installed.get(ecu.serial)
        target = targets.get(ecu.serial)
        if answer is None or isinstance(answer, Failed):
            found[ecu.name] = Runs(version=None, failed=answer)
        elif answer.running is None:
            found[ecu.name] = Runs(version=known.ecu_target.version if known is not None else None)
        elif target is not None and target.sha256 == answer.running.sha256:
            found[ecu.name] = as_running(target)
        else:
            running = answer.running
            same = known is not None and known.sha256 == running.sha256
            found[ecu.name] = Runs(
                version=running.version,
                sha256=running.sha256,
                terms=known.terms if known is not None and same else None,
            )
    return found


def _plan_ecu(
    ecu: EcuOnBoard, target: VerifiedTarget, answer: EcuInventory, installed: VerifiedTarget | None
) -> EcuPlan | Refused | None:
    """Return the plan of one ECU, or None if it has nothing left to do."""
    if answer.serial != ecu.serial:
        return Refused(
            code="serial_mismatch", detail=f"{ecu.name} answers as {answer.serial}, expected {ecu.serial}"
        )
    if answer.hardware_id not in target.hardware_ids:
        return Refused(code="wrong_hardware", detail=f"{ecu.name} is {answer.hardware_id}")
    if target.ecu_target.mode != ecu.mode:
        return Refused(code="wrong_mode", detail=f"{ecu.name} is {ecu.mode}, the image is for another kind")
    if target.release_counter < answer.committed_counter:
        return Refused(
            code="counter_too_low",
            detail=f"{ecu.name} committed counter {answer.committed_counter}, image {target.release_counter}",
        )
    running = answer.running
    runs_it = running is not None and running.sha256 == target.sha256 and not answer.trial
    # The counter is advanced by `commit`, which may have been cut off: then there is still that to do.
    if runs_it and target.release_counter == answer.committed_counter:
        return None
    backup = None
    if ecu.mode == "inplace":
        # It may run the new image already, not yet committed: then that is what it goes back to.
        known = [one for one in (installed, ecu.factory, target if runs_it else None) if one is not None]
        backup = next((one for one in known if running is not None and one.sha256 == running.sha256), None)
        if backup is None and running is None and known:
            backup = known[0]  # the bootloader answers: the newest image known is the way back
        if backup is None:
            return Refused(code="no_backup", detail=f"{ecu.name}: the image it runs cannot be fetched again")
        if backup.release_counter < answer.committed_counter:
            return Refused(code="no_backup", detail=f"{ecu.name}: its backup is below the committed counter")
    return EcuPlan(
        target=target,
        from_version=running.version if running is not None else "",
        from_sha256=running.sha256 if running is not None else "",
        backup=backup,
        primary=ecu.primary,
    )
