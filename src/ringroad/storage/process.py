"""Start and stop engines we did not write: as whom they run, where their sockets live, how they end.

PostgreSQL refuses to run as root. `choose_run_as` therefore answers, for root, with a no-login system
account, or with a user namespace in which we are not root. An existing data folder decides.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Forbidden, NotFound, RingroadError, Unavailable

ACCOUNT = "ringroad"
NOBODY_ID = 65534  # what we call ourselves inside the user namespace
SOCKET_PATH_BYTES_MAX = 107  # bytes; sun_path of struct sockaddr_un less its final zero, unix(7)
SOCKET_NAME_BYTES_MAX = len("/.s.PGSQL.65535.lock")  # bytes; the longest name PostgreSQL makes there
COMMAND_S_MAX = 120  # seconds; initdb on a slow disk takes ten
LOG_BYTES_MAX = 16 * 1024**2  # bytes; an engine's log is turned over at start when it is larger
POLL_S = 0.02  # seconds between two looks at a process that should end

RunKind = Literal["self", "account", "namespace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAs:
    """As whom an engine runs: ourselves, a system account, or ourselves renamed in a user namespace."""

    kind: RunKind
    uid: int
    gid: int
    note: str = ""  # what was changed on the machine to make it possible; for the operator

    @property
    def prefix(self) -> tuple[str, ...]:
        """Return the words before the command."""
        if self.kind != "namespace":
            return ()
        return ("unshare", "--user", f"--map-user={NOBODY_ID}", f"--map-group={NOBODY_ID}", "--")

    def popen(self) -> dict[str, Any]:
        """Return the arguments for `subprocess` that change the user."""
        if self.kind != "account":
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a file or folder to whom the engine runs as."""
        if self.kind == "account":
            os.chown(path, self.uid, self.gid)


def choose_run_as(*, binary: Path, folder: Path, may_create_account: bool = True) -> RunAs:
    """Decide as whom an engine that refuses root runs.

    Args:
        binary: the engine's program; must be reachable by whom it runs as.
        folder: its data folder, or the folder where that will be made.
        may_create_account: whether root may add the system account `ringroad`; otherwise the user
            namespace comes first.

    Raises:
        Forbidden: the folder belongs to somebody else.
        Unavailable: root, and neither the account nor a user namespace can reach both paths.
    """
    me = RunAs(kind="self", uid=os.geteuid(), gid=os.getegid())
    owner = folder.stat().st_uid if folder.exists() and any(folder.iterdir()) else None
    if me.uid != 0:
        if owner not in (None, me.uid):
            raise Forbidden(
                f"{folder} belongs to {_name_of(owner)}",
                hint=f"run this as {_name_of(owner)}, or choose another folder",
            )
        return me
    if owner == 0:
        return _namespace(binary, folder)
    if owner is not None:
        account = RunAs(kind="account", uid=owner, gid=folder.stat().st_gid)
        if not _reaches(account, binary, folder):
            raise Unavailable(
                f"{_name_of(owner)}, who owns {folder}, cannot reach it or {binary}",
                hint="open the folders above them for passing through: chmod o+x",
            )
        return account
    return _choose_for_root(binary, folder, may_create_account=may_create_account)


def _choose_for_root(binary: Path, folder: Path, *, may_create_account: bool) -> RunAs:
    """Prefer the account: it can touch nothing of root's; the namespace keeps root's files in reach."""
    account = _account()
    if account is None and not may_create_account:
        try:
            return _namespace(binary, folder)
        except Unavailable:
            pass
    probe = account or RunAs(kind="account", uid=NOBODY_ID, gid=NOBODY_ID)
    if _reaches(probe, binary, folder):
        account = account or _create_account()
        if account is not None:
            return account
    return _namespace(binary, folder)


def _account() -> RunAs | None:
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None
    return RunAs(kind="account", uid=entry.pw_uid, gid=entry.pw_gid)


def _create_account() -> RunAs | None:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_S_MAX)
    except (OSError, subprocess.SubprocessError):
        return None
    made = _account()
    if made is None:
        return None
    note = f"added the system account '{ACCOUNT}' (no login, no home) for PostgreSQL, which refuses root"
    return RunAs(kind="account", uid=made.uid, gid=made.gid, note=note)


def _namespace(binary: Path, folder: Path) -> RunAs:
    candidate = RunAs(kind="namespace", uid=os.geteuid(), gid=os.getegid())
    if _reaches(candidate, binary, folder):
        return candidate
    raise Unavailable(
        "PostgreSQL refuses to run as root, and no other user can reach its program and data",
        hint=(
            f"run as an ordinary user; or let others pass through the folders above {folder} and {binary} "
            "(chmod o+x); or allow user namespaces; or set database_url to a server of your own"
        ),
    )


