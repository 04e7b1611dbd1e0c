"""What one telemetry message becomes: rows for the lake, or a reason why not.

Pure: bytes, the sender's subject and the known vehicle in, a decision out.

The steps, in order:

1. The message is not larger than `payload_bytes_max`.
2. It decodes as a `TelemetryBatch`; unknown fields are refused.
3. Its VIN is the one of the subject (the broker lets a vehicle publish only below its own VIN).
4. The vehicle is known.
5. Numbers, texts and times are within their limits, and times carry a zone.
6. Times that cannot be right are flagged on their row, not dropped: a fault with a wrong date is still a fault.

Invariant: a message is taken whole or quarantined whole; nothing of it is lost without a reason.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import ECUS_MAX
from ringroad.kernel.vin import parse_vin
from ringroad.protocol.vehicle import FaultEvent, Sample, TelemetryBatch
from ringroad.signal.model import Accepted, Quarantined, VehicleRef
from ringroad.storage.lake import ExposureRow, FaultRow, Rows, SampleRow, to_us

SUBJECT_PREFIX = "ringroad.v1."
SUBJECT_SUFFIX = ".telemetry"
BATCH_MAX = 2**63 - 1  # the lake's integers have 64 bits
DETAIL_CHARS_MAX = 300
NUL_ESCAPED = b"\\u0000"  # the only way in which JSON can have it


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestLimits:
    """How much one message may hold, and how wrong a clock may be before it is flagged."""

    payload_bytes_max: int = 1024**2  # bytes; 1,000 samples are about 100 kB
    text_chars_max: int = 2_000  # characters of one sample's text
    snapshot_bytes_max: int = 16 * 1024  # bytes of JSON; an extended data record has a few hundred
    ahead_s_max: int = 300  # seconds; a vehicle's clock may lead ours by this much
    late_s: int = 3_600  # seconds; older than this when received is called late, and is counted as usual
    age_s_max: int = 400 * 86_400  # seconds; older than this, the clock was never set


def subject_vin(subject: str) -> str | None:
    """Return the VIN of ``ringroad.v1.<vin>.telemetry``, or None if it is no such subject."""
    if not (subject.startswith(SUBJECT_PREFIX) and subject.endswith(SUBJECT_SUFFIX)):
        return None
    try:
        return parse_vin(subject[len(SUBJECT_PREFIX) : -len(SUBJECT_SUFFIX)])
    except InvalidInput:
        return None


def decide_message(
    limits: IngestLimits,
    payload: bytes,
    *,
    subject: str,
    seq: int,
    received_at: datetime,
    vehicle: VehicleRef | None,
) -> Accepted | Quarantined:
    """Decide on one message.

    Args:
        limits: how much a message may hold.
        payload: the message as it came.
        subject: where it was published.
        seq: its sequence number in the stream.
        received_at: when the broker took it (the same at every delivery).
        vehicle: the vehicle of the subject, None if we do not know it.
    """
    if limits.payload_bytes_max < len(payload):
        return _no("too_large", f"{len(payload)} bytes, limit {limits.payload_bytes_max}")
    vin = subject_vin(subject)
    if vin is None:
        return _no("subject", f"{subject!r} names no vehicle")
    try:
        batch = msgspec.json.decode(payload, type=TelemetryBatch)
    except msgspec.ValidationError as error:
        return _no("schema", str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _no("not_json", str(error))
    if NUL_ESCAPED in payload and _has_nul(msgspec.to_builtins(batch)):
        return _no(
            "nul_character", "PostgreSQL keeps none: what is made of this message could not be recorded"
        )
    if batch.vin != vin:
        return _no("vin_mismatch", f"the subject names {vin}, the message {batch.vin[:40]!r}")
    if vehicle is None or vehicle.vin != vin:
        return _no("unknown_vehicle", vin)
    wrong = _out_of_bounds(limits, batch)
    if wrong is not None:
        return wrong
    return _accept(limits, batch, vehicle=vehicle, seq=seq, received_at=received_at)


def _has_nul(value: object) -> bool:
    match value:
        case str():
            return "\0" in value
        case list():
            return any(_has_nul(each) for each in value)
        case dict():
            return any(_has_nul(key) or _has_nul(each) for key, each in value.items())
        case _:
            return False


def clock_flag(limits: IngestLimits, at: datetime, *, received_at: datetime) -> str:
    """Return how far a time can be believed: ok, late, ahead or unset."""
    age = received_at - at
    if age < -timedelta(seconds=limits.ahead_s_max):
        return "ahead"
    if timedelta(seconds=limits.age_s_max) < age:
        return "unset"
    return "late" if timedelta(seconds=limits.late_s) < age else "ok"


def _out_of_bounds(limits: IngestLimits, batch: TelemetryBatch) -> Quarantined | None:
    if not 0 <= batch.batch <= BATCH_MAX:
        return _no("batch_number", str(batch.batch))
    if len(batch.software) > ECUS_MAX:
        return _no("too_many_ecus", f"{len(batch.software)} ECUs, limit {ECUS_MAX}")
    for ecu, version in batch.software.items():
        if not (0 < len(ecu) <= 200 and len(version) <= 200):
            return _no("software", f"ECU {ecu[:40]!r} with version {version[:40]!r}")
    if batch.made_at.tzinfo is None:
        return _no("time_zone", "made_at has no time zone")
    for index, sample in enumerate(batch.samples):
        if sample.at.tzinfo is None:
            return _no("time_zone", f"samples[{index}].at has no time zone")
        value = sample.value
        if isinstance(value, str) and limits.text_chars_max < len(value):
            return _no("text_too_long", f"samples[{index}] has {len(value)} characters")
        if isinstance(value, float | int) and not math.isfinite(_number(value)):
            return _no("number", f"samples[{index}].value is out of range")
    for index, fault in enumerate(batch.faults):
        if fault.at.tzinfo is None:
            return _no("time_zone", f"faults[{index}].at has no time zone")
        if not 0 <= fault.status <= 255:
            return _no("status", f"faults[{index}].status is {fault.status}, one byte expected")
        if len(fault.software_version) > 200:
            return _no("software", f"faults[{index}] has {len(fault.software_version)} characters of version")
        if limits.snapshot_bytes_max < len(msgspec.json.encode(fault.snapshot)):
            return _no("snapshot_too_large", f"faults[{index}], limit {limits.snapshot_bytes_max} bytes")
    return None


def _accept(
    limits: IngestLimits, batch: TelemetryBatch, *, vehicle: VehicleRef, seq: int, received_at: datetime
) -> Accepted:
    flags: Counter[str] = Counter()

    def head(index: int, at: datetime) -> dict[str, Any]:
        flag = clock_flag(limits, at, received_at=received_at)
        flags[flag] += 1
        return {
            "vin": vehicle.vin,
            "batch": batch.batch,
            "index": index,
            "programme": vehicle.programme,
            "variant": vehicle.variant,
            "at_us": to_us(at),
            "clock": flag,
            "received_us": to_us(received_at),
            "seq": seq,
        }

    samples = tuple(_sample(head(index, sample.at), sample) for index, sample in enumerate(batch.samples))
    faults = tuple(_fault(head(index, fault.at), fault) for index, fault in enumerate(batch.faults))
    since_us = _since_us(limits, batch, received_at=received_at)
    exposure = tuple(
        ExposureRow(
            **head(index, batch.made_at),
            since_us=since_us,
            ecu=ecu,
            software_version=version,
            release=batch.release[:200],
        )
        for index, (ecu, version) in enumerate(sorted(batch.software.items()))
        if version  # an ECU that runs nothing exposes no software; its faults are told all the same
    )
    return Accepted(rows=Rows(samples=samples, faults=faults, exposure=exposure), flags=dict(flags))


def _since_us(limits: IngestLimits, batch: TelemetryBatch, *, received_at: datetime) -> int:
    """Return when the batch's own data begins: the vehicle was observed from there to `made_at`."""
    events: list[Sample | FaultEvent] = [*batch.samples, *batch.faults]
    times = [
        event.at
        for event in events
        if event.at <= batch.made_at
        and clock_flag(limits, event.at, received_at=received_at) in {"ok", "late"}
    ]
    return to_us(min([batch.made_at, *times]))


def _sample(head: dict[str, Any], sample: Sample) -> SampleRow:
    value = sample.value
    if isinstance(value, str):
        return SampleRow(**head, path=sample.path, kind="text", number=None, text=value)
    kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
    return SampleRow(**head, path=sample.path, kind=kind, number=_number(value), text=None)


def _fault(head: dict[str, Any], fault: FaultEvent) -> FaultRow:
    return FaultRow(
        **head,
        ecu=fault.ecu,
        code=fault.code,
        status=fault.status,
        software_version=fault.software_version,
        snapshot=msgspec.json.encode(fault.snapshot, order="sorted").decode(),
    )


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _no(reason: str, detail: str) -> Quarantined:
    return Quarantined(reason=reason, detail=detail[:DETAIL_CHARS_MAX])
