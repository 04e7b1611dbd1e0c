"""Vehicles alike: of one variant, with one software version and the same lots at a station. Pure.

A gate looks at every vehicle of some kinds, which its plant document names by the text of this module.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from ringroad.kernel.errors import InvalidInput

Lots = Collection[tuple[str, str]]  # part and lot


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Alike:
    """A kind of vehicles.

    Attributes:
        variant: of them.
        software: version; "" for any.
        lots: part and lot, in order; a vehicle may have others besides.
    """

    variant: str
    software: str = ""
    lots: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """As documents write it, for example ``variant=van&software=1.0&lot=battery&of=B-17``."""
        told = [("variant", self.variant)] + ([("software", self.software)] if self.software else [])
        return urlencode([*told, *(pair for part, lot in self.lots for pair in (("lot", part), ("of", lot)))])

    @property
    def says(self) -> str:
        """For people."""
        lots = "".join(f", {part} lot {lot}" for part, lot in self.lots)
        return f"{self.variant}{lots}" + (f", software {self.software}" if self.software else "")

    def has(self, variant: str, software: str, lots: Lots) -> bool:
        """Return whether a vehicle is of this kind, as far as its lots are known."""
        return (
            variant == self.variant
            and self.software in ("", software)
            and all(each in lots for each in self.lots)
        )


def read_alike(text: str) -> Alike:
    """Return what `Alike.key` wrote. Raises: InvalidInput."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        pairs = []
    names = [name for name, _ in pairs]
    head = ["variant", "software"] if "software" in names else ["variant"]
    rest = pairs[len(head) :]
    parts, lots = rest[::2], rest[1::2]
    if names != head + ["lot", "of"] * len(parts):
        raise InvalidInput(
            f"{text!r} names no kind of vehicles",
            hint="for example variant=van&software=1.0&lot=battery&of=B-17",
        )
    told = dict(pairs[: len(head)])
    pairs_of = zip(parts, lots, strict=True)
    return Alike(
        variant=told["variant"], software=told.get("software", ""),
        lots=tuple(sorted((part, lot) for (_, part), (_, lot) in pairs_of)),
    )  # fmt: skip
