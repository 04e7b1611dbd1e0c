"""What a clone found flows back: as sums, decided by probability, proved with doubt, kept only if it came true."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ringroad.build.clone.improvements import (
    OWN_N_MIN,
    WEIGHED_MAX,
    Improvement,
    Shift,
    decide_improvements,
    improvement_from,
    put_back,
    shifted,
    still_shifted,
)
from ringroad.build.clone.plants import clone_plant
from ringroad.build.clone.prove import prove_improvement
from ringroad.build.clone.sums import CloneSums, sums_from, sums_of
from ringroad.build.clone.trial import LOOKS, P_KEPT_MIN, Measured, decide_trial, measured_since
from ringroad.build.plant.model import Cell, Identity, Plant, PlantLine, Structure
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, Posterior, observed_times, stated_time
from ringroad.build.twin.drift import StationDrift
from ringroad.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 26, tzinfo=UTC)
STATIONS = 12
LINE = ("assembly", "Line 1")
KEYS = [Key((*LINE, f"station {at}"), "cycle_s") for at in range(STATIONS)]
SLOWEST = 4  # sets the pace


def plant(name: str, seed: int, *, n: int = 500) -> Plant:
    """Return a grown plant; parents are 5 % apart, the fifth station sets the pace."""
    draw = np.random.default_rng(seed)
    means = np.where(np.arange(STATIONS) == SLOWEST, 75.0, 60.0) * np.exp(draw.normal(0, 0.05, STATIONS))
    beliefs = {
        key: observed_times(mean * np.exp(draw.normal(0, 0.1, n)), origin=Origin(plant=name))
        for key, mean in zip(KEYS, means, strict=True)
    }
    cells = tuple(Cell(name=key.path[-1], buffer=2) for key in KEYS)
    return Plant(
        identity=Identity(id=name, name=name, enterprise="Ringroad Motors", site=name),
        structure=Structure(lines=(PlantLine(name="Line 1", area="assembly", stations=cells),)),
        parameters=beliefs,
    )


MOTHER, AUNT, SISTER = plant("mother", 1), plant("aunt", 2), plant("sister", 3)
PARENTS = [AUNT, MOTHER, SISTER]


def told(factors: dict[int, float] | None = None, *, n: int = 100, slower: float = 1.0) -> CloneSums:
    """Return the sums of a clone of the mother whose stations take so many times as long as hers."""
    clone = clone_plant(
        MOTHER,
        [AUNT, SISTER],
        identity=Identity(id="north", name="north", enterprise="Ringroad Motors", site="north"),
        now=NOW,
    ).plant
    draw = np.random.default_rng(7)
    own = {
        key: observed_times(
            MOTHER.parameters[key].mean
            * slower
            * (factors or {}).get(at, 1.0)
            * np.exp(draw.normal(0, 0.1, n)),
            origin=Origin(plant="north"),
        )
        for at, key in enumerate(KEYS)
    }
    return sums_of(clone, own)


def of_mother(parents: list[Plant], sums: CloneSums) -> tuple[Improvement, ...]:
    """Return what the mother may want."""
    return decide_improvements(parents, sums)[MOTHER.id]


def test_a_station_that_is_reliably_better_is_proposed_and_no_other() -> None:
    (found,) = of_mother(PARENTS, told({SLOWEST: 0.6}))
    assert (found.what, [each.key for each in found.shifts]) == ("station", [KEYS[SLOWEST]])
    assert found.shifts[0].better >= 0.95
    assert found.shifts[0].delta == pytest.approx(np.log(0.6), abs=0.1)
    assert improvement_from(json.loads(json.dumps(found.to_document()))) == found


@pytest.mark.parametrize(
    "sums",
    [
        told(),  # a true clone
        told({SLOWEST: 0.6}, n=5),  # too few cycles of its own
        told({SLOWEST: 0.93}),  # as different as plants are anyway
        told({SLOWEST: 1.6}),  # worse
        told(slower=0.7),  # faster as a whole: that is the plant, and nothing of a station
    ],
)
def test_nothing_is_proposed_where_nothing_is_reliably_better(sums: CloneSums) -> None:
    assert of_mother(PARENTS, sums) == ()


def test_what_no_trial_could_measure_is_not_proposed() -> None:
    def renamed(beliefs: Mapping[Key, Posterior]) -> dict[Key, Posterior]:
        return {replace(key, kind="rework_s"): belief for key, belief in beliefs.items()}

    parents = [replace(each, parameters=renamed(each.parameters)) for each in PARENTS]
    sums = told({SLOWEST: 0.6})
    assert decide_improvements(parents, replace(sums, own=renamed(sums.own)))[parents[1].id] == ()


def test_work_that_was_dealt_out_anew_is_one_proposal_with_what_became_slower() -> None:
    (found,) = of_mother(PARENTS, told({SLOWEST: 0.6, 8: 1.5}))
    assert (found.what, [each.key for each in found.shifts]) == ("balance", [KEYS[SLOWEST], KEYS[8]])


def test_more_room_before_stations_is_proposed_and_less_is_not() -> None:
    sums = told()
    rooms = {
        **sums.rooms,
        (*LINE, "station 5"): 6,
        (*LINE, "station 6"): 0,
        ("assembly", "elsewhere", "x"): 9,
    }
    (found,) = of_mother(PARENTS, replace(sums, rooms=rooms))
    assert (found.what, found.rooms) == ("buffer", (((*LINE, "station 5"), 6),))


def test_a_clone_of_nobodys_station_is_refused() -> None:
    strange = {Key((*LINE, "nowhere"), "cycle_s"): stated_time(60)}
    with pytest.raises(InvalidInput, match=r"no parent of north has assembly/Line 1/nowhere#cycle_s"):
        of_mother(PARENTS, replace(told(), own=strange))


def shares(good: float, n: float, *, worse: float = 0.0) -> dict[Key, Posterior]:
    """Return first passes of all stations; the slowest one's is so much worse."""
    return {
        replace(key, kind="first_pass"): Posterior(
            family="share", n=n, total=n * (good - (worse if at == SLOWEST else 0))
        )
        for at, key in enumerate(KEYS)
    }


