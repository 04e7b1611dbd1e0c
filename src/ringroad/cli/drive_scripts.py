"""What shall go wrong on the ECUs of vehicles that `ringroad fleet drive` lets drive: scripts and faults, ECU by ECU. Pure but `read_scripts`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.sim.assembly import LOCAL_AGENTS
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script, read_script
from ringroad.vehicle.config import EcuConfig

PERMILLE_DEFAULT: Final = 50  # of operation cycles
FIRST_CYCLE: Final = 10  # in which a fault may occur: by then a vehicle has said that it has none
HTTP_AGENT: Final = "sovd"
_FAULT = re.compile(r"([^@=\s]+)@([^@=\s]+)=([^@=:\s]+)(?::(\d{1,4}))?")
_FAULT_HINT: Final = "for example brake@1.1.0=C0040-64, or brake@1.1.0=C0040-64:120 for 120 of 1000 cycles"
_OF_ONE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that a software version shows.

    Attributes:
        ecu: name in the programme.
        version: of the package.
        rate: which code, how often.
    """

    ecu: str
    version: str
    rate: FaultRate


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripts:
    """What was asked for.

    Attributes:
        of_all: for every ECU without one of its own here; None: none was given.
        of_one: by ECU name.
        faults: beside either.
    """

    of_all: Script | None = None
    of_one: Mapping[str, Script]
    faults: Sequence[Fault] = ()

    def given(self, name: str) -> Script | None:
        """Return the script that was given for an ECU."""
        return self.of_one.get(name, self.of_all)

    def script(self, ecu: EcuConfig, own: Script) -> Script:
        """Return what goes wrong on an ECU.

        Args:
            ecu: of a vehicle; trouble on its way is for those that speak UDS.
            own: that its own configuration names; one that was given goes before it.
        """
        given = self.given(ecu.name)
        script = own if given is None else given
        if ecu.agent == HTTP_AGENT and ecu.name not in self.of_one and given is not None:
            script = msgspec.structs.replace(script, transport=())
        versions = dict(script.versions)
        for fault in self.faults:
            if fault.ecu == ecu.name:
                before = versions.get(fault.version, Behaviour())
                versions[fault.version] = msgspec.structs.replace(before, faults=(*before.faults, fault.rate))
        return msgspec.structs.replace(script, versions=versions)


def read_scripts(given: Sequence[str], faults: Sequence[str]) -> Scripts:
    """Read ``FILE`` and ``ECU=FILE``, and faults. Raises: InvalidInput."""
    of_all: Script | None = None
    of_one: dict[str, Script] = {}
    for text in given:
        named = None if Path(text).exists() else _OF_ONE.fullmatch(text)
        if named is None and of_all is not None:
            raise InvalidInput(
                "two scripts are given for all ECUs", hint="--script ECU=FILE gives one of its own to an ECU"
            )
        if named is None:
            of_all = read_script(Path(text))
        elif named[1] in of_one:
            raise InvalidInput(f"two scripts are given for {named[1]}")
        else:
            of_one[named[1]] = read_script(Path(named[2]))
    return Scripts(of_all=of_all, of_one=of_one, faults=[read_fault(each) for each in faults])


def read_fault(text: str) -> Fault:
    """Return what ``brake@1.1.0=C0040-64`` or ``brake@1.1.0=C0040-64:120`` says. Raises: InvalidInput."""
    match = _FAULT.fullmatch(text.strip())
    try:
        if match is not None:
            permille = int(match[4]) if match[4] else PERMILLE_DEFAULT
            rate = msgspec.convert(
                {"code": match[3], "rate_permille": permille, "first_cycle": FIRST_CYCLE}, type=FaultRate
            )
            return Fault(ecu=match[1], version=match[2], rate=rate)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidInput(f"{text[:60]!r} is no fault: {error}", hint=_FAULT_HINT) from error
    raise InvalidInput(f"{text[:60]!r} is no fault", hint=_FAULT_HINT)


def check_faults(faults: Iterable[Fault], packages: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that each fault is one of software that there is. Raises: NotFound."""
    known = {(row["ecu"], row["version"]) for row in packages}
    for fault in faults:
        if (fault.ecu, fault.version) not in known:
            raise NotFound(
                f"there is no package {fault.ecu}@{fault.version}", hint="ringroad package list shows all"
            )


def check_scripts(scripts: Scripts, ecus: Sequence[EcuConfig]) -> None:
    """Make sure that what was given can happen somewhere.

    Args:
        scripts: that were given.
        ecus: of all vehicles that are there.

    Raises:
        NotFound: no vehicle has the ECU that a script is for.
        InvalidInput: no ECU that a script is for can follow it.
    """
    names = sorted({ecu.name for ecu in ecus})
    for name, script in scripts.of_one.items():
        agents = {ecu.agent for ecu in ecus if ecu.name == name}
        if not agents:
            raise NotFound(f"no vehicle here has an ECU {name}", hint=f"they have {', '.join(names)}")
        _check(name, script, agents)
    if scripts.of_all is not None:
        rest = {ecu.agent for ecu in ecus if ecu.name not in scripts.of_one}
        if rest or not scripts.of_one:  # where each has one of its own it is for nobody
            _check("every ECU without a script of its own", scripts.of_all, rest)


def _check(who: str, script: Script, agents: set[str]) -> None:
    virtual = agents - LOCAL_AGENTS
    if not virtual:
        raise InvalidInput(
            f"{who} is no virtual ECU, so it follows no script",
            hint=f"what goes wrong with {', '.join(sorted(agents)) or 'nothing'} is up to the programs it calls",
        )
    if script.transport and virtual == {HTTP_AGENT}:
        raise InvalidInput(
            f"the script's transport is about UDS, which {who} does not speak",
            hint="torn_write, images and versions are obeyed over HTTP, too",
        )
