"""Programmes, packages and releases in PostgreSQL. Vehicles: `birth.py`; the line: `store_plant.py`.

The caller opens the transaction. Every change of state compares the generation it was decided on and
appends its fact with its causes.

Invariant: a release is signed only if, in the same transaction, its check still finds nothing that blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from ringroad.build.artifact_signature import signature_problems
from ringroad.build.downgrade import check_downgrade
from ringroad.build.model import Package, Problem, Release, Severity
from ringroad.build.release import blocks, check_bytes
from ringroad.build.release import check_release as decide_release
from ringroad.build.release_shape import check_shape, rxswins_of
from ringroad.build.rows import release_of
from ringroad.build.store_downgrade import known_packages, require_approved
from ringroad.build.store_packages import (
    SQL,
    StoredProgramme,
    add_package,
    get_package,
    get_programme,
    good_keys,
    import_programme,
    lap_of,
    list_packages,
    list_programmes,
    packages_alike,
    packages_by_id,
)
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import CAUSES_MAX, FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.versions import parse_version
from ringroad.storage.db import Connection, expect_one, of_row
from ringroad.storage.ledger import append_fact, causes_of, latest_setback, read_facts

__all__ = [
    "Baseline", "StoredProgramme", "add_package", "baseline_targets", "check_release", "create_release",
    "find_problems", "get_baseline", "get_package", "get_programme", "get_release", "import_programme",
    "list_packages", "list_programmes", "list_releases", "mark_signed", "release_targets", "revise_release",
    "set_baseline", "withdraw",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the line flashes: the release, and the package of every ECU of every variant."""

    programme_id: str
    release_id: str
    packages: Mapping[str, Mapping[str, str]]  # variant -> ECU name -> package id; complete or absent
    rxswins: Mapping[str, str]  # type-approved system -> RXSWIN, of the newest baseline that declares it
    generation: int
    set_at: datetime


# Releases ------------------------------------------------------------------------------------------


def create_release(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    name: str,
    version: str,
    document: Mapping[str, Any],
    actor: str,
    now: datetime,
    change_id: str | None = None,
    lap_id: str | None = None,
    work_started_at: datetime | None = None,
) -> Release:
    """Create a draft.

    Raises:
        NotFound: no such programme.
        InvalidInput: the document does not have a release's shape.
        Conflict: the version exists, or the change it belongs to is not approved, or not any more.
    """
    get_programme(conn, programme_id)
    parse_version(version)
    _refuse_shape(document)
    if change_id is not None:
        _refuse_change(conn, change_id)
    release_id = ids.new("release")
    lap_id = lap_of(conn, change_id, lap_id)
    SQL.insert_release(
        conn,
        release_id=release_id,
        programme_id=programme_id,
        name=name,
        version=version,
        change_id=change_id,
        lap_id=lap_id,
        document=Jsonb(dict(document)),
        actor=actor,
        now=now,
    )
    release = get_release(conn, release_id)
    packages = [(FactKind.PACKAGE_ADDED, package_id) for package_id in release.package_ids]
    setback = latest_setback(conn, lap_id)
    append_fact(
        conn,
        ids,
        kind=FactKind.RELEASE_CREATED,
        subject=release_id,
        actor=actor,
        now=now,
        lap_id=lap_id,
        work_started_at=work_started_at,
        causes=[
            *([setback.id] if setback else []),
            *causes_of(
                conn,
                [
                    (FactKind.CHANGE_APPROVED, change_id),
                    (FactKind.PROGRAMME_IMPORTED, programme_id),
                    *packages,
                ],
            ),
        ][:CAUSES_MAX],
        body={"version": version, "packages": len(packages)},
    )
    return release


