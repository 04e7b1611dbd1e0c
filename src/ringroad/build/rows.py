"""Turn rows of the build tables into frozen values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ringroad.build.model import Package, Problem, Release, Requirement, Severity
from ringroad.trust.metadata import Downgrade


def package_of(row: Mapping[str, Any]) -> Package:
    """Return the package of a `software_package` row."""
    return Package(
        id=row["id"],
        programme_id=row["programme_id"],
        ecu=row["ecu"],
        name=row["name"],
        version=row["version"],
        filename=row["filename"],
        format=row["format"],
        hardware_ids=tuple(row["hardware_ids"]),
        image_sha256=row["image_sha256"],
        image_sha512=row["image_sha512"],
        image_bytes=row["image_bytes"],
        release_counter=row["release_counter"],
        facts=row["facts"],
        requires=tuple(Requirement(**requirement) for requirement in row["requires"]),
        conflicts=tuple(Requirement(**conflict) for conflict in row["conflicts"]),
        upgrades_from=row["upgrades_from"],
        added_at=row["added_at"],
    )


def release_of(row: Mapping[str, Any]) -> Release:
    """Return the release of a `release` row."""
    return Release(
        id=row["id"],
        programme_id=row["programme_id"],
        name=row["name"],
        version=row["version"],
        state=row["state"],
        change_id=row["change_id"],
        lap_id=row["lap_id"],
        document=row["document"],
        findings=tuple(
            Problem(
                severity=Severity(finding["severity"]),
                code=finding["code"],
                message=finding["message"],
                hint=finding["hint"],
            )
            for finding in row["findings"]
        ),
        generation=row["generation"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        signed_at=row["signed_at"],
        downgrades=downgrades_of(row["downgrades"]),
    )


def downgrades_of(stored: Any) -> tuple[Downgrade, ...]:
    """Return the decisions that an approval kept with a release; none if nobody approved."""
    return tuple(msgspec.convert(stored or [], list[Downgrade]))
