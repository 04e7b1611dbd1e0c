"""What the lake says about one fault code on one software version: the evidence of detection and verdict.

Values only. `storage/measures.py` fills them, `signal/detect.py` and `adapt/verdict.py` decide on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.rates import Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Counts of one version in one tick of time and one stratum (vehicle variant).

    Attributes:
        tick: number of the tick since 1970.
        stratum: vehicles are only compared with vehicles of their own stratum.
        faulted: vehicles whose first fault fell into the tick.
        exposure_us: microseconds that vehicles without a fault so far were observed to run the version.
    """

    tick: int
    stratum: str
    faulted: int
    exposure_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCount:
    """One fault code on one software version of one ECU.

    Attributes:
        vehicles_exposed: vehicles observed to run the version.
        vehicles_with_fault: those of them that reported the code while observed.
        vehicles_outside: vehicles that reported the code for the version, yet not while observed; not counted.
        first_fault_us: when the first counted fault happened, microseconds since 1970.
        last_observed_us: newest observation of any vehicle on the version.
        cells: counts by tick and stratum.
    """

    ecu: str
    software_version: str
    fault_code: str
    vehicles_exposed: int
    vehicles_with_fault: int
    vehicles_outside: int
    first_fault_us: int | None
    last_observed_us: int | None
    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        """Refuse counts that contradict each other."""
        if sum(cell.faulted for cell in self.cells) != self.vehicles_with_fault:
            raise InvalidInput(f"{self.fault_code} on {self.ecu}: cells and vehicles_with_fault differ")
        if self.vehicles_exposed < self.vehicles_with_fault:
            raise InvalidInput(f"{self.fault_code} on {self.ecu}: more vehicles failed than were exposed")

    @property
    def exposure_us(self) -> int:
        """Vehicle-microseconds at risk over all cells."""
        return sum(cell.exposure_us for cell in self.cells)


def concurrent_ticks(treated: FaultCount, controls: Iterable[FaultCount]) -> list[Tick]:
    """Pair the cells of a version with those of other versions in the same tick and stratum."""
    other: dict[tuple[int, str], tuple[int, int]] = {}
    for control in controls:
        for cell in control.cells:
            faulted, exposure_us = other.get((cell.tick, cell.stratum), (0, 0))
            other[cell.tick, cell.stratum] = (faulted + cell.faulted, exposure_us + cell.exposure_us)
    ticks = []
    for cell in treated.cells:
        faulted, exposure_us = other.get((cell.tick, cell.stratum), (0, 0))
        ticks.append(
            Tick(
                treated=cell.faulted,
                control=faulted,
                treated_exposure=cell.exposure_us,
                control_exposure=exposure_us,
            )
        )
    return ticks


def split_ticks(treated: Iterable[Cell], control: Iterable[Cell]) -> list[Tick]:
    """Pair two sets of cells by stratum only, over all of their time: for before and after.

    Not concurrent: what happened to every vehicle between the two (weather, season) is not taken out.
    """
    sums: dict[str, list[int]] = {}
    for arm, cells in ((0, treated), (1, control)):
        for cell in cells:
            entry = sums.setdefault(cell.stratum, [0, 0, 0, 0])
            entry[arm] += cell.faulted
            entry[2 + arm] += cell.exposure_us
    return [
        Tick(treated=entry[0], control=entry[1], treated_exposure=entry[2], control_exposure=entry[3])
        for _, entry in sorted(sums.items())
    ]
