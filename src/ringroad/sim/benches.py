"""Benches for the conformance kit: an ECU that is a folder, and a virtual ECU behind UDS.

Power goes in the n-th change of the folder's `Disk`, or in the n-th write of the virtual ECU's flash.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import httpx

from ringroad.kernel.clock import Clock
from ringroad.sim.agentkit import Image
from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.http import SovdFace
from ringroad.sim.vecu.medium import MemoryMedium, PowerCut, TornMedium
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.plugins import AgentFactory, AgentSite, Setting
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.agents.sovd import SovdAgent
from ringroad.vehicle.uds import hmac_key

SERIAL: Final = "BENCH-0001"
HARDWARE: Final = "bench-hw-1"
SECRET: Final = b"bench"
VIN: Final = "WRR00000000000001"


class CutDisk:
    """A disk that loses power in its n-th step; what it kept until then is on the real one."""

    def __init__(self) -> None:
        self._disk = RealDisk(durability="buffered")  # power goes here, not in this computer
        self.steps = 0
        self.cut_at = 0
        self.keep_permille = 0
        self.was_cut = False

    def append(self, path: Path, data: bytes, *, mode: int = 0o644) -> None:
        """Add bytes to a file. Raises: OSError, PowerCut (a part of them is there)."""
        self._disk.append(path, data[: len(data) * self._step() // 1_000], mode=mode)
        self._end()

    def rename(self, old: Path, new: Path) -> None:
        """Give another name. Raises: OSError, PowerCut (it has it, or not)."""
        if self._step() == 1_000:
            self._disk.rename(old, new)
        self._end()

    def link(self, path: Path, target: str) -> None:
        """Make a link. Raises: OSError, PowerCut (it is there, or not)."""
        if self._step() == 1_000:
            self._disk.link(path, target)
        self._end()

    def make_folder(self, path: Path) -> None:
        """Make a folder. Raises: OSError, PowerCut (it is there, or not)."""
        if self._step() == 1_000:
            self._disk.make_folder(path)
        self._end()

    def set_mode(self, path: Path, mode: int) -> None:
        """Give rights. Raises: OSError, PowerCut (it has them, or not)."""
        if self._step() == 1_000:
            self._disk.set_mode(path, mode)
        self._end()

    def remove(self, path: Path) -> None:
        """Remove something. Raises: OSError, PowerCut (a part of a folder is gone)."""
        keep = self._step()
        if keep == 1_000:
            self._disk.remove(path)
        elif path.is_dir() and not path.is_symlink():
            inside = sorted(path.iterdir())
            for one in inside[: len(inside) * keep // 1_000]:
                self._disk.remove(one)
        self._end()

    def _step(self) -> int:
        """Count a step; return how much of it is done. In the dark nothing is."""
        if self.was_cut:
            return 0
        self.steps += 1
        self.was_cut = self.steps == self.cut_at
        return self.keep_permille if self.was_cut else 1_000

    def _end(self) -> None:
        if self.was_cut:
            raise PowerCut(f"power was cut in step {self.steps}")


class FolderBench:
    """An ECU that is a folder, for any agent that changes it through `AgentSite.disk`.

    Args:
        factory: makes the agent.
        folder: for the ECU; emptied again and again.
        old: image that runs.
        new: image that shall run.
        settings: of the agent.
        mode: ``ab`` or ``inplace``.
    """

    def __init__(
        self,
        factory: AgentFactory,
        folder: Path,
        *,
        old: Image,
        new: Image,
        settings: Mapping[str, Setting] | None = None,
        mode: Literal["ab", "inplace"] = "ab",
    ) -> None:
        self.serial = SERIAL
        self.hardware_id = HARDWARE
        self.mode = mode
        self.old = old
        self.new = new
        self.disk = CutDisk()
        self._factory = factory
        self._folder = folder
        self._settings = settings or {}

    def renew(self) -> None:
        """Empty the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self.cut(0, 0)

    def power_on(self) -> UpdateAgent:
        """Make the agent anew."""
        return self._factory(
            AgentSite(
                name="bench",
                serial=SERIAL,
                hardware_id=HARDWARE,
                mode=self.mode,
                folder=self._folder,
                disk=self.disk,
                settings=self._settings,
            )
        )

    def cut(self, at_step: int, keep_permille: int) -> None:
        """Let power go in the n-th change from now."""
        self.disk.steps, self.disk.was_cut = 0, False
        self.disk.cut_at, self.disk.keep_permille = at_step, keep_permille

    @property
    def was_cut(self) -> bool:
        """Whether power went."""
        return self.disk.was_cut


