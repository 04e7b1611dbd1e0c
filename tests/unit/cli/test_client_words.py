from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import pytest

from ringroad.cli.campaign_return import nobody_text, read_recovery
from ringroad.cli.campaign_text import campaign_head, next_text, plan_text, was_stopped, waves_text
from ringroad.cli.diagnose_words import measured
from ringroad.cli.names import read_at, read_duration_s, read_permille, read_wave
from ringroad.cli.plant_clone import lesson_text
from ringroad.cli.release_file import document_of_file, document_of_options, find_package, read_file
from ringroad.cli.shop_plan import plant_of
from ringroad.cli.tables import can_redraw, details, problems, size, table, tail
from ringroad.cli.trace import _moment
from ringroad.kernel.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from ringroad.cli.client import Client

PROGRAMME: dict[str, Any] = {
    "variants": {
        "city": {"ecus": ["brake", "gateway"]},
        "touring": {"ecus": ["brake", "display", "gateway"]},
        "box": {"ecus": ["telebox"]},
    },
    "ecus": {
        "brake": {"primary": False},
        "display": {"primary": False},
        "gateway": {"primary": True},
        "telebox": {"primary": True},
    },
}
PACKAGES = [
    {"id": "pkg_01m8312pb4k2eph4whv28xqjxy", "ecu": "brake", "version": "1.0.0"},
    {"id": "pkg_01m8312qrbh1bmz53jdg3vh4s7", "ecu": "brake", "version": "1.1.0"},
    {"id": "pkg_01m8312s5r0vy3183mbkpstsvm", "ecu": "gateway", "version": "1.0.0"},
    {"id": "pkg_01m8312s5r0vy3183mbkaaaaaa", "ecu": "display", "version": "3.0.0"},
    {"id": "pkg_01m8312s5r0vy3183mbkbbbbbb", "ecu": "display", "version": "3.0.0"},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "term", "moves"),
    [
        (Terminal(), "xterm", True),
        (Terminal(), "dumb", False),
        (Terminal(), None, False),
        (io.StringIO(), "xterm", False),
    ],
)
def test_only_a_terminal_that_moves_its_cursor_is_written_over(
    stream: io.StringIO, term: str | None, monkeypatch: pytest.MonkeyPatch, *, moves: bool
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert can_redraw(stream) is moves


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800), ("1w", 604_800), (" 0s", 0)],
)
def test_a_length_of_time_is_read(text: str, seconds: int) -> None:
    assert read_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "s", "-1s", "1.5h", "1y", "1h30m", "1 000s", "٣s"])
def test_another_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_duration_s(text)


@pytest.mark.parametrize(
    ("text", "permille"), [("2%", 20), ("0.5%", 5), ("100%", 1000), ("0%", 0), (" 10 % ", 100)]
)
def test_a_share_is_read(text: str, permille: int) -> None:
    assert read_permille(text) == permille


@pytest.mark.parametrize("text", ["", "2", "101%", "100.1%", "-1%", "0.05%", "a%"])
def test_another_share_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"--failed-max: .* is no share from 0% to 100%"):
        read_permille(text, of="--failed-max")


def test_a_wave_is_vehicles_or_a_share() -> None:
    assert read_wave("20") == {"vehicles": 20}
    assert read_wave("2.5%") == {"permille": 25}
    with pytest.raises(InvalidInput):
        read_wave("all")


def test_a_wave_may_begin_from_a_time_on_that_names_its_zone() -> None:
    at = {"not_before": "2027-01-11T08:00:00+00:00"}
    assert read_wave("10%@2027-01-11T08:00Z") == {"permille": 100, **at}
    assert read_wave("20 @ 2027-01-11 08:00+00:00") == {"vehicles": 20, **at}
    for text in ("10%@2027-01-11T08:00", "10%@", "10%@monday", "@2027-01-11T08:00Z"):
        with pytest.raises(InvalidInput):
            read_wave(text)


def test_a_date_without_a_zone_is_utc() -> None:
    assert read_at("2027-01-31") == "2027-01-31T00:00:00+00:00"
    assert read_at("2027-01-31T06:00+02:00") == "2027-01-31T06:00:00+02:00"
    assert read_at("2027-01-31T06:00", zone=ZoneInfo("Europe/Oslo")) == "2027-01-31T06:00:00+01:00"


