from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.http.device.overload import Load, LoadPolicy, Shed, ShedState, decide_shed

POLICY = LoadPolicy(lag_ms=1_000, reports_waiting_max=1_000, calm_s=10.0)
NOTHING, POLLS, DOWNLOADS = Shed.NOTHING, Shed.POLLS, Shed.DOWNLOADS


@pytest.mark.parametrize(
    ("lag_ms", "waiting", "expected"),
    [
        (0, 0, NOTHING), (999, 499, NOTHING), (1_000, 0, POLLS), (0, 500, POLLS), (3_999, 799, POLLS),
        (4_000, 0, DOWNLOADS), (0, 800, DOWNLOADS), (10**9, 10**9, DOWNLOADS),
    ],
)  # fmt: skip
def test_polls_go_first_and_downloads_next(lag_ms: float, waiting: int, expected: Shed) -> None:
    load = Load(lag_ms=lag_ms, reports_waiting=waiting)
    assert decide_shed(POLICY, ShedState(), load, now_s=0.0).shed is expected


def walk(*steps: tuple[float, float]) -> list[Shed]:
    """Return what is let go after each (second, lag)."""
    state, seen = ShedState(), []
    for now_s, lag_ms in steps:
        state = decide_shed(POLICY, state, Load(lag_ms=lag_ms, reports_waiting=0), now_s=now_s)
        seen.append(state.shed)
    return seen


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, 5_000), (1, 0), (10.9, 0), (11, 0)], [DOWNLOADS, DOWNLOADS, DOWNLOADS, POLLS]),
        ([(0, 1_000), (1, 0), (11, 0), (12, 0), (22, 0)], [POLLS, POLLS, NOTHING, NOTHING, NOTHING]),
        ([(0, 5_000), (1, 0), (11, 0), (21, 0), (22, 0), (31, 0)], [DOWNLOADS, DOWNLOADS, POLLS, POLLS, POLLS, NOTHING]),
        ([(0, 1_000), (1, 600), (99, 600), (999, 501)], [POLLS] * 4),  # between half and whole: as it is
        ([(0, 1_000), (1, 0), (9, 600), (10, 0), (19, 0), (20, 0)], [POLLS] * 5 + [NOTHING]),  # the quiet was broken
        ([(0, 1_000), (1, 5_000)], [POLLS, DOWNLOADS]),
        ([(100, 1_000), (101, 0), (0, 0), (50, 0)], [POLLS] * 4),  # a clock that goes back never ends it early
    ],
)  # fmt: skip
def test_what_was_let_go_is_taken_on_again_step_by_step(
    steps: list[tuple[float, float]], expected: list[Shed]
) -> None:
    assert walk(*steps) == expected


@given(
    shed=st.sampled_from(Shed),
    calm_since_s=st.none() | st.floats(0, 100),
    now_s=st.floats(100, 200),
    lag_ms=st.floats(0, 10_000),
    waiting=st.integers(0, 2_000),
)
def test_more_load_never_lets_less_go(
    shed: Shed, calm_since_s: float | None, now_s: float, lag_ms: float, waiting: int
) -> None:
    state = ShedState(shed=shed, calm_since_s=calm_since_s)
    less = decide_shed(POLICY, state, Load(lag_ms=lag_ms, reports_waiting=waiting), now_s=now_s).shed
    more = decide_shed(POLICY, state, Load(lag_ms=lag_ms * 2, reports_waiting=waiting * 2), now_s=now_s).shed
    assert less <= more
    assert less >= shed - 1
