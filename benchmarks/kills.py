"""The vehicle's own process, killed after every journal record of an update in turn, over HTTPS, DoIP, CAN and CAN FD.

What `powercut` does by the thousand in simulation, done with the process itself: `ringroad vehicle run` ends without a
word after its n-th record, its ECUs lose their power with it, and the next process must end the update: in the new
release where it is good, in the old one where the brake's new software fails its self-test. The vehicle is that of the
distributed example: all of its 33 ECUs, and two of them alone.

Run: python -m benchmarks kills; two starts of a process per record, a quarter of an hour in all on two cores. Each
record's end is kept under `var/kills/` by commit, so that a run that was stopped goes on where it was; a changed tree
begins anew.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, commit
from benchmarks.powercut import scratch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ringroad.sim.rehearsal import NEW, OLD, Rehearsal
from ringroad.vehicle.journal import CRASH_EXIT_STATUS
from ringroad.vehicle.memory import read_state
from support.power_cuts import GUILTY, all_ecus, small
from support.vehicle_process import Powered, built, copied, powered

KEPT = Path("var/kills")  # ends of records, in a folder per commit
SHOWN_MAX = 10  # torn vehicles told of
RECORDS_MAX = 1_000  # of an update
TWO = ("gateway", GUILTY)
ALL = tuple(all_ecus())
WHOLE, PAST = "whole", "ended before the kill"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A vehicle, and whether its update is good or is undone."""

    ecus: Sequence[str]
    bad: bool

    def __str__(self) -> str:
        return f"{len(self.ecus)}-{'undone' if self.bad else 'good'}"

    def file(self, kept: Path, record: int) -> Path:
        """Where the end of the vehicle that was killed after a record is kept."""
        return kept / f"{self}-{record:03}.txt"


KINDS = [Kind(ecus=ecus, bad=bad) for ecus in (TWO, ALL) for bad in (False, True)]


def killed_after(record: int, vehicle: Rehearsal, folder: Path, *, bad: bool) -> str:
    """Kill the update of a copy of a vehicle after a record, and let the next process end it.

    Returns:
        `WHOLE`; `PAST` where the update had fewer records; or what is wrong with its end.
    """
    with powered(copied(vehicle, folder, failing=GUILTY if bad else "")) as bench:
        bench.rehearsal.order()
        status = bench.live(RINGROAD_CRASH_AFTER_RECORD=str(record))
        if status not in {0, CRASH_EXIT_STATUS}:
            return f"the first process ended with {status}: {bench.said()}"
        bench.power_cycle()
        if status and (status_again := bench.live()):
            return f"the next process ended with {status_again}: {bench.said()}"
        return torn(bench, bad=bad) or (WHOLE if status else PAST)


def torn(bench: Powered, *, bad: bool) -> str:
    """Say what is wrong with a vehicle at rest; empty if it is all old or all new, for good, and the server knows."""
    end, whole = ("ROLLED_BACK", (OLD, False, 1)) if bad else ("SUCCEEDED", (NEW, False, 2))
    if bench.told() != {end}:
        return f"the server was told of {', '.join(sorted(bench.told())) or 'no end'}"
    if (state := read_state(bench.rehearsal.folder).state) != end:
        return f"{end}, but the journal says {state}"
    for when in ("at rest", "after one more power cycle"):
        wrong = [f"{name} {one}" for name, one in bench.running().items() if one != whole]
        if wrong:
            return f"{end}, {when}: {', '.join(wrong)}"
        bench.power_cycle()
    listed = {one.installed_image.filename for one in bench.server.manifests[-1].reports.values()}
    wrong = sorted(name for name in listed if f"-{whole[0]}." not in name)
    return f"{end}, but the server knows of {', '.join(wrong)}" if wrong else ""


def share(kind: Kind, kept: Path, number: int, shares: int) -> None:
    """Kill after every `shares`-th record of one kind, except those whose ends are kept already; keep each end."""
    with scratch() as name:
        vehicle = built(Path(name) / "built", small(kind.ecus))
        for record in range(1 + number, RECORDS_MAX, shares):
            started_s, file, own = time.perf_counter(), kind.file(kept, record), Path(name) / str(record)
            if not file.exists():
                end = killed_after(record, vehicle, own, bad=kind.bad)
                shutil.rmtree(own)
                file.with_suffix(".new").write_text(end, encoding="utf-8")
                file.with_suffix(".new").replace(file)
                took_s = time.perf_counter() - started_s
                print(f"{kind}, record {record}: {end}, {took_s:.1f} s", file=sys.stderr, flush=True)
            if file.read_text("utf-8") == PAST:
                return
        raise AssertionError(f"{kind}: more than {RECORDS_MAX} records")


def run() -> list[Figure]:
    started_s, tree, cores = time.perf_counter(), commit(), len(os.sched_getaffinity(0))
    with scratch() as name:
        kept = Path(name) if tree.endswith("+") else KEPT / tree
        kept.mkdir(parents=True, exist_ok=True)
        before = len(list(kept.glob("*.txt")))
        with ProcessPoolExecutor(cores) as pool:
            work = [
                pool.submit(share, kind, kept, number, cores) for kind in KINDS for number in range(cores)
            ]
            for one in work:
                one.result()
        took = f"{time.perf_counter() - started_s:.0f} s on {cores} core{'s' * (cores > 1)}"
        took += f", {before} of them before that" * bool(before)
        return [
            figure
            for name, ecus in (("powercut.process_kills", TWO), ("powercut.process_kills_33_ecus", ALL))
            for figure in figures_of(name, ecus, kept, took)
        ]


def figures_of(name: str, ecus: Sequence[str], kept: Path, took: str) -> tuple[Figure, Figure]:
    """What came of the kills of one vehicle's process: how many there were, and how many tore it."""
    ends = {
        kind: [path.read_text("utf-8") for path in sorted(kept.glob(f"{kind}-*.txt"))]
        for kind in KINDS if kind.ecus == ecus
    }  # fmt: skip
    good, undone = ([one for one in ends[kind] if one != PAST] for kind in ends)
    problems = [one for one in (*good, *undone) if one != WHOLE]
    for problem in problems[:SHOWN_MAX]:
        print(f"torn: {problem}")
    return Figure(
        name=name, value=len(good) + len(undone), unit="records", target=None, better="higher",
        note=f"{len(ecus)} ECUs; the vehicle's process killed after each of {len(good)} records of an update and "
        f"{len(undone)} of one that is undone; all kills {took}",
    ), Figure(
        name=f"{name}_torn", value=len(problems), unit="records", target=0, better="lower",
        note="after which the vehicle was neither all old nor all new, or did not end as it was told",
    )  # fmt: skip
