"""Words for what an ECU speaks in numbers: its data identifiers and its fault codes.

Pure. Both sides use it: the server for what it shows, the vehicle for what its own diagnostics answer.
Where the words come from, a PDX or a file by hand, is not known here.

Invariant: a code without a name has none; nothing is guessed from a similar one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

ENTRIES_MAX: Final = 20_000  # names of one kind of one ECU; a large gateway's PDX has some 5,000 of them
CHARS_MAX: Final = 200  # of one name
EVERY_ECU: Final = "*"  # names under it hold for each ECU that has none of its own for the code

DataId = Annotated[str, Meta(pattern=r"^[0-9A-F]{4}$", description="Data identifier, four hex digits")]
FaultCode = Annotated[
    str, Meta(pattern=r"^[PCBU][0-3][0-9A-F]{3}-[0-9A-F]{2}$", description="Fault code, such as P0A1F-00")
]
Words = Annotated[str, Meta(min_length=1, max_length=CHARS_MAX, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]


class EcuNames(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The names of one ECU's data and faults."""

    data: Annotated[dict[DataId, Words], Meta(max_length=ENTRIES_MAX)] = {}
    faults: Annotated[dict[FaultCode, Words], Meta(max_length=ENTRIES_MAX)] = {}


Names = Mapping[str, EcuNames]  # by the ECU's name in its programme, or `EVERY_ECU`


def fault_name(names: Names, ecu: str, code: str) -> str:
    """Return the name of a fault code as shown, ``P0A1F-00``; empty without one."""
    for owner in (ecu, EVERY_ECU):
        if owner in names and (found := names[owner].faults.get(code)):
            return found
    return ""


def data_name(names: Names, ecu: str, did: int) -> str:
    """Return the name of a data identifier; empty without one."""
    for owner in (ecu, EVERY_ECU):
        if owner in names and (found := names[owner].data.get(f"{did:04X}")):
            return found
    return ""
