"""Runs one vehicle: orchestrator, collector and their tasks, wired together.

One process may run many: they may share an HTTP client, and a simulated vehicle may do without fsync.
An idle vehicle costs one poll per `poll_s`, one MQTT ping per two minutes and one telemetry batch per
`telemetry_s`; while its signals are alive it also looks for faults once a second (`observe.py`).
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import httpx
import structlog
from securesystemslib.signer import CryptoSigner

from ringroad.kernel.clock import Clock, Ids, new_secret
from ringroad.kernel.errors import InvalidInput, RingroadError
from ringroad.kernel.hours import find_zone
from ringroad.protocol.preconditions import parse_expression
from ringroad.trust.state import TrustState
from ringroad.vehicle.address import parse_address
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.backoff import backoff_s
from ringroad.vehicle.birth import carried
from ringroad.vehicle.collector import Broker, Collector, TelemetryQueue
from ringroad.vehicle.config import (
    VehicleConfig,
    on_board,
    quiet_window,
    read_keys,
    read_roots,
    read_token,
    vin_of,
)
from ringroad.vehicle.consent import read_word
from ringroad.vehicle.diagnostics.bulk import JournalLines, Line, LogRing, audit_lines, signal_lines
from ringroad.vehicle.diagnostics.desk import Desk, Place
from ringroad.vehicle.diagnostics.link import DiagnosticLink
from ringroad.vehicle.diagnostics.sessions import Sessions
from ringroad.vehicle.ending import end_if_cancelled
from ringroad.vehicle.files import TELEMETRY_NAME, Durability
from ringroad.vehicle.gateway import POOL_CONNECTIONS_MAX, Gateway, new_client
from ringroad.vehicle.journal import RecordHook
from ringroad.vehicle.leaves import SharedSignals, read_tree
from ringroad.vehicle.memory import Observer
from ringroad.vehicle.observe import SampleRing, keep_ring, observe, ring_of
from ringroad.vehicle.orchestrator import IMAGES_NAME, Orchestrator, Vehicle
from ringroad.vehicle.peers import PeerCaches, PeerShare
from ringroad.vehicle.signals import SignalSource
from ringroad.vehicle.unblock import heed_unblock
from ringroad.vehicle.writable import parse_writes

TOKEN_BYTES: Final = 16  # of the driver page's forms; new with each start

BIND_AGAIN_S: Final = 30.0  # s; longest wait before a port that was taken is tried again

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a vehicle needs from the process that runs it.

    Attributes:
        clock: real or simulated.
        ids: for the journal's epoch.
        fraction: random numbers in [0, 1) for jitter.
        agents: by ECU serial.
        signals: VSS samples.
        client: shared HTTP client, or None for one of its own from the configuration.
        downloads_max: images that one vehicle fetches at a time over a shared client.
        keys: each ECU's signer by serial, or None to read them from the folder.
        roots: trust to start from, or None to read it from the folder.
        durability: of every file in the data folder.
        hook: around every journal record.
        observer: told of every journal entry.
        log: what the process logged, for whoever diagnoses; None: nobody keeps it.
    """

    clock: Clock
    ids: Ids
    fraction: Callable[[], float]
    agents: Mapping[str, UpdateAgent]
    signals: SignalSource
    client: httpx.AsyncClient | None = None
    downloads_max: int = 1
    keys: Mapping[str, CryptoSigner] | None = None
    roots: TrustState | None = None
    durability: Durability = "fsync"
    hook: RecordHook | None = None
    observer: Observer | None = None
    log: LogRing | None = None