@pytest.mark.parametrize(("text", "later_s"), [("now", 0), ("now+2h", 7_200), ("now - 3d", -3 * 86_400)])
def test_a_time_may_be_so_long_from_now(text: str, later_s: int) -> None:
    before = datetime.now(UTC)
    said = datetime.fromisoformat(read_at(text)) - timedelta(seconds=later_s)
    assert before <= said <= datetime.now(UTC)


def test_a_claim_told_with_spaces_around_its_time_is_of_that_time() -> None:
    assert _moment(" 2026-11-26T08:00:00Z ") == datetime(2026, 11, 26, 8, tzinfo=UTC)
    assert _moment(" now-2d") < datetime.now(UTC)


@pytest.mark.parametrize("text", ["31.1.2027", "now+", "now2h", "now+2y", "now+999999999w", "tomorrow", ""])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput) as told:
        read_at(text)
    assert told.value.hint.startswith("for example ")


@pytest.mark.parametrize(
    ("word", "ecu", "end"),
    [
        ("brake@1.0.0", "", "28xqjxy"),
        ("1.1.0", "brake", "3vh4s7"),
        ("gateway@1.0.0", "gateway", "pstsvm"),
        ("pkg_01m8312pb4k2eph4whv28xqjxy", "", "28xqjxy"),
        ("aaaaaa", "display", "aaaaaa"),
    ],
)
def test_a_package_is_found(word: str, ecu: str, end: str) -> None:
    assert find_package(word, PACKAGES, ecu=ecu)["id"].endswith(end)


@pytest.mark.parametrize(
    ("word", "ecu", "error"),
    [
        ("brake@7", "", NotFound),
        ("1.0.0", "", NotFound),  # a version alone names nothing
        ("xy", "", NotFound),  # an end of an id has four characters at least
        ("", "brake", NotFound),
        ("display@3.0.0", "", InvalidInput),  # two have this version
        ("brake@1.0.0", "gateway", InvalidInput),  # for another ECU
    ],
)
def test_a_package_that_is_not_one_is_refused(word: str, ecu: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        find_package(word, PACKAGES, ecu=ecu)


def test_packages_go_to_every_variant_with_their_ecu_and_the_rest_is_untouched() -> None:
    document = document_of_options(
        PROGRAMME, PACKAGES, words=["gateway@1.0.0", "brake@1.1.0"], groups=[], post_checks=["brake=version"],
        preconditions=["Vehicle.Speed == 0"],
    )  # fmt: skip
    brake, gateway = PACKAGES[1]["id"], PACKAGES[2]["id"]
    assert document == {
        "variants": {
            "city": {"brake": brake, "gateway": gateway},
            "touring": {"brake": brake, "gateway": gateway},
        },
        "untouched": {"city": [], "touring": ["display"], "box": ["telebox"]},
        "groups": [{"name": "all", "ecus": ["brake", "gateway"]}],  # the Primary last
        "post_checks": [{"ecu": "brake", "kind": "version"}],
        "preconditions": ["Vehicle.Speed == 0"],
    }


def test_groups_are_installed_in_the_order_given() -> None:
    document = document_of_options(
        PROGRAMME, PACKAGES, words=["brake@1.1.0", "gateway@1.0.0"], groups=["chassis=brake", "last=gateway"],
        post_checks=[], notes="n", rxswins=["r", "braking=R13H-0042"],
    )  # fmt: skip
    assert document["groups"] == [
        {"name": "chassis", "ecus": ["brake"], "after": []},
        {"name": "last", "ecus": ["gateway"], "after": ["chassis"]},
    ]
    assert (document["notes"], document["rxswin"], document["rxswins"]) == (
        "n",
        "r",
        {"braking": "R13H-0042"},
    )


@pytest.mark.parametrize(
    "options",
    [
        {"words": ["brake@1.0.0", "brake@1.1.0"]},
        {"words": ["brake@1.0.0"], "groups": ["chassis"]},
        {"words": ["brake@1.0.0"], "groups": ["=brake"]},
        {"words": ["brake@1.0.0"], "post_checks": ["brake="]},
    ],
)
def test_options_that_contradict_or_cannot_be_read_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        document_of_options(PROGRAMME, PACKAGES, **{"groups": [], "post_checks": [], **options})


def test_a_release_file_is_read_as_toml_or_json() -> None:
    toml = 'name = "W"\nversion = "2"\n[variants.city]\nbrake = "1.1.0"\n'
    json = '{"name": "W", "version": "2", "variants": {"city": {"brake": "1.1.0"}}}'
    assert read_file(toml, filename="w.toml") == read_file(json, filename="w.json")
    assert document_of_file(read_file(toml, filename="w.toml"), PACKAGES) == {
        "variants": {"city": {"brake": PACKAGES[1]["id"]}},
        "groups": [{"name": "all", "ecus": ["brake"]}],
    }


@pytest.mark.parametrize(
    ("text", "filename"),
    [
        ("name = ", "w.toml"),
        ("{", "w.json"),
        ("[]", "w.json"),
        ('version = "2"', "w.toml"),
        ('name = "W"\nversion = "2"\nvariants = 3', "w.toml"),
        ('name = "W"\nversion = "2"\nvariants.city = "brake"', "w.toml"),
        ('name = "W"\nversion = "2"\nvarients = {}\nvariants = {}', "w.toml"),
    ],
)
def test_another_release_file_is_refused(text: str, filename: str) -> None:
    with pytest.raises(InvalidInput, match=filename):
        read_file(text, filename=filename)


def test_a_table_is_straight_and_numbers_stand_right() -> None:
    assert table(("name", "count"), [("a", 9), ("bcd efg", 10), (None, 100)]) == (
        "NAME     COUNT\na            9\nbcd efg     10\n-          100"
    )
    assert table(("name",), [], empty="none yet") == "none yet"


def test_a_cell_never_breaks_its_table() -> None:
    lines = table(("text",), [("one\ntwo\t three",), ("x" * 500,)]).splitlines()
    assert lines[1] == "one two three"
    assert len(lines) == 3
    assert len(lines[2]) == 60


def test_empty_details_are_left_out() -> None:
    assert details([("a", 1), ("long", ""), ("b", None), ("c", []), ("dd", False)]) == "a   1\ndd  no"


def test_blocking_problems_come_first() -> None:
    found = [
        {"severity": "warning", "code": "w", "message": "so so", "hint": ""},
        {"severity": "blocking", "code": "b", "message": "bad", "hint": "mend it"},
    ]
    assert problems(found).splitlines()[0] == "blocking  bad  [b]"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_250_000_000, "1.25 GB")]
)
def test_sizes_are_shown_for_people(count: int, text: str) -> None:
    assert size(count) == text


