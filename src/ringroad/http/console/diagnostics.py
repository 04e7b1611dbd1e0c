"""A vehicle's diagnostics as a workshop reads them: what its ECUs last answered in one's own session, and what waits.

The page asks the vehicle nothing by itself: it shows answers that are in the database, and its buttons go through the API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, unquote

from litestar import Response
from litestar.params import FromPath

from ringroad.http import reading
from ringroad.http.around import around_of
from ringroad.http.console.diagnostics_faults import (
    HEALTH,
    UNIX_S_MAX,
    FaultLine,
    cleared_since,
    fault_lines,
    faults_count,
    faults_told,
    still_silent,
)
from ringroad.http.console.diagnostics_locks import LockLine, lock_of
from ringroad.http.console.diagnostics_modes import mode_of, modes_told
from ringroad.http.console.diagnostics_updates import items_of, read_at, time_of, updates_of, updates_read_at
from ringroad.http.console.render import page, short
from ringroad.http.console.shared import Req, shown, url_of
from ringroad.http.context import Ctx
from ringroad.http.diagnostics import releases_of, with_release
from ringroad.http.faults import LOT_DAYS, history_of, lots_of
from ringroad.http.views import EcuView
from ringroad.kernel.errors import NotFound
from ringroad.protocol.diagnostics import DATA_ID, EXECUTION_ENDED
from ringroad.protocol.names import Names, data_name
from ringroad.protocol.vehicle import TERMINAL_STATES
from ringroad.signal import store_diagnostics as store
from ringroad.signal.diagnose import Job, Sample, Session
from ringroad.signal.store_names import load_names
from ringroad.storage.db import Connection

JOBS_READ: Final = 200  # newest requests of the session; a page of 33 ECUs needs about 70
JOBS_SHOWN: Final = 20
SESSIONS_SHOWN: Final = 10
LIVE_EACH: Final = 5  # newest readings of a subscription
LIVE_SHOWN: Final = 20
PART_LOTS_SHOWN: Final = 30  # lots with the largest share
_DATA_ID: Final = re.compile(DATA_ID)
_CODE: Final = re.compile(r"[PCBU][0-3][0-9A-F]{3}-[0-9A-F]{2}")
ONLINE: Final = "Online"  # state of an ECU that answered
RESTART: Final = "reset"  # of the operations
SERIAL_MISMATCH: Final = "serial_mismatch"
_ANSWERS: Final = re.compile(r"'([^']{1,64})' answers instead of")
DID_CHARS: Final = 4  # of a data identifier in hex


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLine:
    """One value of an ECU: as it was last read or written, and what may be written into it."""

    did: str
    name: str
    value: Any = None
    before: Any = None  # where it was written last
    read_at: datetime | None = None
    write: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentLine:
    """One ECU: what it last said of itself, and who holds its lock."""

    name: str
    path: str  # of the API, below the vehicle's diagnostics
    primary: bool = False
    serial: str = ""
    hardware: str = ""
    state: str = ""
    version: str = ""
    version_at: datetime | None = None  # when it was told
    told: bool = False  # by the vehicle's own manifest, since its ECU was read last
    mode: str = ""  # application or bootloader, as it was read last
    manifest: str = (
        ""  # the version of a manifest from before the read, where the ECU said another one, or none
    )
    manifest_at: datetime | None = None
    lock: LockLine | None = None
    read_at: datetime | None = None
    data: list[DataLine] = field(default_factory=list)
    modes: list[Mapping[str, Any]] = field(default_factory=list)
    modes_at: datetime | None = None
    offers: frozenset[str] | None = None  # None: an older vehicle, which does not say
    bus: str = ""  # of the programme's file
    faults: int | None = None  # that it stores, as it said last; None where it said nothing of them
    silent_at: datetime | None = None  # when it did not answer, since it was read
    stranger: str = (
        ""  # that another ECU answers in its place, and which; then nothing that was read before holds
    )

    def may(self, what: str) -> bool:
        """Say whether it can be asked for this; one that does not say may be asked for everything."""
        return not self.stranger and (self.offers is None or what in self.offers)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLine:
    """One reading of a cyclic subscription; values by name or identifier."""

    component: str
    at: datetime
    values: list[tuple[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """One request as a line: what was asked, and how it ended."""

    job: Job
    said: str

    @property
    def word(self) -> str:
        """The state by which it is coloured: an answer that says no is none that went well."""
        refused = self.job.state == "answered" and self.job.status is not None and self.job.status >= 400
        return "refused" if refused else self.job.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything the vehicle answered in one session, the newest of each."""

    operations: list[Mapping[str, Any]] = field(default_factory=list)  # executions, newest first
    components: list[ComponentLine] = field(default_factory=list)
    faults: list[FaultLine] = field(default_factory=list)
    faults_at: datetime | None = None
    cleared_at: datetime | None = None  # when something was cleared since: what came back is not shown
    silent: Mapping[str, list[str]] = field(default_factory=dict)  # ECUs by what was said of them
    ecus: int = 0  # of the vehicle, as far as they are known
    answered: int = 0  # of them that told their faults
    updates: list[Mapping[str, Any]] = field(default_factory=list)
    updates_at: datetime | None = None  # when they were read last


