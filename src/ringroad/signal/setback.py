"""A setback is the next signal: a campaign that was halted, an outcome that is worse, vehicles that did not recover.

Pure: `store_setbacks.py` loads the facts that nobody answered yet and makes the answer true.

1. A halted campaign, or vehicles that did not recover: the lap is not over. Its finding is opened again, whatever was
   decided on it before, so that a person looks. A campaign of no lap opens a finding of its own, in a lap of its own.
2. A worse outcome: the lap is over. A finding about the new version opens, in the next lap, and the finding that was
   answered so badly is closed: what it said goes on there.
3. What is on somebody's desk already is not opened twice; the signal is noted on it.

Invariants:
    An outcome that is unknown is no setback, and opens nothing; it is shown.
    While a finding is live for a key, no second one is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ringroad.kernel.errors import Corrupt
from ringroad.kernel.facts import HALTED_CAMPAIGN
from ringroad.kernel.plurals import counted
from ringroad.signal.detect import Key

UPDATE_HALTED = "UPDATE-HALTED"  # stands where a fault code does; no vehicle reports it
SEVERAL = "*"  # the ECU of a finding that a release of several ECUs gave rise to
LIVE = frozenset({"open", "accepted"})

SetbackKind = Literal["halted", "worse", "not_recovered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A finding as far as a setback needs it."""

    id: str
    lap_id: str
    key: Key
    state: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setback:
    """A fact that sends the loop round again.

    Attributes:
        fact_id: of the halt or of the outcome.
        kind: which.
        campaign_id: the campaign it is about.
        campaign_name: as a person knows it.
        at: when it happened.
        programme_id: of the campaign's release.
        body: of the fact; for an outcome the whole measure.
        ecus: ECU to version, as the campaign's release brings them.
        finding: of the same lap; None for a campaign of no lap.
        policy: the finding was measured with; a finding that goes on from it is measured alike.
    """

    fact_id: str
    kind: SetbackKind
    campaign_id: str
    campaign_name: str
    at: datetime
    programme_id: str
    body: Mapping[str, Any]
    ecus: Mapping[str, str]
    finding: Known | None
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """The signal belongs to a finding that is on somebody's desk already."""

    finding: Known
    closes: Known | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopen:
    """The lap's finding must be decided on again."""

    finding: Known
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenNext:
    """A finding opens in a lap of its own."""

    key: Key
    title: str
    evidence: Mapping[str, Any]
    closes: Known | None = None


Answer = Note | Reopen | OpenNext


def decide_setback(setback: Setback, live: Mapping[Key, Known]) -> Answer:
    """Decide what a setback opens.

    Args:
        setback: what happened.
        live: open and accepted findings of the programme, by key.

    Raises:
        Corrupt: a worse outcome does not say on which version.
    """
    finding = setback.finding
    if setback.kind == "worse":
        if finding is None:
            raise Corrupt(f"outcome {setback.fact_id} is of no finding")
        key = (finding.key[0], _worst_version(setback, finding), finding.key[2])
        closes = finding if finding.state in LIVE else None
        if key in live:
            return Note(finding=live[key], closes=closes)
        return OpenNext(
            key=key, title=_title_of_worse(setback, key), evidence=_evidence_of_worse(setback), closes=closes
        )
    if finding is not None:
        if finding.state == "open":
            return Note(finding=finding)
        if finding.state not in LIVE and finding.key in live:
            return Note(finding=live[finding.key])
        return Reopen(finding=finding, reason=_reason(setback))
    ecu, version = _touched(setback.ecus)
    key = (ecu, version, UPDATE_HALTED)
    if key in live:
        return Note(finding=live[key])
    return OpenNext(key=key, title=f"Campaign {_reason(setback)}"[:200], evidence=_evidence_of_halt(setback))


def _touched(ecus: Mapping[str, str]) -> tuple[str, str]:
    """Return the one ECU of a release and its version; of several nobody can say which is to blame."""
    if len(ecus) == 1:
        return next(iter(ecus.items()))
    return SEVERAL, ", ".join(sorted(set(ecus.values())))[:200]


def _reason(setback: Setback) -> str:
    why = str(setback.body.get("reason") or "").replace("_", " ")
    if setback.kind == "not_recovered":
        counts = setback.body.get("vehicles")
        number = counts.get("not_recovered", 0) if isinstance(counts, Mapping) else 0
        return f"{setback.campaign_name}: {counted(number, 'vehicle')} did not recover"
    return f"{setback.campaign_name} was halted: {why}" if why else f"{setback.campaign_name} was halted"


def _worst_version(setback: Setback, finding: Known) -> str:
    """Return the new version on which most vehicles had the fault."""
    new = set(setback.body.get("new_versions", ())) - {finding.key[1]}
    seen = [each for each in _versions(setback.body) if each["software_version"] in new]
    if not seen:
        raise Corrupt(f"outcome {setback.fact_id} does not say on which version it is worse")
    worst = max(
        seen, key=lambda each: (each["vehicles_with_fault"], each["exposure_us"], each["software_version"])
    )
    return str(worst["software_version"])


def _versions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the counts of each version; an outcome of an older release has them only per side."""
    if "versions" in body:
        return [dict(each) for each in body["versions"]]
    counted = ("vehicles_exposed", "vehicles_with_fault", "exposure_us")
    return [
        {"software_version": version, **{name: body[side][name] for name in counted}}
        for side in ("before", "after")
        for version in body[side]["software_versions"]
    ]


def _title_of_worse(setback: Setback, key: Key) -> str:
    point = setback.body.get("ratio_milli")
    times = f"{point / 1000:.1f} times more often" if isinstance(point, int) else "more often"
    before = ", ".join(setback.body["before"]["software_versions"])
    return f"{key[2]} on {key[0]} with software {key[1]}: {times} than with {before}"[:200]


def _evidence_of_worse(setback: Setback) -> dict[str, Any]:
    """Return an outcome's measure as the evidence of a finding, so that the same question can be asked again."""
    body = setback.body
    after, before, window = body["after"], body["before"], body["window"]
    low, high = body["interval_milli"]
    return {
        "rule": "worse-outcome",
        "outcome_fact": setback.fact_id,
        "campaign_id": setback.campaign_id,
        "against": "other_versions",
        "control_versions": list(before["software_versions"]),
        "measured_from_us": window["since_us"],
        "window": dict(window),
        "policy": dict(setback.policy),
        "population": {
            name: after[name] for name in ("vehicles_exposed", "vehicles_with_fault", "exposure_us")
        },
        "counts": {
            "treated": after["vehicles_with_fault"],
            "treated_exposure": after["exposure_us"],
            "control": before["vehicles_with_fault"],
            "control_exposure": before["exposure_us"],
        },
        "versions": _versions(body),
        "log_e_micronats": body["log_e_micronats"],
        "ratio": {"point_milli": body["ratio_milli"], "low_milli": low, "high_milli": high},
        "queries": dict(body.get("queries", {})),
    }


def _evidence_of_halt(setback: Setback) -> dict[str, Any]:
    """Return what was harmed, to be compared with the next campaign of this finding's lap."""
    counts = setback.body.get("vehicles", {})
    harmed = sum(int(counts.get(name, 0)) for name in ("failed", "rolled_back", "lost"))
    return {
        "rule": HALTED_CAMPAIGN,
        "campaign_id": setback.campaign_id,
        "halted_fact": setback.fact_id,
        "reason": setback.body.get("reason", ""),
        "wave": setback.body.get("wave", 0),
        "ecus": dict(setback.ecus),
        "updates": {"harmed": harmed, "reported": harmed + int(counts.get("installed", 0))},
    }
