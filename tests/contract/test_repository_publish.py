"""Publishing into a real database, read back by our verifier and by python-tuf's own client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from ringroad.build.repository.store import (
    OnlineSigners,
    accept_image_targets,
    install_root,
    install_roots,
    issue_director_bundle,
    pending_targets,
    read_metadata,
    refresh_expiring,
)
from ringroad.cli.keys import (
    KeyCounts,
    KeyFolders,
    init_keys,
    install_all_roots,
    load_offline_signers,
    load_online_signers,
    rotate_role,
)
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict, Corrupt, InvalidInput, NotFound, Untrusted
from ringroad.storage.db import Connection, connect, transaction
from ringroad.trust import sign
from ringroad.trust.state import EcuIdentity, RefreshResult, TrustState, VehicleInventory, provision
from ringroad.trust.verify import refresh
from support.uptane import NOW, OTHER_VIN, VIN, Repo, package, seeded, target

pytestmark = pytest.mark.engines

IMAGE, DIRECTOR = Repo("image"), Repo("director", vin=VIN)
IMAGES = [target("brake").image(), target("body").image()]
BUNDLE = [target("brake"), target("body")]
INVENTORY = VehicleInventory(
    ecus=tuple(EcuIdentity(serial=f"{ecu}-serial", hardware_id=f"{ecu}-hw") for ecu in ("brake", "body"))
)


def online(image: Repo = IMAGE, director: Repo = DIRECTOR) -> OnlineSigners:
    return OnlineSigners(
        image_snapshot=image.signers("snapshot")[0],
        image_timestamp=image.signers("timestamp")[0],
        director_targets=director.signers("targets")[0],
        director_snapshot=director.signers("snapshot")[0],
        director_timestamp=director.signers("timestamp")[0],
    )


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    """A database with both roots installed."""
    with connect(pg_url) as conn:
        with transaction(conn):
            install_roots(
                conn,
                image_root=IMAGE.put_root(1, expires=NOW + timedelta(days=400)),
                director_root=DIRECTOR.put_root(1, expires=NOW + timedelta(days=400)),
                now=NOW,
            )
        yield conn


def publish(conn: Connection, images: Any = IMAGES, now: datetime = NOW) -> Any:
    payload = pending_targets(conn, packages=images, now=now)
    assert payload is not None
    return accept_image_targets(
        conn, online(), sign.add_signatures(payload, IMAGE.signers("targets")), now=now
    )


def issue(conn: Connection, *, now: datetime = NOW, vin: str = VIN, **options: Any) -> Any:
    given: dict[str, Any] = {"targets": BUNDLE, "vehicle_package": package("brake", "body")} | options
    return issue_director_bundle(conn, online(), vin=vin, now=now, **given)


def fresh_state(conn: Connection) -> TrustState:
    return provision(
        image_root=read_metadata(conn, repository="image", vin="", filename="1.root.json"),
        director_root=read_metadata(conn, repository="director", vin=VIN, filename="1.root.json"),
    )


def drive(conn: Connection, state: TrustState, *, vin: str = VIN, now: datetime = NOW) -> RefreshResult:
    talk = refresh(state, vin=vin, now=now, inventory=INVENTORY)
    answer: bytes | None = None
    while True:
        try:
            request = talk.send(answer)
        except StopIteration as stop:
            result: RefreshResult = stop.value
            return result
        try:
            answer = read_metadata(
                conn,
                repository=request.repository,
                vin=vin if request.repository == "director" else "",
                filename=request.filename,
            )
        except NotFound:
            answer = None


class FromDatabase(FetcherInterface):
    """python-tuf's transport, answered from the table instead of a web server."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield read_metadata(self.conn, repository="image", vin="", filename=url.rsplit("/", 1)[-1])
        except NotFound as error:
            raise DownloadHTTPError(str(error), 404) from error


def test_a_vehicle_verifies_what_was_published(conn: Connection) -> None:
    publish(conn)
    issue(conn)
    result = drive(conn, fresh_state(conn))
    assert set(result.targets) == {"brake-serial", "body-serial"}
    assert result.vehicle_package == package("brake", "body")


def test_keys_from_files_sign_what_a_vehicle_verifies_before_and_after_a_rotation(
    pg_url: str, tmp_path: Path
) -> None:
    folders = KeyFolders(public=tmp_path / "keys", offline=tmp_path / "offline")
    init_keys(folders, root=KeyCounts(keys=3, threshold=2), image_targets=KeyCounts(keys=3, threshold=2))
    now = SystemClock().now()
    with connect(pg_url) as conn:
        install_all_roots(conn, folders.public, now=now)
        payload = pending_targets(conn, packages=IMAGES, now=now)
        assert payload is not None
        signed = sign.add_signatures(
            payload, load_offline_signers(folders, repository="image", role="targets")
        )
        accept_image_targets(conn, load_online_signers(folders.public), signed, now=now)
        issue_director_bundle(
            conn,
            load_online_signers(folders.public),
            vin=VIN,
            targets=BUNDLE,
            vehicle_package=package("brake", "body"),
            now=now,
        )
        state = drive(conn, fresh_state(conn), now=now).state
        rotate_role(folders, repository="director", role="targets")
        rotate_role(folders, repository="image", role="snapshot")
        later = now + timedelta(minutes=1)
        install_all_roots(conn, folders.public, now=later)
        install_all_roots(conn, folders.public, now=later)
        assert refresh_expiring(conn, load_online_signers(folders.public), now=later) == 2
        assert set(drive(conn, state, now=later).targets) == {"brake-serial", "body-serial"}


