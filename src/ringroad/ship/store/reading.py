"""Reading facts for the ship stage's decisions, and lists for people. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from ringroad.kernel.errors import Corrupt, NotFound
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.protocol.vehicle import DeltaOffer
from ringroad.ship.check import CheckFacts
from ringroad.ship.complete import VALUES_MAX, Known
from ringroad.ship.joining import why_after_the_plan
from ringroad.ship.match import NotSelected, Vocabulary, match_vehicle
from ringroad.ship.model import (
    Campaign,
    CampaignState,
    EcuDesign,
    EcuFacts,
    Group,
    KnownImages,
    PackageFacts,
    ReleaseFacts,
    VehicleFacts,
)
from ringroad.ship.plan import PlanRequest
from ringroad.ship.query import parse_query
from ringroad.ship.resolve import Resolution
from ringroad.ship.wave_facts import WaveFacts
from ringroad.storage.db import Connection, load_queries, of_row
from ringroad.storage.latest import Latest
from ringroad.trust.metadata import parse_time

SQL = load_queries("ringroad.ship")

RELEASES_MAX = 200  # newest signed releases of a programme that a way may lead over
STREAM_ROWS = 5_000  # vehicles per round trip; 33 ECUs each are 30 MB
VEHICLES_LOOKED_AT = 10_000  # vehicles; a keystroke cannot wait for a million
_ECUS = msgspec.json.Decoder(dict[str, EcuFacts])


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A stored plan without its targets; those are read by page."""

    id: str
    campaign_id: str
    generation: int
    parent_id: str | None
    request: PlanRequest
    document: Mapping[str, Any]
    findings: tuple[Mapping[str, Any], ...]
    made_by: str
    made_at: datetime
    approved_by: str | None
    approved_at: datetime | None

    @property
    def waves(self) -> int:
        """How many waves the plan has."""
        return len(self.document["wave_vehicles"])


def read_campaign(conn: Connection, campaign_id: str) -> Campaign:
    """Return one campaign.

    Raises:
        NotFound: there is none.
    """
    row = SQL.campaign(conn, campaign_id=campaign_id)
    if row is None:
        raise NotFound(f"no campaign {campaign_id[:80]!r}")
    return _campaign(row)


def list_campaigns(
    conn: Connection,
    *,
    states: Sequence[CampaignState] | None = None,
    before_id: str | None = None,
    rows_max: int = PAGE_ROWS_MAX,
) -> list[Campaign]:
    """Return campaigns, the newest first, older than `before_id`."""
    names = None if states is None else [state.value for state in states]
    rows = SQL.campaigns(conn, states=names, before_id=before_id, rows_max=min(rows_max, PAGE_ROWS_MAX))
    return [_campaign(row) for row in rows]


def read_plan(conn: Connection, plan_id: str) -> SavedPlan:
    """Return one plan.

    Raises:
        NotFound: there is none.
    """
    row = SQL.plan(conn, plan_id=plan_id)
    if row is None:
        raise NotFound(f"no plan {plan_id[:80]!r}")
    request = msgspec.convert(row["document"]["request"], PlanRequest)
    return of_row(SavedPlan, row, request=request, findings=tuple(row["findings"]))


def list_targets(
    conn: Connection,
    plan_id: str,
    *,
    verdict: str | None = None,
    after_vin: str = "",
    rows_max: int = PAGE_ROWS_MAX,
) -> list[dict[str, Any]]:
    """Return a page of a plan's vehicles: vin, verdict, reason, wave."""
    rows_max = min(rows_max, PAGE_ROWS_MAX)
    return list(
        SQL.plan_targets(conn, plan_id=plan_id, verdict=verdict, after_vin=after_vin, rows_max=rows_max)
    )


def list_assignments(
    conn: Connection,
    campaign_id: str,
    *,
    state: str | None = None,
    after_vin: str = "",
    rows_max: int = PAGE_ROWS_MAX,
) -> list[dict[str, Any]]:
    """Return a page of a campaign's vehicles with their state and its detail."""
    rows_max = min(rows_max, PAGE_ROWS_MAX)
    return list(
        SQL.campaign_assignments(
            conn, campaign_id=campaign_id, state=state, after_vin=after_vin, rows_max=rows_max
        )
    )


