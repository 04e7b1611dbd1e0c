"""What the orchestrator can be seen doing at this moment, for whoever shows it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from ringroad.protocol.vehicle import Phase
from ringroad.vehicle.deltas import Coming
from ringroad.vehicle.states import CampaignState


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One moment.

    Attributes:
        state: what the journal adds up to.
        at: the vehicle's time.
        asks: phases before which the driver is asked.
        names: of ECUs, by serial.
        waits_code: what it waits for, as a code: consent, postponed, quiet_hours, precondition,
            ecu_locked; empty if for nothing.
        waits_about: the phase or the term that it waits for.
        waits_text: the same for a person.
        missing_bytes: of the images of the plan that are not stored yet; None where nobody looked.
        coming: what will be fetched for them, with deltas where there are.
        done: bytes done and in all by serial, in this state.
        zone: of the vehicle's clock.
        link_error: why the server cannot be reached; empty if it can.
    """

    state: CampaignState
    at: datetime
    asks: frozenset[Phase] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    waits_code: str = ""
    waits_about: str = ""
    waits_text: str = ""
    missing_bytes: int | None = None
    coming: Coming | None = None
    done: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    zone: tzinfo = UTC
    link_error: str = ""
