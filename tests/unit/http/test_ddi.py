from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.http.device import ddi
from ringroad.http.device.read_model import Device, Offer, ReadModel, Telling
from ringroad.http.device.steering import Need
from ringroad.http.device.wire import Request, origin_of, parse_range
from ringroad.kernel.errors import InvalidInput

BASE = "https://srv/DEFAULT/controller/v1/veh-1"
OFFER = Offer(action_id=17, kind="update", release_id="release_1", variant="city")
SHOWN: ddi.Shown = ("deploymentBase", Telling(offer=OFFER))


def device(offer: Offer | None = None, *, config_wanted: bool = False) -> Device:
    made = Device(b"\0" * 32, ddi=True, config_wanted=config_wanted)
    made.offer = offer
    return made


def status(**result: Any) -> dict[str, Any]:
    return {"status": {"execution": "proceeding", "result": {"finished": "none", **result}}}


@pytest.mark.parametrize(
    ("poll_s", "text"), [(0, "00:00:01"), (5, "00:00:05"), (300, "00:05:00"), (10**9, "23:59:59")]
)
def test_sleep_is_eight_characters(poll_s: int, text: str) -> None:
    assert ddi.sleep_text(poll_s) == text


def test_an_idle_device_is_offered_nothing() -> None:
    answer = orjson.loads(ddi.render_poll(device(), None, base=BASE, poll_s=300))
    assert answer == {"config": {"polling": {"sleep": "00:05:00"}}, "_links": {}}


def test_exactly_one_of_update_and_cancel_is_offered() -> None:
    update = orjson.loads(ddi.render_poll(device(OFFER, config_wanted=True), SHOWN, base=BASE, poll_s=5))[
        "_links"
    ]
    assert set(update) == {"deploymentBase", "configData"}
    cancel = Offer(action_id=17, kind="cancel", release_id="r", variant="city")
    assert orjson.loads(
        ddi.render_poll(device(cancel), ("cancelAction", Telling(offer=cancel)), base=BASE, poll_s=5)
    )["_links"] == {
        "cancelAction": {"href": f"{BASE}/cancelAction/17"}  # no query: SWUpdate posts to href + /feedback
    }


def test_update_is_never_skip_and_the_id_is_text() -> None:
    artifact = ddi.Artifact(
        module_id="pkg_1",
        part="bApp",
        name="fw",
        version="2",
        filename="fw.swu",
        size=3,
        sha256="a",
        sha1="b",
        md5="c",
    )
    document = orjson.loads(ddi.render_deployment(Telling(offer=OFFER), [artifact], base=BASE))
    assert document["id"] == "17"
    assert document["deployment"]["update"] == "forced"
    file = document["deployment"]["chunks"][0]["artifacts"][0]
    assert file["_links"]["download"] == file["_links"]["download-http"]
    assert set(file["hashes"]) == {"sha1", "md5", "sha256"}
    assert isinstance(file["size"], int)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ({"percentage": 40}, (40, 100)),
        ({"percentage": 400}, (100, 100)),
        ({"cnt": 2, "of": 5}, (2, 5)),
        ({"cnt": 7, "of": 5}, (5, 5)),
        ({"cnt": 2, "of": 0}, (None, None)),
        ({"cnt": True, "of": 5}, (None, None)),
        ("half", (None, None)),
    ],
)
def test_progress_is_read_as_clients_send_it(
    progress: object, expected: tuple[int | None, int | None]
) -> None:
    feedback = ddi.parse_feedback(status(progress=progress))
    assert (feedback.done, feedback.total) == expected


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"status": "closed"},
        {"status": {"execution": "finished"}},
        {"status": {"execution": ["closed"]}},
        {"status": {"execution": "closed", "result": []}},
        {"status": {"execution": "closed", "result": "success"}},
        {"status": {"execution": "closed", "result": {"finished": "yes"}}},
        {"status": {"execution": "closed", "result": {"finished": ["success"]}}},
        {"status": {"execution": "closed", "details": {"a": 1}}},
    ],
)
def test_feedback_without_a_usable_status_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        ddi.parse_feedback(document)


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1_795_392_000_000, datetime(2026, 11, 23, tzinfo=UTC)),
        (None, None),
        (0, None),
        (True, None),
        (-1, None),
        ("1795392000000", None),
        (253_402_300_799_000, None),  # the end of the year 9999, which a time zone east of us cannot hold
        (86_399_999, None),  # a clock that was never set
    ],
)
def test_a_time_that_makes_no_sense_is_none(timestamp: object, expected: datetime | None) -> None:
    assert ddi.parse_feedback({**status(), "timestamp": timestamp}).event_at == expected


