"""Keeps `ringroad up` together: engines first, then our own processes; ends them in the opposite order.

A child that dies is started again, later each time it dies soon after its start. The supervisor itself may be
killed at any moment: the children notice and end, the engines are found and ended by the next start.
"""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import psycopg

from ringroad.cli.external import external_checks
from ringroad.http.accounts_store import issue_first_token
from ringroad.kernel.clock import Clock, SystemIds
from ringroad.kernel.errors import Conflict, NotFound, RingroadError, Unavailable
from ringroad.storage.broker import Broker, check_home, check_port, ensure_stream
from ringroad.storage.db import connect
from ringroad.storage.endpoints import embedded_broker, embedded_postgres, resolve
from ringroad.storage.migrate import migrate
from ringroad.storage.pki import ensure_pki
from ringroad.storage.postgres import Postgres, check_data_folder
from ringroad.storage.process import command_of, end, folder_error, is_alive, spawn
from ringroad.storage.settings import Settings
from ringroad.storage.streams import ensure_consumer

MARKER = "RINGROAD"  # a file of this name says that a var folder is ours
DEMO = (
    "demo"  # folder in var that `ringroad demo` uses unless told otherwise; a var that holds only it is new
)
MARKER_TEXT = '{"format": 1}\n'
LOOK_S: Final = 0.25  # seconds between two looks at the children
BACKOFF_S: Final = (0.2, 1.0, 3.0, 10.0, 30.0)  # seconds before a child is started again
STEADY_S: Final = 60.0  # seconds after which a child counts as well again
SERVER_S_MAX: Final = 60.0  # seconds the server has to load its read model and listen
CONNECT_S_MAX: Final = 2.0  # seconds
HEALTH_S_MAX: Final = 20.0  # seconds; an overloaded server is late
HEALTH_BYTES_MAX: Final = 10_000
CHILD_END_S: Final = 15.0  # seconds a child has to end

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Child:
    """One process of ours, and how often it died."""

    name: str
    start: Callable[[], subprocess.Popen[bytes] | None]
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started_s: float = 0.0
    again_s: float | None = None


