"""Which delta a vehicle uses, and what it is called while it is fetched. Pure.

Procedure, in `decide`, `execute` and `images`:

1. A delta is used only when its base is whole in the store and it is shorter than the image.
2. It is fetched like an image, by range, and compared with its signed digests: bytes that were not verified are
   never decoded.
3. The base is read back and compared with its digest before a byte is written.
4. What comes out goes where a download of the image would go, behind what is there already, and gets its name
   only with the target's own digests: a power cut costs what was not yet written.
5. Whatever fails, the whole image is fetched: what comes out of a delta is never another image.

Invariant: there is no outcome of a delta that ends a campaign.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ringroad.protocol.delta.apply import ALGORITHMS
from ringroad.protocol.vehicle import DELTA_FILENAME, DeltaOffer
from ringroad.trust.state import VerifiedTarget

DELTA_TRIES_MAX: Final = (
    3  # begun; a drive may end twice while one is applied, then the image itself is fetched
)
APPLIED: Final = "delta_applied"  # what the server is told by
FAILED: Final = "delta_failed"


def choose_delta(
    target: VerifiedTarget, *, stored: Collection[str], tries: Mapping[str, int]
) -> DeltaOffer | None:
    """Return the shortest delta to `target` that can be used, or None.

    Args:
        target: that is wanted.
        stored: digests of the files that are whole in the store.
        tries: what was tried in this campaign.
    """
    usable = [
        offer
        for offer in target.ecu_target.deltas
        if offer.algorithm in ALGORITHMS
        and offer.from_sha256 in stored
        and offer.from_sha256 != target.sha256
        and offer.length < target.length
        and tries.get(tried_as(offer), 0) < DELTA_TRIES_MAX
    ]
    return min(usable, key=lambda offer: (offer.length, offer.sha256), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """Bytes that are still to be fetched: for the update itself, and to have the way back at hand."""

    update: int = 0
    way_back: int = 0


def coming(
    images: Sequence[VerifiedTarget],
    *,
    targets: Collection[str],
    stored: Collection[str],
    tries: Mapping[str, int],
) -> Coming:
    """Return what will be fetched, with deltas where there are: a delta that fails costs the whole image instead.

    Args:
        images: of the plan, in the order in which they are fetched: what comes first may be a base.
        targets: digests of those that will run.
        stored: digests of the files that are whole in the store.
        tries: what was tried in this campaign.
    """
    have, update, way_back = set(stored), 0, 0
    for image in images:
        if image.sha256 in have:
            continue
        offer = choose_delta(image, stored=have, tries=tries)
        file = (offer.sha256, offer.length) if offer is not None else (image.sha256, image.length)
        size = 0 if file[0] in have else file[1]
        update, way_back = (update + size, way_back) if image.sha256 in targets else (update, way_back + size)
        have.add(image.sha256)
    return Coming(update=update, way_back=way_back)


def tried_as(offer: DeltaOffer) -> str:
    """Return the name by which tries of a delta are counted in the journal."""
    return f"delta:{offer.sha256}"


def delta_file(target: VerifiedTarget, offer: DeltaOffer) -> VerifiedTarget:
    """Return a delta as what the store and the gateway fetch and verify."""
    return VerifiedTarget(
        serial=target.serial,
        filename=DELTA_FILENAME,
        length=offer.length,
        sha256=offer.sha256,
        sha512=offer.sha512,
        hardware_ids=(),
        release_counter=0,
        ecu_target=target.ecu_target,
    )


def applied_text(offer: DeltaOffer, target: VerifiedTarget) -> str:
    """Return what is told of a delta that gave its image."""
    return f"{offer.length} of {target.length} bytes came over the air"
