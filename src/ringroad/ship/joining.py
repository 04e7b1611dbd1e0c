"""Late joiners: which part of a running campaign a vehicle gets that its query selects only now. Pure.

The lot goes on: within a stratum the plan's vehicles lie in the order of hash(seed, VIN), the control group first, then
wave by wave. A joiner gets the part in which its own hash lies, so nobody chooses, and control stays control.

Invariant: a vehicle of the plan would get the part that it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ringroad.ship.model import CampaignState
from ringroad.ship.resolve import Resolution

_SCALE = 1 << 64  # of the first 16 hexadecimal digits of a hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Of a campaign: a wave from 1, or 0 for who is held back."""

    wave: int

    @property
    def verdict(self) -> str:
        """What the vehicle is to the plan."""
        return "match" if self.wave else "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Until which hash, in hexadecimal, the vehicles of a stratum have a part."""

    stratum: str
    part: Part
    last: str


def part_of(
    vin: str, stratum: str, *, seed: str, bounds: Sequence[Bound], control: int, waves: Sequence[int]
) -> Part:
    """Return the part of a joiner.

    Args:
        vin: of the vehicle.
        stratum: that it is in.
        seed: of the plan.
        bounds: of all strata of the plan.
        control: vehicles that the plan holds back.
        waves: vehicles per wave of the plan; for a stratum that it did not have.
    """
    digest = hashlib.sha256(f"{seed}:{vin}".encode()).hexdigest()
    own = sorted((each for each in bounds if each.stratum == stratum), key=lambda each: each.last)
    for each in own:
        if digest <= each.last:
            return each.part
    if own:
        return own[-1].part
    place = int(digest[:16], 16) * (control + sum(waves)) // _SCALE
    ends = accumulate((control, *waves))
    return Part(wave=next((number for number, end in enumerate(ends) if place < end), len(waves)))


def why_after_the_plan(state: CampaignState, today: Resolution, *, late_joiners: bool, free: bool) -> str:
    """Say what becomes of a vehicle that a campaign's query selects, and did not when its plan was made.

    Args:
        state: of the campaign.
        today: what the resolver says of the vehicle now.
        late_joiners: whether the plan includes them.
        free: no campaign is at work on the vehicle or holds it back.
    """
    since = "The query selects it now; it did not when the plan was made."
    match today.verdict:
        case "already_installed":
            return f"{since} It has the release already, so that nothing is left to do."
        case "mismatch":
            return f"{since} The release does not fit it: {today.sentence or today.reason}"
        case "unknown":
            return f"{since} Too little is known of it to say whether the release fits: {today.sentence or today.reason}"
    if state in (CampaignState.DRAFT, CampaignState.PLANNED, CampaignState.APPROVED):
        return f"{since} A new plan takes it in."
    if state not in (CampaignState.RUNNING, CampaignState.PAUSED):
        return f"{since} The campaign is {state}: another campaign has to bring it the release."
    if not late_joiners:
        return f"{since} The campaign's vehicles are frozen: another campaign has to bring it the release."
    if not free:
        return f"{since} Another campaign is at work on it or holds it back, so that it does not join this one now."
    if len(today.steps) > 1:
        return f"{since} It would need another release first, so that it does not join: another campaign takes it there."
    if state is CampaignState.PAUSED:
        return f"{since} It joins when the campaign goes on."
    return f"{since} It joins: within seconds after its record changed, within an hour after a list or telemetry did."
