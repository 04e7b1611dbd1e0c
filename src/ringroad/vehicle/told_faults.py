"""Which fault codes the server was told of as there: a small file beside the batches, so that their end is told after a restart too.

A change that waits is lost with power, and what was there before is not known to the next life. What this file names and
its ECU has no more is then told as gone. It holds the codes alone: what is there is told anew after each start anyhow.

Invariants:
    * A code stands here before a batch that tells of it is stored, and until one is that tells of its end.
    * It decides nothing but what is told: one that does not read back names none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from ringroad.kernel.errors import Unavailable
from ringroad.protocol.vehicle import FaultEvent
from ringroad.vehicle.files import Durability, replace_file

CODES_MAX: Final = 4_096  # of a vehicle; the end of one above that may be lost with power

Codes = dict[str, list[str]]  # by ECU, sorted


class ToldFaults:
    """The codes by ECU."""

    def __init__(self, path: Path, *, durability: Durability) -> None:
        """Read what an earlier life noted."""
        self._path = path
        self._durability: Durability = durability
        try:
            self._codes = msgspec.json.decode(path.read_bytes(), type=Codes)
        except (OSError, msgspec.MsgspecError):
            self._codes = {}

    @property
    def codes(self) -> Mapping[str, Sequence[str]]:
        """Return them by the ECU's name."""
        return self._codes

    def expect(self, events: Sequence[FaultEvent]) -> None:
        """Note what a batch tells of, before it is stored. Raises: Unavailable, the disk cannot be used."""
        known = {(ecu, code) for ecu, codes in self._codes.items() for code in codes}
        new = dict.fromkeys((each.ecu, each.code) for each in events if each.status)
        self._put(known | set([key for key in new if key not in known][: max(0, CODES_MAX - len(known))]))

    def stored(self, events: Sequence[FaultEvent]) -> None:
        """Forget what a batch that is stored told as gone."""
        newest = {(each.ecu, each.code): each.status for each in events}
        left = {
            (ecu, code) for ecu, codes in self._codes.items() for code in codes if newest.get((ecu, code), 1)
        }
        with suppress(Unavailable):  # then it is told as gone twice
            self._put(left)

    def _put(self, keys: set[tuple[str, str]]) -> None:
        codes: Codes = {}
        for ecu, code in sorted(keys):
            codes.setdefault(ecu, []).append(code)
        if codes != self._codes:
            replace_file(self._path, msgspec.json.encode(codes), durability=self._durability)
            self._codes = codes
