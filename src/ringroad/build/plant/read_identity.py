"""Read who a plant is, as `read.py` reads the rest of its document. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ringroad.build.plant.model import Identity
from ringroad.build.toml_lines import Path
from ringroad.build.toml_reader import Reader
from ringroad.kernel.hours import find_zone

ID_PATTERN: Final = r"[a-z][a-z0-9_\-]{0,62}"
_ID_RULE: Final = "small letters, digits, '-' and '_', a letter first, up to 63"


def read_identity(reader: Reader, raw: Mapping[str, Any]) -> Identity:
    """Return what ``[plant]`` says."""
    path: Path = ("plant",)
    head = reader.table(raw, (), "plant")
    if not head:
        return Identity(id="", name="", enterprise="", site="")
    reader.known(head, path, ("id", "name", "enterprise", "site", "parent", "time_zone"))
    plant_id = reader.text(head, path, "id")
    if plant_id and not re.fullmatch(ID_PATTERN, plant_id):
        reader.say((*path, "id"), f"id {plant_id!r}: {_ID_RULE}")
    zone = reader.text_or(head, path, "time_zone")
    if zone and find_zone(zone) is None:
        reader.say(
            (*path, "time_zone"), f"there is no time zone {zone!r}: an IANA name, for example Europe/Oslo"
        )
    return Identity(
        id=plant_id,
        name=reader.text(head, path, "name"),
        enterprise=reader.text(head, path, "enterprise"),
        site=reader.text(head, path, "site"),
        parent=reader.text_or(head, path, "parent"),
        time_zone=zone,
    )
