"""The unmodified kuksa-client gets, sets and subscribes at a vehicle's `kuksa.val.v2` face."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep

import msgspec
import pytest
from kuksa_client.grpc import Datapoint, VSSClient, VSSClientError
from structlog.testing import capture_logs

from ringroad.kernel.clock import SystemClock
from ringroad.protocol.vehicle import Sample
from ringroad.vehicle.kuksa import HOST
from ringroad.vehicle.leaves import SharedSignals, read_tree
from ringroad.vehicle.run import BIND_AGAIN_S, _serve_signals
from support.diagnosed import DiagnosedVehicle
from support.docs_pages import ROOT, fences
from support.ports import free_port

SPEED, OPEN, GEAR, NAME = "Vehicle.Speed", "Vehicle.Cabin.Door.IsOpen", "Vehicle.Gear", "Vehicle.Name"
TREE = {
    "Vehicle": {
        "type": "branch",
        "children": {
            "Speed": {"type": "sensor", "datatype": "float", "unit": "km/h"},
            "Gear": {"type": "actuator", "datatype": "int8"},
            "Name": {"type": "attribute", "datatype": "string"},
            "Cabin": {
                "type": "branch",
                "children": {
                    "Door": {
                        "type": "branch",
                        "children": {"IsOpen": {"type": "sensor", "datatype": "boolean"}},
                    }
                },
            },
        },
    }
}


class FromTheBus:
    """What the vehicle reads by itself."""

    def read(self, now: datetime) -> list[Sample]:
        return [Sample(at=now, path="Vehicle.TraveledDistance", value=1234.5)]


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> SharedSignals:
    file = tmp_path_factory.mktemp("vss") / "vss.json"
    file.write_text(json.dumps(TREE))
    return SharedSignals(FromTheBus(), read_tree(file))


def listens(port: int) -> None:
    """Wait until somebody listens there."""
    until = monotonic() + 60
    while True:
        try:
            socket.create_connection((HOST, port), timeout=5).close()
            return
        except OSError:
            assert monotonic() < until
            sleep(0.02)


def heard(told: Sequence[object]) -> None:
    """Wait until something was told."""
    until = monotonic() + 60
    while not told:
        assert monotonic() < until
        sleep(0.02)


@pytest.fixture(scope="module")
def client(signals: SharedSignals, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VSSClient]:
    port, loop, tasks = free_port(), asyncio.new_event_loop(), list[asyncio.Task[None]]()

    vehicle = DiagnosedVehicle(tmp_path_factory.mktemp("vehicle"))
    config = msgspec.structs.replace(vehicle.config, kuksa_port=port)

    async def serve() -> None:
        tasks.append(asyncio.create_task(_serve_signals(config, signals, SystemClock())))
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        listens(port)
        with VSSClient(HOST, port) as opened:
            yield opened
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        thread.join(60)
        loop.close()


def test_it_sets_and_gets_each_type_and_reads_what_the_vehicle_knows(client: VSSClient) -> None:
    client.set_current_values(
        {SPEED: Datapoint(42.5), OPEN: Datapoint(True), GEAR: Datapoint(-1), NAME: Datapoint("Wren")}
    )
    found = client.get_current_values([SPEED, OPEN, GEAR, NAME, "Vehicle.TraveledDistance"])
    assert {path: each.value for path, each in found.items()} == {
        SPEED: 42.5, OPEN: True, GEAR: -1, NAME: "Wren", "Vehicle.TraveledDistance": 1234.5,
    }  # fmt: skip


def test_the_example_of_the_documentation_runs_as_written(
    client: VSSClient, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/howto/run-a-vehicle.md").read_text(encoding="utf-8")
    (example,) = [
        "\n".join(block.lines)
        for block in fences(page)
        if any("kuksa_client" in line for line in block.lines)
    ]
    port = client.target_host.rpartition(":")[2]
    exec(example.replace("55555", port), {})  # noqa: S102 - what a person would run
    speed, distance, changed = capsys.readouterr().out.splitlines()
    assert speed.startswith("Vehicle.Speed 12.5 20")
    assert distance.startswith("Vehicle.TraveledDistance 1234.5 20")
    assert changed == "now 12.5"


def test_it_subscribes_and_hears_what_changes(client: VSSClient, signals: SharedSignals) -> None:
    client.set_current_values({SPEED: Datapoint(1.0)})
    heard: list[float] = []
    for update in client.subscribe_current_values([SPEED]):
        heard.append(update[SPEED].value)
        if len(heard) == 3:
            break
        signals.publish(SPEED, heard[-1] + 1, now=SystemClock().now())
    assert heard == [1.0, 2.0, 3.0]


def test_a_leaf_that_is_missing_blinds_no_subscription(client: VSSClient) -> None:
    client.set_current_values({SPEED: Datapoint(7.0)})
    for update in client.subscribe_current_values(["Vehicle.NotThere", SPEED]):
        assert {path: each.value for path, each in update.items()} == {SPEED: 7.0}
        break


def test_a_branch_is_all_of_its_leaves(client: VSSClient) -> None:
    client.set_current_values({OPEN: Datapoint(False)})
    for update in client.subscribe_current_values(["Vehicle.Cabin.*"]):
        assert {path: each.value for path, each in update.items()} == {OPEN: False}
        break


@pytest.mark.parametrize("path", ["Vehicle.NotThere", "Vehicle.Cabin.Door.IsOpen.Wider"])
def test_what_is_not_there_is_not_found(client: VSSClient, path: str) -> None:
    with pytest.raises(VSSClientError):
        client.get_current_values([path])
    with pytest.raises(VSSClientError):
        client.set_current_values({path: Datapoint(1)})
    with pytest.raises(VSSClientError):
        next(client.subscribe_current_values([path]))


def test_a_value_out_of_its_types_range_is_refused(client: VSSClient) -> None:
    with pytest.raises(VSSClientError):
        client.set_current_values({GEAR: Datapoint(300)})
    with pytest.raises(VSSClientError):
        client.set_current_values({GEAR: Datapoint(-129)})


def test_a_port_that_is_taken_is_told_with_what_to_do_and_tried_again_soon(
    signals: SharedSignals, tmp_path: Path
) -> None:
    """As after a quick restart, when the process of before still listens."""
    taken = socket.create_server((HOST, 0))
    config = msgspec.structs.replace(DiagnosedVehicle(tmp_path).config, kuksa_port=taken.getsockname()[1])

    async def story() -> None:
        with capture_logs() as told:
            task = asyncio.create_task(_serve_signals(config, signals, SystemClock()))
            await asyncio.to_thread(heard, told)
            taken.close()
            try:
                async with asyncio.timeout(BIND_AGAIN_S / 2):
                    await asyncio.to_thread(listens, config.kuksa_port)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        assert told[0]["reason"] == f"port {config.kuksa_port} on {HOST} is taken"
        assert "choose another kuksa_port" in told[0]["hint"]

    asyncio.run(story())
