"""Updates that a vehicle told of without having read them: the server says of which release they are."""

from __future__ import annotations

from contextlib import closing

import pytest

from ringroad.http.diagnostics import releases_of
from ringroad.storage.db import connect
from support.fleet import CountingIds, Story, add_vehicles, fill_programme, vin

pytestmark = pytest.mark.engines


def test_an_update_that_the_vehicle_could_not_plan_has_the_release_of_its_campaign(pg_url: str) -> None:
    with closing(connect(pg_url)) as conn:
        ids = CountingIds()
        fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
        story = Story(conn, ids)
        add_vehicles(conn, range(2), gateway="native")
        story.start(waves=(2,))
        story.tick()
        action_id = str(next(each.action_id for each in story.vehicles() if each.vin == vin(0)))
        told = {action_id: ("release_2.0.0", "2.0.0")}
        assert releases_of(conn, vin(0), [{"id": action_id, "state": "FAILED"}]) == told
        assert releases_of(conn, vin(0), [{"id": action_id, "version": "2.0.0"}]) == {}
        assert releases_of(conn, vin(1), [{"id": action_id}, {"id": "x"}, {}]) == {}
