"""The pure parts of console and accounts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.adapt.lead_time import lap_report
from ringroad.http import auth
from ringroad.http.auth import Account, Role, Throttle
from ringroad.http.console.lap_bars import lap_bar
from ringroad.http.console.plant import held_back, last_repair, moved_share
from ringroad.http.console.render import brief, segments, shares, span
from ringroad.http.console.session import safe_path
from ringroad.http.console.ship import figures, returns_key, waves
from ringroad.http.events import render_event
from ringroad.http.views import CampaignView, LapView, WaveCount
from ringroad.http.views_build import ScheduleView
from ringroad.kernel.errors import Forbidden, InvalidInput
from ringroad.kernel.facts import Fact, FactKind

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SALT = b"s" * auth.SALT_BYTES


def test_held_orders_are_counted_by_reason() -> None:
    blocked = [{"order_id": f"order_{count}", "reason": "tow_bar is blocked"} for count in range(3)]
    assert held_back({"held": [{"order_id": "order_9", "reason": "no baseline"}, *blocked]}) == [
        (3, "tow_bar is blocked"),
        (1, "no baseline"),
    ]
    assert held_back({"held": []}) == held_back({}) == []


def test_the_share_of_moved_vehicles_is_of_the_schedule_that_rules_and_of_the_newest_repair() -> None:
    searched, repaired, first = (
        ScheduleView(
            id=cause, programme_id="wren", generation=3, parent_id=None, cause=cause, made_at=NOW,
            document=document, replan_latency_us=1,
        )
        for cause, document in (
            ("improved", {"sequence": ["a", "b", "c"], "moved": 2}),
            ("blocked_part", {"sequence": ["a", "b", "c", "d"], "moved": 1}),
            ("new_orders", {"sequence": []}),
        )
    )  # fmt: skip
    assert last_repair([searched, repaired, first]) is repaired
    assert last_repair([first, repaired]) is first
    assert [moved_share(each) for each in (searched, repaired, first)] == ["66.6 %", "25 %", "–"]


def test_a_lap_is_shown_since_its_first_signal() -> None:
    signalled, opened = (
        Fact(
            id=f"fact_{minute}", kind=kind, subject="x", lap_id="lap_1", causes=(), actor="test", work_started_at=at,
            event_at=at, recorded_at=at, body={},
        )
        for minute, kind in ((0, FactKind.SIGNAL_OBSERVED), (10, FactKind.FINDING_OPENED))
        for at in [NOW - timedelta(minutes=30 - minute)]
    )  # fmt: skip
    view = LapView(
        id="lap_1", title="t", opened_at=opened.event_at, finding_id=None, finding_title=None, finding_state=None,
        verdict=None, latest_kind=None,
    )  # fmt: skip
    bar = lap_bar(view, lap_report([signalled, opened], NOW))
    assert bar.started_at == signalled.event_at < view.opened_at
    assert lap_bar(view, None).started_at == view.opened_at


def test_a_password_is_verified_and_nothing_else_is() -> None:
    stored = auth.hash_password("correct horse battery", SALT)
    assert "correct" not in stored
    assert auth.verify_password("correct horse battery", stored)
    assert not auth.verify_password("correct horse batterY", stored)
    assert not auth.verify_password("correct horse battery", None)


@pytest.mark.parametrize("password", ["", "short", "x" * (auth.PASSWORD_CHARS_MAX + 1)])
def test_a_password_has_a_length(password: str) -> None:
    with pytest.raises(InvalidInput):
        auth.hash_password(password, SALT)


@pytest.mark.parametrize(
    ("held", "needed", "may"),
    [(Role.VIEWER, Role.VIEWER, True), (Role.VIEWER, Role.OPERATOR, False), (Role.OPERATOR, Role.APPROVER, False),
     (Role.APPROVER, Role.OPERATOR, True), (Role.ADMIN, Role.APPROVER, True)],
)  # fmt: skip
def test_each_role_includes_those_before_it(held: Role, needed: Role, *, may: bool) -> None:
    account = Account(name="a", role=held, via="api")
    assert account.may(needed) is may
    if not may:
        with pytest.raises(Forbidden):
            account.require(needed)


def test_the_wait_doubles_is_bounded_and_passes() -> None:
    throttle = Throttle()
    waits = []
    for _ in range(20):
        waits.append(throttle.wait_s("name x", now=NOW))
        throttle.failed("name x", now=NOW)
    assert waits[:8] == [0, 0, 0, 0, 0, 2, 4, 8]
    assert max(waits) == Throttle.WAIT_S_MAX
    assert throttle.wait_s("name y", now=NOW) == 0
    assert throttle.wait_s("name x", now=NOW + timedelta(seconds=Throttle.WAIT_S_MAX)) == 0


def test_strangers_cannot_fill_the_throttle() -> None:
    throttle = Throttle()
    for number in range(Throttle.KEYS_MAX + 10):
        throttle.failed(f"name {number}", now=NOW)
    assert len(throttle._failures) == Throttle.KEYS_MAX


@pytest.mark.parametrize(
    ("given_path", "expected"),
    [("/fleet?state=failed", "/fleet?state=failed"), ("//evil.example", "/"), ("/\\evil.example", "/"),
     ("https://evil.example/", "/"), ("javascript:alert(1)", "/"), ("/a\nb", "/"), ("", "/")],
)  # fmt: skip
def test_a_login_goes_on_to_this_site_only(given_path: str, expected: str) -> None:
    assert safe_path(given_path) == expected


@given(st.lists(st.floats(min_value=0, max_value=1e9), max_size=20))
def test_bar_segments_fill_the_bar_and_never_overlap(sizes: list[float]) -> None:
    made = segments([("c", size, "") for size in sizes])
    ends = 0.0
    for part in made:
        assert abs(part["x"] - ends) < 0.1 * len(sizes)
        ends = part["x"] + part["width"]
    assert not made or abs(ends - 1000) < 0.1 * len(sizes)


@pytest.mark.parametrize(
    ("length", "expected"),
    [(timedelta(seconds=2.34), "2.3 s"), (timedelta(seconds=59), "59 s"), (timedelta(minutes=61), "1 h 1 min"),
     (timedelta(days=3, hours=2), "3 d 2 h"), (timedelta(), "0.0 s")],
)  # fmt: skip
def test_lengths_of_time_read_well(length: timedelta, expected: str) -> None:
    assert span(length) == expected


def test_ids_are_shortened_and_vins_are_not() -> None:
    assert brief("campaign_01j9zzzzzzzzzzzzzzzzabcdef") == "campaign …zzabcdef"
    assert brief("WRRZZZ90000000001") == "WRRZZZ90000000001"


@given(st.text())
def test_an_event_cannot_be_split_by_its_payload(payload: str) -> None:
    event = render_event(payload)
    assert event.count("\n") == 3
    assert "\r" not in event


def test_vehicles_on_a_step_of_their_way_are_under_way() -> None:
    counts = [WaveCount(wave=1, state="pending", vehicles=9, newest_report_at=None, on_the_way=8)]
    (bar,) = waves(counts)
    assert [part["title"] for part in bar["segments"]] == ["8 under way", "1 waiting or withdrawn"]


def test_vehicles_that_store_a_release_are_neither_to_come_nor_installed() -> None:
    at = datetime(2026, 11, 26, tzinfo=UTC)
    (bar,) = waves(
        WaveCount(wave=1, state=state, vehicles=vehicles, newest_report_at=at)
        for state, vehicles in (("downloaded", 6), ("expired", 2), ("failed", 1), ("offered", 1))
    )
    assert bar["text"] == "6 of 10 downloaded, 1 failed, 2 silent"
    assert [part["title"] for part in bar["segments"]] == [
        "6 downloaded", "1 under way", "1 failed or rolled back", "2 silent past deadline",
    ]  # fmt: skip
    campaign = CampaignView(
        id="c", name="stock", release_id="r", release_version="2", release_name="two", lap_id=None, state="running",
        state_reason="", wave=1, plan_id="p", generation=1, created_by="ann", created_at=at, finished_at=None,
        vehicles=12, installed=0, downloaded=6, failed=3, silent=2, cancelled=2,
    )  # fmt: skip
    assert [part["title"] for part in shares(campaign)] == [
        "6 downloaded", "1 failed", "2 silent past deadline", "1 to come", "2 cancelled",
    ]  # fmt: skip


def test_a_vehicle_that_began_to_install_and_never_came_back_failed() -> None:
    (bar,) = waves([WaveCount(wave=1, state="expired", vehicles=5, newest_report_at=None, lost=3)])
    assert bar["text"] == "0 of 5 installed, 3 failed, 2 silent"
    assert [part["title"] for part in bar["segments"]] == [
        "3 failed or rolled back",
        "2 silent past deadline",
    ]


def test_vehicles_that_went_back_are_shown_apart_from_those_that_run_the_release() -> None:
    at = datetime(2026, 11, 26, tzinfo=UTC)
    counts = [
        WaveCount(wave=1, state="failed", vehicles=2, newest_report_at=at),
        WaveCount(wave=1, state="installed", vehicles=6, newest_report_at=at, returned=5),
    ]
    (bar,) = waves(counts)
    assert bar["text"] == "1 of 8 installed, 5 returned, 2 failed"
    assert [part["title"] for part in bar["segments"]] == [
        "1 installed",
        "5 returned",
        "2 failed or rolled back",
    ]
    campaign = CampaignView(
        id="c", name="stock", release_id="r", release_version="2", release_name="two", lap_id=None, state="halted",
        state_reason="", wave=1, plan_id="p", generation=1, created_by="ann", created_at=at, finished_at=None,
        vehicles=8, installed=6, downloaded=0, failed=2, returns_ordered=7, returned=6, gone_back=5,
    )  # fmt: skip
    assert [part["title"] for part in shares(campaign)] == ["1 installed", "5 returned", "2 failed"]
    told = {text: number for number, text, _ in figures(campaign, counts)}
    assert (told["vehicles"], told["installed"], told["returned"]) == (8, 1, 5)


def test_the_figures_of_a_campaign_account_for_every_vehicle() -> None:
    at = datetime(2026, 11, 26, tzinfo=UTC)
    states = (
        "pending", "offered", "active", "claimed", "cancelling", "downloaded", "installed", "failed", "rolled_back",
        "expired", "cancelled",
    )  # fmt: skip
    campaign = CampaignView(
        id="c", name="stock", release_id="r", release_version="2", release_name="two", lap_id=None, state="running",
        state_reason="", wave=1, plan_id="p", generation=1, created_by="ann", created_at=at, finished_at=None,
        vehicles=11, installed=1, downloaded=1, failed=3, cancelled=1,
    )  # fmt: skip
    counts = [WaveCount(wave=1, state=state, vehicles=1, newest_report_at=at) for state in states]
    (whole, *parts) = [number for number, _, _ in figures(campaign, counts)]
    assert whole == sum(parts)


def test_who_goes_back_is_worked_out_again_at_the_end_and_not_with_each_vehicle_that_is_back() -> None:
    at = datetime(2026, 11, 26, tzinfo=UTC)

    def key(**counts: Any) -> str:
        return returns_key(
            CampaignView(
                id="c", name="stock", release_id="r", release_version="2", release_name="two", lap_id=None,
                state="halted", state_reason="", wave=1, plan_id="p", generation=1, created_by="ann", created_at=at,
                finished_at=None, vehicles=11, installed=9, downloaded=0, failed=0, **counts,
            )
        )  # fmt: skip

    under_way = key(returns_ordered=5)
    assert key(returns_ordered=5, returned=1) == key(returns_ordered=5, returned=4) == under_way
    others = [
        key(), key(returns_ordered=6), key(returns_ordered=5, returned=5),
        key(returns_ordered=5, returned=1, returns_failed=1),
    ]  # fmt: skip
    assert len({under_way, *others}) == 5
