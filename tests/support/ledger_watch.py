"""Every change of state appends its fact in the same transaction: triggers in the tests' database see to it.

`watch` puts triggers on every column of state; they note which statement changed it in which transaction.
`changes_without_fact` returns the product's own statements whose transaction committed without a fact.
Statements of tests that set up a world are not the product's, and are not judged.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import aiosql
import psycopg
from psycopg.rows import tuple_row

from support.docs_pages import ROOT

# What decides what happens next. "*" is every column: such a row is written once, or replaced as a whole.
# Columns that are not named follow from these (times, details), or are what a vehicle said of itself.
STATE: dict[str, tuple[str, ...]] = {
    "account": ("role", "disabled_at", "password_hash", "diagnose"),
    "account_fleet": ("*",),
    "artifact_key": ("*",),
    "assignment": ("state", "released_at", "release_id", "consented_at"),
    "birth_record": ("*",),
    "blocked_option": ("*",),
    "campaign": ("state", "wave", "plan_id", "lap_id"),
    "campaign_plan": ("*",),
    "diagnostic_session": ("state",),
    "diagnostic_job": ("state",),
    "change": ("state",),
    "contained_lot": ("*",),
    "ecu_names": ("*",),
    "gate_draw": ("inspect", "permille", "reason"),
    "demand_book": ("*",),
    "demand_month": ("*",),
    "demand_signal": ("*",),
    "finding": ("state", "evidence"),
    "image_delta": ("*",),
    "line_baseline": ("*",),
    "line_check": ("*",),
    "line_schedule": ("*",),
    "line_stop": ("*",),
    "outcome": ("verdict",),
    "plant": ("*",),
    "plant_order": ("state",),
    "plant_proposal": ("*",),
    "quality_alarm": ("closed_at",),
    "programme": ("digest", "plant_id"),
    "release": ("state", "document"),
    "site": ("token_sha256", "removed_at"),
    "site_key": ("*",),
    "site_vin": ("*",),
    "software_package": ("*",),
    "shipment": ("*",),
    "shop_plan": ("*",),
    "shop_stop": ("*",),
    "stock_part": ("*",),
    "vehicle": (
        "release_id",
        "blocked_reason",
        "auto_confirm",
        "schedule",
        "tags",
        "token_sha256",
        "certificates",
        "enrolment_sha256",
    ),
    "gateway_token": ("*",),
    "vehicle_list": ("generation",),
    "webhook": ("url", "types", "state", "salt"),
}
NOT_STATE = {
    "access_token": "a secret that ends by itself; that one was made for a script or a lost password is a fact",
    "birth_trait": "computed from a birth record and its parts, to find vehicles by",
    "built_part": "evidence as it came, with both times; what is in a birth record at the birth has its digest in a fact",
    "claim": "evidence as it came, with its source and both times",
    "gate_seed": "a secret that choices are made with; each of them is a fact",
    "field_trace": "computed from claims, findings and birth records",
    "campaign_resolution": "part of a plan, whose fact and digest stand for it",
    "campaign_target": "part of a plan, whose digest is in the plan; that its control group let some go is a fact",
    "campaign_tally": "counts of assignments, which the database keeps as those change",
    "complaint": "evidence as it came, with its source and time",
    "diagnostic_sample": "values that a cyclic subscription showed; that it was begun is a fact",
    "demand_forecast": "computed from demand_month and demand_signal; the fact of its run stands for it",
    "demand_run": "a computation that can be asked again; that it was asked, made or failed are facts",
    "device_report": "evidence as it came, with both times",
    "ecu": "born with its vehicle",
    "ecu_installed": "what the newest manifest or report says, which are kept",
    "ecu_replaced": "what ecu_installed said before, as the database keeps it",
    "fact": "the ledger",
    "fleet_tally": "counts of vehicles, which the database keeps as those change",
    "gate_decision": "a record of its own, with all that the gate saw; what it changes is the campaign's",
    "gate_reading": "computed from gate_tick; what follows from it is a gate decision",
    "gate_tick": "counts out of the lake, which keeps their rows",
    "lap": "opened by its finding's fact",
    "quarantine": "evidence as it came, with the reason",
    "line_state": "computed from mes_event, to resume from",
    "mes_event": "evidence as it came, with both times; what it brings about has facts of its own",
    "mes_refused": "evidence as it came, with the reason",
    "leg_outlook": "computed from shipments and the clock; what follows from it is a schedule",
    "milestone_refused": "evidence as it came, with what is wrong with it",
    "shipment_milestone": "evidence as it came, with both times; that the shipment moved is its fact",
    "line_what_if": "a question to the twin and its answer; nothing follows from it",
    "repository_metadata": "signed, numbered and kept; the act behind it is a release's or a campaign's",
    "schema_migration": "of the database itself",
    "vehicle_list_member": "part of a list, whose fact has their digest",
    "webhook_delivery": "a log of attempts, of which the newest are kept",
    "webhook_replay": "asked for by a fact; what is done leaves it",
    "quality_watch": "shares of a bound in the order of what was first watched; computed from station_pass",
    "quality_late": "what is to be looked at again; computed from station_result",
    "quality_day": "computed from station_pass, to be read soon",
    "quality_day_pass": "computed from station_pass, to be read soon",
    "quality_day_gate": "computed from station_result and gate_draw, to be read soon",
    "station_pass": "computed from station_result as that is kept; what follows from it is an alarm",
    "station_result": "evidence as it came, with both times",
    "site_conflict": "two truths and how they were settled; what was changed for that is a fact of its own",
    "site_birth": "what goes to the hub of a birth, whose fact has the record's digest",
    "site_birth_refused": "evidence as it came, whole, with why it is not taken; that it was after all is a fact",
    "site_aside": "evidence as it came, whole; that it is kept, and that it was taken after all, are facts",
    "site_trust": "what its hub signed, verified; what follows from it is a baseline",
    "site_place": "how far the other side has what is told",
    "shop_work": "how far the worker is; that a plan was asked for, made or kept are facts",
    "station_time": "evidence as it came, with both times",
    "vehicle_contact": "when a gateway was last asked something, to within hours",
    "telemetry_heard": "when somebody heard the stream of telemetry last, each five seconds",
    "vehicle_manifest": "evidence as it came, signed by the vehicle",
}

_SETUP = """
CREATE SCHEMA house;
CREATE TABLE house.change (txid xid8 NOT NULL, what text NOT NULL, statement text NOT NULL);
CREATE TABLE house.fact (txid xid8 NOT NULL);
CREATE FUNCTION house.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO house.change VALUES (pg_current_xact_id(), TG_TABLE_NAME, current_query());
    RETURN NULL;
