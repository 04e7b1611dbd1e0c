"""Exports over a real database: whole, of one moment, bounded, and only for who may read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from psycopg.types.json import Jsonb

from ringroad.http.auth import Role
from ringroad.http.exports import EXPORTS_MAX
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.publish.export import begin, find_table
from ringroad.publish.tables import BATCH_ROWS, MEDIA_TYPE, TABLES, Format, cursor_of
from ringroad.storage.db import Connection, connect
from support.console_server import add_account, serving
from support.console_world import World
from support.receiver import eventually

pytestmark = pytest.mark.engines


@pytest.fixture
def world(conn: Connection) -> World:
    return World(conn, SystemIds(), now=SystemClock().now(), vehicles=12).build()


@pytest.fixture
def client(pg_url: str, world: World, tmp_path: Path) -> Iterator[httpx.Client]:
    assert world.vins
    token = add_account(pg_url, "vera", Role.VIEWER)
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=f"{origin}/api/v1/exports", timeout=60) as opened,
    ):
        opened.headers["Authorization"] = f"Bearer {token}"
        yield opened


def test_each_format_has_every_row(client: httpx.Client, world: World) -> None:
    of_campaign = {"campaign_id": world.campaign_id}
    claimed = world.conn.execute(
        "UPDATE assignment SET claimed_at = '2026-11-25Z' WHERE action_id = (SELECT min(action_id) FROM assignment"
        " WHERE campaign_id = %s) RETURNING vin", [world.campaign_id],
    ).fetchone()  # fmt: skip
    for name, table in TABLES.items():
        query = of_campaign if table.of_campaign else {}
        lines = client.get(f"/{name}", params={"format": "jsonl", **query})
        count = int(lines.headers["ringroad-rows"])
        rows = [json.loads(line) for line in lines.text.splitlines()]
        assert len(rows) == count, name
        assert count or name == "evidence", name
        text = client.get(f"/{name}", params=query)
        assert text.headers["content-type"] == "text/csv; charset=utf-8"
        assert len(list(csv.reader(io.StringIO(text.text, newline="")))) == count + 1, name
        columns = pq.read_table(
            io.BytesIO(client.get(f"/{name}", params={"format": "parquet", **query}).content)
        )
        assert (columns.num_rows, columns.column_names) == (count, list(table.columns)), name
    vehicles = client.get("/vehicles", params={"format": "jsonl"}).text
    assert [json.loads(line)["vin"] for line in vehicles.splitlines()] == sorted(world.vins)
    results = client.get("/results", params={"format": "jsonl", **of_campaign}).text
    said = {
        row["vin"]: row["claimed_at"] for row in map(json.loads, results.splitlines()) if row["claimed_at"]
    }
    assert claimed is not None
    assert [(vin, at[:10]) for vin, at in said.items()] == [(claimed["vin"], "2026-11-25")]
    disposition = client.get("/vehicles").headers["content-disposition"]
    assert disposition == 'attachment; filename="vehicles.csv"'


def test_an_export_that_broke_off_is_gone_on_with_behind_any_of_its_rows(
    client: httpx.Client, world: World
) -> None:
    for name, table in TABLES.items():
        query = {"campaign_id": world.campaign_id} if table.of_campaign else {}
        whole = client.get(f"/{name}", params={"format": "jsonl", **query}).text.splitlines(keepends=True)
        heading, *records = client.get(f"/{name}", params=query).text.splitlines(keepends=True)
        for had in range(0, len(whole), max(1, len(whole) // 5)):
            after = cursor_of(table, json.loads(whole[had]))
            rest = client.get(f"/{name}", params={"format": "jsonl", "after": after, **query})
            assert rest.text.splitlines(keepends=True) == whole[had + 1 :], (name, after)
            assert int(rest.headers["ringroad-rows"]) == len(whole) - had - 1
        if whole and len(records) == len(whole):  # no row has a line break
            after = cursor_of(table, json.loads(whole[0]))
            rest = client.get(f"/{name}", params={"after": after, **query})
            assert rest.text == "".join(records[1:])
            assert heading not in rest.text


def test_a_spreadsheet_has_variant_region_and_release_of_every_result(
    client: httpx.Client, world: World
) -> None:
    rows = cells(client, "results", world.campaign_id)
    vehicles = {row["vin"]: (row["variant"], row["region"]) for row in cells(client, "vehicles")}
    assert {row["vin"]: (row["variant"], row["region"]) for row in rows}.items() <= vehicles.items()
    assert all(variant and region for variant, region in vehicles.values())
    updates = [row for row in rows if row["kind"] == "update"]
    assert updates
    assert {(row["release_id"], row["release_version"]) for row in updates} == {(world.good, "2.1.1")}
    assert all(row["deadline_at"].endswith("Z") for row in updates if row["offered_at"])


def test_a_spreadsheet_has_the_counts_and_rules_of_a_decision_in_columns(
    client: httpx.Client, world: World
) -> None:
    seen = {
        "vehicles_targeted": 20,
        "vehicles_installed": 17,
        "vehicles_failed": 2,
        "vehicles_rolled_back": 1,
    }
    facts = {
        "wave": seen | {"newest_report_at": "2026-11-25T08:00:00+01:00"},
        "released": seen | {"vehicles_targeted": 25},
        "evidence": {"id": 7, "refused": "fault"},
    }
    policy = {
        "failed_permille_max": 20, "reports_min": 4, "soak_s": 600, "silence_s_max": 86_400, "silent_permille_max": 500,
        "sequential": {"alpha_ppm": 10_000},
    }  # fmt: skip
    world.conn.execute(
        "INSERT INTO gate_decision (campaign_id, wave, decision, reason, facts, policy, decided_at)"
        " VALUES (%s, 2, 'halt', 'worse_than_control: fault', %s, %s, now())",
        [world.campaign_id, Jsonb(facts), Jsonb(policy)],
    )
    *before, row = cells(client, "decisions", world.campaign_id)
    assert not {"facts", "policy"} & row.keys()
    said = {
        "vehicles_targeted": "20", "vehicles_installed": "17", "vehicles_failed": "2", "vehicles_rolled_back": "1",
        "vehicles_silent": "", "newest_report_at": "2026-11-25T07:00:00.000000Z", "released_targeted": "25",
        "released_installed": "17", "reading_id": "7", "refused": "fault", "failed_permille_max": "20", "reports_min": "4",
        "soak_s": "600", "silence_s_max": "86400", "silent_permille_max": "500", "alpha_ppm": "10000",
    }  # fmt: skip
    assert {name: row[name] for name in said} == said
    assert [each["vehicles_installed"] for each in before] == [
        "5",
        "5",
    ]  # written before there was more than a wave
    whole = lines(client, "decisions", world.campaign_id)[-1]
    assert (whole["facts"], whole["policy"], whole["soak_s"]) == (facts, policy, 600)


def test_a_spreadsheet_has_ticks_as_times_and_counts_with_their_units(
    client: httpx.Client, world: World
) -> None:
    hour_us = 3_600_000_000
    for metric, counts in (
        ("fault", [3, 1, 9 * hour_us, 9 * hour_us, 5 * hour_us, hour_us // 2]),
        ("silence", [2, 0, 40, 30, 20, 10]),
        ("boot_time", [4, 10_000_000, 10**20, 0, 0, 0]),
    ):
        world.conn.execute(
            "INSERT INTO gate_tick (campaign_id, metric, tick, stratum, counts, recorded_at)"
            " VALUES (%s, %s, 2, 'city/NO', %s, now())",
            [world.campaign_id, metric, Jsonb(counts)],
        )
    names = (
        "metric", "tick_began_at", "tick_s", "updated_events", "control_events", "updated_hours", "control_hours",
        "updated_trials", "control_trials", "updated_measured", "control_measured", "updated_mean", "control_mean",
    )  # fmt: skip
    began = "1970-01-01T00:30:00.000000Z"
    rows = cells(client, "evidence", world.campaign_id)
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("fault", began, "900", "3", "1", "5.0", "0.5", "", "", "", "", "", ""),
        ("silence", began, "900", "2", "0", "", "", "20", "10", "", "", "", ""),
        ("boot_time", began, "900", "", "", "", "", "", "", "4", "0", "2.5", ""),
    ]
    assert not {"tick", "counts"} & rows[0].keys()
    assert [(row["tick"], len(row["counts"])) for row in lines(client, "evidence", world.campaign_id)] == [
        (2, 6)
    ] * 3


def cells(client: httpx.Client, name: str, campaign_id: str = "") -> list[dict[str, str]]:
    answer = client.get(f"/{name}", params={"campaign_id": campaign_id} if campaign_id else {})
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def lines(client: httpx.Client, name: str, campaign_id: str) -> list[dict[str, Any]]:
    answer = client.get(f"/{name}", params={"campaign_id": campaign_id, "format": "jsonl"})
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("serial", ["ümlaut-1", "=1+1", "a/b c", "two\nlines", "'quoted"])
def test_an_export_goes_on_behind_an_ecu_whatever_its_serial_is(
    client: httpx.Client, world: World, serial: str
) -> None:
    world.conn.execute(
        "INSERT INTO ecu SELECT vin, %(to)s, 'extra', hardware_id, public_key, key_id, false, added_at, NULL FROM ecu"
        " WHERE vin = %(vin)s ORDER BY serial LIMIT 1",
        {"to": serial, "vin": world.vins[0]},
    )
    rows = [json.loads(line) for line in client.get("/ecus", params={"format": "jsonl"}).text.splitlines()]
    (at,) = (place for place, row in enumerate(rows) if row["serial"] == serial)
    rest = client.get("/ecus", params={"format": "jsonl", "after": cursor_of(TABLES["ecus"], rows[at])})
    assert [json.loads(line) for line in rest.text.splitlines()] == rows[at + 1 :]
    cells = list(csv.DictReader(io.StringIO(client.get("/ecus").text, newline="")))
    rest = client.get("/ecus", params={"after": cursor_of(TABLES["ecus"], cells[at])})
    assert rest.headers["ringroad-rows"] == str(len(rows) - at - 1)


def test_what_is_no_place_in_a_table_is_refused(client: httpx.Client, world: World) -> None:
    of_campaign = {"campaign_id": world.campaign_id}
    for path, query, status in (
        ("/facts", {"after": "seven"}, 422),
        ("/facts", {"after": "7/7"}, 422),
        ("/facts", {"after": "9" * 30}, 422),
        ("/results", {"after": world.vins[0], **of_campaign}, 422),
        ("/vehicles", {"after": f"{world.vins[0]}/"}, 422),
        ("/ecus", {"after": world.vins[0]}, 422),
        ("/vehicles", {"after": "a'; DROP TABLE vehicle"}, 400),
        ("/vehicles", {"after": world.vins[0], "format": "parquet"}, 422),
    ):
        assert client.get(path, params=query).status_code == status, (path, query)
    nobody = client.get("/vehicles", params={"format": "jsonl", "after": "zzz"})
    assert (nobody.status_code, nobody.text, nobody.headers["ringroad-rows"]) == (200, "", "0")


def test_exports_and_streams_stand_in_the_document(client: httpx.Client, world: World) -> None:
    assert world.vins
    paths = client.get(str(client.base_url).replace("exports/", "openapi.json")).json()["paths"]
    export = paths["/api/v1/exports/{name}"]["get"]
    assert set(export["responses"]) >= {"200", "400", "401", "403", "404", "422", "429", "503"}
    assert set(export["responses"]["200"]["content"]) == set(MEDIA_TYPE.values())
    assert {each["name"] for each in export["parameters"]} == {"name", "format", "campaign_id", "after"}
    for path in ("/api/v1/events", "/api/v1/cloudevents/stream"):
        assert list(paths[path]["get"]["responses"]["200"]["content"]) == ["text/event-stream"]


def test_what_cannot_be_exported_is_refused(client: httpx.Client, world: World) -> None:
    for path, query, status in (
        ("/nonsense", {}, 404),
        ("/results", {}, 422),
        ("/results", {"campaign_id": "campaign_no"}, 404),
        ("/vehicles", {"campaign_id": world.campaign_id}, 422),
        ("/vehicles", {"format": "xlsx"}, 400),
    ):
        assert client.get(path, params=query).status_code == status, (path, query)
    assert client.get("/vehicles").status_code == 200  # a refusal takes no place


def test_who_may_not_read_gets_nothing(client: httpx.Client, world: World) -> None:
    for name in TABLES:
        answer = client.get(
            f"/{name}", headers={"Authorization": ""}, params={"campaign_id": world.campaign_id}
        )
        assert answer.status_code == 401
        assert world.vins[0] not in answer.text


def test_an_export_is_of_one_moment_and_its_memory_that_of_a_batch(conn: Connection, pg_url: str) -> None:
    insert = (
        "INSERT INTO fact (id, kind, stage, subject, actor, work_started_at, event_at, recorded_at)"
        " SELECT 'fact_%s_' || n, 'change.done', 'adapt', 'c', 'x', now(), now(), now() FROM generate_series(1, %s) n"
    )
    conn.execute((insert % (1, 3 * BATCH_ROWS)).encode())
    export = begin(connect(pg_url), find_table("facts"), Format.JSONL, campaign_id=None)
    try:
        first = export.next_piece()
        assert first is not None
        conn.execute((insert % (2, 500)).encode())  # after the export began
        sizes = [first.count(b"\n")]
        while (piece := export.next_piece()) is not None:
            sizes.append(piece.count(b"\n"))
        assert sizes == [BATCH_ROWS] * 3
        assert export.rows == 3 * BATCH_ROWS
    finally:
        export.close()


def test_only_so_many_are_under_way_and_one_that_is_left_makes_room(
    client: httpx.Client, conn: Connection
) -> None:
    conn.execute(
        "INSERT INTO fact (id, kind, stage, subject, actor, work_started_at, event_at, recorded_at, body)"
        " SELECT 'fact_' || n, 'change.done', 'adapt', 'c', 'x', now(), now(), now(), jsonb_build_object('t', repeat('x', 2000))"
        " FROM generate_series(1, 20000) n"
    )
    opened = []
    try:
        for _ in range(EXPORTS_MAX):  # 40 MB that nobody reads: they stay under way
            request = client.build_request("GET", "/facts", params={"format": "jsonl"})
            opened.append(client.send(request, stream=True))
            assert opened[-1].status_code == 200
        assert client.get("/vehicles").status_code == 429
    finally:
        for answer in opened:
            answer.close()
    eventually(lambda: client.get("/vehicles").status_code == 200)


def test_a_table_of_a_campaign_needs_one(conn: Connection, pg_url: str) -> None:
    assert not conn.closed
    for name, campaign_id, error in (
        ("results", None, InvalidInput), ("vehicles", "campaign_1", InvalidInput), ("results", "campaign_no", NotFound)
    ):  # fmt: skip
        with closing(connect(pg_url)) as own, pytest.raises(error):
            begin(own, find_table(name), Format.CSV, campaign_id=campaign_id)
    with pytest.raises(NotFound):
        find_table("vehicles; DROP TABLE vehicle")
