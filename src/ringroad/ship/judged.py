"""What was planned for a vehicle, against what is known of it today: is it still offered, or let go? Pure.

Between plan, start and wave a vehicle may get other software: by a recall, another campaign, a workshop. What was planned
for it is then judged again, by the resolver that planned it. A vehicle that the release is nothing for any more is let
go with the verdict of today, which is no failure.

A native vehicle judges for itself before it touches an ECU (`vehicle/terms.py`), and may refuse what was offered a moment
before more became known of it. That is let go as well, but only if what we know of it today says the same: a refusal
that nothing on our side explains is a failure, and the gate sees it. What explains it too is an ECU that something else
than a campaign changed, a workshop say: its manifest shows an image that no package holds.

Invariants:
    What is not known to fit is never offered on.
    A refusal alone never takes a failure out of the gate's count: what we know explains it. That may be a manifest of the
    same vehicle, signed by its ECUs, of images of the programme; it is judged by them from then on.
    An image that nobody knows explains a refusal only on an ECU that the refusal names, and never behind an update that
    began, or may have, and did not end installed: that may have left it there.

Source: ADR 0119.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ringroad.ship.model import KnownImages, ReleaseFacts, VehicleFacts
from ringroad.ship.report import DETAIL_CHARS_MAX
from ringroad.ship.resolve import Resolution, resolve, resolve_way

# What a vehicle names when the plan does not fit what it runs, and nothing was touched (vehicle/terms.py, vehicle/plan.py),
# and how reasons of the resolver begin that say the same. It names the counter first, whatever else is older.
REFUSALS: Final[Mapping[str, tuple[str, ...]]] = {
    "downgrade_undecided": ("downgrade:", "release_counter:"),
    "counter_too_low": ("release_counter:",),
    "rollback": ("release_counter:",),  # the verifier's word for the same (trust/verify.py)
    "upgrades_from": ("upgrades_from:",),
    "requires": ("requires:",),
    "conflicts": ("conflicts:",),
    "no_backup": (),  # it knows nothing that it could go back to; no verdict of ours says that
}
_ABOUT_OTHERS: Final = frozenset(
    {"requires", "conflicts"}
)  # refusals that ECUs may be to blame for which get nothing
CHANGED_ELSEWHERE: Final = "changed_elsewhere"


def let_go_for(
    vehicle: VehicleFacts,
    release: ReleaseFacts,
    images: KnownImages,
    earlier: Sequence[ReleaseFacts] = (),
    *,
    way: Sequence[str] = (),
    now: datetime | None = None,
) -> str | None:
    """Return why a vehicle that waits is let go, short and countable; None: it is offered what was planned.

    The way that was planned is walked first: as long as it leads there, no other one matters, be it shorter or newer.

    Args:
        vehicle: as it is known now.
        release: what is wanted.
        images: what the programme has packages for.
        earlier: signed releases of the programme; one of the way that is not among them ends it.
        way: what is left of the planned way, by id, without the wanted release.
        now: the server's time.
    """
    signed = {each.id: each for each in earlier}
    planned = [signed[each] for each in way if each in signed]
    if (
        len(planned) == len(way)
        and resolve_way(vehicle, [*planned, release], images, now=now).verdict == "match"
    ):
        return None
    today = resolve(vehicle, release, images, earlier if way else (), now=now)
    return "mismatch: another way leads there by now" if today.verdict == "match" else verdict_of(today)


def is_refusal(body: Mapping[str, Any]) -> bool:
    """Tell whether a report of a failure says that the vehicle refused what does not fit what it runs.

    Args:
        body: of the report, as the gateway wrote it.
    """
    code = body.get("code")
    return (
        body.get("gateway") == "native" and not body.get("ecu") and isinstance(code, str) and code in REFUSALS
    )


def refused_for(today: Resolution, *, code: str) -> str | None:
    """Return why a vehicle that refused an update is let go; None: what we know does not say the same, so it failed.

    Args:
        today: what the resolver says of it now.
        code: of `REFUSALS`, by which the vehicle refused.
    """
    if today.verdict != "mismatch" or not today.reason.startswith(REFUSALS[code]):
        return None
    return verdict_of(today)


def changed_elsewhere(
    code: str, detail: str, *, touched: Collection[str], unlisted: Mapping[str, str]
) -> str | None:
    """Return why a vehicle that refused an update is let go for what a workshop left on it; None: that explains nothing.

    Args:
        code: of `REFUSALS`, by which the vehicle refused.
        detail: the vehicle's words beside it, which name the ECUs that it is about: by name, or by serial.
        touched: names of the ECUs that the release has a package for.
        unlisted: those whose newest manifest shows an image that no package of the programme holds, and that ran one
            before that a package holds, with their serials; none if the vehicle's last update that began may have left
            it there.
    """
    blamed = sorted(
        name
        for name, serial in unlisted.items()
        if (name in touched or code in _ABOUT_OTHERS) and any(_names(detail, word) for word in (name, serial))
    )
    if not blamed:
        return None
    return f"{CHANGED_ELSEWHERE}: {', '.join(blamed)} runs what no package holds"


def _names(detail: str, word: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", detail) is not None


def beside(verdict: str, detail: str) -> str:
    """Return a verdict with the vehicle's own words beside it, as it is kept on an action."""
    return f"{verdict}; the vehicle said {detail}"[:DETAIL_CHARS_MAX]


def verdict_of(today: Resolution) -> str:
    """Return a verdict with its reason, as it is kept on an action."""
    return f"{today.verdict}: {today.reason}".removesuffix(": ")
