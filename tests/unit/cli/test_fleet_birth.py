"""What `ringroad fleet show` says of a vehicle's birth record."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ringroad.cli.client import Client
from ringroad.cli.fleet_birth import birth_of
from ringroad.kernel.errors import NotFound


class WithoutRecord:
    def __init__(self, role: str) -> None:
        self.role = role

    def get(self, path: str) -> dict[str, Any]:
        if path == "/me":
            return {"role": self.role}
        raise NotFound("there is none")


@pytest.mark.parametrize(("role", "says"), [("fleet", ""), ("viewer", "birth record  there is none")])
def test_the_operator_of_a_fleet_is_not_told_of_a_birth_record_that_is_not_theirs(
    role: str, says: str
) -> None:
    assert birth_of(cast("Client", WithoutRecord(role)), "V") == (None, says)
