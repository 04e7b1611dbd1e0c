"""What the line is told of its gates: one JSON message per vehicle and gate, as soon as it is chosen.

On the JetStream subject ``ringroad.inspections.v1.<programme>`` of the stream ``INSPECTIONS``, which keeps the newest.
A later message about the same vehicle and gate takes the place of the earlier one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ringroad.protocol.vehicle import Message

SUBJECT_PREFIX: Final = "ringroad.inspections.v1."


class Inspection(Message, frozen=True, kw_only=True):
    """Whether a gate looks at a vehicle."""

    order_id: str
    station: str
    gate: str
    inspect: bool
    reason: str
    at: datetime  # when it was chosen
