"""A real OPC UA server: the bridge hears its stations, and the line's state follows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from asyncua.common.node import Node
from asyncua.server.server import Server

from ringroad.build.plant.read import read_plant
from ringroad.cli.plant_opcua import Bridge, bound_stations
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput
from ringroad.sim.api import TIMEOUT_S, Api
from ringroad.storage.db import connect, transaction
from support.console_server import add_account, serving
from support.mes import emptied, new_order, reading, wren
from support.ports import free_port

pytestmark = pytest.mark.engines

PLANT = (Path(__file__).parents[2] / "examples" / "first" / "plant.toml").read_text(encoding="utf-8")
BINDINGS = """
[bindings."assembly/Line 1/marriage"]
order = "ns=2;s=marriage.order"
lot = "ns=2;s=marriage.lot"
result = "ns=2;s=marriage.result"

[bindings."assembly/Line 1/flash_and_test"]
order = "ns=2;s=test.order"
result = "ns=2;s=test.result"
stopped = "ns=2;s=test.stopped"
"""
NODES = ("marriage.order", "marriage.lot", "test.order", "test.result", "test.stopped")
WAIT_S = 60.0


async def machine(port: int) -> tuple[Server, dict[str, Node]]:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/line")
    index = await server.register_namespace("urn:ringroad:test")
    assert index == 2
    nodes = {
        name: await server.nodes.objects.add_variable(f"ns=2;s={name}", f"2:{name}", "") for name in NODES
    }
    return server, nodes


async def line_after(port: int, bridge: Bridge, order: str, client: httpx.AsyncClient) -> dict[str, object]:
    """Let a vehicle go through the line on the OPC UA server, and return the state that follows."""
    server, nodes = await machine(port)
    stop = asyncio.Event()

    async def changed(name: str, value: str, told: int) -> None:
        await nodes[name].write_value(value)
        async with asyncio.timeout(WAIT_S):
            while bridge.told < told:  # noqa: ASYNC110 - another task tells
                await asyncio.sleep(0.02)

    async with server:
        hearing = asyncio.create_task(bridge.run(stop))
        await changed("marriage.order", order, 1)
        await changed("marriage.lot", "battery:B-17", 2)
        await changed("marriage.order", "", 3)
        await changed("test.order", order, 4)
        await changed("test.result", "leak:failed", 5)
        await changed("test.stopped", "tester lost its probe", 6)
        await changed("test.result", "leak:perhaps", 6)
        async with asyncio.timeout(WAIT_S):
            while True:
                state: dict[str, object] = (await client.get("/line-state")).json()
                if state["position"] == 6 and bridge.unread:
                    break
                await asyncio.sleep(0.05)
        stop.set()
        await hearing
    return state


def test_what_happens_on_an_opc_ua_server_is_where_the_vehicles_are(
    pg_url: str, nats_url: str, tmp_path: Path
) -> None:
    asyncio.run(emptied(nats_url))
    with connect(pg_url) as conn, transaction(conn):
        wren(conn)
        order = new_order(conn)
    token, said = add_account(pg_url, "olga", Role.OPERATOR), list[str]()
    stations, programme = bound_stations(read_plant(PLANT + BINDINGS), None)
    port = free_port()

    async def scenario(origin: str) -> dict[str, object]:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx.AsyncClient(base_url=origin, timeout=TIMEOUT_S) as http,
            httpx.AsyncClient(base_url=f"{origin}/api/v1/programmes/wren", headers=headers) as client,
        ):
            bridge = Bridge(
                url=f"opc.tcp://127.0.0.1:{port}/line", stations=stations, programme=programme,
                api=Api(http, token, asyncio.sleep), clock=SystemClock(), say=said.append,
            )  # fmt: skip
            return await line_after(port, bridge, order, client)

    with serving(pg_url, tmp_path, nats_url=nats_url) as origin, reading(nats_url, pg_url):
        state = asyncio.run(scenario(origin))
    stations_now = state["stations"]
    assert isinstance(stations_now, list)
    assert [(each["name"], each["inside"], each["left"], each["stopped"]) for each in stations_now] == [
        ("marriage", [], 1, ""),
        ("flash_and_test", [order], 0, "tester lost its probe"),
    ]
    assert state["failed"] == {order: ["leak"]}
    assert any("result 'leak:perhaps' is not CHECK:passed" in each for each in said)
    nowhere = f"opc.tcp://127.0.0.1:{port}/line says BadNodeIdUnknown of ns=2;s=marriage.result"
    assert f"marriage: result is not heard: {nowhere}" in said  # the server has no such node


def test_a_plant_without_bindings_is_not_heard() -> None:
    with pytest.raises(InvalidInput, match="no station of Line 1 is bound"):
        bound_stations(read_plant(PLANT), "wren")
    with pytest.raises(InvalidInput, match="has 0 such lines"):
        bound_stations(read_plant(PLANT), "robin")


def test_a_node_that_is_bound_twice_is_refused_by_both_its_stations() -> None:
    twice = BINDINGS.replace("ns=2;s=test.order", "ns=2;s=marriage.order")
    said = "ns=2;s=marriage.order is bound twice: to marriage: order, and to flash_and_test: order"
    with pytest.raises(InvalidInput, match=said):
        bound_stations(read_plant(PLANT + twice), "wren")
