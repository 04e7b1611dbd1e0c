"""How two plants differ: clone drift. Structure field by field, parameters by whether their beliefs can be the same.

Pure. Invariant: plants whose hashes are equal have no difference, and others have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final, Literal

from ringroad.build.plant.model import Plant, plain
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Posterior

CLEAR_SIGMA: Final = (
    3.0  # standard errors; 60 stations that are alike show a clear difference once in six plants
)
DIFFERENCES_MAX: Final = 10_000

_NAMED: Final = ("name", "product", "option")  # keys that rows of a list are told apart by


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureChange:
    """One place of the structure that is not the same; None where it is not there at all."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterDrift:
    """One parameter that is not the same.

    Attributes:
        key: its name.
        before: of the first plant; None if it has none.
        after: of the second.
        sigma: difference in standard errors of the two beliefs; positive: the second is more.
    """

    key: Key
    before: Posterior | None
    after: Posterior | None
    sigma: float

    @property
    def how(self) -> Literal["missing", "new", "differs", "learned"]:
        """Whether the beliefs contradict each other, or only rest on other evidence."""
        if self.after is None:
            return "missing"
        if self.before is None:
            return "new"
        return "differs" if abs(self.sigma) >= CLEAR_SIGMA else "learned"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantDiff:
    """All differences; those of the parameters with the clearest first."""

    structure: tuple[StructureChange, ...]
    parameters: tuple[ParameterDrift, ...]
    bindings: tuple[StructureChange, ...]

    @property
    def differs(self) -> bool:
        """Whether there is any."""
        return bool(self.structure or self.parameters or self.bindings)


def diff_plants(before: Plant, after: Plant) -> PlantDiff:
    """Compare two plants, or two generations of one. Who they are is no difference."""
    keys = sorted({*before.parameters, *after.parameters})
    drifts = [
        ParameterDrift(key=key, before=one, after=other, sigma=_sigma(one, other))
        for key in keys
        if (one := before.parameters.get(key)) != (other := after.parameters.get(key))
    ]
    drifts.sort(key=lambda drift: (drift.how == "learned", -abs(drift.sigma), drift.key))
    return PlantDiff(
        structure=tuple(_changes(plain(before.structure), plain(after.structure), ())),
        parameters=tuple(drifts),
        bindings=tuple(
            _changes(before.to_document().get("bindings", {}), after.to_document().get("bindings", {}), ())
        ),
    )


def _sigma(one: Posterior | None, other: Posterior | None) -> float:
    if one is None or other is None:
        return 0.0
    return (other.centre - one.centre) / sqrt(one.error_variance + other.error_variance)


def _changes(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[StructureChange]:
    """Yield where two documents differ; rows of a list are told apart by their names, and then by their order."""
    if before == after:
        return
    if isinstance(before, list) and isinstance(after, list):
        ones, others = _by_name(before), _by_name(after)
        if ones is not None and others is not None:
            yield from _changes(ones, others, path)
            order = [name for name in ones if name in others]
            if order != [name for name in others if name in ones]:
                yield StructureChange(path=_told((*path, "order")), before=list(ones), after=list(others))
            return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _changes(before.get(key), after.get(key), (*path, str(key)))
        return
    yield StructureChange(path=_told(path), before=before, after=after)


def _told(path: tuple[str, ...]) -> str:
    return " / ".join(path)


def _by_name(rows: list[Any]) -> dict[str, Any] | None:
    """Return rows by name, or None if they have none."""
    found: dict[str, Any] = {}
    for row in rows:
        if not isinstance(row, Mapping):
            return None
        name = next((row[key] for key in _NAMED if key in row), None)
        if name is None or name in found:
            return None
        found[str(name)] = row
    return found
