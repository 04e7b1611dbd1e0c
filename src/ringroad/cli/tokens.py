"""Where the command line keeps API tokens: one file of mode 0600, a token per server address.

Beside the engines' state when the server is this installation's, else in the person's own configuration folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ringroad.kernel.errors import Corrupt, Unavailable
from ringroad.storage.settings import Settings

FILE: Final = "tokens.json"
FILE_BYTES_MAX: Final = 64 * 1024


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A token, and whose it is."""

    account: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The token of one server in one file."""

    path: Path
    url: str

    def get(self) -> str:
        """Return the token, or an empty text when there is none. Raises: Corrupt, Unavailable."""
        entry = self._read().get(self.url)
        return entry.token if entry else ""

    def put(self, entry: Entry) -> None:
        """Keep a token; the file is replaced as a whole. Raises: Corrupt, Unavailable."""
        self._write(self._read() | {self.url: entry})

    def drop(self) -> bool:
        """Forget the token. Returns: False if there was none. Raises: Corrupt, Unavailable."""
        entries = self._read()
        if self.url not in entries:
            return False
        self._write({url: entry for url, entry in entries.items() if url != self.url})
        return True

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


def find_tokens(settings: Settings, env: Mapping[str, str], *, url: str, local: bool) -> Tokens:
    """Return where the token of a server is kept.

    Args:
        settings: of this run.
        env: the environment, for `XDG_CONFIG_HOME`.
        url: the server.
        local: it is the installation in our own var folder.
    """
    if local and settings.run.is_dir():
        return Tokens(path=settings.run / FILE, url=url)
    base = env.get("XDG_CONFIG_HOME", "")
    home = Path(base) if base else Path(env.get("HOME", "/")) / ".config"
    return Tokens(path=home / "ringroad" / FILE, url=url)
