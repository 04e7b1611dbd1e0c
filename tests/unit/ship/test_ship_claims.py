"""What a DDI client's success is worth: nothing before the device says what it runs, unless its kind says otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.ship.claims import Awaited, SuccessRule, check_success, confirms, rules_of
from ringroad.ship.model import AssignmentState, EcuDesign, PackageFacts, ReleaseFacts
from ringroad.ship.report import Evidence, Move, decide_report, read_evidence

SHA, OLD = "a" * 64, "b" * 64
BOX = Awaited(ecu="box", version="2.0", sha256=SHA, version_before="1.0", sha256_before=OLD)
RADIO = Awaited(ecu="radio", version="7", sha256="c" * 64, version_before="6", sha256_before="d" * 64)
RULE = SuccessRule(attributes={"box": "sw"})
BOTH = SuccessRule(attributes={"box": "sw", "radio": "radio_sw"})
SUCCESS = {"gateway": "ddi", "execution": "closed", "finished": "success"}


@pytest.mark.parametrize(
    ("rule", "data", "awaited", "expected"),
    [
        (RULE, {"sw": "2.0"}, [BOX], True),
        (RULE, {"sw": " 2.0\n"}, [BOX], True),
        (RULE, {"sw": SHA.upper()}, [BOX], True),
        (RULE, {"sw": "2.0"}, [BOX, RADIO], True),  # what is behind the client, its client speaks for
        (BOTH, {"sw": "2.0", "radio_sw": "7"}, [BOX, RADIO], True),
        (RULE, {"sw": "1.0"}, [BOX], False),  # before the restart
        (RULE, {"sw": "2"}, [BOX], False),
        (RULE, {"sw": 2.0}, [BOX], False),
        (RULE, {"sw": None}, [BOX], False),
        (RULE, {"version": "2.0"}, [BOX], False),
        (RULE, {}, [BOX], False),
        (RULE, {"sw": "2.0"}, [], False),
        (SuccessRule(), {"sw": "2.0"}, [BOX], False),  # nobody said which attribute it is
        (BOTH, {"sw": "2.0"}, [BOX, RADIO], False),
        (BOTH, {"sw": "2.0", "radio_sw": "6"}, [BOX, RADIO], False),
    ],
)
def test_a_statement_confirms_what_it_names(
    rule: SuccessRule, data: dict[str, Any], awaited: list[Awaited], *, expected: bool
) -> None:
    assert confirms(rule, data, awaited) is expected


def test_a_version_that_it_ran_before_as_well_confirms_nothing_but_the_digest_does() -> None:
    rebuilt = Awaited(ecu="box", version="2.0", sha256=SHA, version_before="2.0", sha256_before=OLD)
    assert not confirms(RULE, {"sw": "2.0"}, [rebuilt])
    assert confirms(RULE, {"sw": SHA}, [rebuilt])


KEPT = replace(RADIO, version_before=RADIO.version, sha256_before=RADIO.sha256)


@pytest.mark.parametrize(
    ("rule", "data", "expected"),
    [
        (BOTH, {"sw": "2.0", "radio_sw": "7"}, True),
        (BOTH, {"sw": SHA, "radio_sw": KEPT.sha256}, True),
        (BOTH, {"sw": "1.0", "radio_sw": "7"}, False),  # what changes still runs the old
        (BOTH, {"sw": "2.0", "radio_sw": "6"}, False),  # what stays is not what was known to be there
        (BOTH, {"sw": "2.0"}, False),
        (SuccessRule(attributes={"radio": "radio_sw"}), {"radio_sw": "7"}, False),  # said before as well
    ],
)
def test_an_ecu_that_stays_as_it_was_is_stated_too_and_alone_confirms_nothing(
    rule: SuccessRule, data: dict[str, Any], *, expected: bool
) -> None:
    assert confirms(rule, data, [BOX, KEPT]) is expected


@given(
    st.dictionaries(st.sampled_from(["sw", "radio_sw", "x"]), st.none() | st.text(max_size=4) | st.integers())
)
def test_nothing_but_the_awaited_words_ever_confirms(data: dict[str, Any]) -> None:
    good = str(data.get("sw")).strip() in {"2.0", SHA} and isinstance(data.get("sw"), str)
    assert confirms(RULE, data, [BOX]) is good


def release(*settings: dict[str, str]) -> ReleaseFacts:
    names = [f"ecu{number}" for number in range(len(settings))]
    packages = {
        name: PackageFacts(
            id=name, ecu=name, version="2", filename="f", format="bin", hardware_ids=(), image_sha256=SHA,
            image_sha512="", image_bytes=1, release_counter=2,
        )
        for name in names
    }  # fmt: skip
    designs = {
        name: EcuDesign(storage="ab", settings=each) for name, each in zip(names, settings, strict=True)
    }
    return ReleaseFacts(
        id="r", programme_id="p", version="2", state="signed", variants={"box": packages}, ecus=designs
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (({},), "stated"),  # nothing said: the careful reading
        (({"success": "word"},), "word"),
        (({"success": "after_restart"},), "after_restart"),
        (({"success": "after_restart"}, {"success": "word"}), "word"),
        (({"success": "after_restart"}, {}), "stated"),
        (({"success": "word"}, {"success": "stated"}), "stated"),
        (({"success": "Word"},), "stated"),  # stored before anybody checked it
    ],
)
def test_of_several_words_the_careful_one_counts(settings: tuple[dict[str, str], ...], expected: str) -> None:
    assert rules_of(release(*settings))["box"].success == expected


def test_two_banks_everywhere_keep_the_old_software_and_one_in_place_ecu_does_not() -> None:
    both = release({}, {})
    assert rules_of(both)["box"].keeps_old
    mixed = replace(both, ecus={**both.ecus, "ecu1": EcuDesign(storage="inplace")})
    assert not rules_of(mixed)["box"].keeps_old
    unknown = replace(both, ecus={"ecu0": both.ecus["ecu0"]})
    assert not rules_of(unknown)["box"].keeps_old


def test_the_attribute_of_each_ecu_is_kept() -> None:
    assert rules_of(release({"version_attribute": "sw"}, {}))["box"].attributes == {"ecu0": "sw"}


@pytest.mark.parametrize(
    ("success", "evidence"),
    [("stated", Evidence.WORD), ("after_restart", Evidence.CONFIRMED), ("word", Evidence.CONFIRMED)],
)
def test_success_is_a_claim_unless_its_kind_says_otherwise(success: Any, evidence: Evidence) -> None:
    assert read_evidence("closed", SUCCESS, success=success)[0] is evidence


def test_who_says_nothing_of_it_gets_the_careful_reading() -> None:
    assert read_evidence("closed", SUCCESS)[0] is Evidence.WORD
    assert read_evidence("closed", SUCCESS, download_only=True)[0] is Evidence.DOWNLOADED
    assert read_evidence("closed", SUCCESS | {"finished": "failure"})[0] is Evidence.FAILED


@pytest.mark.parametrize("state", ["pending", "offered", "active", "cancelling"])
def test_a_claim_closes_nothing(state: str) -> None:
    move = decide_report(AssignmentState(state), Evidence.WORD, "")
    assert isinstance(move, Move)
    assert move.claimed
    assert move.began  # silence from here on counts as harm
    assert move.state in {"pending", "active", "cancelling"}


@pytest.mark.parametrize(
    ("rule", "codes"),
    [
        (SuccessRule(success="word"), ["success_is_word"]),
        (SuccessRule(), ["success_unconfirmed"]),
        (RULE, []),
        (SuccessRule(success="after_restart"), []),
    ],
)
def test_the_checker_says_what_success_will_be_worth(rule: SuccessRule, codes: list[str]) -> None:
    assert [each.code for each in check_success({"box": rule}, {"box": 3})] == codes
    assert check_success({"box": rule}, {}) == []  # only DDI vehicles say it in a word
    assert [each.code for each in check_success({}, {"box": 3})] == ["success_unconfirmed"]
