"""MiB/s of flash downloads over DoIP: 33 ECUs at once in one process, and one beside doipclient.

The 33 are virtual ECUs as `ringroad vecu run` serves them, each with its port and its flash file (no fsync), in this
process; so are their testers. The pair with doipclient is the same ECU process for both, as in `vecu_transfer`.

Run: python -m benchmarks doip
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks import vecu_transfer
from benchmarks.figures import Figure
from ringroad.kernel.clock import SystemClock
from ringroad.sim.vecu.config import EcuConfig, ServerConfig, ServerTable
from ringroad.sim.vecu.server import VecuServer
from ringroad.vehicle.doip import DoipChannel, DoipEntity
from ringroad.vehicle.uds import Session, UdsClient, hmac_key

ECUS = 33
BYTES = 4 << 20  # per ECU
BLOCK_BYTES = 65_535
ROUNDS = 3  # the median counts
FIRST_ADDRESS = 0x1001


async def download(port: int, address: int, data: bytes, ready: asyncio.Barrier) -> None:
    """Unlock and erase one ECU, wait for the others, then transfer."""
    channel = DoipChannel(DoipEntity("127.0.0.1", port), ecu_address=address)
    uds = UdsClient(channel=channel, timeout_s=60.0)
    await uds.session(Session.EXTENDED)
    await uds.session(Session.PROGRAMMING)
    await uds.unlock(hmac_key(b"ringroad"))
    await uds.routine(0xFF00)

    async def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    await ready.wait()
    block_bytes = await uds.download(0, len(data))
    await uds.transfer(read, len(data), block_bytes=block_bytes, progress=lambda _: None)
    await channel.close()


async def all_at_once(folder: Path) -> float:
    """Seconds from the last ECU's being erased to the last byte of all."""
    data = bytes(range(256)) * (BYTES >> 8)
    servers = []
    for number in range(ECUS):
        ecu = EcuConfig(
            serial=f"SN{number}", hardware_id="HW1", vin="WRR00000000000001", layout="inplace", bank_bytes=BYTES,
            block_bytes=BLOCK_BYTES, s3_s=60.0,
        )  # fmt: skip
        table = ServerTable(flash=f"{number}.bin", fsync=False, logical_address=FIRST_ADDRESS + number)
        servers.append(VecuServer(ServerConfig(ecu=ecu, server=table, folder=folder), clock=SystemClock()))
    ports = [await server.start() for server in servers]
    ready = asyncio.Barrier(ECUS + 1)
    async with asyncio.TaskGroup() as group:
        for number, port in enumerate(ports):
            group.create_task(download(port, FIRST_ADDRESS + number, data, ready))
        await ready.wait()
        started = time.perf_counter()
    seconds = time.perf_counter() - started
    for number, server in enumerate(servers):
        assert (folder / f"{number}.bin").stat().st_size > BYTES
        await server.close()
    return seconds


def run() -> list[Figure]:
    taken = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            taken.append(asyncio.run(all_at_once(Path(name))))
    seconds = sorted(taken)[ROUNDS // 2]
    own, other = vecu_transfer.pair(BLOCK_BYTES)
    return [
        Figure(
            name="doip.aggregate_mib_s", value=round(ECUS * (BYTES >> 20) / seconds, 1), unit="MiB/s", target=50.0,
            better="higher",
            note=f"{ECUS} ECUs x {BYTES >> 20} MiB in {seconds:.2f} s, testers and ECUs in one process; median of {ROUNDS}",
        ),
        Figure(
            name="doip.ratio_doipclient", value=round(own / other, 1), unit="times", target=20.0, better="higher",
            note=f"{own:.0f} against {other:.1f} MiB/s, blocks of {BLOCK_BYTES} bytes, same ECU, same run",
        ),
    ]  # fmt: skip