def test_the_end_of_an_id_is_shown_and_nothing_else_is_cut() -> None:
    assert tail("pkg_01m8312pb4k2eph4whv28xqjxy") == "v28xqjxy"
    assert tail("roadster") == "roadster"
    assert tail(None) == "-"


@pytest.mark.parametrize(
    ("states", "bar"),
    [
        ({"installed": 4}, "#" * 30),
        ({"installed": 1, "pending": 1}, "#" * 15 + "." * 15),
        ({"failed": 1, "installed": 999}, "#" * 29 + "x"),  # one failure is never rounded away
        ({"expired": 2, "rolled_back": 1, "failed": 1}, "x" * 15 + "?" * 15),  # silent is no failure
        ({"expired": 1, "failed": 1, "installed": 998}, "#" * 28 + "x?"),
        ({"offered": 3}, "." * 30),
    ],
)
def test_a_wave_is_drawn_with_its_failures(states: dict[str, int], bar: str) -> None:
    rows = [{"wave": 1, "state": state, "vehicles": count} for state, count in states.items()]
    assert f"[{bar}]" in waves_text(rows)


def test_a_plan_without_matches_says_none() -> None:
    document = {
        "release_version": "1", "counts": {"match": 0, "already_installed": 1, "mismatch": 0, "unknown": 0},
        "wave_vehicles": [], "not_selected": {"region = NO": 3}, "install_s_estimate": 90,
        "request": {
            "query": "q", "vehicle_deadline_s": 604_800,
            "gate": {"failed_permille_max": 5, "reports_min": 2, "soak_s": 3600},
        },
    }  # fmt: skip
    text = plan_text(document)
    assert "matches     none" in text
    assert "at most 0.5 % failed of at least 2 reports, soak 1 h" in text
    assert "region = NO" in text


