"""The example world: cloning helps a clone, not a plant that is none; and no seed of it changes what it shows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ringroad.build.clone.plants import clone_plant
from ringroad.build.clone.sums import sums_from
from ringroad.build.plant.model import Identity
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.write import plant_file
from ringroad.cli.plant_world import flow_text, read_world, world_text
from ringroad.cli.plant_world_page import world_page
from ringroad.kernel.errors import InvalidInput
from ringroad.sim.world import Day, Ramp, draw_truth, known_day, ramp_up, reached
from ringroad.sim.world_flow import flow_back
from ringroad.sim.world_result import PlantResult, run_world, sums_of_world, to_document

FOLDER = Path(__file__).parents[3] / "examples" / "world"
SOURCE = (FOLDER / "world.toml").read_text(encoding="utf-8")
WORLD = read_world(SOURCE, name="world.toml")
MOTHER = read_plant((FOLDER / WORLD.mother).read_text(encoding="utf-8"))
NORTH, MILL = WORLD.plants[0], WORLD.plants[-1]
RAMP = Ramp(takt_s=WORLD.takt_s, pilot=(2, 3, 5), days=3)


@pytest.fixture(scope="module")
def results() -> list[PlantResult]:
    return run_world(MOTHER, [NORTH, MILL], RAMP, seeds=3)


def test_the_world_has_a_mother_and_four_clones_on_three_continents_and_one_that_is_none() -> None:
    clones = [each for each in WORLD.plants if each.kind == "clone"]
    assert len(clones) == 4
    assert len({each.continent for each in clones}) == 3
    assert [each.id for each in WORLD.plants if each.kind == "bought"] == ["avocet-mill"]


def test_every_plant_of_the_world_is_a_document_that_plant_clone_makes_of_the_mother() -> None:
    for site in WORLD.plants:
        source = (FOLDER / f"{site.id}.toml").read_text(encoding="utf-8")
        kept = read_plant(source, find={MOTHER.structure_sha256: MOTHER.structure}.get)
        identity = Identity(
            id=site.id, name=site.name, enterprise=MOTHER.identity.enterprise, site=site.site,
            time_zone=kept.identity.time_zone,
        )  # fmt: skip
        made = clone_plant(MOTHER, [], identity=identity, now=datetime(2026, 11, 26, tzinfo=UTC)).plant
        assert (kept.identity, kept.structure) == (made.identity, MOTHER.structure), site.id
        assert kept.parameters.keys() == made.parameters.keys()
        for key, belief in kept.parameters.items():
            assert belief.origin == made.parameters[key].origin
            assert belief.centre == pytest.approx(made.parameters[key].centre, abs=1e-9), key
            assert belief.error_variance == pytest.approx(made.parameters[key].error_variance), key
        assert plant_file(kept, by_reference=True) in source, "but for its first lines"


def test_a_plant_says_after_its_ramp_what_its_document_learns_from() -> None:
    said = {each.plant: each for each in sums_of_world(MOTHER, WORLD.plants, RAMP)}
    assert sums_from(json.loads(json.dumps(said[NORTH.id].to_document()))) == said[NORTH.id]
    assert {(each.plant, each.parent) for each in said.values()} == {
        (site.id, MOTHER.id) for site in WORLD.plants
    }
    assert {key.kind for key in said[NORTH.id].own} == {"cycle_s", "first_pass"}
    assert {belief.n for belief in said[NORTH.id].own.values()} == {sum(RAMP.pilot)}


def test_a_clone_knows_more_on_its_first_day_and_costs_less(results: list[PlantResult]) -> None:
    north = results[0]
    cloned, alone = (north.ways[way] for way in ("cloned", "alone"))
    assert cloned.days["error"][0] < alone.days["error"][0] * 0.8
    assert cloned.unit_cost.mean < alone.unit_cost.mean
    assert cloned.first_pass.mean > alone.first_pass.mean
    assert north.helps
    assert north.saved["unit_cost"].low <= north.saved["unit_cost"].mean <= north.saved["unit_cost"].high


def test_a_plant_that_is_no_clone_is_not_helped_and_a_copy_without_doubt_is_worse(
    results: list[PlantResult],
) -> None:
    mill = results[1]
    assert not mill.helps
    assert mill.ways["copied"].days["error"][-1] > 1.3 * mill.ways["cloned"].days["error"][-1]
    assert mill.ways["copied"].unit_cost.mean > mill.ways["cloned"].unit_cost.mean
    said = world_text(results)
    assert "avocet-mill, North America: cloning saves" in said
    assert "it is no clone" in said.splitlines()[-1]
    assert "it is no clone" not in said.splitlines()[-2]


def test_a_seed_gives_the_same_world_and_all_ways_the_same_luck() -> None:
    truth = draw_truth(MOTHER, NORTH, np.random.default_rng([1, 0]))
    one, other = (ramp_up(MOTHER, NORTH, RAMP, truth, way="cloned", seed=1) for _ in range(2))
    assert one == other
    assert one != ramp_up(MOTHER, NORTH, RAMP, truth, way="cloned", seed=2)
    assert known_day(NORTH, RAMP, truth).error == 0


def test_what_a_clone_found_is_proved_kept_and_taken_over_and_what_gains_nothing_is_not() -> None:
    sites = [each for each in WORLD.plants if each.id in ("avocet-north", "avocet-south", "avocet-east")]
    home = replace(NORTH, id=MOTHER.id, site="Harbour", hours=WORLD.home.hours, costs=WORLD.home.costs)
    few = Ramp(takt_s=WORLD.takt_s, pilot=(60, 60), days=2)
    flow = flow_back(MOTHER, home, sites, few, seeds=1, threads=2)
    found = {each.clone: each for each in flow.flows}
    assert (found["avocet-east"].stations, found["avocet-east"].proved, found["avocet-east"].kept) == (
        ("cockpit",),
        1,
        1,
    )
    assert (found["avocet-south"].stations, found["avocet-south"].proved, found["avocet-south"].kept) == (
        ("carpet",),
        0,
        0,
    )
    assert "another station sets its pace" in found["avocet-south"].reason
    assert flow.saved["avocet-east"].mean == 0, "it had it before"
    assert all(flow.saved[name].mean > 0 for name in ("avocet-mother", "avocet-north", "avocet-south"))
    page = world_page({"seeds": 1, "mother": MOTHER.id, "plants": [], "flow_back": flow.to_document()})
    assert "avocet-east: cockpit" in page
    assert "avocet-east" in flow_text(flow)
    assert "nothing flowed back" in flow_text(replace(flow, flows=()))


def test_the_page_names_every_plant_and_draws_every_curve(results: list[PlantResult]) -> None:
    page = world_page({"seeds": 3, "mother": MOTHER.id, "plants": [to_document(each) for each in results]})
    assert page.count("<svg") == 2 * 4
    assert page.count("<polyline") == 2 * 4 * 3
    assert all(each.site.site in page for each in results)
    assert "nan" not in page


def test_ramp_up_is_over_when_it_stays_over() -> None:
    days = [
        Day(vehicles=2, built=built, error=0, takt_s=60, conversion=0, first_pass=1) for built in (2, 4, 6, 8)
    ]
    assert reached(days, [False, True, False, True]) == (4, 6)
    assert reached(days, [True] * 4) == (1, 0)
    assert reached(days, [False] * 4) == (5, 8)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("takt_s = 60", "takt_s = 0", "a takt above 0"),
        ("takt_s = 60", "takt_s = 'a minute'", "takt_s"),
        ("days = 16", "days = 61", "1 to 60 days"),
        ("pilot = [2,", "pilot = [0,", "a vehicle or more"),
        ("hours = 22", "hours = 25", "avocet-east"),
        ("[home]  # the mother plant\nhours = 15.5", "[home]\nhours = 0", "home has hours"),
        ("wage_h = 39", "wage_h = -39", "home has hours"),
        ("[home]", "[house]", "home"),
        ("wage_h = 14", "wage_h = -14", "avocet-south"),
        ("cockpit = 0.5", "cockpit = 0", "avocet-east"),
        ('kind = "bought"', 'kind = "stolen"', "kind"),
        ("mother =", "mother", "world.toml"),
    ],
)
def test_a_world_that_cannot_be_is_refused(before: str, after: str, words: str) -> None:
    assert before in SOURCE
    with pytest.raises(InvalidInput, match=words):
        read_world(SOURCE.replace(before, after), name="world.toml")
