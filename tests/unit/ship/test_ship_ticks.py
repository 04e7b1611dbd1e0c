"""Rows of counts: only ever added, late arrivals included, and the same rows say the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.arm_counts import CONTROL, TREATED, ArmCell, ArmSum
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.ticks import TickRow, mean_rows, rate_rows, readings_of

FAULT = MetricName.FAULT
BOOT = MetricName.BOOT_TIME
POLICY = SequentialPolicy(
    metrics=(
        Metric(name=MetricName.INSTALL_FAILED, margin_milli=3_000),
        Metric(name=FAULT, margin_milli=1_250),
        Metric(name=BOOT, margin_milli=1_100, path="Vehicle.BootTime"),
    )
)


def cell(arm: str, events: int, amount: int, *, tick: int = 1, stratum: str = "city") -> ArmCell:
    return ArmCell(arm=arm, stratum=stratum, tick=tick, events=events, amount=amount)


def row(*counts: int, tick: int = 1, metric: MetricName = FAULT, stratum: str = "city") -> TickRow:
    return TickRow(metric=metric, tick=tick, stratum=stratum, counts=counts)


def test_the_first_measure_is_recorded_as_it_is() -> None:
    cells = [
        cell(TREATED, 2, 100),
        cell(CONTROL, 1, 900),
        cell(CONTROL, 0, 50, stratum="van"),
        cell(TREATED, 1, 7, tick=0),
    ]
    assert rate_rows(FAULT, cells, []) == (
        row(1, 0, 7, 0, 7, 0, tick=0),
        row(2, 1, 100, 900, 100, 900),
        row(0, 0, 0, 50, 0, 50, stratum="van"),
    )


def test_a_repeated_measure_adds_nothing_and_a_late_arrival_one_row() -> None:
    first = rate_rows(FAULT, [cell(TREATED, 2, 100), cell(CONTROL, 1, 900)], [])
    assert rate_rows(FAULT, [cell(TREATED, 2, 100), cell(CONTROL, 1, 900)], first) == ()
    late = rate_rows(FAULT, [cell(TREATED, 3, 120), cell(CONTROL, 1, 900)], first)
    assert late == (row(1, 0, 120, 900, 20, 0),)
    assert rate_rows(FAULT, [cell(TREATED, 3, 120), cell(CONTROL, 1, 900)], [*first, *late]) == ()


def test_what_was_counted_is_never_taken_back() -> None:
    """An earlier event that arrives late ends the time at risk of its vehicle: the later tick shrinks."""
    first = rate_rows(FAULT, [cell(TREATED, 1, 100), cell(CONTROL, 1, 900)], [])
    assert rate_rows(FAULT, [cell(TREATED, 0, 0), cell(CONTROL, 1, 900)], first) == ()
    one_more = rate_rows(FAULT, [cell(TREATED, 2, 0), cell(CONTROL, 1, 900)], first)
    assert one_more == (row(1, 0, 100, 900, 0, 0),)


def test_readings_count_late_time_at_risk_once() -> None:
    rows = [row(2, 1, 100, 900, 100, 900), row(1, 0, 120, 900, 20, 0)]
    (fault, boot) = readings_of(POLICY, rows)
    assert (fault.treated, fault.control) == (3, 1)
    assert (fault.treated_exposure, fault.control_exposure) == (120, 900)
    assert boot.metric is BOOT
    assert not boot.known


@settings(max_examples=40, deadline=None)  # a shared machine may be slow
@given(st.lists(st.tuples(*[st.integers(0, 9)] * 2, *[st.integers(1, 10**9)] * 4), max_size=9), st.randoms())
def test_the_same_rows_say_the_same_in_any_order(rows: list[tuple[int, ...]], rng: random.Random) -> None:
    given_rows = [row(*counts, tick=tick) for tick, counts in enumerate(rows)]
    assert readings_of(POLICY, rng.sample(given_rows, len(given_rows))) == readings_of(POLICY, given_rows)


def test_an_event_of_an_arm_that_was_never_at_risk_is_no_evidence() -> None:
    (fault, _) = readings_of(POLICY, [row(3, 0, 0, 900, 0, 900)])
    assert (fault.treated, fault.log_e_micronats) == (0, 0)


def total(arm: str, *values: float) -> ArmSum:
    return ArmSum(
        arm=arm,
        stratum="city",
        tick=1,
        count=len(values),
        total=sum(values),
        squares=sum(v * v for v in values),
    )


def test_measurements_are_kept_as_sums_and_read_as_means() -> None:
    slow = [4.0 + 0.1 * (number % 7) for number in range(80)]
    quick = [3.0 + 0.1 * (number % 7) for number in range(80)]
    rows = mean_rows(BOOT, [total(TREATED, *slow), total(CONTROL, *quick)], [])
    assert mean_rows(BOOT, [total(TREATED, *slow), total(CONTROL, *quick)], rows) == ()
    (_, boot) = readings_of(POLICY, rows)
    assert boot.point_milli == pytest.approx(1_303, abs=2)
    assert boot.exceeded
    assert boot.low_milli > 1_250


def test_measurements_that_vanish_take_nothing_away() -> None:
    rows = mean_rows(BOOT, [total(TREATED, 1.0, 2.0), total(CONTROL, 1.0)], [])
    assert mean_rows(BOOT, [total(TREATED, 1.0), total(CONTROL, 1.0, 3.0)], rows) == ()
    assert mean_rows(BOOT, [total(TREATED, 1.0, 2.0), total(CONTROL, 1.0, 3.0)], rows) == (
        row(0, 0, 0, 1, 3_000_000, 9_000_000_000_000, metric=BOOT),
    )


@pytest.mark.parametrize("counts", [(1, 5, 25, 9, 9, 9), (9, 9, 9, 1, 5, 25), (0, 0, 0, 0, 0, 0)])
def test_one_vehicle_alone_has_no_variance(counts: tuple[int, ...]) -> None:
    (_, boot) = readings_of(POLICY, [row(*counts, metric=BOOT)])
    assert not boot.known
