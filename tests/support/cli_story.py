"""A server on real HTTP over a real database, and the command line against it, in this process."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import structlog
import uvicorn

from ringroad.cli import run
from ringroad.cli.keys import KeyCounts, KeyFolders, init_keys, install_all_roots, load_online_signers
from ringroad.http.accounts_store import issue_one_time_token
from ringroad.http.app import create_app
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.storage.db import connect
from ringroad.storage.settings import Settings
from support.ports import free_port

PASSWORD = "correct horse battery"
START_S_MAX = 60.0  # seconds until the server answers

PROGRAMME = """
[programme]
id = "meridian"
name = "Meridian"

[variants.city]
ecus = ["brake", "gateway"]
options = ["sunroof"]

[variants.touring]
ecus = ["brake", "display", "gateway"]
options = ["sunroof", "tow_bar"]

[ecus.gateway]
hardware_id = "gw-2"
bus = "DoIP"
os = "Linux"
security = "uptane"
supplier = "Aster"
storage = "ab"
storage_bytes = 1000000
primary = true
agent = "ab"

[ecus.brake]
hardware_id = "esc-9"
bus = "CAN FD"
os = "Zephyr"
security = "uds-0x27"
supplier = "Norvik"
storage = "inplace"
storage_bytes = 500000
agent = "uds"

[ecus.display]
hardware_id = "ivi-7"
bus = "DoIP"
os = "Android"
security = "uptane"
supplier = "Corvid"
storage = "ab"
storage_bytes = 1000000
agent = "ab"

[line]
name = "Line 1"

[[line.stations]]
name = "trim"
cycle_s = 60

[[line.ratios]]
option = "sunroof"
p = 1
q = 2
"""


@dataclass(kw_only=True)
class Result:
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The answer, with `--json`."""
        return msgspec.json.decode(self.out)

    @property
    def error(self) -> Any:
        """The error, with `--json`."""
        return msgspec.json.decode(self.err.strip().splitlines()[-1])["error"]


@contextmanager
def patch_stdin(text: str) -> Iterator[None]:
    """Let a command in this process read `text` as one whose standard input is a pipe."""
    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        yield
    finally:
        sys.stdin = before


@dataclass(kw_only=True)
class Terminal:
    """Runs commands as a person would, in one folder."""

    settings: Settings
    folder: Path
    capture: pytest.CaptureFixture[str]
    env: dict[str, str] = field(default_factory=dict)
    transcript: list[str] = field(default_factory=list)

    def __call__(self, *words: str, status: int = 0, piped: str = "") -> Result:
        """Run one command, insist on its exit status, and write both down."""
        result = self.ask(*words, status=status, piped=piped)
        self.transcript.append(_entry(words, result.err, result.out, status))
        return result

    def ask(self, *words: str, status: int = 0, piped: str = "") -> Result:
        """Run one command, with `piped` on its standard input, and insist on its exit status."""
        self.capture.readouterr()
        with patch_stdin(piped):
            got = run(["--var", str(self.settings.var), *words], self.environment())
        said = self.capture.readouterr()
        assert got == status, f"ringroad {' '.join(words)}: {got}\n{said.out}\n{said.err}"
        return Result(status=got, out=said.out, err=said.err)

    def sign_in(self) -> None:
        """Sign in as the first admin."""
        with connect(self.settings.database_url) as conn:
            token = issue_one_time_token(
                conn, SystemIds(), name="admin", role=Role.ADMIN, now=SystemClock().now(), secret=new_secret
            )
        password = self.folder / "password"
        password.write_text(PASSWORD + "\n")
        self("account", "login", "--one-time", "--password-file", str(password), piped=token)

    def file(self, name: str, content: bytes | str) -> str:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def token(self) -> str:
        """Return the stored API token."""
        stored = msgspec.json.decode((self.settings.var / "run" / "tokens.json").read_bytes())
        return str(next(iter(stored.values()))["token"])

    def bear(self, count: int, *, variant: str, region: str, first: int = 0) -> list[str]:
        """Put vehicles on record, as the plant does, with the line's baseline."""
        programme = self.ask("--json", "programme", "show", "meridian").value["document"]
        release = next(row for row in self.ask("--json", "release", "list").value if row["on_line"])
        packages = {row["id"]: row for row in self.ask("--json", "package", "list").value}
        vins = [f"WRRZZZ9Z{number:09d}" for number in range(first, first + count)]
        url = f"http://127.0.0.1:{self.settings.http_port}/api/v1/vehicles"
        for vin in vins:
            ecus = []
            for name in programme["variants"][variant]["ecus"]:
                package = packages[release["document"]["variants"][variant][name]]
                ecus.append({
                    "serial": f"{name}-{vin[-4:]}", "name": name, "hardware_id": programme["ecus"][name]["hardware_id"],
                    "public_key": {}, "key_id": "k", "is_primary": programme["ecus"][name]["primary"],
                    "filename": package["filename"], "version": package["version"],
                    "image_sha256": package["image_sha256"],
                })  # fmt: skip
            body = {
                "vin": vin, "programme_id": "meridian", "variant": variant, "gateway": "native", "region": region,
                "token_sha256": hashlib.sha256(vin.encode()).hexdigest(), "ecus": ecus, "release_id": release["id"],
            }  # fmt: skip
            answer = httpx.post(
                url, json=body, headers={"Authorization": f"Bearer {self.token()}"}, timeout=60
            )
            assert answer.status_code == 201, answer.text
        return vins

    def environment(self) -> dict[str, str]:
        """Return what a command sees of its surroundings."""
        fixed = {
            "RINGROAD_DATABASE_URL": self.settings.database_url,
            "RINGROAD_HTTP_PORT": str(self.settings.http_port),
            "RINGROAD_KEYS_OFFLINE": str(self.settings.keys_offline),
            "HOME": str(self.folder),
        }
        return fixed | self.env


@contextmanager
def at_a_terminal(folder: Path, *, pg_url: str, capture: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    """A server of its own in `folder`, and somebody at a terminal there who has not signed in yet."""
    settings = Settings(
        var=folder / "var", database_url=pg_url, http_port=free_port(), keys_offline=folder / "keys-offline"
    )
    with contextlib.chdir(folder), serving(settings):
        yield Terminal(settings=settings, folder=folder, capture=capture)


@contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """Serve the application on real HTTP in a thread."""
    keys = KeyFolders(public=settings.var / "keys", offline=settings.keys_offline)
    counts = KeyCounts(keys=1, threshold=1)
    init_keys(keys, root=counts, image_targets=counts)
    with connect(settings.database_url) as conn:
        install_all_roots(conn, keys.public, now=SystemClock().now())
    (settings.var / "run").mkdir()
    before = structlog.get_config()
    # The server's log would mix with what the commands print: both are in this process.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    app = create_app(settings, load_signers=partial(load_online_signers, keys.public))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=settings.http_port, log_level="warning", access_log=False, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_S_MAX
    while not server.started:
        assert thread.is_alive(), "the server ended while it started"
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(60)
        structlog.configure(**before)


def _entry(words: tuple[str, ...], err: str, out: str, status: int) -> str:
    shown = " ".join(f"'{word}'" if " " in word else word for word in words)
    parts = [f"$ ringroad {shown}", err.rstrip(), out.rstrip(), f"exit status {status}" if status else ""]
    return "\n".join(part for part in parts if part)