@shown("/fleet/{vin:str}/diagnostics")
def diagnostics_page(ctx: Ctx, request: Req, vin: FromPath[str]) -> Response[str]:
    """One vehicle's diagnostics: session, components, faults, requests."""
    account = request.user.name
    with ctx.transaction() as conn:
        v = reading.one(reading.vehicles(conn, vin=vin), f"vehicle {vin}")
        own = store.session_of(conn, vin=vin, account=account)
        sessions = store.read_sessions(conn, vin=vin, rows_max=SESSIONS_SHOWN)
        last = own or next((each for each in sessions if each.account == account), None)
        jobs = store.read_jobs(conn, vin=vin, session_id=last.id, rows_max=JOBS_READ) if last else []
        names_of = load_names(conn, v.programme_id)
        ecus = {each.name: each for each in reading.vehicle_ecus(conn, vin) if each.removed_at is None}
        bench = bench_of(jobs if own else [], names_of, now=ctx.clock.now(), known=list(ecus))
        releases = releases_of(conn, vin, bench.updates)
        bench = replace(
            bench,
            updates=[with_release(each, releases) for each in bench.updates],
            components=[as_told(each, ecus.get(each.name)) for each in bench.components],
        )
        known = {str(each["release"]) for each in bench.updates if each.get("release")}
        values: dict[str, Any] = {
            "bench": bench,
            "releases": {r.id: r for each in known for r in reading.releases(conn, release_id=each)},
            "chosen": chosen_of(bench.components, request.query_params.get("ecu")),
            "lines": _watched(conn, own, names_of),
            "permission": store.read_permission(conn, account),
            "sessions": sessions,
            "jobs": [JobLine(job=job, said=said_of(job)) for job in jobs[:JOBS_SHOWN]],
        }
    return page(
        "diagnostics.html", account=request.user, url=url_of(request), v=v, own=own, over=TERMINAL_STATES, **values,
    )  # fmt: skip


@shown("/fleet/{vin:str}/fault-history")
def fault_history_part(ctx: Ctx, request: Req, vin: FromPath[str]) -> Response[str]:
    """A vehicle's faults over its life: a part of its diagnostics, read out of the lake when somebody opens it."""
    history, counted_from = history_of(ctx, vin)
    return page(
        "fault_history.html", account=request.user, vin=vin, history=history, counted_from=counted_from
    )


