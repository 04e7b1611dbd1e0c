"""The birth record that a vehicle carries: what it was when it left the line.

Not what it is now: that is its journal's and its ECUs'. A vehicle of a plant that makes no records has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ringroad.kernel.errors import NotFound, Unavailable, Untrusted
from ringroad.trust.birth import RECORD_BYTES_MAX, BirthRecord, verify_record
from ringroad.vehicle.config import read_config

RECORD_NAME: Final = "birth-record.json"


def carried(folder: Path) -> bytes:
    """Return the record in a vehicle's folder, as it was given.

    Raises:
        NotFound: this vehicle carries none.
        Unavailable: the disk cannot be read.
    """
    try:
        with (folder / RECORD_NAME).open("rb") as stream:
            return stream.read(RECORD_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise NotFound(
            "this vehicle carries no birth record: it was built before there were any", code="no_birth_record",
            hint="what the maker knows of it: ringroad fleet show VIN",
        ) from error  # fmt: skip
    except OSError as error:
        raise Unavailable(f"the birth record cannot be read: {error.strerror}", code="disk") from error


def verified(folder: Path) -> BirthRecord:
    """Return the record that a vehicle carries, held against the Director root that it was born with. Needs no server.

    Raises:
        NotFound: this vehicle carries none.
        Untrusted: it was not signed for this vehicle, or was changed.
        InvalidInput: this is no vehicle's folder.
        Unavailable: the disk cannot be read.
    """
    config = read_config(folder)
    raw = carried(folder)
    try:
        root = (folder / config.director_root_file).read_bytes()
    except OSError as error:
        raise Unavailable(f"the Director's root cannot be read: {error.strerror}", code="disk") from error
    try:
        return verify_record(raw, director_root=root, vin=config.vin)
    except Untrusted as error:  # nothing was discarded, and no repository has it: the file itself is wrong
        error.hint = f"{RECORD_NAME} was changed, or belongs to another vehicle; the maker has it: ringroad fleet birth {config.vin}"
        raise
