"""A plant against a server we can make slow, forgetful or changeable."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict, Corrupt, InvalidInput, NotFound, Unavailable
from ringroad.sim.assembly import BaselinePackage, Blueprint, Surroundings, make_vin
from ringroad.sim.end_of_line import LotOnLine, OutOf, self_test
from ringroad.sim.plant import BORN, IDLE_S, Birth, LineOrder, LineSchedule, Plant, PlantSettings
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.vehicle.birth import carried
from ringroad.vehicle.files import Durability

HOME = Surroundings(
    server_url="https://127.0.0.1:8443",
    mqtt_host="",
    mqtt_port=1883,
    ca_pem=b"ca",
    image_root=b"i",
    director_root=b"d",
)
ECUS: dict[str, dict[str, Any]] = {
    "gateway": {
        "hardware_id": "gw-1",
        "bus": "DoIP",
        "storage": "ab",
        "storage_bytes": 1 << 14,
        "primary": True,
        "agent": "ab",
    },
    "body": {
        "hardware_id": "body-1",
        "bus": "CAN FD",
        "storage": "inplace",
        "storage_bytes": 1 << 14,
        "primary": False,
        "agent": "uds",
    },
}
BOX: dict[str, dict[str, Any]] = {
    "telebox": {
        "hardware_id": "default:1.0",
        "bus": "HTTP",
        "storage": "ab",
        "storage_bytes": 1 << 14,
        "primary": True,
        "agent": "ddi",
    }
}


def package(ecu: str, hardware_id: str, version: str, **changes: Any) -> BaselinePackage:
    found = BaselinePackage(
        ecu=ecu, filename=f"{ecu}-{version}.bin", version=version, format="bin", image=f"{ecu} {version}".encode() * 50,
        release_counter=1, hardware_ids=(hardware_id,),
    )  # fmt: skip
    return replace(found, **changes)


@dataclass(slots=True)
class Server:
    """What the plant asks, answered from memory; faults are scripted."""

    generation: int = 1
    stopped: dict[str, str] = field(default_factory=dict)
    orders: list[str] = field(default_factory=list)
    variant: str = "city"
    release_id: str | None = "release_1"
    version: str = "1"
    states: dict[str, str] = field(default_factory=dict)
    registered: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    away: list[str] = field(default_factory=list)  # calls that fail once, in order
    lose_answers: int = 0
    bad_hardware: bool = False
    moves_after_blueprint: int = 0
    taken: set[str] = field(default_factory=set)  # VINs of somebody else's vehicles
    checks: tuple[tuple[str, str, str], ...] = ()
    unseen: frozenset[tuple[str, str]] = frozenset()  # station and gate that let every car pass
    record: bytes | None = None

    def _answer(self, call: str) -> None:
        if self.away and self.away[0] == call:
            self.away.pop(0)
            raise Unavailable("no answer")

    async def current_schedule(self) -> LineSchedule | None:
        self._answer("current_schedule")
        waiting = [name for name in self.orders if self.states.get(name, "open") in ("open", "building")]
        orders = [
            LineOrder(id=name, variant=self.variant, state=cast("Any", self.states.get(name, "open")))
            for name in waiting
        ]
        return LineSchedule(
            generation=self.generation, orders=tuple(orders), release_id=self.release_id, stopped=self.stopped
        )

    async def blueprint(self, *, variant: str, region: str) -> Blueprint:
        self._answer("blueprint")
        ecus = BOX if variant == "box" else ECUS
        packages = {
            name: package(name, "other" if self.bad_hardware else table["hardware_id"], self.version)
            for name, table in ecus.items()
        }
        found = Blueprint(
            programme_id="p",
            variant=variant,
            region=region,
            release_id=self.release_id or "",
            ecus=ecus,
            packages=packages,
            checks=self.checks,
        )
        if self.moves_after_blueprint:
            self.moves_after_blueprint -= 1
            self.release_id, self.version = f"{self.release_id}+", f"{self.version}.1"
        return found

    async def passed_by(
        self, order_id: str, parts: Sequence[Mapping[str, Any]]
    ) -> frozenset[tuple[str, str]]:
        assert order_id in self.orders
        return frozenset() if parts else self.unseen

    async def start_order(self, order_id: str) -> None:
        self._answer("start_order")
        if self.states.get(order_id, "open") != "open":
            raise Conflict("not open")
        self.states[order_id] = "building"

    async def reopen_order(self, order_id: str) -> None:
        self.states[order_id] = "open"

    async def register(self, registration: Mapping[str, Any], *, order_id: str) -> bytes | None:
        self._answer("register")
        failed = [each["check"] for each in registration["tests"] if not each["passed"]]
        if failed:
            raise Conflict(f"not born: {failed}", code="end_of_line")
        vin = registration["vin"]
        if vin in self.taken:
            raise Conflict("another vehicle has it", code="vin_taken")
        if vin not in self.registered:
            if registration["release_id"] != self.release_id:
                raise Conflict("moved", code="baseline_moved")
            if self.states.get(order_id) != "building":
                raise Conflict("order gone")
            self.registered[vin] = registration
            self.states[order_id] = "born"
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unavailable("answer lost")
        return self.record


def secrets() -> Iterator[bytes]:
    for number in count():
        yield number.to_bytes(4, "big") * 16


def make_plant(
    folder: Path,
    server: Server,
    births: list[Birth],
    *,
    stations: int = 2,
    first: int = 1,
    durability: Durability = "buffered",
) -> Plant:
    async def on_birth(birth: Birth) -> None:
        births.append(birth)

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    source = secrets()
    return Plant(
        settings=PlantSettings(
            folder=folder, stations=stations, takt_s=60, time_factor=600, durability="buffered", births=durability
        ),
        registrar=server, surroundings=HOME, clock=SystemClock(), secret=lambda size: next(source)[:size],
        vin_numbers=count(first), on_birth=on_birth, sleep=sleep, medium=lambda serial: MemoryMedium(),  # noqa: ARG005
    )  # fmt: skip


def run(plant: Plant, takts: int) -> None:
    async def go() -> None:
        for _ in range(takts):
            try:
                await plant.takt()
            except Unavailable:
                continue

    asyncio.run(go())


def test_cars_move_one_station_per_takt_and_are_born_in_sequence(tmp_path: Path) -> None:
    server, births = Server(orders=["a", "b", "c"]), list[Birth]()
    plant = make_plant(tmp_path, server, births, stations=3)
    run(plant, 1)
    assert [order.id if order else "" for order in plant.line] == ["a", "", ""]
    run(plant, 2)
    assert [order.id if order else "" for order in plant.line] == ["c", "b", "a"]
    assert births == []
    run(plant, 3)
    assert [birth.order_id for birth in births] == ["a", "b", "c"]
    assert set(server.registered) == {birth.vin for birth in births}
    assert all((birth.folder / BORN).exists() for birth in births)
    assert births[0].vehicle is not None


def test_a_run_ends_after_the_births_it_was_asked_for(tmp_path: Path) -> None:
    births = list[Birth]()
    plant = make_plant(tmp_path, Server(orders=["a", "b", "c"]), births)
    assert asyncio.run(plant.run(births_max=2)) == 2
    stop = asyncio.Event()
    stop.set()
    assert asyncio.run(plant.run(stop=stop)) == 2


def test_only_a_newer_schedule_is_taken_up_and_the_line_keeps_its_cars(tmp_path: Path) -> None:
    server, births = Server(generation=5, orders=["a", "b", "c"]), list[Birth]()
    plant = make_plant(tmp_path, server, births)
    run(plant, 1)
    server.generation, server.orders = 4, ["x"]
    run(plant, 1)
    assert [order.id if order else "" for order in plant.line] == ["b", "a"]
    server.generation, server.orders = 6, ["a", "b", "rush", "c"]
    run(plant, 1)
    assert [order.id if order else "" for order in plant.line] == ["rush", "b"]
    assert [birth.order_id for birth in births] == ["a"]


def test_the_line_stands_with_a_station_and_goes_on_where_it_stood(tmp_path: Path) -> None:
    server, births, told = Server(orders=["a", "b", "c"]), list[Birth](), list[Mapping[str, str]]()
    plant = make_plant(tmp_path, server, births)
    plant.on_stopped = told.append
    run(plant, 1)
    server.generation, server.stopped = 2, {"roof": "breakdown: robot 3"}
    run(plant, 5)
    assert [order.id if order else "" for order in plant.line] == ["a", ""]
    assert told == [{"roof": "breakdown: robot 3"}] * 5
    assert births == []
    server.generation, server.stopped = 3, {}
    run(plant, 2)
    assert [birth.order_id for birth in births] == ["a"]
    assert len(told) == 5


def test_a_line_that_rests_stands_looks_seldom_and_goes_on_where_it_stood(tmp_path: Path) -> None:
    server, births, told = Server(orders=["a", "b"]), list[Birth](), list[datetime]()
    plant, waits = make_plant(tmp_path, server, births), list[float]()
    opens = datetime(2026, 11, 27, 5, tzinfo=UTC)
    rests: list[datetime | None] = [None]

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        rests[0] = opens if len(waits) in {1, 2, 3} else None

    plant.sleep, plant.on_rest, plant.rests_until = sleep, told.append, lambda: rests[0]
    assert asyncio.run(plant.run(until_empty=True)) == 2
    assert told == [opens] * 3
    assert [birth.order_id for birth in births] == ["a", "b"]
    assert [each >= IDLE_S for each in waits[:4]] == [False, True, True, True]
    assert not any(each >= IDLE_S for each in waits[4:])


def test_every_ecu_is_read_back_and_the_gates_checks_are_made_before_a_car_is_born(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a"], checks=(("trim", "g", "leak"), ("test", "end", "software")), record=b"{}")
    plant = make_plant(tmp_path, server, births)
    lots = (LotOnLine(station="trim", part="battery", lot="B-17", supplier="Norvik"),)
    plant.settings = replace(plant.settings, out_of=OutOf(lots=lots))
    run(plant, 3)
    tests = {(each["station"], each["check"]): each["passed"] for each in births[0].registration["tests"]}
    assert tests == {("trim", "leak"): True, ("test", "software"): True, ("", "faults"): True}
    assert [each["lot"] for each in births[0].registration["parts"]] == ["B-17"]
    assert carried(births[0].folder) == b"{}"
    vehicle, plan = births[0].vehicle, asyncio.run(server.blueprint(variant="city", region=""))
    assert vehicle
    other = {name: replace(each, image=b"another") for name, each in plan.packages.items()}
    assert asyncio.run(self_test(vehicle, other)) == {"software": False, "faults": True}


def test_a_gate_that_lets_a_car_pass_unseen_makes_no_check_of_it(tmp_path: Path) -> None:
    births = list[Birth]()
    checks = (("trim", "g", "leak"), ("test", "end", "software"))
    run(
        make_plant(
            tmp_path, Server(orders=["a"], checks=checks, unseen=frozenset({("test", "end")})), births
        ),
        3,
    )
    assert {each["check"] for each in births[0].registration["tests"]} == {"leak", "faults"}


def test_a_car_that_fails_a_check_is_not_born_and_its_order_goes_back(tmp_path: Path) -> None:
    births, refused = list[Birth](), list[str]()
    server = Server(orders=["a"], checks=(("trim", "g", "leak"),))
    plant = make_plant(tmp_path, server, births)
    plant.settings = replace(plant.settings, out_of=OutOf(failing=frozenset({"leak"})))
    plant.on_refused = lambda _order, error: refused.append(error.code)
    run(plant, 3)
    assert (births, refused, server.states["a"], list(tmp_path.iterdir())) == (
        [],
        ["end_of_line"],
        "open",
        [],
    )


def test_a_vehicle_of_a_server_without_records_carries_none(tmp_path: Path) -> None:
    births = list[Birth]()
    run(make_plant(tmp_path, Server(orders=["a"]), births), 3)
    with pytest.raises(NotFound, match="carries no birth record"):
        carried(births[0].folder)


def test_no_baseline_no_cars(tmp_path: Path) -> None:
    plant = make_plant(tmp_path, Server(orders=["a"], release_id=None), [])
    run(plant, 3)
    assert plant.line == [None, None]


def test_a_cancelled_order_is_skipped(tmp_path: Path) -> None:
    server = Server(orders=["a", "b"])
    plant = make_plant(tmp_path, server, [])
    asyncio.run(plant.read_schedule())
    server.states["a"] = "cancelled"
    run(plant, 1)
    assert [order.id if order else "" for order in plant.line] == ["b", ""]


def test_a_baseline_that_moves_while_a_car_is_flashed_means_flashing_again(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a"], moves_after_blueprint=1)
    run(make_plant(tmp_path, server, births), 3)
    assert [birth.release_id for birth in births] == ["release_1+"]
    assert [folder.name for folder in tmp_path.iterdir()] == [births[0].vin]
    assert births[0].registration["installed"][0]["version"] == "1.1"


def test_a_baseline_that_keeps_moving_sends_the_order_back(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a"], moves_after_blueprint=9)
    run(make_plant(tmp_path, server, births), 3)
    assert (births, server.states["a"], list(tmp_path.iterdir())) == ([], "open", [])


def test_an_ecu_that_refuses_the_baseline_stops_this_car_and_not_the_line(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a", "b"], bad_hardware=True)
    plant = make_plant(tmp_path, server, births)
    refused = list[tuple[str, str]]()
    plant.on_refused = lambda order, error: refused.append((order.id, error.code))
    run(plant, 3)
    assert (births, server.states["a"], list(tmp_path.iterdir())) == ([], "open", [])
    assert refused == [("a", "wrong_hardware")]
    server.bad_hardware = False
    run(plant, 1)
    assert [birth.order_id for birth in births] == ["b"]


@pytest.mark.parametrize("call", ["current_schedule", "start_order", "blueprint", "register"])
def test_while_the_server_is_away_the_line_stands_and_nothing_is_lost(tmp_path: Path, call: str) -> None:
    births = list[Birth]()
    server = Server(orders=["a", "b"], away=[call, call])
    run(make_plant(tmp_path, server, births), 8)
    assert [birth.order_id for birth in births] == ["a", "b"]
    assert set(server.registered) == {folder.name for folder in tmp_path.iterdir()}


def test_a_lost_answer_does_not_make_a_second_vehicle(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a"], lose_answers=2)
    run(make_plant(tmp_path, server, births), 6)
    assert len(births) == len(server.registered) == 1
    assert [folder.name for folder in tmp_path.iterdir()] == list(server.registered)


def test_after_a_restart_cars_on_the_line_are_built_and_lost_answers_settled(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a", "b", "c"], lose_answers=1)
    run(make_plant(tmp_path, server, births), 3)
    assert (births, len(server.registered)) == ([], 1)
    second = make_plant(tmp_path, server, births)
    found = asyncio.run(second.recover())
    assert (found.registered, found.scrapped) == (tuple(server.registered), ())
    run(second, 4)
    assert {birth.order_id for birth in births} == {"b", "c"}
    assert {folder.name for folder in tmp_path.iterdir()} == set(server.registered)
    assert all((folder / BORN).exists() for folder in tmp_path.iterdir())


class PowerCut(Exception):  # noqa: N818 - an event
    """The plant's process ends here."""


