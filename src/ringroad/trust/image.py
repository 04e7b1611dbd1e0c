"""Is this the image that both repositories vouch for? Bytes are fed as they arrive; nothing is kept.

Invariant: `finish` returns only after exactly `length` bytes with both digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ringroad.trust.attacks import Attack, refuse
from ringroad.trust.state import VerifiedTarget


class ImageVerifier:
    """The verification of one image while it is downloaded or read back from storage."""

    def __init__(self, target: VerifiedTarget) -> None:
        self._target = target
        self._sha256 = hashlib.sha256()
        self._sha512 = hashlib.sha512()
        self.done_bytes = 0

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            Untrusted: `endless_data`: more bytes than the metadata says.
        """
        self.done_bytes += len(chunk)
        if self._target.length < self.done_bytes:
            raise refuse(
                Attack.ENDLESS_DATA, f"{self._target.filename}: more than {self._target.length} bytes"
            )
        self._sha256.update(chunk)
        self._sha512.update(chunk)

    def finish(self) -> None:
        """Say that these were all the bytes.

        Raises:
            Untrusted: `arbitrary_software`: too few bytes, or another digest.

        Source: Uptane 2.1 section 5.4.3.3: every listed hash.
        """
        target = self._target
        if self.done_bytes != target.length:
            raise refuse(
                Attack.ARBITRARY_SOFTWARE,
                f"{target.filename}: {self.done_bytes} bytes of {target.length}",
            )
        if (self._sha256.hexdigest(), self._sha512.hexdigest()) != (target.sha256, target.sha512):
            raise refuse(Attack.ARBITRARY_SOFTWARE, f"{target.filename} is not the image that was signed")


def verify_image(target: VerifiedTarget, chunks: Iterable[bytes]) -> None:
    """Verify a whole image.

    Raises:
        Untrusted: `endless_data` or `arbitrary_software`.
    """
    verifier = ImageVerifier(target)
    for chunk in chunks:
        verifier.update(chunk)
    verifier.finish()