def rates(between_s: float, n: float, *, factor: float = 1.0) -> dict[Key, Posterior]:
    """Return working times between breakdowns of all stations; the slowest one's is so many times as long."""
    return {
        replace(key, kind="uptime_s"): Posterior(
            family="rate", n=n, total=n * between_s * (factor if at == SLOWEST else 1)
        )
        for at, key in enumerate(KEYS)
    }


def ways(factor: float = 1.0) -> dict[Key, Posterior]:
    """Return times of the way to all stations; that to the slowest one takes so many times as long."""
    draw = np.random.default_rng(11)
    return {
        replace(key, kind="transfer_s"): observed_times(
            20.0 * (factor if at == SLOWEST else 1) * np.exp(draw.normal(0, 0.05, 60)), origin=Origin()
        )
        for at, key in enumerate(KEYS)
    }


@pytest.mark.parametrize(
    ("believed", "better", "worse"),
    [
        (shares(0.80, 2_000), shares(0.80, 2_000, worse=-0.18), shares(0.80, 2_000, worse=0.4)),
        (rates(7_200, 50), rates(7_200, 60, factor=6), rates(7_200, 60, factor=0.1)),
        (ways(), ways(0.4), ways(3)),
    ],
)
def test_yields_uptimes_and_ways_are_proposed_where_the_evidence_is_enough(
    believed: dict[Key, Posterior], better: dict[Key, Posterior], worse: dict[Key, Posterior]
) -> None:
    parents = [replace(each, parameters=believed) for each in PARENTS]
    kind = next(iter(believed)).kind
    sums = replace(told(), own=better)
    (one,) = of_mother(parents, sums)
    assert (one.what, [each.key for each in one.shifts]) == ("station", [replace(KEYS[SLOWEST], kind=kind)])
    assert of_mother(parents, replace(sums, own=worse)) == ()
    few = {key: each.scaled(5 / each.n) for key, each in better.items()}
    assert of_mother(parents, replace(sums, own=few)) == (), "too few of its own"


