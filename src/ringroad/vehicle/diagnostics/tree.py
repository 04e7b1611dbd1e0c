"""The tree of a vehicle's diagnostics: which request means what, before anything is done. Pure.

SOVD's words and shapes; aligned, not certified. Every request says what it needs: which scope of session, whether the
component's lock, and whether the vehicle must stand still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import unquote

from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.protocol.diagnostics import Method, Scope

What = Literal[
    "components", "component", "catalogue", "data", "write", "faults", "fault", "clear", "clear_one", "locks", "lock",
    "unlock", "operations", "execute", "executions", "execution", "stop", "modes", "mode", "health",
    "updates", "update", "update_status", "look", "prepare", "execute_update",
    "bulk", "bulk_items", "bulk_chunk", "subscribe", "subscriptions", "subscription", "unsubscribe",
]  # fmt: skip

SEGMENTS_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a request needs before it is done."""

    scope: Scope = "read"
    lock: bool = False
    standing: bool = False  # the preconditions of diagnostics must hold: by default the vehicle stands still


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, understood. `names` are what the path says: component, then code, operation or identifier."""

    what: What
    need: Need
    names: tuple[str, ...] = ()

    @property
    def component(self) -> str:
        """The component it is about."""
        return self.names[0]


_READ: Final = Need()
_HOLD: Final = Need(scope="service")
_STOP: Final = Need(scope="service", lock=True)
_STAND: Final = Need(scope="service", standing=True)
_CHANGE: Final = Need(scope="service", lock=True, standing=True)

_TREE: Final[Mapping[tuple[Method, str], tuple[What, Need]]] = {
    ("GET", "components"): ("components", _READ),
    ("GET", "components/*"): ("component", _READ),
    ("GET", "components/*/data"): ("catalogue", _READ),
    ("GET", "components/*/data/*"): ("data", _READ),
    ("PUT", "components/*/data/*"): ("write", _CHANGE),
    ("GET", "components/*/faults"): ("faults", _READ),
    ("GET", "components/*/faults/*"): ("fault", _READ),
    ("DELETE", "components/*/faults"): ("clear", _CHANGE),
    ("DELETE", "components/*/faults/*"): ("clear_one", _CHANGE),
    ("GET", "components/*/locks"): ("locks", _READ),
    ("POST", "components/*/locks"): ("lock", _HOLD),
    ("DELETE", "components/*/locks"): ("unlock", _HOLD),
    ("GET", "components/*/operations"): ("operations", _READ),
    ("GET", "components/*/operations/*/executions"): ("executions", _READ),
    ("POST", "components/*/operations/*/executions"): ("execute", _CHANGE),
    ("GET", "components/*/operations/*/executions/*"): ("execution", _READ),
    ("DELETE", "components/*/operations/*/executions/*"): ("stop", _STOP),
    ("GET", "components/*/modes"): ("modes", _READ),
    ("PUT", "components/*/modes/*"): ("mode", _CHANGE),
    ("GET", "functions/vehicle-health"): ("health", _READ),
    ("POST", "components/*/cyclic-subscriptions"): ("subscribe", _READ),
    ("GET", "components/*/cyclic-subscriptions"): ("subscriptions", _READ),
    ("GET", "components/*/cyclic-subscriptions/*"): ("subscription", _READ),
    ("DELETE", "components/*/cyclic-subscriptions/*"): ("unsubscribe", _READ),
    ("GET", "bulk-data"): ("bulk", _READ),
    ("GET", "bulk-data/*"): ("bulk_items", _READ),
    ("GET", "bulk-data/*/*"): ("bulk_chunk", _READ),
    ("GET", "updates"): ("updates", _READ),
    ("POST", "updates"): ("look", _HOLD),
    ("GET", "updates/*"): ("update", _READ),
    ("GET", "updates/*/status"): ("update_status", _READ),
    ("PUT", "updates/*/prepare"): ("prepare", _HOLD),
    ("PUT", "updates/*/execute"): ("execute_update", _STAND),
}


def understand(method: Method, path: str) -> Ask:
    """Return what a request asks for.

    Raises:
        NotFound: the tree has no such place, or not with this method.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if len(parts) > SEGMENTS_MAX or not all(parts):
        raise NotFound("there is no such place in the tree", hint="components is where it begins")
    for (known, pattern), (what, need) in _TREE.items():
        names = _match(pattern.split("/"), parts)
        if known == method and names is not None:
            return Ask(what=what, need=need, names=names)
    raise NotFound(f"there is no {method} {path[:80]}", hint="components is where it begins")


def _match(pattern: list[str], parts: list[str]) -> tuple[str, ...] | None:
    if len(pattern) != len(parts):
        return None
    if any(word not in ("*", part) for word, part in zip(pattern, parts, strict=True)):
        return None
    return tuple(part for word, part in zip(pattern, parts, strict=True) if word == "*")


def whole(body: Mapping[str, Any], name: str, *, default: int, least: int, most: int) -> int:
    """Return a whole number of a body. Raises: InvalidInput."""
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInput(f"{name} is a whole number from {least} to {most}")
    return value


def words(body: Mapping[str, Any], name: str) -> list[str] | None:
    """Return a list of words of a body, None if there is none. Raises: InvalidInput."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidInput(f"{name} is a list of words")
    return value
