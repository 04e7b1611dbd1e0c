"""What `ringroad site add` says of vehicles and stops that were under way."""

from __future__ import annotations

from ringroad.cli.site import under_way_text


def test_a_new_site_whose_lines_rest_has_nothing_under_way() -> None:
    assert under_way_text({"on_line": [], "standing": []}) == ""


def test_vehicles_on_the_line_and_stations_that_stand_are_told_with_what_to_do() -> None:
    one, two = under_way_text({"on_line": ["a", "b"], "standing": ["roof", "trim"]}).split("\n")[1:]
    assert one == "on its lines: 2 vehicles, which the site is told of: finish them there, not here"
    assert two.startswith(
        "still stands: roof, trim; the site is not told of it, stop it there, and end it here"
    )
    assert two.endswith("ringroad schedule resume roof")
