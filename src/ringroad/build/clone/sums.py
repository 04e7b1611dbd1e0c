"""What travels from a clone to its parents: sums, and room for vehicles. No order, no time, no single observation.

The parents' server makes of it what it will (`improvements.py`): it holds the parents' documents, and needs no more.

Pure. Invariant: a message holds who says it, three numbers of each parameter, and one number of each buffer;
`tests/unit/build/test_clone_improvements.py` holds that nothing else is sent, whatever the plant knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ringroad.build.plant.model import Plant
from ringroad.build.plant.parameters import KINDS, Key, path_of, path_text
from ringroad.build.plant.posterior import Origin, Posterior
from ringroad.kernel.errors import InvalidInput

SCHEMA: Final = 1  # of the message; another one is refused
TOLD_MAX: Final = 2_000  # parameters that a plant learns from a message; they stand in a fact, in some 200 kB
SUMS_MAX: Final = 5_000  # parameters of one message; a line of 200 stations has some 1,000
ROOM_MAX: Final = 1_000  # vehicles before one station
SUM_MAX: Final = (
    1e24  # of a number of a message; `posterior.N_MAX` observations of a hundred years are 3e21 seconds
)
TEXT_MAX: Final = 500  # characters of a name

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneSums:
    """What a clone says to its parents.

    Attributes:
        plant: who says it.
        parent: whose clone it is.
        own: what it observed itself, as sums.
        rooms: vehicles that may wait before each of its stations.
    """

    plant: str
    parent: str
    own: Mapping[Key, Posterior]
    rooms: Mapping[Path, int]

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form that travels."""
        return {
            "schema": SCHEMA, "plant": self.plant, "parent": self.parent,
            "own": own_document(self.own),
            "rooms": {path_text(path): room for path, room in sorted(self.rooms.items())},
        }  # fmt: skip


def own_document(own: Mapping[Key, Posterior]) -> dict[str, list[float]]:
    """Return sums as they travel: three numbers of each parameter."""
    return {str(key): [each.n, each.total, each.squares] for key, each in sorted(own.items())}


def own_from(document: Mapping[str, Any], *, plant: str) -> dict[Key, Posterior]:
    """Read what `own_document` wrote, or a message holds. Raises: InvalidInput."""
    return dict(_belief(text, given, plant) for text, given in document.items())


def sums_of(plant: Plant, own: Mapping[Key, Posterior]) -> CloneSums:
    """Return what a clone says of itself.

    Raises:
        InvalidInput: it is nobody's clone.
    """
    if not plant.identity.parent:
        raise InvalidInput(
            f"plant {plant.id} is nobody's clone: there is nobody to tell",
            hint="ringroad plant clone A --to B",
        )
    rooms: dict[Path, int] = {
        (line.area, line.name, cell.name): cell.buffer
        for line in plant.structure.lines
        for cell in line.stations
    }
    return CloneSums(plant=plant.id, parent=plant.identity.parent, own=dict(own), rooms=rooms)


def sums_from(document: Mapping[str, Any]) -> CloneSums:
    """Read a message.

    Raises:
        InvalidInput: it is none of this schema, or holds what no plant could have observed.
    """
    if document.keys() != {"schema", "plant", "parent", "own", "rooms"} or document["schema"] != SCHEMA:
        raise InvalidInput(
            "that is no message of a clone",
            hint=f"schema {SCHEMA}: plant, parent, own and rooms, and nothing else",
        )
    own, rooms = document["own"], document["rooms"]
    if not isinstance(own, Mapping) or not isinstance(rooms, Mapping) or max(len(own), len(rooms)) > SUMS_MAX:
        raise InvalidInput(f"own and rooms are tables of at most {SUMS_MAX} rows")
    names = [document["plant"], document["parent"], *own, *rooms]
    if any(not isinstance(each, str) or not 0 < len(each) <= TEXT_MAX or "\0" in each for each in names):
        raise InvalidInput(f"names are text of at most {TEXT_MAX} characters")
    for path, room in rooms.items():
        if not isinstance(room, int) or isinstance(room, bool) or not 0 <= room <= ROOM_MAX:
            raise InvalidInput(f"{path} has no room for {room} vehicles")
    return CloneSums(
        plant=document["plant"],
        parent=document["parent"],
        own=own_from(own, plant=document["plant"]),
        rooms={path_of(path): room for path, room in rooms.items()},
    )


def key_of(text: str) -> Key:
    """Return the key that was written as text. Raises: InvalidInput."""
    path, sharp, rest = text.rpartition("#")
    kind, _, per = rest.partition(".")
    if not sharp or kind not in KINDS:
        raise InvalidInput(f"{text!r} is no parameter of a plant")
    return Key(path_of(path), kind, per)


def _belief(text: str, given: object, plant: str) -> tuple[Key, Posterior]:
    key = key_of(text)
    numbers = given if isinstance(given, list) else []
    if len(numbers) != 3 or any(
        isinstance(each, bool) or not isinstance(each, int | float) for each in numbers
    ):
        raise InvalidInput(f"{text} is three numbers: n, sum, sum of squares")
    if any(abs(each) > SUM_MAX for each in numbers):
        raise InvalidInput(f"{text} is three numbers up to {SUM_MAX:.0e}, and finite sums")
    n, total, squares = (float(each) for each in numbers)
    family = KINDS[key.kind].family
    return key, Posterior(family=family, n=n, total=total, squares=squares, origin=Origin(plant=plant))