def test_a_clone_of_a_clone_is_held_against_that_clone_and_not_against_what_both_came_from() -> None:
    faster = {
        **MOTHER.parameters,
        KEYS[SLOWEST]: stated_time(MOTHER.parameters[KEYS[SLOWEST]].mean * 0.6, n=200),
    }
    north = replace(MOTHER, identity=replace(MOTHER.identity, id="north", parent="mother"), parameters=faster)
    alike = replace(told({SLOWEST: 0.6}), plant="far", parent="north")
    found = decide_improvements([*PARENTS, north], alike)
    assert found["north"] == (), "it does as its parent does"
    assert [each.shifts[0].key for each in found["mother"]] == [KEYS[SLOWEST]]
    (further,) = decide_improvements([*PARENTS, north], replace(alike, own=told({SLOWEST: 0.3}).own))["north"]
    assert further.shifts[0].delta == pytest.approx(np.log(0.5), abs=0.15)


def test_a_station_that_only_the_clone_has_of_which_a_clone_was_made_is_held_against_it_alone() -> None:
    added = Key((*LINE, "added"), "cycle_s")
    north = replace(
        MOTHER,
        identity=replace(MOTHER.identity, id="north", parent="mother"),
        parameters={**MOTHER.parameters, added: stated_time(60, n=200)},
    )
    sums = replace(told({SLOWEST: 0.5}), plant="far", parent="north")
    more = replace(sums, own={**sums.own, added: stated_time(60, n=100)})
    found = decide_improvements([*PARENTS, north], more)
    assert [each.shifts[0].key for each in found["north"]] == [KEYS[SLOWEST]]
    alone = replace(sums, own={added: stated_time(60, n=100)})
    assert decide_improvements([*PARENTS, north], alone)["north"] == (), "no grown plant has any of it"