def test_the_vehicles_of_a_campaign_are_all_accounted_for() -> None:
    row = {
        "id": "c", "name": "winter", "release_name": "two", "release_version": "2", "state": "running",
        "state_reason": "", "wave": 1, "lap_id": None, "created_at": "2026-11-26T05:00:00Z", "created_by": "ann",
        "finished_at": None, "vehicles": 14, "installed": 3, "downloaded": 0, "claimed": 1, "failed": 2, "cancelled": 3,
    }  # fmt: skip
    text = campaign_head(row, None)
    assert "14: 3 installed, 1 claimed, 2 failed, 3 let go, 5 to come" in text
    assert "05:00:00 UTC by ann" in text
    hidden = campaign_head(row | {"created_by": ""}, None)  # from the operator of a fleet
    assert hidden.endswith("05:00:00 UTC")
    assert "returns" not in text
    row |= {"returns_ordered": 3, "returned": 1, "returns_failed": 1}
    ends = {"recovered": 1, "not_recovered": 1, "unknown": 1, "kept": 0, "untouched": 5}
    text = campaign_head(row, None, {"verdict": "not_recovered", "reason": "", "vehicles": ends})
    assert "3 ordered: 1 back, 1 on their way, 1 came to nothing" in text
    assert "not recovered: 1 recovered, 1 not recovered, 1 unknown, 5 untouched" in text


STOPPED = {
    "id": "campaign_01m832x95vqz5fds573mndf7ns", "name": "winter", "release_name": "two", "release_version": "2",
    "state": "halted", "state_reason": "", "wave": 1, "lap_id": None, "created_at": "2026-11-26T05:00:00Z",
    "created_by": "ann", "finished_at": None, "vehicles": 9, "installed": 5, "downloaded": 0, "claimed": 0, "failed": 2,
    "returns_ordered": 0, "returned": 0, "returns_failed": 0,
}  # fmt: skip


def test_vehicles_that_still_run_a_stopped_release_are_not_called_recovered_and_the_way_back_is_named() -> (
    None
):
    ends = {"recovered": 2, "not_recovered": 0, "unknown": 0, "kept": 5, "untouched": 2}
    recovery = {"verdict": "recovered", "reason": "", "vehicles": ends}
    text = campaign_head(STOPPED, None, recovery)
    assert "some still run the stopped release: 2 recovered, 5 kept, 2 untouched" in text
    assert next_text(STOPPED, recovery).startswith("next: ringroad campaign return ")
    back = {"verdict": "recovered", "reason": "", "vehicles": ends | {"recovered": 7, "kept": 0}}
    assert "recovered: 7 recovered, 2 untouched" in campaign_head(STOPPED, None, back)
    assert next_text(STOPPED, back) == ""
    lost = {"verdict": "not_recovered", "reason": "", "vehicles": ends | {"not_recovered": 1}}
    assert "not recovered: 2 recovered, 1 not recovered" in campaign_head(STOPPED, None, lost)


@pytest.mark.parametrize(
    ("state", "failed", "said"),
    [("running", 1, True), ("paused", 1, True), ("running", 0, False), ("finished", 1, False)],
)
def test_where_vehicles_failed_it_is_said_how_to_stop(state: str, failed: int, *, said: bool) -> None:
    row = STOPPED | {"state": state, "failed": failed}
    assert ("ringroad campaign abort" in next_text(row, None)) is said


@pytest.mark.parametrize(
    ("ordered", "back", "failed", "expected"),
    [
        (0, 0, 0, "no vehicle of winter kept its release: nobody is to go back"),
        (3, 3, 0, "all 3 vehicles of winter that were ordered back are back"),
        (3, 1, 0, "nobody else of winter is to go back; of 3 that were ordered: 1 back, 2 on their way"),
        (3, 1, 1, "1 of which it came to nothing"),
    ],
)
def test_whoever_orders_vehicles_back_a_second_time_is_told_where_they_are(
    ordered: int, back: int, failed: int, expected: str
) -> None:
    row = STOPPED | {"returns_ordered": ordered, "returned": back, "returns_failed": failed}
    assert expected in nobody_text(row)


