"""Where the command line keeps API tokens: one file of mode 0600.

It holds, per server address, a token for each account that signed in here, and the one taken when none is named.
Beside the engines' state when the server is this installation's, else in the person's own configuration folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ringroad.kernel.errors import Corrupt, Forbidden, Unavailable
from ringroad.storage.settings import Settings

FILE: Final = "tokens.json"
FILE_BYTES_MAX: Final = 64 * 1024


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A token, and whose it is."""

    account: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of one server in one file.

    Attributes:
        path: the file.
        url: the server.
        account: whose token is meant; empty: of whoever signed in last without `--as`.
    """

    path: Path
    url: str
    account: str = ""

    def get(self) -> str:
        """Return the token, or an empty text when nobody is signed in.

        Raises:
            Forbidden: the account that was named is not signed in here.
            Corrupt, Unavailable: the file.
        """
        entry = self._mine(self._read())
        if entry is None and self.account:
            raise Forbidden(
                f"{self.account} is not signed in here",
                hint=f"ringroad account login --as {self.account}",
                code="unauthenticated",
            )
        return entry.token if entry else ""

    def put(self, entry: Entry) -> None:
        """Keep a token; the file is replaced as a whole. Raises: Corrupt, Unavailable."""
        new = {self._key(entry.account): entry}
        self._write(self._read() | new | ({} if self.account else {self.url: entry}))

    def drop(self) -> bool:
        """Forget the token. Returns: False if there was none. Raises: Corrupt, Unavailable."""
        entries = self._read()
        gone = self._mine(entries)
        if gone is None:
            return False
        keys = {self.url, self._key(gone.account)}
        self._write(
            {key: one for key, one in entries.items() if key not in keys or one.account != gone.account}
        )
        return True

    def _mine(self, entries: Mapping[str, Entry]) -> Entry | None:
        taken = entries.get(self.url)
        is_taken = taken is not None and taken.account == self.account
        return taken if is_taken else entries.get(self._key(self.account))

    def _key(self, account: str) -> str:
        return f"{self.url} {account}" if account else self.url  # an address has no spaces

    def _read(self) -> dict[str, Entry]:
        try:
            with self.path.open("rb") as source:
                raw = source.read(FILE_BYTES_MAX)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be read: {error.strerror}") from error
        try:
            return msgspec.json.decode(raw, type=dict[str, Entry])
        except msgspec.DecodeError as error:
            raise Corrupt(
                f"{self.path} does not hold tokens", hint="remove it, then: ringroad account login"
            ) from error

    def _write(self, entries: Mapping[str, Entry]) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.encode(entries))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be written: {error.strerror}") from error


def find_tokens(
    settings: Settings, env: Mapping[str, str], *, url: str, local: bool, account: str = ""
) -> Tokens:
    """Return where the tokens of a server are kept.

    Args:
        settings: of this run.
        env: the environment, for `XDG_CONFIG_HOME`.
        url: the server.
        local: it is the installation in our own var folder.
        account: whose token is meant; empty: the one taken when none is named.
    """
    if local and settings.run.is_dir():
        return Tokens(path=settings.run / FILE, url=url, account=account)
    base = env.get("XDG_CONFIG_HOME", "")
    home = Path(base) if base else Path(env.get("HOME", "/")) / ".config"
    return Tokens(path=home / "ringroad" / FILE, url=url, account=account)
