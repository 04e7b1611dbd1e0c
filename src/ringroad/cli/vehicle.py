"""`ringroad vehicle`: run one vehicle from its data folder, look at it, speak for its driver or its workshop."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
import structlog

from ringroad.cli import LaterGroup
from ringroad.cli.tables import exactly, size
from ringroad.kernel.clock import Clock, system_fraction
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from ringroad.kernel.plurals import counted
from ringroad.protocol.vehicle import Phase
from ringroad.vehicle.address import parse_address
from ringroad.vehicle.config import EcuConfig, VehicleConfig, check_not_rehearsed, on_board, read_config
from ringroad.vehicle.connect import connect_agents
from ringroad.vehicle.consent import (
    BY_CHARS_MAX,
    CONSENT_HOURS,
    CONSENT_HOURS_MAX,
    answer_text,
    digest_notes,
    write_word,
)
from ringroad.vehicle.diagnostics.bulk import LogRing
from ringroad.vehicle.ecu_tries import GONE, try_text
from ringroad.vehicle.files import FolderLock
from ringroad.vehicle.identity import ManifestBook
from ringroad.vehicle.images import bytes_here
from ringroad.vehicle.journal import RecordHook, crash_after
from ringroad.vehicle.memory import Memory, read_state
from ringroad.vehicle.orchestrator import IMAGES_NAME
from ringroad.vehicle.run import Surroundings, run_vehicle
from ringroad.vehicle.signals import FileSignals
from ringroad.vehicle.states import (
    JOURNAL_MISSING,
    RESET_TRIES_ON,
    TOUCHED,
    Answered,
    CampaignState,
    EcuMoved,
    Entry,
    Moved,
    Noted,
    Opened,
    Tried,
    Unblocked,
    tried_ecu,
)
from ringroad.vehicle.unblock import LOOK_S as UNBLOCK_LOOK_S
from ringroad.vehicle.unblock import (
    UNBLOCK_NAME,
    Aboard,
    exchanged,
    image_for,
    left_undone,
    read_taken,
    say_unblock,
    take_back,
    unblocked,
)

if TYPE_CHECKING:
    from ringroad.cli.shell import Shell

CRASH_VARIABLE = "RINGROAD_CRASH_AFTER_RECORD"
UNBLOCK_S_MAX: Final = 30.0  # s that a process may take to hear that its vehicle is mended
PAST_SHOWN: Final = 5  # updates that ended before the one that is shown

_DATA = click.option(
    "--data", "folder", required=True, type=click.Path(path_type=Path), help="The vehicle's data folder."
)


# Not at the top: the process that runs a vehicle carries none of them.
LATER: Final = {
    "enrol": ("ringroad.cli.vehicle_enrol", "enrol"),
    "check-agent": ("ringroad.cli.vehicle_agent", "check_agent_command"),
    "rehearse": ("ringroad.cli.vehicle_rehearse", "rehearse"),
    "diagnostics": ("ringroad.cli.vehicle_diagnostics", "diagnostics"),
    "tester": ("ringroad.cli.vehicle_tester", "group"),
    "birth": ("ringroad.cli.vehicle_birth", "birth"),
}


@click.group("vehicle", cls=LaterGroup, later=LATER)
def group() -> None:
    """One vehicle: run it, look at it, agree to an update."""


@group.command("run")
@_DATA
@click.option(
    "--page", metavar="HOST:PORT", help="Serve the driver page there, whatever config.toml says of it."
)
@click.pass_obj
def run(shell: Shell, folder: Path, page: str | None) -> None:
    """Run the vehicle in the foreground until it is told to end; Ctrl-C at any moment is safe."""
    config = read_config(folder)
    check_not_rehearsed(folder, config)
    FolderLock(folder).close()  # before anything is said of a vehicle that runs already
    if page:
        config = msgspec.structs.replace(config, page=page)
        parse_address(page)
    log = LogRing(alone=True)
    *before, render = structlog.get_config()["processors"]
    structlog.configure(processors=[*before, log, render])
    surroundings = Surroundings(
        clock=shell.clock,
        ids=shell.ids,
        fraction=system_fraction,
        agents=connect_agents(folder, config),
        signals=FileSignals(folder / config.signals_file),
        hook=_crash_hook(shell.env.get(CRASH_VARIABLE, "")),
        observer=_narrator(shell, config),
        log=log,
    )
    shell.say(f"vehicle {config.vin} with {counted(len(config.ecus), 'ECU')}, server {config.server_url}")
    if config.diagnostics_http and config.diagnostics != "off":
        from ringroad.vehicle.diagnostics.face import BASE  # noqa: PLC0415 - most vehicles have none

        scheme = "https" if config.diagnostics_cert_file else "http"
        shell.say(f"diagnostics {scheme}://{parse_address(config.diagnostics_http).shown}{BASE}")
    if config.page:
        shell.say(f"driver page http://{parse_address(config.page).shown}/")
    asyncio.run(_until_told(folder, config, surroundings))


@group.command("status")
@_DATA
@click.pass_obj
def status(shell: Shell, folder: Path) -> None:
    """Show what the vehicle's journal says; works while it runs and while it does not."""
    config = read_config(folder)
    state = read_state(folder)
    untold = ManifestBook(folder, durability="fsync").due(state)
    value = _status(config, state, running=is_running(folder), now=shell.clock.now(), untold=untold)
    if state.state == "DOWNLOADING" and state.plan is not None:
        images = state.plan.images()
        value["here_bytes"] = bytes_here(folder / IMAGES_NAME, images)
        value["images_bytes"] = sum(image.length for image in images)
    shell.show(value, text=_status_text(value, folder))