@shown("/fleet/{vin:str}/fault-around/{at_us:int}")
def fault_around_part(ctx: Ctx, request: Req, vin: FromPath[str], at_us: FromPath[int]) -> Response[str]:
    """What the vehicle's signals said in the seconds around a fault: a part of its history."""
    if not 0 <= at_us < UNIX_S_MAX * 1_000_000:
        raise NotFound("no fault was at that time")
    with ctx.connection() as conn:
        reading.one(reading.vehicles(conn, vin=vin), f"vehicle {vin}")
    return page("fault_around.html", account=request.user, around=around_of(ctx, vin, at_us))


@shown("/fleet/{vin:str}/fault-lots/{code:str}")
def fault_lots_part(ctx: Ctx, request: Req, vin: FromPath[str], code: FromPath[str]) -> Response[str]:
    """Which other vehicles of the programme had a code, by software, build week and lots: a part of a fault's history."""
    if _CODE.fullmatch(code) is None:
        raise NotFound(f"{code[:20]!r} is no fault code")
    with ctx.connection() as conn:
        programme = reading.one(reading.vehicles(conn, vin=vin), f"vehicle {vin}").programme_id
    weeks, parts = (lots_of(ctx, programme, code, by=by) for by in ("week", "part"))
    told = sorted(parts, key=lambda each: -each.permille)[:PART_LOTS_SHOWN]
    return page("fault_lots.html", account=request.user, code=code, weeks=weeks, parts=told, days=LOT_DAYS)


@shown("/fleet/{vin:str}/diagnostics/live")
def live_part(ctx: Ctx, request: Req, vin: FromPath[str]) -> Response[str]:
    """What one's own cyclic subscriptions told last: a part of the diagnostics, which asks for itself again and again."""
    with ctx.connection() as conn:
        v = reading.one(reading.vehicles(conn, vin=vin), f"vehicle {vin}")
        own = store.session_of(conn, vin=vin, account=request.user.name)
        lines = _watched(conn, own, load_names(conn, v.programme_id))
    return page("diagnostics_live.html", account=request.user, lines=lines)


def _watched(conn: Connection, own: Session | None, names_of: Names) -> list[WatchLine]:
    """Return what the subscriptions of a session told last, newest first."""
    if own is None:
        return []
    samples = store.newest_samples(conn, session_id=own.id, each_max=LIVE_EACH, rows_max=LIVE_SHOWN)
    return [watch_line(each, names_of) for each in samples]


def watch_line(sample: Sample, names_of: Names) -> WatchLine:
    """Return one reading as a line: by name where there is one, else by identifier."""
    parts = sample.path.split("/")
    component = unquote(parts[2]) if len(parts) > 2 else ""
    values = [
        (_name_of(component, did, {}, names_of) or did, each.get("value", each.get("error")))
        for did, each in sample.values.items()
        if _is_id(did)
    ]
    return WatchLine(component=component, at=sample.at, values=values)


def as_told(line: ComponentLine, ecu: EcuView | None) -> ComponentLine:
    """Return a component with what the server knows of its ECU: its bus, and the version, where the manifest's is newer.

    What was read since the manifest stands, also that no software runs; where the two differ both are told. Pure.
    """
    if ecu is None:
        return line
    line = replace(line, bus=ecu.bus or "")
    if not ecu.version or ecu.reported_at is None:
        return line
    if line.state == ONLINE and line.read_at is not None and ecu.reported_at <= line.read_at:
        same = ecu.version == line.version
        return line if same else replace(line, manifest=ecu.version, manifest_at=ecu.reported_at)
    return replace(line, version=ecu.version, version_at=ecu.reported_at, told=True, mode="")


