"""Stands in for an update agent that cannot be had: not allowed by the vehicle's configuration, or not loadable.

The vehicle goes on with its other ECUs, tells the server why this one takes no update, and can be mended over the air.

Invariant: it touches nothing. A vehicle in the middle of an update that needs the agent does not start with it
(`Orchestrator`): what was begun can only be ended by who began it.
"""

from __future__ import annotations

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.agents.base import (
    CheckKind,
    EcuImage,
    Failed,
    ImageSource,
    Outcome,
    Progress,
    Reason,
)


class MissingAgent:
    """An `UpdateAgent` that refuses every verb."""

    def __init__(self, error: InvalidInput) -> None:
        """Take why there is none."""
        self.error = error
        self._failed = Failed(reason=Reason.NO_AGENT, detail=error.message)

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:  # noqa: ARG002
        """Refuse."""
        return self._failed

    install = prepare

    async def activate(self, image: EcuImage) -> Outcome:  # noqa: ARG002
        """Refuse."""
        return self._failed

    commit = activate

    async def verify(
        self,
        image: EcuImage,  # noqa: ARG002
        checks: frozenset[CheckKind],  # noqa: ARG002
        *,
        known_faults: frozenset[str] = frozenset(),  # noqa: ARG002
    ) -> Outcome:
        """Refuse."""
        return self._failed

    async def rollback(
        self,
        image: EcuImage,  # noqa: ARG002
        *,
        backup: EcuImage | None = None,  # noqa: ARG002
        source: ImageSource | None = None,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> Outcome:
        """Refuse."""
        return self._failed

    async def inventory(self) -> Failed:
        """Refuse."""
        return self._failed

    async def close(self) -> None:
        """Nothing is open."""
