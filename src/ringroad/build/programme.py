"""Read `programme.toml`: a vehicle programme, its variants, ECUs and line, with every problem and its line.

Pure: text in, values or problems out.

Invariant: a `Programme` is returned only if there is no problem at all; nothing is guessed.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast, get_args

from ringroad.build.artifact_signature import POLICIES as SIGNATURE_POLICIES
from ringroad.build.artifact_signature import SETTING as SIGNATURE_SETTING
from ringroad.build.model import DDI_SUCCESS, Agent, Ecu, Line, Programme, Variant
from ringroad.build.programme_line import OPTIONS_MAX, check_line, read_line
from ringroad.build.toml_lines import Path, locate
from ringroad.build.toml_reader import ProgrammeProblem, Reader
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import ECUS_MAX

PROGRAMME_BYTES_MAX: Final = 1024**2  # bytes; 256 ECUs take 80 kB
PROBLEMS_MAX: Final = 50  # reported at once; more than a screen helps nobody
VARIANTS_MAX: Final = 64
SETTING_CHARS_MAX: Final = 4_000  # of an agent's setting; a public key in PEM has under 1,000
STORAGE_BYTES_MAX: Final = 64 * 1024**3  # bytes; infotainment eMMC
BUSES: Final = (
    "DoIP",
    "CAN",
    "CAN FD",
    "HTTP",
    "local",
)  # an ECU's transport; HTTP is for DDI clients and nodes without UDS, local for folders of the Primary's computer
BUSES_OF: Final = {  # where an agent needs one of its own
    "sovd": ("HTTP",),
    "files": ("local",),
    "container": ("local",),
    "swupdate": ("local",),
    "rauc": ("local",),
    "mcuboot": ("DoIP", "CAN", "CAN FD"),
}

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def read_programme(source: str, *, filename: str = "programme.toml") -> Programme:
    """Read a programme file.

    Args:
        source: the text of the file.
        filename: how to call it in messages.

    Raises:
        InvalidInput: the file has problems; the message names each with its line, up to 50.
    """
    programme, problems = find_problems(source)
    if programme is None:
        shown = "\n".join(
            f"{filename}:{problem.line}: {problem.message}" for problem in problems[:PROBLEMS_MAX]
        )
        more = len(problems) - PROBLEMS_MAX
        tail = f"\n... and {more} more" if more > 0 else ""
        raise InvalidInput(
            f"{filename} has {len(problems)} problem{'s' if len(problems) != 1 else ''}:\n{shown}{tail}",
            code="programme_invalid",
            hint="docs/reference/programme.md describes every key",
        )
    return programme


def find_problems(source: str) -> tuple[Programme | None, tuple[ProgrammeProblem, ...]]:
    """Return the programme, or None and everything that is wrong with it, in order of lines."""
    if len(source.encode("utf-8", "replace")) > PROGRAMME_BYTES_MAX:
        problem = ProgrammeProblem(line=1, message=f"the file is larger than {PROGRAMME_BYTES_MAX} bytes")
        return None, (problem,)
    try:
        raw = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = int(match[1]) if match else source.count("\n") + 1
        return None, (ProgrammeProblem(line=line, message=f"not TOML: {error}"),)
    reader = Reader(lines=locate(source.replace("\r\n", "\n")), raw=raw)
    programme = _programme(reader, raw)
    problems = tuple(sorted(reader.problems, key=lambda problem: problem.line))
    return (None, problems) if problems or programme is None else (programme, ())


def _programme(reader: Reader, raw: Mapping[str, Any]) -> Programme | None:
    reader.known(raw, (), ("programme", "ecus", "variants", "line"))
    head = reader.table(raw, (), "programme")
    reader.known(head, ("programme",), ("id", "name"))
    programme_id, name = "", ""
    if head:
        programme_id = reader.text(head, ("programme",), "id")
        name = reader.text(head, ("programme",), "name")
        if programme_id and not _NAME.fullmatch(programme_id):
            reader.say(("programme", "id"), f"id {programme_id!r}: {_NAME_RULE}")
    ecus = _each(reader, raw, "ecus", ECUS_MAX, _ecu)
    variants = _each(reader, raw, "variants", VARIANTS_MAX, _variant)
    line = read_line(reader, raw)
    _cross_check(reader, ecus, variants, line)
    if reader.problems:
        return None
    return Programme(id=programme_id, name=name, variants=variants, ecus=ecus, line=line)


_NAME_RULE: Final = "small letters, digits, '-' and '_', a letter first, up to 63"


T = TypeVar("T")


def _each(
    reader: Reader,
    raw: Mapping[str, Any],
    key: str,
    most: int,
    make: Callable[[Reader, str, Mapping[str, Any]], T],
) -> dict[str, T]:
    table = reader.table(raw, (), key)
    if most < len(table):
        reader.say((key,), f"[{key}] has {len(table)} entries; the limit is {most}")
    made: dict[str, T] = {}
    for name, body in table.items():
        if not _NAME.fullmatch(name):
            reader.say((key, name), f"name {name!r}: {_NAME_RULE}")
        if not isinstance(body, dict):
            reader.say((key, name), f"[{key}.{name}] must be a table")
            continue
        made[name] = make(reader, name, body)
    return made


def _ecu(reader: Reader, name: str, body: Mapping[str, Any]) -> Ecu:
    path: Path = ("ecus", name)
    known = (
        "hardware_id",
        "bus",
        "os",
        "security",
        "storage",
        "storage_bytes",
        "supplier",
        "primary",
        "agent",
        "settings",
    )
    reader.known(body, path, known)
    storage = reader.choice(body, path, "storage", ("ab", "inplace"))
    agent = reader.choice(body, path, "agent", get_args(Agent))
    bus = reader.choice(body, path, "bus", BUSES)
    if agent and agent != "ddi" and storage and (agent == "uds") is not (storage == "inplace"):
        reader.say((*path, "agent"), f"agent {agent!r} cannot serve storage {storage!r}")
    if agent and bus and bus not in BUSES_OF.get(agent, BUSES):
        reader.say((*path, "bus"), f"agent {agent!r} does not reach an ECU on {bus!r}")
    if bus == "local" and agent and agent not in BUSES_OF:
        reader.say((*path, "agent"), f"agent {agent!r} cannot serve what is on the Primary's computer")
    return Ecu(
        name=name,
        hardware_id=reader.text(body, path, "hardware_id"),
        bus=bus,
        os=reader.text(body, path, "os"),
        security=reader.text(body, path, "security"),
        storage=cast("Any", storage),
        storage_bytes=reader.whole(body, path, "storage_bytes", 1, STORAGE_BYTES_MAX),
        supplier=reader.text(body, path, "supplier"),
        primary=reader.flag(body, path, "primary"),
        agent=cast("Any", agent),
        settings=_settings(reader, path, body, agent=agent),
    )


def _settings(reader: Reader, path: Path, body: Mapping[str, Any], *, agent: str) -> dict[str, str]:
    settings = reader.table(body, path, "settings") if "settings" in body else {}
    for key, value in settings.items():
        if not isinstance(value, str) or len(value) > SETTING_CHARS_MAX:
            reader.say(
                (*path, "settings", key), f"{key} must be text of up to {SETTING_CHARS_MAX} characters"
            )
        elif key == SIGNATURE_SETTING and value not in SIGNATURE_POLICIES:
            reader.say((*path, "settings", key), f"{key} is {' or '.join(SIGNATURE_POLICIES)}")
    if agent == "ddi":
        reader.known(settings, (*path, "settings"), ("success", "version_attribute", SIGNATURE_SETTING))
        if "success" in settings:
            reader.choice(settings, (*path, "settings"), "success", DDI_SUCCESS)
    return {key: value for key, value in settings.items() if isinstance(value, str)}


def _variant(reader: Reader, name: str, body: Mapping[str, Any]) -> Variant:
    path: Path = ("variants", name)
    reader.known(body, path, ("ecus", "options"))
    return Variant(
        name=name,
        ecus=reader.names(body, path, "ecus", ECUS_MAX, least=1),
        options=reader.names(body, path, "options", OPTIONS_MAX, least=0),
    )


def _cross_check(
    reader: Reader, ecus: Mapping[str, Ecu], variants: Mapping[str, Variant], line: Line
) -> None:
    """What no table can know alone: names that point elsewhere, one Primary per variant, unused things."""
    for name, variant in variants.items():
        path: Path = ("variants", name, "ecus")
        for ecu in variant.ecus:
            if ecu not in ecus:
                close = difflib.get_close_matches(ecu, ecus, n=1)
                advice = f"; did you mean {close[0]!r}?" if close else ""
                reader.say(path, f"variant {name!r} names an unknown ECU {ecu!r}{advice}", text=ecu)
        members = [ecus[ecu] for ecu in variant.ecus if ecu in ecus]
        primaries = [ecu.name for ecu in members if ecu.primary]
        if len(primaries) != 1:
            found = ", ".join(primaries) or "none"
            reader.say(path, f"variant {name!r} must have exactly one primary ECU, found {found}")
        if any(ecu.agent == "ddi" for ecu in members) and len(members) != 1:
            reader.say(path, f"variant {name!r}: an ECU with agent 'ddi' updates itself and must be alone")
    used = {ecu for variant in variants.values() for ecu in variant.ecus}
    for name in ecus:
        if name not in used:
            reader.say(("ecus", name), f"ECU {name!r} is in no variant")
    options = {option for variant in variants.values() for option in variant.options} | set(variants)
    check_line(reader, line, options)