def test_rotated_image_targets_keys_ask_for_a_new_signature(conn: Connection) -> None:
    publish(conn)
    assert pending_targets(conn, packages=[], now=NOW) is None
    rotated = Repo("image", generation={"targets": "new"})
    install_root(conn, repository="image", raw=rotated.put_root(2), now=NOW)
    payload = pending_targets(conn, packages=[], now=NOW)
    assert payload is not None
    with pytest.raises(Untrusted):
        accept_image_targets(conn, online(), sign.add_signatures(payload, IMAGE.signers("targets")), now=NOW)
    signed = sign.add_signatures(payload, rotated.signers("targets"))
    assert accept_image_targets(conn, online(), signed, now=NOW).targets == 2


def test_a_stock_tuf_client_audits_the_image_repository(conn: Connection, tmp_path: Path) -> None:
    publish(conn)
    root = read_metadata(conn, repository="image", vin="", filename="1.root.json")
    updater = Updater(str(tmp_path), "http://image.test/", bootstrap=root, fetcher=FromDatabase(conn))
    updater._trusted_set.reference_time = NOW  # it takes the machine's clock, and offers no other
    updater.refresh()
    found = updater.get_targetinfo("brake-2.0.0.bin")
    assert found is not None
    assert found.hashes["sha256"] == target("brake").sha256


def test_the_same_bundle_again_signs_nothing(conn: Connection) -> None:
    publish(conn)
    first = issue(conn)
    again = issue(conn, now=NOW + timedelta(hours=11))
    assert (first.changed, again.changed) == (True, False)
    assert again.targets == first.targets


def test_another_bundle_gets_the_next_versions(conn: Connection) -> None:
    publish(conn)
    issue(conn)
    state = drive(conn, fresh_state(conn)).state
    assert issue(conn, targets=[target("brake")], vehicle_package=package("brake")).targets == 2
    assert set(drive(conn, state).targets) == {"brake-serial"}
    assert issue(conn, targets=[], vehicle_package=None).targets == 3
    assert not drive(conn, state).targets


def test_each_vehicle_has_its_own_bundle(conn: Connection) -> None:
    publish(conn)
    issue(conn)
    issue(conn, vin=OTHER_VIN, targets=[], vehicle_package=None)
    assert drive(conn, fresh_state(conn)).targets
    assert not drive(conn, fresh_state(conn), vin=OTHER_VIN).targets


def test_timestamps_are_renewed_before_they_expire(conn: Connection) -> None:
    publish(conn)
    issue(conn)
    state = drive(conn, fresh_state(conn)).state
    assert refresh_expiring(conn, online(), now=NOW + timedelta(hours=11)) == 0
    assert refresh_expiring(conn, online(), now=NOW + timedelta(hours=13)) == 2
    assert refresh_expiring(conn, online(), now=NOW + timedelta(hours=13)) == 0
    assert drive(conn, state, now=NOW + timedelta(hours=36)).targets


def test_a_repository_that_does_not_read_back_keeps_no_other_from_being_renewed(conn: Connection) -> None:
    publish(conn)
    issue(conn)
    issue(conn, vin=OTHER_VIN)
    conn.execute(
        "UPDATE repository_metadata SET bytes = 'no metadata', expires_at = expires_at - interval '1 h'"
        " WHERE repository = 'director' AND vin = %s AND role <> 'root'",
        (OTHER_VIN,),
    )
    state = drive(conn, fresh_state(conn)).state
    later = NOW + timedelta(hours=13)
    assert refresh_expiring(conn, online(), now=later, rows_max=1) == 1
    assert refresh_expiring(conn, online(), now=later, rows_max=1) == 1
    assert refresh_expiring(conn, online(), now=later, rows_max=1) == 0
    assert drive(conn, state, now=NOW + timedelta(hours=36)).targets
    rows = conn.execute("SELECT DISTINCT bytes FROM repository_metadata WHERE vin = %s", (OTHER_VIN,))
    assert {bytes(row["bytes"]) for row in rows} == {b"no metadata"}  # kept as it is, to be looked at


def test_a_bundle_lives_as_long_as_it_is_renewed(conn: Connection) -> None:
    publish(conn)
    issue(conn)
    state = fresh_state(conn)
    for day in range(1, 60, 2):
        now = NOW + timedelta(days=day / 2)
        refresh_expiring(conn, online(), now=now)
        result = drive(conn, state, now=now)
        state = result.state
        assert set(result.targets) == {"brake-serial", "body-serial"}
    assert result.targets_version == 2
    rows = conn.execute("SELECT count(*) AS n FROM repository_metadata WHERE role = 'timestamp'").fetchone()
    assert rows == {"n": 2}


