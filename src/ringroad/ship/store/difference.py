"""Two stored plans of one campaign, compared."""

from __future__ import annotations

from ringroad.kernel.errors import NotFound
from ringroad.ship.difference import (
    EXAMPLES_MAX,
    Difference,
    compare_documents,
    compare_findings,
    in_order,
    move_of,
)
from ringroad.ship.store.reading import SQL, SavedPlan, read_campaign, read_plan
from ringroad.storage.db import Connection


def read_difference(
    conn: Connection, campaign_id: str, *, older: int | None = None, newer: int | None = None
) -> Difference:
    """Compare two plans of a campaign by their generations.

    Args:
        conn: the caller's connection, in a transaction: both are read as of one moment.
        campaign_id: whose plans.
        older: None: the plan that the newer one was made to take the place of.
        newer: None: the newest plan.

    Raises:
        NotFound: there is no such campaign or plan, or nothing was before the plan.
    """
    read_campaign(conn, campaign_id)
    after = _plan(conn, campaign_id, newer)
    if older is None and after.parent_id is None:
        raise NotFound(
            f"plan generation {after.generation} took the place of none", hint="name two generations"
        )
    before = _plan(conn, campaign_id, older) if older is not None else read_plan(conn, after.parent_id or "")
    gone, new = compare_findings(before.findings, after.findings)
    rows = SQL.target_changes(conn, older_id=before.id, newer_id=after.id, examples_max=EXAMPLES_MAX)
    return Difference(
        older=before.generation,
        newer=after.generation,
        fields=compare_documents(before.document, after.document),
        findings_gone=gone,
        findings_new=new,
        moves=in_order(
            move_of(row["before"], row["after"], row["vehicles"], row["examples"]) for row in rows
        ),
    )


def _plan(conn: Connection, campaign_id: str, generation: int | None) -> SavedPlan:
    plan_id = SQL.plan_of_generation(conn, campaign_id=campaign_id, generation=generation)
    if plan_id is None:
        wanted = "no plan" if generation is None else f"no plan of generation {generation}"
        raise NotFound(f"{wanted} in campaign {campaign_id[:80]}", hint="ringroad campaign show lists them")
    return read_plan(conn, plan_id)