class VarFolder:
    """The var folder of one installation, held by one supervisor at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock: IO[bytes] | None = None

    def claim(self) -> None:
        """Make the folder or make sure that it is ours, and lock it.

        Raises:
            Conflict: it is foreign, or another supervisor holds it.
            Unavailable: it cannot be written.
        """
        var = self._settings.var
        prepare_var(self._settings)
        try:
            self._lock = (self._settings.run / "lock").open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"Ringroad already runs in {var}",
                hint="see it with: ringroad status; end it with: ringroad down",
                code="already_running",
            ) from error
        except OSError as error:
            raise folder_error(error, var) from error

    def write_state(self, state: dict[str, Any]) -> None:
        """Say who runs, for `status` and `down`.

        Raises:
            Unavailable: the disk is full or read-only.
        """
        path = self._settings.run / "state.json"
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(state), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise folder_error(error, path) from error

    def release(self) -> None:
        """Let go; the lock file stays, since removing it would let two in."""
        (self._settings.run / "state.json").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()


def read_state(settings: Settings) -> dict[str, Any]:
    """Return who runs; empty when nobody does."""
    try:
        state: dict[str, Any] = json.loads((settings.run / "state.json").read_text(encoding="utf-8"))
        pid = int(state["pid"])
    except (OSError, ValueError, TypeError, KeyError):  # whoever wrote that is not a supervisor that runs
        return {}
    return state if pid and is_alive(pid) and "ringroad" in " ".join(command_of(pid)) else {}


def check_var(var: Path) -> None:
    """Refuse a folder with something in it that is not ours.

    Raises:
        Conflict: foreign; nothing was changed.
        Unavailable: it cannot be read.
    """
    try:
        if not var.exists():
            return
        marker = var / MARKER
        foreign = not var.is_dir() or (
            not marker.is_file() and any(path.name != DEMO for path in var.iterdir())
        )
        newer = (
            not foreign
            and marker.is_file()
            and marker.read_text(errors="replace").strip() != MARKER_TEXT.strip()
        )
    except OSError as error:
        raise folder_error(error, var) from error
    if foreign:
        raise Conflict(
            f"{var} is not a Ringroad folder",
            hint="nothing was changed; choose an empty or new folder with --var",
            code="foreign_folder",
        )
    if newer:
        raise Conflict(
            f"{var} is laid out by another version of Ringroad",
            hint="nothing was changed; install the version that was used last, or a newer one",
            code="folder_newer",
        )


def prepare_var(settings: Settings) -> None:
    """Make the var folder, or make sure that it is ours.

    Its parts are for our eyes only: telemetry is personal, images are secrets of suppliers. The folder itself
    can be passed through, for PostgreSQL may run under an account of its own.

    Raises:
        Conflict: foreign; nothing was changed.
        Unavailable: it cannot be written.
    """
    var = settings.var
    check_var(var)
    try:
        var.mkdir(parents=True, exist_ok=True)
        if not (var / MARKER).exists():
            (var / MARKER).write_text(MARKER_TEXT, encoding="ascii")
        for folder in (settings.run, settings.log, settings.blobs, settings.lake):
            folder.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise folder_error(error, var) from error


class Supervisor:
    """One `ringroad up`, from start to end."""

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        say: Say,
        engines_only: bool,
        config: Path | None,
        pre_only: bool = False,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._say = say
        self._engines_only = engines_only
        self._config = config
        self._pre_only = pre_only  # code of the release before still runs on the same database
        self._var = VarFolder(settings)
        self._children: list[Child] = []
        self._stop = threading.Event()
        self._orphan_pids: list[int] = []
        self.postgres: Postgres | None = None if settings.database_url else embedded_postgres(settings, clock)
        self.broker: Broker | None = None if settings.nats_url else embedded_broker(settings, clock)

    def start(self) -> dict[str, str | None]:
        """Bring everything up and return what a person needs to know; no token once an admin has a password.

        Raises:
            RingroadError: it could not be started; what was started is ended again.
        """
        self._check()
        self._var.claim()
        self._orphan_pids = self._orphans()
        try:
            self._write_state()
            self._end_orphans()
            self._start_engines()
            return self._start_processes()
        except BaseException:
            self.stop()
            raise

    def watch(self) -> None:
        """Start again what dies, until somebody asks to stop."""
        while not self._stop.wait(LOOK_S):
            for child in self._children:
                self._look_after(child)

    def ask_to_stop(self) -> None:
        """Make `watch` return; may be called from a signal handler."""
        self._stop.set()

    def stop(self) -> None:
        """End everything, last started first; go on when one does not end."""
        self._stop.set()
        for child in reversed(self._children):
            process = child.process
            if process is None or process.poll() is not None:
                continue
            self._say(f"stopping {child.name}")
            try:
                self._end_child(child, process)
            except RingroadError as error:
                self._say(f"{child.name}: {error}")
        self._var.release()

    def _check(self) -> None:
        """Look at everything that can be seen to be wrong before anything is changed."""
        check_var(self._settings.var)
        if read_state(self._settings):
            return  # `claim` says so, better
        if self.postgres is not None:
            check_data_folder(self.postgres.data)
        if self.broker is not None:
            check_home(self.broker.home)
        for look in external_checks(self._settings).values():
            look()
        if not self._engines_only and not self._orphans():
            check_port(self._settings.http_host, self._settings.http_port, setting="http_port")
            check_port(self._settings.http_host, self._settings.https_port, setting="https_port")

    def _start_engines(self) -> None:
        ensure_pki(self._settings.pki, names=self._settings.cert_names, now=self._clock.now())
        if self.postgres is not None:
            self._say("starting PostgreSQL")
            self._add("postgres", self._start_postgres)
            if self.postgres.note:
                self._say(f"note: {self.postgres.note}")
        if self.broker is not None:
            self._say("starting NATS")
            self._add("nats", self._start_broker)
        resolved = resolve(self._settings)
        with connect(resolved.database_url) as conn:
            applied = migrate(conn, now=self._clock.now(), pre_only=self._pre_only)
        if applied:
            self._say(f"applied {len(applied)} migrations")
        asyncio.run(ensure_stream(resolved.nats_url, bytes_max=self._settings.telemetry_bytes_max))
        asyncio.run(ensure_consumer(resolved.nats_url))

    def _start_processes(self) -> dict[str, str | None]:
        settings = self._settings
        resolved = resolve(settings)
        with connect(resolved.database_url) as conn:
            token = issue_first_token(conn, SystemIds(), now=self._clock.now(), secret=secrets.token_bytes)
        if not self._engines_only:
            for name, command in children_of(settings):
                self._say(f"starting {name}")
                self._add(name, self._starter(name, command))
            self._wait_for_server()
        self._write_state()
        return {
            "console": f"http://{settings.http_host}:{settings.http_port}/",
            "gateway": f"https://{settings.http_host}:{settings.https_port}/uptane/v1",
            "mqtt": f"{settings.mqtt_host}:{settings.mqtt_port}",
            "token": token,
        }

    def _wait_for_server(self) -> None:
        """Wait until the console can be opened.

        Raises:
            Unavailable: the server ended, or takes too long.
        """
        process = next(child.process for child in self._children if child.name == "server")
        deadline_s = self._clock.monotonic_s() + SERVER_S_MAX
        while not answers(self._settings.http_host, self._settings.http_port):
            ended = process is None or process.poll() is not None
            if ended or self._stop.wait(LOOK_S) or deadline_s < self._clock.monotonic_s():
                log = self._settings.log / "server.log"
                raise Unavailable("the server did not start", hint=f"see {log}", code="server_failed")

    def _start_postgres(self) -> subprocess.Popen[bytes] | None:
        assert self.postgres is not None  # noqa: S101 - our own order of calls
        self.postgres.start()
        return self.postgres.process

    def _start_broker(self) -> subprocess.Popen[bytes] | None:
        assert self.broker is not None  # noqa: S101 - our own order of calls
        self.broker.start()
        return self.broker.process

    def _starter(self, name: str, command: str) -> Callable[[], subprocess.Popen[bytes]]:
        def start() -> subprocess.Popen[bytes]:
            words = [sys.executable, "-m", "ringroad.cli"]
            if self._config is not None:
                words += ["--config", str(self._config.resolve())]
            words += ["--var", str(self._settings.var.resolve()), command, "--parent", str(os.getpid())]
            return spawn(words, log=self._settings.log / f"{name}.log", cwd=Path.cwd())

        return start

    def _add(self, name: str, start: Callable[[], subprocess.Popen[bytes] | None]) -> None:
        child = Child(name=name, start=start)
        child.process = start()
        child.started_s = self._clock.monotonic_s()
        self._children.append(child)

    def _look_after(self, child: Child) -> None:
        now_s = self._clock.monotonic_s()
        if child.again_s is not None:
            if child.again_s <= now_s:
                self._start_again(child, now_s)
            return
        if child.process is None or child.process.poll() is None:
            return
        if now_s - child.started_s > STEADY_S:
            child.deaths = 0
        wait_s = BACKOFF_S[min(child.deaths, len(BACKOFF_S) - 1)]
        child.deaths += 1
        child.again_s = now_s + wait_s
        self._say(f"{child.name} ended ({child.process.returncode}); starting it again in {wait_s:g} s")

    def _start_again(self, child: Child, now_s: float) -> None:
        try:
            if child.process is None or child.process.poll() is not None:
                child.process = child.start()
                child.started_s = now_s
            self._write_state()
            child.again_s = None
        except RingroadError as error:
            wait_s = BACKOFF_S[min(child.deaths, len(BACKOFF_S) - 1)]
            child.deaths += 1
            child.again_s = now_s + wait_s
            self._say(f"{child.name}: {error.message}; next try in {wait_s:g} s")

    def _end_child(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        if child.name == "postgres" and self.postgres is not None:
            self.postgres.stop()
        elif child.name == "nats" and self.broker is not None:
            self.broker.stop()
        else:
            end(process.pid, ask=signal.SIGTERM, clock=self._clock, ask_s=CHILD_END_S)
        process.wait(timeout=10)

    def _orphans(self) -> list[int]:
        """Return the processes of a supervisor that was killed."""
        try:
            state = json.loads((self._settings.run / "state.json").read_text(encoding="utf-8"))
            pids = [int(pid) for pid in state["children"].values()]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return []
        mark = str(self._settings.var.resolve())
        return [pid for pid in pids if is_alive(pid) and mark in " ".join(command_of(pid))]

    def _end_orphans(self) -> None:
        for pid in self._orphan_pids:
            end(pid, ask=signal.SIGTERM, clock=self._clock, ask_s=CHILD_END_S)

    def _write_state(self) -> None:
        pids = {child.name: child.process.pid for child in self._children if child.process is not None}
        self._var.write_state({"pid": os.getpid(), "children": pids, "engines_only": self._engines_only})


def children_of(settings: Settings) -> list[tuple[str, str]]:
    """Return name and command of each of our processes; servers share their ports."""
    more = [(f"server-{number}", "serve") for number in range(2, settings.server_processes + 1)]
    return [("server", "serve"), *more, ("worker", "work")]


def answers(host: str, port: int) -> bool:
    """Say whether somebody listens."""
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S_MAX):
            return True
    except OSError:
        return False


def server_health(host: str, port: int) -> tuple[dict[str, str], str]:
    """Return of the server "ok", or what it lets go for its load, and what it says of telemetry and a clock that was set; and what to look at.

    Its database has a line of its own.
    """
    line = http.client.HTTPConnection(host, port, timeout=HEALTH_S_MAX)
    try:
        line.request("GET", "/health")
        told = json.loads(line.getresponse().read(HEALTH_BYTES_MAX))
        health = {"server": str(told["gateways"])}
        telemetry = str(told.get("telemetry") or "")  # empty while it cannot know
        health |= {"telemetry": telemetry} if telemetry else {}
        health |= {"clock": clock} if (clock := str(told.get("clock") or "ok")) != "ok" else {}
        return health, str(told.get("hint") or "")
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError, AttributeError):
        return {"server": "does not answer"}, ""
    finally:
        line.close()


def look(settings: Settings) -> tuple[dict[str, str], str]:
    """Return the health of each part, "ok" or what is wrong with it; and what to look at, where the server knows."""
    state, hint = read_state(settings), ""
    health = {"supervisor": "ok" if state else "not running"}
    try:
        resolved = resolve(settings)
    except RingroadError as error:
        return health | {"engines": error.message}, error.hint
    try:
        with psycopg.connect(resolved.database_url, connect_timeout=3) as conn:
            conn.execute("SELECT 1")
        health["postgres"] = "ok"
    except psycopg.Error:
        health["postgres"] = "does not answer"
    try:
        asyncio.run(ensure_stream(resolved.nats_url, bytes_max=settings.telemetry_bytes_max))
        health["nats"] = "ok"
    except RingroadError:
        health["nats"] = "does not answer"
    if state and not state.get("engines_only"):
        for name, _ in children_of(settings):
            pid = state.get("children", {}).get(name)
            health[name] = "ok" if pid and is_alive(pid) else "not running"
        if health["server"] == "ok":
            told, hint = server_health(settings.http_host, settings.http_port)
            health |= told
    return health, hint


def end_supervisor(settings: Settings, clock: Clock) -> int:
    """End the supervisor of this var folder and return its process id.

    Raises:
        NotFound: none runs.
    """
    state = read_state(settings)
    if not state:
        raise NotFound(
            f"nothing runs in {settings.var}", hint="start it with: ringroad up", code="not_running"
        )
    pid = int(state["pid"])
    end(pid, ask=signal.SIGTERM, clock=clock, ask_s=120.0)
    return pid