def revise_release(
    conn: Connection,
    ids: Ids,
    *,
    release_id: str,
    generation: int,
    document: Mapping[str, Any],
    actor: str,
    now: datetime,
) -> Release:
    """Replace the document of a release that is not signed; it is a draft again.

    Raises:
        NotFound: no such release.
        InvalidInput: the document does not have a release's shape.
        Conflict: it moved on since `generation`, or is signed.
    """
    release = get_release(conn, release_id)
    _refuse_shape(document)
    rows = SQL.revise_release(
        conn, release_id=release_id, generation=generation, document=Jsonb(dict(document))
    )
    expect_one(rows, f"release {release_id}")
    _append(
        conn,
        ids,
        release,
        FactKind.RELEASE_CREATED,
        actor=actor,
        now=now,
        cause=FactKind.RELEASE_CHECKED,
        body={"revised": True},
    )
    return get_release(conn, release_id)


def get_release(conn: Connection, release_id: str) -> Release:
    """Return a release. Raises: NotFound."""
    row = SQL.release(conn, release_id=release_id)
    if row is None:
        raise NotFound(f"there is no release {release_id!r}")
    return release_of(row)


def list_releases(
    conn: Connection, *, programme_id: str | None = None, after_id: str = "", rows_max: int = PAGE_ROWS_MAX
) -> list[Release]:
    """Return releases by id, oldest first, one page."""
    rows = SQL.releases(
        conn, programme_id=programme_id, after_id=after_id, rows_max=min(rows_max, PAGE_ROWS_MAX)
    )
    return [release_of(row) for row in rows]


def check_release(
    conn: Connection, ids: Ids, *, release_id: str, generation: int, actor: str, now: datetime
) -> Release:
    """Check a release as a whole and keep the findings; it becomes `checked` if none blocks, else `draft`.

    Raises:
        NotFound: no such release.
        Conflict: it moved on since `generation`, or is signed.
    """
    release = get_release(conn, release_id)
    problems = find_problems(conn, release)
    rows = SQL.keep_findings(
        conn,
        release_id=release_id,
        generation=generation,
        findings=Jsonb([problem.to_document() for problem in problems]),
        state="draft" if blocks(problems) else "checked",
    )
    expect_one(rows, f"release {release_id}")
    body = {"passed": not blocks(problems), "codes": sorted({problem.code for problem in problems})}
    _append(
        conn,
        ids,
        release,
        FactKind.RELEASE_CHECKED,
        actor=actor,
        now=now,
        cause=FactKind.RELEASE_CREATED,
        body=body,
    )
    return get_release(conn, release_id)


def find_problems(conn: Connection, release: Release) -> list[Problem]:
    """Load what the check needs, and check; writes nothing."""
    programme = get_programme(conn, release.programme_id).programme
    packages = packages_by_id(conn, release.package_ids)
    counters = {row["ecu"]: row["counter"] for row in SQL.signed_counters(conn, programme_id=programme.id)}
    running: dict[str, list[str]] = {}
    for row in SQL.running_versions(conn, programme_id=programme.id):
        running.setdefault(row["ecu"], []).append(row["version"])
    problems = decide_release(programme, release.document, packages, counters, running)
    if not check_shape(release.document):
        problems += check_bytes(packages, packages_alike(conn, programme.id, packages.values()))
        problems += check_downgrade(release.document, packages, known_packages(conn, release), running)
        problems += signature_problems(
            programme, packages, release.package_ids, good_keys(conn, programme.id)
        )
    return sorted(problems, key=lambda problem: problem.severity is not Severity.BLOCKING)


def mark_signed(
    conn: Connection,
    ids: Ids,
    *,
    release_id: str,
    generation: int,
    actor: str,
    now: datetime,
    image_targets_version: int,
    work_started_at: datetime | None = None,
) -> Release:
    """Note that the Image repository accepted Targets metadata with every package of this release.

    Args:
        conn: a connection in the transaction that published the metadata.
        ids: makes the fact's id.
        release_id: which release.
        generation: the one that was read before signing.
        actor: who signed.
        now: when.
        image_targets_version: version of the Image repository's Targets metadata.
        work_started_at: when signing began.

    Raises:
        NotFound: no such release.
        Conflict: it moved on, is not checked, or its check would no longer pass.
    """
    release = get_release(conn, release_id)
    if release.state != "checked":
        raise Conflict(f"release {release_id} is {release.state}, not checked", hint="check it first")
    require_approved(release)
    # Another release may have been signed since the check, and raised a counter; one at a time from here.
    SQL.lock_programme(conn, programme_id=release.programme_id)
    problems = find_problems(conn, release)
    if blocks(problems):
        raise Conflict(f"release {release_id} no longer passes: {problems[0].message}", hint="check it again")
    rows = SQL.mark_signed(conn, release_id=release_id, generation=generation, now=now)
    expect_one(rows, f"release {release_id}")
    body = {"image_targets_version": image_targets_version}
    _append(
        conn,
        ids,
        release,
        FactKind.RELEASE_SIGNED,
        actor=actor,
        now=now,
        cause=FactKind.RELEASE_CHECKED,
        body=body,
        work_started_at=work_started_at,
    )
    return get_release(conn, release_id)


