"""The build stage against a real PostgreSQL: every change of state, its fact and its causes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringroad.build import birth, store, store_plant
from ringroad.build.images import read_image
from ringroad.build.model import Package, Release, Requirement, Severity
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import append_fact, latest_fact, open_lap, read_facts
from support.fleet import wait_for_locks

pytestmark = pytest.mark.engines

EXAMPLE = (Path(__file__).parents[2] / "examples" / "road" / "programme.toml").read_text()
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
IDS = SystemIds()
WHO: dict[str, Any] = {"actor": "tester", "now": NOW}
VIN = "RRTEST00000000001"


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as connection, transaction(connection):
        store.import_programme(connection, IDS, source=EXAMPLE, **WHO)
        yield connection


def add(conn: Connection, ecu: str, version: str, *, counter: int = 0, **more: Any) -> Package:
    image = read_image(f"image of {ecu} {version}".encode())
    if ecu == "telebox":
        image = read_image(box_image(version))
        version_given: str | None = None
    else:
        version_given = version
    return store.add_package(
        conn, IDS, programme_id="roadster", ecu=ecu, name=f"{ecu}-fw", image=image, version=version_given,
        release_counter=counter, **WHO, **more,
    )  # fmt: skip


def box_image(version: str) -> bytes:
    digest = hashlib.sha256(b"x").hexdigest()
    text = f'software = {{ version = "{version}"; files: ({{ filename = "f"; sha256 = "{digest}"; }}); }}'
    out = b""
    for name, content in (("sw-description", text.encode()), ("f", b"x"), ("TRAILER!!!", b"")):
        fields = [1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        out += b"070701" + "".join(f"{value:08X}" for value in fields).encode() + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + content
        out += b"\0" * (-len(out) % 4)
    return out


def whole_document(conn: Connection, version: str, counter: int = 1) -> dict[str, Any]:
    programme = store.get_programme(conn, "roadster").programme
    packages = {ecu: add(conn, ecu, version, counter=counter).id for ecu in programme.ecus}
    ecus = sorted(packages, key=lambda ecu: (programme.ecus[ecu].primary, ecu))
    return {
        "variants": {name: {ecu: packages[ecu] for ecu in v.ecus} for name, v in programme.variants.items()},
        "groups": [{"name": "all", "ecus": ecus}],
        "post_checks": [{"ecu": ecu, "kind": "version"} for ecu in ecus],
    }


def fix_document(conn: Connection, ecu: str, package_id: str) -> dict[str, Any]:
    programme = store.get_programme(conn, "roadster").programme
    return {
        "variants": {name: {ecu: package_id} for name, v in programme.variants.items() if ecu in v.ecus},
        "untouched": {name: [e for e in v.ecus if e != ecu] for name, v in programme.variants.items()},
        "groups": [{"name": "fix", "ecus": [ecu]}],
        "post_checks": [{"ecu": ecu, "kind": "self_test"}],
    }


def create(conn: Connection, document: dict[str, Any], version: str = "1.0", **more: Any) -> Release:
    return store.create_release(
        conn, IDS, programme_id="roadster", name="first", version=version, document=document, **WHO, **more
    )


def sign(conn: Connection, release: Release) -> Release:
    checked = store.check_release(conn, IDS, release_id=release.id, generation=release.generation, **WHO)
    assert checked.state == "checked", checked.findings
    return store.mark_signed(
        conn, IDS, release_id=release.id, generation=checked.generation, image_targets_version=1, **WHO
    )


def baseline(conn: Connection, release: Release, generation: int = 0) -> store.Baseline:
    return store.set_baseline(
        conn, IDS, programme_id="roadster", release_id=release.id, generation=generation, **WHO
    )


# Programme -----------------------------------------------------------------------------------------


def test_the_same_programme_twice_is_one_and_another_needs_the_generation(conn: Connection) -> None:
    again = store.import_programme(conn, IDS, source=EXAMPLE, **WHO)
    assert again.generation == 1
    assert len(read_facts(conn, subject="roadster")) == 1
    changed = EXAMPLE.replace('name = "Roadster"', 'name = "Roadster II"')
    with pytest.raises(Conflict):
        store.import_programme(conn, IDS, source=changed, **WHO)
    replaced = store.import_programme(conn, IDS, source=changed, generation=1, **WHO)
    assert (replaced.generation, replaced.programme.name) == (2, "Roadster II")
    with pytest.raises(Conflict):
        store.import_programme(conn, IDS, source=EXAMPLE, generation=1, **WHO)
    first, second = read_facts(conn, subject="roadster")
    assert second.causes == (first.id,)


# Packages ------------------------------------------------------------------------------------------


def test_a_package_takes_what_its_image_says_and_refuses_what_contradicts_it(conn: Connection) -> None:
    package = add(conn, "telebox", "2.5")
    assert (package.version, package.format, package.hardware_ids) == ("2.5", "swu", ("default:1.0",))
    assert package.filename == "roadster-telebox-2.5.swu"
    with pytest.raises(InvalidInput) as caught:
        store.add_package(
            conn,
            IDS,
            programme_id="roadster",
            ecu="telebox",
            name="x",
            image=read_image(box_image("3")),
            version="4",
            **WHO,
        )
    assert caught.value.code == "version_mismatch"
    with pytest.raises(InvalidInput):
        store.add_package(
            conn, IDS, programme_id="roadster", ecu="body", name="x", image=read_image(b"raw"), **WHO
        )
    fact = latest_fact(conn, kind=FactKind.PACKAGE_ADDED, subject=package.id)
    imported = latest_fact(conn, kind=FactKind.PROGRAMME_IMPORTED, subject="roadster")
    assert fact
    assert imported
    assert fact.causes == (imported.id,)


def test_the_same_package_twice_is_one_and_another_image_is_a_conflict(conn: Connection) -> None:
    first = add(conn, "body", "1.0")
    assert add(conn, "body", "1.0") == first
    with pytest.raises(Conflict):
        store.add_package(
            conn,
            IDS,
            programme_id="roadster",
            ecu="body",
            name="x",
            image=read_image(b"other"),
            version="1.0",
            **WHO,
        )
    with pytest.raises(NotFound):
        add(conn, "flux_capacitor", "1.0")
    with pytest.raises(InvalidInput):
        add(conn, "body", "1.1", requires=[Requirement(ecu="brake", range="about 2")])
    with pytest.raises(InvalidInput):
        add(conn, "body", "1.1", conflicts=[Requirement(ecu="brake", range="about 2")])
    with pytest.raises(InvalidInput, match="cannot conflict with body"):
        add(conn, "body", "1.1", conflicts=[Requirement(ecu="body", range="<1")])
    with pytest.raises(InvalidInput):
        add(conn, "body", "1.1", upgrades_from="newer")
    assert [package.id for package in store.list_packages(conn, ecu="body")] == [first.id]


def test_a_package_keeps_what_it_conflicts_with_and_what_it_may_be_installed_over(conn: Connection) -> None:
    clash = Requirement(ecu="brake", range="<2")
    made = add(conn, "body", "1.0", conflicts=[clash], upgrades_from=">=0.5, <1")
    assert (made.conflicts, made.upgrades_from) == ((clash,), ">=0.5, <1")
    assert (add(conn, "body", "1.1").conflicts, add(conn, "body", "1.1").upgrades_from) == ((), "*")


# Releases ------------------------------------------------------------------------------------------


def test_a_release_goes_from_draft_to_signed_and_its_facts_are_a_chain(conn: Connection) -> None:
    open_lap(conn, lap_id="lap_1", title="a lap", now=NOW)
    append_fact(
        conn, IDS, kind=FactKind.CHANGE_APPROVED, subject="change_1", actor="a", now=NOW, lap_id="lap_1"
    )
    release = sign(conn, create(conn, whole_document(conn, "1.0"), change_id="change_1"))
    assert (release.state, release.lap_id, release.generation) == ("signed", "lap_1", 3)
    created, checked, signed = read_facts(conn, subject=release.id)
    assert [fact.kind for fact in (created, checked, signed)] == [
        FactKind.RELEASE_CREATED, FactKind.RELEASE_CHECKED, FactKind.RELEASE_SIGNED,
    ]  # fmt: skip
    approved = latest_fact(conn, kind=FactKind.CHANGE_APPROVED, subject="change_1")
    assert approved
    assert approved.id in created.causes
    assert len(created.causes) == 36  # the change, 34 packages, the programme
    assert (checked.causes, signed.causes) == ((created.id,), (checked.id,))
    assert {fact.lap_id for fact in (created, checked, signed)} == {"lap_1"}


def test_the_release_after_a_halt_names_the_halt_as_its_cause(conn: Connection) -> None:
    open_lap(conn, lap_id="lap_1", title="a lap", now=NOW)
    append_fact(
        conn, IDS, kind=FactKind.CHANGE_APPROVED, subject="change_1", actor="a", now=NOW, lap_id="lap_1"
    )
    create(conn, whole_document(conn, "1.0"), change_id="change_1")
    halted = append_fact(
        conn, IDS, kind=FactKind.CAMPAIGN_HALTED, subject="campaign_1", actor="a", now=NOW, lap_id="lap_1"
    )
    second = create(conn, whole_document(conn, "1.1"), "1.1", change_id="change_1")
    (created,) = read_facts(conn, subject=second.id)
    assert created.causes[0] == halted.id
    assert len(created.causes) == 37
    outside = create(conn, whole_document(conn, "1.2"), "1.2")
    assert halted.id not in read_facts(conn, subject=outside.id)[0].causes


def test_a_release_that_does_not_pass_stays_a_draft_and_cannot_be_signed(conn: Connection) -> None:
    document = whole_document(conn, "1.0")
    del document["variants"]["city"]["brake"]
    release = create(conn, document)
    checked = store.check_release(conn, IDS, release_id=release.id, generation=1, **WHO)
    blocking = [problem.code for problem in checked.findings if problem.severity == Severity.BLOCKING]
    assert (checked.state, blocking) == ("draft", ["not_covered"])
    with pytest.raises(Conflict):
        store.mark_signed(conn, IDS, release_id=release.id, generation=2, image_targets_version=1, **WHO)
    document["untouched"] = {"city": ["brake"]}
    revised = store.revise_release(conn, IDS, release_id=release.id, generation=2, document=document, **WHO)
    assert sign(conn, revised).state == "signed"


def test_an_old_generation_a_foreign_change_and_a_bad_shape_are_refused(conn: Connection) -> None:
    document = whole_document(conn, "1.0")
    release = create(conn, document)
    store.check_release(conn, IDS, release_id=release.id, generation=1, **WHO)
    for generation in (1, 7):
        with pytest.raises(Conflict):
            store.check_release(conn, IDS, release_id=release.id, generation=generation, **WHO)
        with pytest.raises(Conflict):
            store.mark_signed(
                conn, IDS, release_id=release.id, generation=generation, image_targets_version=1, **WHO
            )
    with pytest.raises(Conflict, match="not approved"):
        create(conn, document, "2.0", change_id="change_9")
    with pytest.raises(InvalidInput):
        create(conn, document | {"packges": {}}, "2.0")


@pytest.mark.parametrize(
    ("ended", "word"), [(FactKind.CHANGE_DONE, "done"), (FactKind.CHANGE_REJECTED, "rejected")]
)
def test_nothing_is_built_for_a_change_that_has_ended(conn: Connection, ended: FactKind, word: str) -> None:
    document = whole_document(conn, "1.0")
    for kind in (FactKind.CHANGE_PROPOSED, FactKind.CHANGE_APPROVED):
        append_fact(conn, IDS, kind=kind, subject="change_1", actor="a", now=NOW)
    create(conn, document, change_id="change_1")
    append_fact(conn, IDS, kind=ended, subject="change_1", actor="a", now=NOW)
    with pytest.raises(Conflict, match=f"{word} already") as refused:
        create(conn, document, "1.1", change_id="change_1")
    assert "propose another change" in refused.value.hint


def test_a_counter_that_rose_after_the_check_stops_the_signature(conn: Connection) -> None:
    sign(conn, create(conn, whole_document(conn, "1.0", counter=1)))
    old = create(conn, fix_document(conn, "brake", add(conn, "brake", "1.1", counter=1).id), "1.1")
    store.check_release(conn, IDS, release_id=old.id, generation=1, **WHO)
    sign(conn, create(conn, fix_document(conn, "brake", add(conn, "brake", "1.2", counter=2).id), "1.2"))
    with pytest.raises(Conflict, match="release counter 1, 2 was already signed"):
        store.mark_signed(conn, IDS, release_id=old.id, generation=2, image_targets_version=3, **WHO)


def test_targets_are_what_the_release_touches(conn: Connection) -> None:
    package = add(conn, "brake", "1.1")
    release = create(conn, fix_document(conn, "brake", package.id), "1.1")
    assert store.release_targets(conn, release.id, "city") == {"brake": package}
    assert store.release_targets(conn, release.id, "box") == {}
    with pytest.raises(NotFound):
        store.release_targets(conn, release.id, "sport")


def test_a_withdrawn_release_goes_nowhere(conn: Connection) -> None:
    release = sign(conn, create(conn, whole_document(conn, "1.0")))
    gone = store.withdraw(conn, IDS, release_id=release.id, generation=3, reason="bad brake", **WHO)
    assert gone.state == "withdrawn"
    with pytest.raises(Conflict):
        baseline(conn, release)
    with pytest.raises(Conflict):
        store.withdraw(conn, IDS, release_id=release.id, generation=4, reason="again", **WHO)


def test_a_release_is_not_withdrawn_and_made_the_baseline_at_once(pg_url: str) -> None:
    with connect(pg_url) as first, transaction(first):
        store.import_programme(first, IDS, source=EXAMPLE, **WHO)
        release = sign(first, create(first, whole_document(first, "1.0")))
    refused: list[str] = []

    def attempt(work: Callable[[Connection], object]) -> None:
        with closing(connect(pg_url)) as other:
            try:
                with transaction(other):
                    work(other)
            except Conflict as conflict:
                refused.append(conflict.message)

    works: list[Callable[[Connection], object]] = [
        lambda other: store.withdraw(other, IDS, release_id=release.id, generation=3, reason="bad", **WHO),
        lambda other: baseline(other, release),
    ]
    threads = [threading.Thread(target=attempt, args=(work,)) for work in works]
    with connect(pg_url) as holder:
        with transaction(holder):  # holds both up before they look
            holder.execute("SELECT 1 FROM programme FOR NO KEY UPDATE")
            for thread in threads:
                thread.start()
            wait_for_locks(holder, 2)
        for thread in threads:
            thread.join(60)
        assert len(refused) == 1
        is_baseline = store.get_baseline(holder, "roadster") is not None
        assert (store.get_release(holder, release.id).state == "withdrawn") is not is_baseline


# Baseline and birth --------------------------------------------------------------------------------


def test_a_fix_is_laid_over_the_baseline_before_it(conn: Connection) -> None:
    fix = sign(conn, create(conn, fix_document(conn, "brake", add(conn, "brake", "0.9").id), "0.9"))
    with pytest.raises(Conflict) as caught:
        baseline(conn, fix)
    assert caught.value.code == "baseline_incomplete"
    first = sign(conn, create(conn, whole_document(conn, "1.0")))
    assert baseline(conn, first).generation == 1
    second = sign(
        conn, create(conn, fix_document(conn, "brake", add(conn, "brake", "1.1", counter=1).id), "1.1")
    )
    with pytest.raises(Conflict):
        baseline(conn, second, generation=0)
    assert baseline(conn, second, generation=1).generation == 2
    targets = store.baseline_targets(conn, "roadster", "premium")
    assert len(targets) == 33
    assert (targets["brake"].version, targets["body"].version) == ("1.1", "1.0")
    with pytest.raises(Conflict, match="baseline"):
        store.withdraw(conn, IDS, release_id=second.id, generation=3, reason="x", **WHO)


def test_a_variant_without_software_is_not_built_and_the_others_are(conn: Connection) -> None:
    document = whole_document(conn, "1.0")
    del document["variants"]["box"]
    document["untouched"] = {"box": ["telebox"]}
    document["groups"][0]["ecus"].remove("telebox")
    document["post_checks"] = []
    assert set(baseline(conn, sign(conn, create(conn, document))).packages) == {"city", "premium"}
    with pytest.raises(NotFound):
        store.baseline_targets(conn, "roadster", "box")
    box = store_plant.add_order(conn, IDS, programme_id="roadster", variant="box", **WHO)
    city = store_plant.add_order(conn, IDS, programme_id="roadster", variant="city", **WHO)
    clock = SystemClock()
    found = store_plant.replan(
        conn,
        IDS,
        clock,
        programme_id="roadster",
        cause="new_orders",
        actor="a",
        triggered_s=clock.monotonic_s(),
    ).document
    assert found.sequence == (city.id,)
    assert [(held.order_id, held.reason) for held in found.held] == [
        (box.id, "box is blocked: the baseline has no software for it")
    ]


def newborn(conn: Connection, release_id: str, **changes: Any) -> dict[str, Any]:
    programme = store.get_programme(conn, "roadster").programme
    targets = store.baseline_targets(conn, "roadster", "city")
    names = programme.variants["city"].ecus
    ecus = [
        birth.NewEcu(
            serial=f"{VIN}-{name}", name=name, hardware_id=programme.ecus[name].hardware_id, public_key={"k": name},
            key_id=name, is_primary=name == "gateway",
        )
        for name in names
    ]  # fmt: skip
    installed = [
        birth.Installed(
            serial=f"{VIN}-{name}", filename=targets[name].filename, version=targets[name].version,
            image_sha256=targets[name].image_sha256,
        )
        for name in names
    ]  # fmt: skip
    return {
        "vin": VIN, "programme_id": "roadster", "variant": "city", "gateway": "native", "token_sha256": b"t" * 32,
        "ecus": ecus, "installed": installed, "release_id": release_id, "tags": ["pilot"], **WHO, **changes,
    }  # fmt: skip


def test_a_vehicle_is_born_once_with_the_baseline_and_its_order(conn: Connection) -> None:
    release = sign(conn, create(conn, whole_document(conn, "1.0")))
    baseline(conn, release)
    order = store_plant.add_order(conn, IDS, programme_id="roadster", variant="city", **WHO)
    given = newborn(conn, release.id, order_id=order.id)
    assert birth.register_vehicle(conn, IDS, **given)
    assert not birth.register_vehicle(conn, IDS, **given)
    done = store_plant.get_order(conn, order.id)
    assert (done.state, done.vin) == ("born", VIN)
    (fact,) = read_facts(conn, subject=VIN)
    set_fact = latest_fact(conn, kind=FactKind.BASELINE_SET, subject="roadster")
    assert set_fact
    received = latest_fact(conn, kind=FactKind.ORDER_RECEIVED, subject=order.id)
    assert received
    assert fact.causes == (set_fact.id, received.id)
    with pytest.raises(Conflict, match="another vehicle"):
        birth.register_vehicle(conn, IDS, **(given | {"token_sha256": b"u" * 32}))
    # What drives on the road cannot be edited out of the programme.
    dropped = EXAMPLE.replace(
        'ecus = ["gateway", "compute", "body", "brake"]', 'ecus = ["gateway", "body", "brake"]'
    )
    with pytest.raises(Conflict, match="vehicles on the road"):
        store.import_programme(conn, IDS, source=dropped, generation=1, **WHO)


@pytest.mark.parametrize(
    "case", ["vin", "ecu_missing", "two_primaries", "hardware", "image", "release", "token"]
)
def test_a_vehicle_that_is_not_what_the_line_builds_is_refused(conn: Connection, case: str) -> None:
    release = sign(conn, create(conn, whole_document(conn, "1.0")))
    baseline(conn, release)
    given = newborn(conn, release.id)
    ecus, installed = given["ecus"], given["installed"]
    from dataclasses import replace  # noqa: PLC0415 - only here

    changes: dict[str, dict[str, Any]] = {
        "vin": {"vin": "I" * 17},
        "ecu_missing": {"ecus": ecus[:-1]},
        "two_primaries": {"ecus": [replace(ecu, is_primary=True) for ecu in ecus]},
        "hardware": {"ecus": [replace(ecus[0], hardware_id="other"), *ecus[1:]]},
        "image": {"installed": [replace(installed[0], version="0.1"), *installed[1:]]},
        "release": {"release_id": sign(conn, create(conn, fix_document(conn, "brake", add(conn, "brake", "1.1", counter=1).id), "1.1")).id},
        "token": {"token_sha256": b"short"},
    }  # fmt: skip
    with pytest.raises((InvalidInput, Conflict)):
        birth.register_vehicle(conn, IDS, **(given | changes[case]))
    assert read_facts(conn, subject=VIN) == []


# The line ------------------------------------------------------------------------------------------


def test_the_line_is_replanned_for_orders_blocks_and_releases(conn: Connection) -> None:
    clock = SystemClock()
    for number in range(12):
        options = ["sunroof"] if number % 2 else []
        variant = "premium" if number % 3 else "city"
        store_plant.add_order(conn, IDS, programme_id="roadster", variant=variant, options=options, **WHO)

    def replan(cause: Any, **more: Any) -> store_plant.Schedule:
        return store_plant.replan(
            conn,
            IDS,
            clock,
            programme_id="roadster",
            cause=cause,
            actor="system:plant",
            triggered_s=clock.monotonic_s(),
            **more,
        )

    empty = replan("new_orders")
    assert (empty.document.sequence, len(empty.document.held)) == ((), 12)
    baseline(conn, sign(conn, create(conn, whole_document(conn, "1.0"))))
    full = replan("new_release")
    assert (full.generation, full.parent_id, len(full.document.sequence)) == (2, empty.id, 12)
    assert full.document.violations == 0
    assert full.replan_latency_us > 0
    first = full.document.sequence[0]
    store_plant.start_order(conn, IDS, order_id=first, **WHO)
    assert store_plant.block_option(
        conn, IDS, programme_id="roadster", option="sunroof", reason="glass cracks", **WHO
    )
    blocked = replan("blocked_part")
    told = latest_fact(conn, kind=FactKind.OPTION_BLOCKED, subject="roadster")
    replanned = latest_fact(conn, kind=FactKind.SCHEDULE_REPLANNED, subject="roadster")
    assert told
    assert replanned
    assert (told.actor, told.body) == ("tester", {"option": "sunroof", "reason": "glass cracks"})
    assert replanned.causes[0] == told.id
    assert blocked.document.sequence[0] == first
    assert {held.reason for held in blocked.document.held} == {"sunroof is blocked: glass cracks"}
    assert store_plant.unblock_option(conn, IDS, programme_id="roadster", option="sunroof", **WHO)
    rush = store_plant.add_order(
        conn, IDS, programme_id="roadster", variant="city", rush=True, due_at=NOW + timedelta(hours=1), **WHO
    )
    rushed = replan("rush_order", order_id=rush.id)
    assert rush.id in rushed.document.sequence[1:3]
    assert store_plant.current_schedule(conn, "roadster") == rushed
    fact = latest_fact(conn, kind=FactKind.SCHEDULE_REPLANNED, subject="roadster")
    received = latest_fact(conn, kind=FactKind.ORDER_RECEIVED, subject=rush.id)
    assert fact
    assert received
    assert received.id in fact.causes
    with pytest.raises(Conflict):
        store_plant.save_schedule(
            conn, IDS, programme_id="roadster", generation=3, cause="new_orders", document=rushed.document,
            replan_latency_us=1, **WHO,
        )  # fmt: skip


def test_two_triggers_at_once_make_two_schedules_in_turn(pg_url: str) -> None:
    with connect(pg_url) as first, transaction(first):
        store.import_programme(first, IDS, source=EXAMPLE, **WHO)

    def trigger(number: int) -> int:
        clock = SystemClock()
        with connect(pg_url) as mine, transaction(mine):
            store_plant.add_order(mine, IDS, programme_id="roadster", variant="city", **WHO)
            return store_plant.replan(
                mine, IDS, clock, programme_id="roadster", cause="new_orders", actor=f"a{number}",
                triggered_s=clock.monotonic_s(),
            ).generation  # fmt: skip

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert sorted(pool.map(trigger, range(8), timeout=30)) == list(range(1, 9))


def test_two_releases_signed_at_once_cannot_both_pass_the_counter(pg_url: str) -> None:
    with connect(pg_url) as first, transaction(first):
        store.import_programme(first, IDS, source=EXAMPLE, **WHO)
        low = create(first, fix_document(first, "brake", add(first, "brake", "1", counter=1).id), "1")
        high = create(first, fix_document(first, "brake", add(first, "brake", "2", counter=2).id), "2")
        for release in (low, high):
            store.check_release(first, IDS, release_id=release.id, generation=1, **WHO)

    def attempt(release: Release) -> str:
        try:
            with connect(pg_url) as mine, transaction(mine):
                store.mark_signed(
                    mine, IDS, release_id=release.id, generation=2, image_targets_version=1, **WHO
                )
        except Conflict:
            return "refused"
        return "signed"

    with ThreadPoolExecutor(max_workers=1) as pool:
        with connect(pg_url) as holder, transaction(holder):
            store.mark_signed(holder, IDS, release_id=high.id, generation=2, image_targets_version=1, **WHO)
            waiting = pool.submit(attempt, low)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
        assert waiting.result(timeout=60) == "refused"


def test_an_order_has_one_of_the_colours_that_its_line_paints(conn: Connection) -> None:
    painted = EXAMPLE.replace('"tow_bar"]', '"tow_bar", "red", "white"]', 1)
    paint = '\n[line.paint]\ncolours = ["red", "white"]\nbatch_max = 4\n'
    store.import_programme(conn, IDS, source=painted + paint, generation=1, **WHO)
    with pytest.raises(InvalidInput, match="one colour, and this order has red and white") as refused:
        store_plant.add_order(
            conn, IDS, programme_id="roadster", variant="city", options=["white", "sunroof", "red"], **WHO
        )
    assert refused.value.hint == "choose one of red, white"
    order = store_plant.add_order(
        conn, IDS, programme_id="roadster", variant="city", options=["white", "white", "sunroof"], **WHO
    )
    assert order.options == ("sunroof", "white")


def test_orders_that_cannot_be_built_are_refused(conn: Connection) -> None:
    with pytest.raises(InvalidInput, match="does not offer"):
        store_plant.add_order(
            conn, IDS, programme_id="roadster", variant="city", options=["night_vision"], **WHO
        )
    with pytest.raises(InvalidInput):
        store_plant.add_order(conn, IDS, programme_id="roadster", variant="sport", **WHO)
    with pytest.raises(InvalidInput):
        store_plant.block_option(
            conn, IDS, programme_id="roadster", option="wings", reason="none made", **WHO
        )
    assert latest_fact(conn, kind=FactKind.OPTION_BLOCKED, subject="roadster") is None
    order = store_plant.add_order(conn, IDS, programme_id="roadster", variant="city", **WHO)
    with pytest.raises(InvalidInput, match="reason"):
        store_plant.cancel_order(conn, IDS, order_id=order.id, reason=" ", **WHO)
    cancelled = store_plant.cancel_order(conn, IDS, order_id=order.id, reason="withdrew", **WHO)
    assert cancelled.state == "cancelled"
    with pytest.raises(Conflict):
        store_plant.start_order(conn, IDS, order_id=order.id, **WHO)
    assert store_plant.waiting_orders(conn, programme_id="roadster") == []


def test_an_order_moves_only_from_where_it_may_and_each_move_is_a_fact_caused_by_the_one_before(
    conn: Connection,
) -> None:
    order = store_plant.add_order(conn, IDS, programme_id="roadster", variant="city", **WHO)
    given: dict[str, Any] = {"order_id": order.id, **WHO}
    with pytest.raises(Conflict, match="is open, it cannot become open"):
        store_plant.reopen_order(conn, IDS, **given)
    store_plant.start_order(conn, IDS, **given)
    with pytest.raises(Conflict, match="building"):
        store_plant.start_order(conn, IDS, **given)
    with pytest.raises(Conflict, match="building"):  # its car is on the line
        store_plant.cancel_order(conn, IDS, reason="withdrew", **given)
    store_plant.reopen_order(conn, IDS, **given)
    store_plant.cancel_order(conn, IDS, reason="withdrew", **given)
    with pytest.raises(Conflict, match="cancelled"):
        store_plant.reopen_order(conn, IDS, **given)
    with pytest.raises(NotFound):
        store_plant.start_order(conn, IDS, order_id="order_none", **WHO)
    facts = read_facts(conn, subject=order.id)
    assert [fact.kind.value for fact in facts] == [
        "order.received", "order.started", "order.reopened", "order.cancelled",
    ]  # fmt: skip
    assert [fact.causes for fact in facts[1:]] == [(fact.id,) for fact in facts[:-1]]
    assert facts[-1].body["reason"] == "withdrew"
