"""The documentation is true: links lead somewhere, commands and settings exist, sessions run as written."""

from __future__ import annotations

import os
import pty
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ringroad.kernel.facts import HOUSE, STAGE_OF, FactKind
from ringroad.storage.migrate import load_migrations
from ringroad.storage.settings import table
from support.docs_pages import (
    ROOT,
    Step,
    anchors,
    commands,
    fences,
    links,
    missing_line,
    pages,
    problem_with,
    prose,
    steps,
    words_of,
)
from support.ports import free_ports

NAMES = [str(page.relative_to(ROOT)) for page in pages()]
# Run in this order, in one folder: a page may stand on what those before it made.
SESSIONS = [
    "README.md",
    "docs/howto/use-the-command-line.md",
    "docs/howto/sites.md",
    "docs/howto/findings-and-changes.md",
    "docs/howto/run-a-vehicle.md",
    "docs/howto/diagnose-a-vehicle.md",
    "docs/howto/signals.md",
    "docs/howto/virtual-ecu.md",
    "docs/howto/write-an-update-agent.md",
    "docs/howto/packages-and-releases.md",
    "docs/howto/plant.md",
    "docs/howto/quality.md",
    "docs/howto/birth-records.md",
    "docs/howto/clones.md",
    "docs/howto/campaigns.md",
    "docs/howto/events.md",
    "docs/howto/webhooks.md",
    "docs/howto/exports.md",
    "docs/howto/console.md",
    "docs/howto/logistics.md",
    "docs/howto/shops.md",
    "docs/howto/demand.md",
    "docs/howto/connect-a-hawkbit-client.md",  # a second programme: commands after it have to name theirs
    "docs/howto/run-the-engines.md",
]
PARKED_AFTER = "docs/howto/diagnose-a-vehicle.md"  # no page after it needs a vehicle that drives
ALONE = ["docs/howto/keys.md"]  # in a folder of their own, without a server
PASSWORD = "correct horse battery staple"
COMMAND_S_MAX = 330
END_S_MAX, LOOK_S = 20.0, 0.1
# Read by the command line, the vehicle or the tests themselves; they are no settings.
VARIABLES = {
    "RINGROAD_CONFIG", "RINGROAD_PROGRAMME", "RINGROAD_SERVER", "RINGROAD_TOKEN", "RINGROAD_CRASH_AFTER_RECORD", "RINGROAD_WRITE_SCHEMA",
    "RINGROAD_WRITE_BEFORE",
}  # fmt: skip


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# What is written exists ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    text = text_of(name)
    for link in links(text):
        file, _, anchor = link.partition("#")
        target = (ROOT / name).parent / file if file else ROOT / name
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link} has no such heading"


def test_every_page_is_reached_from_the_readme() -> None:
    seen, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        found = [link.partition("#")[0] for link in links(page.read_text(encoding="utf-8"))]
        todo += [(page.parent / link).resolve() for link in found if link]
    assert sorted(str(page.relative_to(ROOT)) for page in set(pages()) - seen) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_command_exists_with_its_options(name: str) -> None:
    assert [found for words in commands(text_of(name)) if (found := problem_with(words))] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_exists(name: str) -> None:
    text = text_of(name)
    known = {f"RINGROAD_{row.name.upper()}" for row in table()} | VARIABLES
    assert set(re.findall(r"\bRINGROAD_[A-Z_]+\b", text)) <= known
    for fence in fences(text):
        if fence.language == "toml" and any(line.startswith("database_url") for line in fence.lines):
            assert set(tomllib.loads("\n".join(fence.lines))) <= {row.name for row in table()}


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_exists(name: str) -> None:
    text = text_of(name)
    code = "\n".join(
        ["\n".join(fence.lines) for fence in fences(text)] + re.findall(r"`([^`\n]+)`", prose(text))
    )
    targets = set(re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), flags=re.MULTILINE))
    assert set(re.findall(r"^(?:\$ )?make ([a-z][a-z-]*)", code, flags=re.MULTILINE)) <= targets


