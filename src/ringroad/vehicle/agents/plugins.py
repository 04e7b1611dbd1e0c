"""Which code updates an ECU: the agents that come with Ringroad, and those that a vehicle's configuration allows.

A configuration names an agent per ECU; only names built in here, or listed in its own table ``[plugins]``, are loaded.
Nothing that a server sends, signed or not, can name code: an agent's name is never taken from an image or an order.

Invariant: a name that is not allowed is refused before anything is imported for it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.agents.disk import Disk
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.uds import UdsChannel

GROUP: Final = "ringroad.update_agents"  # of entry points
ENTRY_POINT: Final = "entry-point:"
BUILT_IN: Final[Mapping[str, str]] = {
    "uds": "ringroad.vehicle.agents.uds:make_agent",
    "mcuboot": "ringroad.vehicle.agents.mcuboot:make_agent",
    "sovd": "ringroad.vehicle.agents.sovd:SovdAgent",
    "swupdate": "ringroad.vehicle.agents.swupdate:make_agent",
    "rauc": "ringroad.vehicle.agents.rauc:make_agent",
    "files": "ringroad.vehicle.agents.folders:FilesAgent",
    "container": "ringroad.vehicle.agents.folders:ContainerAgent",
}
_PATH: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

Setting = str | int | bool


class AgentMissing(InvalidInput):
    """There is no agent of the name that an ECU's configuration has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSite:
    """All that an agent is given: its ECU, the way to it, and room of its own.

    Attributes:
        name: of the ECU in the programme.
        serial: that the ECU must have.
        hardware_id: as the vehicle's configuration says.
        mode: ``ab``: staged beside what runs; ``inplace``: what runs is lost by `install`.
        folder: for the agent's own files; exists, and survives power cuts.
        disk: durable steps on that folder.
        settings: table ``[ecus.settings]`` of the ECU.
        channel: to the ECU, where it speaks UDS; None otherwise.
        access: how it is unlocked; None where there is no channel.
        secret: of the ECU, for agents with a way of their own.
    """

    name: str
    serial: str
    hardware_id: str
    mode: Literal["ab", "inplace"]
    folder: Path
    disk: Disk
    settings: Mapping[str, Setting]
    channel: UdsChannel | None = None
    access: EcuAccess | None = None
    secret: bytes = b""

    def setting(self, key: str, default: str | None = None) -> str:
        """Return a setting that is text.

        Raises:
            InvalidInput: it is missing and has no default, or is not text.
        """
        value = self.settings.get(key, default)
        if not isinstance(value, str):
            raise InvalidInput(
                f"{self.name} needs the setting {key}", hint=f'{key} = "..." in its table [ecus.settings]'
            )
        return value

    def known(self, *keys: str) -> None:
        """Refuse settings that nobody reads. Raises: InvalidInput."""
        if unknown := sorted(set(self.settings) - set(keys)):
            raise InvalidInput(
                f"{self.name}: unknown setting {unknown[0]!r}", hint=f"known: {', '.join(keys)}"
            )


AgentFactory = Callable[[AgentSite], UpdateAgent]


def factory_of(name: str, allowed: Mapping[str, str]) -> AgentFactory:
    """Return what makes agents of that name.

    Args:
        name: as an ECU's configuration has it.
        allowed: the vehicle's table ``[plugins]``: name -> ``module:attribute``, or ``entry-point:DISTRIBUTION``
            for the entry point of that name which that installed distribution declares in group `GROUP`.

    Raises:
        AgentMissing: the name is not allowed, or its code cannot be loaded.
        InvalidInput: the table hides one of ours.
    """
    shadowed = sorted(set(allowed) & set(BUILT_IN))
    if shadowed:
        raise InvalidInput(f"plugin {shadowed[0]!r} has the name of an agent that comes with Ringroad")
    where = BUILT_IN.get(name) or allowed.get(name)
    if where is None:
        raise AgentMissing(
            f"no update agent {name!r}",
            hint=f"built in: {', '.join(sorted(BUILT_IN))}; others are allowed in the table [plugins]",
        )
    if where.startswith(ENTRY_POINT):
        where = _declared(name, where.removeprefix(ENTRY_POINT))
    made = _load(name, where)
    if not callable(made):
        raise AgentMissing(f"plugin {name!r}: {where} cannot be called")
    factory: AgentFactory = made
    return factory


def _declared(name: str, distribution: str) -> str:
    """Return where the entry point of one installed distribution leads."""
    from importlib import metadata  # noqa: PLC0415 - with its parsers; few vehicles need it

    try:
        points = metadata.distribution(distribution).entry_points
    except metadata.PackageNotFoundError as error:
        raise AgentMissing(
            f"plugin {name!r}: {distribution} is not installed", hint="pip install it beside ringroad"
        ) from error
    except ValueError as error:
        raise AgentMissing(f"plugin {name!r} names no distribution", hint="entry-point:its-name") from error
    found = [point.value for point in points if point.group == GROUP and point.name == name]
    if len(found) != 1:
        raise AgentMissing(
            f"plugin {name!r}: {distribution} declares {len(found)} such entry points in {GROUP}",
            hint="the entry point has the agent's name",
        )
    return found[0]


def _load(name: str, where: str) -> Any:
    if not _PATH.fullmatch(where):
        raise AgentMissing(
            f"plugin {name!r}: {where!r} is no way to code",
            hint="module:attribute, or entry-point:distribution",
        )
    module, _, attribute = where.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise AgentMissing(f"plugin {name!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise AgentMissing(f"plugin {name!r}: {module} has no {attribute}") from error