class VecuBench:
    """A virtual ECU behind UDS, for agents that speak to their ECU over a channel.

    Args:
        factory: makes the agent.
        clock: for the ECU's sessions.
        old: image that runs.
        new: image that shall run.
        mode: how the ECU keeps its software.
        settings: of the agent.
        config: of the virtual ECU, if not the small one.
    """

    def __init__(
        self,
        factory: AgentFactory,
        *,
        clock: Clock,
        old: Image,
        new: Image,
        mode: Literal["ab", "inplace"],
        settings: Mapping[str, Setting] | None = None,
        config: EcuConfig | None = None,
    ) -> None:
        self.serial = SERIAL
        self.hardware_id = HARDWARE
        self.mode = mode
        self.old = old
        self.new = new
        self._factory = factory
        self._clock = clock
        self._settings = settings or {}
        self._config = config or EcuConfig(
            serial=SERIAL, hardware_id=HARDWARE, vin=VIN, layout=mode, bank_bytes=16_384, secret=SECRET,
            block_bytes=1_026,
        )  # fmt: skip
        self._port: EcuPort | None = None
        self.renew()

    def renew(self) -> None:
        """Solder in blank flash."""
        self._medium = TornMedium(MemoryMedium(), cut_at_write=None)
        self._port = None

    def power_on(self) -> UpdateAgent:
        """Start the ECU from its flash, and make the agent anew."""
        if self._port is None:
            self._port = EcuPort(self._config, self._medium, clock=self._clock)
        else:
            self._port.power_cycle()
        return self._agent(self._port)

    def _agent(self, port: EcuPort) -> UpdateAgent:
        access = EcuAccess(serial=SERIAL, derive=hmac_key(SECRET), timeout_s=1.0, restart_s_max=1.0)
        return self._factory(
            AgentSite(
                name="bench",
                serial=SERIAL,
                hardware_id=HARDWARE,
                mode=self.mode,
                folder=Path(),
                disk=RealDisk(),
                settings=self._settings,
                channel=MemoryChannel(port),
                access=access,
            )
        )

    def cut(self, at_step: int, keep_permille: int) -> None:
        """Let the ECU lose its power in the n-th write from now; it starts again at once."""
        self._medium.writes = 0
        self._medium.cut_at_write = at_step or None
        self._medium.keep_permille = keep_permille

    @property
    def was_cut(self) -> bool:
        """Whether it lost its power."""
        cut_at = self._medium.cut_at_write
        return cut_at is not None and self._medium.writes >= cut_at


class HttpBench(VecuBench):
    """A virtual ECU behind HTTP, in this process."""

    def __init__(self, *, clock: Clock, old: Image, new: Image) -> None:
        super().__init__(no_agent, clock=clock, old=old, new=new, mode="ab")

    def _agent(self, port: EcuPort) -> UpdateAgent:
        site = AgentSite(
            name="bench", serial=SERIAL, hardware_id=HARDWARE, mode="ab", folder=Path(), disk=RealDisk(),
            settings={"url": "http://bench"}, secret=SECRET,
        )  # fmt: skip
        return SovdAgent(site, transport=httpx.ASGITransport(SovdFace(port)))


def no_agent(site: AgentSite) -> UpdateAgent:
    """Make none. Raises: NotImplementedError."""
    raise NotImplementedError(site.name)