def test_more_times_than_are_weighed_in_one_request_are_refused_before_any_is_weighed() -> None:
    lines = range(WEIGHED_MAX // STATIONS + 1)
    keys = [Key(("assembly", f"Line {at}", key.path[-1]), "cycle_s") for at in lines for key in KEYS]
    many = {key: stated_time(60) for key in keys}
    parent = replace(MOTHER, parameters=many)
    assert decide_improvements([parent], replace(told(), own=dict(list(many.items())[:12])))
    with pytest.raises(InvalidInput, match=r"north says 3012 parameters of stations, limit 3000"):
        decide_improvements([parent], replace(told(), own=many))


# What travels ---------------------------------------------------------------------------------------


def test_only_sums_travel_whatever_the_plant_knows() -> None:
    document = json.loads(json.dumps(told({SLOWEST: 0.6}).to_document()))
    assert document.keys() == {"schema", "plant", "parent", "own", "rooms"}
    assert all(len(numbers) == 3 for numbers in document["own"].values()), "n, sum, sum of squares"
    assert {type(number) for numbers in document["own"].values() for number in numbers} == {int, float}
    assert {type(room) for room in document["rooms"].values()} == {int}
    assert len(document["own"]) == STATIONS, "as many after a hundred cycles as after one"
    assert sums_from(document).own == told({SLOWEST: 0.6}).own
    assert of_mother(PARENTS, sums_from(document)) == of_mother(PARENTS, told({SLOWEST: 0.6}))


def bent(**changes: object) -> dict[str, object]:
    return told().to_document() | changes


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "no message of a clone"),
        (bent(schema=2), "no message of a clone"),
        (bent(times=[61.2, 60.9]), "no message of a clone"),
        (bent(own=[1, 2, 3]), "tables"),
        (bent(own={f"a/b/{at}#cycle_s": [1, 4, 16] for at in range(5_001)}), "tables"),
        (bent(plant=""), "names are text"),
        (bent(parent=7), "names are text"),
        (bent(own={"a/b/c#cycle_s": [61.2, 60.9]}), "three numbers"),
        (bent(own={"a/b/c#cycle_s": [1, "4", 16]}), "three numbers"),
        (bent(own={"a/b/c#cycle_s": [1, True, 16]}), "three numbers"),
        (bent(own={"a/b/c#cycle_s": {"n": 1}}), "three numbers"),
        (bent(own={"a/b/c#cycle_s": [-1, 4, 16]}), "n = -1"),
        (bent(own={"a/b/c#cycle_s": [1, float("nan"), 16]}), "finite"),
        (bent(own={"a/b/c#cycle_s": [1, 10**400, 16]}), "three numbers up to"),
        (bent(own={"a/b/c#cycle_s": [10, 40, 1]}), "squares"),
        (bent(own={"a/b/c#first_pass": [10, 11, 0]}), "11 successes of 10"),
        (bent(own={"a/b/c": [1, 4, 16]}), "no parameter"),
        (bent(own={"a/b/c#wishes": [1, 4, 16]}), "no parameter"),
        (bent(rooms={"a/b/c": -1}), "no room"),
        (bent(rooms={"a/b/c": True}), "no room"),
        (bent(rooms={"a/b/c": 2.5}), "no room"),
    ],
)
def test_a_message_that_is_more_or_less_than_sums_is_refused(document: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        sums_from(document)


def test_a_plant_that_is_nobodys_clone_has_nobody_to_tell() -> None:
    with pytest.raises(InvalidInput, match="nobody's clone"):
        sums_of(MOTHER, {})


# The twin -------------------------------------------------------------------------------------------


def moved(at: int, delta: float, sd: float = 0.05) -> Improvement:
    shift = Shift(key=KEYS[at], delta=delta, variance=sd**2, better=0.99, own_n=100)
    return Improvement(what="station", line=LINE, shifts=(shift,))


def test_the_twin_proves_what_lets_the_slowest_station_go_faster() -> None:
    proof = prove_improvement(MOTHER, moved(SLOWEST, -0.15), seed=1, threads=1)
    assert proof.proved, proof.reason
    assert (proof.runs, proof.better_permille >= 900) == (1_000, True)
    assert proof.end_s[1] < proof.end_s[0]
    assert proof.gain_s[0] < proof.gain_s[1] < proof.gain_s[2]
    assert proof == prove_improvement(MOTHER, moved(SLOWEST, -0.15), seed=1, threads=2), "whatever the cores"


@pytest.mark.parametrize(
    ("improvement", "words"),
    [
        (moved(0, -0.4), "gain nothing: another station sets its pace"),
        (moved(SLOWEST, -0.08, sd=0.2), "in only"),  # nobody knows whether it carries over
        (moved(SLOWEST, 0.3), "gain nothing"),
        (replace(moved(SLOWEST, -0.15), line=("assembly", "Line 9")), "no line Line 9"),
    ],
)
def test_the_twin_proves_nothing_else(improvement: Improvement, words: str) -> None:
    proof = prove_improvement(MOTHER, improvement, seed=1, threads=1)
    assert not proof.proved
    assert words in proof.reason


def test_a_twin_out_of_calibration_proves_nothing() -> None:
    wrong = StationDrift(
        name="station 4", vehicles=200, state="differs", how="slower", cycle_s=75, spread_permille=100,
        measured_cycle_s=84.0, measured_spread_permille=100,
    )  # fmt: skip
    proof = prove_improvement(MOTHER, moved(SLOWEST, -0.15), drift=[wrong], seed=1, threads=1)
    assert not proof.proved
    assert "out of calibration" in proof.reason


# The parent -----------------------------------------------------------------------------------------


def test_a_parent_is_shifted_as_a_prior_and_never_as_if_it_had_measured() -> None:
    improvement = replace(moved(SLOWEST, -0.2, sd=0.1), rooms=(((*LINE, "station 5"), 4),))
    after = shifted(MOTHER, improvement, clone="north", evidence="proposal 1", now=NOW)
    before, now = MOTHER.parameters[KEYS[SLOWEST]], after.parameters[KEYS[SLOWEST]]
    assert now.centre == pytest.approx(before.centre - 0.2)
    assert now.n < 2 < before.n, "it weighs as what is not known of the move: a cycle or two"
    assert (now.origin.plant, now.origin.evidence) == ("north", "proposal 1")
    assert {key for key in KEYS if after.parameters[key] != MOTHER.parameters[key]} == {KEYS[SLOWEST]}
    assert [cell.buffer for cell in after.structure.lines[0].stations] == [2, 2, 2, 2, 2, 4] + [2] * 6
    assert put_back(after, MOTHER, improvement) == MOTHER
    with pytest.raises(InvalidInput, match="has no parameter"):
        shifted(replace(MOTHER, parameters={}), improvement, clone="north", evidence="", now=NOW)


def test_only_what_is_still_shifted_is_taken_back() -> None:
    improvement = replace(moved(SLOWEST, -0.2), rooms=(((*LINE, "station 5"), 4),))
    after = shifted(MOTHER, improvement, clone="north", evidence="proposal 1: moved", now=NOW)
    assert still_shifted(after, improvement, evidence="proposal 1: ") == (improvement, ())
    rest, left = still_shifted(AUNT, improvement, evidence="proposal 1: ")
    assert left == (str(KEYS[SLOWEST]), "assembly/Line 1/station 5")
    assert put_back(AUNT, MOTHER, rest) == AUNT


# The trial ------------------------------------------------------------------------------------------


def measured(after_s: float, n: int, *, kind: str = "cycle_s", before: Posterior | None = None) -> Measured:
    origin = Origin(plant="mother")
    spread = [0.9 + 0.02 * (at % 11) for at in range(max(n, 1))]
    return Measured(
        name="station 4", kind=kind,
        before=before or observed_times([75.0 * (0.9 + 0.02 * (at % 11)) for at in range(500)], origin=origin),
        after=observed_times([after_s * each for each in spread], origin=origin) if n else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("what", "looked_n", "outcome", "looked"),
    [
        (measured(60.0, 0), 0, "running", 0),
        (measured(60.0, LOOKS[0] - 1), 0, "running", 0),  # too few decide nothing
        (measured(60.0, LOOKS[0]), 0, "kept", 50),
        (measured(75.0, LOOKS[0]), 0, "running", 50),
        (measured(60.0, LOOKS[0] + 1), 50, "running", 50),  # not looked at again before the next look is due
        (measured(90.0, LOOKS[0]), 0, "withdrawn", 50),  # worse
        (measured(75.0, LOOKS[-1]), 200, "withdrawn", 400),  # it did not come true
        (measured(60.0, LOOKS[-1], kind="interval_s"), 0, "kept", 400),
    ],
)
def test_a_trial_is_kept_or_taken_back_by_what_was_measured(
    what: Measured, looked_n: int, outcome: str, looked: int
) -> None:
    trial = decide_trial([what], looked_n=looked_n)
    assert (trial.outcome, trial.looked_n) == (outcome, looked), trial.reason


def test_every_measure_has_to_be_better_and_none_decides_nothing() -> None:
    assert decide_trial([measured(60.0, 50), measured(75.0, 50)], looked_n=0).outcome == "running"
    assert decide_trial([measured(60.0, 50), measured(60.0, 49)], looked_n=0).outcome == "running"
    assert decide_trial([], looked_n=0).outcome == "running"
    assert Measured(name="end", kind="interval_s", before=None, after=None).better == 0.0


def test_a_station_is_held_against_its_own_times_before_and_its_document_only_where_they_are_few() -> None:
    key, origin = KEYS[SLOWEST], Origin(plant="mother")
    believed = stated_time(75, spread_permille=100, n=1000)
    faster = [60 * (0.9 + 0.02 * (at % 11)) for at in range(LOOKS[0])]
    since = {key: observed_times(faster, origin=origin)}
    few = {key: observed_times(faster[: OWN_N_MIN - 1], origin=origin)}
    for was, is_believed, outcome in (
        ({}, True, "kept"),
        (few, True, "kept"),
        (since, False, "running"),  # it was that fast before anybody changed anything
    ):
        what = measured_since(key, believed=believed, was=was, own=since)
        assert (what.believed, decide_trial([what], looked_n=0).outcome) == (is_believed, outcome)
    assert not measured_since(key, believed=None, was={}, own=since).better


def test_looking_often_keeps_what_is_no_better_at_most_one_time_in_twenty() -> None:
    draw = np.random.default_rng(3)
    kept = 0
    before = observed_times(np.exp(draw.normal(4, 0.1, 20_000)), origin=Origin())
    for _ in range(200):
        logs = np.exp(draw.normal(4, 0.1, LOOKS[-1]))
        for looked, due in zip((0, *LOOKS), LOOKS, strict=False):
            what = Measured(
                name="x", kind="cycle_s", before=before, after=observed_times(logs[:due], origin=Origin())
            )
            outcome = decide_trial([what], looked_n=looked).outcome
            if outcome != "running":
                kept += outcome == "kept"
                break
    assert 0.98 < P_KEPT_MIN < 0.99
    assert kept / 200 <= 0.05
