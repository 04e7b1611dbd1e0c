"""The attacks of Uptane 4.3 and of our own list, each refused with its own code; and what must not be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner

from ringroad.kernel.errors import Corrupt, InvalidInput, Unavailable, Untrusted
from ringroad.kernel.limits import METADATA_BYTES_MAX
from ringroad.trust import sign
from ringroad.trust.attacks import Attack
from ringroad.trust.metadata import Root, Targets, parse_file
from ringroad.trust.repository import ROOT_ROTATIONS_MAX
from ringroad.trust.state import EcuIdentity, TrustState, VehicleInventory, provision
from ringroad.trust.verify import RefreshRefused, match_targets
from support.uptane import NOW, OTHER_VIN, VIN, Repo, World, make_world, package, seeded, target

UNTIL = NOW + timedelta(days=30)


def director(
    world: World, *, version: int = 2, ecus: tuple[str, ...] = ("brake", "body"), **options: Any
) -> None:
    """Publish Director targets for some ECUs, changed as an attacker with the Director's online keys could."""
    targets = options.pop("targets", [target(ecu) for ecu in ecus])
    vehicle_package = options.pop("vehicle_package", package(*ecus))
    vin = options.pop("vin", VIN)
    world.director.put(
        sign.build_director_targets(
            version=version, expires=UNTIL, vin=vin, vehicle_package=vehicle_package, targets=targets
        ),
        version=version,
        **options,
    )


def images(world: World, *listed: Any, version: int = 2, **options: Any) -> None:
    world.image.put(
        sign.build_image_targets(
            version=version,
            expires=UNTIL,
            targets=[one.image() for one in listed or (target("brake"), target("body"))],
        ),
        version=version,
        **options,
    )


def freeze_timestamp(world: World) -> None:
    world.now = NOW + timedelta(days=8)


def freeze_at_the_very_second(world: World) -> None:
    world.now = NOW + timedelta(days=7)


def freeze_root(world: World) -> None:
    world.director.put_root(2, expires=NOW - timedelta(seconds=1))


def freeze_by_turning_the_clock_back(world: World) -> None:
    world.publish(2)
    world.now = NOW + timedelta(days=6)
    world.run()
    world.director.put(
        sign.build_director_targets(version=3, expires=UNTIL, vin=VIN, vehicle_package=None, targets=[]),
        version=3,
        expires=NOW + timedelta(days=2),
    )
    world.now = NOW


def rollback_timestamp(world: World) -> None:
    world.publish(3)
    world.run()
    world.publish(2)


def rollback_snapshot(world: World) -> None:
    world.publish(3)
    world.run()
    director(world, version=2, snapshot_version=2, timestamp_version=4)


def rollback_targets_inside_a_newer_snapshot(world: World) -> None:
    world.publish(3)
    world.run()
    director(world, version=2, snapshot_version=4, timestamp_version=4)


def rollback_targets_announced_but_never_fetched(world: World) -> None:
    rollback_targets_inside_a_newer_snapshot(world)
    world.state = replace(world.state, director=replace(world.state.director, targets=b""))


def rollback_snapshot_announced_but_never_fetched(world: World) -> None:
    world.publish(3)
    world.run()
    director(world, version=3, snapshot_version=2, timestamp_version=4)
    world.state = replace(world.state, director=replace(world.state.director, snapshot=b""))


def equivocate_snapshot_announced_but_never_fetched(world: World) -> None:
    equivocate_snapshot(world)
    world.state = replace(world.state, director=replace(world.state.director, snapshot=b""))


def rollback_release_counter(world: World) -> None:
    old = [target("brake", release_counter=0), target("body")]
    images(world, *old)
    director(world, targets=old)


def rollback_root(world: World) -> None:
    world.director.files["2.root.json"] = world.director.files["1.root.json"]


def skip_a_root(world: World) -> None:
    world.director.files["2.root.json"] = world.director.put_root(3)