def _reaches(run_as: RunAs, binary: Path, folder: Path) -> bool:
    """Ask the operating system instead of adding up permission bits."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    script = 'test -x "$1" && test -x "$2"'
    command = [*run_as.prefix, "/bin/sh", "-c", script, "sh", str(binary), str(folder)]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, cwd="/", timeout=COMMAND_S_MAX, **run_as.popen()
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _name_of(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid or 0).pw_name
    except KeyError:
        return f"user {uid}"


def socket_folder(near: Path) -> Path:
    """Make and return a private folder whose path is short enough for a socket.

    Args:
        near: where the socket would live; used as it is when short enough.

    Raises:
        Forbidden: somebody else made the short folder first.
    """
    if len(os.fsencode(near)) + SOCKET_NAME_BYTES_MAX <= SOCKET_PATH_BYTES_MAX:
        near.mkdir(parents=True, exist_ok=True, mode=0o700)
        return near
    digest = hashlib.sha256(os.fsencode(near)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"ringroad-{os.geteuid()}-{digest}"
    if len(os.fsencode(short)) + SOCKET_NAME_BYTES_MAX > SOCKET_PATH_BYTES_MAX:
        short = Path("/tmp") / short.name  # noqa: S108 - owner and mode are checked below
    short.mkdir(exist_ok=True, mode=0o700)
    found = short.lstat()
    ours = {os.geteuid()} | ({account.uid} if os.geteuid() == 0 and (account := _account()) else set())
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours or found.st_mode & 0o077:
        raise Forbidden(f"{short} is not ours", hint="remove it, or set TMPDIR to a private folder")
    return short


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    run_as: RunAs | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path = Path("/"),
) -> subprocess.Popen[bytes]:
    """Start a process in its own session (so that Ctrl-C reaches only us), output appended to `log`.

    Raises:
        NotFound: there is no such program.
        Unavailable: the log cannot be written, or the machine refuses a new process.
    """
    run_as = run_as or RunAs(kind="self", uid=os.geteuid(), gid=os.getegid())
    try:
        turn_over(log)
        with log.open("ab") as sink:
            return subprocess.Popen(
                [*run_as.prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                **run_as.popen(),
            )
    except FileNotFoundError as error:
        raise NotFound(f"{error.filename} is missing", hint="ringroad doctor says how to get it") from error
    except OSError as error:
        raise folder_error(error, log) from error


# Runs before the program and is replaced by it. The parent may have died before the leash was on: then there is no
# signal any more, and the new parent tells.
_LEASH = """
import ctypes, os, sys
how, parent, *command = sys.argv[1:]
if ctypes.CDLL(None).prctl(1, int(how), 0, 0, 0) != 0:
    sys.exit("error: this system cannot end a process with its parent")
if os.getppid() != int(parent):
    sys.exit("error: the parent is gone")
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.exit(f"error: {command[0]}: {error.strerror}")
"""


def leashed(command: Sequence[str], *, end_with: signal.Signals) -> list[str]:
    """Return a command that is ended when we die, even of SIGKILL, which nobody can act upon.

    It must be started from the main thread: Linux watches the thread that started it. What the program itself starts
    is its own business.

    Args:
        command: program and arguments; found on PATH.
        end_with: what the program gets when we are gone.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _LEASH, str(int(end_with)), str(os.getpid()), *command]


def turn_over(log: Path) -> None:
    """Keep one older log beside the current one when that grew too large."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))


def log_since(log: Path, offset: int) -> str:
    """Return what was written to a log after `offset` bytes, at most 64 KiB of it."""
    if not log.exists():
        return ""
    with log.open("rb") as source:
        source.seek(offset)
        return source.read(64 * 1024).decode("utf-8", "replace")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return True


def command_of(pid: int) -> tuple[str, ...]:
    """Return a process's command line, empty when it is gone or not ours to read."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode("utf-8", "replace") for part in raw.rstrip(b"\0").split(b"\0"))


def end(pid: int, *, ask: signal.Signals, clock: Clock, ask_s: float = 20.0) -> None:
    """End a process: ask, wait `ask_s` seconds, then kill.

    Raises:
        Unavailable: it survives a kill, for example in an uninterruptible wait for its disk.
    """
    for how, wait_s in ((ask, ask_s), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            return
        if wait_gone(pid, clock=clock, wait_s=wait_s):
            return
    raise Unavailable(f"process {pid} does not end", hint="its disk may hang; look at dmesg")


def wait_gone(pid: int, *, clock: Clock, wait_s: float) -> bool:
    """Wait until a process is gone; return whether it is."""
    deadline_s = clock.monotonic_s() + wait_s
    while is_alive(pid):
        if deadline_s < clock.monotonic_s():
            return False
        time.sleep(POLL_S)
    return True


def folder_error(error: OSError, path: Path) -> RingroadError:
    """Translate an operating system's refusal to write into one clear message."""
    reason = error.strerror or type(error).__name__
    hints = {
        28: "free some space, or choose another folder with --var",  # ENOSPC
        122: "the quota is used up; free some space, or choose another folder with --var",  # EDQUOT
        30: "the file system is read-only; choose another folder with --var",  # EROFS
        13: "choose a folder you may write to with --var",  # EACCES
        1: "choose a folder you may write to with --var",  # EPERM
    }
    hint = hints.get(error.errno or 0, "choose another folder with --var")
    return Unavailable(f"cannot write to {path}: {reason}", hint=hint, code="cannot_write")


def write_private(path: Path, text: str) -> None:
    """Write a secret that only its owner can read, from the first byte on; durable as `write_whole`."""
    write_whole(path, f"{text}\n".encode("ascii"), mode=0o600)


def write_whole(path: Path, content: bytes, *, mode: int) -> None:
    """Make `content` the content of a file: all of it or nothing, and whatever power does later."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
