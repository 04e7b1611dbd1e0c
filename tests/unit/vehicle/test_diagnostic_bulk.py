"""Bulk data: what leaves the vehicle and what does not, in chunks that fit one answer, and in ranges."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.diagnostics import (
    ANSWER_BYTES_MAX,
    BULK_BYTES_MAX,
    BULK_CHUNK_BYTES_MAX,
    DiagnosticAnswer,
    parse_range,
)
from ringroad.protocol.vehicle import Sample, VehicleState
from ringroad.vehicle import observe
from ringroad.vehicle.diagnostics.bulk import (
    LOG_LINES_MAX,
    TEXTS_MAX,
    JournalLines,
    LogRing,
    cleaned,
    signal_lines,
    text_of,
)
from ringroad.vehicle.diagnostics.places import names_position
from ringroad.vehicle.diagnostics.testers import add_tester
from ringroad.vehicle.journal import Journal
from ringroad.vehicle.kept import PastEcu, PastUpdate
from ringroad.vehicle.memory import JOURNAL_NAME, compacted
from ringroad.vehicle.observe import SampleRing, keep_ring
from ringroad.vehicle.records import encode_entry
from ringroad.vehicle.small_http import Request
from ringroad.vehicle.states import CampaignState, Opened
from support.diagnosed import FAULT, Bench, bench, open_session
from support.uptane import NOW
from support.vehicle_world import DeskClock, DeskSignals

Story = Callable[[Bench], Awaitable[None]]


def run(folder: Path, story: Story) -> None:
    async def whole() -> None:
        async with bench(folder) as at:
            await open_session(at, scope="read")
            await story(at)

    asyncio.run(asyncio.wait_for(whole(), 120))


def code_of(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


async def read(at: Bench, place: str, *, length: int = BULK_CHUNK_BYTES_MAX) -> list[Any]:
    content, sha256 = b"", ""
    while True:
        body = {"offset": len(content), "length": length} | ({"sha256": sha256} if sha256 else {})
        status, chunk = await at.ask("GET", f"/bulk-data/{place}", body)
        assert status == 200, chunk
        sha256 = chunk["sha256"]
        content += base64.b64decode(chunk["data"])
        if len(content) >= chunk["size"]:
            assert hashlib.sha256(content).hexdigest() == sha256
            return [msgspec.json.decode(line) for line in content.splitlines()]


def test_updates_whose_records_the_journal_dropped_are_a_line_each_for_a_person(tmp_path: Path) -> None:
    def over(number: int, state: VehicleState, code: str, why: str) -> PastUpdate:
        return PastUpdate(
            action_id=number, state=state, began_at=NOW, ended_at=NOW + timedelta(minutes=9), code=code,
            detail="brake" if code else "", release_id="r", version=f"{number}.0.0",
            ecus=(PastEcu(serial="S1", from_version="1.0.0", to_version="2.0.0", state=state, why=why),),
        )  # fmt: skip

    past = (over(9, "SUCCEEDED", "", ""), over(8, "ROLLED_BACK", "unreachable", "no answer"))
    journal = Journal(tmp_path / JOURNAL_NAME, durability="buffered")
    journal.append(encode_entry(compacted(CampaignState(epoch="e", past=past), at=NOW)))
    journal.append(encode_entry(Opened(action_id=10, at=NOW)))
    journal.close()
    lines = list(JournalLines(tmp_path))
    times = f"from {NOW:%Y-%m-%d %H:%M:%S} until {past[0].ended_at:%Y-%m-%d %H:%M:%S} UTC"
    assert [line.get("said", line.get("entry", {}).get("type")) for line in lines] == [
        f"update 8 to 8.0.0, ROLLED_BACK {times}, unreachable: brake",
        f"update 9 to 9.0.0, SUCCEEDED {times}",
        "Compacted",
        "Opened",
    ]
    assert lines[0]["update"]["ecus"][0]["why"] == "no answer"
    assert "past" not in lines[2]["entry"]
    assert list(reversed(JournalLines(tmp_path))) == lines[::-1]


def test_the_journal_and_an_ecus_memory_are_read_in_chunks(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        _, listed = await at.ask("GET", "/bulk-data")
        assert [each["id"] for each in listed["items"]] == [
            "journal",
            "log",
            "signals",
            "ecus",
            "audit",
            "birth",
        ]
        assert (await at.ask("GET", "/bulk-data/ecus"))[1]["items"] == [{"id": "gateway"}, {"id": "brake"}]
        journal = await read(at, "journal/newest", length=50)
        assert journal[0]["entry"]["type"] == "Born"
        ecu, *told = await read(at, "ecus/brake", length=77)
        data = {each["id"]: each["data"] for each in told if "raw" in each}
        assert data["F18C"] == at.vehicle.ecus["brake"].serial
        faults = [each for each in told if "code" in each]
        assert (ecu["name"], ecu["software_version"]) == ("brake", "1.0.0")
        assert FAULT in {each["code"] for each in faults}
        assert faults[0]["environment_data"]["snapshots"]
        assert await read(at, "audit/newest") == []

    run(tmp_path, story)


def test_a_text_that_was_made_anew_is_not_read_on(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        _, first = await at.ask("GET", "/bulk-data/journal/newest", {"length": 10})
        rest = {"offset": 10, "sha256": first["sha256"]}
        assert (await at.ask("GET", "/bulk-data/journal/newest", rest))[0] == 200
        assert code_of(await at.ask("GET", "/bulk-data/journal/newest", rest | {"sha256": "0" * 64})) == (
            409,
            "changed",
        )
        await open_session(at, "s2", "read")
        assert code_of(await at.ask("GET", "/bulk-data/journal/newest", rest, session="s2")) == (
            409,
            "changed",
        )
        for number in range(TEXTS_MAX):
            await open_session(at, f"x{number}", "read")
            await at.ask("GET", "/bulk-data/journal/newest", session=f"x{number}")
        assert code_of(await at.ask("GET", "/bulk-data/journal/newest", rest)) == (409, "changed")

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/bulk-data/passwords", {}, 404),
        ("/bulk-data/passwords/newest", {}, 404),
        ("/bulk-data/journal/oldest", {}, 404),
        ("/bulk-data/journal/..%2Ftoken", {}, 404),
        ("/bulk-data/ecus/newest", {}, 404),
        ("/bulk-data/ecus/wheel", {}, 404),
        ("/bulk-data/journal/newest", {"offset": -1}, 422),
        ("/bulk-data/journal/newest", {"offset": BULK_BYTES_MAX}, 422),
        ("/bulk-data/journal/newest", {"offset": BULK_BYTES_MAX + 1}, 422),
        ("/bulk-data/journal/newest", {"length": 0}, 422),
        ("/bulk-data/journal/newest", {"length": BULK_CHUNK_BYTES_MAX + 1}, 422),
        ("/bulk-data/journal/newest", {"sha256": 7}, 422),
        ("/bulk-data/journal/newest", {"sha256": "x"}, 409),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, path: str, body: dict[str, Any], status: int) -> None:
    async def story(at: Bench) -> None:
        assert (await at.ask("GET", path, body))[0] == status

    run(tmp_path, story)


def test_a_tester_reads_it_as_bytes_and_in_ranges(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        token = add_tester(
            at.folder, "bench-1", "read", secret=lambda size: b"t" * size, durability="buffered"
        )
        host = {"host": "127.0.0.1:8781", "authorization": f"Bearer {token}"}

        async def get(path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Any:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            asked = Request(method=method, path=f"/vehicle/v1/{path}", headers=host | given, body=body)
            return await at.face.answer(asked, frozenset({"127.0.0.1:8781"}))

        await get("sessions", "POST", b'{"reason": "a hum"}')
        whole = await get("bulk-data/audit/newest")
        assert (whole.status, whole.kind) == (200, "application/x-ndjson")
        assert [msgspec.json.decode(line)["path"] for line in whole.body.splitlines()] == ["/sessions"]
        part = await get("bulk-data/ecus/brake", range="bytes=10-19")
        assert (part.status, len(part.body)) == (206, 10)
        assert part.headers["Content-Range"].startswith("bytes 10-19/")
        assert (await get("bulk-data/ecus/brake", range="bytes=999999-")).status == 422
        # Who goes on with a text that was made anew gets it whole, and never a piece of another.
        tag = part.headers["ETag"]
        same = await get("bulk-data/ecus/brake", range="bytes=10-19", if_range=tag)
        assert same.status == (206 if same.headers["ETag"] == tag else 200)
        other = await get("bulk-data/ecus/brake", range="bytes=10-19", if_range='"0"')
        assert (other.status, "Content-Range" in other.headers) == (200, False)
        odd = await get("bulk-data/ecus/brake", body=b'{"offset": 5, "length": 7}')
        assert odd.body.startswith(b"{")
        assert hashlib.sha256(odd.body).hexdigest() == odd.headers["ETag"].strip('"')

    run(tmp_path, story)


def test_a_chunk_as_large_as_may_be_fits_one_answer() -> None:
    data = base64.b64encode(b"x" * BULK_CHUNK_BYTES_MAX).decode()
    body = {
        "category": "journal",
        "id": "newest",
        "size": BULK_BYTES_MAX,
        "sha256": "0" * 64,
        "offset": 0,
        "data": data,
    }
    answer = DiagnosticAnswer(id="a" * 200, status=200, at=NOW, body=body)
    assert len(msgspec.json.encode(answer)) <= ANSWER_BYTES_MAX


def test_of_what_is_too_large_the_newest_whole_lines_are_told() -> None:
    text = text_of([{"line": number, "filling": "x" * 10_000} for number in range(300)])
    assert len(text) <= BULK_BYTES_MAX
    lines = [msgspec.json.decode(line)["line"] for line in text.splitlines()]
    assert lines == list(range(lines[0], 300))
    assert len(lines) > 200
    assert len(text_of([{"line": "x" * BULK_BYTES_MAX}])) < BULK_CHUNK_BYTES_MAX


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"token": "abc", "note": "ok"}, {"token": "…", "note": "ok"}),
        ({"Authorization": "Bearer abc"}, {"Authorization": "…"}),
        ({"device_password": 1, "api_key": 2, "apikey": 3, "key": 4, "seed": 5}, dict.fromkeys(["device_password", "api_key", "apikey", "key", "seed"], "…")),
        ({"event": "sent Bearer abc.def to it"}, {"event": "sent … to it"}),
        ({"event": "rrt_00ff is mine"}, {"event": "… is mine"}),
        ({"event": "-----BEGIN PRIVATE KEY-----\nabc"}, {"event": "…"}),
        ([{"path": "Vehicle.CurrentLocation.Latitude", "value": 59.9}, {"path": "Vehicle.Speed", "value": 1}], [{"path": "Vehicle.Speed", "value": 1}]),
        ({"snapshot": {"Vehicle.CurrentLocation.Longitude": 10.7, "Vehicle.Speed": 1}}, {"snapshot": {"Vehicle.Speed": 1}}),
        ({"a": [{"b": ({"secret": 1},)}]}, {"a": [{"b": [{"secret": "…"}]}]}),
        ({"detail": "waits: Vehicle.CurrentLocation.Latitude is 59.9"}, {"detail": "waits: Vehicle.…"}),
        ({"detail": "at latitude 59.9, longitude 10.7\nand on"}, {"detail": "at …\nand on"}),
        ({"url": "https://a.example/i?X-Amz-Signature=ab&x=1 failed"}, {"url": "https://a.example/i… failed"}),
        ({"event": "really? yes"}, {"event": "really? yes"}),
        ([{"id": "gps", "name": "receiver", "data": 1}, {"id": "x", "name": "x", "data": 2}], [{"id": "x", "name": "x", "data": 2}]),
        ({"record": 1, "data": [{"did": "FD20", "name": "vehicle position", "value": 7}, {"did": "FD12", "name": "speed", "value": 1}]}, {"record": 1, "data": [{"did": "FD12", "name": "speed", "value": 1}]}),
        ({"id": "x", "name": "x", "data": {"lat": 59.9, "lon": 10.7, "speed": 3}}, {"id": "x", "name": "x", "data": {"speed": 3}}),
        ({"id": "gps", "name": "gps", "serial": "G-1"}, {"id": "gps", "name": "gps", "serial": "G-1"}),
        ({"keys": 3, "monkey": "yes", "publication": "fine"}, {"keys": 3, "monkey": "yes", "publication": "fine"}),
    ],
)  # fmt: skip
def test_secrets_and_positions_stay_in_the_vehicle(value: Any, told: Any) -> None:
    assert cleaned(value) == told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gps-position", True), ("GPSPosition", True), ("lastKnownLocation", True), ("vehicle position", True),
        ("GNSS fix", True), ("heading", True), ("Vehicle.CurrentLocation.Heading", True), ("latitude_deg", True),
        ("latlon", True), ("lonlat", True), ("positions", True), ("locations", True), ("coordinate", True), ("coords", True),
        ("geohash", True), ("geofence", True), ("LastKnownPos", True), ("pos_x", True), ("waypoint", True), ("NavDestination", True),
        ("lat_lon", True), ("LatLng", True), ("WayPoints", True), ("geo-fence", True), ("pos1", True),
        ("ThrottlePosition", False), ("AcceleratorPedalPosition", False), ("gear_position", False), ("seat-position", False),
        ("Vehicle.Cabin.Seat.Row1.DriverSide.Position", False), ("Vehicle.Cabin.Door.Row1.Left.Window.Position", False),
        ("Vehicle.OBD.AbsoluteThrottlePositionB", False), ("Vehicle.OBD.AcceleratorPositionD", False), ("EGR valve pos", False),
        ("steering wheel position", False), ("door open vehicle position", True), ("gear_position_gps", True),
        ("seat-position-location", True), ("door_lock_last_position", True), ("position of the seat", True),
        ("operation-cycles", False), ("software version", False), ("F195", False), ("lateral acceleration", False),
        ("allocation", False), ("composition", False), ("geometry", False), ("plateau", False), ("post", False), ("lateral", False),
        ("relationship", False), ("", False),
        ("currentposition", True), ("vehiclelocation", True), ("currentlat", True), ("LATDEG", True), ("lastpos", True),
        ("CURRENTPOSITION", True), ("londeg", True), ("gpscoords", True), ("vehicleheading", True), ("doorlocklastposition", True),
        ("gearpos", False), ("GEARPOS", False), ("seatposition", False), ("throttleposition", False), ("brakepedalposition", False),
        ("frontleftwindowposition", False), ("disposition", False), ("reallocation", False), ("relocation", False), ("latency", False),
        ("globallocation", True), ("locallocations", True), ("originallocation", True), ("misallocation", False), ("collocations", False),
        ("longterm", False), ("wheelpos", False), ("latch", False),
    ],
)  # fmt: skip
def test_what_is_named_as_a_position_is_one(name: str, *, told: bool) -> None:
    assert names_position(name) is told


def test_the_event_loop_goes_on_while_a_text_is_made(tmp_path: Path) -> None:
    threads: list[int] = []

    class Lines(list[Any]):
        def __reversed__(self) -> Iterator[Any]:
            threads.append(threading.get_ident())
            return super().__reversed__()

    async def story(at: Bench) -> None:
        at.desk._place = replace(at.desk._place, bulk={"log": Lines})
        assert (await at.ask("GET", "/bulk-data/log/newest"))[0] == 200
        assert threads
        assert threading.get_ident() not in threads

    run(tmp_path, story)


def test_the_ring_of_signals_is_told_without_where_the_vehicle_was() -> None:
    paths = ["Vehicle.CurrentLocation.Latitude", "Vehicle.Speed", "Vehicle.CurrentLocation.Heading"]
    text = text_of(signal_lines([Sample(at=NOW, path=path, value=59.9) for path in paths]))
    assert [msgspec.json.decode(line)["path"] for line in text.splitlines()] == ["Vehicle.Speed"]
    visit = {"path": "/components/altitude/faults", "status": 200}
    assert msgspec.json.decode(text_of([visit])) == visit


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("token"), inner)))  # fmt: skip
def test_any_value_is_cleaned_into_json_without_what_is_named_a_secret(value: Any) -> None:
    def tokens(part: Any) -> list[Any]:
        if isinstance(part, dict):
            return [each for key, each in part.items() if key == "token"] + [
                t for e in part.values() for t in tokens(e)
            ]
        return [t for e in part for t in tokens(e)] if isinstance(part, list) else []

    assert set(tokens(msgspec.json.decode(msgspec.json.encode(cleaned(value))))) <= {"…"}


def test_a_vehicle_tells_its_own_lines_of_the_log_and_the_newest(tmp_path: Path) -> None:
    one, many = LogRing(alone=True), LogRing(alone=False)
    for ring in (one, many):
        for number in range(LOG_LINES_MAX + 5):
            ring(None, "info", {"event": "x", "n": number, "vin": "A"})
        ring(None, "info", {"event": "y", "vin": "B"})
        ring(None, "warning", {"event": "z"})
    assert [each["event"] for each in one.lines("A")[-2:]] == ["x", "z"]
    assert {each["event"] for each in many.lines("A")} == {"x"}
    assert many.lines("B") == [{"level": "info", "event": "y", "vin": "B"}]
    assert many.lines("A")[0]["n"] > 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None), ("bytes=0-", (0, 100)), ("bytes=0-0", (0, 1)), ("bytes=10-19", (10, 20)), ("bytes=90-500", (90, 100)),
        ("bytes=-5", None), ("bytes=9-3", None), ("bytes=0-1,5-6", None), ("lines=0-1", None), ("bytes=x-", None),
    ],
)  # fmt: skip
def test_a_range_is_read_and_what_is_none_is_everything(text: str, found: tuple[int, int] | None) -> None:
    assert parse_range(text, 100) == found


def test_a_range_behind_the_end_is_refused() -> None:
    for size in (0, 100):
        with pytest.raises(InvalidInput):
            parse_range("bytes=100-", size)


def test_a_ring_is_kept_of_the_chosen_signals_whoever_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        ring = SampleRing(["Vehicle.Speed"], before_s=60)
        signals = DeskSignals()
        signals.values["Vehicle.Other"] = 1
        clock = DeskClock()
        task = asyncio.create_task(keep_ring(ring, signals, clock))
        for _ in range(5):
            clock.s += 1
            await asyncio.sleep(0)
        task.cancel()
        assert len(ring.kept()) > 1
        assert {each.path for each in ring.kept()} == {"Vehicle.Speed"}

    monkeypatch.setattr(observe, "FRAME_S", 0.0)
    asyncio.run(asyncio.wait_for(story(), 60))
