"""Samples from a file: what nobody keeps current is no evidence."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringroad.protocol.preconditions import evaluate, parse_precondition
from ringroad.vehicle.signals import FILE_AGE_S_MAX, FILE_BYTES_MAX, FileSignals

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def signals(folder: Path, content: bytes, *, age_s: float = 0) -> FileSignals:
    path = folder / "signals.json"
    path.write_bytes(content)
    written_s = NOW.timestamp() - age_s
    os.utime(path, (written_s, written_s))
    return FileSignals(path)


@pytest.mark.parametrize(
    ("age_s", "allowed"),
    [(0, True), (FILE_AGE_S_MAX, True), (FILE_AGE_S_MAX + 1, False), (-FILE_AGE_S_MAX - 1, False)],
)
def test_a_file_that_nobody_keeps_current_allows_nothing(
    tmp_path: Path, *, age_s: float, allowed: bool
) -> None:
    source = signals(tmp_path, b'{"Vehicle.Speed": 0}', age_s=age_s)
    samples = {sample.path: sample for sample in source.read(NOW)}
    refusal = evaluate(parse_precondition("Vehicle.Speed == 0").expression, samples, now=NOW)
    assert (refusal is None) is allowed


@pytest.mark.parametrize(("age_s", "allowed"), [(4, True), (6, False), (50, False)])
def test_the_samples_of_a_file_are_as_old_as_the_file(tmp_path: Path, *, age_s: float, allowed: bool) -> None:
    source = signals(tmp_path, b'{"Vehicle.Speed": 0}', age_s=age_s)
    samples = {sample.path: sample for sample in source.read(NOW)}
    term = parse_precondition("Vehicle.Speed == 0 WITHIN 5")
    refusal = evaluate(term.expression, samples, now=NOW, age_s_max=term.age_s_max)
    assert (refusal is None) is allowed


def test_a_file_of_the_future_is_no_newer_than_now(tmp_path: Path) -> None:
    (sample,) = signals(tmp_path, b'{"Vehicle.Speed": 0}', age_s=-3).read(NOW)
    assert sample.at == NOW


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b'{"Vehicle.Speed": null}',
        b" " * (FILE_BYTES_MAX + 1),
        b'{"Vehicle.Speed": ' + b"[" * 10_000,
        b'{"Vehicle.Speed": "\xff"}',
    ],
)
def test_a_file_that_does_not_read_gives_no_samples(tmp_path: Path, content: bytes) -> None:
    assert signals(tmp_path, content).read(NOW) == []


def test_a_missing_file_gives_no_samples(tmp_path: Path) -> None:
    assert FileSignals(tmp_path / "nothing").read(NOW) == []
