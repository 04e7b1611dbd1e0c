from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.ship.model import CLOSED_STATES, AssignmentState
from ringroad.ship.report import Evidence, Move, Refused, decide_report, read_evidence

S = AssignmentState


@pytest.mark.parametrize(
    ("kind", "body", "expected", "detail"),
    [
        ("closed", {"gateway": "ddi", "execution": "closed", "finished": "success"}, Evidence.CONFIRMED, "closed"),
        ("closed", {"gateway": "ddi", "execution": "closed", "finished": "failure", "details": ["HASH mismatch"]},
         Evidence.FAILED, "closed HASH mismatch"),
        ("closed", {"gateway": "ddi", "execution": "closed", "finished": "none"}, Evidence.FAILED, "closed without"),
        ("progress", {"gateway": "ddi", "execution": "proceeding", "done": 1, "total": 4}, Evidence.BEGAN, "25 %"),
        ("progress", {"gateway": "ddi", "execution": "rejected"}, Evidence.PROGRESS, "rejected"),
        ("closed", {"gateway": "ddi", "execution": "canceled"}, Evidence.CANCELLED, "canceled"),
        ("cancel", {"gateway": "ddi", "execution": "closed", "finished": "success"}, Evidence.CANCELLED, "closed"),
        ("cancel", {"gateway": "ddi", "execution": "closed", "finished": "failure"}, Evidence.FAILED, "closed"),
        ("cancel", {"gateway": "ddi", "execution": "rejected"}, Evidence.CANCEL_REJECTED, "rejected"),
        ("cancel", {"gateway": "ddi", "execution": "canceled"}, Evidence.PROGRESS, "canceled"),
        ("progress", {"gateway": "ddi"}, Evidence.NONE, ""),
        ("config", {"mode": "merge"}, Evidence.NONE, ""),
        ("progress", {"gateway": "native", "state": "DOWNLOADING", "done_bytes": 5, "total_bytes": 10},
         Evidence.PROGRESS, "DOWNLOADING 50 %"),
        ("closed", {"gateway": "native", "state": "SUCCEEDED"}, Evidence.CLAIMED, "SUCCEEDED"),
        ("progress", {"gateway": "native", "state": "SUCCEEDED", "ecu": "S1", "ecu_state": "COMMITTED"},
         Evidence.BEGAN, "INSTALLING S1 COMMITTED"),
        ("progress", {"gateway": "native", "state": "AWAITING_CONSENT"}, Evidence.PROGRESS, "AWAITING_CONSENT"),
        ("progress", {"gateway": "native", "state": "INSTALLING"}, Evidence.BEGAN, "INSTALLING"),
        ("progress", {"gateway": "ddi", "execution": "downloaded"}, Evidence.PROGRESS, "downloaded"),
        ("closed", {"gateway": "native", "state": "FAILED", "code": "precondition"}, Evidence.FAILED, "precondition"),
        ("closed", {"gateway": "native", "state": "ROLLED_BACK"}, Evidence.ROLLED_BACK, "ROLLED_BACK"),
        ("closed", {"gateway": "native", "state": "ROLLBACK_FAILED"}, Evidence.BLOCKED, "ROLLBACK_FAILED"),
        ("closed", {"gateway": "native", "state": "SUPERSEDED"}, Evidence.SUPERSEDED, "SUPERSEDED"),
        ("progress", {"gateway": "native", "state": 7}, Evidence.NONE, ""),
        ("progress", {}, Evidence.NONE, ""),
    ],
)  # fmt: skip
def test_both_gateways_are_read_into_one_vocabulary(
    kind: str, body: dict[str, Any], expected: Evidence, detail: str
) -> None:
    evidence, words = read_evidence(kind, body, success="word")
    assert evidence is expected
    assert detail in words


@pytest.mark.parametrize(
    ("body", "expected", "of_a_plan_that_installs"),
    [
        ({"gateway": "native", "state": "DOWNLOADED"}, Evidence.DOWNLOADED, Evidence.FAILED),
        ({"gateway": "native", "state": "DOWNLOADED", "ecu": "S1"}, Evidence.BEGAN, Evidence.BEGAN),
        # A vehicle that does not know of such plans gets everything ready and waits there.
        ({"gateway": "native", "state": "READY"}, Evidence.DOWNLOADED, Evidence.PROGRESS),
        ({"gateway": "native", "state": "READY", "ecu": "S1"}, Evidence.PROGRESS, Evidence.PROGRESS),
        ({"gateway": "native", "state": "STAGING"}, Evidence.PROGRESS, Evidence.PROGRESS),
        ({"gateway": "native", "state": "INSTALLING"}, Evidence.BEGAN, Evidence.BEGAN),
        ({"gateway": "native", "state": "SUCCEEDED"}, Evidence.CLAIMED, Evidence.CLAIMED),
        ({"gateway": "native", "state": "FAILED"}, Evidence.FAILED, Evidence.FAILED),
        ({"gateway": "ddi", "execution": "downloaded"}, Evidence.DOWNLOADED, Evidence.PROGRESS),
        ({"gateway": "ddi", "execution": "proceeding", "details": ["File checksum OK."]},
         Evidence.DOWNLOADED, Evidence.BEGAN),
        ({"gateway": "ddi", "execution": "proceeding", "details": "File checksum OK."}, Evidence.PROGRESS, Evidence.BEGAN),
        ({"gateway": "ddi", "execution": "proceeding", "details": ["Download complete."]},
         Evidence.PROGRESS, Evidence.BEGAN),
        ({"gateway": "ddi", "execution": "closed", "finished": "success"}, Evidence.DOWNLOADED, Evidence.CONFIRMED),
        ({"gateway": "ddi", "execution": "closed", "finished": "failure", "details": ["File checksum OK."]},
         Evidence.FAILED, Evidence.FAILED),
        ({"gateway": "ddi", "execution": "closed", "finished": "none"}, Evidence.FAILED, Evidence.FAILED),
        ({"gateway": "ddi", "execution": "canceled"}, Evidence.CANCELLED, Evidence.CANCELLED),
    ],
)  # fmt: skip
def test_what_is_stored_is_the_outcome_of_a_plan_that_only_downloads_and_of_no_other(
    body: dict[str, Any], expected: Evidence, of_a_plan_that_installs: Evidence
) -> None:
    assert read_evidence("progress", body, download_only=True)[0] is expected
    assert read_evidence("progress", body, success="word")[0] is of_a_plan_that_installs


