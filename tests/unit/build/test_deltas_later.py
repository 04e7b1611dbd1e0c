"""Deltas that could not be made: which are tried again, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringroad.build.deltas import make
from ringroad.build.deltas.choose import AGAIN_FIRST, AGAIN_LAST, NO_DELTA_STATUS, Later, Pair
from ringroad.protocol.delta.pieces import MalformedDelta

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ONE = Pair(
    release_id="r", ecu="head", ecu_class="linux", from_sha256="a", from_version="1", from_bytes=1,
    to_sha256="b", to_version="2", to_bytes=1, vehicles=1,
)  # fmt: skip
OTHER = replace(ONE, from_sha256="c")


def test_a_pair_that_failed_waits_longer_each_time_up_to_a_day_and_no_other_waits_for_it() -> None:
    later, now, waits = Later(), NOW, []
    for _ in range(10):
        until = later.hold(ONE, now=now)
        waits.append(until - now)
        assert later.without([ONE, OTHER], now=until - timedelta(seconds=1)) == [OTHER]
        assert later.without([ONE, OTHER], now=until) == [ONE, OTHER]
        now = until
    assert (waits[:2], waits[-1]) == ([AGAIN_FIRST, 2 * AGAIN_FIRST], AGAIN_LAST)


def test_a_pair_that_nobody_waits_for_any_more_is_forgotten() -> None:
    later = Later()
    later.hold(ONE, now=NOW)
    assert later.without([replace(ONE, state="ready")], now=NOW) == [replace(ONE, state="ready")]
    assert not later.held


def test_a_delta_that_is_none_ends_the_process_with_a_status_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def malformed(*_: object) -> None:
        raise MalformedDelta("it says more than the image holds")

    monkeypatch.setattr(make, "make_delta", malformed)
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    image = tmp_path / "image"
    image.write_bytes(b"image")
    with pytest.raises(SystemExit) as ended:
        make.main(["mcu", str(image), str(image), str(tmp_path / "delta")])
    assert ended.value.code == NO_DELTA_STATUS
