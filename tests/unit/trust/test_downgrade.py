"""Who can make a vehicle go back to older software: whoever holds the offline keys, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from ringroad.kernel.errors import Untrusted
from ringroad.trust import sign
from ringroad.trust.metadata import EXPIRES, Downgrade, EcuRange, Targets, Terms, parse_file
from support.uptane import NOW, VIN, Repo, World, make_world, package, target

UNTIL = NOW + timedelta(days=30)
NEWER = "ab" * 32
BRAKE = target("brake")


def decision(**changes: Any) -> Downgrade:
    made = Downgrade(
        release_id="release_1", ecu="brake", version="2.0.0", sha256=BRAKE.sha256, over={NEWER: "2.1.0"}, reason="noise",
        asked_by="ole", approved_by="ines", expires=(NOW + timedelta(days=5)).strftime(EXPIRES),
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def publish(
    world: World,
    *decisions: Downgrade,
    version: int = 2,
    terms: Terms | None = None,
    bend_director: Callable[[dict[str, Any]], None] | None = None,
    **package_changes: Any,
) -> None:
    """Publish both repositories: decisions and terms under the offline keys, a bundle under the Director's."""
    images = [replace(BRAKE.image(), terms=terms), target("body").image()]
    world.image.put(
        sign.build_image_targets(version=version, expires=UNTIL, targets=images, downgrades=decisions),
        version=version,
    )
    bundle = msgspec.structs.replace(package("brake", "body"), **package_changes)
    world.director.put(
        sign.build_director_targets(
            version=version, expires=UNTIL, vin=VIN, vehicle_package=bundle, targets=[BRAKE, target("body")]
        ),
        version=version,
        bend_targets=bend_director,
    )


def may_go_back_over(world: World) -> tuple[str, ...]:
    return world.run().targets["brake-serial"].may_go_back_over


def test_a_decision_under_the_offline_keys_reaches_its_image_alone() -> None:
    world = make_world()
    publish(world, decision())
    found = world.run().targets
    assert found["brake-serial"].may_go_back_over == (NEWER,)
    assert found["body-serial"].may_go_back_over == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"release_id": "release_0"},  # an old release that was decided on once
        {"ecu": "body"},
        {"sha256": "cd" * 32},  # another image
        {"expires": NOW.strftime(EXPIRES)},  # ends this very second
        {"expires": (NOW - timedelta(days=1)).strftime(EXPIRES)},
    ],
)
def test_a_decision_on_something_else_or_of_another_time_lets_nothing_back(changes: dict[str, Any]) -> None:
    world = make_world()
    publish(world, decision(**changes))
    assert may_go_back_over(world) == ()


def test_a_clock_that_is_turned_back_does_not_wake_a_decision_that_ended() -> None:
    world = make_world()
    publish(world, decision())
    world.now = NOW + timedelta(days=6)
    assert may_go_back_over(world) == ()
    world.now = NOW
    assert may_go_back_over(world) == ()


def test_a_withdrawn_decision_cannot_be_replayed() -> None:
    world = make_world()
    publish(world, decision())
    assert may_go_back_over(world) == (NEWER,)
    old = dict(world.image.files)
    publish(world, version=3)
    assert may_go_back_over(world) == ()
    world.image.files.update(
        {name: old[name] for name in ("timestamp.json", "2.snapshot.json", "2.targets.json")}
    )
    with pytest.raises(Untrusted) as refused:
        world.run()
    assert refused.value.code == "rollback"
    world.image.files["3.targets.json"] = old["2.targets.json"]  # the old decision under the new name
    with pytest.raises(Untrusted):
        world.run()


def decide(signed: dict[str, Any]) -> None:
    signed["downgrades"] = [msgspec.to_builtins(decision())]


def give_terms(signed: dict[str, Any]) -> None:
    signed["targets"][BRAKE.filename]["custom"]["terms"] = {"version": "2.0.0"}


def call_it_newer(signed: dict[str, Any]) -> None:
    signed["targets"][BRAKE.filename]["custom"]["ecus"]["brake-serial"]["version"] = "9.0.0"


@pytest.mark.parametrize("bend", [decide, give_terms, call_it_newer])
def test_the_keys_of_a_director_decide_nothing_and_rename_nothing(
    bend: Callable[[dict[str, Any]], None],
) -> None:
    world = make_world()
    publish(world, terms=Terms(version="2.0.0"), bend_director=bend)
    with pytest.raises(Untrusted) as refused:
        world.run()
    assert refused.value.code == "arbitrary_software"


def test_a_decision_lets_no_image_below_the_committed_release_counter() -> None:
    world = make_world()
    ecus = tuple(replace(ecu, release_counter=3) for ecu in world.inventory.ecus)
    world.inventory = replace(world.inventory, ecus=ecus)
    publish(world, decision())
    with pytest.raises(Untrusted) as refused:
        world.run()
    assert refused.value.code == "rollback"


def test_a_decision_by_other_keys_than_those_of_the_image_repository_is_refused() -> None:
    world = make_world()
    world.image = Repo("image", suffix="-attacker", files=dict(world.image.files))
    publish(world, decision())
    with pytest.raises(Untrusted) as refused:
        world.run()
    assert refused.value.code == "arbitrary_software"


@pytest.mark.parametrize(
    "changes",
    [
        {"over": {}},
        {"over": {"short": "2.1.0"}},
        {"sha256": "short"},
        {"expires": "soon"},
        {"approved_by": ""},
        {"reason": 7},
        {"over": {f"{number:064x}": "2.1.0" for number in range(257)}},
    ],
)
def test_a_malformed_decision_is_refused_whole(changes: dict[str, Any]) -> None:
    raw = sign.sign(
        sign.build_image_targets(version=2, expires=UNTIL, targets=[], downgrades=[decision()]), ()
    )

    def bend(signed: dict[str, Any]) -> None:
        signed["downgrades"][0].update(changes)

    with pytest.raises(Untrusted) as refused:
        parse_file(Repo("image").bent(raw, "targets", bend), Targets)
    assert refused.value.code == "malformed"


def test_what_was_signed_is_read_back_whole() -> None:
    terms = Terms(
        version="2.0.0", upgrades_from=">=1", requires=[EcuRange(ecu="body", range=">=2")],
        conflicts=[EcuRange(ecu="gate", range="<1")],
    )  # fmt: skip
    image = replace(BRAKE.image(), terms=terms)
    unsigned = sign.build_image_targets(version=2, expires=UNTIL, targets=[image], downgrades=[decision()])
    found = parse_file(sign.sign(unsigned, ()), Targets).signed
    assert found.downgrades == [decision()]
    assert sign.image_targets_of(found) == (image,)
