"""What an alarm says: what fails, and which of its vehicles most of the failed ones are."""

from __future__ import annotations

from collections.abc import Mapping

from ringroad.http.views_quality import alarm_words


def evidence(**failing: Mapping[str, int]) -> dict[str, object]:
    return {"failed": 60, "vehicles": 1_400, "usual_milli": 14_200, "failing": failing}


def test_software_that_harms_one_variant_names_it() -> None:
    said = alarm_words("roof", "software", "1.1", evidence(variant={"van": 7, "bus": 53}))
    assert said == "roof: 60 of 1400 vehicles with software 1.1 failed, 14.2 were usual; most of them bus"


def test_what_is_shared_by_all_is_not_said() -> None:
    said = alarm_words(
        "roof", "software", "1.1", evidence(variant={"van": 28, "bus": 32}, lot={"clip=A": 20})
    )
    assert said.endswith("usual")


def test_most_is_what_most_have_however_the_counts_are_kept() -> None:
    said = alarm_words(
        "roof", "station", "", evidence(software={"9": 2, "10.2": 58}, lot={"clip=A": 9, "clip=BB": 51})
    )
    assert said.endswith("; most of them software 10.2 and lot clip=BB")
