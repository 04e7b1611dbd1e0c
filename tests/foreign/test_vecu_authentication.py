"""Authentication (0x29) as a tester we did not write does it: udsoncan proves to a virtual ECU that it owns the key."""

from __future__ import annotations

import queue
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from udsoncan.client import Client
from udsoncan.connections import BaseConnection
from udsoncan.exceptions import NegativeResponseException, TimeoutException
from udsoncan.Response import Response

from ringroad.kernel.clock import SystemClock
from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.port import EcuPort, Reply
from support.udsoncan_flash import client_config

pytestmark = pytest.mark.foreign
ED25519 = bytes.fromhex("06032B6570").ljust(16, b"\0")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Wire(BaseConnection):
    """From udsoncan to an ECU in the same process."""

    def __init__(self) -> None:
        super().__init__("vecu")
        public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        config = EcuConfig(
            serial="SN1", hardware_id="HW1", vin="WRR00000000000001", layout="ab", authentication_key=public
        )
        self._port = EcuPort(config, MemoryMedium(), clock=SystemClock())
        self._answers: queue.Queue[bytes] = queue.Queue()

    def open(self) -> Any:
        return self

    def close(self) -> None:
        """Nothing to close."""

    def is_open(self) -> bool:
        return True

    def empty_rxqueue(self) -> None:
        self._answers = queue.Queue()

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        for step in self._port.exchange(payload):
            if isinstance(step, Reply):
                self._answers.put(step.payload)

    def specific_wait_frame(self, timeout: float | None = None) -> bytes:
        try:
            return self._answers.get_nowait()
        except queue.Empty as error:
            raise TimeoutException from error


def proof(challenge: bytes, serial: bytes = b"SN1") -> bytes:
    """As docs/reference/vecu.md says."""
    return KEY.sign(b"ringroad uds 29\x00" + bytes((len(serial),)) + serial + challenge)


def test_udsoncan_proves_that_it_owns_the_key_and_only_then_may_write() -> None:
    with Client(Wire(), config=client_config()) as client:
        assert client.authentication_configuration().service_data.return_value == 3  # ACR, asymmetric
        client.change_session(3)
        client.change_session(2)
        with pytest.raises(NegativeResponseException) as refused:
            client.write_data_by_identifier(0xF15A, b"udsoncan")
        assert refused.value.response.code == 0x34
        with pytest.raises(NegativeResponseException) as refused:
            client.unlock_security_access(1)
        assert refused.value.response.code == 0x11

        for serial, code in ((b"SN2", Response.Code.OwnershipVerificationFailed), (b"SN1", None)):
            asked = client.request_challenge_for_authentication(0, ED25519).service_data
            assert asked.algorithm_indicator == ED25519
            answer = {
                "algorithm_indicator": ED25519,
                "proof_of_ownership_client": proof(asked.challenge_server, serial),
            }
            if code is None:
                done = client.verify_proof_of_ownership_unidirectional(**answer)
                assert done.service_data.return_value == 0x12  # ownership verified, authentication complete
            else:
                with pytest.raises(NegativeResponseException) as refused:
                    client.verify_proof_of_ownership_unidirectional(**answer)
                assert refused.value.response.code == code

        client.write_data_by_identifier(0xF15A, b"udsoncan")
        assert client.read_data_by_identifier_first(0xF15B) == b"udsoncan"
        assert client.deauthenticate().service_data.return_value == 0x10
        with pytest.raises(NegativeResponseException) as refused:
            client.write_data_by_identifier(0xF15A, b"again")
        assert refused.value.response.code == 0x34