def equivocate_timestamp(world: World) -> None:
    director(world, version=2, timestamp_version=1)


def equivocate_snapshot(world: World) -> None:
    director(world, version=2, snapshot_version=1, timestamp_version=2)


def equivocate_targets(world: World) -> None:
    director(world, version=1, ecus=("brake",), snapshot_version=2)


def mix_snapshot(world: World) -> None:
    old = world.director.files["1.snapshot.json"]
    director(world)
    world.director.files["2.snapshot.json"] = old[: len(world.director.files["2.snapshot.json"])]


def mix_two_files_of_one_version(world: World) -> None:
    director(world, targets=[], vehicle_package=None)
    other = world.director.files["2.snapshot.json"]
    director(world)
    world.director.files["2.snapshot.json"] = other


def mix_targets(world: World) -> None:
    director(world, version=2)
    first = world.director.files["2.targets.json"]
    director(world, version=3)
    world.director.files["3.targets.json"] = first


def endless_timestamp(world: World) -> None:
    world.director.files["timestamp.json"] = b"{" * METADATA_BYTES_MAX


def endless_snapshot(world: World) -> None:
    director(world)
    world.director.files["2.snapshot.json"] += b" "


def endless_roots(world: World) -> None:
    for version in range(2, ROOT_ROTATIONS_MAX + 3):
        world.director.put_root(version)


def arbitrary_unsigned(world: World) -> None:
    world.director = Repo("director", vin=VIN, suffix="-attacker")
    director(world)


def take_over(world: World, *, also: Iterable[CryptoSigner] = ()) -> None:
    """Let an attacker serve a root of its own, and everything else signed by the keys in it."""
    stolen = list(also)
    world.director = Repo("director", vin=VIN, suffix="-attacker")
    world.director.put_root(2, also=stolen)
    director(world)


def arbitrary_root(world: World) -> None:
    take_over(world)


def arbitrary_root_with_one_stolen_key(world: World) -> None:
    take_over(world, also=world.director.signers("root")[:1])


def arbitrary_root_not_signed_by_its_own_keys(world: World) -> None:
    world.director.generation["root"] = "new"
    old = Repo("director", vin=VIN)
    raw = world.director.put_root(2)
    document = raw.replace(raw[: raw.index(b'"signed":')], b'{"signatures":[],')
    world.director.files["2.root.json"] = sign.add_signatures(document, old.signers("root"))


def arbitrary_one_signature_counted_twice(world: World) -> None:
    world.image.thresholds["targets"] = 2
    world.image.put_root(2)
    images(world)
    raw = world.image.files["2.targets.json"]
    whole = parse_file(raw, Targets)
    keyids = sorted(whole.signatures)
    world.image.files["2.targets.json"] = raw.replace(
        whole.signatures[keyids[0]].encode(), whole.signatures[keyids[1]].encode()
    )
    snapshot = sign.build_snapshot(
        version=2, expires=UNTIL, targets_version=2, targets_raw=world.image.files["2.targets.json"]
    )
    world.image.put_snapshot(sign.sign(snapshot, world.image.signers("snapshot")), 2)


def arbitrary_director_only_compromise(world: World) -> None:
    evil = [target("brake", filename="evil.bin"), target("body")]
    director(world, targets=evil)


def arbitrary_director_changes_a_hash(world: World) -> None:
    director(world, targets=[target("brake", sha512="0" * 128), target("body")])


def arbitrary_director_changes_a_length(world: World) -> None:
    director(world, targets=[target("brake", length=1), target("body")])


def arbitrary_director_raises_a_counter(world: World) -> None:
    director(world, targets=[target("brake", release_counter=9), target("body")])


def arbitrary_director_widens_hardware(world: World) -> None:
    director(world, targets=[target("brake", hardware_ids=("brake-hw", "x-hw")), target("body")])


def another_vehicles_targets(world: World) -> None:
    director(world, vin=OTHER_VIN)