@group.command("consent")
@_DATA
@click.argument("action_id", type=int)
@click.option("--download-only", is_flag=True, help="Agree to the download, not yet to the installation.")
@click.option("--install-only", is_flag=True, help="Agree up to the installation, not yet to the activation.")
@click.option("--hours", default=CONSENT_HOURS, show_default=True, help="How long the agreement holds.")
@click.option("--later", is_flag=True, help="Put the update off for --hours, where it may be put off.")
@click.option("--deny", is_flag=True, help="Decline the update, unless its installation has begun.")
@click.option("--by", default="driver", show_default=True, help="Who says so; the server is told.")
@click.pass_obj
def consent(
    shell: Shell,
    folder: Path,
    *,
    action_id: int,
    download_only: bool,
    install_only: bool,
    hours: int,
    later: bool,
    deny: bool,
    by: str,
) -> None:
    """Speak for the driver about update ACTION_ID: agree to it, put it off or decline it."""
    read_config(folder)
    if not 1 <= hours <= CONSENT_HOURS_MAX:
        raise InvalidInput(f"hours must be between 1 and {CONSENT_HOURS_MAX}")
    if not 1 <= len(by) <= BY_CHARS_MAX:
        raise InvalidInput(f"--by takes 1 to {BY_CHARS_MAX} characters")
    if download_only + install_only + later + deny > 1:
        raise InvalidInput("one of --download-only, --install-only, --later and --deny at a time")
    through: Phase = "download" if download_only else "install" if install_only else "activate"
    state = read_state(folder)
    if state.action_id != action_id:
        has = f"its newest is {state.action_id}" if state.action_id else "it has had none"
        raise NotFound(
            f"the vehicle has no update {action_id}; {has}",
            hint=f"ringroad vehicle status --data {folder} names the one it asks about",
        )
    plan = state.plan
    given = write_word(
        folder, action_id=action_id, word="no" if deny else "later" if later else "yes", through=through, by=by,
        now=shell.clock.now(), hours=hours, notes_sha256=digest_notes(plan.notes) if plan else "",
    )  # fmt: skip
    until = f"until {given.expires_at:%Y-%m-%d %H:%M} UTC"
    if deny:
        shell.show(given, text=f"declined update {action_id}")
    elif later:
        shell.show(given, text=f"put update {action_id} off {until}")
    else:
        what = {
            "download": "downloading",
            "install": "downloading and installing (not activating)",
            "activate": "downloading, installing and activating",
        }[through]
        shell.show(given, text=f"agreed to {what} update {action_id} {until}")


@group.command("unblock")
@_DATA
@click.pass_obj
def unblock(shell: Shell, folder: Path) -> None:
    """Let a vehicle take part again after ROLLBACK_FAILED, once a technician mended it.

    What the blocked update left undone is begun again; an ECU that was brought there by other tools is not flashed.
    A vehicle that runs is told so, and takes it within seconds.
    """
    ecus = on_board(read_config(folder))
    try:
        lock = FolderLock(folder)
    except Conflict:
        before, since = read_state(folder), shell.clock.now()
        unblock_running(folder, shell.clock, within_s=UNBLOCK_S_MAX)
        taken = read_taken(folder, action_id=before.action_id, since=since)
        _show_unblocked(shell, folder, before, ecus if taken is None else taken, how=", while it runs")
        return
    try:
        memory = Memory(folder, clock=shell.clock, ids=shell.ids, durability="fsync")
        try:
            if not memory.state.blocked:
                raise Conflict(f"the vehicle is not blocked; it is {memory.state.state}")
            before = memory.state
            memory.write(unblocked(before, ecus, now=shell.clock.now()))
        finally:
            memory.close()
    finally:
        lock.close()
    _show_unblocked(shell, folder, before, ecus)


