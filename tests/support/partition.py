"""A way to the database that can be cut: nothing arrives any more, and nobody is told.

Run as a program it forwards one port to one database, for a network namespace of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Way:
    """Forwards connections to a database; while it is cut, bytes of both directions wait."""

    def __init__(self, url: str) -> None:
        self._url, self._to = url, conninfo_to_dict(url)
        self._open = asyncio.Event()
        self._open.set()
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port = 0

    def url(self, host: str = "127.0.0.1") -> str:
        return make_conninfo(self._url, host=host, port=str(self.port))

    def cut(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._open.clear)

    def mend(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._open.set)

    def end(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)

    async def serve(self, ready: threading.Event, host: str = "127.0.0.1") -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._forward, host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._over.wait()
        server.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        socket = f"{self._to['host']}/.s.PGSQL.{self._to['port']}"
        there, back = await asyncio.open_unix_connection(socket)
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            for each in (back, writer):
                each.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.contextmanager
def way_to(url: str) -> Iterator[Way]:
    """Forward a loopback port to the database until the block ends."""
    way, ready = Way(url), threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(way.serve(ready),))
    thread.start()
    try:
        assert ready.wait(60), "no way to the database"
        yield way
    finally:
        way.mend()
        way.end()
        thread.join(60)


@dataclass(frozen=True)
class Namespace:
    """A network namespace, joined to ours by one pair of interfaces."""

    name: str
    ours: str  # our end of the pair
    address: str  # of its end

    def cut(self) -> None:
        ip("link", "set", self.ours, "down")

    def mend(self) -> None:
        ip("link", "set", self.ours, "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a network namespace; remove it at the end.

    Raises:
        PermissionError: it may not be made here, and why.
    """
    if shutil.which("ip") is None:
        raise PermissionError("there is no program `ip`; on Debian, apt install iproute2")
    pid = os.getpid()
    made = Namespace(name=f"ringroad-{pid}", ours=f"rr{pid}a", address=f"198.18.{pid % 250}.2")
    theirs = f"rr{pid}b"
    try:
        ip("netns", "add", made.name)
    except subprocess.CalledProcessError as error:
        raise PermissionError(f"no network namespace may be made here: {error.stderr.strip()}") from error
    try:
        try:
            ip("link", "add", made.ours, "type", "veth", "peer", "name", theirs, "netns", made.name)
        except subprocess.CalledProcessError as error:
            raise PermissionError(f"no interface may be made here: {error.stderr.strip()}") from error
        ip("address", "add", f"198.18.{pid % 250}.1/30", "dev", made.ours)
        ip("-n", made.name, "address", "add", f"{made.address}/30", "dev", theirs)
        ip("-n", made.name, "link", "set", theirs, "up")
        made.mend()
        yield made
    finally:
        ip("netns", "del", made.name)  # and with it the pair


@contextlib.contextmanager
def way_through(made: Namespace, url: str) -> Iterator[str]:
    """Forward a port in a namespace to the database; yield the URL by which it is reached from outside."""
    command = ["ip", "netns", "exec", made.name, sys.executable, str(Path(__file__)), url, made.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            way = Way(url)
            way.port = int(process.stdout.readline())
            yield way.url(made.address)
        finally:
            process.kill()


async def main(url: str, host: str) -> None:
    way, ready = Way(url), threading.Event()
    serving = asyncio.create_task(way.serve(ready, host))
    while not ready.is_set():  # noqa: ASYNC110 - once, at the start
        await asyncio.sleep(0.01)
    sys.stdout.write(f"{way.port}\n")
    sys.stdout.flush()
    await serving


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