def another_vehicles_empty_targets(world: World) -> None:
    director(world, vin=OTHER_VIN, targets=[], vehicle_package=None)


def another_vehicles_timestamp(world: World) -> None:
    other = make_world()
    other.director.vin = OTHER_VIN
    other.publish(900)
    world.director.files["timestamp.json"] = other.director.files["timestamp.json"]


def targets_without_a_vehicle(world: World) -> None:
    director(world, bend_targets=lambda signed: signed.pop("vin"))


def wrong_hardware(world: World) -> None:
    other = target("brake", hardware_ids=("other-hw",))
    images(world, other, target("body"))
    director(world, targets=[other, target("body")])


def unknown_ecu(world: World) -> None:
    director(world, targets=[target("brake", serial="stranger")], vehicle_package=None)


def repeated_ecu(world: World) -> None:
    def bend(signed: dict[str, Any]) -> None:
        ecus = signed["targets"]["body-2.0.0.bin"]["custom"]["ecus"]
        ecus["brake-serial"] = ecus["body-serial"]

    director(world, bend_targets=bend)


def ecu_in_two_groups(world: World) -> None:
    twice = package("brake", "body")
    director(world, vehicle_package=msgspec_replace(twice, groups=[*twice.groups, *twice.groups]))


def delegation_by_the_director(world: World) -> None:
    director(world, bend_targets=lambda signed: signed.update(delegations={"keys": {}, "roles": []}))


def delegation_by_the_image_repository(world: World) -> None:
    images(world, bend_targets=lambda signed: signed.update(delegations={"keys": {}, "roles": []}))


def partial_bundle_missing_target(world: World) -> None:
    director(world, ecus=("brake",), vehicle_package=package("brake", "body"))


def partial_bundle_missing_group(world: World) -> None:
    director(world, vehicle_package=package("brake"))


def partial_bundle_without_package(world: World) -> None:
    director(world, vehicle_package=None)


def partial_bundle_circular_groups(world: World) -> None:
    one = package("brake").groups[0]
    groups = [
        msgspec_replace(one, name="a", after=["b"]),
        msgspec_replace(one, name="b", after=["a"], ecus=["body-serial"]),
    ]
    director(world, vehicle_package=msgspec_replace(package("brake"), groups=groups))


def path_traversal(world: World) -> None:
    evil = target("brake", filename="../../etc/passwd")
    images(world, evil, target("body"))
    director(world, targets=[evil, target("body")])


def duplicate_keys(world: World) -> None:
    raw = world.director.files["timestamp.json"]
    world.director.files["timestamp.json"] = raw.replace(b'"version":1}}', b'"version":1,"version":1}}')


def spaces(world: World) -> None:
    raw = world.director.files["timestamp.json"]
    world.director.files["timestamp.json"] = raw.replace(b'"signed":', b'"signed": ')


def another_role(world: World) -> None:
    world.director.files["timestamp.json"] = world.director.files["1.snapshot.json"]


