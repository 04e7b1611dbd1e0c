from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringroad.protocol.vehicle import EcuTarget, UpdateGroup, VehiclePackage
from ringroad.trust.metadata import EcuRange, Terms
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.agents.base import EcuInventory, Failed, Reason, Software
from ringroad.vehicle.plan import EcuOnBoard, make_plan, order_groups
from ringroad.vehicle.states import Plan
from ringroad.vehicle.terms import Refused


def target(serial: str, version: str = "2", counter: int = 2, mode: Any = "inplace") -> VerifiedTarget:
    return VerifiedTarget(
        serial=serial, filename=f"{serial}-{version}.bin", length=1, sha256=f"{serial}{version}", sha512="",
        hardware_ids=("hw",), release_counter=counter,
        ecu_target=EcuTarget(name=serial, mode=mode, format="bin", version=version),
    )  # fmt: skip


def answer(serial: str, **changes: Any) -> EcuInventory:
    made = EcuInventory(
        serial=serial, hardware_id="hw", mode="application", trial=False, staged=None, committed_counter=1,
        running=Software(version="1", sha256=f"{serial}1", release_counter=1), faults=(),
    )  # fmt: skip
    return replace(made, **changes)


def plan(
    *,
    groups: list[UpdateGroup] | None = None,
    on_board: EcuOnBoard | None = None,
    inventory: EcuInventory | Failed | None = None,
    installed: VerifiedTarget | None = None,
    given: VerifiedTarget | None = None,
    preconditions: list[str] | None = None,
) -> Any:
    ecu = on_board or EcuOnBoard(
        name="a", serial="a", hardware_id="hw", mode="inplace", factory=target("a", "1", 1)
    )
    return make_plan(
        VehiclePackage(
            release_id="r", release_version="2", action_id=1, preconditions=preconditions or [],
            groups=groups or [UpdateGroup(name="g", ecus=["a"])],
        ),
        {"a": given or target("a")},
        ecus=[ecu],
        inventory={"a": inventory or answer("a")},
        installed={"a": installed} if installed else {}, before={},
    )  # fmt: skip


BARE = EcuOnBoard(name="a", serial="a", hardware_id="hw", mode="inplace")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"inventory": answer("b")}, "serial_mismatch"),
        ({"inventory": answer("a", hardware_id="other")}, "wrong_hardware"),
        ({"inventory": answer("a", committed_counter=3)}, "counter_too_low"),
        ({"inventory": Failed(reason=Reason.UNREACHABLE)}, "unreachable"),
        ({"given": target("a", mode="ab")}, "wrong_mode"),
        ({"on_board": BARE}, "no_backup"),
        ({"on_board": BARE, "installed": target("a", "0", 1)}, "no_backup"),  # not what it runs
        ({"on_board": BARE, "inventory": answer("a", running=None)}, "no_backup"),
        ({"installed": target("a", "1", 0)}, "no_backup"),  # below the committed counter
        ({"groups": [UpdateGroup(name="g", ecus=["x"])]}, "unknown_ecu"),
        ({"preconditions": ["Speed =="]}, "bad_precondition"),
    ],
)
def test_a_vehicle_that_does_not_fit_is_refused_with_a_typed_reason(
    changes: dict[str, Any], code: str
) -> None:
    found = plan(**changes)
    assert isinstance(found, Refused)
    assert found.code == code


def test_the_backup_is_the_image_that_runs(  # not the one from the factory, if there was an update since
) -> None:
    assert plan(inventory=answer("a")).ecus[0].backup.sha256 == "a1"
    later = answer("a", running=Software(version="1b", sha256="a1b", release_counter=1))
    assert plan(inventory=later, installed=target("a", "1b", 1)).ecus[0].backup.sha256 == "a1b"


def test_an_ecu_that_runs_the_image_for_good_has_nothing_to_do() -> None:
    done = answer("a", running=Software(version="2", sha256="a2", release_counter=2), committed_counter=2)
    assert plan(inventory=done).ecus == ()
    on_ab = EcuOnBoard(name="a", serial="a", hardware_id="hw", mode="ab")
    trial = plan(inventory=replace(done, trial=True), on_board=on_ab, given=target("a", mode="ab"))
    assert [ecu.serial for ecu in trial.ecus] == ["a"]


def test_an_image_whose_counter_was_never_committed_is_committed_now() -> None:
    runs = answer("a", running=Software(version="2", sha256="a2", release_counter=2), committed_counter=1)
    assert plan(inventory=runs).ecus[0].backup == target("a")


@pytest.mark.parametrize(("range_", "fits"), [(">=2", True), ("<2", False)])
def test_an_ecu_that_is_left_out_counts_as_the_version_that_its_bytes_are_signed_as(
    range_: str,
    fits: bool,  # noqa: FBT001 - a column of the table
) -> None:
    same = replace(target("a"), sha256="a1", release_counter=1)  # 2, with the bytes of 1
    other = replace(target("b"), terms=Terms(version="2", requires=[EcuRange(ecu="a", range=range_)]))
    found = make_plan(
        VehiclePackage(
            release_id="r", release_version="2", action_id=1, groups=[UpdateGroup(name="g", ecus=["a", "b"])]
        ),
        {"a": same, "b": other},
        ecus=[
            EcuOnBoard(name=name, serial=name, hardware_id="hw", mode="inplace", factory=target(name, "1", 1))
            for name in "ab"
        ],
        inventory={"a": answer("a"), "b": answer("b")}, installed={}, before={},
    )  # fmt: skip
    if fits:
        assert isinstance(found, Plan)
        assert [ecu.serial for ecu in found.ecus] == ["b"]
    else:
        assert isinstance(found, Refused)
        assert found.detail == "b requires a <2, and it would run 2"


def test_groups_stand_behind_those_they_wait_for() -> None:
    chain = [
        UpdateGroup(name="c", ecus=["3"], after=["b"]),
        UpdateGroup(name="a", ecus=["1"]),
        UpdateGroup(name="b", ecus=["2"], after=["a"]),
    ]
    ordered = order_groups(chain)
    assert not isinstance(ordered, Refused)
    assert [group.name for group in ordered] == ["a", "b", "c"]
    waiting = order_groups(chain, last=["1"])  # the Primary is what the others wait for
    assert waiting == ordered
    free = [
        UpdateGroup(name="own", ecus=["1", "2"]),
        UpdateGroup(name="b", ecus=["3"]),
        UpdateGroup(name="c", ecus=["4"]),
    ]
    late = order_groups(free, last=["1"])
    assert not isinstance(late, Refused)
    assert [group.name for group in late] == ["b", "c", "own"]
    assert isinstance(order_groups([UpdateGroup(name="a", ecus=["1"], after=["a"])]), Refused)
