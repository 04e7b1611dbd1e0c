"""Writing data of an ECU, and the proof it may ask for first: on real virtual ECUs, by key (0x27) and by proof (0x29)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ringroad.kernel.errors import Conflict, InvalidInput, Unavailable
from ringroad.sim.vecu.script import Script, Trouble
from ringroad.vehicle.agents.session import EcuAccess, EcuSession
from ringroad.vehicle.agents.wire import Did
from ringroad.vehicle.diagnostics.writing import write_value
from ringroad.vehicle.uds import EcuForbids
from ringroad.vehicle.writable import WRITES_MAX, parse_writes
from support.diagnosed import Bench, bench, open_session

CODING, SHOP = "/components/brake/data/0100", "/components/brake/data/F198"
LOCK = "/components/brake/locks"


def run(folder: Path, story: Callable[[Bench], Awaitable[None]], *, proof: bool = False) -> None:
    async def whole() -> None:
        async with bench(folder, proof=proof) as at:
            await open_session(at)
            try:
                await story(at)
            finally:
                await at.desk.end()

    asyncio.run(asyncio.wait_for(whole(), 120))


def code_of(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


def held(at: Bench) -> dict[str, str]:
    return at.vehicle.ports["brake"].ecu.flash.state.data


@pytest.mark.parametrize("proof", [False, True])
def test_a_value_is_written_and_told_with_the_one_before(tmp_path: Path, proof: Any) -> None:
    async def story(at: Bench) -> None:
        await at.ask("POST", LOCK)
        status, said = await at.ask("PUT", CODING, {"data": "0A0B0CFF"})
        assert (status, said["before_raw"], said["raw"]) == (200, "0a0b0c0d", "0a0b0cff"), said
        assert (await at.ask("PUT", SHOP, {"data": "Kvik Oslo"}))[1]["before"] == ""
        assert (await at.ask("PUT", "/components/brake/data/0101", {"data": 65_535}))[1]["before"] == 1
        assert held(at) == {
            "0100": "0a0b0cff",
            "F198": b"Kvik Oslo\x00".hex(),
            "0101": "ffff",
        }
        ecu = at.vehicle.ports["brake"].ecu
        assert (ecu._session, ecu._access.proven) == (1, False)  # as it was, and locked again
        _, read = await at.ask("GET", SHOP)
        assert (read["name"], read["data"]) == ("repair shop", "Kvik Oslo")

    run(tmp_path, story, proof=proof)


def test_what_was_written_outlives_the_power(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await at.ask("POST", LOCK)
        await at.ask("PUT", CODING, {"data": "0a0b0cff"})
        at.vehicle.ports["brake"].power_cycle()
        assert (await at.ask("GET", CODING))[1]["data"] == "0a0b0cff"

    run(tmp_path, story)


def test_the_catalogue_says_what_may_be_written_and_how(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        _, listed = await at.ask("GET", "/components/brake/data", {"categories": ["storedData"]})
        found = {each["id"]: each.get("write", {}).get("wanted") for each in listed["items"]}
        assert found["F198"] == "a text of at most 10 characters"
        assert found["0100"] == "8 hex digits"
        assert found["0101"] == "a whole number from 0 to 65535"
        assert found["FD03"] is None
        _, gateway = await at.ask("GET", "/components/gateway/data")
        assert not any("write" in each for each in gateway["items"])

    run(tmp_path, story)


def test_nothing_is_written_without_scope_lock_and_a_vehicle_that_stands(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        body = {"data": "0a0b0cff"}
        assert code_of(await at.ask("PUT", CODING, body)) == (409, "lock_needed")
        await open_session(at, "reader", "read")
        assert code_of(await at.ask("PUT", CODING, body, session="reader")) == (403, "scope")
        await at.ask("POST", LOCK)
        await open_session(at, "s2", by="ines")
        assert code_of(await at.ask("PUT", CODING, body, session="s2")) == (423, "locked")
        at.vehicle.signals.values = {"Vehicle.Speed": 3}
        assert code_of(await at.ask("PUT", CODING, body)) == (409, "precondition")
        at.vehicle.signals.values = {}
        assert code_of(await at.ask("PUT", CODING, body)) == (409, "precondition")
        assert held(at) == {}

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("place", "body", "status", "code"),
    [
        ("0102", {"data": "00"}, 403, "not_writable"),  # the vehicle's configuration does not list it
        ("F190", {"data": "WRRDEM121TA000001"}, 403, "not_writable"),
        ("XYZ", {"data": "00"}, 404, "not_found"),
        ("0100", {"data": "0a0b0c"}, 422, "value"),
        ("0100", {"data": "0a0b0c0d0e"}, 422, "value"),
        ("0100", {"data": "0a0b0cxx"}, 422, "value"),
        ("0100", {"data": 7}, 422, "value"),
        ("0100", {}, 422, "value"),
        ("F198", {"data": "eleven chars"}, 422, "value"),
        ("F198", {"data": "Bjørk"}, 422, "value"),
        ("F198", {"data": "a\nb"}, 422, "value"),
        ("0101", {"data": 65_536}, 422, "value"),
        ("0101", {"data": -1}, 422, "value"),
        ("0101", {"data": True}, 422, "value"),
        ("0101", {"data": "1"}, 422, "value"),
    ],
)
def test_what_is_not_described_or_no_such_value_is_refused_before_the_ecu_hears_of_it(
    tmp_path: Path, place: str, body: dict[str, Any], status: int, code: str
) -> None:
    async def story(at: Bench) -> None:
        await at.ask("POST", LOCK)
        at.vehicle.ports["brake"].alive = False  # whoever asked it would be told 503
        assert code_of(await at.ask("PUT", f"/components/brake/data/{place}", body)) == (status, code)

    run(tmp_path, story)


def test_an_ecu_that_keeps_less_than_is_described_refuses_and_holds_what_it_held(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await at.ask("POST", LOCK)
        at.desk._place.writes["brake"].update(parse_writes({"0100": "hex 5"}))  # type: ignore[attr-defined]
        answer = await at.ask("PUT", CODING, {"data": "0102030405"})
        assert code_of(answer) == (422, "incorrect_message_length_or_invalid_format")
        assert held(at) == {}
        assert at.vehicle.ports["brake"].ecu._session == 1

    run(tmp_path, story)


@pytest.mark.parametrize(
    "lost",
    [Trouble(kind="drop_response", service=0x2E), Trouble(kind="hang_up", service=0x22, at=3)],
)
def test_a_write_that_is_not_confirmed_is_told_with_the_value_before(tmp_path: Path, lost: Trouble) -> None:
    async def story(at: Bench) -> None:
        await at.ask("POST", LOCK)
        at.vehicle.ports["brake"].follow(Script(transport=(lost,)))
        answer = await at.ask("PUT", CODING, {"data": "0a0b0cff"})
        assert code_of(answer) == (503, "not_confirmed")
        assert "before it was 0a0b0c0d" in answer[1]["error"]["message"]
        assert held(at) == {"0100": "0a0b0cff"}  # it was written: the next look shows it

    run(tmp_path, story)


class Forgetful:
    """The way to an ECU that is open to everybody, takes every value and keeps none."""

    async def connect(self) -> None:
        """Be ready."""

    async def request(self, payload: bytes, *, timeout_s: float) -> bytes:
        """Answer at once."""
        assert timeout_s > 0
        if payload[0] == 0x22:
            return b"\x62" + payload[1:3] + b"\x01"
        return bytes((payload[0] | 0x40,)) + payload[1:3] + bytes(16)

    async def notify(self, payload: bytes, *, functional: bool = False) -> None:
        """Hear it."""

    def audience(self) -> object:
        """This one."""
        return self

    async def close(self) -> None:
        """Nothing to drop."""


def test_an_ecu_that_takes_a_value_and_does_not_hold_it_is_told_as_that() -> None:
    ecu = EcuSession(Forgetful(), EcuAccess(serial="s", derive=lambda _level, seed: seed))
    with pytest.raises(Conflict) as refused:
        asyncio.run(write_value(ecu, parse_writes({"0100": "hex 1"})[0x0100], b"\x02"))
    assert refused.value.code == "not_kept"
    assert "before it was 01" in refused.value.message


def test_modes_that_hold_are_what_they_were_after_a_write(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        await at.ask("POST", LOCK)
        modes, ecu = "/components/brake/modes", at.vehicle.ports["brake"].ecu
        await at.ask("PUT", f"{modes}/dtcsetting", {"value": "off", "mode_expiration": 60})
        assert (await at.ask("PUT", CODING, {"data": "0a0b0cff"}))[0] == 200
        assert (ecu._session, ecu._access.proven, ecu.faults.enabled) == (3, False, False)
        await at.ask("PUT", f"{modes}/security", {"value": "unlocked", "mode_expiration": 60})
        assert (await at.ask("PUT", CODING, {"data": "0a0b0c0d"}))[0] == 200
        assert ecu._access.proven

    run(tmp_path, story)


@pytest.mark.parametrize("proof", [False, True])
def test_an_ecu_has_the_mode_of_its_own_proof_and_not_the_other(tmp_path: Path, proof: Any) -> None:
    own, value, other = (
        ("authentication", "authenticated", "security")
        if proof
        else ("security", "unlocked", "authentication")
    )

    async def story(at: Bench) -> None:
        await at.ask("POST", LOCK)
        modes, ecu = "/components/brake/modes", at.vehicle.ports["brake"].ecu
        _, listed = await at.ask("GET", modes)
        assert own in [each["id"] for each in listed["items"]]
        assert other not in [each["id"] for each in listed["items"]]
        assert (await at.ask("PUT", f"{modes}/{other}", {"value": value}))[0] == 404
        status, said = await at.ask("PUT", f"{modes}/{own}", {"value": value, "mode_expiration": 60})
        assert status == 200, said
        assert ecu._access.proven
        back = next(each["values"][0] for each in listed["items"] if each["id"] == own)
        assert (await at.ask("PUT", f"{modes}/{own}", {"value": back}))[0] == 200
        assert not ecu._access.proven

    run(tmp_path, story, proof=proof)


def test_a_wrong_proof_is_refused_and_after_three_not_even_asked_for(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        serial = at.vehicle.ecus["brake"].serial
        uds = at.desk._place.orchestrator.ecus._agents[serial].ecu.uds  # type: ignore[attr-defined]
        right = at.vehicle.proofs[serial]
        for wrong in (
            lambda _: bytes(64),
            lambda _: right(bytes(32)),
            lambda challenge: right(challenge[1:]),
        ):
            with pytest.raises((EcuForbids, Unavailable)) as refused:
                await uds.authenticate(wrong)
        assert refused.value.code == "exceeded_number_of_attempts"
        with pytest.raises(Unavailable) as refused:
            await uds.authenticate(right)
        assert refused.value.code == "required_time_delay_not_expired"
        at.vehicle.clock.s += 11
        await uds.authenticate(right)
        assert at.vehicle.ports["brake"].ecu._access.proven

    run(tmp_path, story, proof=True)


@pytest.mark.parametrize(
    "table",
    [
        {"F198": "text"},
        {"F198": "text 0 a"},
        {"F198": "text 65 a"},
        {"F198": "number 7 a"},
        {"F198": "float 4 a"},
        {"F198": "text 10 " + "n" * 61},
        {"F19": "text 10 a"},
        {"FGHI": "text 10 a"},
        {f"{number:04X}": "hex 1" for number in range(WRITES_MAX + 1)},
        *({f"{did:04X}": "hex 4 mine"} for did in Did),
    ],
)
def test_a_table_that_allows_too_much_or_cannot_be_read_stops_the_vehicle(table: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        parse_writes(table)