def list_gate_decisions(
    conn: Connection, campaign_id: str, *, rows_max: int = PAGE_ROWS_MAX
) -> list[dict[str, Any]]:
    """Return what the gate decided, the newest first, each with the facts and the policy it saw."""
    return list(SQL.gate_decisions(conn, campaign_id=campaign_id, rows_max=min(rows_max, PAGE_ROWS_MAX)))


def read_release(conn: Connection, release_id: str) -> ReleaseFacts:
    """Return a release with its packages resolved.

    Raises:
        NotFound: there is none.
        Corrupt: it names a package that is not there.
    """
    row = SQL.release_row(conn, release_id=release_id)
    if row is None:
        raise NotFound(f"no release {release_id[:80]!r}")
    release = _release(row, _packages(conn, row["programme_id"]))
    return _with_deltas(conn, [release])[0]


def read_signed_releases(conn: Connection, programme_id: str) -> list[ReleaseFacts]:
    """Return the newest signed releases of a programme, those a vehicle may be led over.

    Raises:
        Corrupt: one names a package that is not there.
    """
    rows = SQL.signed_releases(conn, programme_id=programme_id, rows_max=RELEASES_MAX)
    packages = _packages(conn, programme_id)
    return _with_deltas(conn, [_release(row, packages) for row in rows])


def _with_deltas(conn: Connection, releases: list[ReleaseFacts]) -> list[ReleaseFacts]:
    """Return releases with the deltas to their images."""
    images = [_images(release) for release in releases]
    found: dict[str, dict[tuple[str, str, str], DeltaOffer]] = {}
    for row in SQL.deltas_to(conn, to_sha256=sorted(set().union(*images))):
        offer = DeltaOffer(
            algorithm=row["algorithm"], from_sha256=row["from_sha256"], sha256=row["sha256"],
            sha512=row["sha512"], length=row["delta_bytes"],
        )  # fmt: skip
        key = row["ecu_class"], row["from_sha256"], row["to_sha256"]
        found.setdefault(row["to_sha256"], {})[key] = offer
    return [
        replace(release, deltas={key: offer for to in named for key, offer in found.get(to, {}).items()})
        for release, named in zip(releases, images, strict=True)
    ]


def _rxswin(document: Mapping[str, Any]) -> str:
    """Return what a vehicle package says of RXSWINs, as every vehicle reads it: one text."""
    by_system = document.get("rxswins") or {}
    return "; ".join(
        [document.get("rxswin") or "", *(f"{name} {by_system[name]}" for name in sorted(by_system))]
    ).strip("; ")


def _images(release: ReleaseFacts) -> set[str]:
    return {package.image_sha256 for packages in release.variants.values() for package in packages.values()}


def _packages(conn: Connection, programme_id: str) -> dict[str, PackageFacts]:
    rows = SQL.programme_packages(conn, programme_id=programme_id)
    return {package["id"]: _package(package) for package in rows}


def _release(row: Mapping[str, Any], packages: Mapping[str, PackageFacts]) -> ReleaseFacts:
    document, programme = row["document"], row["programme_document"]
    try:
        variants = {
            variant: {ecu: packages[package_id] for ecu, package_id in sorted(chosen.items())}
            for variant, chosen in document.get("variants", {}).items()
        }
    except KeyError as error:
        raise Corrupt(f"release {row['id']} names package {error}, which is not there") from error
    return ReleaseFacts(
        id=row["id"],
        programme_id=row["programme_id"],
        version=row["version"],
        state=row["state"],
        lap_id=row["lap_id"],
        variants=variants,
        groups=tuple(
            Group(name=group["name"], ecus=tuple(group["ecus"]), after=tuple(group.get("after", ())))
            for group in document.get("groups", ())
        ),
        post_checks=tuple((check["ecu"], check["kind"]) for check in document.get("post_checks", ())),
        preconditions=tuple(document.get("preconditions", ())),
        notes=document.get("notes") or "",
        rxswin=_rxswin(document),
        ecus={
            name: EcuDesign(
                storage=ecu.get("storage", "inplace"),
                hardware_id=ecu.get("hardware_id", ""),
                agent=ecu.get("agent", ""),
                settings=ecu.get("settings") or {},
            )
            for name, ecu in programme.get("ecus", {}).items()
        },
        back={(each["ecu"], each["sha256"]): frozenset(each["over"]) for each in row["downgrades"] or ()},
        back_until=min((parse_time(each["expires"]) for each in row["downgrades"] or ()), default=None),
    )


