"""The evidence a finding carries: enough to ask the same question again, and to doubt the answer.

Pure; JSON types only. Vehicles appear as counts, never by VIN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ringroad.signal.detect import DetectPolicy, OpenFinding
from ringroad.storage.measures import Measurement, Window


def finding_title(decision: OpenFinding) -> str:
    """Return a title that a person understands without the evidence."""
    ecu, version, code = decision.key
    point = decision.comparison.ratio.point_milli
    compared = (
        "than other versions" if decision.comparison.against == "other_versions" else "than it used to be"
    )
    times = f"{point / 1000:.1f} times more often" if point else "more often"
    return f"{code} on {ecu} with software {version}: {times} {compared}"


def finding_evidence(
    decision: OpenFinding, measurement: Measurement, *, window: Window, policy: DetectPolicy
) -> Mapping[str, Any]:
    """Return the body of `finding.evidence`.

    `measured_from_us` is where the rise begins: the outcome of a change is compared with the time from there on.
    """
    count, comparison = decision.count, decision.comparison
    return {
        "rule": policy.name,
        "policy": asdict(policy),
        "window": asdict(window),
        "against": comparison.against,
        "control_versions": list(comparison.control_versions),
        "measured_from_us": window.since_us if comparison.split_us is None else comparison.split_us,
        "first_signal_us": decision.first_signal_us,
        "population": {
            "vehicles_exposed": count.vehicles_exposed,
            "vehicles_with_fault": count.vehicles_with_fault,
            "vehicles_outside": count.vehicles_outside,
            "exposure_us": count.exposure_us,
        },
        "counts": asdict(comparison.totals),
        "versions": [
            {
                "software_version": other.software_version,
                "vehicles_exposed": other.vehicles_exposed,
                "vehicles_with_fault": other.vehicles_with_fault,
                "exposure_us": other.exposure_us,
            }
            for other in measurement.counts
            if (other.ecu, other.fault_code) == (count.ecu, count.fault_code)
        ],
        "log_e_micronats": comparison.log_e_micronats,
        "hypotheses": comparison.hypotheses,
        "alpha_ppm": policy.alpha_ppm,
        "ratio": asdict(comparison.ratio),
        "unbelieved_rows": measurement.unbelieved_rows,
        "queries": dict(measurement.queries),
    }
