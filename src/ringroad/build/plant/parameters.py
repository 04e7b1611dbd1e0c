"""The names of a plant's parameters: of what each is, and of which family.

Pure. Invariant: a parameter that is not in this table cannot be in a document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, unquote

from ringroad.build.plant.posterior import Family

Thing = Literal["station", "gate", "resource", "step", "agv", "zone", "leg"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of parameter.

    Attributes:
        family: of the belief.
        of: what has it.
        per: what there is one each of: "" for one of the thing itself.
        meaning: for people.
    """

    family: Family
    of: tuple[Thing, ...]
    per: Literal["", "option", "change", "resource", "milestone", "place", "kind"] = ""
    meaning: str


KINDS: Final[dict[str, Kind]] = {
    "cycle_s": Kind(family="time", of=("station",), meaning="work on one vehicle"),
    "extra_s": Kind(
        family="time", of=("station",), per="option", meaning="more work for an option or a variant"
    ),
    "transfer_s": Kind(family="time", of=("station",), meaning="way from the station before"),
    "return_s": Kind(family="time", of=("station",), meaning="way back of an empty carrier"),
    "rework_s": Kind(family="time", of=("station",), meaning="repair of a vehicle that the gate refused"),
    "first_pass": Kind(
        family="share", of=("station", "step"), meaning="vehicles or parts that are right at once"
    ),
    "uptime_s": Kind(
        family="rate", of=("station", "resource", "agv"), meaning="working time between two breakdowns"
    ),
    "repair_s": Kind(
        family="time",
        of=("station", "resource", "agv"),
        meaning="a breakdown, until it works again, in working time",
    ),
    "finds": Kind(family="share", of=("gate",), meaning="bad vehicles that the gate refuses"),
    "false_alarm": Kind(family="share", of=("gate",), meaning="good vehicles that it refuses"),
    "inspects": Kind(
        family="share", of=("gate",), meaning="vehicles that it inspects, as decided; else inspect_permille"
    ),
    "inspects_all": Kind(
        family="share", of=("gate",), per="kind", meaning="1: it inspects every vehicle of a kind, as decided"
    ),
    "escapes": Kind(family="share", of=("gate",), meaning="vehicles that leave it bad, as the field says"),
    "inspect_s": Kind(family="time", of=("gate",), meaning="one inspection"),
    "work_s": Kind(family="time", of=("step",), per="resource", meaning="the step on one of its resources"),
    "setup_s": Kind(
        family="time", of=("resource",), per="change", meaning="set-up from one family to another, a>b"
    ),
    "trip_s": Kind(family="time", of=("agv",), per="place", meaning="way to a line, shop or zone"),
    "pick_s": Kind(family="time", of=("zone",), meaning="one pick"),
    "lead_s": Kind(
        family="time", of=("leg",), per="milestone", meaning="time to a milestone from the one before"
    ),
}


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The name of one parameter: path below the site, kind, and for what.

    Attributes:
        path: names below the site, for a station area, line and cell.
        kind: of `KINDS`.
        per: option, variant, resource, milestone, change or kind of vehicles; "" if there is one of it.
    """

    path: tuple[str, ...]
    kind: str
    per: str = ""

    def __str__(self) -> str:
        """Return it as documents and people write it: ``assembly/Line 1/trim#extra_s.sunroof``."""
        return path_text(self.path) + f"#{self.kind}" + (f".{self.per}" if self.per else "")


def path_text(path: tuple[str, ...]) -> str:
    """Return a path as text; a slash within a name is written %2F."""
    return "/".join(quote(name, safe=_SAFE) for name in path)


def path_of(text: str) -> tuple[str, ...]:
    """Return what `path_text` wrote."""
    return tuple(unquote(name) for name in text.split("/"))


_SAFE: Final = " !$&'()*+,;=:@-._~<>[]{}^|\"?\\`"
