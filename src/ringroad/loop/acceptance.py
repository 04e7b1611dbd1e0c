"""Let a rule accept findings into proposed changes; a person still approves each change."""

from __future__ import annotations

from datetime import datetime

from ringroad.design.model import AcceptRule
from ringroad.design.store import accept_by_rule, propose_change
from ringroad.kernel.clock import Ids
from ringroad.signal.store import get_finding
from ringroad.storage.db import Connection, transaction


def accept_findings(conn: Connection, ids: Ids, rule: AcceptRule, *, now: datetime) -> list[str]:
    """Accept what the rule's numbers allow, and propose a change for each; return the changes' ids.

    Raises:
        Conflict: a person decided on one of them meanwhile; nothing was changed.
    """
    with transaction(conn):
        proposed = []
        for finding_id in accept_by_rule(conn, ids, rule, now=now):
            finding = get_finding(conn, finding_id)
            change = propose_change(
                conn,
                ids,
                finding_id=finding_id,
                title=f"{finding.ecu}: {finding.fault_code}"[:200],
                ecu=finding.ecu,
                target=f"{finding.fault_code} no more often than with other versions than {finding.software_version}",
                actor=rule.actor,
                now=now,
            )
            proposed.append(change.id)
    return proposed