END $$;
CREATE FUNCTION house.note_fact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO house.fact VALUES (pg_current_xact_id());
    RETURN NULL;
END $$;
CREATE TRIGGER house_fact AFTER INSERT ON fact FOR EACH ROW EXECUTE FUNCTION house.note_fact();
"""


def watch(conn: psycopg.Connection[Any]) -> None:
    """Put the triggers into a migrated database."""
    conn.execute(_SETUP)
    for table, columns in STATE.items():
        moved = " OR ".join(
            "OLD IS DISTINCT FROM NEW" if name == "*" else f"OLD.{name} IS DISTINCT FROM NEW.{name}"
            for name in columns
        )
        for event, when in (("INSERT OR DELETE", ""), ("UPDATE", f"WHEN ({moved})")):
            conn.execute(
                f"CREATE TRIGGER house_{event[0].lower()} AFTER {event} ON {table}"
                f" FOR EACH ROW {when} EXECUTE FUNCTION house.note_change()"
            )


def changes_without_fact(conn: psycopg.Connection[Any]) -> list[str]:
    """Return the product's statements that changed a state in a transaction without a fact."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(
            "SELECT DISTINCT what, statement FROM house.change c"
            " WHERE NOT EXISTS (SELECT FROM house.fact f WHERE f.txid = c.txid) ORDER BY 1, 2"
        ).fetchall()
    found = [(what, own_statements().get(_bare(statement))) for what, statement in rows]
    return [f"{what}: {name}" for what, name in found if name]


@cache
def own_statements() -> dict[str, str]:
    """Return the name of every query of the product by its text."""
    names: dict[str, str] = {}
    for path in sorted((ROOT / "src").rglob("queries*.sql")):
        queries = aiosql.from_path(path, "psycopg", mandatory_parameters=False)
        for name in queries.available_queries:
            names[_bare(getattr(queries, name).sql)] = f"{path.parent.name} {name}"
    return names


def _bare(statement: str) -> str:
    """Return a statement without what the driver makes of its parameters."""
    text = re.sub(r"%\(\w+\)s|\$\d+", "?", statement).replace("%%", "%")
    return " ".join(text.split()).rstrip("; ")
