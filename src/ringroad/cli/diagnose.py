"""`ringroad diagnose`: look into a vehicle, wherever it is: its ECUs, their data, their faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import sleep
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.diagnose_vehicle import logs, update, updates, watch
from ringroad.cli.diagnose_words import answer_lines, frames_text, measured, mode_problem, show_answer, tree
from ringroad.cli.errors import EXIT_WAITING
from ringroad.cli.groups import ClientGroup, example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.plurals import counted
from ringroad.protocol.diagnostics import MODE_S_MAX, MODE_VALUES

OPERATION_WAIT_S = 150.0  # s; the vehicle gives an operation two minutes
COUNTED = "times: at least; as often as the vehicle saw it begin, and has told so far. The ECU's own count may be higher"
OPERATION_LOOK_S = 1.0  # s between two looks; each is a request to the vehicle

_VIN = click.argument("vin")
_ECU = click.argument("ecu")


@click.group("diagnose", cls=ClientGroup)
def group() -> None:
    """Look into a vehicle: its ECUs, their data and their faults.

    First open a session; the vehicle agrees to it, or asks its driver.
    Your account needs the permission: ringroad account change NAME --diagnose read|service
    """


group.add_command(updates)
group.add_command(update)
group.add_command(logs)
group.add_command(watch)


# Sessions -------------------------------------------------------------------------------------------


@group.command(
    "open",
    epilog=example(
        'ringroad diagnose open LRWRR0000DEMO0001 --reason "customer hears a hum"',
        'ringroad diagnose open LRWRR0000DEMO0001 --scope service --minutes 60 --reason "case 4711"',
    ),
)
@_VIN
@click.option("--reason", required=True, help="Why; the driver and the ledger read it.")
@click.option(
    "--scope", type=click.Choice(["read", "service"]), default="read", show_default=True,
    help="To read, or to change as well: clear faults, run tests, reset.",
)  # fmt: skip
@click.option("--minutes", default=30, show_default=True, help="How long, 480 at most.")
@click.option(
    "--position",
    is_flag=True,
    help="To read where the vehicle is and was, too; its driver is asked for that.",
)
@with_client
def open_session(
    shell: Shell, client: Client, *, vin: str, reason: str, scope: str, minutes: int, position: bool
) -> None:
    """Ask a vehicle for a session."""
    body: dict[str, object] = {"reason": reason, "scope": scope, "minutes": minutes}
    body |= {"position": True} if position else {}
    made = client.post(f"/vehicles/{vin}/diagnostics/sessions", body)
    shell.show(made, text=_session_text(made))


@group.command("close", epilog=example("ringroad diagnose close LRWRR0000DEMO0001"))
@_VIN
@with_client
def close(shell: Shell, client: Client, *, vin: str) -> None:
    """End your session; what waits is cancelled, and the vehicle forgets you."""
    closed = client.send("DELETE", f"/vehicles/{vin}/diagnostics/session")
    shell.show(closed, text=f"closed {closed['id']}")


@group.command("sessions", epilog=example("ringroad diagnose sessions LRWRR0000DEMO0001"))
@_VIN
@with_client
def sessions(shell: Shell, client: Client, *, vin: str) -> None:
    """List who looked into a vehicle, when, why and on whose consent."""
    rows = client.get(f"/vehicles/{vin}/diagnostics/sessions")
    text = table(
        ("session", "who", "scope", "state", "consent", "asked", "until", "why"),
        (
            (
                row["id"], row["account"], _scope(row), row.get("state_words") or row["state"], row["consent"], exactly(row["asked_at"]),
                exactly(row["ended_at"] or row["expires_at"]), row["reason"],
            )
            for row in rows
        ),
        empty="nobody looked into this vehicle",
    )  # fmt: skip
    shell.show(rows, text=text)


@group.command("jobs", epilog=example("ringroad diagnose jobs LRWRR0000DEMO0001"))
@_VIN
@click.option("--show", "job_id", help="One request, with what the vehicle answered.")
@with_client
def jobs(shell: Shell, client: Client, *, vin: str, job_id: str | None) -> None:
    """List what a vehicle was asked, and what still waits for it."""
    if job_id:
        job = client.get(f"/vehicles/{vin}/diagnostics/jobs/{job_id}")
        text = f"{job['method']} {job['path']}: {job['state']} {job['status'] or ''}".rstrip()
        if job["state"] == "queued":
            text += f"; no answer yet, it was sent {counted(job['tries'], 'time')} and is sent until {exactly(job['expires_at'])}"
        elif job["state"] in {"expired", "cancelled"}:
            text += f"; nobody answered, it was sent {counted(job['tries'], 'time')}"
        shell.show(job, text="\n".join([text, *answer_lines(job["answer"] or {})]))
        if job["state"] != "answered":
            click.get_current_context().exit(EXIT_WAITING)
        return
    rows = client.get(f"/vehicles/{vin}/diagnostics/jobs")
    text = table(
        ("request", "what", "state", "status", "made", "tries"),
        (
            (row["id"], f"{row['method']} {row['path']}", row["state"], row["status"], exactly(row["made_at"]), row["tries"])
            for row in rows
        ),
        empty="this vehicle was asked nothing",
    )  # fmt: skip
    shell.show(rows, text=text)


@group.command("cancel", epilog=example("ringroad diagnose cancel LRWRR0000DEMO0001 ask_01..."))
@_VIN
@click.argument("job_id")
@with_client
def cancel(shell: Shell, client: Client, *, vin: str, job_id: str) -> None:
    """Take back a request that waits for its vehicle."""
    job = client.send("DELETE", f"/vehicles/{vin}/diagnostics/jobs/{job_id}")
    shell.show(job, text=f"{job['method']} {job['path']}: cancelled")


# Reading --------------------------------------------------------------------------------------------


@group.command("components", epilog=example("ringroad diagnose components LRWRR0000DEMO0001"))
@_VIN
@with_client
def components(shell: Shell, client: Client, *, vin: str) -> None:
    """List a vehicle's ECUs."""
    found = client.get(tree(vin, "components"))
    show_answer(
        shell, found,
        lambda: table(
            ("ecu", "serial", "hardware", ""),
            ((row["name"], row["serial"], row["hardware"], "primary" if row["primary"] else "") for row in found["items"]),
        ),
    )  # fmt: skip