def read_images(conn: Connection, programme_id: str) -> KnownImages:
    """Return the images the programme has packages for; of several of one image, the one of the highest counter."""
    counter_of: dict[str, int] = {}
    packages: dict[tuple[str, str], PackageFacts] = {}
    named: dict[tuple[str, str, str], PackageFacts] = {}
    for row in SQL.programme_packages(conn, programme_id=programme_id):
        package = _package(row)
        named[package.ecu, package.image_sha256, package.filename] = package
        known = packages.get((package.ecu, package.image_sha256))
        if known is None or (known.release_counter, known.id) < (package.release_counter, package.id):
            packages[package.ecu, package.image_sha256] = package
        counter_of[package.image_sha256] = max(
            package.release_counter, counter_of.get(package.image_sha256, 0)
        )
    return KnownImages(counter_of=counter_of, packages=packages, named=named)


def read_vehicles(
    conn: Connection,
    *,
    programme_id: str | None = None,
    vins: Sequence[str] | None = None,
    latest: Latest | None = None,
) -> Iterator[VehicleFacts]:
    """Yield vehicles with their last known configuration, a page in memory at a time.

    What telemetry last said of them is in `latest`, by path and VIN.

    Inside a transaction of the caller, which it needs for its cursor.
    """
    given = {"programme_id": programme_id, "vins": array_of(vins)}
    with conn.cursor(name="ship_vehicles") as cursor:
        cursor.itersize = STREAM_ROWS
        cursor.execute(SQL.vehicle_facts.sql, given)
        for row in cursor:
            ecus = row.pop("ecus")
            row["tags"], row["lists"] = tuple(row["tags"]), tuple(row["lists"])
            known = {path: of[row["vin"]] for path, of in (latest or {}).items() if row["vin"] in of}
            yield VehicleFacts(telemetry=known, ecus=_ECUS.decode(ecus) if ecus else {}, **row)


def read_vehicle(conn: Connection, vin: str) -> VehicleFacts:
    """Return one vehicle; inside a transaction of the caller.

    Raises:
        NotFound: there is none.
    """
    for vehicle in read_vehicles(conn, vins=[vin]):
        return vehicle
    raise NotFound(f"no vehicle {vin[:40]!r}")


def read_inventory(conn: Connection, vin: str) -> tuple[list[dict[str, Any]], bytes | None]:
    """Return a vehicle's ECUs with their keys, and its last accepted manifest as it was received."""
    last = SQL.last_manifest(conn, vin=vin)
    return list(SQL.inventory(conn, vin=vin)), None if last is None else bytes(last)


def read_vocabulary(conn: Connection) -> Vocabulary:
    """Return the names a query can be checked against."""
    row = SQL.vocabulary(conn)
    return Vocabulary(**{name: frozenset(values) for name, values in row.items()})