def msgspec_replace(value: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(value, **changes)


ATTACKS: list[tuple[Callable[[World], None], Attack]] = [
    (freeze_timestamp, Attack.FREEZE),
    (freeze_at_the_very_second, Attack.FREEZE),
    (freeze_root, Attack.FREEZE),
    (freeze_by_turning_the_clock_back, Attack.FREEZE),
    (rollback_timestamp, Attack.ROLLBACK),
    (rollback_snapshot, Attack.ROLLBACK),
    (rollback_targets_inside_a_newer_snapshot, Attack.ROLLBACK),
    (rollback_targets_announced_but_never_fetched, Attack.ROLLBACK),
    (rollback_snapshot_announced_but_never_fetched, Attack.ROLLBACK),
    (equivocate_snapshot_announced_but_never_fetched, Attack.EQUIVOCATION),
    (rollback_release_counter, Attack.ROLLBACK),
    (rollback_root, Attack.ROLLBACK),
    (skip_a_root, Attack.ROLLBACK),
    (equivocate_timestamp, Attack.EQUIVOCATION),
    (equivocate_snapshot, Attack.EQUIVOCATION),
    (equivocate_targets, Attack.EQUIVOCATION),
    (mix_snapshot, Attack.MIX_AND_MATCH),
    (mix_two_files_of_one_version, Attack.MIX_AND_MATCH),
    (mix_targets, Attack.MIX_AND_MATCH),
    (endless_timestamp, Attack.ENDLESS_DATA),
    (endless_snapshot, Attack.ENDLESS_DATA),
    (endless_roots, Attack.ENDLESS_DATA),
    (arbitrary_unsigned, Attack.ARBITRARY_SOFTWARE),
    (arbitrary_root, Attack.ARBITRARY_SOFTWARE),
    (arbitrary_root_with_one_stolen_key, Attack.ARBITRARY_SOFTWARE),
    (arbitrary_root_not_signed_by_its_own_keys, Attack.ARBITRARY_SOFTWARE),
    (arbitrary_one_signature_counted_twice, Attack.ARBITRARY_SOFTWARE),
    (arbitrary_director_only_compromise, Attack.ARBITRARY_SOFTWARE),
    (arbitrary_director_changes_a_hash, Attack.ARBITRARY_SOFTWARE),
    (arbitrary_director_changes_a_length, Attack.ARBITRARY_SOFTWARE),
    (arbitrary_director_raises_a_counter, Attack.ARBITRARY_SOFTWARE),
    (arbitrary_director_widens_hardware, Attack.ARBITRARY_SOFTWARE),
    (another_vehicles_targets, Attack.WRONG_VEHICLE),
    (another_vehicles_empty_targets, Attack.WRONG_VEHICLE),
    (another_vehicles_timestamp, Attack.WRONG_VEHICLE),
    (targets_without_a_vehicle, Attack.WRONG_VEHICLE),
    (wrong_hardware, Attack.WRONG_HARDWARE),
    (unknown_ecu, Attack.UNKNOWN_ECU),
    (repeated_ecu, Attack.REPEATED_ECU),
    (ecu_in_two_groups, Attack.REPEATED_ECU),
    (delegation_by_the_director, Attack.DELEGATION),
    (delegation_by_the_image_repository, Attack.DELEGATION),
    (partial_bundle_missing_target, Attack.PARTIAL_BUNDLE),
    (partial_bundle_missing_group, Attack.PARTIAL_BUNDLE),
    (partial_bundle_without_package, Attack.PARTIAL_BUNDLE),
    (partial_bundle_circular_groups, Attack.PARTIAL_BUNDLE),
    (path_traversal, Attack.PATH_TRAVERSAL),
    (duplicate_keys, Attack.MALFORMED),
    (spaces, Attack.MALFORMED),
    (another_role, Attack.MALFORMED),
]


@pytest.mark.parametrize(("prepare", "code"), ATTACKS, ids=lambda value: getattr(value, "__name__", None))
def test_a_vehicle_that_was_current_refuses(prepare: Callable[[World], None], code: Attack) -> None:
    world = make_world()
    world.run()
    prepare(world)
    with pytest.raises(Untrusted) as refused:
        world.run()
    assert refused.value.code == code.value


@pytest.mark.parametrize(("prepare", "code"), ATTACKS, ids=lambda value: getattr(value, "__name__", None))
def test_what_was_trusted_before_an_attack_is_not_lost(
    prepare: Callable[[World], None], code: Attack
) -> None:
    world = make_world()
    world.run()
    prepare(world)
    before = world.state
    with pytest.raises(RefreshRefused) as refused:
        world.run()
    after = refused.value.state
    assert after.verified_at == before.verified_at
    assert TrustState.from_bytes(after.to_bytes()) == after
    if code in {Attack.MALFORMED, Attack.WRONG_VEHICLE, Attack.UNKNOWN_ECU}:
        assert after.director.targets == before.director.targets


def test_a_valid_update_yields_what_both_repositories_say() -> None:
    world = make_world()
    result = world.run()
    assert world.asked == [
        "director/2.root.json",
        "director/timestamp.json",
        "director/1.snapshot.json",
        "director/1.targets.json",
        "image/2.root.json",
        "image/timestamp.json",
        "image/1.snapshot.json",
        "image/1.targets.json",
    ]
    assert set(result.targets) == {"brake-serial", "body-serial"}
    found = result.targets["brake-serial"]
    assert (found.filename, found.length, found.sha256) == (
        "brake-2.0.0.bin",
        target("brake").length,
        target("brake").sha256,
    )
    assert found.ecu_target == target("brake").ecu_target
    assert result.vehicle_package == package("brake", "body")
    assert result.changed


def test_nothing_new_needs_two_files_per_repository_and_says_the_same() -> None:
    world = make_world()
    first = world.run()
    second = world.run()
    assert world.asked == [
        "director/2.root.json",
        "director/timestamp.json",
        "image/2.root.json",
        "image/timestamp.json",
    ]
    assert second.targets == first.targets
    assert not second.changed


def test_no_targets_is_a_valid_answer_when_it_names_the_vehicle() -> None:
    world = make_world()
    director(world, targets=[], vehicle_package=None)
    result = world.run()
    assert (dict(result.targets), result.vehicle_package) == ({}, None)


@pytest.mark.parametrize(
    "missing",
    [
        "director/timestamp.json",
        "director/2.snapshot.json",
        "director/2.targets.json",
        "image/timestamp.json",
    ],
)
def test_a_dropped_file_is_tried_again_later(missing: str) -> None:
    world = make_world()
    world.run()
    world.publish(2)
    repository, filename = missing.split("/")
    del getattr(world, repository).files[filename]
    with pytest.raises(Unavailable) as refused:
        world.run()
    assert refused.value.code == "drop_request"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_rotating_a_stolen_key_recovers_from_fast_forward(role: str) -> None:
    world = make_world()
    director(world, version=900_000)
    world.run()
    world.director.generation[role] = "new"
    world.director.put_root(2, also=Repo("director", vin=VIN).signers("root"))
    if role == "targets":
        director(world, version=2)
        assert world.run().targets_version == 2
        return
    director(world, version=900_000, snapshot_version=2, timestamp_version=2)
    if role == "root":
        with pytest.raises(RefreshRefused):
            world.run()
        director(world, version=900_001)
    world.run()
    assert parse_file(world.state.director.root, Root).signed.version == 2


def test_a_new_root_is_kept_when_a_later_file_is_refused() -> None:
    world = make_world()
    world.run()
    raw = world.director.put_root(2)
    world.director.files["timestamp.json"] = b"{}"
    with pytest.raises(RefreshRefused) as refused:
        world.run()
    assert refused.value.state.director.root == raw


def test_an_expired_root_in_the_middle_of_the_chain_is_passed() -> None:
    world = make_world()
    world.director.put_root(2, expires=NOW - timedelta(days=100))
    world.director.put_root(3)
    world.run()
    assert world.asked[:3] == ["director/2.root.json", "director/3.root.json", "director/4.root.json"]


def test_an_image_root_is_renewed_although_the_director_has_nothing_new() -> None:
    world = make_world()
    world.run()
    raw = world.image.put_root(2)
    world.run()
    assert world.state.image.root == raw


def test_a_release_counter_equal_to_the_committed_one_is_accepted() -> None:
    world = make_world()
    world.inventory = VehicleInventory(
        ecus=tuple(replace(ecu, release_counter=2) for ecu in world.inventory.ecus)
    )
    assert world.run().targets


@pytest.mark.parametrize("listed", [True, False])
def test_a_refusal_says_whether_the_image_repository_was_verified_before_it(listed: bool) -> None:  # noqa: FBT001
    world = make_world()
    if listed:  # what is refused is that the two do not agree
        world.inventory = VehicleInventory(
            ecus=tuple(replace(ecu, release_counter=9) for ecu in world.inventory.ecus)
        )
    else:
        director(world, vin=OTHER_VIN)
    with pytest.raises(RefreshRefused) as refused:
        world.run()
    assert refused.value.code == (Attack.ROLLBACK if listed else Attack.WRONG_VEHICLE)
    assert refused.value.listed is listed


def test_the_clock_floor_moves_only_with_a_complete_refresh() -> None:
    world = make_world()
    world.now = NOW + timedelta(days=3_650)
    with pytest.raises(RefreshRefused) as refused:
        world.run()
    assert refused.value.state.verified_at == world.state.verified_at
    world.now = NOW
    assert world.run().state.verified_at == NOW


def test_a_key_that_serves_two_roles_makes_no_root() -> None:
    key = seeded("one").public_key
    holder = sign.RoleHolders(keys=(key,), threshold=1)
    with pytest.raises(InvalidInput):
        sign.build_root(
            version=1,
            expires=UNTIL,
            holders={"root": holder, "timestamp": holder, "snapshot": holder, "targets": holder},
        )


def test_a_root_whose_key_id_is_not_its_keys_digest_is_refused() -> None:
    repo = Repo("image")
    keyid = repo.signers("snapshot")[0].public_key.keyid.encode()
    raw = repo.put_root(1)
    with pytest.raises(Untrusted) as refused:
        provision(image_root=raw.replace(keyid, b"0" * 64), director_root=raw)
    assert refused.value.code == "malformed"


@pytest.mark.parametrize("cut", [0, 1, 20, 60, -1])
def test_a_torn_trust_state_is_corrupt(cut: int) -> None:
    with pytest.raises(Corrupt):
        TrustState.from_bytes(make_world().state.to_bytes()[:cut])


def test_an_inventory_names_each_serial_once() -> None:
    ecu = EcuIdentity(serial="a", hardware_id="x")
    with pytest.raises(InvalidInput):
        VehicleInventory(ecus=(ecu, ecu))


def test_matching_alone_refuses_what_a_refresh_refuses() -> None:
    world = make_world()
    world.run()
    director_targets = parse_file(world.state.director.targets, Targets).signed
    image_targets = parse_file(world.state.image.targets, Targets).signed
    assert match_targets(director_targets, image_targets, world.inventory, now=world.now)
    with pytest.raises(Untrusted) as refused:
        match_targets(
            director_targets, image_targets, VehicleInventory(ecus=world.inventory.ecus[:1]), now=world.now
        )
    assert refused.value.code == "unknown_ecu"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "root"])
def test_the_key_of_another_role_does_not_sign_targets(role: str) -> None:
    world = make_world()
    stolen = sign.build_director_targets(
        version=2, expires=UNTIL, vin=VIN, vehicle_package=package("brake"), targets=[target("brake")]
    )
    raw = sign.sign(stolen, world.director.signers(role))
    world.director.files["2.targets.json"] = raw
    snapshot = sign.build_snapshot(version=2, expires=UNTIL, targets_version=2, targets_raw=raw, vin=VIN)
    world.director.put_snapshot(sign.sign(snapshot, world.director.signers("snapshot")), 2)
    with pytest.raises(Untrusted) as refused:
        world.run()
    assert refused.value.code == "arbitrary_software"


def test_a_root_that_gives_one_key_to_two_roles_is_refused() -> None:
    repo = Repo("image")
    good = repo.put_root(1)

    def bend(signed: dict[str, Any]) -> None:
        signed["roles"]["snapshot"] = signed["roles"]["timestamp"]

    with pytest.raises(Untrusted) as refused:
        provision(image_root=repo.bent(good, "root", bend), director_root=good)
    assert refused.value.code == "malformed"