@pytest.mark.parametrize(
    ("state", "evidence", "expected"),
    [
        (S.OFFERED, Evidence.PROGRESS, S.ACTIVE),
        (S.OFFERED, Evidence.CLAIMED, S.ACTIVE),
        (S.ACTIVE, Evidence.CONFIRMED, S.INSTALLED),
        (S.ACTIVE, Evidence.DOWNLOADED, S.DOWNLOADED),
        (S.CANCELLING, Evidence.DOWNLOADED, S.DOWNLOADED),
        (S.ACTIVE, Evidence.FAILED, S.FAILED),
        (S.ACTIVE, Evidence.ROLLED_BACK, S.ROLLED_BACK),
        (S.ACTIVE, Evidence.BLOCKED, S.FAILED),
        (S.CANCELLING, Evidence.PROGRESS, S.CANCELLING),
        (S.CANCELLING, Evidence.CLAIMED, S.CANCELLING),
        (S.CANCELLING, Evidence.CANCELLED, S.CANCELLED),
        (S.CANCELLING, Evidence.SUPERSEDED, S.CANCELLED),
        (S.ACTIVE, Evidence.SUPERSEDED, S.CANCELLED),
        (S.CANCELLING, Evidence.CANCEL_REJECTED, S.ACTIVE),
        (S.CANCELLING, Evidence.CONFIRMED, S.INSTALLED),
        (S.PENDING, Evidence.PROGRESS, S.PENDING),
        (S.PENDING, Evidence.FAILED, S.FAILED),
        (S.PENDING, Evidence.BEGAN, S.PENDING),
        (S.ACTIVE, Evidence.BEGAN, S.ACTIVE),
    ],
)
def test_moves(state: AssignmentState, evidence: Evidence, expected: AssignmentState) -> None:
    move = decide_report(state, evidence, "words")
    assert isinstance(move, Move)
    assert move.state is expected
    assert move.began is (evidence in (Evidence.BEGAN, Evidence.CLAIMED))
    assert move.blocks_vehicle is (evidence is Evidence.BLOCKED)


@pytest.mark.parametrize(
    ("code", "why", "told"),
    [
        ("", "", "SUCCEEDED, manifest awaited"),
        ("already_installed", "", "SUCCEEDED, manifest awaited"),
        (
            "manifest_incomplete",
            "brake does not answer",
            "SUCCEEDED, manifest awaited: brake does not answer",
        ),
    ],
)
def test_why_a_vehicle_that_is_done_states_nothing_stands_behind_what_is_awaited(
    code: str, why: str, told: str
) -> None:
    body = {"gateway": "native", "state": "SUCCEEDED", "ecu": "", "code": code, "detail": why}
    move = decide_report(S.ACTIVE, *read_evidence("progress", body))
    assert isinstance(move, Move)
    assert (move.state, move.detail) == (S.ACTIVE, told)


@pytest.mark.parametrize("state", [S.PENDING, S.OFFERED, S.ACTIVE, S.CANCELLING])
@pytest.mark.parametrize("evidence", [Evidence.SUPERSEDED, Evidence.CANCELLED, Evidence.FAILED])
def test_only_what_was_dropped_for_something_else_and_is_still_wanted_may_wait_again(
    state: AssignmentState, evidence: Evidence
) -> None:
    move = decide_report(state, evidence, "")
    assert isinstance(move, Move)
    assert move.overtaken is (evidence is Evidence.SUPERSEDED and state is not S.CANCELLING)


@given(st.sampled_from(sorted(CLOSED_STATES)), st.sampled_from(Evidence))
def test_an_outcome_is_final(state: AssignmentState, evidence: Evidence) -> None:
    assert isinstance(decide_report(state, evidence, ""), Refused)


@given(st.sampled_from(AssignmentState), st.sampled_from(Evidence))
def test_only_a_confirmation_installs(state: AssignmentState, evidence: Evidence) -> None:
    decision = decide_report(state, evidence, "")
    if isinstance(decision, Move) and decision.state is S.INSTALLED:
        assert evidence is Evidence.CONFIRMED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["gateway", "state", "execution", "finished", "details", "done", "total", "ecu", "detail"]
)
VALUES = JSON | st.sampled_from(["ddi", "native", "closed", "success", "FAILED", "canceled"])


@given(st.sampled_from(["progress", "closed", "cancel", "config", "other"]), st.dictionaries(NAMES, VALUES))
def test_no_report_makes_the_reader_fail(kind: str, body: dict[str, Any]) -> None:
    evidence, words = read_evidence(kind, body)
    assert isinstance(evidence, Evidence)
    assert len(words) <= 500