def bench_of(
    jobs: Iterable[Job],
    names_of: Names | None = None,
    *,
    now: datetime | None = None,
    known: Sequence[str] = (),
) -> Bench:
    """Return what the newest answers say. Pure; what a vehicle says is not trusted to be well-formed.

    Args:
        jobs: of one session.
        names_of: of data and faults.
        now: which modes and locks are over by; None: none is.
        known: names of its ECUs, for as long as it has not listed them.
    """
    newest: dict[str, Job] = {}
    jobs = sorted(jobs, key=lambda each: each.made_at)
    for job in jobs:
        if job.state == "answered" and job.status == 200 and job.answer is not None:
            path = job.path.strip("/")
            if job.method == "DELETE" and path.endswith("/faults"):  # what surrounded them is gone with them
                newest = {key: each for key, each in newest.items() if not key.startswith(f"{path}/")}
            newest[path] = job  # taking and giving back a lock are both about the lock
    listed = items_of(newest.get("components"))
    names = [str(each.get("name", "")) for each in listed]
    operations = _executions(jobs)
    lines = [
        _component(name, entry, newest, names_of or {}, now=now, restarted=_restarted(name, operations))
        for name, entry in zip(names, listed, strict=True)
        if name
    ]
    strangers = _strangers(names, jobs)
    told = faults_told(names or known, newest)
    silent, asked = still_silent(newest, told), newest.get(HEALTH)
    away = {name for each in silent.values() for name in each}
    silent_at = asked.answered_at if asked is not None else None
    lines = [
        replace(
            each,
            stranger=strangers.get(each.name, ""),
            faults=faults_count(
                told.get(each.name), newest.get(each.path), silent_at if each.name in away else None
            ),
            lock=lock_of(each.path, jobs, now),
            silent_at=silent_at
            if each.name in away and silent_at and (each.read_at is None or each.read_at < silent_at)
            else None,
        )
        for each in lines
    ]
    return Bench(
        operations=operations,
        components=lines,
        faults=fault_lines(told, newest, names_of or {}),
        updates=updates_of(newest),
        updates_at=updates_read_at(newest),
        faults_at=read_at(newest, HEALTH, *(path for path in newest if path.endswith("/faults"))),
        cleared_at=cleared_since(newest),
        silent=silent,
        ecus=len({*(names or known), *told, *away}),
        answered=len(told),
    )


def _strangers(names: Iterable[str], jobs: Iterable[Job]) -> dict[str, str]:
    """Return of which ECUs the newest answer says that another one is in their place, and which. `jobs`: oldest first."""
    known = {f"components/{quote(name, safe='')}": name for name in names}
    found: dict[str, str] = {}
    for job in sorted(jobs, key=lambda each: each.answered_at or each.made_at):
        said, path = job.answer or {}, job.path.strip("/")
        if path == HEALTH and job.status == 200:
            silent = {str(each.get("component")): each for each in items_of(job, "silent")}
            for name in known.values():
                found[name] = _stranger(silent.get(name, {}).get("code"), silent.get(name, {}).get("message"))
        elif path in known and job.status == 200:
            found[known[path]] = _stranger(str(said.get("reason", "")).partition(":")[0], said.get("reason"))
        elif (name := known.get("/".join(path.split("/")[:2]), "")) and isinstance(said.get("error"), dict):
            found[name] = _stranger(said["error"].get("code"), said["error"].get("message")) or found.get(
                name, ""
            )
    return found


def _stranger(code: Any, text: Any) -> str:
    if code != SERIAL_MISMATCH:
        return ""
    told = _ANSWERS.search(str(text))
    return f"another ECU answers ({told[1]})" if told else "another ECU answers"


def said_of(job: Job) -> str:
    """Return how a request ended, or what it waits for, in words."""
    times = f"{job.tries} time{'' if job.tries == 1 else 's'}"
    if job.state == "queued":
        return f"no answer yet; it was sent {times}, and is sent until {short(job.expires_at)}"
    if job.state == "expired":
        return f"no answer until {short(job.expires_at)}; it was sent {times}, and is sent no more"
    if job.state == "cancelled":
        return f"no answer before it was taken back or its session ended; it was sent {times}"
    error = (job.answer or {}).get("error")
    if isinstance(error, dict):
        return str(error.get("message", ""))[:300]
    return ""


