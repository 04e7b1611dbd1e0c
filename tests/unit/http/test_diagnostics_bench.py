"""What the diagnostics page makes of a vehicle's answers, well-formed or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from ringroad.http.console.diagnostics import (
    ComponentLine,
    JobLine,
    as_told,
    bench_of,
    chosen_of,
    said_of,
    watch_line,
)
from ringroad.http.console.render import page
from ringroad.http.diagnostics import updates_in, with_names, with_releases
from ringroad.http.views import EcuView
from ringroad.protocol.diagnostics import Method
from ringroad.protocol.names import EcuNames
from ringroad.signal.diagnose import Job, JobState, Sample

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def job(
    number: int, path: str, answer: Mapping[str, Any], *, method: Method = "GET", status: int = 200
) -> Job:
    at = NOW + timedelta(seconds=number)
    return Job(
        id=f"ask_{number}", session_id="s", vin="v", method=method, path=path, body={}, state="answered", made_at=at,
        expires_at=at, tries=1, status=status, answer=answer, answered_at=at + timedelta(milliseconds=1),
    )  # fmt: skip


def test_an_update_stands_as_it_was_told_of_last() -> None:
    listed = job(1, "/updates", {"items": [{"id": "7", "state": "ASSIGNED"}]})
    told = job(2, "/updates/7", {"id": "7", "state": "READY", "version": "2.0.0", "notes": "n"})
    begun = job(3, "/updates/7/execute", {"id": "7", "state": "INSTALLING"}, method="PUT")
    refused = job(4, "/updates/7/prepare", {"error": {"code": "prepared"}}, method="PUT", status=409)
    (found,) = bench_of([refused, begun, told, listed]).updates
    assert found == {"id": "7", "state": "INSTALLING", "version": "2.0.0", "notes": "n"}


def test_updates_are_shown_newest_first_with_their_times_and_their_ecus() -> None:
    past = {"id": "9", "state": "CANCELLED", "ended_at": "2026-10-26T12:00:00+00:00", "began_at": "yesterday"}
    listed = job(
        2, "/updates", {"items": [{"id": "10", "state": "READY"}, past, {"id": "x", "state": "FAILED"}]}
    )
    ecus = [{"component": "brake", "from_version": "1"}, "odd"]
    alone = job(3, "/updates/9", {"id": "9", "state": "CANCELLED", "components": ecus})
    # Without times an update stands by when it was told.
    ready, odd, cancelled = bench_of([listed, alone]).updates
    assert [ready["id"], odd["id"], cancelled["id"]] == ["10", "x", "9"]
    assert (cancelled["ended_at"], cancelled["began_at"]) == (datetime(2026, 10, 26, 12, tzinfo=UTC), None)
    assert cancelled["components"] == ecus[:1]


@pytest.mark.parametrize("value", [7, None, "2026-11-26T12:00:00", {}, "x" * 500])
def test_what_is_no_time_or_no_ecu_of_an_update_is_not_shown(value: object) -> None:
    said = {"id": "9", "state": "FAILED", "ended_at": value, "components": value}
    (found,) = bench_of([job(1, "/updates/9", said)]).updates
    assert (found["ended_at"], found["components"]) == (None, [])


STRANGER = "'SPARE-77' answers instead of 'BR-1'"
READ = {"state": "Online", "software_version": "1.0.0"}
EXCHANGED: list[tuple[str, dict[str, Any], int]] = [
    ("/functions/vehicle-health", {"items": [], "silent": [{"component": "brake", "code": "serial_mismatch", "message": STRANGER}]}, 200),
    ("/components/brake", {"state": "Offline", "reason": f"serial_mismatch: {STRANGER}"}, 200),
    ("/components/brake/faults", {"error": {"code": "serial_mismatch", "message": STRANGER}}, 409),
]  # fmt: skip


@pytest.mark.parametrize(("path", "answer", "status"), EXCHANGED)
def test_an_ecu_in_whose_place_another_one_answers_is_not_shown_as_it_was_read_before(
    path: str, answer: dict[str, Any], status: int
) -> None:
    listed = job(1, "/components", {"items": [{"name": "brake", "serial": "BR-1"}]})
    jobs = [listed, job(2, "/components/brake", READ), job(3, path, answer, status=status)]
    (brake,) = bench_of(jobs).components
    assert (brake.stranger, brake.may("clear")) == ("another ECU answers (SPARE-77)", False)
    (brake,) = bench_of([*jobs, job(4, "/components/brake", READ)]).components
    assert (brake.stranger, brake.may("clear")) == ("", True)


def test_an_ecu_that_refuses_otherwise_is_who_it_is() -> None:
    listed = job(1, "/components", {"items": [{"name": "brake", "serial": "BR-1"}]})
    silent = {"items": [], "silent": [{"component": "brake", "code": "unreachable", "message": STRANGER}, 7]}
    refused = job(3, "/components/brake/faults", {"error": {"code": "locked"}}, method="DELETE", status=423)
    (brake,) = bench_of([listed, job(2, "/functions/vehicle-health", silent), refused]).components
    assert brake.stranger == ""


def test_a_mode_that_expired_is_shown_as_fallen_back_with_when() -> None:
    ends = NOW + timedelta(seconds=60)
    until = ends.isoformat()
    modes = [
        {"id": "session", "value": "extended", "values": ["default", "extended"], "mode_expiration": until},
        {"id": "dtcsetting", "value": "on", "values": ["on", "off"], "mode_expiration": until},
    ]
    jobs = [
        job(1, "/components", {"items": [{"name": "brake"}]}),
        job(2, "/components/brake/modes", {"items": modes}),
    ]
    for now, expected in (
        (ends - timedelta(seconds=1), [("extended", ends, None), ("on", None, None)]),
        (ends, [("default", None, ends), ("on", None, None)]),
    ):
        (brake,) = bench_of(jobs, now=now).components
        assert [(each["value"], each["until"], each["ended"]) for each in brake.modes] == expected


def test_the_version_of_an_ecu_is_the_newest_of_what_was_read_and_of_the_vehicles_manifest() -> None:
    listed = job(1, "/components", {"items": [{"name": "brake"}]})
    (unread,) = bench_of([listed]).components
    (read,) = bench_of([listed, job(5, "/components/brake", READ)]).components
    assert read.read_at is not None
    before, after = read.read_at - timedelta(seconds=1), read.read_at + timedelta(seconds=1)

    def ecu_of(reported_at: datetime | None, version: str = "2.0.0") -> EcuView:
        return EcuView(
            serial="S", name="brake", hardware_id="h", is_primary=False, added_at=NOW, removed_at=None,
            version=version, filename=None, image_sha256=None, reported_at=reported_at, bus="CAN", os=None,
            supplier=None, storage=None,
        )  # fmt: skip

    def told(line: ComponentLine, reported_at: datetime | None) -> tuple[str, datetime | None, bool]:
        found = as_told(line, ecu_of(reported_at))
        assert found.bus == "CAN"
        return found.version, found.version_at, found.told

    assert told(read, before) == ("1.0.0", read.read_at, False)
    assert told(read, after) == ("2.0.0", after, True)
    assert told(read, None) == ("1.0.0", read.read_at, False)
    assert told(unread, before) == ("2.0.0", before, True)
    manifest = ecu_of(before)
    bare = job(5, "/components/brake", {"state": "Online", "mode": "bootloader", "software_version": ""})
    (empty,) = bench_of([listed, bare]).components
    found = as_told(empty, manifest)
    assert (found.mode, found.version, found.manifest, found.manifest_at) == (
        "bootloader",
        "",
        "2.0.0",
        before,
    )
    assert as_told(read, ecu_of(before, version="1.0.0")).manifest == ""  # they agree
    newer = as_told(empty, ecu_of(after))
    assert (newer.mode, newer.version, newer.told) == ("", "2.0.0", True)
    (offline,) = bench_of([listed, job(5, "/components/brake", {"state": "Offline"})]).components
    assert as_told(offline, manifest).version == "2.0.0"  # it said nothing against it


def test_updates_are_told_with_when_they_were_read() -> None:
    listed = job(1, "/updates", {"items": []})
    assert bench_of([listed]).updates_at == listed.answered_at
    assert bench_of([]).updates_at is None


@pytest.mark.parametrize(
    "answer", [{"items": [{"id": "7", "state": "FAILED"}, 7]}, {"id": "7"}, {"items": 7}]
)
def test_an_update_that_the_vehicle_did_not_read_gets_its_release_from_the_server(
    answer: dict[str, Any],
) -> None:
    told = with_releases(answer, {"7": ("wren-2", "2.0.0"), "8": ("wren-3", "3.0.0")})
    (found,) = [each for each in updates_in(told) if each.get("id") == "7"] or [{}]
    assert (found.get("release"), found.get("version")) == (
        ("wren-2", "2.0.0") if answer != {"items": 7} else (None, None)
    )


@pytest.mark.parametrize("answer", [{}, {"items": "x"}, {"items": [1]}, {"id": 7}, {"items": [{"id": None}]}])
def test_what_is_no_update_is_not_shown(answer: dict[str, Any]) -> None:
    assert bench_of([job(1, "/updates", answer)]).updates == []


NAMES = {"brake": EcuNames(data={"F195": "Softwarestand"}, faults={"C0051-00": "Raddrehzahl"})}


def test_what_is_watched_is_told_by_name_and_else_by_identifier() -> None:
    values = {
        "F195": {"value": "1.0"},
        "FD02": {"error": "timeout"},
        "no sense": {"value": 1},
        "cycles": {"value": 7},
    }
    path = "/components/brake/cyclic-subscriptions"
    line = watch_line(Sample(job_id="a", number=1, at=NOW, values=values, path=path), NAMES)
    assert (line.component, line.values) == (
        "brake",
        [("Softwarestand", "1.0"), ("FD02", "timeout"), ("cycles", 7)],
    )


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        (["components", "brake", "data", "F195"], {"id": "F195", "name": "software version", "data": 1}, {"id": "F195", "name": "Softwarestand", "data": 1}),
        (["components", "brake", "data"], {"items": [{"id": "F195", "name": "x"}, {"id": "F18C", "name": "y"}]}, {"items": [{"id": "F195", "name": "Softwarestand"}, {"id": "F18C", "name": "y"}]}),
        (["components", "gateway", "data", "F195"], {"id": "F195", "name": "software version"}, {"id": "F195", "name": "software version"}),
        (["components", "brake", "faults"], {"items": [{"code": "C0051-00"}, {"code": "P0001-00"}]}, {"items": [{"code": "C0051-00", "name": "Raddrehzahl"}, {"code": "P0001-00"}]}),
        (["components", "brake", "faults", "C0051-00"], {"code": "C0051-00", "status": 1}, {"code": "C0051-00", "status": 1, "name": "Raddrehzahl"}),
        (["components", "brake", "faults"], {"cleared": "all", "left": [{"code": "C0051-00"}]}, {"cleared": "all", "left": [{"code": "C0051-00", "name": "Raddrehzahl"}]}),
        (["functions", "vehicle-health"], {"items": [{"component": "brake", "code": "C0051-00"}, {"component": "x", "code": "C0051-00"}, 7]}, {"items": [{"component": "brake", "code": "C0051-00", "name": "Raddrehzahl"}, {"component": "x", "code": "C0051-00"}, 7]}),
        (["components", "brake", "data", "F195"], {"id": 7, "items": 7, "code": []}, {"id": 7, "items": 7, "code": []}),
    ],
)  # fmt: skip
def test_an_answer_gets_the_programmes_names_and_keeps_its_codes(
    path: list[str], answer: dict[str, Any], told: dict[str, Any]
) -> None:
    assert with_names(path, answer, NAMES) == told


def test_a_snapshots_time_is_shown_as_a_time() -> None:
    value = {"name": "time", "value": 1_790_000_000, "unit": "s since 1970"}
    around = {
        "environment_data": {
            "snapshots": [{"record": 1, "data": [value, {"name": "speed", "value": 4, "unit": "km/h"}]}]
        }
    }
    jobs = [
        job(1, "/components", {"items": [{"name": "brake"}]}),
        job(2, "/components/brake/faults", {"items": [{"code": "C0051-00", "status": 1}]}),
        job(3, "/components/brake/faults/C0051-00", around),
    ]
    (fault,) = bench_of(jobs, NAMES).faults
    assert fault.details is not None
    first, second = fault.details["snapshots"][0]["data"]
    assert (first["value"], first["unit"]) == ("2026-09-21 14:13:20 UTC", "")
    assert second["value"] == 4


def test_an_operation_stands_as_it_ended_whoever_asked_meanwhile_and_each_has_its_line() -> None:
    def began(number: int) -> dict[str, Any]:
        return {
            "id": f"ask_{number}", "component": "brake", "operation": "reset",
            "started_at": f"2026-11-01T00:00:0{number}+00:00",
        }  # fmt: skip

    place = "/components/brake/operations/reset/executions"
    first = job(1, place, {**began(1), "status": "completed"}, method="POST")  # as the vehicle told by itself
    looked = job(2, f"{place}/ask_1", {**began(1), "status": "running"})  # it was asked before that was told
    second = job(3, place, {**began(3), "status": "running"}, method="POST")
    newer, older = bench_of([second, looked, first]).operations
    assert (newer["id"], newer["status"], newer["over"]) == ("ask_3", "running", False)
    assert (older["id"], older["status"], older["over"]) == ("ask_1", "completed", True)
    assert older["began"] == NOW + timedelta(seconds=1)


def test_a_restart_ends_the_modes_that_were_read_before_it() -> None:
    listed = job(1, "/components", {"items": [{"name": "brake"}]})
    mode = {"id": "session", "value": "extended", "values": ["default", "extended"]}
    until = {"mode_expiration": (NOW + timedelta(minutes=1)).isoformat()}
    read = job(2, "/components/brake/modes", {"items": [{**mode, **until}]})
    said = {"id": "ask_3", "component": "brake", "operation": "reset", "status": "completed"}
    reset = job(3, "/components/brake/operations/reset/executions", said, method="POST")
    [line] = bench_of([listed, read, reset], now=NOW + timedelta(seconds=9)).components
    assert [(each["value"], each["ended"]) for each in line.modes] == [("default", reset.answered_at)]
    again = job(4, "/components/brake/modes/session", {"items": [{**mode, **until}]}, method="PUT")
    [line] = bench_of([listed, read, reset, again], now=NOW + timedelta(seconds=9)).components
    assert [each["value"] for each in line.modes] == ["extended"]


def test_what_surrounded_a_fault_is_not_shown_of_the_one_that_came_after_a_clearing() -> None:
    told = {"code": "P0A1F-00", "status": 9}
    details = job(1, "/components/brake/faults/P0A1F-00", {**told, "environment_data": {"snapshots": []}})
    cleared = job(2, "/components/brake/faults", {"cleared": "all", "left": []}, method="DELETE")
    again = job(3, "/components/brake/faults", {"items": [told]})
    [fault] = bench_of([details, cleared, again], known=["brake"]).faults
    assert (fault.details, fault.details_at) == (None, None)


def test_details_of_a_fault_are_stale_once_the_faults_were_read_again() -> None:
    around: dict[str, Any] = {"environment_data": {"snapshots": []}}
    jobs = [
        job(1, "/components", {"items": [{"name": "brake"}]}),
        job(2, "/components/brake/faults/C0051-00", around),
        job(3, "/functions/vehicle-health", {"items": [{"component": "brake", "code": "C0051-00"}]}),
    ]
    (fault,) = bench_of(jobs, NAMES).faults
    assert fault.stale
    (fault,) = bench_of([*jobs, job(4, "/components/brake/faults/C0051-00", around)], NAMES).faults
    assert (fault.stale, fault.details) == (False, {"snapshots": []})


def test_an_ecu_may_be_asked_for_what_it_offers_and_one_that_does_not_say_for_everything() -> None:
    listed = [{"name": "brake"}, {"name": "maps", "offers": ["data", "faults"]}, {"name": "odd", "offers": 7}]
    brake, maps, odd = bench_of([job(1, "/components", {"items": listed})]).components
    assert [each.may("clear") for each in (brake, maps, odd)] == [True, False, True]
    assert maps.may("data")


def test_data_and_modes_of_an_ecu_are_those_of_its_newest_answers() -> None:
    write = {"kind": "hex", "bytes": 4, "wanted": "8 hex digits"}
    jobs = [
        job(1, "/components", {"items": [{"name": "brake"}, {"name": "gateway"}]}),
        job(2, "/components/brake/data", {"items": [{"id": "0100", "name": "coding", "write": write}, {"id": "F195"}]}),
        job(3, "/components/brake/data/F186", {"id": "F186", "name": "session", "data": 1}),
        job(4, "/components/brake/modes", {"items": [{"id": "session", "value": "default"}]}),
        job(5, "/components/brake/modes/session", {"items": [{"id": "session", "value": "extended", "mode_expiration": "2026-11-01T00:01:00Z"}]}, method="PUT"),
    ]  # fmt: skip
    brake, gateway = bench_of(jobs).components
    assert [(each.did, each.value, each.write) for each in brake.data] == [
        ("0100", None, write),
        ("F186", 1, None),
        ("F195", None, None),
    ]
    assert [(each["value"], each["until"]) for each in brake.modes] == [
        ("extended", NOW + timedelta(minutes=1))
    ]
    assert (gateway.data, gateway.modes) == ([], [])
    done = {"id": "0100", "name": "coding", "data": "0a", "before": "0b", "write": write}
    (line, *_) = (
        bench_of([*jobs, job(6, "/components/brake/data/0100", done, method="PUT")]).components[0].data
    )
    assert (line.value, line.before, line.write) == ("0a", "0b", write)


@pytest.mark.parametrize(
    "answer", [{}, {"id": 7}, {"id": "XYZ1"}, {"items": "x"}, {"items": [{"id": "0100", "write": 7}]}]
)
def test_data_that_cannot_be_read_offers_nothing_to_write(answer: dict[str, Any]) -> None:
    jobs = [job(1, "/components", {"items": [{"name": "brake"}]})]
    jobs += [job(2, "/components/brake/data", answer), job(3, "/components/brake/data/0100", answer)]
    assert all(each.write is None for each in bench_of(jobs).components[0].data)


@pytest.mark.parametrize("until", [None, 7, "soon", "2026-11-01T00:01:00"])
def test_a_mode_whose_end_is_no_time_is_shown_without_one(until: Any) -> None:
    told = {"items": [{"id": "session", "value": "extended", "mode_expiration": until}]}
    jobs = [job(1, "/components", {"items": [{"name": "brake"}]}), job(2, "/components/brake/modes", told)]
    (mode,) = bench_of(jobs).components[0].modes
    assert mode["until"] is None


LEFT = [{"code": "P0A1F-00"}]


@pytest.mark.parametrize(
    ("listed", "path", "method", "answer", "expected"),
    [
        (True, "/faults/C0051-00", "DELETE", {"cleared": "C0051-00", "left": LEFT}, ["P0A1F-00"]),
        (False, "/faults/C0051-00", "DELETE", {"cleared": "C0051-00", "left": []}, []),
        (False, "/faults", "DELETE", {"cleared": "all", "left": []}, []),
        (False, "/faults", "GET", {"items": LEFT}, ["P0A1F-00"]),
        (True, "/faults/C0051-00", "GET", {"environment_data": {}}, ["C0051-00"]),
    ],
)
def test_a_fault_that_was_cleared_is_listed_no_more(
    listed: bool,  # noqa: FBT001 - a case
    path: str,
    method: Literal["GET", "DELETE"],
    answer: dict[str, Any],
    expected: list[str],
) -> None:
    jobs = [job(1, "/components", {"items": [{"name": "node"}]})] if listed else []
    jobs += [
        job(2, "/functions/vehicle-health", {"items": [{"component": "node", "code": "C0051-00"}]}),
        job(3, f"/components/node{path}", answer, method=method),
    ]
    assert [fault.code for fault in bench_of(jobs, NAMES).faults] == expected


@pytest.mark.parametrize("path", ["/components/brake/faults", "/components/brake/faults/C0051-00"])
def test_faults_that_were_cleared_are_not_called_read_until_they_are_read_again(path: str) -> None:
    jobs = [
        job(1, "/components", {"items": [{"name": "brake"}]}),
        job(2, "/functions/vehicle-health", {"items": [{"component": "brake", "code": "C0051-00"}]}),
        job(3, path, {"cleared": "all", "left": []}, method="DELETE"),
    ]
    assert bench_of(jobs[:2], NAMES).cleared_at is None
    assert bench_of(jobs, NAMES).cleared_at == jobs[2].answered_at
    again = job(4, "/functions/vehicle-health", {"items": []})
    assert bench_of([*jobs, again], NAMES).cleared_at is None


def test_faults_of_an_ecu_that_were_read_after_its_clearing_are_read_and_another_ecus_are_not() -> None:
    jobs = [
        job(1, "/functions/vehicle-health", {"items": [{"component": "brake", "code": "C0051-00"}]}),
        job(2, "/components/brake/faults/C0051-00", {"cleared": "C0051-00", "left": []}, method="DELETE"),
        job(3, "/components/brake/faults", {"items": [{"code": "C0051-00"}]}),
    ]
    bench = bench_of(jobs, NAMES)
    assert (bench.cleared_at, bench.faults_at) == (None, jobs[2].answered_at)
    other = job(4, "/components/adas/faults", {"cleared": "all", "left": []}, method="DELETE")
    bench = bench_of([*jobs, other], NAMES)
    assert (bench.cleared_at, bench.faults_at) == (other.answered_at, jobs[2].answered_at)


@pytest.mark.parametrize(
    ("state", "status", "word"),
    [("answered", 200, "answered"), ("answered", 404, "refused"), ("answered", 409, "refused"), ("queued", None, "queued")],
)  # fmt: skip
def test_an_answer_that_says_no_is_not_shown_as_one_that_went_well(
    state: JobState, status: int | None, word: str
) -> None:
    asked = replace(job(1, "/components", {}), state=state, status=status)
    assert JobLine(job=asked, said="").word == word


@pytest.mark.parametrize("exchanged", [True, False])
def test_the_page_offers_nothing_of_an_exchanged_ecu_but_to_read_it_again(*, exchanged: bool) -> None:
    path, answer, status = EXCHANGED[0]
    jobs = [
        job(1, "/components", {"items": [{"name": "brake", "serial": "BR-1"}]}),
        job(2, "/components/brake", READ),
        *([job(3, path, answer, status=status)] if exchanged else []),
    ]
    own = SimpleNamespace(state="open", scope="service", consent="test", expires_at=NOW)
    shown = page(
        "diagnostics.html", v=SimpleNamespace(vin="V", variant="v", programme_id="p"), own=own, bench=bench_of(jobs),
        chosen=chosen_of(bench_of(jobs).components, None),
        over=frozenset(), lines=[], permission="service", sessions=[], jobs=[],
    ).content  # fmt: skip
    assert 'aria-label="Read brake"' in shown
    for label in ("Faults of brake", "Lock brake", "Restart brake", "Clear the faults of brake"):
        assert (f'aria-label="{label}"' in shown) is not exchanged
    assert ("not confirmed: another ECU answers (SPARE-77)" in shown) is exchanged
    assert ("1.0.0" in shown) is not exchanged


def test_all_is_shown_of_the_component_that_the_address_names_or_of_the_only_one() -> None:
    brake, maps = (ComponentLine(name=name, path=f"components/{name}") for name in ("brake", "maps"))
    assert chosen_of([brake, maps], "maps") == maps
    assert chosen_of([brake], None) == brake
    for name in (None, "", "wheel"):
        assert chosen_of([brake, maps], name) is None


def test_the_faults_of_an_ecu_are_counted_once_it_was_asked() -> None:
    listed = job(1, "/components", {"items": [{"name": name} for name in ("brake", "maps", "radio", "seat")]})
    fault = {"code": "C0051-00", "status": 47}
    items = [{"component": name, **fault} for name in ("brake", "brake")]
    silent = [{"component": "radio", "message": "no answer"}, "odd"]
    health = job(2, "/functions/vehicle-health", {"items": items, "silent": silent})
    assert [each.faults for each in bench_of([listed]).components] == [None] * 4
    assert [each.faults for each in bench_of([listed, health]).components] == [2, 0, None, 0]
    alone = job(3, "/components/radio/faults", {"items": [fault]})
    assert [each.faults for each in bench_of([listed, health, alone]).components] == [2, 0, 1, 0]


def test_an_ecu_that_did_not_answer_has_no_count_of_faults_and_one_that_said_it_has_that() -> None:
    listed = job(1, "/components", {"items": [{"name": "brake"}]})
    before = job(2, "/components/brake/faults", {"items": []})
    silent = job(
        3, "/functions/vehicle-health", {"items": [], "silent": [{"component": "brake", "message": "-"}]}
    )
    shown = job(4, "/components/brake", {"state": "Online", "mode": "bootloader", "faults": 1})
    after = job(5, "/components/brake/faults", {"items": []})
    counts = [
        bench_of(jobs).components[0].faults
        for jobs in (
            [listed, silent], [listed, before, silent], [listed, before, silent, shown],
            [listed, shown, after], [listed, job(4, "/components/brake", {"faults": "many"})],
        )
    ]  # fmt: skip
    assert counts == [None, None, 1, 0, None]
    (away,) = bench_of(
        [listed, job(2, "/components/brake", {"state": "Online", "faults": 0}), silent]
    ).components
    assert (away.faults, away.silent_at) == (None, silent.answered_at)
    assert bench_of([listed, silent, shown]).components[0].silent_at is None
    assert "did not answer</span>" in page_of([listed, silent])
    assert bench_of([listed, before, silent]).silent == {"-": ["brake"]}
    assert bench_of([listed, silent, after]).silent == {}


def page_of(jobs: list[Job], *, now: datetime | None = None, known: tuple[str, ...] = ()) -> str:
    bench = bench_of(jobs, now=now, known=known)
    own = SimpleNamespace(state="open", scope="service", consent="test", expires_at=NOW)
    return str(page(
        "diagnostics.html", v=SimpleNamespace(vin="V", variant="v", programme_id="p"), own=own, bench=bench,
        chosen=chosen_of(bench.components, None), over=frozenset(), lines=[], permission="service", sessions=[], jobs=[],
    ).content)  # fmt: skip


@pytest.mark.parametrize(
    ("silent", "known", "says"),
    [
        (("brake", "gateway"), ("brake", "gateway"), "No ECU answered"),
        (("brake", "gateway"), (), "No ECU answered"),
        (("brake",), ("brake", "gateway"), "No faults in 1 of 2 ECUs"),
        ((), ("brake", "gateway"), "Every ECU answered, and none has one."),
        ((), ("brake",), "The ECU answered, and has none."),
    ],
)
def test_no_faults_are_said_of_the_ecus_that_answered_alone(
    silent: tuple[str, ...], known: tuple[str, ...], says: str
) -> None:
    told = [{"component": name, "code": "unreachable", "message": "no answer"} for name in silent]
    shown = page_of([job(1, "/functions/vehicle-health", {"items": [], "silent": told})], known=known)
    assert says in shown
    assert ("none has one" in shown) == (not silent and len(known) > 1)


def test_a_bootloader_and_what_the_manifest_says_against_it_stand_on_the_row() -> None:
    jobs = [
        job(1, "/components", {"items": [{"name": "brake"}, {"name": "gateway"}]}),
        job(2, "/components/brake", {"state": "Online", "mode": "bootloader", "software_version": ""}),
        job(3, "/components/gateway", {**READ, "mode": "application"}),
    ]
    shown = page_of(jobs)
    assert shown.count("in its bootloader") == 1
    assert shown.count('<span class="state is-bad">none</span>') == 1
    assert "<small>application</small>" in shown


LOCKS = "/components/brake/locks"


def test_a_lock_is_shown_until_it_is_over_or_the_vehicle_says_that_there_is_none() -> None:
    until = NOW + timedelta(minutes=10)
    held = {"items": [{"component": "brake", "by": "ole", "expires_at": until.isoformat()}]}
    jobs = [job(1, "/components", {"items": [{"name": "brake"}]}), job(2, LOCKS, held, method="POST")]
    (brake,) = bench_of(jobs, now=until - timedelta(seconds=1)).components
    assert brake.lock is not None
    assert (brake.lock.by, brake.lock.until, brake.lock.as_of) == ("ole", until, jobs[1].answered_at)
    assert "ole <small>until" in page_of(jobs, now=NOW)
    assert bench_of(jobs, now=until).components[0].lock is None
    for gone in (
        job(3, LOCKS, {"items": []}, method="DELETE"),
        job(3, "/components/brake/faults", {"error": {"code": "lock_needed"}}, method="DELETE", status=409),
    ):
        assert bench_of([*jobs, gone], now=NOW).components[0].lock is None
    other = job(
        3, "/components/gateway/faults", {"error": {"code": "lock_needed"}}, method="DELETE", status=409
    )
    assert bench_of([*jobs, other], now=NOW).components[0].lock is not None


@pytest.mark.parametrize("items", [[{"by": "ole"}], [{"by": "ole", "expires_at": 7}], [7], "x"])
def test_a_lock_without_an_end_is_not_shown(items: object) -> None:
    jobs = [job(1, "/components", {"items": [{"name": "brake"}]}), job(2, LOCKS, {"items": items})]
    assert bench_of(jobs).components[0].lock is None


def test_components_stand_by_their_bus_and_offer_what_changes_them_only_when_chosen() -> None:
    names = ("brake", "gateway", "airbag")
    jobs = [job(1, "/components", {"items": [{"name": name, "serial": name.upper()} for name in names]})]
    bench = bench_of(jobs)
    buses = {"brake": "CAN", "gateway": "DoIP", "airbag": "CAN"}
    bench = replace(bench, components=[replace(each, bus=buses[each.name]) for each in bench.components])
    own = SimpleNamespace(state="open", scope="service", consent="test", expires_at=NOW)
    for chosen in (None, "airbag"):
        shown = page(
            "diagnostics.html", v=SimpleNamespace(vin="V", variant="v", programme_id="p"), own=own, bench=bench,
            chosen=chosen_of(bench.components, chosen), over=frozenset(), lines=[], permission="service", sessions=[],
            jobs=[],
        ).content  # fmt: skip
        places = [
            shown.index(text)
            for text in ("CAN · 2 ECUs", ">brake<", ">airbag<", "DoIP · 1 ECU<", ">gateway<")
        ]
        assert places == sorted(places)
        assert [f'aria-label="Lock {name}"' in shown for name in names] == [False, False, chosen is not None]


@pytest.mark.parametrize(
    ("state", "tries", "says"),
    [
        ("queued", 1, "no answer yet; it was sent 1 time, and is sent until 26 Nov 12:15:00 UTC"),
        ("queued", 0, "no answer yet; it was sent 0 times, and is sent until 26 Nov 12:15:00 UTC"),
        ("expired", 9, "no answer until 26 Nov 12:15:00 UTC; it was sent 9 times, and is sent no more"),
        ("cancelled", 1, "no answer before it was taken back or its session ended; it was sent 1 time"),
        ("answered", 1, ""),
    ],
)
def test_a_request_that_waits_or_waited_in_vain_says_until_when(
    state: JobState, tries: int, says: str
) -> None:
    until = datetime(2026, 11, 26, 12, 15, tzinfo=UTC)
    asked = replace(job(1, "/components", {}), state=state, tries=tries, expires_at=until)
    assert said_of(asked) == says