@group.command("show", epilog=example("ringroad diagnose show LRWRR0000DEMO0001 brake"))
@_VIN
@_ECU
@with_client
def show(shell: Shell, client: Client, *, vin: str, ecu: str) -> None:
    """Show one ECU: whether it answers, and what it runs."""
    found = client.get(tree(vin, "components", ecu))
    show_answer(shell, found, lambda: "\n".join(answer_lines(found)))


@group.command(
    "data",
    epilog=example(
        "ringroad diagnose data LRWRR0000DEMO0001 brake",
        "ringroad diagnose data LRWRR0000DEMO0001 brake F195",
    ),
)
@_VIN
@_ECU
@click.argument("did", required=False)
@with_client
def data(shell: Shell, client: Client, *, vin: str, ecu: str, did: str | None) -> None:
    """Read one value of an ECU; without an identifier, list those with names."""
    if did:
        found = client.get(tree(vin, "components", ecu, "data", did))
        show_answer(shell, found, lambda: f"{found['id']}  {found['name']}: {found['data']}")
        return
    found = client.get(tree(vin, "components", ecu, "data"))
    show_answer(
        shell, found,
        lambda: table(
            ("id", "name", "category", "may be written"),
            ((r["id"], r["name"], r["category"], r.get("write", {}).get("wanted", "")) for r in found["items"]),
        ),
    )  # fmt: skip