def test_a_signed_payload_is_accepted_once_and_its_repetition_changes_nothing(conn: Connection) -> None:
    payload = pending_targets(conn, packages=IMAGES, now=NOW)
    assert payload is not None
    signed = sign.add_signatures(payload, IMAGE.signers("targets"))
    assert accept_image_targets(conn, online(), signed, now=NOW).changed
    assert not accept_image_targets(conn, online(), signed, now=NOW).changed
    assert pending_targets(conn, packages=IMAGES, now=NOW) is None


@pytest.mark.parametrize("signers", [[], [seeded("stranger")]])
def test_unsigned_image_targets_are_refused(conn: Connection, signers: list[CryptoSigner]) -> None:
    payload = pending_targets(conn, packages=IMAGES, now=NOW)
    assert payload is not None
    with pytest.raises(Untrusted) as refused:
        accept_image_targets(conn, online(), sign.add_signatures(payload, signers), now=NOW)
    assert refused.value.code == "arbitrary_software"


def test_two_payloads_of_one_version_cannot_both_be_published(conn: Connection) -> None:
    one = pending_targets(conn, packages=IMAGES[:1], now=NOW)
    two = pending_targets(conn, packages=IMAGES[1:], now=NOW)
    assert one is not None
    assert two is not None
    accept_image_targets(conn, online(), sign.add_signatures(one, IMAGE.signers("targets")), now=NOW)
    with pytest.raises(Conflict):
        accept_image_targets(conn, online(), sign.add_signatures(two, IMAGE.signers("targets")), now=NOW)


def test_a_published_name_keeps_its_content(conn: Connection) -> None:
    publish(conn)
    with pytest.raises(Conflict):
        pending_targets(conn, packages=[replace(IMAGES[0], sha256="0" * 64)], now=NOW)


def test_expired_image_targets_are_refused(conn: Connection) -> None:
    payload = pending_targets(conn, packages=IMAGES, now=NOW)
    assert payload is not None
    signed = sign.add_signatures(payload, IMAGE.signers("targets"))
    with pytest.raises(InvalidInput):
        accept_image_targets(conn, online(), signed, now=NOW + timedelta(days=181))


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"release_counter": 3}, {"filename": "x.bin"}])
def test_nothing_is_signed_that_a_vehicle_would_refuse(conn: Connection, changes: dict[str, Any]) -> None:
    publish(conn)
    with pytest.raises(InvalidInput):
        issue(conn, targets=[target("brake", **changes)], vehicle_package=package("brake"))


def test_keys_that_do_not_fit_the_root_sign_nothing_that_stays(conn: Connection) -> None:
    stranger = Repo("director", suffix="-other")
    with pytest.raises(Corrupt), transaction(conn):
        issue_director_bundle(
            conn, online(director=stranger), vin=VIN, targets=[], vehicle_package=None, now=NOW
        )
    with pytest.raises(NotFound):
        read_metadata(conn, repository="director", vin=VIN, filename="timestamp.json")


def test_roots_follow_each_other_and_the_same_root_again_is_no_change(conn: Connection) -> None:
    assert (
        install_root(
            conn, repository="image", raw=IMAGE.put_root(1, expires=NOW + timedelta(days=400)), now=NOW
        )
        == 1
    )
    with pytest.raises(Conflict):
        install_root(conn, repository="image", raw=IMAGE.put_root(1, expires=NOW), now=NOW)
    with pytest.raises(Conflict):
        install_root(conn, repository="image", raw=IMAGE.put_root(3), now=NOW)
    with pytest.raises(Untrusted):
        install_root(conn, repository="image", raw=Repo("image", suffix="-thief").put_root(2), now=NOW)
    assert install_root(conn, repository="image", raw=IMAGE.put_root(2), now=NOW) == 2


def test_after_a_rotation_everything_is_signed_by_the_new_keys(conn: Connection) -> None:
    publish(conn)
    issue(conn)
    state = drive(conn, fresh_state(conn)).state
    rotated = Repo("director", vin=VIN, generation={"timestamp": "new", "targets": "new"})
    later = NOW + timedelta(minutes=1)
    install_root(conn, repository="director", raw=rotated.put_root(2), now=later)
    with pytest.raises(Untrusted):
        drive(conn, state, now=later)
    assert refresh_expiring(conn, online(director=rotated), now=later) == 1
    assert refresh_expiring(conn, online(director=rotated), now=later) == 0
    assert drive(conn, state, now=later).targets_version == 2


@pytest.mark.parametrize(
    "filename",
    ["root.json", "0.root.json", "9.root.json", "1.secret.json", "../1.root.json", "1.root.json\n", ""],
)
def test_other_files_are_not_found(conn: Connection, filename: str) -> None:
    with pytest.raises(NotFound):
        read_metadata(conn, repository="image", vin="", filename=filename)