def withdraw(
    conn: Connection, ids: Ids, *, release_id: str, generation: int, reason: str, actor: str, now: datetime
) -> Release:
    """Withdraw a release: no campaign and no line may take it any more.

    Raises:
        NotFound: no such release.
        InvalidInput: no reason.
        Conflict: it moved on, or is the line's baseline.
    """
    if not reason.strip():
        raise InvalidInput("a withdrawal needs a reason")
    release = get_release(conn, release_id)
    SQL.lock_programme(conn, programme_id=release.programme_id)  # else it may become the baseline meanwhile
    if SQL.baseline_of_release(conn, release_id=release_id):
        raise Conflict(f"release {release_id} is the line's baseline", hint="set another baseline first")
    expect_one(SQL.withdraw(conn, release_id=release_id, generation=generation), f"release {release_id}")
    cause = FactKind.RELEASE_SIGNED if release.signed_at else FactKind.RELEASE_CREATED
    _append(
        conn,
        ids,
        release,
        FactKind.RELEASE_WITHDRAWN,
        actor=actor,
        now=now,
        cause=cause,
        body={"reason": reason},
    )
    return get_release(conn, release_id)


def release_targets(conn: Connection, release_id: str, variant: str) -> dict[str, Package]:
    """Return what a release puts on a variant: ECU name to package; untouched ECUs are absent.

    Raises:
        NotFound: no such release, or the release names no such variant.
    """
    release = get_release(conn, release_id)
    if variant not in release.document["variants"] and variant not in release.document.get("untouched", {}):
        raise NotFound(f"release {release_id} says nothing about variant {variant!r}")
    given = release.document["variants"].get(variant, {})
    packages = packages_by_id(conn, tuple(given.values()))
    return {ecu: packages[package_id] for ecu, package_id in given.items()}


# Baseline ------------------------------------------------------------------------------------------


def set_baseline(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    release_id: str,
    generation: int,
    actor: str,
    now: datetime,
) -> Baseline:
    """Make a signed release what the line flashes, over the packages of the baselines before it.

    Args:
        conn: a connection in a transaction.
        ids: makes the fact's id.
        programme_id: whose line.
        release_id: a signed release.
        generation: of the baseline it replaces; 0 for the first.
        actor: who decides.
        now: when.

    Raises:
        NotFound: no such programme or release.
        Conflict: not signed, of another programme, or an ECU would leave the line without software.
    """
    SQL.lock_programme(conn, programme_id=programme_id)  # else the release may be withdrawn meanwhile
    programme = get_programme(conn, programme_id).programme
    release = get_release(conn, release_id)
    if release.state != "signed" or release.programme_id != programme_id:
        raise Conflict(
            f"release {release_id} is not a signed release of {programme_id}", hint="sign it first"
        )
    before = SQL.baseline(conn, programme_id=programme_id)
    packages: dict[str, dict[str, str]] = {}
    for name, variant in programme.variants.items():
        old = before["packages"].get(name, {}) if before else {}
        merged = old | release.document["variants"].get(name, {})
        missing = [ecu for ecu in variant.ecus if ecu not in merged]
        if not merged:
            continue  # the line does not build this variant; `replan` holds its orders back
        if missing:
            raise Conflict(
                f"vehicles of variant {name} would leave the line without software on {', '.join(missing[:5])}",
                code="baseline_incomplete",
                hint="the first baseline of a variant must be a release that covers all its ECUs",
            )
        packages[name] = {ecu: merged[ecu] for ecu in variant.ecus}
    if not packages:
        raise Conflict("the release has software for no variant", code="baseline_incomplete")
    rxswins = (before["rxswins"] if before else {}) | rxswins_of(release.document)
    rows = (SQL.update_baseline if generation else SQL.insert_baseline)(
        conn, programme_id=programme_id, release_id=release_id, packages=Jsonb(packages), rxswins=Jsonb(rxswins),
        generation=generation, now=now,
    )  # fmt: skip
    expect_one(rows, f"the baseline of {programme_id}")
    append_fact(
        conn,
        ids,
        kind=FactKind.BASELINE_SET,
        subject=programme_id,
        actor=actor,
        now=now,
        lap_id=release.lap_id,
        causes=causes_of(conn, [(FactKind.RELEASE_SIGNED, release_id)]),
        body={"release_id": release_id, "generation": generation + 1},
    )
    found = get_baseline(conn, programme_id)
    if found is None:
        raise Conflict(f"the baseline of {programme_id} changed")
    return found


