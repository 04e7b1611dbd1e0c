"""What the stations of a plant say, in the order in which it happens: events of a manufacturing execution system.

One JSON message each, on the JetStream subject ``ringroad.mes.v1.<programme>`` of the stream ``MES``.
The same event again, with the same `id`, counts once; another event has another id, also in another station.

========== ==================================== ==============================================================
kind       says that                            needs
========== ==================================== ==============================================================
entered    a vehicle came into a station        `order_id`
left       a vehicle left it                    `order_id`; `worked_s` if measured
result     a check passed or failed             `order_id`, `check`, `passed`; `software` if not the baseline
used       a part went into a vehicle           `order_id`, `part`, `lot`; `serial` and `supplier` if known
stopped    the station stands                   `reason`
resumed    it goes on                           –
========== ==================================== ==============================================================
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ringroad.protocol.vehicle import Message

SUBJECT_PREFIX: Final = "ringroad.mes.v1."
WORKED_S_MAX: Final = 86_400  # seconds at one station; a day
STANDS_S_MAX: Final = 7 * 86_400  # seconds; a line that stands longer is planned anew
EVENT_BYTES_MAX: Final = 16 * 1024  # bytes of one message; the texts below sum up to some 8 kB

Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Word = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Kind = Literal["entered", "left", "result", "used", "stopped", "resumed"]


class MesEvent(Message, frozen=True, kw_only=True, omit_defaults=True):
    """One event. What its kind does not need is left out."""

    id: Title  # the sender's own, so that a repeated one is known
    kind: Kind
    station: Title
    at: Annotated[datetime, Meta(tz=True)]  # by the station's clock
    order_id: Word = ""
    worked_s: Annotated[float, Meta(ge=0.001, le=WORKED_S_MAX)] | None = None
    check: Word = ""
    passed: bool | None = None
    software: Word = ""  # version that the vehicle has or gets; none: the line's baseline
    part: Word = ""
    lot: Word = ""
    serial: Word = ""  # of the part itself
    supplier: Word = ""
    reason: Word = ""
    quality: bool = False  # a stop for quality, which an approver lifts
    options: Annotated[list[str], Meta(max_length=100)] = msgspec.field(default_factory=list)
    expected_s: Annotated[int, Meta(ge=1, le=STANDS_S_MAX)] | None = None
