"""Who may do what: roles, password hashes, tokens, throttling. Pure; `accounts_store.py` does the I/O.

Not here: reading requests (`middleware.py`), the login page (`console/session.py`).

Invariants: a secret is stored only as a hash; comparisons take constant time; an unknown account costs
as much time as a wrong password; strangers who guess cannot use up the server's threads or memory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from threading import BoundedSemaphore, Lock

from ringroad.kernel.errors import Forbidden, InvalidInput, NotFound, RingroadError
from ringroad.storage.settings import Network

# OWASP Password Storage Cheat Sheet: N=2^15, r=8, p=3 is one of its equivalent settings; 32 MiB, 0.2 s.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 3
SCRYPT_BYTES_MAX = 64 * 1024**2  # bytes one hash may use
HASHES_AT_ONCE = 2  # scrypt calls; more would let strangers fill the memory
HASHES_WAITING_MAX = 8  # scrypt calls under way or waiting; each holds one of the server's 40 threads
SALT_BYTES = 16
TOKEN_BYTES = 32
PASSWORD_CHARS_MIN = 12  # NIST SP 800-63B asks for 8 at least
PASSWORD_CHARS_MAX = 256  # a longer one only costs time
ONE_TIME_S = 24 * 3600  # seconds a first-login token lives
API_TOKEN_S = 90 * 24 * 3600  # seconds an API token lives
PROXIES_MAX = 10  # proxies in a row; a longer chain is a mistake

_hashing = BoundedSemaphore(HASHES_AT_ONCE)
_waiting = BoundedSemaphore(HASHES_WAITING_MAX)


class TooMany(RingroadError):  # noqa: N818
    """Too many attempts; wait.

    Attributes:
        wait_s: seconds until the next attempt may succeed.
    """

    kind = "too_many"

    def __init__(self, message: str, *, wait_s: int) -> None:
        super().__init__(message, hint=f"try again in {wait_s} seconds")
        self.wait_s = wait_s


class Role(StrEnum):
    """What an account may do; each includes those before it."""

    FLEET = "fleet"  # sees vehicles of its own fleet, and says when they may begin; all else is not there
    VIEWER = "viewer"  # sees everything, changes nothing
    OPERATOR = "operator"  # imports, creates, starts, pauses
    APPROVER = "approver"  # approves changes and campaigns, signs releases
    ADMIN = "admin"  # accounts


_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who is calling."""

    name: str
    role: Role
    via: str  # session, api

    @property
    def fleet(self) -> str | None:
        """Whose vehicles alone it may see; None: all."""
        return self.name if self.role is Role.FLEET else None

    def may(self, role: Role) -> bool:
        """Say whether this account has at least `role`."""
        return _RANK[role] <= _RANK[self.role]

    def require(self, role: Role) -> None:
        """Raise unless this account has at least `role`.

        Raises:
            Forbidden: it has not.
            NotFound: it is of a fleet operator, to whom the rest does not exist.
        """
        if not self.may(role):
            if self.role is Role.FLEET:
                raise NotFound(
                    "there is no such thing for the operator of a fleet",
                    hint="its vehicles and their campaigns are: ringroad fleet list, ringroad campaign list",
                )
            article = "an" if role[0] in "aeiou" else "a"
            who = f"{article} {role}" if role is Role.ADMIN else f"{article} {role}, who may do it"
            raise Forbidden(f"this needs the role {role}", hint=f"{self.name} is {self.role}; ask {who}")


