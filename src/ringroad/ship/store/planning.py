"""Where a plan that is being made stands: said by the connection that makes it, read by any other.

A plan over a million vehicles is one transaction, of which nothing can be seen before it ends. The name of its connection
can: so it says there which campaign it plans and how far it is. It ends with the transaction, whatever becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection

STEPS: Final = (
    "telling vehicles apart",
    "resolving each kind of vehicle",
    "dealing vehicles out to waves",
    "checking the plan",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """A plan that is being made."""

    step: int  # from 1
    running_s: int  # since it began

    @property
    def doing(self) -> str:
        """The step in words."""
        return STEPS[self.step - 1]


def say_step(conn: Connection, campaign_id: str, step: int) -> None:
    """Say how far the plan is that this transaction makes."""
    SQL.say_planning(conn, text=f"{_name(campaign_id)}{step}")


def read_planning(conn: Connection, campaign_id: str) -> Planning | None:
    """Return how far the newest plan is that is being made for a campaign; None: there is none."""
    row = SQL.planning(conn, prefix=_name(campaign_id))
    if row is None:
        return None
    said = row["application_name"].rpartition(" ")[2]
    known = said.isdecimal() and 1 <= int(said) <= len(STEPS)
    return Planning(step=int(said), running_s=max(0, row["running_s"])) if known else None


def usual_seed(conn: Connection, campaign_id: str) -> str:
    """Return the seed of a plan that asks for none: that of the campaign's plan before, else one of its own.

    The same for all campaigns would deal the same vehicles first each time.
    """
    newest_id = SQL.plan_of_generation(conn, campaign_id=campaign_id, generation=None)
    row = SQL.plan(conn, plan_id=newest_id) if newest_id else None
    request = (
        (row["document"].get("request") or {}) if row else {}
    )  # also of a plan that this version cannot read
    return str(request.get("seed") or campaign_id)


def _name(campaign_id: str) -> str:
    return f"plan {campaign_id} "
