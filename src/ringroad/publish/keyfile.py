"""The installation's key for webhook secrets: 32 random bytes in a file that only its owner reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ringroad.kernel.errors import Corrupt, NotFound, Unavailable

KEY_BYTES: Final = 32


def read_key(path: Path) -> bytes:
    """Return the key.

    Raises:
        NotFound: there is none yet.
        Corrupt: the file is not one.
        Unavailable: it cannot be read.
    """
    try:
        key = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path.name}", hint="restore it, or make the webhooks anew") from error
    except OSError as error:
        raise Unavailable(f"{path.name} cannot be read: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        raise Corrupt(
            f"{path.name} is no key", hint="restore it, or remove it and rotate every webhook's secret"
        )
    return key


def ensure_key(path: Path, *, secret: Callable[[int], bytes]) -> bytes:
    """Return the key, made if there is none. Two who make it at once end with the same one.

    Raises:
        Corrupt: the file is not one.
        Unavailable: it cannot be read or written.
    """
    try:
        return read_key(path)
    except NotFound:
        pass
    fresh = path.with_name(f".{path.name}.{secret(8).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # fails when another one was faster: that one counts
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    except OSError as error:
        raise Unavailable(f"{path.name} cannot be written: {error.strerror}") from error
    return read_key(path)
