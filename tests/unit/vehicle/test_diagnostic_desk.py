"""The diagnostic desk over real virtual ECUs: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringroad.protocol.diagnostics import Method
from ringroad.protocol.vehicle import VehicleState
from ringroad.vehicle.states import Opened
from support.diagnosed import FAULT, OTHER, Bench, bench, open_session

Story = Callable[[Bench], Awaitable[None]]
FAULTS = "/components/brake/faults"


def run(folder: Path, story: Story, *, behind_http: bool = False) -> None:
    async def whole() -> None:
        async with bench(folder, behind_http=behind_http) as at:
            await open_session(at)
            await story(at)

    asyncio.run(asyncio.wait_for(whole(), 120))


def code_of(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


def test_it_lists_components_and_says_what_each_runs(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        _, listed = await at.ask("GET", "/components")
        assert [each["name"] for each in listed["items"]] == ["gateway", "brake"]
        status, brake = await at.ask("GET", "/components/brake")
        assert (status, brake["state"], brake["software_version"], brake["faults"]) == (
            200,
            "Online",
            "1.0.0",
            2,
        )

    run(tmp_path, story)


def test_it_reads_data_by_name_and_by_any_identifier(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        _, listed = await at.ask("GET", "/components/brake/data", {"categories": ["identData"]})
        assert {each["category"] for each in listed["items"]} == {"identData"}
        assert (await at.ask("GET", "/components/brake/data/F195"))[1] == {
            "id": "F195", "name": "software version", "category": "identData", "data": "1.0.0", "raw": "312e302e30",
        }  # fmt: skip
        _, banks = await at.ask("GET", "/components/brake/data/FD01")
        assert banks["data"]["layout"] == "inplace"
        assert (await at.ask("GET", "/components/brake/data/1234"))[0] == 422  # the ECU knows no such data

    run(tmp_path, story)


def test_faults_come_with_words_snapshots_and_counts(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        _, listed = await at.ask("GET", FAULTS)
        assert [(each["code"], each["words"]) for each in listed["items"]] == [
            (FAULT, "confirmed and failing now"), (OTHER, "confirmed and failing now"),
        ]  # fmt: skip
        _, one = await at.ask("GET", f"{FAULTS}/{FAULT}")
        around = one["environment_data"]
        assert around["extended_data"]["occurrences"] == 2
        assert [
            {value["name"]: value["value"] for value in record["data"]}["odometer"]
            for record in around["snapshots"]
        ] == [12_000, 12_034]
        _, health = await at.ask("GET", "/functions/vehicle-health")
        assert [each["component"] for each in health["items"]] == ["brake", "brake"]

    run(tmp_path, story)


def test_an_ecu_that_does_not_answer_hides_no_fault_of_another(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        at.vehicle.ports["gateway"].alive = False
        _, health = await at.ask("GET", "/functions/vehicle-health")
        assert len(health["items"]) == 2
        assert [each["component"] for each in health["silent"]] == ["gateway"]
        assert (await at.ask("GET", "/components/gateway"))[1]["state"] == "Offline"

    run(tmp_path, story)


def test_faults_of_an_ecu_that_speaks_no_uds_are_told_as_its_agent_knows_them(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        _, health = await at.ask("GET", "/functions/vehicle-health")
        assert [(each["component"], each["code"]) for each in health["items"]] == [
            ("gateway", OTHER), ("brake", FAULT), ("brake", OTHER),
        ]  # fmt: skip
        assert health["silent"] == []
        assert (await at.ask("GET", "/components/gateway/faults", {"mask": 128}))[1]["items"] == []
        at.vehicle.ports["gateway"].alive = False
        _, health = await at.ask("GET", "/functions/vehicle-health")
        assert [each["component"] for each in health["silent"]] == ["gateway"]
        at.desk._place.orchestrator._memory.write(Opened(at=at.clock.now(), action_id=7))
        assert code_of(await at.ask("GET", "/components/gateway/faults")) == (409, "updating")

    run(tmp_path, story, behind_http=True)


def test_clearing_needs_the_lock_and_clears_one_or_all(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        assert code_of(await at.ask("DELETE", FAULTS)) == (409, "lock_needed")
        assert (await at.ask("POST", "/components/brake/locks", {"lock_expiration": 60}))[0] == 200
        _, done = await at.ask("DELETE", f"{FAULTS}/{FAULT}")
        assert [each["code"] for each in done["left"]] == [OTHER]
        assert (await at.ask("DELETE", f"{FAULTS}/{FAULT}"))[0] == 404
        assert (await at.ask("DELETE", FAULTS))[1]["left"] == []

    run(tmp_path, story)


def test_another_session_meets_the_lock_until_it_is_over(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at, "s2", by="ines")
        await at.ask("POST", "/components/brake/locks", {"lock_expiration": 60})
        assert code_of(await at.ask("DELETE", FAULTS, session="s2")) == (423, "locked")
        assert code_of(await at.ask("POST", "/components/brake/locks", session="s2")) == (423, "locked")
        assert code_of(await at.ask("DELETE", "/components/brake/locks", session="s2")) == (423, "locked")
        at.vehicle.clock.s += 61
        assert (await at.ask("POST", "/components/brake/locks", session="s2"))[0] == 200
        at.desk.close("s2")
        assert (await at.ask("POST", "/components/brake/locks"))[0] == 200

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"Vehicle.Speed": 50}, "the value is 50"),
        ({}, "the value is missing"),
        ({"Vehicle.Speed": "0"}, "is '0'"),
    ],
)
def test_nothing_is_changed_unless_the_vehicle_is_known_to_stand(
    tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    async def story(at: Bench) -> None:
        await at.ask("POST", "/components/brake/locks")
        at.vehicle.signals.values = values
        answer = await at.ask("DELETE", FAULTS)
        assert code_of(answer) == (409, "precondition")
        assert "Vehicle.Speed == 0" in answer[1]["error"]["message"]
        assert told in answer[1]["error"]["message"]
        assert len((await at.ask("GET", FAULTS))[1]["items"]) == 2

    run(tmp_path, story)


def test_a_session_that_may_read_changes_nothing(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await open_session(at, "reader", "read")
        assert (await at.ask("GET", FAULTS, session="reader"))[0] == 200
        assert code_of(await at.ask("POST", "/components/brake/locks", session="reader")) == (403, "scope")
        assert code_of(await at.ask("DELETE", FAULTS, session="reader")) == (403, "scope")

    run(tmp_path, story)


def test_without_a_session_or_after_it_nothing_is_told(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        assert code_of(await at.ask("GET", "/components", session="nobody's")) == (403, "no_session")
        at.vehicle.clock.s += 31 * 60
        assert code_of(await at.ask("GET", "/components")) == (403, "no_session")

    run(tmp_path, story)


def test_an_update_under_way_keeps_the_lines_to_itself(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        at.desk._place.orchestrator._memory.write(Opened(at=at.clock.now(), action_id=7))
        assert code_of(await at.ask("GET", FAULTS)) == (409, "updating")
        assert (await at.ask("GET", "/components/brake"))[1]["state"] == "Updating"

    run(tmp_path, story)


@pytest.mark.parametrize("state", ["AWAITING_CONSENT", "READY"])
def test_while_an_update_waits_ecus_are_read_and_not_changed(tmp_path: Path, state: VehicleState) -> None:
    async def story(at: Bench) -> None:
        memory = at.desk._place.orchestrator._memory
        memory.write(Opened(at=at.clock.now(), action_id=7))
        memory.state = replace(memory.state, state=state)
        assert (await at.ask("GET", FAULTS))[1]["items"]
        assert (await at.ask("GET", "/components/brake"))[1]["state"] == "Online"
        assert (await at.ask("POST", "/components/brake/locks", {"lock_expiration": 60}))[0] == 200
        assert code_of(await at.ask("DELETE", FAULTS)) == (409, "updating")

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/components/wheel", {}, 404),
        ("GET", "/components/wheel/data", {}, 404),
        ("PUT", "/components", {}, 404),
        ("GET", "/components//faults", {}, 404),
        ("GET", "/components/brake/data/XYZ", {}, 404),
        ("GET", "/components/brake/data", {"categories": ["anything"]}, 422),
        ("GET", "/components/brake/data", {"categories": "identData"}, 422),
        ("GET", FAULTS, {"mask": 0}, 422),
        ("GET", FAULTS, {"mask": True}, 422),
        ("GET", f"{FAULTS}/P0000-00", {}, 404),
        ("GET", f"{FAULTS}/hum", {}, 422),
        ("POST", "/components/brake/locks", {"lock_expiration": 0}, 422),
        ("POST", "/components/brake/locks", {"lock_expiration": "60"}, 422),
        ("POST", "/components/wheel/locks", {}, 404),
        ("DELETE", "/components/wheel/faults", {}, 404),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, method: Method, path: str, body: dict[str, Any], status: int
) -> None:
    async def story(at: Bench) -> None:
        answer = await at.ask(method, path, body)
        assert answer[0] == status
        assert answer[1]["error"]["message"]

    run(tmp_path, story)


def test_an_ecu_behind_http_gives_data_faults_and_operations_by_the_same_requests(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        place, serial = "/components/gateway", at.vehicle.ecus["gateway"].serial
        _, listed = await at.ask("GET", "/components")
        offers = {each["id"]: each["offers"] for each in listed["items"]}
        assert offers == {
            "gateway": ["data", "faults", "clear", "operations"],
            "brake": ["data", "faults", "clear", "operations", "modes", "writes"],
        }
        _, data = await at.ask("GET", f"{place}/data")
        assert [each["id"] for each in data["items"]] == [
            "F18C", "F191", "F195", "FD00", "FD03", "software-state", "operation-cycles",
        ]  # fmt: skip
        told = {each["id"]: (await at.ask("GET", f"{place}/data/{each['id']}"))[1] for each in data["items"]}
        assert (told["F18C"]["data"], told["F195"]["data"]) == (serial, "1.0.0")
        assert told["software-state"]["data"] == {"mode": "application", "trial": False, "staged": ""}
        assert told["operation-cycles"]["data"] == at.vehicle.ports["gateway"].ecu.faults.cycle
        assert {each["category"] for each in told.values()} == {"identData", "storedData", "currentData"}
        assert code_of(await at.ask("GET", f"{place}/data/F190")) == (404, "not_found")
        assert code_of(await at.ask("GET", f"{place}/data/no%20name")) == (404, "not_found")
        _, fault = await at.ask("GET", f"{place}/faults/{OTHER}")
        assert fault["environment_data"]["extended_data"]["occurrences"] == 1
        assert fault["environment_data"]["snapshots"][0]["data"][0]["name"] == "time"
        assert code_of(await at.ask("GET", f"{place}/faults/{FAULT}")) == (404, "not_found")
        await at.ask("POST", f"{place}/locks")
        assert code_of(await at.ask("DELETE", f"{place}/faults/{FAULT}")) == (404, "not_found")
        assert (await at.ask("DELETE", f"{place}/faults/{OTHER}"))[1] == {"cleared": OTHER, "left": []}
        _, lines = await at.ask("POST", f"{place}/cyclic-subscriptions", {"data": "F195,operation-cycles"})
        assert lines["data"] == ("F195", "operation-cycles")

    run(tmp_path, story, behind_http=True)


@pytest.mark.parametrize(
    ("operation", "result"), [("self-test", {"passed": True}), ("reset", {"software_version": "1.0.0"})]
)
def test_an_ecu_behind_http_tests_and_restarts_itself(
    tmp_path: Path, operation: str, result: dict[str, Any]
) -> None:
    async def story(at: Bench) -> None:
        place = "/components/gateway/operations"
        _, listed = await at.ask("GET", place)
        assert [each["id"] for each in listed["items"]] == ["reset", "self-test"]
        begin = f"{place}/{operation}/executions"
        assert code_of(await at.ask("POST", begin)) == (409, "lock_needed")
        await at.ask("POST", "/components/gateway/locks")
        _, begun = await at.ask("POST", begin)
        while begun["status"] == "running":
            await asyncio.sleep(0.01)
            _, begun = await at.ask("GET", f"{place}/{operation}/executions/{begun['id']}")
        assert (begun["status"], begun["result"]) == ("completed", result)

    run(tmp_path, story, behind_http=True)


def test_what_an_ecu_without_uds_has_not_is_refused_with_what_it_has(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        place = "/components/gateway"
        await at.ask("POST", f"{place}/locks")
        assert (await at.ask("GET", f"{place}/modes"))[1] == {"items": []}
        refused = [
            await at.ask("PUT", f"{place}/modes/session", {"value": "extended"}),
            await at.ask("POST", f"{place}/operations/check-preconditions/executions"),
        ]
        assert {code_of(each) for each in refused} == {(404, "not_offered")}
        assert "self-test" in refused[1][1]["error"]["hint"]
        assert code_of(await at.ask("PUT", f"{place}/data/F198", {"data": "x"})) == (403, "not_writable")
        at.vehicle.ports["gateway"].alive = False
        assert code_of(await at.ask("GET", f"{place}/data/F195")) == (503, "unreachable")
        assert code_of(await at.ask("DELETE", f"{place}/faults")) == (503, "unreachable")
        at.vehicle.signals.values = {"Vehicle.Speed": 30}
        assert code_of(await at.ask("DELETE", f"{place}/faults")) == (409, "precondition")

    run(tmp_path, story, behind_http=True)
