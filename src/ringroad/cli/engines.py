"""`ringroad up`, `down` and `status`."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import click

from ringroad.cli.settings import read_var
from ringroad.cli.shell import Shell
from ringroad.cli.supervisor import Supervisor, end_supervisor, look, prepare_var, read_state
from ringroad.kernel.errors import InvalidInput, NotFound, Unavailable
from ringroad.storage.process import spawn
from ringroad.storage.settings import Settings

DETACH_S_MAX = 150.0  # seconds for a detached start; a replay after a crash is the slow case
STATUS_UNWELL = 7  # as `unavailable` in cli/errors.py
READY = "ready"  # the line that says a start is complete


@click.command("up")
@click.option("--engines-only", is_flag=True, help="PostgreSQL, NATS and migrations; no server, no worker.")
@click.option("--detach", is_flag=True, help="Return once everything runs.")
@click.option(
    "--pre-only",
    is_flag=True,
    help="Leave out the second halves of new migrations, while the release before runs on the same database.",
)
@click.pass_obj
def up(shell: Shell, engines_only: bool, detach: bool, pre_only: bool) -> None:  # noqa: FBT001 - click's form
    """Start everything, and keep it running until Ctrl-C."""
    settings = shell.settings()
    if detach:
        _detach(shell, engines_only=engines_only, pre_only=pre_only)
        return
    supervisor = Supervisor(
        settings=settings, clock=shell.clock, say=shell.say, engines_only=engines_only, config=shell.config,
        pre_only=pre_only,
    )  # fmt: skip
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.ask_to_stop())
    told = supervisor.start()
    lines = [
        "",
        f"  console   {told['console']}",
        f"  token     {told['token']}   (once, as admin)"
        if told["token"]
        else "  login     as before; a lost password: ringroad account reset admin",
        f"  gateway   {told['gateway']}   CA: {settings.pki / 'ca.pem'}",
        f"  mqtt      {told['mqtt']}",
        "",
        f"{READY}; Ctrl-C ends it",
    ]
    shell.show(told, text="\n".join(lines))
    sys.stdout.flush()
    try:
        supervisor.watch()
    finally:
        supervisor.stop()
    shell.say("stopped")


@click.command("down")
@click.pass_obj
def down(shell: Shell) -> None:
    """Stop what `up` started, also where the settings were broken since."""
    try:
        settings = shell.settings()
    except (InvalidInput, NotFound) as error:
        settings = Settings(var=read_var(file=shell.config, env=shell.env, overrides=shell.overrides))
        click.echo(f"warning: {error.message}; what runs in {settings.var} is stopped all the same", err=True)
    pid = end_supervisor(settings, shell.clock)
    shell.show({"stopped": pid}, text="stopped")


@click.command("status")
@click.pass_obj
def status(shell: Shell) -> int:
    """Show what runs and whether it is well; exit status 7 when something is not."""
    settings = shell.settings()
    health, hint = look(settings)
    well = all(word == "ok" for word in health.values())
    text = "\n".join([f"{name:<12}{word}" for name, word in health.items()] + [f"hint: {hint}"] * bool(hint))
    pids = {"supervisor": read_state(settings).get("pid")} | read_state(settings).get("children", {})
    shell.show({"well": well, "health": health, "hint": hint, "pids": pids}, text=text)
    return 0 if well else STATUS_UNWELL


def _detach(shell: Shell, *, engines_only: bool, pre_only: bool) -> None:
    """Start `up` in a session of its own, and show what it says until it is ready."""
    settings = shell.settings()
    words = [sys.executable, "-m", "ringroad.cli"]
    words += ["--config", str(shell.config)] if shell.config else []
    words += ["--var", str(settings.var), *(["--json"] if shell.json else []), "up"]
    words += ["--engines-only"] if engines_only else []
    words += ["--pre-only"] if pre_only else []
    prepare_var(settings)
    log = settings.log / "up.log"
    log.touch(mode=0o600)  # it holds the token
    offset = log.stat().st_size
    process = spawn(words, log=log, cwd=Path.cwd())
    deadline_s = shell.clock.monotonic_s() + DETACH_S_MAX
    shown = offset
    while shell.clock.monotonic_s() < deadline_s:
        ended = process.poll() is not None
        with log.open("rb") as source:
            source.seek(shown)
            text = source.read().decode("utf-8", "replace")
        whole = text[: text.rfind("\n") + 1]
        shown += len(whole.encode())
        done = READY in whole or '"token"' in whole
        click.echo(whole.replace("; Ctrl-C ends it", f"; process {process.pid}"), nl=False)
        if done:
            return
        if ended:
            sys.exit(process.returncode)
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    raise Unavailable("the start takes too long", hint=f"see {log}")
