"""`ringroad campaign approve`: read what will be approved, accept the checker's warnings one by one, approve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ringroad.cli.campaign_text import RECALL, plan_text
from ringroad.cli.client import Client
from ringroad.cli.groups import asks, confirm, example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import problems, tail
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.plurals import counted


@click.command(
    "approve",
    epilog=example(
        "ringroad campaign approve winter",
        "ringroad campaign approve winter --accept reports_min_small --accept one_wave --yes",
    ),
)
@click.argument("campaign")
@click.option(
    "--accept", "accepted", multiple=True, metavar="CODE", help="A warning that you accept; repeatable."
)
@click.option("--yes", is_flag=True, help="Approve without asking; accepts no warning.")
@with_client
def approve(shell: Shell, client: Client, *, campaign: str, accepted: tuple[str, ...], yes: bool) -> None:
    """Approve the current plan.

    What will be approved is shown first. Each warning of the checker is accepted by its code, or asked for.
    A plan made since then is not approved by it.
    Whoever made the plan cannot approve it, if somebody else may; an emergency recall, never.
    """
    row = client.find("/campaigns", campaign)
    plans = client.get(f"/campaigns/{row['id']}/plans", limit=PAGE_ROWS_MAX)
    current = next((each for each in plans if each["id"] == row["plan_id"]), None)
    if current is None:
        raise Conflict(
            f"{row['name']} has no plan that could be approved"
            + (row["state_reason"] and f": {row['state_reason']}"),
            hint=f"ringroad campaign check {tail(row['id'])}",
        )
    found = current["findings"] or []
    click.echo(f"plan generation {current['generation']}, made by {current['made_by']}", err=True)
    click.echo(
        "\n\n".join(filter(None, (plan_text(current["document"], whole=True), problems(found)))), err=True
    )
    codes = accept_warnings(found, accepted, asking=not yes and asks())
    recall = bool(current["document"]["request"].get("recall"))
    before = f"{row['name']} as an EMERGENCY RECALL, before all other campaigns"
    confirm(f"Approve {before if recall else 'this plan of ' + row['name']}?", yes=yes)
    verb, more = ("approve-recall", RECALL) if recall else ("approve", "")
    body = {"generation": row["generation"], "acknowledged": codes}
    done = client.post(f"/campaigns/{row['id']}/{verb}", body)
    next_ = f"next: ringroad campaign start {tail(row['id'])}"
    shell.show(done, text=f"{row['name']} is {done['state']}{more}\n{next_}")


def accept_warnings(
    findings: Sequence[Mapping[str, Any]], accepted: Sequence[str], *, asking: bool
) -> list[str]:
    """Return the codes of all warnings, each of which somebody accepts.

    Raises:
        InvalidInput: one of them is not accepted and there is nobody to ask, or something else is.
        Abort: the answer is no.
    """
    warnings: dict[str, list[str]] = {}
    for each in findings:
        if each["severity"] == "warning":
            warnings.setdefault(each["code"], []).append(each["message"])
    if others := sorted(set(accepted) - warnings.keys()):
        raise InvalidInput(
            f"the checker does not warn of {', '.join(others)}",
            hint=f"it warns of {', '.join(sorted(warnings)) or 'nothing'}",
        )
    missing = sorted(warnings.keys() - set(accepted))
    if missing and not asking:
        raise InvalidInput(
            f"{counted(len(missing), 'warning')} not accepted: {', '.join(missing)}",
            hint="read what is shown above, then add " + " ".join(f"--accept {code}" for code in missing),
        )
    for code in missing:
        for message in warnings[code]:
            click.echo(f"{code}: {message}", err=True)
        confirm(f"Accept {code}?", yes=False)
    return sorted(warnings)