def test_a_restart_scraps_what_is_half_built_and_nothing_else(tmp_path: Path) -> None:
    server, births = Server(orders=["a"]), list[Birth]()

    def dark(_serial: str) -> MemoryMedium:
        raise PowerCut

    cut = make_plant(tmp_path, server, births)
    cut.medium = dark
    with pytest.raises(PowerCut):
        run(cut, 3)
    (half_built,) = tmp_path.iterdir()
    (tmp_path / "mine").mkdir()
    second = make_plant(tmp_path, server, births)
    found = asyncio.run(second.recover())
    assert (found.registered, found.scrapped) == ((), (half_built.name,))
    assert [folder.name for folder in tmp_path.iterdir()] == ["mine"]
    run(second, 3)
    assert [birth.order_id for birth in births] == ["a"]


def test_a_vehicle_is_on_the_disk_before_its_note_says_that_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[str]()

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    births = list[Birth]()
    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", fsync)
        run(make_plant(tmp_path, Server(orders=["a"]), births, durability="fsync"), 3)
    (birth,) = births
    written = {str(path) for path in birth.folder.rglob("*")} | {str(birth.folder)}
    noted = {str(birth.folder / BORN)}
    assert written - noted <= set(synced)
    started = synced.index(str(birth.folder / "started.json"))  # what the note was called when it was synced
    assert started < synced.index(str(tmp_path))  # the vehicle's own name
    assert synced[-2:] == [str(birth.folder)] * 2  # it is built; the server has it


