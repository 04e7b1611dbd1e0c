"""One lap, told step by step: signal, design, build, ship, adapt.

Everything goes through the management API and the gateways, as people and vehicles would.
The same seed gives the same story; only the seconds differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Unavailable
from ringroad.sim.assembly import BornVehicle
from ringroad.sim.demo.boxes import Box, run_box
from ringroad.sim.demo.firmware import Firmware, firmware_for, make_swu, make_swu_key, swupdate_ready
from ringroad.sim.demo.processes import Processes, run_as_processes
from ringroad.sim.demo.server import Server
from ringroad.sim.fleet import Fleet
from ringroad.sim.plant import Birth, Plant
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script

PROGRAMME = "roadster"
FAULT = "C0040-64"  # brake pressure sensor, signal plausibility failure
OLD, FIELD, BAD, GOOD = "2026.1", "2026.2", "2026.3", "2026.4"  # releases
WAVES = [{"permille": 100}, {"permille": 300}]  # the rest is a third wave
GATE = {
    "failed_permille_max": 20,
    "reports_min": 2,
    "soak_s": 1,
    "silence_s_max": 60,
    "silent_permille_max": 100,
}
TELL_S = 3.0  # seconds between two lines about one wave
LOOK_S = 0.25  # seconds between two looks at the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """How many of what take part."""

    vehicles: int = 50
    premium: int = 4  # of them with 33 ECUs
    processes: int = 2  # of them as processes of their own
    boxes: int = 2  # SWUpdate clients, where SWUpdate is installed
    later: int = 3  # born after the fix


@dataclass(slots=True, kw_only=True)
class Story:
    """The lap and everything that takes part.

    Attributes:
        server: the management API.
        fleet: vehicles in this process.
        plant: the line.
        processes: vehicles that are processes.
        sign: signs the Image repository's Targets with the offline keys.
        say: tells one line of progress: stage, text.
        firmware_folder: where the two shared objects are.
        work: scratch folder.
    """

    server: Server
    fleet: Fleet
    plant: Plant
    processes: Processes
    sign: Callable[[bytes], bytes]
    say: Callable[[str, str], None]
    clock: Clock
    cast: Cast
    seed: int
    ddi_url: str
    firmware_folder: Path
    work: Path
    programme_source: str
    document: Mapping[str, Any] = field(default_factory=dict)
    packages: dict[tuple[str, str], str] = field(default_factory=dict)  # (ECU, version) -> package id
    births: list[Birth] = field(default_factory=list)
    boxes_ready: bool = False
    apart: int = 0  # vehicles that run as processes

    # Build: what is in the field when the story begins -------------------------------------------------

    async def set_the_scene(self) -> None:
        """Import the programme, release and build the fleet that is in the field."""
        programme = await self.server.import_programme(self.programme_source)
        self.document = programme["document"]
        self.say("build", f"programme {PROGRAMME}: {len(self.document['ecus'])} ECU types, 3 variants")
        self.boxes_ready = swupdate_ready() and self.cast.boxes > 0
        if self.boxes_ready:
            await asyncio.to_thread(make_swu_key, self.work / "swu")
        older = await self.release(OLD, "0.9.0", everything=True)
        await self.server.set_baseline(older)
        half = self.cast.vehicles // 2
        await self.build_vehicles(half, note=f"with release {OLD}")
        newer = await self.release(FIELD, "1.0.0")
        await self.server.set_baseline(newer)
        await self.build_vehicles(self.cast.vehicles - half, note=f"with release {FIELD}")

    async def release(
        self, version: str, brake: str, *, everything: bool = False, change_id: str | None = None
    ) -> str:
        """Add packages, make a release of them, check it, sign it with the offline keys; return its id."""
        images = await asyncio.to_thread(self.images, brake, everything=everything)
        for image in images:
            package = await self.server.add_package(PROGRAMME, image, change_id=change_id)
            self.packages[image.ecu, image.version] = package["id"]
        release = await self.server.create_release(
            PROGRAMME, version=version, document=self.release_document(images), change_id=change_id
        )
        await self.server.check_release(release["id"])
        await self.server.sign_release(release["id"], self.sign)
        bytes_total = sum(len(image.data) for image in images)
        self.say(
            "build",
            f"release {version}: {len(images)} packages, {bytes_total:,} bytes, checked, signed offline",
        )
        return str(release["id"])

    def images(self, brake: str, *, everything: bool) -> list[Firmware]:
        """Return what a release brings: the brake's image, and more where it is due."""
        found = firmware_for(self.document["ecus"], brake, self.firmware_folder, everything=everything)
        if self.boxes_ready and (everything or brake == "1.2.0"):
            data = make_swu(
                self.work / "swu", version=brake, revision="1.0", installed=str(self.work / "telebox.bin"),
                payload=f"telebox {brake}\n".encode() * 2_000,
            )  # fmt: skip
            found.append(
                Firmware(
                    ecu="telebox", version=brake, format="swu", data=data, source="made with openssl and cpio"
                )
            )
        return found

    def release_document(self, images: list[Firmware]) -> dict[str, Any]:
        """Name the packages per variant, declare the rest untouched, and bind what is touched into one group."""
        chosen = {image.ecu: self.packages[image.ecu, image.version] for image in images}
        variants, untouched = {}, {}
        for name, variant in self.document["variants"].items():
            variants[name] = {ecu: chosen[ecu] for ecu in variant["ecus"] if ecu in chosen}
            untouched[name] = [ecu for ecu in variant["ecus"] if ecu not in chosen]
        native = [ecu for ecu in chosen if ecu != "telebox"]
        groups = [{"name": "chassis", "ecus": sorted(native, key=self._flash_order), "after": []}]
        if "telebox" in chosen:
            groups.append({"name": "telebox", "ecus": ["telebox"], "after": []})
        checks = [{"ecu": "brake", "kind": kind} for kind in ("version", "self_test")]
        return {
            "variants": variants,
            "untouched": untouched,
            "groups": groups,
            "post_checks": checks,
            "preconditions": ["Vehicle.Speed == 0"],
            "notes": "Brake pressure sensor plausibility",
            "rxswin": "",
        }

    def _flash_order(self, ecu: str) -> tuple[bool, bool, str]:
        """In place first (slow, risky), A/B next, the orchestrator's own image last."""
        table = self.document["ecus"][ecu]
        return bool(table["primary"]), table["storage"] == "ab", ecu

    def script(self) -> Script:
        """Say how the brake's images behave: 1.0.0 fails in the field, 1.1.0 fails its self-test."""
        digest = {version: image.sha256 for version in ("1.0.0", "1.1.0") for image in self._brake(version)}
        return Script(
            images={
                digest["1.0.0"]: Behaviour(faults=(FaultRate(code=FAULT, rate_permille=60, first_cycle=4),)),
                digest["1.1.0"]: Behaviour(self_test="fail"),
            }
        )

    def _brake(self, version: str) -> list[Firmware]:
        brake = {"brake": {"agent": "uds", "storage": "inplace"}}
        return firmware_for(brake, version, self.firmware_folder, everything=False)

    # Build: the line ----------------------------------------------------------------------------------

    async def build_vehicles(self, count: int, *, note: str, rush: bool = False) -> None:
        """Order vehicles and let the line build them."""
        first = not self.births
        variants = ["city"] * count
        if first:
            step = max(1, count // max(1, self.cast.premium))
            for number in range(self.cast.premium):
                variants[(number * step) % count] = "premium"
            if self.boxes_ready:
                variants += ["box"] * self.cast.boxes
        for variant in variants:
            await self.server.add_order(PROGRAMME, variant=variant, region="EU", rush=rush)
        schedule = await self.server.schedule(PROGRAMME)
        before = len(self.births)
        await self.plant.run(births_max=self.plant.born + len(variants))
        born = self.births[before:]
        ecus = sum(len(birth.registration["ecus"]) for birth in born)
        latency_ms = schedule["replan_latency_us"] / 1000
        self.say(
            "build",
            f"line: {len(born)} vehicles, {ecus} ECUs flashed at the end of the line {note}"
            f" (replanned in {latency_ms:.0f} ms)",
        )

    async def welcome(self, birth: Birth) -> None:
        """A vehicle left the line: let it drive, in this process, in its own, or as a SWUpdate client."""
        self.births.append(birth)
        if birth.vehicle is None:
            box = Box(
                folder=birth.folder, vin=birth.vin, hardware=self.document["ecus"]["telebox"]["hardware_id"],
                server=self.ddi_url, certificate=self.work / "swu" / "swu.crt",
            )  # fmt: skip
            self.processes.follow(birth.vin, asyncio.create_task(run_box(box, self.processes)))
        elif birth.variant == "city" and self.apart < self.cast.processes:
            await self._run_apart(birth.vehicle)
        else:
            self.fleet.start(birth.vehicle)

    async def _run_apart(self, vehicle: BornVehicle) -> None:
        self.apart += 1
        await run_as_processes(
            vehicle, self.processes, script=self.script(), seed=self.seed, cycle_s=self.fleet.cycle_s
        )

    # Signal and design --------------------------------------------------------------------------------

    async def wait_for_finding(self) -> dict[str, Any]:
        """Let the fleet drive until the server sees what is wrong."""
        self.say("signal", f"{len(self.births)} vehicles drive; telemetry and fault codes arrive over MQTT")

        async def look() -> dict[str, Any] | None:
            found = await self.server.findings(state="open")
            return found[0] if found else None

        finding = await until(look, within_s=300, what="a finding")
        self.say("signal", f"finding: {finding['title']}")
        return dict(finding)

    async def decide(self, finding: Mapping[str, Any]) -> dict[str, Any]:
        """Accept the finding and make it a change, with four eyes."""
        change = await self.server.accept_finding(
            finding,
            title="Brake: pressure sensor plausibility",
            target=f"{FAULT} no more often than before 1.0.0",
        )
        self.say("design", f"finding accepted, change approved: {change['title']}")
        return change

    # Ship ---------------------------------------------------------------------------------------------

    async def campaign(self, name: str, release_id: str) -> dict[str, Any]:
        """Plan, check, approve and start a campaign; follow it to its end; return it."""
        campaign_id = await self.server.start_campaign(
            name, release_id, query=f"programme = {PROGRAMME}", waves=WAVES, gate=GATE, seed=str(self.seed)
        )
        self.say("ship", f"campaign {name}: planned, checked, approved by a second person, started")
        begun, told, told_s = 0, (0, ""), 0.0

        async def look() -> dict[str, Any] | None:
            nonlocal begun, told, told_s
            now = await self.server.campaign(campaign_id)
            for wave in range(
                begun + 1, now["wave"] + 1
            ):  # each once, also one that was over between two looks
                self.say("ship", f"  {name}: wave {wave} begins")
            begun = now["wave"]
            counts = await self.server.counts(campaign_id, wave=now["wave"])
            line = ", ".join(
                f"{count} {state}" for state, count in sorted(counts.items()) if state != "pending"
            )
            ended = now["state"] in {"halted", "finished", "aborted"}
            news = bool(line) and (now["wave"], line) != told
            pause = now["wave"] == told[0] and self.clock.monotonic_s() - told_s < TELL_S
            if news and (ended or not pause):
                told, told_s = (now["wave"], line), self.clock.monotonic_s()
                self.say("ship", f"  wave {now['wave']}: {line}")
            return now if ended else None

        ended = await until(look, within_s=900, what=f"the end of campaign {name}")
        self.say("ship", f"campaign {name}: {ended['state']} {ended.get('state_reason', '')}".rstrip())
        return ended

    # The lap ------------------------------------------------------------------------------------------

    async def run(self) -> dict[str, Any]:
        """Tell the whole story; return the lap's report and the outcome."""
        await self.set_the_scene()
        finding = await self.wait_for_finding()
        change = await self.decide(finding)
        bad = await self.release(BAD, "1.1.0", change_id=change["id"])
        first = await self.campaign("first fix", bad)
        if first["state"] != "halted":
            raise Unavailable(
                "the bad fix was not halted", hint="this is a bug; please report it with the seed"
            )
        await self.wait_for_rollback(first["id"])
        good = await self.release(GOOD, "1.2.0", change_id=change["id"])
        second = await self.campaign("second fix", good)
        if second["state"] != "finished":
            raise Unavailable(f"the second campaign ended {second['state']}")
        await self.server.set_baseline(good)
        await self.build_vehicles(self.cast.later, note=f"with release {GOOD}", rush=True)
        return await self.wait_for_verdict(finding)

    async def wait_for_rollback(self, campaign_id: str) -> None:
        """See the vehicles of the halted wave back on what they had."""

        async def look() -> int | None:
            counts = await self.server.counts(campaign_id)
            open_ones = sum(counts.get(state, 0) for state in ("offered", "active", "cancelling"))
            return counts.get("rolled_back", 0) or None if open_ones == 0 else None

        count = await until(look, within_s=300, what="the vehicles to roll back")
        self.say("ship", f"{count} vehicles rolled back by themselves; no other was touched")

    async def wait_for_verdict(self, finding: Mapping[str, Any]) -> dict[str, Any]:
        """Wait until the same measure was taken again."""

        async def look() -> dict[str, Any] | None:
            outcomes = await self.server.outcomes(finding["id"])
            final = [one for one in outcomes if one["verdict"] in {"better", "worse"}]
            return final[0] if final else None

        outcome = await until(look, within_s=300, what="a verdict")
        self.say("adapt", f"verdict: {outcome['verdict']}")
        return {"outcome": outcome, "lap": await self.server.lap(finding["lap_id"])}


T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], *, within_s: float, what: str) -> T:
    """Return the first thing that `look` finds.

    Raises:
        Unavailable: nothing came in time.
    """
    for _ in range(int(within_s / LOOK_S)):
        found = await look()
        if found is not None:
            return found
        await asyncio.sleep(LOOK_S)
    raise Unavailable(f"{what} did not come within {within_s:g} s", hint="see the logs in the demo's var/log")