@group.command(
    "faults",
    epilog=example(
        "ringroad diagnose faults LRWRR0000DEMO0001                  (of every ECU)",
        "ringroad diagnose faults LRWRR0000DEMO0001 brake",
        "ringroad diagnose faults LRWRR0000DEMO0001 brake C0051-00   (with its snapshots)",
    ),
)
@_VIN
@click.argument("ecu", required=False)
@click.argument("code", required=False)
@with_client
def faults(shell: Shell, client: Client, *, vin: str, ecu: str | None, code: str | None) -> None:
    """List faults: of the vehicle, of one ECU, or one fault with what surrounded it."""
    if ecu is None:
        found = client.get(tree(vin, "functions", "vehicle-health"))
        show_answer(shell, found, lambda: _health_text(found))
    elif code is None:
        found = client.get(tree(vin, "components", ecu, "faults"))
        show_answer(shell, found, lambda: _fault_table({"component": ecu, **row} for row in found["items"]))
    else:
        found = client.get(tree(vin, "components", ecu, "faults", code))
        show_answer(shell, found, lambda: _fault_text(found))


@group.command(
    "history",
    epilog=example("ringroad diagnose history LRWRR0000DEMO0001 --signals"),
)
@_VIN
@click.option(
    "--signals", is_flag=True, help="What the vehicle's signals said when each began to fail last, too."
)
@with_client
def history(shell: Shell, client: Client, *, vin: str, signals: bool) -> None:
    """List every fault that a vehicle told of by itself: when, how often, at what distance, on which software.

    Needs no session: the vehicle reports each change of a fault code on its own.
    """
    rows = client.get(f"/vehicles/{vin}/fault-history")
    text = table(
        ("ecu", "code", "fault", "now", "times", "first", "last", "km", "software"),
        (
            (
                row["ecu"], row["code"], row["name"], "there" if row["active"] else "gone", row["occurrences"],
                exactly(row["first_at"]), exactly(row["last_at"]),
                "" if row["odometer_last_km"] is None else f"{row['odometer_last_km']:.0f}",
                ", ".join(row["software_versions"]),
            )
            for row in rows
        ),
        empty="this vehicle told of no fault",
    )  # fmt: skip
    if rows and signals:
        text += f"\n{frames_text(rows)}"
    if rows:
        text += f"\n{COUNTED}"
    if rows and rows[0]["counted_from"]:
        text += f"\nonly the newest changes are counted, from {exactly(rows[0]['counted_from'])} on"
    shell.show(rows, text=text)


@group.command(
    "lots",
    epilog=example(
        "ringroad diagnose lots wren C0040-64 --days 30",
        "ringroad diagnose lots wren C0040-64 --by part     (the lots of their birth records)",
    ),
)
@click.argument("programme_id")
@click.argument("code")
@click.option("--days", default=90, show_default=True, help="Days looked back.")
@click.option(
    "--by", type=click.Choice(["week", "part"]), default="week", show_default=True,
    help="By the week they were built, or by the lots of their parts.",
)  # fmt: skip
@with_client
def lots(shell: Shell, client: Client, *, programme_id: str, code: str, days: int, by: str) -> None:
    """Count the vehicles of a programme that had a fault code, by software version and by build week or lots of parts."""
    rows = client.get(f"/programmes/{programme_id}/fault-lots", code=code, days=days, by=by)
    text = table(
        ("ecu", "software", "built" if by == "week" else "lot", "vehicles", "with the fault", "permille"),
        (
            (
                row["ecu"], row["software_version"], " ".join(filter(None, (row["part"], row["lot"]))), row["vehicles_born"], row["vehicles_with_fault"],
                row["permille"],
            )
            for row in rows
        ),
        empty="no vehicle told of this fault",
    )  # fmt: skip
    if rows and rows[0]["at_least"]:
        text += "\nmore vehicles had the fault than are counted at once: each number is at least that"
    shell.show(rows, text=text)


# Changing -------------------------------------------------------------------------------------------


@group.command("lock", epilog=example("ringroad diagnose lock LRWRR0000DEMO0001 brake --seconds 600"))
@_VIN
@_ECU
@click.option("--seconds", default=300, show_default=True, help="How long, 3600 at most.")
@with_client
def lock(shell: Shell, client: Client, *, vin: str, ecu: str, seconds: int) -> None:
    """Take an ECU's lock: whoever changes something holds it alone."""
    found = client.post(tree(vin, "components", ecu, "locks"), {"lock_expiration": seconds})
    show_answer(shell, found, lambda: f"{ecu} is yours until {exactly(found['items'][0]['expires_at'])}")


