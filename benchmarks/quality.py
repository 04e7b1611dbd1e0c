"""What do pooled yields, alarms and gates do on a plant whose truth is known? Drawn from seeds; beside a p-chart and a CUSUM.

A line of stations, three variants, a new pair of lots each fourth day and new software halfway. Yields are learned
from its first half, and graded on the truth of the second. From a day on one lot of one station fails several times
as often: how many days pass until an alarm, and how many lines without a fault have one? The p-chart has a limit of
three sigma for each day and lot; the CUSUM looks for twice the usual rate, with h = 5. Last a gate: of as many
inspections, how many escapes are prevented where the proposal says to look, and where vehicles are picked by chance?

Run: python -m benchmarks quality
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.figures import Figure
from ringroad.build.quality.gates import FLOOR_PERMILLE, GateCosts, GateRecord, propose_rate
from ringroad.build.quality.periods import BEHIND, period_of
from ringroad.build.quality.watch import BLOCK, Counted, Watched, find_alarms, unnumbered
from ringroad.build.quality.yields import Tally, Yields, fit_yields

SEEDS: Final = 12
STATIONS, PER_DAY, DAYS, FAULT_DAY, LEARNED_DAYS = 3, 60, 36, 16, 10
BAD_STATION: Final = 1
FAULT: Final = 8.0  # times as often
LIMIT_SIGMA, CUSUM_H, CUSUM_TIMES = 3.0, 5.0, 2.0
GATE_VEHICLES, GATE_BAD, GATE_RATE, GATE_FAULT, GATE_FINDS = 4_000, 0.2, 0.005, 0.2, 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """One vehicle at one station, and its true rate."""

    day: int
    station: str
    variant: str
    software: str
    lot: str
    rate: float
    failed: bool


def line(seed: int, *, fault: float = 1.0) -> list[Vehicle]:
    """Return the vehicles of a line in their order."""
    draw = np.random.default_rng(seed)
    base = np.exp(draw.normal(math.log(0.02), 0.4, STATIONS))
    variants = np.exp(draw.normal(0, 0.2, (STATIONS, 3)))
    found: list[Vehicle] = []
    for day in range(DAYS):
        for station in range(STATIONS):
            for _ in range(PER_DAY):
                variant, second = int(draw.integers(3)), draw.random() < 0.5
                bad = second and station == BAD_STATION and FAULT_DAY <= day < FAULT_DAY + 12
                lot = "bad" if bad else f"{day // 4}{'AB'[second]}"
                rate = min(0.9, float(base[station] * variants[station, variant]) * (fault if bad else 1))
                found.append(
                    Vehicle(
                        day=day, station=f"s{station}", variant=f"v{variant}", lot=lot, rate=rate,
                        software="1" if day < DAYS // 2 else "2", failed=bool(draw.random() < rate),
                    )
                )  # fmt: skip
    return found


def ours(vehicles: list[Vehicle]) -> Iterator[tuple[int, str]]:
    """Yield days and lots of our alarms, looked at after each day."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    seen: dict[str, int] = {}
    numbers: dict[tuple[Watched, int], int] = {}
    standing: list[Watched] = []
    for day in range(DAYS):
        for each in (v for v in vehicles if v.day == day):
            number = seen[each.station] = seen.get(each.station, -1) + 1
            key = (each.station, each.variant, each.software, each.lot, period_of(number), number // BLOCK)
            place = sums.setdefault(key, [0, 0])
            place[0], place[1] = place[0] + 1, place[1] + each.failed
        counts = [
            Counted(
                station=key[0], variant=key[1], software=key[2], lots=(("part", key[3]),), period=key[4],
                block=key[5], vehicles=n, failed=failed,
            )
            for key, (n, failed) in sums.items()
            if key[5] < (seen[key[0]] + 1) // BLOCK and key[4] >= period_of(seen[key[0]]) - BEHIND
        ]  # fmt: skip
        for wanted in unnumbered(counts, numbers):
            numbers[wanted] = len(numbers) + 1
        for alarm in find_alarms(counts, numbers, standing):
            standing.append(alarm.watched)
            yield day, alarm.watched.value


def p_chart(vehicles: list[Vehicle]) -> Iterator[tuple[int, str]]:
    """Yield days and lots above three sigma of the first days' rate."""
    usual = _usual(vehicles)
    for day in range(LEARNED_DAYS, DAYS):
        sums: dict[tuple[str, str], list[int]] = {}
        for each in (v for v in vehicles if v.day == day):
            place = sums.setdefault((each.station, each.lot), [0, 0])
            place[0], place[1] = place[0] + 1, place[1] + each.failed
        for (station, lot), (n, failed) in sums.items():
            rate = usual[station]
            if failed / n > rate + LIMIT_SIGMA * math.sqrt(rate * (1 - rate) / n):
                yield day, lot


def cusum(vehicles: list[Vehicle]) -> Iterator[tuple[int, str]]:
    """Yield days and lots of a Bernoulli CUSUM for each station and lot. Source: Reynolds and Stoumbos (1999)."""
    usual = _usual(vehicles)
    sums: dict[tuple[str, str], float] = {}
    for each in vehicles:
        if each.day < LEARNED_DAYS:
            continue
        rate, key = usual[each.station], (each.station, each.lot)
        worse = min(0.9, CUSUM_TIMES * rate)
        step = math.log(worse / rate) if each.failed else math.log((1 - worse) / (1 - rate))
        sums[key] = max(0.0, sums.get(key, 0.0) + step)
        if sums[key] > CUSUM_H:
            sums[key] = 0.0
            yield each.day, each.lot


def _usual(vehicles: list[Vehicle]) -> dict[str, float]:
    learned = [each for each in vehicles if each.day < LEARNED_DAYS]
    return {
        station: (sum(v.failed for v in learned if v.station == station) + 0.5)
        / (sum(v.station == station for v in learned) + 1)
        for station in {v.station for v in learned}
    }


RULES: Final[dict[str, Callable[[list[Vehicle]], Iterator[tuple[int, str]]]]] = {
    "ours": ours, "p-chart": p_chart, "CUSUM": cusum,
}  # fmt: skip


def tallies(vehicles: list[Vehicle]) -> list[Tally]:
    """Return counts of vehicles alike."""
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    for each in vehicles:
        place = sums.setdefault((each.station, each.variant, each.software, each.lot), [0, 0])
        place[0], place[1] = place[0] + 1, place[1] + each.failed
    return [
        Tally(station=k[0], variant=k[1], software=k[2], lots=(("part", k[3]),), vehicles=n, failed=failed)
        for k, (n, failed) in sums.items()
    ]


def grade(seed: int) -> tuple[float, float, float, float]:
    """Return log losses of truth, pooled rates and frequencies, and the share of intervals that cover the truth."""
    vehicles = line(seed, fault=FAULT)
    true = {(v.station, v.variant, v.software, v.lot): v.rate for v in vehicles}
    found: Yields = fit_yields(tallies(vehicles))
    losses, covered, total = np.zeros(3), 0, 0
    for cell in found.cells:
        counted = cell.tally
        rate = true[counted.station, counted.variant, counted.software, counted.lots[0][1]]
        raw = (counted.failed + 0.5) / (counted.vehicles + 1)
        guesses = np.array([rate, cell.belief.fails, raw])
        losses -= counted.vehicles * (rate * np.log(guesses) + (1 - rate) * np.log(1 - guesses))
        total += counted.vehicles
        low, high = cell.belief.between()
        covered += low <= 1 - rate <= high
    truth, pooled, frequencies = losses / total
    return float(truth), float(pooled), float(frequencies), covered / len(found.cells)


def gate(seed: int) -> tuple[float, float]:
    """Return escapes prevented by 1,000 inspections: where the proposal says to look, and by chance."""
    draw = np.random.default_rng(seed)

    def batch() -> tuple[Any, Any]:
        faulty = draw.random(GATE_VEHICLES) < GATE_BAD
        return faulty, draw.random(GATE_VEHICLES) < np.where(faulty, GATE_FAULT, GATE_RATE)

    faulty, bad = batch()
    refused = bad & (draw.random(GATE_VEHICLES) < GATE_FINDS)
    cells = fit_yields(
        [
            Tally(
                station="gate", variant="v", software="1", lots=(("part", name),), vehicles=int(which.sum()),
                failed=int(refused[which].sum()),
            )
            for name, which in (("bad", faulty), ("good", ~faulty))
        ]
    ).cells  # fmt: skip
    record = GateRecord(
        station="gate", gate="gate", inspect_permille=1000, left=GATE_VEHICLES, inspected=GATE_VEHICLES,
        refused=int(refused.sum()), finds=(19.0, 1.0),
    )  # fmt: skip
    proposal = propose_rate(record, GateCosts(inspect=1, escape=20), cells)
    faulty, bad = batch()
    all_of = (
        faulty
        if any("lot bad" in kind.says for kind in proposal.all_of)
        else np.zeros(GATE_VEHICLES, dtype=bool)
    )
    looked = all_of | (draw.random(GATE_VEHICLES) < FLOOR_PERMILLE / 1000)
    chance = draw.random(GATE_VEHICLES) < looked.mean()
    finds = draw.random(GATE_VEHICLES) < GATE_FINDS
    return tuple(1000 * float((bad & finds & who).sum() / who.sum()) for who in (looked, chance))  # type: ignore[return-value]


def run() -> list[Figure]:
    """Measure."""
    delays: dict[str, list[float]] = {name: [] for name in RULES}
    false: dict[str, int] = dict.fromkeys(RULES, 0)
    for seed in range(SEEDS):
        good, bad = line(seed), line(seed, fault=FAULT)
        for name, rule in RULES.items():
            false[name] += next(iter(rule(good)), None) is not None
            hit = next((day for day, lot in rule(bad) if "bad" in lot and day >= FAULT_DAY), None)
            delays[name].append(math.inf if hit is None else hit - FAULT_DAY + 1)
    grades = np.array([grade(seed) for seed in range(SEEDS)])
    truth, pooled, raw, covered = grades.mean(axis=0)
    prevented = np.array([gate(seed) for seed in range(SEEDS)])
    ours_days = median(delays["ours"])
    told = "; ".join(
        f"{name} {median(delays[name]):g} days, false on {false[name]} of {SEEDS} lines" for name in RULES
    )
    return [
        Figure(
            name="quality.log_loss_excess_ratio", value=round(float((pooled - truth) / (raw - truth)), 3), unit="",
            target=0.5, better="lower",
            note=f"beyond the truth's own log loss, pooled against frequencies with half a failure: {pooled:.5f} and"
            f" {raw:.5f}, the truth {truth:.5f}",
        ),
        Figure(
            name="quality.coverage", value=round(float(covered), 3), unit="", target=0.85, better="higher",
            note="of 90 % intervals of vehicles alike",
        ),
        Figure(
            name="quality.days_to_alarm", value=ours_days, unit="days", target=4, better="lower",
            note=f"one lot of a station fails {FAULT:g} times as often, 30 of its vehicles a day; {told}",
        ),
        Figure(
            name="quality.false_alarm_lines_pct", value=round(100 * false["ours"] / SEEDS, 1), unit="%", target=5,
            better="lower", note=f"lines of {DAYS} days without a fault that have an alarm; {told}",
        ),
        Figure(
            name="quality.escapes_prevented_ratio", value=round(float((prevented[:, 0] / prevented[:, 1]).mean()), 2),
            unit="x", target=2, better="higher",
            note=f"by as many inspections: {prevented[:, 0].mean():.0f} of 1,000 where the proposal says,"
            f" {prevented[:, 1].mean():.0f} by chance",
        ),
    ]  # fmt: skip
