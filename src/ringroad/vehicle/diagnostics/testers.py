"""Who may ask for a session beside the vehicle: testers, each with a token of its own, in a file of the vehicle's folder.

The file holds digests, so that whoever reads it can be nobody. A tester is a tool or a person of a workshop; what it may
ask for is bounded here, and whether it gets it is decided as for everybody (`sessions.py`).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ringroad.kernel.errors import Conflict, Corrupt, InvalidInput, NotFound
from ringroad.protocol.diagnostics import Scope
from ringroad.vehicle.diagnostics.sessions import Session
from ringroad.vehicle.files import Durability, replace_file

TESTERS_NAME: Final = "testers.json"
TESTERS_MAX: Final = 16  # of one vehicle
TOKEN_BYTES: Final = 32
TOKEN_PREFIX: Final = "rrt_"  # noqa: S105 - what a token begins with, for whoever finds one
LOCAL: Final = "local."  # how sessions of testers begin; the server's never do
KEY_CHARS: Final = 16  # of a token's digest, in the ids of its sessions

TesterName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9\-]{0,39}$")]


class Tester(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tester. `token_sha256` is hex."""

    name: TesterName
    scope: Scope
    token_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

    @property
    def sessions_begin(self) -> str:
        """How the ids of its sessions begin: another token is another tester, whatever it is called."""
        return f"{LOCAL}{self.name}.{self.token_sha256[:KEY_CHARS]}."

    def may_have(self, session: Session) -> bool:
        """Say whether a session is this tester's, and no wider than it may ask for."""
        return session.id.startswith(self.sessions_begin) and self.scope in {"service", session.scope}


def read_testers(folder: Path) -> list[Tester]:
    """Return a vehicle's testers. Raises: Corrupt."""
    path = folder / TESTERS_NAME
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Tester])
    except (OSError, msgspec.MsgspecError) as error:
        raise Corrupt(
            f"{TESTERS_NAME} does not read back", hint="remove it, and add the testers again"
        ) from error


def find_tester(testers: list[Tester], token: str) -> Tester | None:
    """Return whose token this is, None for nobody's. Pure."""
    digest = _digest(token)
    found = None
    for each in testers:  # all of them: how long it takes says nothing
        if hmac.compare_digest(each.token_sha256, digest):
            found = each
    return found


def add_tester(
    folder: Path, name: str, scope: Scope, *, secret: Callable[[int], bytes], durability: Durability = "fsync"
) -> str:
    """Add a tester, and return its token, which is nowhere else.

    Raises:
        Conflict: there is one of this name, or there are enough.
        InvalidInput: this is no name.
    """
    held = read_testers(folder)
    if any(each.name == name for each in held):
        raise Conflict(f"there is a tester {name} already", hint="remove it first, or take another name")
    if len(held) >= TESTERS_MAX:
        raise Conflict(f"a vehicle has {TESTERS_MAX} testers at most", hint="remove one")
    token = TOKEN_PREFIX + secret(TOKEN_BYTES).hex()
    try:
        made = msgspec.convert({"name": name, "scope": scope, "token_sha256": _digest(token)}, Tester)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{name[:60]!r} is no name of a tester", hint="small letters, digits and -, 40 at most"
        ) from error
    _write(folder, [*held, made], durability)
    return token


def remove_tester(folder: Path, name: str, *, durability: Durability = "fsync") -> Tester:
    """Remove a tester; its token is worth nothing from then on. Raises: NotFound."""
    held = read_testers(folder)
    for each in held:
        if each.name == name:
            _write(folder, [other for other in held if other.name != name], durability)
            return each
    raise NotFound(f"there is no tester {name[:60]!r}", hint="ringroad vehicle tester list --data FOLDER")


def _write(folder: Path, testers: list[Tester], durability: Durability) -> None:
    replace_file(folder / TESTERS_NAME, msgspec.json.encode(testers), durability=durability)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