async def run_vehicle(folder: Path, config: VehicleConfig, surroundings: Surroundings) -> None:
    """Run one vehicle until cancelled.

    Args:
        folder: its data folder.
        config: from `read_config`, or made by a simulation.
        surroundings: clock, agents and what may be shared.

    Raises:
        Conflict: another orchestrator runs on the folder.
        InvalidInput: the configuration names a file that is missing or wrong.
        Corrupt: a file of the folder does not read back.
        Unavailable: the disk cannot be used.
        ExceptionGroup: of such an error, once the vehicle runs.
    """
    shared = _share_signals(folder, config, surroundings)
    if shared is not None:
        surroundings = replace(surroundings, signals=shared)
    async with open_vehicle(folder, config, surroundings) as orchestrator, asyncio.TaskGroup() as tasks:
        if shared is not None:
            tasks.create_task(_serve_signals(config, shared, surroundings.clock))
        tasks.create_task(orchestrator.run())
        tasks.create_task(heed_unblock(folder, orchestrator, surroundings.clock))
        if config.page:
            tasks.create_task(_serve_driver(folder, config, surroundings, orchestrator))
        if config.share_images:
            tasks.create_task(PeerShare(folder / IMAGES_NAME).serve(parse_address(config.share_images)))
        ring = ring_of(config)
        diagnosed = _diagnostics(folder, config, surroundings, orchestrator, ring)
        if diagnosed is not None and config.diagnostics_http:
            tasks.create_task(_serve_testers(folder, config, surroundings, diagnosed))
        if config.fault_before_s and (diagnosed is not None or config.mqtt_host):
            tasks.create_task(keep_ring(ring, surroundings.signals, surroundings.clock))
        if config.mqtt_host:
            tasks.create_task(
                _telemetry(folder, config, surroundings, orchestrator, ring=ring, diagnosed=diagnosed)
            )


@asynccontextmanager
async def open_vehicle(
    folder: Path, config: VehicleConfig, surroundings: Surroundings
) -> AsyncIterator[Orchestrator]:
    """Give the orchestrator of a vehicle without running it; for tests and single steps.

    Raises:
        See `run_vehicle`.
    """
    given = surroundings.client
    connections_max = config.downloads_max + POOL_CONNECTIONS_MAX  # reports and polls are not held up
    client = given or new_client(ca_file=folder / config.ca_file, connections_max=connections_max)
    try:
        gateway = Gateway(
            client, vin=vin_of(config), token=read_token(folder, config), clock=surroundings.clock,
            server_url=config.server_url,
            peers=PeerCaches(client, config.peers, clock=surroundings.clock) if config.peers else None,
        )  # fmt: skip
        orchestrator = Orchestrator(
            Vehicle(
                vin=vin_of(config),
                folder=folder,
                ecus=on_board(config),
                agents=surroundings.agents,
                keys=surroundings.keys or read_keys(folder, config),
                roots=surroundings.roots or read_roots(folder, config),
                gateway=gateway,
                signals=surroundings.signals,
                consent=config.consent,
                word=partial(read_word, folder),
                quiet=quiet_window(config),
                zone=find_zone(config.time_zone) or UTC,
                clock=surroundings.clock,
                ids=surroundings.ids,
                fraction=surroundings.fraction,
                durability=surroundings.durability,
                hook=surroundings.hook,
                observer=surroundings.observer,
                retry_base_s=config.retry_base_s,
                store_bytes_max=config.store_bytes_max,
                downloads_max=config.downloads_max if given is None else surroundings.downloads_max,
            )
        )
        try:
            yield orchestrator
        finally:
            await orchestrator.close()
    finally:
        if given is None:
            await client.aclose()


async def _serve_driver(
    folder: Path, config: VehicleConfig, surroundings: Surroundings, orchestrator: Orchestrator
) -> None:
    from ringroad.vehicle.driver.serve import DriverPage  # noqa: PLC0415 - who has no page carries none

    page = DriverPage(
        folder=folder, glance=orchestrator.glance, heard=orchestrator.hear, clock=surroundings.clock,
        token=new_secret(TOKEN_BYTES).hex(), durability=surroundings.durability,
    )  # fmt: skip
    await page.serve(parse_address(config.page))


# Telemetry ------------------------------------------------------------------------------------------


async def _telemetry(
    folder: Path,
    config: VehicleConfig,
    surroundings: Surroundings,
    orchestrator: Orchestrator,
    *,
    diagnosed: Diagnosed | None,
    ring: SampleRing,
) -> None:
    queue = TelemetryQueue(folder / TELEMETRY_NAME, durability=surroundings.durability)
    collector = Collector(
        vin=vin_of(config), queue=queue, clock=surroundings.clock, fraction=surroundings.fraction
    )
    broker = Broker(host=config.mqtt_host, port=config.mqtt_port, token=read_token(folder, config))
    link = None
    if diagnosed is not None:
        link = DiagnosticLink(
            diagnosed.desk, diagnosed.sessions, folder=folder, clock=surroundings.clock,
            durability=surroundings.durability,
        )  # fmt: skip
    async with asyncio.TaskGroup() as tasks:
        if link is not None:
            tasks.create_task(link.run())
        tasks.create_task(collector.run(broker, wake=orchestrator.wake, link=link))
        tasks.create_task(
            observe(
                config,
                orchestrator,
                collector,
                signals=surroundings.signals,
                clock=surroundings.clock,
                fraction=surroundings.fraction,
                ring=ring,
            )
        )


