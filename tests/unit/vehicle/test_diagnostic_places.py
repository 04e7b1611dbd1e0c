"""Where the vehicle is: read by nobody whose session did not ask for it, and whose driver did not agree to that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringroad.kernel.errors import Forbidden
from ringroad.protocol.diagnostics import SessionWanted
from ringroad.vehicle.agents.base import DataItem
from ringroad.vehicle.diagnostics.places import told_to
from ringroad.vehicle.diagnostics.sessions import Declined, Policy, Session, decide_session, seen_of
from ringroad.vehicle.diagnostics.ways import AgentWay
from ringroad.vehicle.driver.visits import render_visits
from ringroad.vehicle.writable import parse_writes
from support.diagnosed import Bench, bench
from support.uptane import NOW

PLACE = "/components/brake/data/0100"


def wanted(*, position: bool) -> SessionWanted:
    until = NOW + timedelta(minutes=30)
    return SessionWanted(by="ole", reason="a hum", scope="read", expires_at=until, position=position)


def session(*, position: bool, policy: Policy = "test") -> Session:
    made = decide_session(policy, wanted(position=position), session_id="s1", others=0, now=NOW)
    assert isinstance(made, Session)
    return made


def run(folder: Path, story: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with bench(folder) as at:
            writes: Any = at.desk._place.writes["brake"]
            writes.update(parse_writes({"0100": "hex 4 last location"}))
            for name, more in (("plain", {}), ("placed", {"position": True})):
                body = {**at.wanted(), **more}
                answer = await at.link._do(at.request("POST", "/sessions", body, session=name))
                assert answer.status == 200
                await at.ask("POST", "/components/brake/locks", session=name)
            try:
                await story(at)
            finally:
                await at.desk.end()

    asyncio.run(asyncio.wait_for(whole(), 120))


def test_a_datum_that_is_named_as_a_position_is_read_only_by_a_session_that_asked_for_it(
    tmp_path: Path,
) -> None:
    async def story(at: Bench) -> None:
        status, refused = await at.ask("GET", PLACE, session="plain")
        assert (status, refused["error"]["code"]) == (403, "position")
        assert "0a0b0c0d" not in str(refused)
        status, told = await at.ask("GET", PLACE, session="placed")
        assert (status, told["data"]) == (200, "0a0b0c0d")
        assert (await at.ask("GET", "/components/brake/data/F198", session="plain"))[0] == 200

    run(tmp_path, story)


def test_it_is_neither_written_for_what_it_was_nor_read_again_and_again(tmp_path: Path) -> None:
    async def story(at: Bench) -> None:
        status, refused = await at.ask("PUT", PLACE, {"data": "00000000"}, session="plain")
        assert (status, refused["error"]["code"]) == (403, "position")
        assert (await at.ask("GET", PLACE, session="placed"))[1]["data"] == "0a0b0c0d"
        for name, value in (("plain", {"error": "position"}), ("placed", {"value": "0a0b0c0d"})):
            subscribed = "/components/brake/cyclic-subscriptions"
            status, begun = await at.ask("POST", subscribed, {"data": "0100", "duration": 1}, session=name)
            assert status == 200
            event = await anext(at.desk.cyclic.follow("brake", begun["id"], name))
            assert event["values"] == {"0100": value}

    run(tmp_path, story)


NESTED = {"id": "0200", "name": "trip", "data": {"km": 7, "latitude": 51.0}}
AROUND = {"code": "C", "environment_data": {"snapshots": [{"record": 1, "data": [
    {"did": "1", "name": "speed", "value": 3}, {"did": "2", "name": "gps fix", "value": "51N"},
]}]}}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            NESTED,
            {"id": "0200", "name": "trip", "data": {"km": 7}, "left_out": "named as a position"},
        ),
        (
            AROUND,
            {
                "code": "C",
                "environment_data": {
                    "snapshots": [{"record": 1, "data": [{"did": "1", "name": "speed", "value": 3}]}]
                },
                "left_out": "named as a position",
            },
        ),
        ({"id": "F195", "data": "1.0"}, {"id": "F195", "data": "1.0"}),
        ({"name": "seat position", "data": 3}, {"name": "seat position", "data": 3}),
    ],
)
def test_what_is_named_as_a_position_inside_an_answer_is_left_out_and_said_so(
    body: dict[str, Any], told: dict[str, Any]
) -> None:
    assert told_to(session(position=False), body) == told
    assert told_to(session(position=True), body) == body


@pytest.mark.parametrize("name", ["gps-fix", "last location", "vehicle position"])
def test_an_answer_that_is_a_position_is_refused_whoever_asked_by_which_number(name: str) -> None:
    with pytest.raises(Forbidden, match="where the vehicle is"):
        told_to(session(position=False), {"id": "0300", "name": name, "data": "51N"})


class Receiver:
    """A supplier's ECU that speaks no UDS: its list has one name for a datum, and its answer another."""

    def __init__(self, *, listed: str, told: str) -> None:
        self._listed, self._told = listed, told

    async def data(self) -> tuple[DataItem, ...]:
        return (DataItem(id="4711", name=self._listed, category="currentData"),)

    async def datum(self, name: str) -> dict[str, Any]:
        return {"name": self._told, "data": "51N"} if self._told else {"id": name, "data": "51N"}