@group.command("unlock", epilog=example("ringroad diagnose unlock LRWRR0000DEMO0001 brake"))
@_VIN
@_ECU
@with_client
def unlock(shell: Shell, client: Client, *, vin: str, ecu: str) -> None:
    """Give an ECU's lock back."""
    found = client.send("DELETE", tree(vin, "components", ecu, "locks"))
    show_answer(shell, found, lambda: f"{ecu} is free")


@group.command(
    "clear",
    epilog=example("ringroad diagnose clear LRWRR0000DEMO0001 brake --yes", "ringroad diagnose clear LRWRR0000DEMO0001 brake C0051-00 --yes"),
)  # fmt: skip
@_VIN
@_ECU
@click.argument("code", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def clear(shell: Shell, client: Client, *, vin: str, ecu: str, code: str | None, yes: bool) -> None:
    """Clear an ECU's fault memory, or one fault; needs its lock, and a vehicle that stands still."""
    what = code or "every fault"
    if not yes and not click.confirm(f"Clear {what} of {ecu}? What the ECU knew of it is gone.", err=True):
        raise InvalidInput("nothing was cleared", hint="--yes clears without asking")
    found = client.send("DELETE", tree(vin, "components", ecu, "faults", *([code] if code else [])))
    show_answer(shell, found, lambda: f"cleared {found['cleared']}; {len(found['left'])} left")


@group.command(
    "write",
    epilog=example(
        "ringroad diagnose data LRWRR0000DEMO0001 brake                     (what may be written)",
        "ringroad diagnose write LRWRR0000DEMO0001 brake 0100 0000000A --yes",
    ),
)
@_VIN
@_ECU
@click.argument("did")
@click.argument("value")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def write(shell: Shell, client: Client, *, vin: str, ecu: str, did: str, value: str, yes: bool) -> None:
    """Write one value of an ECU, if the vehicle's configuration allows it; needs its lock, and a vehicle that stands still.

    The value before and the one that is held then are both in the ledger.
    """
    if not (value.isascii() and value.isprintable()):
        odd = "".join(dict.fromkeys(each for each in value if not (each.isascii() and each.isprintable())))
        raise InvalidInput(
            f"{did} cannot hold {odd!r}: an ECU keeps plain ASCII", hint="write it without accents: Mueller for Müller"
        )  # fmt: skip
    listed = client.get(tree(vin, "components", ecu, "data"))
    kinds = {row["id"]: row["write"]["kind"] for row in listed.get("items", ()) if "write" in row}
    if not yes and not click.confirm(f"Write {value} into {did} of {ecu}?", err=True):
        raise InvalidInput("nothing was written", hint="--yes writes without asking")
    as_number = kinds.get(did.upper()) == "number" and value.isascii() and value.isdigit()
    body = {"data": int(value) if as_number else value}
    found = client.send("PUT", tree(vin, "components", ecu, "data", did), body=body)
    show_answer(
        shell,
        found,
        lambda: f"{found['id']}  {found['name']}: {found['data']}; it was {found['before'] or 'empty'}",
    )


@group.command(
    "operate",
    epilog=example("ringroad diagnose operate LRWRR0000DEMO0001 brake self-test --yes", "ringroad diagnose operate LRWRR0000DEMO0001 brake reset --yes"),
)  # fmt: skip
@_VIN
@_ECU
@click.argument("operation", type=click.Choice(["reset", "self-test", "check-preconditions"]))
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def operate(shell: Shell, client: Client, *, vin: str, ecu: str, operation: str, yes: bool) -> None:
    """Let an ECU do something, and wait for its end; needs its lock, and a vehicle that stands still."""
    if not yes and not click.confirm(f"{operation} on {ecu}?", err=True):
        raise InvalidInput("nothing was begun", hint="--yes begins without asking")
    place = tree(vin, "components", ecu, "operations", operation, "executions")
    found = client.post(place)
    began_s = shell.clock.monotonic_s()
    while found.get("status") == "running" and shell.clock.monotonic_s() - began_s < OPERATION_WAIT_S:
        sleep(OPERATION_LOOK_S)
        found = client.get(f"{place}/{found['id']}")
    show_answer(shell, found, lambda: _execution_text(found))


@group.command(
    "mode",
    epilog=example("ringroad diagnose mode LRWRR0000DEMO0001 brake", "ringroad diagnose mode LRWRR0000DEMO0001 brake session extended --seconds 120"),
)  # fmt: skip
@_VIN
@_ECU
@click.argument(
    "mode",
    required=False,
    type=click.Choice(list(MODE_VALUES)),
)
@click.argument("value", required=False)
@click.option("--seconds", default=60, show_default=True, help=f"How long it holds, {MODE_S_MAX} at most.")
@with_client
def set_mode(
    shell: Shell, client: Client, *, vin: str, ecu: str, mode: str | None, value: str | None, seconds: int
) -> None:
    """Show the modes of an ECU, or put it into one for a time."""
    place = tree(vin, "components", ecu, "modes")
    if mode is None or value is None:
        found = client.get(place)
    else:
        if problem := mode_problem(vin, ecu, mode, value, seconds):
            raise problem
        body = {"value": value, "mode_expiration": seconds}
        found = client.send("PUT", f"{place}/{mode}", body=body)
    show_answer(
        shell, found,
        lambda: table(
            ("mode", "value", "until", "may be"),
            (
                (row["id"], row["value"], exactly(row.get("mode_expiration")), ", ".join(row["values"]))
                for row in found["items"]
            ),
        ),
    )  # fmt: skip


# Words ----------------------------------------------------------------------------------------------


def _scope(session: Mapping[str, Any]) -> str:
    return f"{session['scope']}{', positions' if session.get('position') else ''}"


def _session_text(session: Mapping[str, Any]) -> str:
    until = exactly(session["expires_at"])
    match session["state"]:
        case "open":
            return (
                f"open until {until}, scope {_scope(session)}, on the vehicle's {session['consent']} consent"
            )
        case "asked":
            return (
                f"asked: the driver has not agreed yet, or the vehicle is offline; it is asked until {until}\n"
                f"look later: ringroad diagnose sessions {session['vin']}"
            )
        case state:
            return f"the session is {state}"


def _execution_text(found: Mapping[str, Any]) -> str:
    said = ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in found["result"].items())
    why = found["error"] or said
    return f"{found['operation']} on {found['component']}: {found['status']}{', ' if why else ''}{why}"