@pytest.mark.parametrize(
    ("row", "stopped"),
    [
        (STOPPED, True),
        (STOPPED | {"state": "aborted"}, True),
        (STOPPED | {"state": "running"}, False),
        (STOPPED | {"vehicles": 0}, False),
    ],
)
def test_what_became_of_vehicles_is_counted_of_stopped_campaigns_that_reached_some(
    row: dict[str, Any], *, stopped: bool
) -> None:
    assert was_stopped(row) is stopped


class Pages:
    """Answers as the server does: page by page, each with the VIN that the next one begins behind."""

    def __init__(self, *pages: dict[str, int]) -> None:
        self.pages = dict(enumerate(pages))
        self.asked: list[object] = []

    def get(self, path: str, **query: object) -> Any:
        assert path == "/campaigns/c/recovery"
        self.asked.append(query["after"])
        number = len(self.asked) - 1
        more = number + 1 < len(self.pages)
        return {
            "verdict": "recovered",
            "reason": "",
            "vehicles": self.pages[number],
            "next": f"V{number}" if more else None,
        }


def test_all_pages_of_a_stopped_campaign_are_counted_and_the_verdict_is_one_on_all_of_them() -> None:
    pages = Pages({"recovered": 3}, {"untouched": 2, "not_recovered": 1}, {"kept": 4})
    found = read_recovery(cast("Client", pages), "c")
    assert pages.asked == [None, "V0", "V1"]
    assert found["vehicles"] == {
        "recovered": 3,
        "not_recovered": 1,
        "unknown": 0,
        "kept": 4,
        "moved_on": 0,
        "untouched": 2,
    }
    assert found["verdict"] == "not_recovered"
    assert read_recovery(cast("Client", Pages({})), "c")["verdict"] == "recovered"
    assert read_recovery(cast("Client", Pages({"recovered": 3}, {"kept": 1})), "c")["verdict"] == "kept"


def test_what_is_typed_from_a_table_is_never_cut_in_it() -> None:
    session = "local.bench-1." + "a" * 80
    shown = table(("session", "why"), [(session, "b" * 80)], whole=("session",))
    assert session in shown
    assert "b" * 80 not in shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1_795_684_899, "s since 1970", "2026-11-26 09:21:39 UTC"),
        (-1, "s since 1970", "-1 s since 1970"),
        (12_034, "km", "12034 km"),
        (3, "", "3"),
    ],
)
def test_a_time_in_a_snapshot_is_shown_as_one(value: int, unit: str, shown: str) -> None:
    assert measured({"value": value, "unit": unit}) == shown


def test_how_much_better_a_whole_clone_is_is_said_with_its_interval() -> None:
    belief = {
        "key": "assembly/Line 1/trim#first_pass",
        "family": "share",
        "mean": 0.9,
        "low": 0.8,
        "high": 0.95,
    }
    kind = {
        "kind": "first_pass", "plant": 0.186, "plant_low": -0.1, "plant_high": 0.47, "transfer_sd": 0.1,
        "parameters": [{"belief": belief, "inherited": 0.88, "own_n": 4}],
    }  # fmt: skip
    lesson = {"id": "north", "generation": 2, "inherited_from": ["mother"], "different": [], "kinds": [kind]}
    said = "as a whole +20.4 % of the odds (90 % between -9.5 and +60.0 %)"
    assert said in lesson_text(lesson)
    timed = kind | {"parameters": [{"belief": belief | {"family": "time"}, "inherited": 60, "own_n": 4}]}
    assert "as a whole +20.4 % (90 % between -9.5" in lesson_text(lesson | {"kinds": [timed]})


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ({"mother": [], "north": ["wren"]}, "north"),
        ({"mother": []}, "mother"),
        ({"mother": [], "north": []}, None),
    ],
)
def test_of_several_plants_with_shops_the_one_that_builds_here_is_meant(
    runs: dict[str, list[str]], found: str | None
) -> None:
    class Plants:
        def get(self, path: str) -> Any:
            return [{"id": name, "runs": of} for name, of in runs.items()] if path == "/plants" else ["press"]

    client = cast("Client", Plants())
    if found is None:
        with pytest.raises(InvalidInput, match="several plants have shops"):
            plant_of(client, None)
    else:
        assert plant_of(client, None) == found
