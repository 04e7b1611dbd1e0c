"""The load of `make bench-hawkbit`, against answers of the shape that hawkBit documents, and against us."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest
from benchmarks import hawkbit
from benchmarks.gateway import vin
from benchmarks.hawkbit import TOKEN, Hawkbit, Load, find_jar, measure_all, missing, ringroad

from support.hawkbit_shape import shaped_like_hawkbit

LOAD = Load(targets=24, devices=10, polls=200)
UPDATED = [vin(number) for number in range(1, 11)]


def test_hawkbit_is_asked_what_it_documents() -> None:
    with (
        shaped_like_hawkbit() as state,
        httpx.Client(
            base_url=f"http://127.0.0.1:{state.port}", auth=("admin", "admin"), timeout=60
        ) as client,
    ):
        server = Hawkbit(state.port, os.getpid(), client)
        server.prepare(LOAD.targets)
        found = measure_all(server, LOAD)
    assert state.refused == []
    assert state.configs == {"authentication.targettoken.enabled": True}
    assert state.tokens == {vin(number): TOKEN for number in range(1, 25)}
    assert [rollout["status"] for rollout in state.rollouts.values()] == ["ready", "finished"]
    assert sorted(state.closed) == UPDATED
    assert found.make_s > 0


@pytest.mark.engines
def test_the_same_load_runs_against_us_to_its_end() -> None:
    with ringroad(LOAD) as server:
        found = measure_all(server, LOAD)
    assert found.campaign_s > 0


def test_a_jar_that_is_not_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HAWKBIT_JAR", str(tmp_path / "none.jar"))
    assert find_jar("HAWKBIT_JAR", hawkbit.HAWKBIT) is None
    assert missing("HAWKBIT_JAR", hawkbit.HAWKBIT) == "HAWKBIT_JAR names no file"
    (tmp_path / "one.jar").write_bytes(b"")
    monkeypatch.setenv("HAWKBIT_JAR", str(tmp_path / "one.jar"))
    assert find_jar("HAWKBIT_JAR", hawkbit.HAWKBIT) == tmp_path / "one.jar"
    monkeypatch.delenv("HAWKBIT_JAR")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # where nothing was fetched before
    assert find_jar("HAWKBIT_JAR", hawkbit.HAWKBIT) is None
    assert "there is no mvn that could ask Maven for org.eclipse" in missing("HAWKBIT_JAR", hawkbit.HAWKBIT)
