"""The attacks we refuse, each with the one code that vehicle, server and console share.

Source: Uptane 2.1 section 4.3 names most of them; the rest are named for what would go wrong.
"""

from __future__ import annotations

from enum import StrEnum

from ringroad.kernel.errors import Untrusted


class Attack(StrEnum):
    """Why bytes were refused. The value is the stable error code."""

    ARBITRARY_SOFTWARE = "arbitrary_software"  # too few valid signatures, or the two repositories disagree
    DELEGATION = "delegation"  # the Director must not delegate; our Image repository does not
    ENDLESS_DATA = "endless_data"  # more bytes, or more roots, than the limit
    EQUIVOCATION = "equivocation"  # one version number with two contents
    FORGED_REPORT = "forged_report"  # an ECU's or the Primary's report is not signed by its key
    FREEZE = "freeze"  # expired metadata
    INCOMPLETE_MANIFEST = "incomplete_manifest"  # an ECU of the inventory did not report
    MALFORMED = "malformed"  # not the one canonical form of the one schema
    MIX_AND_MATCH = "mix_and_match"  # files of different moments put together
    PARTIAL_BUNDLE = "partial_bundle"  # the vehicle package and the targets do not cover the same ECUs
    PATH_TRAVERSAL = "path_traversal"  # a file name that could leave its folder
    REPEATED_ECU = "repeated_ecu"  # one ECU is told to install two images
    REPLAY = "replay"  # a report whose counter was seen before
    ROLLBACK = "rollback"  # an older version, or a release counter below the committed one
    TIME = "time"  # a report from the future, or older than the one before
    UNKNOWN_ECU = "unknown_ecu"  # an ECU that is not in this vehicle
    WRONG_HARDWARE = "wrong_hardware"  # an image for another hardware id
    WRONG_VEHICLE = "wrong_vehicle"  # signed for another VIN, or for none


def refuse(attack: Attack, message: str, *, detail: str = "") -> Untrusted:
    """Return the error to raise for an attack; its code is the attack's value."""
    return Untrusted(
        message,
        code=attack.value,
        detail=detail,
        hint="these bytes were discarded; get fresh ones from the repository",
    )
