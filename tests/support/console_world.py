"""Rows for pages: one lap that halted a bad fix and shipped a good one, as the stages would leave it behind."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from ringroad.build.plan_line import ScheduleDocument
from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind as K
from ringroad.ship.guard import SequentialPolicy
from ringroad.storage.db import Connection, transaction
from ringroad.storage.ledger import append_fact, open_lap

ECUS = {
    "gateway": ("GW-2", "Ethernet", "Linux 6.6", True, "ab"),
    "brake": ("ESC-9", "CAN FD", "AUTOSAR Classic", False, "inplace"),
    "battery": ("BMS-4", "CAN FD", "Zephyr 4.4", False, "ab"),
    "display": ("IVI-7", "Ethernet", "Android Automotive", False, "ab"),
}


class World:
    """Builds the rows; `vins`, `campaign_id` and the other ids are for tests to look up."""

    def __init__(self, conn: Connection, ids: Ids, *, now: datetime, vehicles: int = 48) -> None:
        self.conn, self.ids, self.now = conn, ids, now
        self.start = now - timedelta(hours=9)
        self.lap_id = ids.new("lap")
        self.facts: dict[str, str] = {}
        self.vins = [f"WRRZZZ9{number:010d}" for number in range(vehicles)]
        self.fixed: list[str] = []

    def build(self) -> World:
        """Insert everything in one transaction."""
        with transaction(self.conn):
            self._programme()
            self.old = self._release("2.0.0", 1, hours=-200)
            self.bad = self._release("2.1.0", 2, hours=3.0)
            self.good = self._release("2.1.1", 3, hours=6.0)
            self._vehicles()
            self._lap()
            self._campaigns()
            self._plant()
            self._outside()
        return self

    def at(self, hours: float) -> datetime:
        """Return a time in hours after the lap began."""
        return self.start + timedelta(hours=hours)

    def fact(
        self,
        kind: K,
        subject: str,
        hours: float,
        *,
        actor: str,
        cause: str = "",
        work_h: float = 0,
        **body: Any,
    ) -> str:
        """Append a fact to the lap."""
        made = append_fact(
            self.conn, self.ids, kind=kind, subject=subject, actor=actor, now=self.at(hours), lap_id=self.lap_id,
            causes=(cause,) if cause else (), work_started_at=self.at(hours - work_h), body=body,
        )  # fmt: skip
        return made.id

    def _run(self, sql: str, *values: Any) -> None:
        self.conn.execute(sql.encode(), values)

    def _programme(self) -> None:
        document = {
            "id": "meridian",
            "name": "Meridian",
            "variants": {name: {"ecus": list(ECUS), "options": ["sunroof", "tow"]} for name in ("city", "touring")},
            "ecus": {
                name: {"hardware_id": hw, "bus": bus, "os": os, "security": "SHE", "storage": storage,
                       "supplier": "Norvik", "primary": primary, "agent": "ab", "storage_bytes": 2**22}
                for name, (hw, bus, os, primary, storage) in ECUS.items()
            },
            "line": {
                "name": "Line 1",
                "stations": [{"name": n, "cycle_s": s} for n, s in
                             (("Body", 58), ("Paint", 71), ("Battery", 64), ("Trim", 62), ("Flash", 55), ("Test", 60))],
                "ratios": [{"option": "sunroof", "p": 1, "q": 3}, {"option": "tow", "p": 2, "q": 5}],
            },
        }  # fmt: skip
        self._run(
            "INSERT INTO programme (id, digest, source, document, imported_at) VALUES ('meridian', 'd', '', %s, %s)",
            Jsonb(document), self.at(-300),
        )  # fmt: skip

    def _release(self, version: str, counter: int, *, hours: float) -> str:
        release_id = self.ids.new("release")
        packages = {}
        for ecu, (hardware_id, *_rest) in ECUS.items():
            package_id = packages[ecu] = self.ids.new("pkg")
            digest = hashlib.sha256(f"{ecu} {version}".encode()).hexdigest()
            self._run(
                "INSERT INTO software_package (id, programme_id, ecu, name, version, filename, format, hardware_ids,"
                " image_sha256, image_sha512, image_bytes, release_counter, added_at)"
                " VALUES (%s, 'meridian', %s, %s, %s, %s, 'mcuboot', %s, %s, '', %s, %s, %s)",
                package_id, ecu, f"{ecu} application", version, f"{ecu}-{version}.bin", [hardware_id], digest,
                181_248 + 4096 * counter, counter, self.at(hours - 1),
            )  # fmt: skip
        document = {
            "variants": {"city": packages, "touring": packages},
            "untouched": {},
            "groups": [{"name": "drive", "ecus": ["brake", "battery"], "after": []}],
            "notes": "Battery thermal model",
            "rxswin": "RXSWIN-0042",
        }
        self._run(
            "INSERT INTO release (id, programme_id, name, version, state, lap_id, document, created_by, created_at,"
            " signed_at) VALUES (%s, 'meridian', 'Meridian', %s, 'signed', NULL, %s, 'ines', %s, %s)",
            release_id, version, Jsonb(document), self.at(hours - 0.5), self.at(hours),
        )  # fmt: skip
        return release_id

    def _vehicles(self) -> None:
        for number, vin in enumerate(self.vins):
            self._run(
                "INSERT INTO vehicle (vin, programme_id, variant, region, tags, gateway, token_sha256, primary_serial,"
                " attributes, release_id, born_at) VALUES (%s, 'meridian', %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                vin, "city" if number % 3 else "touring", ("NO", "DE", "ES")[number % 3],
                ["pilot"] if number < 5 else [], "ddi" if number % 10 == 9 else "native", b"\0" * 32, f"gateway-{number}",
                Jsonb({"tyres": "winter"}), self.old, self.at(-150 + number),
            )  # fmt: skip
            for name, (hardware_id, _bus, _os, primary, _storage) in ECUS.items():
                serial = f"{name}-{number}"
                self._run(
                    "INSERT INTO ecu (vin, serial, name, hardware_id, public_key, key_id, is_primary, added_at)"
                    " VALUES (%s, %s, %s, %s, '{}', 'k', %s, %s)",
                    vin, serial, name, hardware_id, primary, self.at(-150),
                )  # fmt: skip
                self._run(
                    "INSERT INTO ecu_installed (vin, serial, filename, version, image_sha256, reported_at)"
                    " VALUES (%s, %s, %s, '2.0.0', %s, %s)",
                    vin, serial, f"{name}-2.0.0.bin", hashlib.sha256(f"{name} 2.0.0".encode()).hexdigest(), self.at(0),
                )  # fmt: skip

    def _lap(self) -> None:
        open_lap(self.conn, lap_id=self.lap_id, title="Battery fault P0A1F rises on 2.0.0", now=self.at(0))
        self.finding_id, self.change_id = self.ids.new("finding"), self.ids.new("change")
        evidence = {
            "rule": "rising-faults",
            "against": "other_versions",
            "control_versions": ["1.9.4"],
            "population": {"vehicles_exposed": 48, "vehicles_with_fault": 11, "exposure_us": 412 * 3600 * 10**6},
            "versions": [
                {"software_version": "2.0.0", "vehicles_exposed": 48, "vehicles_with_fault": 11,
                 "exposure_us": 412 * 3600 * 10**6},
                {"software_version": "1.9.4", "vehicles_exposed": 40, "vehicles_with_fault": 1,
                 "exposure_us": 377 * 3600 * 10**6},
            ],
            "ratio": {"point_milli": 10_066, "low_milli": 1_840, "high_milli": 55_000},
            "queries": {"faults": "SELECT ecu, code, count(*) FROM fault GROUP BY ALL"},
        }  # fmt: skip
        self._run(
            "INSERT INTO finding (id, lap_id, title, programme_id, ecu, software_version, fault_code, state, evidence,"
            " opened_at) VALUES (%s, %s, 'P0A1F-00 rises on battery 2.0.0', 'meridian', 'battery', '2.0.0', 'P0A1F-00',"
            " 'accepted', %s, %s)",
            self.finding_id, self.lap_id, Jsonb(evidence), self.at(0.8),
        )  # fmt: skip
        second = self.ids.new("finding")
        lap = self.ids.new("lap")
        open_lap(self.conn, lap_id=lap, title="Display restarts on 2.0.0", now=self.at(8))
        self._run(
            "INSERT INTO finding (id, lap_id, title, programme_id, ecu, software_version, fault_code, state, evidence,"
            " opened_at) VALUES (%s, %s, 'B1042-13 rises on display 2.0.0', 'meridian', 'display', '2.0.0', 'B1042-13',"
            " 'open', %s, %s)",
            second, lap, Jsonb(evidence), self.at(8.4),
        )  # fmt: skip
        self.open_finding_id = second
        first = append_fact(self.conn, self.ids, kind=K.SIGNAL_OBSERVED, subject=second, actor="system:worker",
                            now=self.at(8), lap_id=lap, body={"faults": 6})  # fmt: skip
        append_fact(self.conn, self.ids, kind=K.FINDING_OPENED, subject=second, actor="rule:rising-faults",
                    now=self.at(8.4), lap_id=lap, causes=(first.id,), work_started_at=self.at(8.3))  # fmt: skip
        self._run(
            "INSERT INTO change (id, finding_id, lap_id, title, ecu, target, state, proposed_by, approved_by,"
            " proposed_at, approved_at) VALUES (%s, %s, %s, 'Correct the cell balancing limit', 'battery',"
            " 'P0A1F-00 back to the rate of 1.9.4', 'approved', 'ole', 'ines', %s, %s)",
            self.change_id, self.finding_id, self.lap_id, self.at(1.6), self.at(2.2),
        )  # fmt: skip
        for number in range(6):
            self._run(
                "INSERT INTO quarantine (source, locator, reason, raw, received_at) VALUES ('nhtsa', %s,"
                " '48 fields, 49 are needed', %s, %s)",
                f"FLAT_CMPL.txt:{number * 731 + 12}", b"958173\t10000001\tMERIDIAN", self.at(0.2),
            )  # fmt: skip

    def _campaigns(self) -> None:
        self.halted_id = self._campaign(
            "First fix, battery 2.1.0", self.bad, "halted", "too_many_failures", wave=1
        )
        self.campaign_id = self._campaign("Second fix, battery 2.1.1", self.good, "running", "", wave=2)
        self._facts()
        for number, vin in enumerate(self.vins):
            wave = 1 if number < 5 else 2 if number < 20 else 3
            if wave == 1:
                self._assign(
                    self.halted_id,
                    vin,
                    1,
                    "rolled_back" if number < 4 else "installed",
                    "self_test failed on battery",
                )
            else:
                self._assign(self.halted_id, vin, wave, "cancelled", "halted: too_many_failures")
            state = ("installed" if wave == 1 or number < 14 else "active" if number < 17 else "offered"
                     if wave == 2 else "pending")  # fmt: skip
            detail = "INSTALLING battery 42 %" if state == "active" else ""
            if number == 13:
                state, detail = "failed", "precondition: Vehicle.Speed == 0"
            self._assign(self.campaign_id, vin, wave, state, detail)
            if state == "installed":
                self.fixed.append(vin)
                self._run("UPDATE vehicle SET release_id = %s WHERE vin = %s", self.good, vin)
        self._run(
            "UPDATE vehicle SET blocked_reason = 'ROLLBACK_FAILED on brake' WHERE vin = %s", self.vins[-1]
        )
        for index, (state, code) in enumerate(
            (("DOWNLOADING", ""), ("INSTALLING", ""), ("ROLLED_BACK", "self_test"))
        ):
            self._run(
                "INSERT INTO device_report (vin, dedupe_key, action_id, kind, event_at, received_at, body)"
                " VALUES (%s, %s, 1, 'progress', %s, %s, %s)",
                self.vins[0], str(index), self.at(4 + index / 10), self.at(4 + index / 10 + 0.001),
                Jsonb({"state": state, "code": code, "ecu": "battery-0", "ecu_state": "ACTIVATED"}),
            )  # fmt: skip
        for wave, decision, reason in ((1, "hold", "too_few_reports"), (1, "advance", "evidence_good")):
            self._gate(self.campaign_id, wave, decision, reason, 7.4 + (decision == "advance") * 0.3)
        self._gate(self.halted_id, 1, "halt", "too_many_failures", 4.4)
        for number, high_milli in enumerate((None, 4_100, 1_900), 1):
            self._reading(number, high_milli)

    def _campaign(self, name: str, release_id: str, state: str, reason: str, *, wave: int) -> str:
        campaign_id, plan_id = self.ids.new("campaign"), self.ids.new("plan")
        hours = 3.4 if state == "halted" else 6.6
        self._run(
            "INSERT INTO campaign (id, name, release_id, lap_id, state, state_reason, wave, plan_id, created_by,"
            " created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'ole', %s)",
            campaign_id, name, release_id, self.lap_id, state, reason, wave, plan_id, self.at(hours),
        )  # fmt: skip
        request: dict[str, Any] = {
            "query": "variant in (city, touring) and region != US",
            "gate": {"failed_permille_max": 100, "reports_min": 4, "soak_s": 600, "silence_s_max": 86_400,
                     "silent_permille_max": 500},
            "waves": [{"vehicles": 5}, {"vehicles": 15}],
        }  # fmt: skip
        if state == "running":
            request["gate"]["sequential"] = msgspec.to_builtins(SequentialPolicy())
        findings = [{"severity": "warning", "code": "no_rollback_image", "message": "1 vehicle has a brake image that cannot be fetched again",
                     "hint": "upload brake 1.9.4"}]  # fmt: skip
        self._run(
            "INSERT INTO campaign_plan (id, campaign_id, generation, document, findings, made_by, made_at, approved_by,"
            " approved_at) VALUES (%s, %s, 1, %s, %s, 'ole', %s, 'ines', %s)",
            plan_id, campaign_id, Jsonb({"request": request, "wave_vehicles": [5, 15, 28]}), Jsonb(findings),
            self.at(hours + 0.05), self.at(hours + 0.2),
        )  # fmt: skip
        return campaign_id

    def _assign(self, campaign_id: str, vin: str, wave: int, state: str, detail: str) -> None:
        ended = state in {"installed", "failed", "rolled_back", "cancelled"}
        hours = 4.0 if campaign_id == self.halted_id else 7.2
        offered = None if state in {"pending", "cancelled"} else self.at(hours)
        self._run(
            "INSERT INTO assignment (campaign_id, vin, wave, state, state_detail, previous_release_id, offered_at,"
            " deadline_at, last_report_at, finished_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            campaign_id, vin, wave, state, "" if state == "installed" else detail, self.old, offered,
            offered + timedelta(days=7) if offered else None, offered + timedelta(minutes=9) if offered else None,
            self.at(hours + 0.3) if ended else None,
        )  # fmt: skip

    def _reading(self, number: int, high_milli: int | None) -> None:
        readings = [
            {
                "metric": metric, "log_e_micronats": -400_000, "limit_micronats": 5_991_465, "point_milli": 800 + number,
                "low_milli": 310, "high_milli": high_milli, "treated": 4 * number, "control": 5 * number,
                "treated_exposure": 10**9 * number, "control_exposure": 10**9 * number,
                "strata": [
                    {
                        "stratum": stratum, "log_e_micronats": -100_000, "point_milli": 1_000 * treated // 2, "low_milli": 200,
                        "high_milli": 9_000, "treated": treated, "control": 2, "treated_exposure": 10**9,
                        "control_exposure": 10**9,
                    }
                    for stratum, treated in (("city/SE", 6), ("city/NO", 2))
                ],
            }
            for metric in ("fault", "silence")
        ]  # fmt: skip
        self._run(
            "INSERT INTO gate_reading (campaign_id, through_us, last_tick_id, readings, policy, read_at)"
            " VALUES (%s, %s, 0, %s, '{}', %s)",
            self.campaign_id, number, Jsonb(readings), self.at(7.3 + number / 4),
        )  # fmt: skip

    def _gate(self, campaign_id: str, wave: int, decision: str, reason: str, hours: float) -> None:
        facts = {"vehicles_targeted": 5, "vehicles_installed": 1 if decision == "halt" else 5,
                 "vehicles_rolled_back": 4 if decision == "halt" else 0}  # fmt: skip
        self._run(
            "INSERT INTO gate_decision (campaign_id, wave, decision, reason, facts, policy, decided_at)"
            " VALUES (%s, %s, %s, %s, %s, '{}', %s)",
            campaign_id, wave, decision, reason, Jsonb(facts), self.at(hours),
        )  # fmt: skip

    def _facts(self) -> None:
        steps: list[tuple[K, str, float, str, float, dict[str, Any]]] = [
            (K.SIGNAL_OBSERVED, self.finding_id, 0, "system:worker", 0, {"faults": 11}),
            (K.FINDING_OPENED, self.finding_id, 0.8, "rule:rising-faults", 0.1, {"ratio_milli": 10_066}),
            (K.FINDING_ACCEPTED, self.finding_id, 1.5, "ole", 0.2, {}),
            (K.CHANGE_PROPOSED, self.change_id, 1.6, "ole", 0.1, {"ecu": "battery"}),
            (K.CHANGE_APPROVED, self.change_id, 2.2, "ines", 0.1, {}),
            (K.RELEASE_CREATED, self.bad, 2.5, "ines", 0.3, {"version": "2.1.0"}),
            (K.RELEASE_CHECKED, self.bad, 2.6, "ines", 0.05, {"blocking": 0}),
            (K.RELEASE_SIGNED, self.bad, 3.0, "ines", 0.1, {"version": "2.1.0"}),
            (K.CAMPAIGN_CREATED, self.halted_id, 3.4, "ole", 0.1, {}),
            (K.CAMPAIGN_PLANNED, self.halted_id, 3.5, "ole", 0.05, {"vehicles": 48}),
            (K.CAMPAIGN_APPROVED, self.halted_id, 3.7, "ines", 0.1, {}),
            (K.CAMPAIGN_STARTED, self.halted_id, 4.0, "ole", 0, {"wave": 1}),
            (K.VEHICLE_ROLLED_BACK, self.vins[0], 4.2, f"vehicle:{self.vins[0]}", 0.1, {"code": "self_test"}),
            (K.CAMPAIGN_HALTED, self.halted_id, 4.4, "rule:gate", 0.01, {"reason": "too_many_failures"}),
            (K.RELEASE_CREATED, self.good, 5.5, "ines", 0.9, {"version": "2.1.1"}),
            (K.RELEASE_SIGNED, self.good, 6.0, "ines", 0.1, {"version": "2.1.1"}),
            (K.CAMPAIGN_STARTED, self.campaign_id, 7.2, "ole", 0, {"wave": 1}),
            (K.VEHICLE_UPDATED, self.vins[-1], 7.5, f"vehicle:{self.vins[-1]}", 0.2, {"release": "2.1.1"}),
            (K.CAMPAIGN_WAVE_STARTED, self.campaign_id, 7.7, "rule:gate", 0, {"wave": 2}),
        ]
        cause = ""
        for kind, subject, hours, actor, work_h, body in steps:
            cause = self.fact(kind, subject, hours, actor=actor, cause=cause, work_h=work_h, **body)

    def _plant(self) -> None:
        orders = []
        for number in range(24):
            order_id = self.ids.new("order")
            orders.append(order_id)
            options = [name for name, every in (("sunroof", 3), ("tow", 4)) if number % every == 0]
            self._run(
                "INSERT INTO plant_order (id, programme_id, variant, options, region, rush, due_at, state, received_at)"
                " VALUES (%s, 'meridian', %s, %s, 'NO', %s, %s, %s, %s)",
                order_id, "city" if number % 3 else "touring", options, number == 5, self.at(60 + number),
                "building" if number < 2 else "open", self.at(-20 + number / 10),
            )  # fmt: skip
        parent = None
        causes = (
            "new_orders",
            "new_orders",
            "blocked_part",
            "rush_order",
            "new_release",
            "new_orders",
            "improved",
        )
        for generation, (cause, moved) in enumerate(zip(causes, (0, 0, 9, 1, 0, 2, 3), strict=True), start=1):
            schedule_id = self.ids.new("schedule")
            self._run(
                "INSERT INTO line_schedule (id, programme_id, generation, parent_id, cause, document, replan_latency_us,"
                " made_at) VALUES (%s, 'meridian', %s, %s, %s, %s, %s, %s)",
                schedule_id, generation, parent, cause,
                Jsonb(self._schedule(orders[::-1] if generation % 2 else orders) | {"moved": moved}),
                (48_200, 51_900, 23_400, 18_900, 60_300, 33_100, 41_700)[generation - 1], self.at(generation),
            )  # fmt: skip
            parent = schedule_id
        self._times(orders)
        self._run(
            "INSERT INTO line_check (id, programme_id, schedule_id, generation, released, reason, better_permille,"
            " replications, vehicles, moved, checked_us, worked_us, document, checked_at)"
            " VALUES (%s, 'meridian', %s, 7, false, %s, 412, 1000, 24, 6, 1840000, 1310000, %s, %s)",
            self.ids.new("check"), parent, "better in only 41.2 % of 1000 runs; lateness +310 s, end of the line -60 s"
            " in the mean", Jsonb(self._check(orders)), self.at(7.1),
        )  # fmt: skip
        self._run(
            "INSERT INTO line_baseline (programme_id, release_id, set_at) VALUES ('meridian', %s, %s)",
            self.good,
            self.at(6.1),
        )
        self._run(
            "INSERT INTO blocked_option VALUES ('meridian', 'tow', 'hitch late from Norvik', %s)",
            self.at(2.9),
        )

    def _times(self, orders: list[str]) -> None:
        """The roof takes 70 s for each vehicle, where the programme says something else."""
        row = self.conn.execute("SELECT document FROM programme WHERE id = 'meridian'").fetchone()
        for place, station in enumerate(row["document"]["line"]["stations"] if row else ()):
            for number, order_id in enumerate(orders):
                worked_ms = 1000 * station["cycle_s"] * (115 if place == 3 else 98 + number % 5) // 100
                self._run(
                    "INSERT INTO station_time (programme_id, event_id, order_id, station, worked_ms, finished_at,"
                    " recorded_at) VALUES ('meridian', %s, %s, %s, %s, %s, %s)",
                    f"{number}:{place}", order_id, station["name"], worked_ms, self.at(5), self.at(5),
                )  # fmt: skip

    def _schedule(self, sequence: list[str]) -> dict[str, Any]:
        document = ScheduleDocument(
            sequence=tuple(sequence), held=(), violations=0, late_orders=0, baseline_release_id=self.good,
            blocked={}, frozen=0, seed=1, iterations=1000,
        )  # fmt: skip
        return dict(document.to_document())

    def _check(self, sequence: list[str]) -> dict[str, Any]:
        names = ("body drop", "cockpit", "roof", "wheels", "flash and test")
        return {
            "twin": {"late_s": [120, 430], "end_s": [2_810, 2_750]},
            "assumed": ["times spread by 5 % at every station", "no station breaks down"],
            "times": [
                {"order_id": order_id, "running_s": 300 + 60 * place, "due_s": 900 + 60 * place if place % 3 else None,
                 "new_s": 300 + 60 * place + (240 if place % 5 == 0 else -30)}
                for place, order_id in enumerate(sequence)
            ],
            "stations": [
                {"name": name, "places": 2, "running_permille": 900 + 90 * at, "new_permille": 900 + 60 * at}
                for at, name in enumerate(names)
            ],
        }  # fmt: skip

    def _outside(self) -> None:
        for number in range(9):
            self._run(
                "INSERT INTO complaint (id, source, make, model, model_year, component, occurred_on, received_on, text,"
                " row_sha256, imported_at) VALUES (%s, 'nhtsa', 'MERIDIAN', 'CITY', 2026, 'ELECTRICAL SYSTEM:BATTERY',"
                " '2026-10-01', '2026-10-03', 'Warning light, then loss of power', 'x', %s)",
                f"nhtsa:{number}", self.at(0.2),
            )  # fmt: skip


def noon() -> datetime:
    """A fixed time for pictures."""
    return datetime(2026, 11, 23, 12, tzinfo=UTC)