def _show_unblocked(
    shell: Shell, folder: Path, before: CampaignState, ecus: Sequence[Aboard], *, how: str = ""
) -> None:
    """Say what follows for the ECUs of the vehicle that was blocked."""
    left, gone = left_undone(before, ecus), exchanged(before, ecus)
    names = [ecu.target.ecu_target.name for ecu in left]
    entry = unblocked(before, ecus, now=shell.clock.now())
    if isinstance(entry, Unblocked):
        said, state = f"; no ECU is touched, look at what each runs: {before.code}: {before.detail}", "IDLE"
    else:
        where = "on to what it shall run" if entry.state == "COMMITTING" else "back to what it ran before"
        when = "now" if how else "once the vehicle runs"
        said, state = f"; it is brought {where} {when}: {', '.join(names)}", entry.state
        wanted = [(ecu, image) for ecu in left if (image := image_for(before, ecu)) is not None]
        for ecu, image in wanted:
            if not (folder / IMAGES_NAME / image.sha256).exists():
                name = ecu.target.ecu_target.name
                said += f"\n{image.filename} for {name} is not in {IMAGES_NAME}/ any more: it is fetched from the server first"
    for ecu in gone:
        said += f"\n{ecu.target.ecu_target.name} {ecu.serial} {GONE}: what is there in its place needs its software by your own tools"
    if gone and left:
        said += "\nthe vehicle is blocked again once the others are done: look at what is there, and unblock it then"
    shell.show(
        {"state": state, "ecus": names, "exchanged": [ecu.target.ecu_target.name for ecu in gone]},
        text=f"unblocked{how}{said}",
    )


def unblock_running(folder: Path, clock: Clock, *, within_s: float) -> None:
    """Leave the word to the process that runs the vehicle, and wait until it has taken it.

    Raises:
        Conflict: the vehicle is not blocked.
        Unavailable: its process did not take the word in time.
    """
    state = read_state(folder)
    if not state.blocked:
        raise Conflict(f"the vehicle is not blocked; it is {state.state}")
    say_unblock(folder, action_id=state.action_id, now=clock.now())
    give_up_at = clock.monotonic_s() + within_s
    try:
        while (
            read_state(folder).blocked and (folder / UNBLOCK_NAME).exists()
        ):  # it may be blocked again by now
            if clock.monotonic_s() >= give_up_at:
                raise Unavailable(
                    f"the process that runs the vehicle did not take it within {within_s:g} s",
                    hint="end that process (Ctrl-C, or its service), and say it again; look into its log for why",
                )
            time.sleep(UNBLOCK_LOOK_S)
    finally:
        take_back(folder)


