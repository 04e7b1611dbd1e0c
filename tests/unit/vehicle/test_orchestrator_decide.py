"""Random walks through `next_step`: whatever happens, in whatever order, the rules hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import assert_never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import Corrupt
from ringroad.protocol.preconditions import Refusal
from ringroad.protocol.vehicle import Command, DeltaOffer, EcuTarget, UpdateGroup, VehicleState
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle import decide
from ringroad.vehicle.decide import Facts, next_step
from ringroad.vehicle.ecu_tries import try_text
from ringroad.vehicle.locks import Lock
from ringroad.vehicle.memory import compacted
from ringroad.vehicle.outbox import COMMIT_REPORTS_MAX, report_of
from ringroad.vehicle.records import decode_entry, encode_entry
from ringroad.vehicle.states import (
    BEFORE_INSTALLING,
    TOUCHED,
    CampaignState,
    Declined,
    EcuMoved,
    EcuPlan,
    EcuState,
    Entry,
    FaultsKnown,
    Moved,
    Noted,
    Opened,
    Plan,
    Planned,
    Started,
    Tried,
    fold,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STEPS_MAX = 2_000


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def target(serial: str, mode: str, version: str) -> VerifiedTarget:
    return VerifiedTarget(
        serial=serial, filename=f"{serial}.bin", length=9, sha256=digest(f"{serial}-{version}"), sha512="",
        hardware_ids=("hw",), release_counter=1,
        ecu_target=EcuTarget(
            name=serial, mode="ab" if mode == "ab" else "inplace", format="bin", version=version,
            deltas=(
                DeltaOffer(
                    algorithm="hdiff13", from_sha256=digest(f"{serial}-1"), sha256=digest(f"{serial}-delta"),
                    sha512="0" * 128, length=5,
                ),
            ),
        ),
    )  # fmt: skip


def ecu(serial: str, mode: str) -> EcuPlan:
    old = target(serial, mode, "1")
    return EcuPlan(
        target=target(serial, mode, "2"), from_version="1", from_sha256=old.sha256,
        backup=old if mode == "inplace" else None, primary=serial == "a",
    )  # fmt: skip


PLAN = Plan(
    release_id="r",
    release_version="2",
    groups=(
        UpdateGroup(name="one", ecus=["a", "b"]),
        UpdateGroup(name="two", ecus=["c", "d"], after=["one"]),
    ),
    ecus=(ecu("a", "ab"), ecu("b", "inplace"), ecu("c", "ab"), ecu("d", "inplace")),
)


def lock_of(serial: str) -> Lock:
    return Lock(component=serial, session="s", by="ole", expires_at=NOW + timedelta(minutes=5))


def touched_by(step: decide.Step) -> set[str]:
    """Return the ECUs that a step does something to."""
    match step:
        case decide.Prepare(serials=serials):
            return set(serials)
        case decide.Install(serial=serial) | decide.Check(serial=serial):
            return {serial}
        case decide.Commit(serial=serial) | decide.RollBack(serial=serial):
            return {serial}
    return set()


@dataclass
class Walk:
    """A journal that grows under random luck."""

    random: Random
    trouble: float
    state: CampaignState
    entries: list[Entry]
    stored: frozenset[str] = frozenset()
    command: Command | None = None
    gone: frozenset[str] = frozenset()

    def write(self, entry: Entry) -> None:
        self.check(entry)
        self.entries.append(entry)
        self.state = fold(self.state, entry)

    def check(self, entry: Entry) -> None:
        before = self.state
        if isinstance(entry, Moved):
            if entry.state in {"CANCELLED", "SUPERSEDED"}:
                assert before.state in BEFORE_INSTALLING
            if entry.state in {"ROLLING_BACK", "FAILED"}:
                assert before.state != "COMMITTING"
            if entry.state == "COMMITTING":
                group = before.group()
                assert group is not None
                assert {before.ecus[serial] for serial in group.ecus} == {EcuState.VERIFIED}
        if isinstance(entry, EcuMoved) and entry.state is EcuState.COMMITTED:
            assert before.state == "COMMITTING"
        if isinstance(entry, EcuMoved) and entry.state is EcuState.INSTALLING:
            assert before.state == "INSTALLING"
            assert self.stored >= {image.sha256 for image in PLAN.images()}
            assert EcuState.IDLE not in before.ecus.values()
            group = before.group()
            assert group is not None
            assert not self.gone & set(group.ecus)
            if entry.serial in {"c", "d"}:
                assert {before.ecus["a"], before.ecus["b"]} == {EcuState.COMMITTED}

    def facts(self) -> Facts:
        unlucky = self.random.random() < self.trouble
        refusal = Refusal(term="Vehicle.Speed == 0", value="42") if unlucky else None
        held = [ecu.serial for ecu in PLAN.ecus if self.random.random() < self.trouble]
        return Facts(
            now=NOW, command=self.command, stored=self.stored, refusal=refusal,
            asks=frozenset({"download", "install"}) if unlucky else frozenset(),
            locked={serial: lock_of(serial) for serial in held}, gone=self.gone & set(self.state.ecus),
        )  # fmt: skip

    def verb(self, serial: str, what: str, done: EcuState) -> None:
        if self.random.random() >= self.trouble:
            self.write(EcuMoved(serial=serial, state=done, at=NOW))
        elif self.random.random() < 0.5 or self.state.state in {"ROLLING_BACK", "COMMITTING"}:
            self.write(Tried(what=f"{what}:{serial}", at=NOW, code="unreachable"))
        else:
            self.write(EcuMoved(serial=serial, state=EcuState.FAILED, at=NOW, code="check_failed"))

    def step(self) -> bool:
        """Carry one step out, with luck or without; return whether there is more to do."""
        facts = self.facts()
        step = next_step(self.state, facts)
        assert not touched_by(step) & (set(facts.locked) | facts.gone), step
        match step:
            case decide.Rest():
                return False
            case decide.Wait():
                pass
            case decide.Write(entry=entry):
                self.write(entry)
            case decide.Sync():
                self.write(Planned(plan=PLAN, at=NOW))
            case decide.Download(target=wanted):
                self.stored |= {wanted.sha256}
            case decide.DownloadDelta(offer=offer):
                if self.random.random() >= self.trouble:
                    self.stored |= {offer.sha256}
                else:
                    self.write(Tried(what=f"delta:{offer.sha256}", at=NOW, code="delta_malformed"))
            case decide.Rebuild(target=wanted, offer=offer):
                assert {offer.from_sha256, offer.sha256} <= self.stored
                self.write(Tried(what=f"delta:{offer.sha256}", at=NOW, code="delta_begun"))
                if self.random.random() >= self.trouble:
                    self.stored = self.stored - {offer.sha256} | {wanted.sha256}
            case decide.CheckImages():
                self.write(Moved(state="STAGING", at=NOW))
            case decide.Prepare(serials=serials):
                for serial in serials[: self.random.randint(1, len(serials))]:
                    self.verb(serial, "prepare", EcuState.STAGED)
            case decide.ReadFaults():
                self.write(FaultsKnown(faults={}, at=NOW))
            case decide.Install(serial=serial):
                if self.state.ecus[serial] is not EcuState.INSTALLING:
                    self.write(EcuMoved(serial=serial, state=EcuState.INSTALLING, at=NOW))
                self.verb(serial, "install", EcuState.ACTIVATED)
            case decide.Check(serial=serial):
                self.verb(serial, "check", EcuState.VERIFIED)
            case decide.Commit(serial=serial):
                self.verb(serial, "commit", EcuState.COMMITTED)
            case decide.RollBack(serial=serial):
                if self.state.ecus[serial] is not EcuState.ROLLING_BACK:
                    self.write(EcuMoved(serial=serial, state=EcuState.ROLLING_BACK, at=NOW))
                self.verb(serial, "rollback", EcuState.ROLLED_BACK)
            case _:
                assert_never(step)
        return True


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.3, 0.6]))
def test_any_luck_ends_in_a_state_that_is_all_old_or_all_new_per_group(seed: int, trouble: float) -> None:
    walk = Walk(random=Random(seed), trouble=trouble, state=CampaignState(epoch="e"), entries=[])
    walk.command = Command(kind="update", poll_s=1, action_id=1)
    for _ in range(STEPS_MAX):
        if walk.random.random() < trouble / 10:
            walk.write(Started(at=NOW))
            if walk.random.random() < trouble:  # the vehicle stood, and an ECU of it was exchanged
                walk.gone |= {walk.random.choice("abcd")}
        if walk.random.random() < trouble / 20:
            walk.command = Command(kind="cancel", poll_s=1, action_id=1)
        if not walk.step():
            break
    else:
        pytest.fail(f"still {walk.state.state}")
    state = walk.state
    for group in PLAN.groups:
        ends = {state.ecus.get(serial, EcuState.IDLE) for serial in group.ecus}
        committed = ends == {EcuState.COMMITTED}
        undone = ends <= {EcuState.IDLE, EcuState.STAGED, EcuState.ROLLED_BACK, EcuState.FAILED}
        assert committed or undone or state.state == "ROLLBACK_FAILED", ends
    if state.state in {"ROLLED_BACK", "SUCCEEDED"}:
        assert not {state.ecus[serial] for serial in walk.gone} & TOUCHED
    if trouble == 0.0:
        assert state.state == "SUCCEEDED"
    assert state.finished == (1,)


@given(st.integers(0, 2**32))
def test_a_journal_that_is_read_again_says_the_same(seed: int) -> None:
    walk = Walk(random=Random(seed), trouble=0.3, state=CampaignState(epoch="e"), entries=[])
    walk.command = Command(kind="update", poll_s=1, action_id=1)
    for _ in range(200):
        if not walk.step():
            break
    again = CampaignState(epoch="e")
    reports = []
    for sequence, entry in enumerate(walk.entries):
        again = fold(again, decode_entry(encode_entry(entry)))
        reports.append(report_of(sequence, entry, again))
    assert again == walk.state
    ids = [report.id for report in reports if report is not None]
    assert len(ids) == len(set(ids))


def test_the_summary_of_a_journal_says_what_still_matters() -> None:
    walk = Walk(random=Random(1), trouble=0.0, state=CampaignState(epoch="e"), entries=[])
    walk.command = Command(kind="update", poll_s=1, action_id=1)
    while walk.step():
        pass
    short = fold(CampaignState(), decode_entry(encode_entry(compacted(walk.state, at=NOW))))
    assert (short.epoch, short.state, short.finished, short.release_id) == ("e", "SUCCEEDED", (1,), "r")
    assert short.installed == walk.state.installed
    assert short.past == walk.state.past != ()
    assert next_step(short, walk.facts()) == decide.Rest()


def test_a_blocked_vehicle_starts_nothing_and_says_so_once_per_order() -> None:
    state = CampaignState(
        epoch="e", state="ROLLBACK_FAILED", action_id=1, finished=(1,), code="boot_failed", detail="body"
    )
    facts = Facts(
        now=NOW, command=Command(kind="update", poll_s=1, action_id=2), stored=frozenset(), refusal=None,
    )  # fmt: skip
    step = next_step(state, facts)
    assert step == decide.Write(Declined(action_id=2, at=NOW, detail="blocked since boot_failed: body"))
    state = fold(state, step.entry)
    report = report_of(9, step.entry, state)
    assert report is not None
    assert (report.action_id, report.state, report.code) == (2, "ROLLBACK_FAILED", "blocked")
    assert state.blocked
    assert next_step(state, facts) == decide.Rest()


def test_a_cancel_of_an_update_that_was_never_seen_is_answered() -> None:
    walk = Walk(random=Random(1), trouble=0.0, state=CampaignState(epoch="e"), entries=[])
    walk.command = Command(kind="cancel", poll_s=1, action_id=7)
    while walk.step():
        pass
    assert [type(entry) for entry in walk.entries] == [Opened, Moved]
    assert walk.state.state == "CANCELLED"


def walk_to(state: VehicleState, ecu_state: EcuState | None = None) -> Walk:
    """A campaign without trouble as far as `state`, and on to the first ECU in `ecu_state`."""
    walk = Walk(random=Random(1), trouble=0.0, state=CampaignState(epoch="e"), entries=[])
    walk.command = Command(kind="update", poll_s=1, action_id=1)
    while walk.state.state != state:
        assert walk.step()
    if ecu_state is EcuState.INSTALLING:
        walk.write(EcuMoved(serial="b", state=ecu_state, at=NOW))  # its record, before the effect
    return walk


@pytest.mark.parametrize("state", ["STAGING", "READY"])
def test_an_update_does_not_begin_while_somebody_holds_an_ecu_of_it_and_says_who(state: VehicleState) -> None:
    walk = walk_to(state)
    locked = {"d": lock_of("d")}
    step = next_step(walk.state, replace(walk.facts(), locked=locked))
    if state == "STAGING":  # the others are prepared meanwhile
        assert step == decide.Prepare(("a", "b", "c"))
        locked = {serial: lock_of(serial) for serial in "abcd"}
        step = next_step(walk.state, replace(walk.facts(), locked=locked))
    text = "; ".join(f"{serial} is locked by ole until 12:05:00 UTC" for serial in locked)
    gist = "; ".join(f"{serial} is locked by ole until 12:15 UTC at most" for serial in locked)
    assert step == decide.Wait("ecu_locked", text, gist)
    walk.command = Command(kind="cancel", poll_s=1, action_id=1)
    assert isinstance(next_step(walk.state, replace(walk.facts(), locked=locked)), decide.Write)


@pytest.mark.parametrize("gone", ["a", "b"])
@pytest.mark.parametrize("state", ["INSTALLING", "CHECKING"])
def test_an_update_that_lost_an_ecu_of_its_group_goes_back_at_once(state: VehicleState, gone: str) -> None:
    walk = walk_to(state)
    facts = replace(walk.facts(), gone=frozenset(gone))
    refused = replace(facts, refusal=Refusal(term="Vehicle.Speed == 0", value="42"))
    locked = replace(facts, locked={serial: lock_of(serial) for serial in "abcd"})
    back = Moved(
        state="ROLLING_BACK", at=NOW, code="serial_mismatch", detail=f"{gone}: {gone} is not in the vehicle any more"
    )  # fmt: skip
    assert [next_step(walk.state, one) for one in (facts, refused, locked)] == [decide.Write(back)] * 3
    walk.write(EcuMoved(serial="b", state=EcuState.FAILED, at=NOW, code="check_failed"))
    first = Moved(state="ROLLING_BACK", at=NOW, code="check_failed", detail="b")
    assert next_step(walk.state, facts) == decide.Write(first)  # what ended it first is told


def test_an_ecu_that_is_lost_undoes_no_group_but_its_own() -> None:
    walk = walk_to("INSTALLING")
    of_later = replace(walk.facts(), gone=frozenset("cd"))
    assert next_step(walk.state, of_later) == decide.Install("b")
    for later in ("COMMITTING", "INSTALLING"):
        while str(walk.state.state) != later:
            assert walk.step()
    of_committed = replace(walk.facts(), gone=frozenset("ab"))
    assert next_step(walk.state, of_committed) == decide.Install("d")
    walk.gone = frozenset("c")
    while walk.step():
        pass
    assert walk.state.state == "ROLLED_BACK"
    assert [walk.state.ecus[serial] for serial in "abcd"] == [EcuState.COMMITTED] * 2 + [EcuState.STAGED] * 2


def restart(walk: Walk, times: int) -> None:
    for _ in range(times):
        walk.write(Started(at=NOW))


@pytest.mark.parametrize(
    ("state", "under_way", "restarts_max", "end"),
    [
        ("STAGING", None, decide.STAGING_RESTARTS_MAX, "FAILED"),
        ("INSTALLING", EcuState.INSTALLING, decide.INSTALLING_RESTARTS_MAX, "ROLLING_BACK"),
        ("CHECKING", None, decide.CHECKING_RESTARTS_MAX, "ROLLING_BACK"),
    ],
)
def test_a_vehicle_that_keeps_restarting_under_an_update_gives_it_up(
    state: VehicleState, under_way: EcuState | None, restarts_max: int, end: str
) -> None:
    walk = walk_to(state, under_way)
    restart(walk, restarts_max)
    assert not isinstance(next_step(walk.state, walk.facts()), decide.Write)  # it is tried once more
    restart(walk, 1)
    walk.step()
    assert (walk.state.state, walk.state.code) == (end, "restarts")


def test_every_ecu_that_was_finished_gives_the_next_one_all_its_restarts() -> None:
    walk = walk_to("INSTALLING", EcuState.INSTALLING)
    restart(walk, decide.INSTALLING_RESTARTS_MAX)
    walk.write(EcuMoved(serial="b", state=EcuState.ACTIVATED, at=NOW))
    walk.write(EcuMoved(serial="a", state=EcuState.INSTALLING, at=NOW))
    restart(walk, decide.INSTALLING_RESTARTS_MAX)
    assert next_step(walk.state, walk.facts()) == decide.Install("a")


def test_a_parked_installation_outlives_any_number_of_ignitions() -> None:
    walk = walk_to("INSTALLING")
    restart(walk, 500)
    walk.write(EcuMoved(serial="b", state=EcuState.INSTALLING, at=NOW))
    restart(walk, 1)
    assert next_step(walk.state, walk.facts()) == decide.Install("b")


def test_a_restart_in_the_middle_of_a_rollback_is_one_of_its_tries() -> None:
    walk = walk_to("CHECKING")
    walk.write(Moved(state="ROLLING_BACK", at=NOW, code="check_failed"))
    walk.write(EcuMoved(serial="a", state=EcuState.ROLLING_BACK, at=NOW))
    restart(walk, decide.ROLLBACK_TRIES_MAX - 1)
    assert next_step(walk.state, walk.facts()) == decide.RollBack("b")  # it was not tried so often
    walk.write(EcuMoved(serial="b", state=EcuState.ROLLED_BACK, at=NOW))
    assert next_step(walk.state, walk.facts()) == decide.RollBack("a")
    restart(walk, 1)
    while walk.step():
        pass
    assert (walk.state.state, walk.state.detail) == ("ROLLBACK_FAILED", "a")


@pytest.mark.parametrize("how", ["tries", "restarts"])
def test_an_ecu_that_never_takes_what_is_committed_ends_in_a_blocked_vehicle(how: str) -> None:
    walk = walk_to("COMMITTING")
    walk.write(EcuMoved(serial="b", state=EcuState.COMMITTED, at=NOW))
    if how == "tries":
        for _ in range(decide.COMMIT_TRIES_MAX):
            assert next_step(walk.state, walk.facts()) == decide.Commit("a")
            walk.write(Tried(what="commit:a", at=NOW, code="unreachable"))
    else:
        restart(walk, decide.COMMIT_RESTARTS_MAX)
        assert next_step(walk.state, walk.facts()) == decide.Commit("a")
        restart(walk, 1)
    walk.step()
    state = walk.state
    assert (state.state, state.code, state.detail, state.blocked) == (
        "ROLLBACK_FAILED", "commit_failed", f"a: no answer after {decide.COMMIT_TRIES_MAX} tries" if how == "tries" else "a", True,
    )  # fmt: skip


def test_an_ecu_that_does_not_answer_keeps_no_other_from_being_committed() -> None:
    walk = walk_to("COMMITTING")
    assert next_step(walk.state, walk.facts()) == decide.Commit("b")
    walk.write(Tried(what="commit:b", at=NOW, code="unreachable"))
    assert next_step(walk.state, walk.facts()) == decide.Commit("a")


def test_an_ecu_that_does_not_answer_keeps_no_other_from_being_brought_back_and_is_waited_for() -> None:
    walk = walk_to("CHECKING")
    walk.write(Moved(state="ROLLING_BACK", at=NOW, code="check_failed"))
    away = Tried(
        what="rollback:a", at=NOW, code="unreachable", tries_max=decide.ROLLBACK_TRIES_MAX, again_at=NOW
    )
    assert next_step(walk.state, walk.facts()) == decide.RollBack("a")
    walk.write(EcuMoved(serial="a", state=EcuState.ROLLING_BACK, at=NOW))
    walk.write(away)
    assert next_step(walk.state, walk.facts()) == decide.RollBack("b")
    walk.write(EcuMoved(serial="b", state=EcuState.ROLLED_BACK, at=NOW))
    for _ in range(decide.ROLLBACK_TRIES_MAX - 1):
        assert next_step(walk.state, walk.facts()) == decide.RollBack("a")
        walk.write(away)
    walk.step()
    state = walk.state
    assert (state.state, state.detail) == ("ROLLBACK_FAILED", "a: no answer after 8 tries")
    assert [(one.serial, one.why) for one in state.past[0].ecus if one.why] == [
        ("a", "no answer after 8 tries")
    ]


def test_an_ecu_that_is_tried_again_says_why_which_try_it_was_and_when_the_next_is_due() -> None:
    walk = walk_to("INSTALLING")
    walk.write(EcuMoved(serial="b", state=EcuState.INSTALLING, at=NOW))
    for count in (1, 2, 3):
        entry = Tried(
            what=f"{decide.AWAY}install:b", at=NOW, code="unreachable", detail="timed out",
            tries_max=decide.AWAY_TRIES_MAX, again_at=NOW + timedelta(seconds=20),
        )  # fmt: skip
        walk.write(entry)
        told = try_text(walk.state.failing["b"], now=NOW)
        assert told == f"no answer, try {count} of 8, next in 20 s"
    report = report_of(1, entry, walk.state)
    assert report is not None
    assert report.detail == "timed out, try 3 of 8, next in 20 s"
    assert try_text(walk.state.failing["b"], now=NOW + timedelta(seconds=21)).endswith("next now")
    walk.write(EcuMoved(serial="b", state=EcuState.FAILED, at=NOW, code="unreachable"))
    assert try_text(walk.state.failing["b"], now=NOW) == "no answer after 4 tries"
    walk.write(EcuMoved(serial="b", state=EcuState.ROLLING_BACK, at=NOW))
    assert not walk.state.failing


def test_a_try_in_the_journal_of_an_older_vehicle_still_reads() -> None:
    walk = walk_to("INSTALLING")
    old = decode_entry(
        b'{"type":"Tried","what":"install:b","at":"2026-11-23T12:00:00Z","code":"busy","detail":"at work"}'
    )
    walk.write(old)
    assert try_text(walk.state.failing["b"], now=NOW) == "at work"


def test_the_server_is_not_told_every_try_of_a_commit() -> None:
    walk = walk_to("COMMITTING")
    reports = []
    for _ in range(decide.COMMIT_TRIES_MAX):
        entry = Tried(what="commit:a", at=NOW, code="unreachable")
        walk.write(entry)
        reports.append(report_of(1, entry, walk.state))
    assert sum(report is not None for report in reports) == COMMIT_REPORTS_MAX


def test_a_restart_forgets_what_was_verified() -> None:
    verified = CampaignState(
        state="CHECKING", plan=PLAN, ecus={"a": EcuState.VERIFIED, "b": EcuState.ACTIVATED}
    )
    assert set(fold(verified, Started(at=NOW)).ecus.values()) == {EcuState.ACTIVATED}


def test_a_journal_without_its_plan_is_corrupt() -> None:
    facts = Walk(random=Random(1), trouble=0.0, state=CampaignState(), entries=[]).facts()
    with pytest.raises(Corrupt):
        next_step(CampaignState(state="INSTALLING", action_id=1), facts)
    with pytest.raises(Corrupt, match="cannot be read"):
        decode_entry(b'{"type":"FromTheFuture"}')


def test_a_note_that_flickers_is_one_note_per_subject() -> None:
    state = fold(CampaignState(), Noted(code="precondition", about="Speed == 0", detail="42", at=NOW))
    assert state.noted == ("precondition", "Speed == 0")
    assert fold(state, Moved(state="INSTALLING", at=NOW)).noted == ("", "")