def get_baseline(conn: Connection, programme_id: str) -> Baseline | None:
    """Return what the line flashes, or None before the first baseline."""
    row = SQL.baseline(conn, programme_id=programme_id)
    return of_row(Baseline, row) if row else None


def baseline_targets(conn: Connection, programme_id: str, variant: str) -> dict[str, Package]:
    """Return what the line flashes onto a variant: every ECU name to its package.

    Raises:
        NotFound: no baseline, or no such variant in it.
    """
    baseline = get_baseline(conn, programme_id)
    if baseline is None or variant not in baseline.packages:
        raise NotFound(f"the line of {programme_id} has no baseline for variant {variant!r}", hint="set one")
    given = baseline.packages[variant]
    packages = packages_by_id(conn, tuple(given.values()))
    return {ecu: packages[package_id] for ecu, package_id in given.items()}


# Helpers ---


def _refuse_change(conn: Connection, change_id: str) -> None:
    """Refuse a change that nothing may be built for. Raises: Conflict."""
    said = [fact.kind for fact in read_facts(conn, subject=change_id) if fact.kind in _CHANGE_STATES]
    match said[-1] if said else None:
        case FactKind.CHANGE_APPROVED:
            return
        case FactKind.CHANGE_DONE | FactKind.CHANGE_REJECTED as last:
            word = "done" if last is FactKind.CHANGE_DONE else "rejected"
            raise Conflict(
                f"change {change_id} is {word} already",
                hint="propose another change (ringroad change propose), or release without one",
            )
        case _:
            raise Conflict(f"change {change_id} is not approved", hint="approve it first")


_CHANGE_STATES = frozenset({FactKind.CHANGE_APPROVED, FactKind.CHANGE_DONE, FactKind.CHANGE_REJECTED})


def _refuse_shape(document: Mapping[str, Any]) -> None:
    problems = check_shape(document)
    if problems:
        shown = "; ".join(problem.message for problem in problems[:5])
        raise InvalidInput(shown, code="release_malformed", hint="docs/reference/programme.md has the shape")


def _append(
    conn: Connection,
    ids: Ids,
    release: Release,
    kind: FactKind,
    *,
    actor: str,
    now: datetime,
    cause: FactKind,
    body: Mapping[str, Any],
    work_started_at: datetime | None = None,
) -> None:
    """Append a fact about a release, caused by its newest fact of kind `cause`, else by its creation."""
    causes = causes_of(conn, [(cause, release.id)]) or causes_of(
        conn, [(FactKind.RELEASE_CREATED, release.id)]
    )
    append_fact(
        conn,
        ids,
        kind=kind,
        subject=release.id,
        actor=actor,
        now=now,
        lap_id=release.lap_id,
        causes=causes,
        work_started_at=work_started_at,
        body={"version": release.version, **body},
    )