def test_every_type_of_event_stands_in_the_reference_with_its_stage() -> None:
    stages = {kind: stage.value if stage else HOUSE for kind, stage in STAGE_OF.items()}
    told = re.findall(
        r"^\| `ringroad\.([a-z._0-9]+)` \| (\w+) \|", text_of("docs/reference/events.md"), flags=re.MULTILINE
    )
    assert sorted(told) == sorted((kind.value, stages[kind]) for kind in FactKind), (
        "docs/reference/events.md has a row for each kind of fact"
    )


def test_what_a_first_start_says_it_applied_is_what_there_is() -> None:
    said = {
        (name, count)
        for name in NAMES
        for count in re.findall(r"^applied (\d+) migrations$", text_of(name), re.MULTILINE)
    }
    applied = str(len(load_migrations()))
    assert said == {("README.md", applied), ("docs/howto/run-the-engines.md", applied)}


def test_every_decision_stands_in_the_index_with_its_title() -> None:
    index = text_of("docs/adr/README.md")
    for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        number, title = path.name[:4], path.read_text(encoding="utf-8").split("\n", 1)[0]
        assert re.fullmatch(rf"# {number} [^:].*", title), f"{path.name} begins with {title!r}"
        assert f"[{number}]({path.name})" in index


# The readers above find what is wrong --------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("up --detach", ""),
        ("--var FOLDER up", ""),
        ("release baseline set 1.0.0", ""),
        ("release nonsense", "there is no `ringroad release nonsense`"),
        ("nonsense --help", "there is no `ringroad nonsense`"),
        ("up --nonsense", "`ringroad up` has no option --nonsense"),
        ("keys init --root-keys=8", ""),
        ("campaign preview 'a = 1' | head --nonsense", ""),
    ],
)
def test_a_wrong_command_is_found(line: str, problem: str) -> None:
    assert problem_with(words_of(line)) == problem


@pytest.mark.parametrize(
    ("expected", "printed", "missing"),
    [
        (["release 1.0.0 is signed"], "x\nrelease 2.0.0 is signed\n", ""),
        (["a", "b"], "b\na\n", "b"),
        (["package pkg_01"], "package\n", "package pkg_01"),
        (["is signed"], "is not signed", "is signed"),
        (["took 1 min 57 s  1"], "took  4.2 s 3\n", ""),
        (["took 4.2 s"], "took 1 h 3 min\n", ""),
        (["took 4.2 s, gap 2 %"], "took 3 s, gap 1 %\n", ""),
        (["took 4.2 s"], "took long\n", "took 4.2 s"),
        (["took 4.2 s", "b"], "took 1 min\nc\n", "b"),
        (["is finished"], "\x1b[4A\x1b[2Kis running\n\x1b[2Kis finished\n", ""),
    ],
)
def test_a_missing_line_is_found(expected: list[str], printed: str, missing: str) -> None:
    assert missing_line(expected, printed) == missing


