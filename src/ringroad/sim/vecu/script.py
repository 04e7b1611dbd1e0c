"""Fault scripts: what goes wrong on a virtual ECU, as one JSON file.

Real firmware cannot be asked how it would behave, so a script says it, by the image's SHA-256 or by its version.
Every draw is a function of seed, ECU and count: the same seed gives the same faults, whatever is restarted.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.uds import dtc_bytes

Permille = Annotated[int, Meta(ge=0, le=1000)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown members are refused: a misspelt fault would silently not happen."""


class FaultRate(_Strict, frozen=True, kw_only=True):
    """An image raises a fault code in some of its operation cycles.

    Attributes:
        code: display form, ``P0A1F-00``.
        rate_permille: of operation cycles, 1000 is every one.
        first_cycle: of this image on this ECU in which it may occur, 1 is the first after flashing.
    """

    code: str
    rate_permille: Permille
    first_cycle: Annotated[int, Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        """Refuse what is not a fault code."""
        dtc_bytes(self.code)


class Behaviour(_Strict, frozen=True, kw_only=True):
    """How an image behaves once it runs."""

    faults: tuple[FaultRate, ...] = ()
    self_test: Literal["pass", "fail"] = "pass"
    boot: Literal["ok", "loop"] = "ok"
    reports_version: str = ""  # a lie; empty tells the truth


class Trouble(_Strict, frozen=True, kw_only=True):
    """One thing that goes wrong between tester and ECU, at the n-th matching request.

    Attributes:
        kind: ``drop_request``, ``drop_response``, ``delay``, ``duplicate`` (the response), ``nrc``,
            ``reset`` (the ECU restarts instead of answering), ``hang_up`` (the connection breaks),
            ``die`` (never answers again).
        service: UDS service; 0 is any.
        at: 1 is the first matching request.
        times: how many matching requests in a row; the count starts anew with each process.
        nrc: negative response code for ``nrc``.
        delay_ms: for ``delay``.
    """

    kind: Literal["drop_request", "drop_response", "delay", "duplicate", "nrc", "reset", "hang_up", "die"]
    service: Annotated[int, Meta(ge=0, le=0xFF)] = 0
    at: Annotated[int, Meta(ge=1)] = 1
    times: Annotated[int, Meta(ge=1)] = 1
    nrc: Annotated[int, Meta(ge=1, le=0xFF)] = 0x22
    delay_ms: Annotated[int, Meta(ge=0, le=600_000)] = 0


class TornWrite(_Strict, frozen=True, kw_only=True):
    """Power is lost inside the n-th flash write or erase after the start.

    Attributes:
        at: 1 is the first write.
        keep_permille: how much of that write is done.
        stays_dark: the ECU does not come back in this process; else it restarts at once.
    """

    at: Annotated[int, Meta(ge=1)]
    keep_permille: Permille = 500
    stays_dark: bool = False


class Script(_Strict, frozen=True, kw_only=True):
    """Everything that goes wrong on one ECU. The default is an ECU that behaves."""

    images: dict[str, Behaviour] = {}  # by SHA-256 of the image file
    versions: dict[str, Behaviour] = {}  # by version as signed, whatever image has it; beside those by image
    transport: tuple[Trouble, ...] = ()
    torn_write: TornWrite | None = None
    preconditions: Literal["ok", "refuse"] = "ok"

    def behaviour(self, sha256: str, version: str) -> Behaviour:
        """Return how an image behaves under the version that it has; an unnamed one behaves well."""
        by_image, by_version = self.images.get(sha256), self.versions.get(version)
        if by_image is None or by_version is None:
            return by_image or by_version or _WELL
        return Behaviour(
            faults=(*by_image.faults, *by_version.faults),
            self_test="fail" if "fail" in {by_image.self_test, by_version.self_test} else "pass",
            boot="loop" if "loop" in {by_image.boot, by_version.boot} else "ok",
            reports_version=by_image.reports_version or by_version.reports_version,
        )


_WELL = Behaviour()


def read_script(path: Path) -> Script:
    """Return the script in a JSON file. Raises: InvalidInput."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Script)
    except OSError as error:
        raise InvalidInput(f"the fault script {path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the fault script {path} is wrong: {error}") from error


def draw_permille(seed: int, *labels: str | int) -> int:
    """Return a number from 0 to 999 that depends on the arguments alone."""
    text = "\0".join((str(seed), *map(str, labels)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 1000


def draw_bytes(seed: int, size: int, *labels: str | int) -> bytes:
    """Return up to 32 bytes that depend on the arguments alone."""
    text = "\0".join((str(seed), *map(str, labels)))
    return hashlib.sha256(text.encode()).digest()[:size]
