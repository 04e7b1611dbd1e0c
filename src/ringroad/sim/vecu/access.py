"""Who may change a virtual ECU: SecurityAccess (0x27) with a seed and a key, or Authentication (0x29) with a proof.

An ECU has one of the two: with an `authentication_key` the proof, else the key. Wrong ones count alike, and lock it for a while.

Source: ISO 14229-1, services 0x27 and 0x29.
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from ringroad.kernel.clock import Clock
from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.flash import Flash
from ringroad.sim.vecu.programming import NegativeReply
from ringroad.sim.vecu.script import draw_bytes
from ringroad.sim.vecu.simple import exactly
from ringroad.vehicle.proof import ALGORITHM, CHALLENGE_BYTES, PROOF_BYTES, is_proof, owner_key
from ringroad.vehicle.uds import Nrc, Session, hmac_key

SEED_BYTES: Final = 16
KEY_TRIES_MAX: Final = 3
_NO_SECRETS: Final = b"\x00\x00"  # neither session keys nor parameters that we would need


class Access:
    """What one ECU was shown since it was last locked."""

    __slots__ = (
        "_asked", "_clock", "_config", "_count", "_derive", "_flash", "_locked_until_s", "_owner", "_seed", "proven"
    )  # fmt: skip

    def __init__(self, config: EcuConfig, flash: Flash, *, clock: Clock, seed: int) -> None:
        self.proven = False
        self._config = config
        self._flash = flash
        self._clock = clock
        self._seed = seed
        self._derive = hmac_key(config.secret)
        self._owner = owner_key(config.authentication_key) if config.authentication_key else None
        self._asked = b""  # the seed or the challenge that waits for its answer
        self._count = 0
        self._locked_until_s = 0.0

    def power_on(self) -> None:
        """Start: an ECU cannot know how long it was off, so a lockout starts anew."""
        locked = self._flash.state.key_failures >= KEY_TRIES_MAX
        self._locked_until_s = self._clock.monotonic_s() + self._config.key_delay_s if locked else 0.0

    def forget(self, session: Session) -> None:
        """Enter a session. Any change of it ends security access; authentication ends with the default session."""
        self._asked = b""
        if self._owner is None or session is Session.DEFAULT:
            self.proven = False

    def require(self) -> None:
        """Refuse who proved nothing."""
        if not self.proven:
            missing = Nrc.SECURITY_ACCESS_DENIED if self._owner is None else Nrc.AUTHENTICATION_REQUIRED
            raise NegativeReply(missing)

    def security(self, request: bytes) -> bytes:
        """Answer service 0x27."""
        if self._owner is not None:
            raise NegativeReply(Nrc.SERVICE_NOT_SUPPORTED)
        level = request[1] & 0x7F
        if level == 1:
            exactly(request, 2)
            if self.proven:
                return b"\x67\x01" + bytes(SEED_BYTES)
            self._ask(SEED_BYTES)
            return b"\x67\x01" + self._asked
        if level != 2:
            raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED)
        if not self._asked:
            raise NegativeReply(Nrc.REQUEST_SEQUENCE_ERROR)
        exactly(request, 2 + SEED_BYTES)  # a key is as long as its seed; another length is no try
        self._judge(hmac.compare_digest(request[2:], self._derive(1, self._asked)), Nrc.INVALID_KEY)
        return b"\x67\x02"

    def authentication(self, request: bytes) -> bytes:
        """Answer service 0x29: tasks 00, 05, 06 and 08; without an owner's key, that there is no such exchange."""
        owner, task = self._owner, request[1] & 0x7F
        match task:
            case 0x00:
                exactly(request, 2)
                if owner is not None:
                    self.proven, self._asked = False, b""
                return b"\x69\x00\x10"
            case 0x08:
                exactly(request, 2)
                return b"\x69\x08\x03" if owner is not None else b"\x69\x08\x00"
            case 0x05 if owner is not None:
                exactly(request, 3 + len(ALGORITHM))
                if request[2] or request[3:] != ALGORITHM:  # no secured communication, and one algorithm
                    raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
                self._ask(CHALLENGE_BYTES)
                challenge = CHALLENGE_BYTES.to_bytes(2, "big") + self._asked
                return b"\x69\x05\x00" + ALGORITHM + challenge + _NO_SECRETS
            case 0x06 if owner is not None:
                if not self._asked:
                    raise NegativeReply(Nrc.REQUEST_SEQUENCE_ERROR)
                head = ALGORITHM + PROOF_BYTES.to_bytes(2, "big")
                exactly(
                    request, 2 + len(head) + PROOF_BYTES + 4
                )  # then a challenge of its own, and more: none
                if not request.startswith(head, 2) or request[-4:] != bytes(4):
                    raise NegativeReply(Nrc.REQUEST_OUT_OF_RANGE)
                proof = request[2 + len(head) :][:PROOF_BYTES]
                right = is_proof(owner, self._config.serial, self._asked, proof)
                self._judge(right, Nrc.OWNERSHIP_VERIFICATION_FAILED)
                return b"\x69\x06\x12" + ALGORITHM + _NO_SECRETS
            case _:
                raise NegativeReply(Nrc.SUB_FUNCTION_NOT_SUPPORTED)

    def _ask(self, size: int) -> None:
        if self._clock.monotonic_s() < self._locked_until_s:
            raise NegativeReply(Nrc.REQUIRED_TIME_DELAY_NOT_EXPIRED)
        self._count += 1
        labels = (self._config.serial, self._flash.state.boots, self._count)
        self._asked = draw_bytes(self._seed, size, "seed", *labels)

    def _judge(self, right: bool, wrong: Nrc) -> None:  # noqa: FBT001 - what was found
        """Count an answer; the seed or challenge is used up."""
        self._asked = b""
        state = self._flash.state
        if right:
            self.proven = True
            if state.key_failures:
                self._flash.store(msgspec.structs.replace(state, key_failures=0))
            return
        failures = state.key_failures + 1
        self._flash.store(msgspec.structs.replace(state, key_failures=failures))
        if failures >= KEY_TRIES_MAX:
            self._locked_until_s = self._clock.monotonic_s() + self._config.key_delay_s
            raise NegativeReply(Nrc.EXCEEDED_NUMBER_OF_ATTEMPTS)
        raise NegativeReply(wrong)