def test_details_are_bounded() -> None:
    document = {"status": {"execution": "closed", "details": ["x" * 5_000] * 500}}
    feedback = ddi.parse_feedback(document)
    assert len(feedback.details) == ddi.DETAILS_MAX
    assert len(feedback.details[0]) == ddi.DETAIL_CHARS_MAX


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=20,
    )
)
def test_no_feedback_crashes_the_parser(value: Any) -> None:
    for document in (
        value,
        {"status": value},
        {"status": {"execution": "closed", "result": value, "details": value}},
    ):
        if isinstance(document, dict):
            try:
                ddi.parse_feedback({**document, "timestamp": value})
            except InvalidInput:
                continue


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("2147483647", 2**31 - 1),
        ("2147483648", None),
        ("0", None),
        ("-1", None),
        ("٣", None),
        ("a1", None),
        ("", None),
    ],
)
def test_action_ids_fit_a_c_int(text: str, number: int | None) -> None:
    assert ddi.parse_action_id(text) == number


def test_config_data_takes_text_pairs_and_refuses_the_rest() -> None:
    assert ddi.parse_config_data({"data": {"hw": "2"}}) == ("merge", {"hw": "2"})
    with pytest.raises(InvalidInput):
        ddi.parse_config_data({"mode": "drop", "data": {}})
    with pytest.raises(InvalidInput):
        ddi.parse_config_data({"data": {str(i): "x" for i in range(101)}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-9", (0, 9)), ("bytes=90-", (90, 99)), ("bytes=-10", (90, 99)), ("bytes=95-200", (95, 99)),
        ("bytes=-500", (0, 99)), ("bytes=0-1,3-4", None), ("items=0-1", None), ("bytes=5-3", None), ("bytes=-", None),
    ],
)  # fmt: skip
def test_ranges(text: str, expected: tuple[int, int] | None) -> None:
    assert parse_range(text, 100) == expected


