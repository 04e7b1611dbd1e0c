"""A var folder with ports of its own, and `ringroad` run on it as a person would."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringroad.cli.errors import EXIT_STATUS
from ringroad.cli.settings import read_settings
from ringroad.cli.supervisor import look, read_state
from ringroad.storage.endpoints import resolve
from ringroad.storage.settings import Settings
from support.ports import free_ports

START_S_MAX = 180  # seconds; the machine may be shared


@dataclass
class Installation:
    """One var folder with ports of its own."""

    folder: Path
    var: Path
    env: dict[str, str]

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "ringroad.cli", "--var", str(self.var), *words]

    def run(self, *words: str, piped: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.env | env,
            input=piped,
            timeout=START_S_MAX,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        done = self.run("up", "--engines-only", "--detach")
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def settings(self) -> Settings:
        return read_settings(file=None, env=self.env, overrides={"var": self.var})

    def status(self) -> dict[str, Any]:
        """What `ringroad status` looks at, without the cost of a process."""
        (health, hint), state = look(self.settings()), read_state(self.settings())
        well = all(word == "ok" for word in health.values())
        return {
            "well": well,
            "health": health,
            "hint": hint,
            "pids": {"supervisor": state.get("pid")} | state.get("children", {}),
        }

    def wait_well(self) -> dict[str, Any]:
        for _ in range(900):
            told = self.status()
            if told["well"]:
                return told
            time.sleep(0.1)
        raise AssertionError(told)

    def database_url(self) -> str:
        return resolve(self.settings()).database_url

    def nats_url(self) -> str:
        return resolve(self.settings()).nats_url


def installation(folder: Path) -> Installation:
    nats_port, mqtt, http, https = free_ports(4)
    env = {name: value for name, value in os.environ.items() if not name.startswith("RINGROAD_")}
    env |= {
        "RINGROAD_NATS_PORT": str(nats_port),
        "RINGROAD_MQTT_PORT": str(mqtt),
        "RINGROAD_HTTP_PORT": str(http),
        "RINGROAD_HTTPS_PORT": str(https),
    }
    return Installation(folder=folder, var=folder / "var", env=env)


def refused(done: subprocess.CompletedProcess[str], kind: str, *words: str) -> None:
    """One message, one hint, the right status, no traceback."""
    assert done.returncode == EXIT_STATUS[kind], done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"], done.stderr
    for word in words:
        assert word in done.stderr