@pytest.mark.parametrize("note", ["", "{", "[]", '{"order_id": "a"}', '{"order_id": "a", "registration": 1}'])
def test_a_note_that_does_not_read_back_is_left_to_a_person(tmp_path: Path, note: str) -> None:
    folder = tmp_path / make_vin(1)
    folder.mkdir()
    (folder / "built.json").write_text(note)
    with pytest.raises(Corrupt, match=r"built\.json") as refused:
        asyncio.run(make_plant(tmp_path, Server(), []).recover())
    assert "ringroad fleet show" in refused.value.hint
    assert folder.exists()


def test_a_run_until_empty_builds_what_may_be_built_and_ends(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a", "b", "c"])
    server.states["b"] = "cancelled"
    assert asyncio.run(make_plant(tmp_path, server, births).run(until_empty=True)) == 2
    assert [birth.order_id for birth in births] == ["a", "c"]
    assert asyncio.run(make_plant(tmp_path, Server(), births).run(until_empty=True)) == 0
    bare = Server(orders=["x"], release_id=None)
    assert asyncio.run(make_plant(tmp_path, bare, births).run(until_empty=True)) == 0


def test_a_run_until_empty_waits_for_a_server_that_is_away(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a"], away=["current_schedule", "current_schedule", "register"])
    assert asyncio.run(make_plant(tmp_path, server, births).run(until_empty=True)) == 1


def test_a_vin_that_somebody_else_has_is_not_used(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a"], taken={make_vin(1), make_vin(2)})
    run(make_plant(tmp_path, server, births), 3)
    assert [birth.vin for birth in births] == [make_vin(3)]
    assert [folder.name for folder in tmp_path.iterdir()] == [make_vin(3)]


def test_a_box_gets_its_identity_and_its_factory_image(tmp_path: Path) -> None:
    births = list[Birth]()
    server = Server(orders=["a"], variant="box")
    run(make_plant(tmp_path, server, births), 3)
    (birth,) = births
    assert birth.vehicle is None
    assert birth.registration["gateway"] == "ddi"
    assert (birth.folder / "factory.swu").read_bytes() == b"telebox 1" * 50
    assert (birth.folder / "token").stat().st_mode & 0o077 == 0
    note = json.loads((birth.folder / BORN).read_text())
    assert (note["order_id"], note["registration"]["vin"]) == ("a", birth.vin)
    assert (birth.folder / "token").read_text() not in json.dumps(note)


def test_a_line_that_cannot_move_is_refused() -> None:
    changes: list[dict[str, Any]] = [{"stations": 0}, {"takt_s": 0.0}, {"time_factor": -1.0}]
    for settings in changes:
        with pytest.raises(InvalidInput):
            PlantSettings(folder=Path(), **({"stations": 1, "takt_s": 1.0} | settings))


def test_stations_are_told_of_once_per_takt_that_moved_the_line(tmp_path: Path) -> None:
    server, births = Server(orders=["a", "b"]), list[Birth]()
    plant = make_plant(tmp_path, server, births)
    told: list[list[tuple[int, str]]] = []

    async def on_worked(worked: Any) -> None:
        told.append([(place, order.id) for place, order in worked])

    plant.on_worked = on_worked
    run(plant, 4)
    assert told == [[(0, "a")], [(0, "b"), (1, "a")], [(1, "b")]]