def read_known(conn: Connection, *, telemetry: tuple[str, ...] = (), faults: tuple[str, ...] = ()) -> Known:
    """Return what a query that is being written is completed from.

    Small tables, the vehicles that changed last, and what the database's statistics say of all of them.
    """
    row = SQL.known_values(conn, rows_max=VALUES_MAX, vehicles_max=VEHICLES_LOOKED_AT)
    values: dict[str, tuple[str, ...]] = {
        name: tuple(row[name]) for name in ("programme", "variant", "region", "tag", "list", "release")
    }
    values["gateway"] = ("native", "ddi")
    for each in SQL.known_packages(conn, rows_max=VALUES_MAX):
        values[f"ecu.{each['ecu']}.version"] = tuple(each["versions"])
        values[f"ecu.{each['ecu']}.hardware"] = tuple(each["hardware"])
    return Known(
        ecus=tuple(row["ecus"]), attributes=tuple(row["attributes"]), telemetry=telemetry, faults=faults,
        values=values,
    )  # fmt: skip


def why_not_selected(
    conn: Connection, campaign_id: str, vin: str, *, today: Resolution | None
) -> tuple[str, str]:
    """Say, short and as a sentence, why a vehicle is not among those of a campaign's plan, by what it is now.

    Inside a transaction of the caller; `today` is what the resolver makes of it, None if there is no such vehicle.

    Raises:
        NotFound: there is no such campaign or vehicle.
    """
    campaign, vehicle = read_campaign(conn, campaign_id), read_vehicle(conn, vin)
    if campaign.plan_id is None:
        return "no_plan", "The campaign has no plan yet."
    request = read_plan(conn, campaign.plan_id).request
    outcome = match_vehicle(parse_query(request.query), vehicle)
    if isinstance(outcome, NotSelected):
        return outcome.term, f"The query asks for {outcome.term}, but {outcome.actual}."
    found = today or Resolution(verdict="unknown")
    free = bool(list(SQL.not_busy(conn, vins=[vin])))
    return "after_the_plan", why_after_the_plan(
        campaign.state, found, late_joiners=request.late_joiners != "frozen", free=free
    )


def count_busy(
    conn: Connection, campaign_id: str, plan_id: str, verdicts: Sequence[str] = ("match",)
) -> CheckFacts:
    """Count vehicles of a plan that another campaign has not finished with."""
    open_elsewhere: dict[str, int] = {}
    held: dict[str, int] = {}
    cancelling: dict[str, int] = {}
    level_of: dict[str, int] = {}
    name_of: dict[str, str] = {}
    busy = SQL.busy_vehicles(conn, campaign_id=campaign_id, plan_id=plan_id, verdicts=list(verdicts))
    for row in busy:
        ended = row["campaign_state"] in (CampaignState.HALTED, CampaignState.ABORTED)
        counts = held if row["held"] else cancelling if ended else open_elsewhere
        counts[row["campaign_id"]] = row["vehicles"]
        level_of[row["campaign_id"]] = level_of_row(row)
        name_of[row["campaign_id"]] = row["name"]
    return CheckFacts(
        name_of=name_of,
        open_elsewhere=open_elsewhere,
        held_elsewhere=held,
        cancelling_elsewhere=cancelling,
        level_of=level_of,
    )


def count_skip_unknown(conn: Connection, plan_id: str) -> int:
    """Count DDI devices of a plan that never said that they can download without installing."""
    return int(SQL.skip_unknown(conn, plan_id=plan_id))


def read_levels(conn: Connection) -> dict[str, int]:
    """Return the level of every campaign that runs: who is served first where they share vehicles."""
    return {row["campaign_id"]: level_of_row(row) for row in SQL.running_levels(conn)}


def read_recalls(conn: Connection) -> list[str]:
    """Return the emergency recalls that are under way, also those that are paused: their vehicles are kept for them."""
    return [row["id"] for row in SQL.open_recalls(conn)]


def array_of(vins: Sequence[str] | None) -> list[str] | None:
    """Return vehicles as a statement takes them; None for all."""
    return None if vins is None else list(vins)


def read_change_number(conn: Connection) -> int:
    """Return the number of the newest change of a vehicle or action, committed or not."""
    return int(SQL.change_number(conn))


def plan_each_time(conn: Connection) -> None:
    """Let the database plan statements anew for the vehicles that they are given, on this connection from now on."""
    SQL.plan_each_time(conn)


