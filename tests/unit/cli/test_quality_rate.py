"""`ringroad quality rate`: what is proposed is decided only where something is."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from ringroad.cli.quality import group
from ringroad.kernel.errors import Conflict


class Told:
    """A server with one gate, that has nothing proposed and takes no decision."""

    def get(self, path: str, **_: Any) -> list[dict[str, Any]]:
        assert path == "/programmes/wren/gates"
        return [{"gate": "end of line", "station": "end", "changes": False, "others_permille": 50, "all_of": [], "generation": 1}]  # fmt: skip


def test_a_gate_without_a_proposal_is_not_decided_as_proposed() -> None:
    rate: Any = inspect.unwrap(group.commands["rate"].callback or pytest.fail)
    with pytest.raises(Conflict, match="no proposal that is worth a decision"):
        rate(None, Told(), gate="end of line", share=None, as_proposed=True, reason="so", programme="wren")