def hash_password(password: str, salt: bytes) -> str:
    """Return ``scrypt$N$r$p$salt$hash``.

    Raises:
        InvalidInput: shorter or longer than allowed.
        TooMany: too many are being hashed already.
    """
    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
        raise InvalidInput(
            f"a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters",
            hint="three or four random words do well",
        )
    digest = _scrypt(password, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    parts = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$".join(("scrypt", str(SCRYPT_N), str(SCRYPT_R), str(SCRYPT_P), *parts))


def verify_password(password: str, stored: str | None) -> bool:
    """Compare a password with a stored hash; None costs the same time and is never right.

    Raises:
        TooMany: too many are being hashed already.
    """
    if stored is None or len(password) > PASSWORD_CHARS_MAX:
        _scrypt("", b"\0" * SALT_BYTES, SCRYPT_N, SCRYPT_R, SCRYPT_P)
        return False
    _, n, r, p, salt, digest = stored.split("$")
    given = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(given, base64.b64decode(digest))


def render_token(secret: bytes, prefix: str) -> str:
    """Return a token as its holder sees it, for example ``rr_8Qd...``; the prefix helps secret scanners."""
    return f"{prefix}_{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"


def token_digest(token: str) -> bytes:
    """Return what is stored of a token. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).digest()


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    if not _waiting.acquire(blocking=False):
        raise TooMany("too many people are signing in", wait_s=2)
    try:
        with _hashing:
            return hashlib.scrypt(
                password.encode(), salt=salt, n=n, r=r, p=p, maxmem=SCRYPT_BYTES_MAX, dklen=32
            )
    finally:
        _waiting.release()


def caller_address(peer: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """Return the address that failed logins slow down; empty: none can be told, and a proxy's would be everybody's.

    1. Who is not one of our proxies speaks for itself; what it says of others is not believed.
    2. Each proxy appends whom it heard. From the right, the first that is not one of our proxies is the caller;
       what stands left of that is the caller's own word.
    3. What a proxy of ours wrote and cannot be read names nobody.

    Args:
        peer: who opened the connection.
        forwarded: the values of every X-Forwarded-For header, in order.
        proxies: those whose word is taken.
    """
    address = _address(peer)
    if address is None or not _within(address, proxies):
        return peer
    for word in reversed(",".join(forwarded).split(",")[-PROXIES_MAX:]):
        heard = _address(word.strip())
        if heard is None:
            return ""
        if not _within(heard, proxies):
            return str(heard)
    return ""


def came_over_tls(scheme: str, peer: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> bool:
    """Tell whether a request left its caller over TLS, so that the cookie in its answer may ask for TLS.

    1. TLS to us is TLS.
    2. Of the others only a proxy of ours is believed; the first in a list of proxies is the one the caller spoke to.

    Args:
        scheme: of the connection to us.
        peer: who opened the connection.
        forwarded: the values of every X-Forwarded-Proto header, in order.
        proxies: those whose word is taken.
    """
    if scheme == "https":
        return True
    address = _address(peer)
    if address is None or not _within(address, proxies):
        return False
    return ",".join(forwarded).partition(",")[0].strip().lower() == "https"


def is_within(peer: str, networks: Sequence[Network]) -> bool:
    """Tell whether an address lies in one of these networks; what is no address does not."""
    address = _address(peer)
    return address is not None and _within(address, networks)


def _address(word: str) -> IPv4Address | IPv6Address | None:
    """Read an address, with a port or without; a mapped one is the IPv4 address that it is."""
    match = re.fullmatch(r"\[(.+)\](?::\d+)?|([^:]+):\d+|(.+)", word)
    try:
        found = ip_address(next(filter(None, match.groups()))) if match else None
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _within(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


class Throttle:
    """Counts failed logins per name and per address; the wait doubles with each failure after the fifth.

    In memory, bounded, oldest forgotten first: a restart forgives, and strangers cannot fill it.
    """

    FREE = 5  # failures without a wait
    WAIT_S_MAX = 900  # seconds
    KEYS_MAX = 10_000

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, datetime]] = OrderedDict()
        self._lock = Lock()

    def wait_s(self, key: str, *, now: datetime) -> int:
        """Return the seconds that `key` must still wait; 0: it may try."""
        with self._lock:
            count, last = self._failures.get(key, (0, now))
        if count < self.FREE:
            return 0
        wait = min(self.WAIT_S_MAX, 2 << min(count - self.FREE, 20))
        return int(max(0, wait - (now - last) // timedelta(seconds=1)))

    def failed(self, key: str, *, now: datetime) -> None:
        """Count one failure."""
        with self._lock:
            count, last = self._failures.pop(key, (0, now))
            if (now - last).total_seconds() > self.WAIT_S_MAX:
                count = 0
            self._failures[key] = (count + 1, now)
            while len(self._failures) > self.KEYS_MAX:
                self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of `key`."""
        with self._lock:
            self._failures.pop(key, None)