def _executions(jobs: Iterable[Job]) -> list[Mapping[str, Any]]:
    """Return each execution as it was last told, the newest first; `over` says whether it has ended. `jobs`: oldest first."""
    found: dict[str, Mapping[str, Any]] = {}
    for job in jobs:
        said = job.answer or {}
        if "/operations/" not in job.path or not isinstance(said.get("id"), str) or job.status != 200:
            continue
        over = said.get("status") in EXECUTION_ENDED
        if over or not found.get(said["id"], {}).get("over"):
            began = time_of(said.get("started_at"))
            found[said["id"]] = {**said, "over": over, "began": began, "told_at": job.answered_at}
    return list(found.values())[::-1]


def _restarted(name: str, operations: Iterable[Mapping[str, Any]]) -> datetime | None:
    """Return when an ECU was last seen to start again because it was told to."""
    told = [
        each["told_at"]
        for each in operations
        if (each.get("component"), each.get("operation"), each.get("status")) == (name, RESTART, "completed")
    ]
    return max((at for at in told if at is not None), default=None)


def _component(
    name: str,
    entry: Mapping[str, Any],
    newest: Mapping[str, Job],
    names_of: Names,
    *,
    now: datetime | None,
    restarted: datetime | None,
) -> ComponentLine:
    path = f"components/{quote(name, safe='')}"
    shown_job = newest.get(path)
    said: Mapping[str, Any] = (shown_job.answer or {}) if shown_job is not None else {}
    modes = modes_told(path, newest)
    if restarted is not None and (
        modes is None or modes.answered_at is None or restarted < modes.answered_at
    ):
        restarted = None
    return ComponentLine(
        name=name, path=path, primary=entry.get("primary") is True, serial=str(entry.get("serial", "")),
        hardware=str(entry.get("hardware", "")), state=str(said.get("state", "")),
        version=str(said.get("software_version", "")), mode=str(said.get("mode", "")),
        read_at=shown_job.answered_at if shown_job is not None else None,
        version_at=shown_job.answered_at if shown_job is not None else None,
        data=_data(name, path, newest, names_of), modes=[mode_of(each, now, restarted) for each in items_of(modes)], modes_at=modes.answered_at if modes else None, offers=_offers(entry),
    )  # fmt: skip


def chosen_of(components: Sequence[ComponentLine], name: str | None) -> ComponentLine | None:
    """Return the component of which all is shown: the one that the address names, or the only one. Pure."""
    if len(components) == 1:
        return components[0]
    return next((each for each in components if each.name == name), None)


def _offers(entry: Mapping[str, Any]) -> frozenset[str] | None:
    offers = entry.get("offers")
    return frozenset(map(str, offers)) if isinstance(offers, list) else None


def _data(name: str, path: str, newest: Mapping[str, Job], names_of: Names) -> list[DataLine]:
    """Return what an ECU listed, and what was read of it, by identifier."""
    known = {str(each.get("id")): (each, None) for each in items_of(newest.get(f"{path}/data"))}
    read = {
        str(job.answer.get("id")): (job.answer, job.answered_at)
        for key, job in newest.items()
        if key.startswith(f"{path}/data/") and job.answer is not None
    }
    return [
        DataLine(
            did=did, name=_name_of(name, did, each, names_of), value=each.get("data"), before=each.get("before"), read_at=read_at,
            write=each.get("write") if isinstance(each.get("write"), dict) else None,
        )
        for did, (each, read_at) in sorted({**known, **read}.items())
        if _is_id(did)
    ]  # fmt: skip


def _name_of(component: str, did: str, each: Mapping[str, Any], names_of: Names) -> str:
    known = data_name(names_of, component, int(did, 16)) if _is_did(did) else ""
    return known or str(each.get("name", ""))


def _is_id(text: str) -> bool:
    """Say whether this is an identifier: of UDS, or a name."""
    return _DATA_ID.fullmatch(text) is not None


def _is_did(text: str) -> bool:
    return len(text) == DID_CHARS and set(text) <= set("0123456789ABCDEF")


handlers = [diagnostics_page, fault_history_part, fault_around_part, fault_lots_part, live_part]
