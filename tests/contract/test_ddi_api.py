"""The whole of hawkBit's device API, as its clients expect it: 17 operations, their words and their status codes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.facts import FactKind
from ringroad.storage.blobs import Blobs
from support.ddi_device import IMAGE, Device, feedback, serving_device
from support.gateways import TOKEN, VIN, FolderBlobs, add_vehicle, eventually, fill, rows, serving
from support.s3 import BUCKET, serving_bucket

pytestmark = pytest.mark.engines
OTHER = "WRRDEM00000000002"


@pytest.fixture
def device(pg_url: str, tmp_path: Path) -> Iterator[Device]:
    with serving_device(pg_url, tmp_path) as made:
        yield made


@pytest.fixture
def asked(pg_url: str, tmp_path: Path) -> Iterator[Device]:
    """A device whose driver is asked first."""
    with serving_device(pg_url, tmp_path, consent=True) as made:
        yield made


def test_the_paths_and_documents_are_those_that_clients_take_apart(device: Device) -> None:
    href = device.links()["deploymentBase"]["href"]
    assert href.startswith(f"{device.base}/deploymentBase/{device.action}?c=")  # PyPI rauc-hawkbit's pattern
    assert len(href.rpartition("/deploymentBase/")[2]) < 50  # Zephyr keeps it in 50 bytes
    document = device.client.get(href).json()
    assert document["id"] == str(device.action)  # a string that holds an integer
    (chunk,) = document["deployment"]["chunks"]  # rauc-hawkbit-updater and Zephyr take exactly one,
    (file,) = chunk["artifacts"]  # with exactly one file
    assert (chunk["part"], file["size"], file["filename"]) == ("bApp", len(IMAGE), "fw-2.swu")
    assert type(file["size"]) is int
    assert file["hashes"] == {
        name: hashlib.new(name, IMAGE).hexdigest() for name in ("sha1", "md5", "sha256")
    }
    assert file["_links"]["download"] == file["_links"]["download-http"]
    assert "/DEFAULT/controller/v1/" in file["_links"]["download-http"]["href"]  # Zephyr looks for it


def test_a_software_module_lists_its_files(device: Device) -> None:
    href = device.links()["deploymentBase"]["href"]
    (file,) = device.client.get(href).json()["deployment"]["chunks"][0]["artifacts"]
    listed = file["_links"]["download"]["href"].rpartition("/")[0]
    assert device.client.get(listed).json() == [file]
    assert device.get("/softwaremodules/pkg_2/artifacts").status_code == 404


def test_a_return_gives_a_device_what_was_decided_for_it_and_not_the_release_before(
    pg_url: str, tmp_path: Path
) -> None:
    blobs, old = FolderBlobs(tmp_path), b"the software before" * 9
    action = fill(pg_url, blobs, IMAGE)
    with psycopg.connect(pg_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO software_package (id, programme_id, ecu, name, version, filename, format, hardware_ids,"
            " image_sha256, image_sha512, image_bytes, release_counter, added_at)"
            " SELECT 'pkg_0', 'p', 'box', 'fw', '1', 'fw-1.swu', 'swu', hardware_ids, %s, '', %s, 2, now()"
            " FROM software_package WHERE id = 'pkg_1'",
            (blobs.put(old), len(old)),
        )
        conn.execute("""UPDATE assignment SET kind = 'rollback', packages = '{"box": "pkg_0"}'""")
        headers = {"Authorization": f"TargetToken {TOKEN}"}
        with serving(pg_url, blobs) as origin, httpx.Client(headers=headers) as client:
            base = f"{origin}/DEFAULT/controller/v1/{VIN}"

            def told(place: str) -> tuple[str, str] | None:
                answer = client.get(f"{base}/{place}/{action}")
                if answer.status_code != 200:
                    return None
                (chunk,) = answer.json()["deployment"]["chunks"]
                return chunk["version"], chunk["artifacts"][0]["filename"]

            assert told("deploymentBase") == ("1", "fw-1.swu")
            assert client.get(f"{base}/softwaremodules/pkg_0/artifacts/fw-1.swu").content == old
            assert client.get(f"{base}/softwaremodules/pkg_1/artifacts/fw-2.swu").status_code == 404
            conn.execute("UPDATE assignment SET state = 'installed'")
            assert eventually(lambda: told("installedBase")) == ("1", "fw-1.swu")


def test_a_download_is_held_to_the_file_it_began_with(device: Device) -> None:
    href = f"{device.base}/softwaremodules/pkg_1/artifacts/fw-2.swu"
    whole = device.client.get(href)
    sha1 = hashlib.sha1(IMAGE).hexdigest()  # noqa: S324
    assert whole.headers["etag"] == f'"{sha1}"'
    for match, status in ((f'"{sha1}"', 206), (sha1, 206), ("*", 206), ('"another"', 412)):
        answer = device.client.get(href, headers={"If-Match": match, "Range": "bytes=10-19"})
        assert answer.status_code == status
    assert device.client.get(f"{href}.MD5SUM").text == f"{hashlib.md5(IMAGE).hexdigest()}  fw-2.swu\n"  # noqa: S324
    for name in ("fw-3.swu", "fw-2.swu.SHA1SUM", "..", "fw-2.swu.MD5SUM.MD5SUM"):
        assert device.get(f"/softwaremodules/pkg_1/artifacts/{name}").status_code == 404


def test_a_download_is_sent_to_the_object_store_by_a_link_that_ends(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = fill(pg_url, FolderBlobs(tmp_path), IMAGE)
    with psycopg.connect(pg_url, autocommit=True) as conn:
        add_vehicle(conn, OTHER, "other", "ddi")
    with serving_bucket(tmp_path, monkeypatch):
        store = Blobs(f"s3://{BUCKET}/with/prefix")
        store.put([IMAGE])
        signed = partial(store.signed_url, life_s=90)
        headers = {"Authorization": f"TargetToken {TOKEN}"}
        with serving(pg_url, FolderBlobs(tmp_path), signed_url=signed) as origin, httpx.Client() as client:
            base = f"{origin}/DEFAULT/controller/v1/{VIN}"
            details = client.get(f"{base}/deploymentBase/{action}?c=1", headers=headers).json()
            file = details["deployment"]["chunks"][0]["artifacts"][0]
            href = file["_links"]["download"]["href"]
            sent = client.get(href, headers=headers)
            assert (sent.status_code, sent.content) == (307, b"")
            link = sent.headers["location"]
            assert "X-Amz-Expires=90&" in link
            assert "X-Amz-Signature=" in link
            assert client.get(link).content == IMAGE  # without a token of ours
            assert client.get(link, headers={"Range": "bytes=10-19"}).content == IMAGE[10:20]
            assert client.head(href, headers=headers).headers["content-length"] == str(len(IMAGE))
            assert client.get(f"{href}.MD5SUM", headers=headers).text.startswith(file["hashes"]["md5"])
            stranger = href.replace(VIN, OTHER)
            assert client.get(href).status_code == 401
            refused = client.get(stranger, headers={"Authorization": "TargetToken other"})
            assert (refused.status_code, refused.headers.get("location")) == (404, None)
    assert Blobs((tmp_path / "folder").as_uri()).signed_url("0" * 64, life_s=90) is None


def test_an_unchanged_poll_and_deployment_cost_no_body(device: Device) -> None:
    href = device.links()["deploymentBase"]["href"]
    for url in (device.base, href):
        first = device.client.get(url)
        again = device.client.get(url, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    stale = device.get().headers["etag"]
    device.set("state = 'cancelling'")
    answer = device.get(If_None_Match=stale)
    assert (answer.status_code, list(answer.json()["_links"])) == (200, ["cancelAction", "configData"])
    assert device.client.get(href).status_code == 404  # it is being cancelled


OPEN = {"hours": ["00:00-12:00", "12:00-24:00"], "quiet": [], "time_zone": "UTC"}


def shut_now() -> dict[str, object]:
    """Return a window that is closed for the next hours."""
    hour = (SystemClock().now().hour + 6) % 24
    return {"hours": [f"{hour:02}:00-{(hour + 1) % 24:02}:00"], "quiet": [], "time_zone": "UTC"}


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({}, ("forced", "forced", None)),
        ({"urgency": "soft"}, ("attempt", "attempt", None)),
        ({"window": OPEN}, ("forced", "forced", "available")),
        ({"urgency": "soft", "window": OPEN}, ("attempt", "attempt", "available")),
    ],
)
def test_urgency_and_window_are_said_in_hawkbits_words(
    pg_url: str, tmp_path: Path, terms: dict[str, Any], words: tuple[str, ...]
) -> None:
    with serving_device(pg_url, tmp_path, **terms) as device:
        found = device.client.get(device.links()["deploymentBase"]["href"]).json()["deployment"]
    assert (found["download"], found["update"], found.get("maintenanceWindow")) == words


@pytest.mark.parametrize("shut", [False, True])
def test_only_a_device_that_honours_skip_is_told_to_skip(pg_url: str, tmp_path: Path, *, shut: bool) -> None:
    terms = {"window": shut_now()} if shut else {"urgency": "download_only"}
    with serving_device(pg_url, tmp_path, **terms) as device:
        assert "deploymentBase" not in device.links()  # SWUpdate would answer "success" without a download
        assert device.get(f"/deploymentBase/{device.action}?c=1").status_code == 404
        assert device.put("/configData", {"mode": "merge", "data": {"honours_skip": "true"}}) == 200
        href = eventually(lambda: device.links().get("deploymentBase"))["href"]
        found = device.client.get(href).json()["deployment"]
        assert (found["download"], found["update"]) == ("forced", "skip")
        assert found.get("maintenanceWindow") == ("unavailable" if shut else None)


def test_an_update_that_has_begun_is_offered_until_it_ends_though_its_window_is_shut(
    pg_url: str, tmp_path: Path
) -> None:
    with serving_device(pg_url, tmp_path, window=shut_now()) as device:
        assert "deploymentBase" not in device.links()
        assert device.post(f"/deploymentBase/{device.action}/feedback", feedback("proceeding")) == 200
        found = device.client.get(device.links()["deploymentBase"]["href"]).json()["deployment"]
    assert (found["update"], found["maintenanceWindow"]) == ("forced", "available")


def test_attributes_are_merged_replaced_and_removed(device: Device) -> None:
    def attributes() -> Any:
        return rows(device.url, "SELECT attributes FROM vehicle")[0]["attributes"]

    assert device.put("/configData", {"data": {"a": "1", "b": "2"}}) == 200  # merge
    assert device.put("/configData", {"mode": "merge", "data": {"b": "3"}}) == 200
    assert attributes() == {"a": "1", "b": "3"}
    assert device.put("/configData", {"mode": "remove", "data": {"a": "", "none": ""}}) == 200
    assert attributes() == {"b": "3"}
    assert device.put("/configData", {"mode": "replace", "data": {"c": "4"}}) == 200
    assert attributes() == {"c": "4"}
    for bad in ({"mode": "drop", "data": {}}, {"data": ["a"]}, {"data": {"k" * 201: "v"}}, {}):
        assert device.put("/configData", bad) == 400
    assert attributes() == {"c": "4"}


def test_history_tells_the_newest_words_first_and_only_when_asked(device: Device) -> None:
    href = device.links()["deploymentBase"]["href"]
    for word in ("scheduled", "resumed", "download", "downloaded", "rejected", "proceeding"):
        assert device.post(f"/deploymentBase/{device.action}/feedback", feedback(word)) == 200
    assert "actionHistory" not in device.client.get(href).json()
    told = device.client.get(f"{href}&actionHistory=2").json()["actionHistory"]
    assert told == {"status": "RETRIEVED", "messages": ["proceeding it", "rejected it"]}
    assert len(device.client.get(f"{href}&actionHistory=-1").json()["actionHistory"]["messages"]) == 6
    for nonsense in ("x", "-7", "9" * 30, ""):
        assert "actionHistory" not in device.client.get(f"{href}&actionHistory={nonsense}").json()


@pytest.mark.parametrize(
    "progress", [{}, {"percentage": 7}, {"cnt": 2, "of": 0}, {"cnt": 9, "of": 5}, None, 3, {"cnt": "1"}]
)
def test_progress_is_taken_in_every_shape_seen_on_the_wire(device: Device, progress: object) -> None:
    url = f"{device.base}/deploymentBase/{device.action}/feedback"
    body = {"id": device.action, "time": "20261122T025956"} | feedback("proceeding", progress=progress)
    headers = [("content-type", "application/json"), ("charsets", "utf-8"), ("charsets", "utf-8")]
    assert device.client.post(url, json=body, headers=headers).status_code == 200


def test_what_was_installed_stays_readable_with_its_files(device: Device) -> None:
    assert device.get(f"/installedBase/{device.action}").status_code == 404  # not yet
    assert device.post(f"/deploymentBase/{device.action}/feedback", feedback("closed", "success")) == 200
    assert device.post(f"/deploymentBase/{device.action}/feedback", feedback("closed", "success")) == 410
    assert device.fold() == ["applied"]
    href = eventually(lambda: device.links().get("installedBase"))["href"]
    assert href == f"{device.base}/installedBase/{device.action}"
    document = device.client.get(f"{href}?actionHistory=5").json()
    assert document["actionHistory"] == {"status": "FINISHED", "messages": ["closed it"]}
    file = document["deployment"]["chunks"][0]["artifacts"][0]
    assert device.client.get(file["_links"]["download"]["href"]).content == IMAGE
    for other in (device.action + 1, 0, "x", 2**31):
        assert device.get(f"/installedBase/{other}").status_code == 404


def test_a_restarted_gateway_still_knows_what_was_installed(
    pg_url: str, tmp_path: Path, device: Device
) -> None:
    device.set("state = 'installed'")
    with serving(pg_url, FolderBlobs(tmp_path)) as origin:
        base = f"{origin}/DEFAULT/controller/v1/{VIN}"
        links = httpx.get(base, headers=dict(device.client.headers), timeout=60).json()["_links"]
    assert links["installedBase"]["href"] == f"{base}/installedBase/{device.action}"


def test_a_device_states_what_it_runs(device: Device) -> None:
    known = {"name": "r", "version": "2"}
    assert device.put("/installedBase", {"name": "r", "version": "9"}) == 404
    for bad in (
        {}, {"name": "r"}, {"name": "", "version": "2"}, {"name": "r", "version": 2}, {"name": "r\0", "version": "2"},
    ):  # fmt: skip
        assert device.put("/installedBase", bad) == 400
    assert device.put("/installedBase", known) == 201
    assert device.fold() == ["action_open"]  # an open update ends by its own report, by nothing else
    assert rows(device.url, "SELECT release_id FROM vehicle") == [{"release_id": None}]
    device.set("state = 'failed'")
    assert device.put("/installedBase", known) == 201
    assert device.fold()[-1] == "applied"
    assert rows(device.url, "SELECT release_id FROM vehicle") == [{"release_id": "release_1"}]
    assert device.facts() == [FactKind.VEHICLE_STATED]
    assert device.put("/installedBase", known) == 200  # nothing new


def test_an_update_that_wants_consent_waits_for_the_vehicles_word(asked: Device) -> None:
    device, deployment = asked, f"{asked.base}/deploymentBase/{asked.action}?c=1"
    links = device.links()
    assert "deploymentBase" not in links
    assert device.client.get(deployment).status_code == 404
    own = f"/deploymentBase/{device.action}/feedback"
    assert device.post(own, feedback("closed", "success")) == 404  # not by the back door
    root = device.get("/confirmationBase").json()
    assert root["autoConfirm"] == {"active": False}
    assert root["_links"]["confirmationBase"] == links["confirmationBase"]
    document = device.client.get(links["confirmationBase"]["href"]).json()
    assert document["confirmation"]["chunks"][0]["version"] == "2"
    said = f"/confirmationBase/{device.action}/feedback"
    assert device.post(said, {"confirmation": "maybe"}) == 400
    assert device.post(said, {"confirmation": "denied", "code": -1, "details": ["not now"]}) == 200
    assert "deploymentBase" not in device.links()  # it may still change its mind
    assert device.post(said, {"confirmation": "confirmed", "code": 200, "details": []}) == 200
    assert "deploymentBase" in device.links()
    assert device.post(said, {"confirmation": "confirmed"}) == 404  # it is not asked any more
    assert device.fold() == ["applied", "applied"]
    assert device.facts() == [FactKind.VEHICLE_DECLINED, FactKind.VEHICLE_CONSENTED]
    assert "deploymentBase" in device.links()
    assert device.post(own, feedback("closed", "failure")) == 200
    assert device.post(said, {"confirmation": "confirmed"}) == 410


def test_standing_consent_lets_updates_through_until_it_is_taken_back(asked: Device) -> None:
    device = asked
    root = device.get("/confirmationBase").json()["_links"]
    word = {"initiator": "owner", "remark": "always at night"}
    assert device.client.post(root["activateAutoConfirm"]["href"], json=word).status_code == 200
    assert "deploymentBase" in device.links()
    assert device.client.post(root["activateAutoConfirm"]["href"], json={}).status_code == 409
    assert device.fold() == ["applied"]
    told = eventually(
        lambda: device.get("/confirmationBase").json()["autoConfirm"].get("initiator") and device
    )
    state = told.get("/confirmationBase").json()
    assert (state["autoConfirm"]["remark"], state["autoConfirm"]["active"]) == ("always at night", True)
    assert type(state["autoConfirm"]["activatedAt"]) is int
    off = state["_links"]["deactivateAutoConfirm"]["href"]
    assert [device.client.post(off).status_code for _ in range(2)] == [200, 200]
    assert device.fold()[-1] == "applied"
    assert eventually(lambda: "deploymentBase" in device.links())  # this one had been agreed to
    assert device.facts() == [FactKind.VEHICLE_STANDING_CONSENT] * 2
    assert device.post("/confirmationBase/activateAutoConfirm", {"remark": "x" * 201}) == 400


def test_a_device_sees_and_answers_for_itself_only(asked: Device) -> None:
    device = asked
    with psycopg.connect(device.url, autocommit=True) as conn:
        add_vehicle(conn, OTHER, "other", "ddi")
    mine, theirs = device.base, device.base.replace(VIN, OTHER)
    headers = {"Authorization": "TargetToken other"}
    eventually(lambda: httpx.get(theirs, headers=headers, timeout=60).status_code == 200)
    for path in (f"/confirmationBase/{device.action}", f"/installedBase/{device.action}"):
        assert httpx.get(theirs + path, headers=headers, timeout=60).status_code == 404
        assert httpx.get(mine + path, headers=headers, timeout=60).status_code == 401
    url = f"{theirs}/confirmationBase/{device.action}/feedback"
    assert httpx.post(url, json={"confirmation": "confirmed"}, headers=headers, timeout=60).status_code == 404
    assert (
        httpx.get(f"{theirs}/softwaremodules/pkg_1/artifacts", headers=headers, timeout=60).status_code == 404
    )
    assert rows(device.url, "SELECT * FROM device_report") == []


def test_a_cancel_is_rejected_or_taken_and_nothing_else_ends_it(device: Device) -> None:
    device.set("state = 'cancelling'")
    href = device.links()["cancelAction"]["href"]
    assert "?" not in href  # SWUpdate posts to `<href>/feedback`
    for word in ("proceeding", "canceled", "rejected"):
        assert device.client.post(f"{href}/feedback", json=feedback(word)).status_code == 200
        assert "cancelAction" in device.links()
    assert device.client.post(f"{href}/feedback", json=feedback("closed", "success")).status_code == 200
    assert "cancelAction" not in device.links()
    assert device.client.get(href).status_code == 404


def test_a_known_resource_says_which_method_it_takes(device: Device) -> None:
    for method, path, allow in (
        ("DELETE", "", "GET"),
        ("GET", "/configData", "PUT"),
        ("POST", "/installedBase", "PUT"),
        ("DELETE", "/softwaremodules/pkg_1/artifacts/fw-2.swu", "GET, HEAD"),
        ("GET", f"/deploymentBase/{device.action}/feedback", "POST"),
    ):
        answer = device.client.request(method, device.base + path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    for path in ("/nothing", "/deploymentBase", "/softwaremodules", "//"):
        assert device.get(path).status_code == 404
