"""How many vehicles used something, month by month, out of the telemetry lake.

A vehicle used what a VSS path tells of if it told a value above 0 (true, for what is true or false) in the month; who
told the path at all is what it is a share of.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import ibis

from ringroad.storage.lake import Lake, View
from ringroad.storage.measures import BELIEVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Vehicles of one variant in one month, ``2026-11``: those that told a path, and of these that used it."""

    path: str
    variant: str
    month: str
    told: int
    used: int


def count_usage(
    lake: Lake, programme: str, paths: Collection[str], months: Sequence[tuple[str, int, int]]
) -> tuple[Used, ...]:
    """Count vehicles of a programme that told paths and used them.

    Args:
        lake: of the telemetry.
        programme: whose vehicles.
        paths: VSS paths.
        months: one after the other: name, first microsecond, and the first one after it.

    Raises:
        Unavailable: the lake cannot be read now.
        Corrupt: a file of the lake does not read back.
    """

    def ask(view: View) -> tuple[Used, ...]:
        rows = view.raw("samples")  # a row that is there twice is one vehicle all the same
        told = rows.filter(
            rows.programme == programme, rows.path.isin(sorted(paths)), rows.number.notnull(),
            rows.clock.isin(BELIEVED), rows.at_us >= months[0][1], rows.at_us < months[-1][2],
        )  # fmt: skip
        # By their ends: a database's months are those of its time zone.
        named = ibis.cases(*((told.at_us < until_us, name) for name, _, until_us in months))
        told = told.mutate(month=named)
        counted = told.group_by(["path", "variant", "month"]).aggregate(
            told=told.vin.nunique(), used=told.vin.nunique(where=told.number > 0)
        )
        return tuple(Used(**row) for row in view.rows(counted.order_by(["path", "variant", "month"])))

    return lake.read(ask)
