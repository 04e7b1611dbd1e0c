"""A setback is the next signal: halted campaigns and worse outcomes open or reopen a finding by themselves, once."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from ringroad.adapt.model import Due
from ringroad.adapt.store import (
    due_outcomes,
    get_lap_report,
    list_outcomes,
    measure_recovery,
    measure_updates,
)
from ringroad.design.model import AcceptRule
from ringroad.design.store import accept_by_rule, accept_finding, propose_change, reject_finding
from ringroad.http import reading
from ringroad.http.reading import assignments
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind, Stage
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.signal.store import get_finding, list_findings
from ringroad.signal.store_setbacks import answer_setbacks
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import append_fact, latest_fact, read_facts
from support.fleet import T0, CountingIds, Story, add_vehicles, fill_programme
from support.manifests import manifest_of

pytestmark = pytest.mark.engines

FINDING = "finding_1"
EVIDENCE: dict[str, Any] = {
    "log_e_micronats": 20_000_000,
    "population": {"vehicles_with_fault": 30},
    "ratio": {"low_milli": 3_000},
    "measured_from_us": 0,
}


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    conn.execute(
        "INSERT INTO finding (id, lap_id, title, programme_id, ecu, software_version, fault_code, state, evidence,"
        " opened_at) VALUES (%s, 'lap_1', 'P1 on brake', 'roadster', 'brake', '1.0.0', 'P1', 'open', %s, %s)",
        [FINDING, Jsonb(EVIDENCE), T0],
    )
    for kind in (FactKind.SIGNAL_OBSERVED, FactKind.FINDING_OPENED):
        append_fact(conn, ids, kind=kind, subject=FINDING, actor="rule:rising-faults", now=T0, lap_id="lap_1")
    return Story(conn, ids)


def accept(story: Story) -> None:
    finding = get_finding(story.conn, FINDING)
    accept_finding(
        story.conn, story.ids, finding_id=FINDING, generation=finding.generation, actor="ann", now=story.now
    )


def answer(story: Story) -> list[str]:
    return answer_setbacks(story.conn, story.ids, now=story.now)


def halt(story: Story, *, release: str = "release_2.0.0") -> None:
    """Start a campaign over DDI, whose first vehicle fails."""
    story.start(release=release, waves=(4,))
    story.ddi(story.vehicles("offered")[0], "closed", "failure", kind="closed")
    story.later(5)
    story.tick()
    assert story.campaign().state is CampaignState.HALTED


def show(story: Story, vin: str, version: str) -> None:
    """The vehicle proves by manifest what it runs."""
    with transaction(story.conn):
        store.apply_manifest(
            story.conn, story.ids, manifest=manifest_of(story.conn, vin, version, ("brake", "head")),
            body=b"{}", now=story.now,
        )  # fmt: skip


def test_a_halted_campaign_opens_its_finding_again_with_the_halt_as_the_cause(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    accept(story)
    halt(story)
    assert answer(story) == [FINDING]
    finding = get_finding(story.conn, FINDING)
    assert (finding.state, finding.state_reason) == ("open", "fix was halted: too many failures")
    halted = latest_fact(story.conn, kind=FactKind.CAMPAIGN_HALTED, subject=story.campaign_id)
    *_, signal, reopened = read_facts(story.conn, subject=FINDING)
    assert halted
    assert (signal.kind, signal.causes, signal.lap_id) == (FactKind.SIGNAL_OBSERVED, (halted.id,), "lap_1")
    assert (reopened.kind, reopened.causes) == (FactKind.FINDING_REOPENED, (signal.id, halted.id))
    assert halted.body["vehicles"] == {
        "installed": 0,
        "downloaded": 0,
        "failed": 1,
        "rolled_back": 0,
        "lost": 0,
        "silent": 0,
    }


def test_a_setback_is_answered_once_however_often_and_by_how_many_it_is_looked_at(
    story: Story, pg_url: str
) -> None:
    add_vehicles(story.conn, range(8))
    accept(story)
    halt(story)
    asked: list[list[str]] = []
    start = threading.Barrier(4)

    def look(number: int) -> None:
        with closing(connect(pg_url)) as conn:
            start.wait(60)
            asked.append(answer_setbacks(conn, CountingIds(1_000_000 * (number + 1)), now=story.now))

    threads = [threading.Thread(target=look, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(asked) == [[], [], [], [FINDING]]
    accept(story)  # a person decided, and the halt is answered
    assert answer(story) == []
    assert story.facts(FactKind.FINDING_REOPENED) == 1
    assert len(list_findings(story.conn)) == 1


def test_a_finding_that_is_open_is_told_and_not_opened_twice(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    halt(story)
    assert answer(story) == []
    assert answer(story) == []
    assert story.facts(FactKind.SIGNAL_OBSERVED) == 2
    assert get_finding(story.conn, FINDING).generation == 1


def test_what_was_rejected_is_opened_again_by_new_evidence_and_what_was_closed_since_is_not(
    story: Story,
) -> None:
    add_vehicles(story.conn, range(16))
    reject_finding(
        story.conn,
        story.ids,
        finding_id=FINDING,
        generation=1,
        actor="ann",
        now=story.now,
        reason="bad sensor",
    )
    story.later(1)
    halt(story)
    assert answer(story) == [FINDING]
    halt(story, release="release_3.0.0")
    story.later(1)
    reject_finding(
        story.conn,
        story.ids,
        finding_id=FINDING,
        generation=3,
        actor="ann",
        now=story.now,
        reason="seen both",
    )
    assert answer(story) == []
    assert get_finding(story.conn, FINDING).state == "rejected"


def test_a_rule_leaves_a_finding_that_was_answered_before_to_a_person(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    rule = AcceptRule(name="rising", log_e_micronats_min=1, vehicles_with_fault_min=1)
    with transaction(story.conn):
        assert accept_by_rule(story.conn, story.ids, rule, now=story.now) == [FINDING]
        propose_change(
            story.conn, story.ids, finding_id=FINDING, title="Fix", ecu="brake", target="No P1", actor="ann",
            now=story.now,
        )  # fmt: skip
    halt(story)
    assert answer(story) == [FINDING]
    assert accept_by_rule(story.conn, story.ids, rule, now=story.now) == []


def test_a_halted_campaign_of_no_lap_opens_a_finding_that_its_next_campaign_closes(story: Story) -> None:
    add_vehicles(story.conn, range(12))
    story.conn.execute("UPDATE release SET lap_id = NULL")
    halt(story)
    (opened,) = answer(story)
    finding = get_finding(story.conn, opened)
    assert (finding.ecu, finding.software_version, finding.fault_code) == ("*", "2.0.0", "UPDATE-HALTED")
    assert finding.title == "Campaign fix was halted: too many failures"
    assert finding.evidence["updates"] == {"harmed": 1, "reported": 1}
    signal, told = read_facts(story.conn, lap_id=finding.lap_id)
    halted = latest_fact(story.conn, kind=FactKind.CAMPAIGN_HALTED, subject=story.campaign_id)
    assert halted
    assert (signal.causes, told.kind) == ((halted.id,), FactKind.FINDING_OPENED)
    for action in story.vehicles("cancelling"):
        story.ddi(action, "closed", "success", kind="cancel")
    story.tick()
    halt_id = story.campaign_id
    halt(story)  # the same release, bad again
    assert answer(story) == []
    assert len(list_findings(story.conn)) == 2
    # What answers it belongs to its lap, and does better.
    story.conn.execute("UPDATE release SET lap_id = %s WHERE id = 'release_3.0.0'", [finding.lap_id])
    for action in story.vehicles("cancelling"):
        story.ddi(action, "closed", "success", kind="cancel")
    story.tick()
    story.start(release="release_3.0.0", waves=(12,))
    for action in story.vehicles("offered"):
        story.ddi(action, "closed", "success", kind="closed")
    story.later(5)
    story.tick()
    assert story.campaign().state is CampaignState.FINISHED
    due = {(each.campaign_id, each.measure) for each in due_outcomes(story.conn)}
    assert due == {(halt_id, "recovery"), (story.campaign_id, "updates")}
    verdict = measure_updates(
        story.conn, story.ids, campaign_id=story.campaign_id, finding_id=opened, now=story.now
    )
    assert (verdict.word, verdict.after.harmed, verdict.after.reported) == ("better", 0, 12)
    assert get_finding(story.conn, opened).state == "closed"
    measure_recovery(story.conn, story.ids, campaign_id=halt_id, finding_id=opened, now=story.now)
    assert due_outcomes(story.conn) == []


def native_halt(story: Story) -> tuple[Any, Any]:
    """Four native vehicles: one is confirmed, one rolls back, and the campaign halts."""
    add_vehicles(story.conn, range(4), gateway="native")
    accept(story)
    story.start(waves=(4,), gate=GatePolicy(failed_permille_max=300, reports_min=2))
    story.tick()
    good, bad = story.vehicles("offered")[:2]
    show(story, good.vin, "2.0.0")
    show(story, bad.vin, "1.0.0")  # what it said before it began proves nothing about after
    story.later(1)
    story.native(bad, "INSTALLING")
    story.native(bad, "ROLLED_BACK", kind="closed")
    story.later(1)
    story.tick()
    assert story.campaign().state is CampaignState.HALTED
    for action in story.vehicles("cancelling"):
        story.native(action, "CANCELLED", kind="closed")
    story.tick()
    return good, bad


def recovery(story: Story, *, record_unknown: bool = False) -> tuple[str, dict[str, int]]:
    found = measure_recovery(
        story.conn, story.ids, campaign_id=story.campaign_id, finding_id=FINDING, now=story.now,
        record_unknown=record_unknown,
    )  # fmt: skip
    names = ("recovered", "not_recovered", "unknown", "kept", "untouched")
    return found.word, {name: getattr(found, name) for name in names}


def test_vehicles_that_rolled_back_are_recovered_when_they_prove_it(story: Story) -> None:
    _, bad = native_halt(story)
    assert answer(story) == [FINDING]  # for the halt; neither unknown nor recovered opens anything
    accept(story)
    assert due_outcomes(story.conn) == [
        Due(campaign_id=story.campaign_id, finding_id=FINDING, measure="recovery")
    ]
    numbers = {"recovered": 0, "not_recovered": 0, "unknown": 1, "kept": 1, "untouched": 2}
    assert recovery(story) == ("unknown", numbers)
    assert list_outcomes(story.conn) == []  # it waits without a trace
    assert recovery(story, record_unknown=True) == ("unknown", numbers)
    assert list_outcomes(story.conn)[0].verdict == "unknown"
    story.later(1)
    show(story, bad.vin, "1.0.0")
    assert recovery(story) == ("recovered", numbers | {"recovered": 1, "unknown": 0})
    (outcome,) = list_outcomes(story.conn)
    assert (outcome.verdict, outcome.measure["vehicles"]["recovered"]) == ("recovered", 1)
    (said,) = reading.outcomes(story.conn, campaign_id=outcome.campaign_id)
    assert said.verdict == "kept"  # one went back, and one runs the stopped release
    assert due_outcomes(story.conn) == []
    with pytest.raises(Conflict):
        recovery(story)
    halted = latest_fact(story.conn, kind=FactKind.CAMPAIGN_HALTED, subject=story.campaign_id)
    told = latest_fact(story.conn, kind=FactKind.OUTCOME_MEASURED, subject=outcome.id)
    assert halted
    assert told
    assert told.causes[0] == halted.id
    assert answer(story) == []
    change = propose_change(
        story.conn, story.ids, finding_id=FINDING, title="Again", ecu="brake", target="No P1", actor="ann",
        now=story.now,
    )  # fmt: skip
    (proposed,) = read_facts(story.conn, subject=change.id)
    reopened = latest_fact(story.conn, kind=FactKind.FINDING_REOPENED, subject=FINDING)
    assert reopened
    assert proposed.causes[-1] == reopened.id  # what it answers: not that the vehicles are well again


def test_vehicles_that_did_not_recover_are_a_setback_of_their_own(story: Story) -> None:
    _, bad = native_halt(story)
    assert answer(story) == [FINDING]
    accept(story)
    story.later(1)
    show(story, bad.vin, "2.0.0")  # it said that it rolled back
    assert recovery(story)[0] == "not_recovered"
    assert answer(story) == [FINDING]
    assert get_finding(story.conn, FINDING).state_reason == "fix: 1 vehicle did not recover"
    assert answer(story) == []


def test_an_aborted_campaigns_vehicles_are_counted_and_open_nothing(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    accept(story)
    story.start(waves=(4,))
    with transaction(story.conn):
        store.abort(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=story.campaign().generation,
            actor="ann", reason="wrong release", told="its notes are wrong", now=story.now,
        )  # fmt: skip
    assert recovery(story)[1]["unknown"] == 4  # they were told to cancel
    why = "its campaign was aborted by ann: wrong release"
    assert {each.withdrawn for each in assignments(story.conn, campaign_id=story.campaign_id)} == {why}
    for action in story.vehicles("cancelling"):
        story.ddi(action, "closed", "success", kind="cancel")
    story.tick()
    assert recovery(story) == (
        "recovered", {"recovered": 0, "not_recovered": 0, "unknown": 0, "kept": 0, "untouched": 4},
    )  # fmt: skip
    vin = story.vehicles("cancelled")[0].vin
    assert [(each.state, each.withdrawn) for each in assignments(story.conn, vin=vin)] == [("cancelled", why)]
    story.conn.execute(
        "INSERT INTO account (name, role, password_hash, created_at) VALUES ('fleet', 'fleet', 'x', now())"
    )
    story.conn.execute("INSERT INTO account_fleet (account_name, kind, name) VALUES ('fleet', 'tag', 'own')")
    story.conn.execute("UPDATE vehicle SET tags = '{own}' WHERE vin = %s", [vin])
    of_fleet = assignments(story.conn, vin=vin, fleet="fleet")
    assert [each.withdrawn for each in of_fleet] == [
        "a person at the maker ended its campaign: its notes are wrong"
    ]
    assert list_outcomes(story.conn)[0].measure["reason"] == "none_touched"
    assert answer(story) == []
    assert get_finding(story.conn, FINDING).state == "accepted"


def test_what_became_of_a_halted_campaign_neither_ends_the_lap_nor_moves_it(story: Story) -> None:
    _, bad = native_halt(story)
    story.later(60)
    show(story, bad.vin, "1.0.0")
    before = get_lap_report(story.conn, "lap_1", now=story.now)
    assert recovery(story)[0] == "recovered"
    answer(story)
    after = get_lap_report(story.conn, "lap_1", now=story.now)
    assert after.is_open
    assert (after.elapsed_us, after.rework) == (before.elapsed_us, before.rework)
    assert [item.elapsed_us for item in after.stages] == [item.elapsed_us for item in before.stages]
    assert [item.stage for item in after.stages if item.censored] == [Stage.BUILD]
    assert after.approvals.pending == 1  # the finding, again
    assert timedelta(0) <= after.measured_to - after.started_at


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_return_that_was_ordered_ends_in_an_outcome_and_the_next_change_answers_what_came_of_it(
    story: Story, *, comes_back: bool
) -> None:
    """From a halt over the order to go back, and the verdict on who did, to the change of the next lap."""
    story.conn.execute("UPDATE software_package SET release_counter = 9")  # old images were signed anew
    good, bad = native_halt(story)
    assert answer(story) == [FINDING]  # the halt is the signal
    accept(story)
    story.later(1)
    show(story, bad.vin, "1.0.0")
    with transaction(story.conn):
        store.order_returns(
            story.conn, story.ids, campaign_id=story.campaign_id, sha256=None, actor="ben", now=story.now
        )
    assert recovery(story)[1]["unknown"] == 1  # on its way: nothing is said of it before
    story.tick()
    (back,) = story.vehicles("offered", kind="rollback")
    assert back.vin == good.vin
    story.later(1)
    if comes_back:
        show(story, good.vin, "1.0.0")
    else:
        story.native(back, "FAILED", kind="closed")
    story.tick()
    word, numbers = recovery(story)
    assert (word, numbers["recovered"], numbers["not_recovered"], numbers["kept"]) == (
        ("recovered", 2, 0, 0) if comes_back else ("not_recovered", 1, 1, 0)
    )
    (outcome,) = list_outcomes(story.conn)
    told = latest_fact(story.conn, kind=FactKind.OUTCOME_MEASURED, subject=outcome.id)
    assert told
    # Who is back needs nobody; who is not is a signal of its own, on the desk of the same finding.
    assert answer(story) == ([] if comes_back else [FINDING])
    if not comes_back:
        accept(story)
    change = propose_change(
        story.conn, story.ids, finding_id=FINDING, title="Mend it", ecu="brake", target="No P1", actor="ann",
        now=story.now,
    )  # fmt: skip
    behind, waiting = set[str](), [fact.id for fact in read_facts(story.conn, subject=change.id)]
    known = {fact.id: fact for fact in read_facts(story.conn)}
    while waiting:
        fact = known[waiting.pop()]
        if fact.id not in behind:
            behind.add(fact.id)
            waiting += fact.causes
    kinds = {known[each].kind for each in behind}
    assert {FactKind.CAMPAIGN_HALTED, FactKind.SIGNAL_OBSERVED, FactKind.FINDING_REOPENED} <= kinds
    assert (told.id in behind) is not comes_back
    assert {known[each].lap_id for each in behind} == {"lap_1"}