# Sessions run as written ---------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Reader:
    """A person who types what the pages say, in one folder, with a terminal for passwords."""

    folder: Path
    env: dict[str, str]
    token: str = ""
    background: list[int] = field(default_factory=list)  # process groups of commands that end in "&"

    def follow(self, step: Step) -> None:
        """Type one command; check its exit status and the lines that the page shows."""
        command = step.command
        status, printed = self._type(command)
        tokens = re.findall(r"\bonce_[\w-]{20,}", printed)
        self.token = tokens[-1] if tokens else self.token
        refused = any(line.startswith("error:") for line in step.output)
        assert (status != 0) == refused, f"$ {command}\n{printed}\nexit status {status}"
        missing = missing_line(step.output, printed)
        assert not missing, f"$ {command}\n{printed}\ndoes not show: {missing}"

    def _type(self, command: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        # A person's shell outlives its jobs; this one ends, and its terminal would hang up on them.
        lasting = "trap '' HUP; " if command.endswith("&") else ""
        try:
            with subprocess.Popen(
                ["bash", "-c", lasting + command], cwd=self.folder, env=self.env, stdin=theirs, stdout=theirs, stderr=theirs,
                start_new_session=True,
            ) as process:  # fmt: skip
                os.close(theirs)
                if lasting:
                    self.background.append(process.pid)
                try:
                    printed = _converse(ours, token=self.token)
                    return process.wait(COMMAND_S_MAX), printed
                finally:
                    process.kill()
        finally:
            os.close(ours)

    def end(self) -> None:
        """End what was left running, as `kill %1` would."""
        while self.background:
            group = self.background.pop()
            for number in (signal.SIGTERM, *[0] * int(END_S_MAX / LOOK_S), signal.SIGKILL):
                try:
                    os.killpg(group, number)
                except ProcessLookupError:
                    break
                time.sleep(LOOK_S)


def _converse(terminal: int, *, token: str) -> str:
    """Read what is printed until nobody holds the terminal; type the password or the token that is asked for."""
    printed = b""
    with selectors.DefaultSelector() as waiting:
        waiting.register(terminal, selectors.EVENT_READ)
        while waiting.select(COMMAND_S_MAX):
            try:
                chunk = os.read(terminal, 65_536)
            except OSError:  # EIO: the last process closed it
                chunk = b""
            if not chunk:
                return printed.decode()
            printed += chunk
            if re.search(rb"(assword|confirmation)[^\n]*: $", printed):
                os.write(terminal, PASSWORD.encode() + b"\n")
            elif re.search(rb"One-time token: $", printed):
                os.write(terminal, token.encode() + b"\n")
    raise AssertionError(f"nothing more within {COMMAND_S_MAX} s after:\n{printed.decode()}")


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    folder = Path(tempfile.mkdtemp(prefix="ringroad-docs-"))
    folder.chmod(0o711)  # PostgreSQL may run under an account of its own
    for name in ("examples", ".firmware", ".venv"):
        (folder / name).symlink_to(ROOT / name)
    ports = ("http_port", "https_port", "nats_port", "mqtt_port", "leaf_port")
    env = {name: value for name, value in os.environ.items() if not name.startswith("RINGROAD_")}
    env |= {
        f"RINGROAD_{name.upper()}": str(port)
        for name, port in zip(ports, free_ports(len(ports)), strict=True)
    }
    env |= {
        "HOME": str(folder),
        "PATH": f"{ROOT / '.venv' / 'bin'}:{env['PATH']}",
        "COLUMNS": "120",
        "TERM": "xterm",
    }
    person = Reader(folder=folder, env=env)
    yield person
    person.end()
    subprocess.run(
        ["ringroad", "down"], cwd=folder, env=env, check=False, timeout=COMMAND_S_MAX, capture_output=True
    )
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(1200)  # a machine that is busy with other things
@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_runs_as_written(reader: Reader, name: str) -> None:
    found = [step for fence in fences(text_of(name)) if fence.runs for step in steps(fence)]
    assert found, "this page has nothing to run"
    for step in found:
        reader.follow(step)
    if name == PARKED_AFTER:
        reader.end()


def test_no_page_with_a_session_is_forgotten() -> None:
    assert {name for name in NAMES if any(fence.runs for fence in fences(text_of(name)))} == {
        *SESSIONS,
        *ALONE,
    }


@pytest.mark.slow
@pytest.mark.timeout(600)  # a machine that is busy with other things
@pytest.mark.parametrize("name", ALONE)
def test_a_page_runs_as_written_without_a_server(reader: Reader, tmp_path: Path, name: str) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    alone = Reader(folder=tmp_path, env=reader.env)
    for fence in fences(text_of(name)):
        for step in steps(fence) if fence.runs else ():
            alone.follow(step)
