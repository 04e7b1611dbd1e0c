"""MiB/s of a flash download over loopback: our client and doipclient + udsoncan, same server process, same run.

Run: python -m benchmarks vecu_transfer
"""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import udsoncan
import udsoncan.configs
from udsoncan.client import Client

from benchmarks.figures import Figure
from ringroad.vehicle.doip import DoipChannel, DoipEntity
from ringroad.vehicle.uds import Session, UdsClient, hmac_key

ADDRESS = 0x1001
SECRET = b"ringroad"
OWN_MIB = 16
OTHER_MIB = 4  # doipclient needs seconds for that
CONFIG = """
[ecu]
serial = "SN1"
hardware_id = "HW1"
vin = "WRR00000000000001"
layout = "inplace"
bank_bytes = {bank_bytes}
block_bytes = {block_bytes}
[server]
flash = "flash.bin"
port_file = "port"
fsync = false
"""


async def ours(port: int, data: bytes) -> float:
    channel = DoipChannel(DoipEntity("127.0.0.1", port), ecu_address=ADDRESS)
    uds = UdsClient(channel=channel, timeout_s=30.0)
    await uds.session(Session.EXTENDED)
    await uds.session(Session.PROGRAMMING)
    await uds.unlock(hmac_key(SECRET))
    await uds.routine(0xFF00)

    async def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    started = time.perf_counter()
    block_bytes = await uds.download(0, len(data))
    await uds.transfer(read, len(data), block_bytes=block_bytes, progress=lambda _: None)
    seconds = time.perf_counter() - started
    await channel.close()
    return seconds


def theirs(port: int, data: bytes) -> float:
    doip: Any = importlib.import_module("doipclient")
    connectors: Any = importlib.import_module("doipclient.connectors")
    wire = doip.DoIPClient("127.0.0.1", ADDRESS, tcp_port=port, client_ip_address="127.0.0.1")
    config: Any = dict(udsoncan.configs.default_client_config)
    config |= {
        "security_algo": lambda level, seed, **_: hmac_key(SECRET)(level, seed),
        "request_timeout": 30,
    }
    with Client(connectors.DoIPClientUDSConnector(wire), config=config) as client:
        client.change_session(3)
        client.change_session(2)
        client.unlock_security_access(1)
        client.routine_control(0xFF00, 1)
        started = time.perf_counter()
        answer: Any = client.request_download(udsoncan.MemoryLocation(0, len(data), 32, 32))
        size = answer.service_data.max_length - 2
        for index, at in enumerate(range(0, len(data), size), start=1):
            client.transfer_data(index & 0xFF, data[at : at + size])
        client.request_transfer_exit()
        seconds = time.perf_counter() - started
    wire.close()
    return seconds


def pair(block_bytes: int) -> tuple[float, float]:
    """Return MiB/s of our client and of doipclient, against the same ECU process."""
    data = bytes(range(256)) * (OWN_MIB << 12)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "ecu.toml"
        config.write_text(CONFIG.format(bank_bytes=len(data), block_bytes=block_bytes), encoding="utf-8")
        command = [sys.executable, "-m", "ringroad.cli", "vecu", "run", "--config", str(config)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not (folder / "port").exists():
                if process.poll() is not None:
                    raise RuntimeError("the virtual ECU ended at once")
                time.sleep(0.05)
            port = int((folder / "port").read_text(encoding="ascii"))
            own = OWN_MIB / asyncio.run(ours(port, data))
            other = OTHER_MIB / theirs(port, data[: OTHER_MIB << 20])
        finally:
            process.terminate()
            process.wait(10)
    return own, other


def run() -> list[Figure]:
    figures = []
    for block_bytes in (4095, 65535):
        own, other = pair(block_bytes)
        note = f"doipclient {other:.1f} MiB/s in the same run, {own / other:.1f} times slower"
        figures.append(
            Figure(
                name=f"vecu.transfer.{block_bytes}",
                value=round(own, 1),
                unit="MiB/s",
                target=None,
                better="higher",
                note=note,
            )
        )
    return figures
