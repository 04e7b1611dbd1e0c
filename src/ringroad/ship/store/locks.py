"""In which order rows are locked: a campaign before its actions, an action before what it needs of other tables.

1. Who moves a campaign (pauses, ends, grows it) changes its row first and then its actions, however many.
2. Who writes actions because a campaign is in some state, or many at once, keeps the campaign's row first. Several
   campaigns in the order of their ids, or without waiting for any.
3. Under a campaign that is kept and not held, actions are locked in the order of their numbers, or those are left out
   that somebody else has.
4. Who locks the one action of a vehicle waits for no campaign after that.
5. What a release did elsewhere is asked last where a campaign starts or goes on: who halts another one is not to wait
   until a million vehicles are offered.

Invariant: nobody who has an action's row waits for a campaign's row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ringroad.kernel.errors import Conflict
from ringroad.ship.model import Campaign
from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection

HARM_LOCK: Final = 0x52494E47  # class of the advisory locks of releases


def keep_running(conn: Connection, campaign_ids: Iterable[str]) -> set[str]:
    """Keep those campaigns running that do, to the end of the transaction, and return them.

    Who pauses or ends one waits, and then sees what was written because it ran. One that somebody moves, signs for or
    folds right now is left out; nothing waits for it. One keeper at a time: those who share a row pass whoever waits to
    change it, and two who sign in turn would put a pause off for as long as there is something to sign.
    """
    return {row["id"] for row in SQL.keep_running(conn, campaign_ids=sorted(campaign_ids))}


def keep_campaigns_of(conn: Connection, *, action_ids: Iterable[int], vins: Iterable[str]) -> None:
    """Keep the campaigns of these actions as they are, and those of all that is open at these vehicles; wait for them."""
    list(SQL.keep_campaigns(conn, action_ids=sorted(action_ids), vins=sorted(vins)))


def hold(conn: Connection, campaign_id: str) -> None:
    """Let nobody else write a campaign's actions, or decide on it, to the end of the transaction; wait for it."""
    SQL.hold_campaign(conn, campaign_id=campaign_id)


def try_hold(conn: Connection, campaign_id: str) -> bool:
    """Do the same without waiting; tell whether it is held."""
    return SQL.try_hold_campaign(conn, campaign_id=campaign_id, generation=None) is not None


def hold_as_read(conn: Connection, campaign: Campaign) -> None:
    """Do the same, to write what was decided on a campaign as it was read.

    Raises:
        Conflict: it moved on, or somebody moves it right now.
    """
    if SQL.try_hold_campaign(conn, campaign_id=campaign.id, generation=campaign.generation) is None:
        raise Conflict(
            f"campaign {campaign.id} moved on, or is being moved", hint="read it again, then decide again"
        )


def hold_harm(conn: Connection, release_id: str) -> None:
    """Let nobody go on with a release, to the end of the transaction, that writes that it did harm."""
    SQL.hold_harm(conn, lock_class=HARM_LOCK, release_id=release_id)


def keep_harm(conn: Connection, release_id: str) -> None:
    """Let nobody write that a release did harm, to the end of the transaction; wait for who does."""
    SQL.keep_harm(conn, lock_class=HARM_LOCK, release_id=release_id)