def _share_signals(folder: Path, config: VehicleConfig, surroundings: Surroundings) -> SharedSignals | None:
    """Return the signals with what others publish, None where nobody may. Raises: InvalidInput."""
    if not config.kuksa_port:
        return None
    tree = read_tree(folder / config.vss_file) if config.vss_file else {}
    return SharedSignals(surroundings.signals, tree)


async def _serve_signals(config: VehicleConfig, signals: SharedSignals, clock: Clock) -> None:
    """Serve the signals; a port that is taken keeps no vehicle from its updates."""
    try:
        # Not at the top: gRPC is 20 MB that a vehicle without this face does not carry.
        kuksa = importlib.import_module("ringroad.vehicle.kuksa")
    except ModuleNotFoundError as error:
        hint = "pip install 'ringroad[kuksa]', or kuksa_port = 0"
        raise InvalidInput(f"kuksa_port needs {error.name}", hint=hint) from error
    for failures in count(1):  # soon at first: the process of before a quick restart may be ending still
        try:
            await kuksa.serve_kuksa(signals, clock, port=config.kuksa_port)
        except RingroadError as error:
            _log.warning(
                "vehicle.kuksa_failed", vin=config.vin, code=error.code, reason=error.message, hint=error.hint
            )
        end_if_cancelled()
        await asyncio.sleep(backoff_s(failures, fraction=1.0, cap_s=BIND_AGAIN_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosed:
    """What answers whoever diagnoses this vehicle, from afar and beside it: one desk, one list of sessions."""

    desk: Desk
    sessions: Sessions


def _diagnostics(
    folder: Path,
    config: VehicleConfig,
    surroundings: Surroundings,
    orchestrator: Orchestrator,
    ring: SampleRing,
) -> Diagnosed | None:
    """Return what answers diagnostic requests, None where the vehicle allows none.

    Raises:
        InvalidInput: a precondition is no expression.
        Corrupt: a file of the folder does not read back.
    """
    if config.diagnostics == "off" or not (config.mqtt_host or config.diagnostics_http):
        return None
    sessions = Sessions(folder, config.diagnostics, durability=surroundings.durability)
    place = Place(
        orchestrator=orchestrator,
        signals=surroundings.signals,
        clock=surroundings.clock,
        preconditions=tuple(parse_expression(text) for text in config.diagnostics_preconditions),
        bulk={
            "journal": partial(JournalLines, folder),
            "log": partial(_logged, config, surroundings),
            "signals": lambda: signal_lines(ring.kept()),
            "audit": partial(audit_lines, folder),
            "birth": partial(carried, folder),
        },
        writes={ecu.name: parse_writes(ecu.writes) for ecu in config.ecus},
        by_proof=frozenset(ecu.name for ecu in config.ecus if ecu.authentication_key_file),
    )
    return Diagnosed(desk=Desk(place, sessions), sessions=sessions)


async def _serve_testers(
    folder: Path, config: VehicleConfig, surroundings: Surroundings, diagnosed: Diagnosed
) -> None:
    """Serve the diagnostics to testers beside the vehicle; a bad certificate keeps no vehicle from its updates."""
    from ringroad.vehicle.diagnostics import face  # noqa: PLC0415 - who has no such testers carries none

    tls = None
    while config.diagnostics_cert_file and tls is None:
        try:
            tls = face.tls_of(folder / config.diagnostics_cert_file, folder / config.diagnostics_key_file)
        except InvalidInput as error:
            _log.warning("vehicle.diagnostics_tls", vin=config.vin, code=error.code, reason=error.message)
            await asyncio.sleep(BIND_AGAIN_S)  # it may be renewed
    around = face.Around(
        folder=folder, vin=config.vin, clock=surroundings.clock, ids=surroundings.ids,
        durability=surroundings.durability,
    )  # fmt: skip
    served = face.DiagnosticFace(diagnosed.desk, diagnosed.sessions, around)
    await served.serve(parse_address(config.diagnostics_http), tls=tls)


def _logged(config: VehicleConfig, surroundings: Surroundings) -> list[Line]:
    log = surroundings.log
    return [] if log is None else log.lines(config.vin)