def read_changed_vins(conn: Connection, *, after_seq: int, vins_max: int) -> list[str] | None:
    """Return the vehicles that changed after a number, or whose actions did; None: there are more than `vins_max`."""
    vins = [row["vin"] for row in SQL.changed_vins(conn, after_seq=after_seq, rows_max=vins_max + 1)]
    return vins if len(vins) <= vins_max else None


def level_of_row(row: Mapping[str, Any]) -> int:
    """Return the level of a plan whose priority and recall were read."""
    return PlanRequest(query="all", priority=row["priority"] or 0, recall=bool(row["recall"])).level


def read_expiries(conn: Connection) -> dict[str, datetime]:
    """Return until when vehicles take what only offline keys can sign anew, by its name."""
    return {
        f"{row['role'].title()} of the {row['repository'].title()} repository": row["expires_at"]
        for row in SQL.offline_expiries(conn)
    }


def count_certificates_ending(conn: Connection, plan_id: str, *, before: datetime) -> int:
    """Return how many vehicles of a plan show a certificate that ends until then."""
    return int(SQL.certificates_ending(conn, plan_id=plan_id, before=before))


def read_wave_progress(conn: Connection, campaign_id: str) -> list[dict[str, Any]]:
    """Return counts of vehicles by wave and outcome, for people."""
    return list(SQL.wave_counts(conn, campaign_id=campaign_id))


def read_waves(
    conn: Connection, campaign: Campaign, *, reports_min: int, next_opens_at: datetime | None = None,
    now: datetime | None = None,
) -> tuple[WaveFacts, WaveFacts]:  # fmt: skip
    """Return the facts of the current wave and of all waves released so far.

    No report grows old while the next wave waits for its date, `next_opens_at`, as of `now`.
    """
    waited_until = min(next_opens_at, now) if next_opens_at and now else None
    rows = [row for row in SQL.wave_counts(conn, campaign_id=campaign.id) if row["wave"] <= campaign.wave]
    current = [row for row in rows if row["wave"] == campaign.wave]
    needed = sum(row["targeted"] - row["cancelled"] for row in current)
    since = SQL.nth_outcome_at(
        conn, campaign_id=campaign.id, wave=campaign.wave, skip=max(0, min(reports_min, needed) - 1)
    )
    wave, released = _wave_facts(current, since), _wave_facts(rows, since)
    return (
        _without_waits(conn, campaign, wave, waited_until),
        _without_waits(conn, campaign, released, waited_until),
    )


def _without_waits(
    conn: Connection, campaign: Campaign, facts: WaveFacts, waited_until: datetime | None
) -> WaveFacts:
    newest = facts.newest_report_at
    if newest is None:
        return facts
    since = max(newest, waited_until or newest)
    paused_s = SQL.paused_s(conn, campaign_id=campaign.id, since=since)
    return replace(facts, paused_s=paused_s + round((since - newest).total_seconds()))


def _wave_facts(rows: Sequence[Mapping[str, Any]], since: datetime | None) -> WaveFacts:
    newest, ended = (
        max((row[name] for row in rows if row[name] is not None), default=None)
        for name in ("newest_report_at", "newest_outcome_at")
    )
    names = ("targeted", "installed", "downloaded", "failed", "rolled_back", "lost", "silent", "cancelled")
    return WaveFacts(
        newest_report_at=newest,
        newest_outcome_at=ended,
        evidence_since=since,
        **{f"vehicles_{name}": sum(row[name] for row in rows) for name in names},
    )


def _campaign(row: Mapping[str, Any]) -> Campaign:
    return Campaign(**{**row, "state": CampaignState(row["state"])})


def _package(row: Mapping[str, Any]) -> PackageFacts:
    return PackageFacts(
        **{
            **row,
            "hardware_ids": tuple(row["hardware_ids"]),
            "requires": tuple((item["ecu"], item["range"]) for item in row["requires"]),
            "conflicts": tuple((item["ecu"], item["range"]) for item in row["conflicts"]),
        }
    )
