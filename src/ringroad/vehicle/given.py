"""How many bytes of a download peers gave: a number beside the download, which goes where it goes.

Before a peer's bytes are written it is noted from where on they are; so a loss of power in their middle costs none of the
count. It is told and decides nothing: one that does not read back, or cannot be written, is 0, and keeps no download.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ringroad.kernel.errors import Unavailable
from ringroad.vehicle.files import Durability, replace_file


class GivenBytes:
    """The count of one download."""

    def __init__(self, path: Path, *, durability: Durability) -> None:
        """Read what an earlier try noted, if one did."""
        self._path = path
        self._durability: Durability = durability
        self._bytes, self._since = _read(path)

    @property
    def total(self) -> int:
        """Bytes that peers gave, but for those of one that is at it."""
        return self._bytes

    @property
    def counting(self) -> bool:
        """Whether a peer is at it."""
        return self._since is not None

    def begin(self, done_bytes: int) -> None:
        """Note that a peer's bytes come behind so many."""
        self._write(self._bytes, done_bytes)

    def end(self, done_bytes: int) -> None:
        """Count what came since `begin`, and no more than is here."""
        since = done_bytes if self._since is None else self._since
        count = min(done_bytes, self._bytes + max(0, done_bytes - since))
        if self.counting or count != self._bytes:
            self._write(count, None)

    def forget(self) -> None:
        """Count none: the download is over, or begins anew."""
        self._bytes, self._since = 0, None
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _write(self, count: int, since: int | None) -> None:
        self._bytes, self._since = count, since
        text = f"{count} {'-' if since is None else since}"
        try:
            replace_file(self._path, text.encode(), durability=self._durability)
        except Unavailable:
            self.forget()  # an older count would take the server's bytes for a peer's


def _read(path: Path) -> tuple[int, int | None]:
    try:
        count, since = path.read_bytes().split()
        return max(0, int(count)), None if since == b"-" else max(0, int(since))
    except (OSError, ValueError):
        return 0, None
