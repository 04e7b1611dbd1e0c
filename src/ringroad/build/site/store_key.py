"""A site's own key, in a file of its var folder: made there, and never anywhere else.

Invariant: the private key is written once, readable by its owner alone; what leaves the site is the public half.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from securesystemslib.signer import CryptoSigner

from ringroad.build.site.store_held import Anchors
from ringroad.kernel.errors import Corrupt, InvalidInput
from ringroad.storage.leaf import Credentials
from ringroad.storage.process import folder_error, write_private
from ringroad.trust.keys import SEED_BYTES, key_from_pem, key_from_seed, private_pem

NAME: Final = "birth-key.pem"


def ensure_key(folder: Path, secret: Callable[[int], bytes]) -> CryptoSigner:
    """Return the key of the site whose folder this is; made the first time. Raises: Corrupt, Unavailable."""
    found = read_key(folder)
    if found is not None:
        return found
    try:
        write_private(folder / NAME, private_pem(key_from_seed(secret(SEED_BYTES))).decode("ascii").rstrip())
    except OSError as error:
        raise folder_error(error, folder) from error
    return ensure_key(folder, secret)


def read_key(folder: Path) -> CryptoSigner | None:
    """Return the key of a site; None: it has none yet. Raises: Corrupt, it does not read back; Unavailable."""
    path = folder / NAME
    try:
        return key_from_pem(path.read_bytes())
    except FileNotFoundError:
        return None
    except InvalidInput as error:
        raise Corrupt(
            f"{path} does not read back",
            hint="restore it, or remove it: the site makes another",
            detail=error.message,
        ) from error
    except OSError as error:
        raise folder_error(error, path) from error


def anchors_of(given: Credentials, key: CryptoSigner) -> Anchors | None:
    """Return what a site trusts from its first day; None: its credentials name no roots."""
    if not given.image_root or not given.director_root:
        return None
    return Anchors(
        site=given.site, key_id=key.public_key.keyid, image_root=given.image_root.encode(),
        director_root=given.director_root.encode(),
    )  # fmt: skip
