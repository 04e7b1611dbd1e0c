"""Measures over the lake, one Ibis expression each, whose SQL text is kept as evidence.

The fault measure, used alike to open a finding and to judge the change that answers it:

1. A vehicle was at risk on a software version between two observations of its ECU that are not further apart
   than `gap_us` (or for as long as the later one carried data), on the version of the later observation.
2. A fault counts when its test failed or it is confirmed, its clock can be believed, and its vehicle was at risk
   on the version it names. Only the first fault of a vehicle, version and code counts.
3. After its first fault a vehicle is not at risk any more for that code and version.

Invariant: a fault never counts without exposure; what was left out is counted as `vehicles_outside`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import ibis

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.fault_counts import Cell, FaultCount
from ringroad.storage.lake import Lake, View, sql_of

FAILED_BITS = 0x09  # testFailed (bit 0) or confirmedDTC (bit 3); source: ISO 14229-1 D.2
TICKS_MAX = 50_000  # ticks of one measure; more would not fit the memory of a detection
BELIEVED = ("ok", "late")  # clock flags whose times are used


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What to measure: `since_us` included, `until_us` not."""

    programme: str
    since_us: int
    until_us: int
    tick_us: int
    gap_us: int
    ecu: str | None = None

    def __post_init__(self) -> None:
        """Refuse windows that are empty or too fine."""
        if not (self.since_us < self.until_us and self.tick_us > 0 and self.gap_us > 0):
            raise InvalidInput("the window is empty", hint="since before until; tick and gap above 0")
        if (self.until_us - self.since_us) // self.tick_us > TICKS_MAX:
            raise InvalidInput(
                f"more than {TICKS_MAX} ticks in the window", hint="use longer ticks or a shorter window"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Counts and the queries that gave them."""

    counts: tuple[FaultCount, ...]
    queries: Mapping[str, str]
    exposure_rows: int
    unbelieved_rows: int  # rows left out because their clock could not be believed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marks:
    """A window whose values are not known yet: expressions of ibis, as long as a value is none of them."""

    programme: Any
    since_us: Any
    until_us: Any
    tick_us: Any
    gap_us: Any
    ecu: Any


# Each value of a window, as it stands in the text that is compiled once: no other number or text of it is like these.
MARKS: Mapping[str, int | str] = {
    "programme": "<programme>",
    "since_us": 7_100_000_000_000_000_001,
    "until_us": 7_100_000_000_000_000_002,
    "tick_us": 7_100_000_000_000_000_003,
    "gap_us": 7_100_000_000_000_000_004,
    "ecu": "<ecu>",
}


def measure_faults(lake: Lake, window: Window) -> Measurement:
    """Count first faults and time at risk per ECU, software version and fault code.

    Raises:
        Unavailable: the lake cannot be read now.
        Corrupt: a file of the lake does not read back.
    """
    steps, questions = (
        {name: _filled(sql, window) for name, sql in each.items()}
        for each in _compiled(of_one_ecu=window.ecu is not None)
    )

    def ask(view: View) -> Measurement:
        for name, sql in steps.items():
            view.keep_sql(name, sql)
        answers = {name: view.rows_sql(sql) for name, sql in questions.items()}
        clocks = {row["believed"]: row["rows"] for row in answers["clocks"]}
        return Measurement(
            counts=_counts(answers),
            queries=steps | questions,
            exposure_rows=clocks.get(True, 0),
            unbelieved_rows=clocks.get(False, 0),
        )

    return lake.read(ask)


@cache
def _compiled(*, of_one_ecu: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return the SQL of what is kept on the way and of what is asked, with marks for the window's values.

    Once: making the expressions and their text takes longer than the answers, and a worker asks every few seconds.
    """
    marks = _Marks(
        **{name: ibis.literal(mark) for name, mark in MARKS.items() if name != "ecu"},
        ecu=ibis.literal(MARKS["ecu"]) if of_one_ecu else None,
    )
    steps = {"at_risk": intervals_expression(marks), "failures": faults_expression(marks)}
    spans, faults = (ibis.table(step.schema(), name=name) for name, step in steps.items())
    steps["first_failures"] = first_faults_expression(spans, faults)
    first = ibis.table(steps["first_failures"].schema(), name="first_failures")
    questions = {
        "cells": cells_expression(spans, first, tick_us=marks.tick_us),
        "versions": versions_expression(spans),
        "reported": reported_expression(faults, first),
        "clocks": clocks_expression(marks),
    }
    steps_sql, questions_sql = (
        {name: sql_of(each) for name, each in group.items()} for group in (steps, questions)
    )
    return steps_sql, questions_sql


def _filled(sql: str, window: Window) -> str:
    """Return the text with the window's values in place of their marks."""
    values = {_literal(mark): getattr(window, name) for name, mark in MARKS.items()}
    return re.sub("|".join(values), lambda found: _literal(values[found[0]]), sql)


def _literal(value: int | str) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def intervals_expression(window: _Marks) -> Any:
    """Return the time at risk: one row per vehicle, ECU, version and stretch of observation."""
    seen = View.table("exposure")
    failing = View.raw("faults")
    # Only ECUs with a fault row can matter; most never have one.
    seen = seen.semi_join(failing, seen.ecu == failing.ecu)
    seen = seen.filter(
        seen.programme == window.programme,
        seen.clock.isin(BELIEVED),
        seen.at_us >= window.since_us,
        seen.since_us < window.until_us,
    )
    if window.ecu is not None:
        seen = seen.filter(seen.ecu == window.ecu)
    seen = seen.mutate(
        before_us=seen.at_us.lag().over(
            group_by=[seen.vin, seen.ecu], order_by=[seen.at_us, seen.batch, seen.index]
        )
    )
    unbroken = seen.before_us.notnull() & (
        (seen.at_us - seen.before_us <= window.gap_us) | (seen.since_us < seen.before_us)
    )
    spans = seen.select(
        "vin",
        "variant",
        "ecu",
        "software_version",
        start_us=ibis.greatest(ibis.ifelse(unbroken, seen.before_us, seen.since_us), window.since_us),
        end_us=ibis.least(seen.at_us, window.until_us),
    )
    return spans.filter(spans.start_us < spans.end_us)


def faults_expression(window: _Marks) -> Any:
    """Return the fault rows of the window that mean a failure and whose clock can be believed."""
    faults = View.table("faults")
    faults = faults.filter(
        faults.programme == window.programme,
        faults.clock.isin(BELIEVED),
        (faults.status & FAILED_BITS) != 0,
        faults.software_version != "",  # of an ECU that ran none it is evidence against none
        faults.at_us >= window.since_us,
        faults.at_us < window.until_us,
    )
    return faults if window.ecu is None else faults.filter(faults.ecu == window.ecu)


def first_faults_expression(spans: Any, faults: Any) -> Any:
    """Return each vehicle's first fault per version and code, where it was at risk."""
    met = faults.join(
        spans,
        [
            faults.vin == spans.vin,
            faults.ecu == spans.ecu,
            faults.software_version == spans.software_version,
            faults.at_us >= spans.start_us,
            faults.at_us <= spans.end_us,
        ],
    ).select(
        faults.vin,
        faults.variant,
        faults.ecu,
        faults.software_version,
        faults.code,
        # A fault at the very end of a stretch belongs to the last microsecond at risk.
        fault_us=ibis.least(faults.at_us, spans.end_us - 1),
    )
    return met.group_by("vin", "variant", "ecu", "software_version", "code").agg(fault_us=met.fault_us.min())


def cells_expression(spans: Any, first: Any, *, tick_us: Any) -> Any:
    """Return vehicles with a first fault and time at risk per ECU, version, code, tick and variant."""
    key = ["ecu", "software_version", "variant", "tick"]
    parts = spans.mutate(
        tick=ibis.range(spans.start_us // tick_us, (spans.end_us - 1) // tick_us + 1).unnest()
    )
    parts = parts.mutate(
        from_us=ibis.greatest(parts.start_us, parts.tick * tick_us),
        to_us=ibis.least(parts.end_us, (parts.tick + 1) * tick_us),
    )
    total = parts.group_by(key).agg(total_us=(parts.to_us - parts.from_us).sum())
    failed = parts.join(
        first,
        [parts[name] == first[name] for name in ("vin", "variant", "ecu", "software_version")],
    ).select(*[parts[name] for name in key], first.code, parts.from_us, parts.to_us, first.fault_us)
    failed = failed.filter(failed.fault_us < failed.to_us)
    lost = failed.group_by([*key, "code"]).agg(
        # The microsecond of the fault itself was still at risk.
        lost_us=(failed.to_us - ibis.greatest(failed.from_us, failed.fault_us + 1)).sum(),
        faulted=(failed.fault_us >= failed.from_us).sum(),
    )
    codes = first.select("ecu", "code").distinct()
    grid = total.join(codes, [total.ecu == codes.ecu]).select(
        *[total[name] for name in key], codes.code, total.total_us
    )
    joined = grid.left_join(lost, [grid[name] == lost[name] for name in [*key, "code"]])
    cells = joined.select(
        *[grid[name] for name in [*key, "code"]],
        faulted=lost.faulted.coalesce(0),
        exposure_us=grid.total_us - lost.lost_us.coalesce(0),
    )
    return cells.order_by([cells.ecu, cells.software_version, cells.code, cells.tick, cells.variant])


def versions_expression(spans: Any) -> Any:
    """Return how many vehicles were at risk per ECU and version, and when they were last seen."""
    return spans.group_by("ecu", "software_version").agg(
        vehicles=spans.vin.nunique(), last_us=spans.end_us.max()
    )


def reported_expression(faults: Any, first: Any) -> Any:
    """Return how many vehicles reported each code, at risk or not, and how many of them were at risk."""
    key = ["ecu", "software_version", "code"]
    all_of = faults.group_by(key).agg(reporting=faults.vin.nunique())
    counted = first.group_by(key).agg(counted=first.count(), first_us=first.fault_us.min())
    joined = all_of.left_join(counted, [all_of[name] == counted[name] for name in key])
    return joined.select(
        *[all_of[name] for name in key],
        all_of.reporting,
        counted=counted.counted.coalesce(0),
        first_us=counted.first_us,
    )


def clocks_expression(window: _Marks) -> Any:
    """Return how many exposure rows there are with and without a clock that can be believed."""
    rows = View.table("exposure")
    rows = rows.filter(rows.programme == window.programme)
    rows = rows.mutate(believed=rows.clock.isin(BELIEVED))
    return rows.group_by("believed").agg(rows=rows.count())


def _counts(answers: Mapping[str, list[dict[str, Any]]]) -> tuple[FaultCount, ...]:
    versions = {(row["ecu"], row["software_version"]): row for row in answers["versions"]}
    reported = {(row["ecu"], row["software_version"], row["code"]): row for row in answers["reported"]}
    cells: dict[tuple[str, str, str], list[Cell]] = {}
    for row in answers["cells"]:
        cells.setdefault((row["ecu"], row["software_version"], row["code"]), []).append(
            Cell(
                tick=row["tick"],
                stratum=row["variant"],
                faulted=int(row["faulted"]),
                exposure_us=int(row["exposure_us"]),  # DuckDB sums 64-bit integers into 128 bits
            )
        )
    counts = []
    for key in sorted(cells.keys() | reported.keys()):
        version = versions.get(key[:2])
        report = reported.get(key, {"reporting": 0, "counted": 0, "first_us": None})
        counts.append(
            FaultCount(
                ecu=key[0],
                software_version=key[1],
                fault_code=key[2],
                vehicles_exposed=version["vehicles"] if version else 0,
                vehicles_with_fault=report["counted"],
                vehicles_outside=report["reporting"] - report["counted"],
                first_fault_us=report["first_us"],
                last_observed_us=version["last_us"] if version else None,
                cells=tuple(cells.get(key, ())),
            )
        )
    return tuple(counts)