async def _until_told(folder: Path, config: VehicleConfig, surroundings: Surroundings) -> None:
    task = asyncio.create_task(run_vehicle(folder, config, surroundings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
    except ExceptionGroup as group_:
        # One cause is enough for the person who reads it; `RingroadError`s carry their own hint.
        raise _first(group_) from None


def _first(group_: ExceptionGroup[Exception]) -> Exception:
    found: Exception = group_
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return found


def _crash_hook(text: str) -> RecordHook | None:
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise InvalidInput(f"{CRASH_VARIABLE} must be a positive number, not {text!r}")
    return crash_after(int(text))


def _narrator(shell: Shell, config: VehicleConfig) -> Callable[[Entry, CampaignState], None]:
    """Return an observer that tells each step in one line."""
    names = {ecu.serial: ecu.name for ecu in config.ecus}

    def tell(entry: Entry, state: CampaignState) -> None:
        line = journal_line(entry, state, names)
        if line:
            shell.say(f"{_time(shell.clock)}  {line}")

    return tell


def journal_line(entry: Entry, state: CampaignState, names: Mapping[str, str]) -> str:
    """Return what a journal entry says to a person; empty for those that say nothing. `names`: ECU by serial."""
    match entry:
        case Opened(action_id=action_id):
            return f"SYNCING        update {action_id}"
        case Moved(state=moved, code=code, detail=detail):
            return f"{moved:<14} {code} {detail}".rstrip()
        case EcuMoved(serial=serial, state=ecu_state, code=code, detail=detail):
            return f"{state.state:<14} {names.get(serial, serial)}: {ecu_state} {code} {detail}".rstrip()
        case Answered(answer=answer):
            return f"{state.state:<14} {answer_text(answer)}"
        case Tried(code=code, detail=detail) if serial := tried_ecu(entry, state):
            told = f"{names.get(serial, serial)}: {state.told(serial)} {code} {detail}"
            return f"{state.state:<14} {told}".rstrip()
        case Noted(code=code, detail=detail) | Tried(code=code, detail=detail):
            return f"{state.state:<14} {code}: {detail}"
        case _:
            return ""


def _time(clock: Clock) -> str:
    return clock.now().strftime("%H:%M:%S")


def is_running(folder: Path) -> bool:
    """Say whether an orchestrator runs on a vehicle's folder."""
    try:
        FolderLock(folder).close()
    except Conflict:
        return True
    return False


def _status(
    config: VehicleConfig, state: CampaignState, *, running: bool, now: datetime, untold: bool = False
) -> dict[str, Any]:
    """Say how a vehicle stands; `untold`: what it noted since its update ended holds still, as no manifest was told."""
    noted = state.noted[0] if untold or not state.resting else ""
    tries_at = now if running and not state.resting else None  # else nobody tries again
    due = {
        serial for serial, one in state.failing.items() if tries_at and one.again_at and one.again_at <= now
    }
    at_work = replace(state, unreachable=state.unreachable - due)  # these are tried at this moment
    return {
        "vin": config.vin,
        "running": running,
        "state": state.state,
        "action_id": state.action_id,
        "code": state.code or noted,
        "detail": state.detail or (state.note if noted else ""),
        "release_id": state.release_id,
        "blocked": state.blocked,
        "peer_bytes": state.peer_bytes,
        "reports_refused": state.refused_count,
        "refused": [msgspec.to_builtins(one) for one in state.refused],
        "past": [msgspec.to_builtins(one) for one in state.past],
        "ecus": [
            {
                "name": ecu.name,
                "serial": ecu.serial,
                "mode": ecu.mode,
                "state": str(at_work.told(ecu.serial)),
                "committed": _committed(ecu, state),
                "touched": (state.state in RESET_TRIES_ON or state.blocked)
                and state.ecus.get(ecu.serial) in TOUCHED,
                "why": try_text(state.failing[ecu.serial], now=tries_at)
                if ecu.serial in state.failing
                else "",
            }
            for ecu in config.ecus
        ],
    }


def _committed(ecu: EcuConfig, state: CampaignState) -> str:
    """Return the version last committed, else the plant's; empty if the journal that knew it is gone."""
    if (installed := state.installed.get(ecu.serial)) is not None:
        return installed.ecu_target.version
    return ecu.factory.version if ecu.factory and state.code != JOURNAL_MISSING else ""


def _status_text(value: dict[str, Any], folder: Path) -> str:
    action = f", update {value['action_id']}" if value["action_id"] is not None else ""
    lines = [
        f"{value['vin']}  {value['state']}{action}  ({'running' if value['running'] else 'not running'})",
        *(["  " + ": ".join(filter(None, (value["code"], value["detail"])))] if value["code"] else []),
        *(
            [f"  {counted(value['reports_refused'], 'report')} refused by the server"]
            if value["reports_refused"]
            else []
        ),
        *(
            [f"  {size(value['here_bytes'])} of {size(value['images_bytes'])} of its images are here"]
            if "images_bytes" in value
            else []
        ),
        *([f"  {size(value['peer_bytes'])} of this update came from peers"] if value["peer_bytes"] else []),
        *([f"  a technician mends it, then: ringroad vehicle unblock --data {folder}"] * value["blocked"]),
    ]
    width = max(len(ecu["name"]) for ecu in value["ecus"])
    lines += [
        f"  {ecu['name']:<{width}}  {ecu['mode']:<7}  {'was ' * (ecu['touched'] and bool(ecu['committed'])) + (ecu['committed'] or '-'):<12}  "
        + ": ".join(filter(None, (ecu["state"], ecu["why"])))
        for ecu in value["ecus"]
    ]
    earlier = [one for one in value["past"] if one["action_id"] != value["action_id"]]
    lines += [f"  before: {_past_text(one)}" for one in earlier[:PAST_SHOWN]]
    return "\n".join(lines)


def _past_text(past: dict[str, Any]) -> str:
    release = f" to {past['version']}" if past.get("version") else ""
    why = ": ".join(filter(None, (past.get("code"), past.get("detail"))))
    return f"update {past['action_id']}{release}, {past['state']} {exactly(past['ended_at'])}{f', {why}' if why else ''}"
