"""Where the vehicle is or was: what tells it, by its name, and who may read it. Pure.

Consent to a position is its own: a session that did not ask for it reads none, whatever else it may.
What the vehicle has no name for, or another one, cannot be told from any other value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from ringroad.kernel.errors import Forbidden
from ringroad.vehicle.diagnostics.sessions import Session

POSITION: Final = "position"  # code of what is refused for it
_DEPTH_MAX: Final = 12  # of a value, as in bulk data; what is deeper is left out
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # of gps-position, gpsPosition, GPS position
_PLACES: Final = frozenset(
    {
        "coord", "coords", "destination", "destinations", "geo", "heading", "headings", "lat", "lng", "location",
        "locations", "lon", "pos", "position", "positions",
    }
)  # fmt: skip
_PLACE: Final = re.compile(
    r"(?i)gps|gnss|glonass|galileo|beidou|nmea|latitude|longitude|altitude|coordinate|currentlocation|way_?point"
    r"|geo[-_ ]?(?:loc|hash|fence)|lat[-_ ]?(?:lon|lng)|(?:lon|lng)[-_ ]?lat"
)
# How something of the vehicle itself stands: its name before the word, with none between but which and how.
_PART: Final = (
    r"(?:accelerator|actuator|brake|cam|camshaft|clutch|crank|crankshaft|damper|door|flap|gear|headrest|hood|ignition|lever"
    r"|lock|mirror|pedal|piston|roof|rotor|seat|seats|selector|shade|shifter|spoiler|steering|sunroof|switch|tailgate|throttle"
    r"|trunk|valve|wheel|window|wiper)"
)
_WHICH: Final = r"(?:[a-d]|absolute|actual|angle|center|driver|front|left|middle|passenger|rear|relative|right|row|sensor|side|target)"
_PART_STANDS: Final = re.compile(rf"\b{_PART}(?: {_WHICH})* (?:pos|positions?)\b")
# The same in one word, as in gearposition, and English words that only end so.
_PART_JOINED: Final = re.compile(
    rf"(?:{_WHICH})*{_PART}(?:{_PART}|{_WHICH})*(?:pos|positions?)|\w*(?:com|de|dis|ex|im|juxta|op|pre|pro|super|sup|trans)positions?"
)
# And places in one word: currentposition, vehiclelocation, currentlat, latdeg.
_JOINED: Final = re.compile(
    r"\w*positions?|(?!(?:de|mis|over|pre|re)?(?:al|col|dis|re)locations?$)\w*locations?|\w*(?:coords?|heading)"
    r"|(?:actual|car|cur|current|ego|end|home|last|map|nav|own|park|parked|start|target|trip|veh|vehicle)+(?:pos|loc|lat|lon|lng|long)"
    r"|(?:pos|loc|lat|lon|lng|long)(?:dec|deg|degree|degrees|dms|min|minutes|rad|raw|sec|seconds|val|value)+"
)
_NAMES_MAX: Final = 4_096  # names of which is remembered whether they are of a position


@lru_cache(_NAMES_MAX)
def names_position(name: str) -> bool:
    """Say whether something of that name is where the vehicle is or was. Pure; what is in doubt is one.

    How a pedal, a seat or a gear stands is none.
    """
    words = " ".join(_WORD.findall(name)).lower()
    left = _PART_STANDS.sub("", words).split()
    return _PLACE.search(name) is not None or not _PLACES.isdisjoint(left) or any(map(_joined, left))


def _joined(word: str) -> bool:
    return _JOINED.fullmatch(word) is not None and _PART_JOINED.fullmatch(word) is None


def tells_position(value: Any) -> bool:
    """Say whether a value is of something that is named as a position. Pure."""
    if not isinstance(value, Mapping):
        return False
    path = str(value.get("path", ""))
    # With a slash it is a place that a tester asked for, and no signal: nobody hides a visit by its name.
    if not path.startswith("/") and names_position(path):
        return True
    # Data of an ECU, and values of its snapshots; an ECU that is called so has no data in its own line.
    if "data" not in value and "value" not in value:
        return False
    return any(names_position(str(value.get(each, ""))) for each in ("id", "did", "name"))


def require(session: Session, *names: str) -> None:
    """Raise if something of these names is a position, and the session may read none. Raises: Forbidden."""
    if not session.position and any(names_position(each) for each in names):
        raise Forbidden(
            "this is named as where the vehicle is or was, which this session may not read", code=POSITION,
            hint="ask for a session with positions (ringroad diagnose open --position); its driver is asked for just that",
        )  # fmt: skip


def told_to(session: Session, body: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as a session may read it: without what is named as a position inside, and with that said.

    Raises:
        Forbidden: all of it is one.
    """
    if session.position:
        return body
    if tells_position(body):
        require(session, *(str(body.get(each, "")) for each in ("path", "id", "did", "name")))
    left: list[str] = []
    told: dict[str, Any] = _without(body, left, depth=0)
    return {**told, "left_out": "named as a position"} if left else told


def _without(value: Any, left: list[str], *, depth: int) -> Any:
    if depth > _DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        kept = {}
        for key, each in value.items():
            if names_position(str(key)) or tells_position(each):
                left.append(str(key))
            else:
                kept[key] = _without(each, left, depth=depth + 1)
        return kept
    if isinstance(value, list | tuple):
        left += ["item" for each in value if tells_position(each)]
        return [_without(each, left, depth=depth + 1) for each in value if not tells_position(each)]
    return value