@pytest.mark.parametrize(
    ("listed", "told"), [("last location", ""), ("last location", "4711"), ("4711", "last location")]
)
def test_a_position_of_an_ecu_without_uds_is_one_whichever_of_its_names_says_so(
    listed: str, told: str
) -> None:
    agent: Any = Receiver(listed=listed, told=told)
    body = asyncio.run(AgentWay("receiver", agent).read("4711"))
    assert (body["id"], body["name"], body["data"]) == ("4711", "last location", "51N")
    assert told_to(session(position=True), body) == body
    with pytest.raises(Forbidden, match="where the vehicle is"):
        told_to(session(position=False), body)


@pytest.mark.parametrize(
    ("policy", "position", "state", "consent"),
    [
        ("driver", False, "asked", ""),
        ("driver", True, "asked", ""),
        ("standing", False, "open", "standing"),
        ("standing", True, "asked", ""),  # what the fleet agreed to for good is not where its drivers are
        ("test", True, "open", "test"),
    ],
)
def test_consent_to_a_position_is_its_own(policy: Policy, position: bool, state: str, consent: str) -> None:  # noqa: FBT001
    made = session(position=position, policy=policy)
    assert (made.state, made.consent, made.position) == (state, consent, position)


def test_no_vehicle_that_allows_no_diagnostics_tells_where_it_is() -> None:
    made = decide_session("off", wanted(position=True), session_id="s1", others=0, now=NOW)
    assert isinstance(made, Declined)


def test_a_yes_to_a_session_without_positions_is_none_to_one_with() -> None:
    plain, placed = (session(position=position, policy="driver") for position in (False, True))
    assert seen_of(plain) != seen_of(placed)


@pytest.mark.parametrize(
    ("policy", "position", "says"),
    [
        ("driver", True, "They could also read where the vehicle is and was."),
        ("test", True, "They may also read where the vehicle is and was."),
        ("driver", False, "This does not let them read where the vehicle is or was."),
        ("test", False, "This does not let them read where the vehicle is or was."),
    ],
)
def test_the_driver_reads_whether_it_is_about_where_the_vehicle_is(
    policy: Policy, position: bool, says: str  # noqa: FBT001
) -> None:  # fmt: skip
    assert says in render_visits([session(position=position, policy=policy)], token="t", zone=UTC)


def test_a_vehicle_from_before_is_asked_as_ever_unless_positions_are_wanted() -> None:
    assert b"position" not in msgspec.json.encode(wanted(position=False))
    assert b'"position":true' in msgspec.json.encode(wanted(position=True))