def _health_text(found: Mapping[str, Any]) -> str:
    silent = [f"{row['component']} did not answer: {row['message']}" for row in found["silent"]]
    empty = "no other ECU told a fault" if silent else "no faults"
    return "\n".join([*silent, _fault_table(found["items"], empty=empty)])


def _fault_table(rows: Iterable[Mapping[str, Any]], *, empty: str = "no faults") -> str:
    return table(
        ("ecu", "code", "fault", "state"),
        ((row["component"], row["code"], row.get("name", ""), row["words"]) for row in rows),
        empty=empty,
    )


def _fault_text(found: Mapping[str, Any]) -> str:
    lines = [f"{found['code']}  {found.get('name', '')}".rstrip(), f"  {found['words']}"]
    extended = found["environment_data"]["extended_data"]
    if extended["occurrences"] is not None:
        count = f"{extended['occurrences']} {'time' if extended['occurrences'] == 1 else 'times'}"
        lines.append(f"  seen {count} by the ECU's own count; {extended['aging']} starts without it since")
    for snapshot in found["environment_data"]["snapshots"]:
        values = ", ".join(f"{each['name']} {measured(each)}" for each in snapshot["data"])
        lines.append(f"  snapshot {snapshot['record']}: {values or snapshot['raw']}")
    return "\n".join(lines)
