"""Which stored images may go, and which are missing. Pure; `store_images.py` does the I/O.

Invariant: an image that a package names is never swept, nor one that was stored a short while ago.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ringroad.storage.blobs import Stored

# A server of an older release does not say that it is storing an image: a day is longer than any upload.
UNNAMED_S_MIN: Final = 86_400  # seconds since an unnamed image was stored before it may go


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a look at the store found."""

    unnamed: tuple[Stored, ...]  # may go
    missing: tuple[str, ...]  # sha256 of images that a package names and the store lacks
    named: int  # images that packages name


def decide_sweep(stored: Iterable[Stored], named: frozenset[str], *, now: datetime) -> Sweep:
    """Compare what is stored with what packages name.

    Args:
        stored: every blob.
        named: sha256 of every package's image, read before the blobs: an image is there before it is named.
        now: the time.
    """
    blobs = {each.sha256: each for each in stored}
    before = now - timedelta(seconds=UNNAMED_S_MIN)
    unnamed = [each for each in blobs.values() if each.sha256 not in named and each.stored_at < before]
    return Sweep(
        unnamed=tuple(sorted(unnamed, key=lambda each: each.sha256)),
        missing=tuple(sorted(named - blobs.keys())),
        named=len(named),
    )