@pytest.mark.parametrize("text", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_ranges_outside_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_range(text, 100)


@pytest.mark.parametrize("urgency", ["forced", "soft", "download_only"])
@pytest.mark.parametrize("window_open", [None, True, False])
@pytest.mark.parametrize("consent_wanted", [False, True])
@pytest.mark.parametrize("honours_skip", [False, True])
def test_no_device_is_told_to_skip_unless_it_honours_that_nor_to_update_unasked(
    *, urgency: Any, window_open: bool | None, consent_wanted: bool, honours_skip: bool
) -> None:
    asking = device(OFFER)
    asking.honours_skip = honours_skip
    telling = Telling(offer=OFFER, urgency=urgency, window_open=window_open, consent_wanted=consent_wanted)
    found = ddi.shown(asking, telling)
    if ddi.words(telling)[1] == "skip" and not honours_skip:
        assert found is None
    else:
        assert found == ("confirmationBase" if consent_wanted else "deploymentBase", telling)


def row(seq: int, state: str, action_id: int = 17) -> dict[str, Any]:
    return {
        "vin": "V",
        "changed_seq": seq,
        "state": state,
        "action_id": action_id,
        "release_id": "r",
        "variant": "v",
        "chosen": state == "pending",
        "kind": "update",
        "campaign_id": "c",
        "consented": False,
        "claimed": False,
        "packages": None,
        "reason": "its campaign was halted: x" if state == "cancelling" else "",
        "ended_last": state == "installed",
    }


def model() -> ReadModel:
    made = ReadModel()
    made.fold_devices(
        [
            {
                "vin": "V",
                "token_sha256": b"\0" * 32,
                "gateway": "ddi",
                "config_wanted": False,
                "changed_seq": 1,
                "time_zone": None,
                "auto_confirm": False,
                "schedule": None,
                "honours_skip": False,
                "certificates": [],
                "certificates_after": None,
                "enrolment_sha256": None,
            }
        ]
    )
    return made


def test_a_closed_action_is_never_offered_again_though_the_database_lags() -> None:
    known = model()
    known.fold_assignments([row(2, "offered")])
    known.devices["V"].close(17)
    known.fold_assignments([row(3, "active")])
    assert known.devices["V"].offer is None


def test_what_gave_way_to_a_later_campaign_is_offered_once_that_one_ended() -> None:
    known = model()
    known.fold_assignments([row(2, "offered", 17)])
    known.fold_assignments([row(3, "pending", 17), row(4, "offered", 18)])
    known.devices["V"].close(18)
    offers = [known.devices["V"].offer]
    known.fold_assignments([row(4, "offered", 18)])  # the database has not folded its report yet
    offers.append(known.devices["V"].offer)
    known.fold_assignments([row(5, "installed", 18), row(6, "offered", 17)])
    offers.append(known.devices["V"].offer)
    known.devices["V"].close(17)
    known.devices["V"].close(16)  # an old one ends late
    known.fold_assignments([row(6, "offered", 17)])
    offers.append(known.devices["V"].offer)
    assert [offer and offer.action_id for offer in offers] == [None, None, 17, None]
    known.fold_assignments([row(7, "installed", 17), row(8, "installed", 18) | {"ended_last": False}])
    assert known.devices["V"].installed_action == 17


@pytest.mark.parametrize(
    "state", ["pending", "installed", "failed", "rolled_back", "cancelled", "expired", "unheard-of"]
)
def test_only_open_assignments_are_offered(state: str) -> None:
    known = model()
    known.fold_assignments([row(2, "offered"), row(3, state)])
    assert known.devices["V"].offer is None


def test_an_old_action_ending_does_not_take_a_new_offer_away() -> None:
    known = model()
    known.fold_assignments([row(2, "offered", 18), row(3, "expired", 17)])
    offer = known.devices["V"].offer
    assert offer is not None
    assert offer.action_id == 18


@pytest.mark.parametrize("closing", [(17, "OTHER"), (16, "V"), (18, "V")])
def test_what_another_ended_or_ended_before_takes_no_offer_away(closing: tuple[int, str]) -> None:
    known = model()
    known.fold_assignments([row(2, "offered", 17)])
    known.fold_closings([closing])
    assert known.devices["V"].offer is not None
    known.fold_closings([(17, "V")])
    assert known.devices["V"].offer is None


@pytest.mark.parametrize(
    ("minutes", "taken"),
    [
        ([1, 1, 1, 1], [True, True, False, False]),
        ([1, 1, 2, 2, 2], [True, True, True, True, False]),
        ([7, 9, 9, 9, 7], [True, True, True, False, True]),
    ],
)
def test_a_device_may_report_so_often_in_each_minute(minutes: list[int], taken: list[bool]) -> None:
    asking = device()
    assert [asking.spend(minute=minute, reports_max=2) for minute in minutes] == taken


def test_dropping_the_model_forgets_every_offer() -> None:
    known = model()
    known.fold_assignments([row(2, "offered")])
    known.drop()
    assert not known.devices
    assert not known.fresh


def test_the_model_counts_what_vehicles_wait_for() -> None:
    known = model()
    assert known.vehicles == [1, 0, 0, 0]
    known.fold_assignments([row(2, "pending")])
    assert (known.vehicles, known.devices["V"].need) == ([0, 1, 0, 0], Need.CHOSEN)
    known.fold_assignments([row(3, "offered")])
    known.fold_assignments([row(4, "active")])
    assert (known.vehicles, known.devices["V"].need) == ([0, 0, 1, 0], Need.OFFERED)
    known.devices["V"].close(17)
    assert (known.vehicles, known.devices["V"].need) == (
        [0, 0, 1, 0],
        Need.IDLE,
    )  # nobody folded its report yet
    known.fold_assignments([row(5, "offered"), row(6, "installed"), row(6, "installed")])
    assert (known.vehicles, known.devices["V"].need) == ([1, 0, 0, 0], Need.IDLE)
    known.drop()
    assert known.vehicles == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "origin"),
    [
        ("10.0.0.5", [b"https"], "https://srv"),
        ("10.0.0.5", [], "http://srv"),
        ("10.0.0.5", [b"http", b"https"], "http://srv"),
        ("198.51.100.7", [b"https"], "http://srv"),  # it is no proxy of ours
        ("", [b"https"], "http://srv"),
    ],
)
def test_links_say_https_where_a_proxy_of_ours_says_so(
    peer: str, forwarded: list[bytes], origin: str
) -> None:
    headers = [(b"host", b"srv"), *((b"x-forwarded-proto", value) for value in forwarded)]
    request = Request(method="GET", path="/", headers=headers, scheme="http", peer=peer)
    assert origin_of(request, "", (ip_network("10.0.0.0/24"),)) == origin
    assert origin_of(request, "https://set", ()) == "https://set"
