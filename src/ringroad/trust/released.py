"""What is released, verified by someone who is no vehicle: the Image repository alone, whole files, step by step.

A plant that holds what this returns knows which images its maker released; for which vehicle is not asked here.

Invariant: what is returned passed every check of `TrustedRepository`, and nothing in it is older than what was held.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ringroad.trust.attacks import Attack, refuse
from ringroad.trust.metadata import Root, Snapshot, Targets, parse_file
from ringroad.trust.repository import ROOT_ROTATIONS_MAX, TrustedRepository
from ringroad.trust.state import RepositoryState
from ringroad.trust.verify import check_image_repository


def verify_released(
    state: RepositoryState,
    *,
    roots: Sequence[bytes],
    timestamp: bytes,
    snapshot: bytes,
    targets: bytes,
    now: datetime,
) -> RepositoryState:
    """Return the newest of the Image repository, verified over what is held.

    Args:
        state: what is held; at first the root that whoever joined was given, alone.
        roots: of the repository, oldest first; those that are held or older are left out.
        timestamp: whole files, as they are served.
        snapshot: the same.
        targets: the same.
        now: UTC; never before what was verified last.

    Raises:
        Untrusted: an attack; its code names which.
    """
    image = TrustedRepository(state, name="image", now=now, check_targets=check_image_repository)
    follow_roots(image, roots)
    image.update_timestamp(timestamp)
    image.update_snapshot(snapshot)
    image.update_targets(targets)
    return image.state


def verify_roots(root: bytes, roots: Sequence[bytes], *, now: datetime) -> bytes:
    """Return the newest root of the Director that follows from one that is trusted. Raises: Untrusted."""
    director = TrustedRepository(RepositoryState(root=root), name="director", now=now)
    follow_roots(director, roots)
    return director.state.root


def follow_roots(repository: TrustedRepository, roots: Sequence[bytes]) -> None:
    """Trust each root that follows on the one before. Raises: Untrusted."""
    if len(roots) > ROOT_ROTATIONS_MAX:
        raise refuse(Attack.ENDLESS_DATA, f"more than {ROOT_ROTATIONS_MAX} roots")
    for raw in roots:
        if parse_file(raw, Root).signed.version > repository.root.version:
            repository.update_root(raw)


def first_end(state: RepositoryState) -> tuple[datetime, str]:
    """Return when the first of what is held ends, and which: for one who knows that nothing newer can reach it.

    The Timestamp is not asked: it says that nothing newer was kept back on the day it came, and a plant that is cut
    off knows that it is (ADR 0124).
    """
    ends = (
        (parse_file(state.root, Root).expires_at, "root"),
        (parse_file(state.snapshot, Snapshot).expires_at, "snapshot"),
        (parse_file(state.targets, Targets).expires_at, "targets"),
    )
    return min(ends)
