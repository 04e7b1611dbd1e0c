"""What another update server qualified is looked at and imported in one call; its signers are registered and end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build.store_packages import import_programme
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemIds
from ringroad.storage.db import connect
from support.console_server import add_account, serving
from support.docs_pages import ROOT
from support.gateways import rows
from support.mender import EC_KEY, RSA_KEY, header_files, make_mender, public_pem, signed_with, tar

pytestmark = pytest.mark.engines
SOURCE = (ROOT / "examples" / "ddi" / "programme.toml").read_text(encoding="utf-8")
BUNDLE = b"a RAUC bundle " * 1_000
SIGNED = make_mender(signature=signed_with(RSA_KEY))


@pytest.fixture
def client(pg_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with connect(pg_url) as conn, conn.transaction():
        import_programme(conn, SystemIds(), source=SOURCE, actor="test", now=datetime.now(UTC))
    token = add_account(pg_url, "ada", Role.APPROVER)
    headers = {"Authorization": f"Bearer {token}"}
    with serving(pg_url, tmp_path) as origin:
        with httpx.Client(base_url=f"{origin}/api/v1", headers=headers, timeout=60) as opened:
            yield opened


def send(client: httpx.Client, path: str, content: bytes, **query: Any) -> httpx.Response:
    return client.post(path, content=content, params={"programme_id": "dipper", **query})


def a_module(
    name: str = "rootfs", *, filename: str = "fw.raucb", content: bytes = BUNDLE, **other: Any
) -> dict[str, Any]:
    hashes = {kind: hashlib.new(kind, content).hexdigest() for kind in ("sha1", "md5", "sha256")}
    file = {"providedFilename": filename, "size": len(content), "hashes": hashes} | other
    return {"name": name, "version": "2.1.0", "type": "os", "artifacts": [file]}


def a_set(*modules: dict[str, Any]) -> bytes:
    return json.dumps({"name": "Winter", "version": "2.1.0", "complete": True, "modules": modules}).encode()


def register(client: httpx.Client, pem: str, **other: Any) -> httpx.Response:
    return client.post(
        "/artifact-keys", json={"programme_id": "dipper", "name": "theirs", "public_key": pem} | other
    )


def stored(pg_url: str) -> list[int]:
    return [len(rows(pg_url, "SELECT id FROM software_package")), len(rows(pg_url, "SELECT id FROM release"))]


def test_a_set_is_looked_at_with_all_that_is_wrong_and_imported_whole_or_not_at_all(
    client: httpx.Client, pg_url: str
) -> None:
    both = a_set(a_module(), a_module("app", filename="app.bin", content=b"app"))
    body = tar([("set.json", both), ("fw.raucb", BUNDLE + b"!")])
    looked = send(client, "/imports/look", body, ecu=["rootfs=telebox"])
    assert looked.status_code == 200, looked.text
    parts = {part["module"]: part["refused"] for part in looked.json()["parts"]}
    assert "the set says" in parts["rootfs"]["message"]
    assert parts["app"]["code"] == "file_missing"
    assert send(client, "/imports", body, ecu=["rootfs=telebox"]).status_code == 422
    assert stored(pg_url) == [0, 0]
    good = tar([("set.json", a_set(a_module())), ("fw.raucb", BUNDLE)])
    found = send(client, "/imports/look", good).json()
    assert (found["refused"], found["parts"][0]["refused"], found["parts"][0]["ecu"]) == (
        None,
        None,
        "telebox",
    )
    assert found["parts"][0]["sha256"] == hashlib.sha256(BUNDLE).hexdigest()
    assert stored(pg_url) == [0, 0]
    made = send(client, "/imports", good)
    assert made.status_code == 201, made.text
    assert made.json()["release"]["version"] == "2.1.0"
    assert stored(pg_url) == [1, 1]
    assert made.json()["already_there"] is False
    again = send(client, "/imports", good, packages_only="true")
    assert (again.status_code, again.json()["release"], stored(pg_url)) == (201, None, [1, 1])


def test_the_same_import_again_makes_nothing_twice_and_another_of_its_version_is_refused_in_words(
    client: httpx.Client, pg_url: str
) -> None:
    good = tar([("set.json", a_set(a_module())), ("fw.raucb", BUNDLE)])
    made = send(client, "/imports", good).json()
    assert send(client, "/imports/look", good).json()["refused"] is None
    again = send(client, "/imports", good)
    assert again.status_code == 201, again.text
    assert again.json() == made | {"already_there": True}
    other = tar([("set.json", a_set(a_module(filename="other.raucb"))), ("other.raucb", BUNDLE)])
    for path in ("/imports/look", "/imports"):
        answer = send(client, path, other)
        refused = answer.json()["refused"] if path.endswith("look") else answer.json()
        assert "release 2.1.0 of dipper exists with other content" in str(refused)
    assert (answer.status_code, stored(pg_url)) == (409, [1, 1])


def test_what_is_no_set_and_no_artifact_is_refused_and_nothing_is_left(
    client: httpx.Client, pg_url: str
) -> None:
    module = a_set(a_module())
    for body, complaint in (
        (b"", "empty"),
        (b"what is this?" * 100, "neither a Mender artifact nor"),
        (module[:-2], "no JSON"),
        (tar([("fw.raucb", BUNDLE)]), "first file of the upload"),
        (tar([("set.json", module), ("fw.raucb", BUNDLE), ("extra", b"x")]), "has no file 'extra'"),
        (tar([("set.json", module), ("fw.raucb", BUNDLE), ("fw.raucb", BUNDLE)]), "twice"),
        (tar([("set.json", module), ("../fw.raucb", BUNDLE)]), "leads out"),
        (tar([("set.json", module), ("fw.raucb", BUNDLE)])[:9_000], "ends"),
        (SIGNED[:3_000], "ends"),
    ):
        for path in ("/imports/look", "/imports"):
            answer = send(client, path, body)
            assert (answer.status_code, complaint in answer.text) == (422, True), (
                path,
                complaint,
                answer.text,
            )
    wrong: tuple[tuple[dict[str, Any], int], ...] = (
        ({"programme_id": "nobody"}, 404),
        ({"ecu": ["kernel=telebox"]}, 422),
        ({"ecu": ["=telebox"]}, 422),
        ({"ecu": ["rootfs=brake"]}, 422),
    )
    for query, status in wrong:
        answer = client.post(
            "/imports",
            content=tar([("set.json", module), ("fw.raucb", BUNDLE)]),
            params={"programme_id": "dipper"} | query,
        )
        assert answer.status_code == status, answer.text
    assert stored(pg_url) == [0, 0]
    client.headers["Authorization"] = f"Bearer {add_account(pg_url, 'olaf', Role.OPERATOR)}"
    assert register(client, public_pem(RSA_KEY)).status_code == 403  # an approver registers who signs
    client.headers["Authorization"] = f"Bearer {add_account(pg_url, 'vera', Role.VIEWER)}"
    assert client.get("/artifact-keys").json() == []
    for path in ("/imports/look", "/imports"):
        assert send(client, path, SIGNED).status_code == 403


def test_a_mender_artifact_needs_a_registered_signer_and_a_key_that_ended_stops_the_release(
    client: httpx.Client, pg_url: str
) -> None:
    unsigned, foreign = make_mender(signature=None), make_mender(signature=signed_with(EC_KEY))
    assert register(client, "nothing").status_code == 422
    assert register(client, public_pem(RSA_KEY), supplier="Osprey").status_code == 422
    key = register(client, public_pem(RSA_KEY), supplier="Egret")
    assert key.status_code == 201, key.text
    assert register(client, public_pem(RSA_KEY), supplier="Egret").status_code == 409
    for body, code in ((unsigned, "artifact_unsigned"), (foreign, "artifact_signature")):
        assert send(client, "/imports", body).json()["error"]["code"] == code
        (part,) = send(client, "/imports/look", body).json()["parts"]
        assert (part["refused"]["code"], part["signature_policy"]) == (code, "required")
        query = {"programme_id": "dipper", "ecu": "telebox", "name": "x"}
        assert client.post("/packages", content=body, params=query).json()["error"]["code"] == code
    assert stored(pg_url) == [0, 0]
    made = send(client, "/imports", SIGNED)
    assert made.status_code == 201, made.text
    release = f"/releases/{made.json()['release']['id']}"
    assert client.post(f"{release}/check", json={}).json()["state"] == "checked"
    assert client.delete(f"/artifact-keys/{key.json()['id']}").json()["state"] == "revoked"
    assert client.delete(f"/artifact-keys/{key.json()['id']}").status_code == 404
    checked = client.post(f"{release}/check", json={}).json()
    assert checked["state"] == "draft"
    assert "artifact_signature" in {
        each["code"] for each in checked["findings"] if each["severity"] == "blocking"
    }
    source = SOURCE + 'mender_signature = "reported"\n'  # then what nobody signed is taken, and told
    with connect(pg_url) as conn, conn.transaction():
        import_programme(conn, SystemIds(), source=source, actor="test", now=datetime.now(UTC), generation=1)
    checked = client.post(f"{release}/check", json={}).json()
    assert checked["state"] == "checked"
    assert "artifact_signature" in {each["code"] for each in checked["findings"]}
    nameless = make_mender(header=header_files(name="nightly"), signature=None)
    assert send(client, "/imports", nameless).json()["error"]["code"] == "no_version"
    assert send(client, "/imports", nameless, version="2.2.0").json()["release"]["version"] == "2.2.0"
    assert [row["kind"] for row in rows(pg_url, "SELECT kind FROM fact WHERE kind LIKE 'artifact_key.%' ORDER BY seq")] == [
        "artifact_key.added", "artifact_key.revoked",
    ]  # fmt: skip


def test_an_unsigned_artifact_behind_a_header_is_no_other_file_and_an_ecu_of_menders_takes_no_other(
    client: httpx.Client, pg_url: str
) -> None:
    query = {"programme_id": "dipper", "ecu": "telebox", "name": "x", "version": "2.1.0"}
    unsigned = make_mender(signature=None)
    header = bytearray(unsigned[:512])  # a pax header of nothing, in front
    header[:8], header[124:136], header[148:156], header[156:157] = (
        b"././@Pax",
        b"%011o\0" % 0,
        b" " * 8,
        b"x",
    )
    header[148:156] = b"%06o\0 " % sum(header)
    sent = client.post("/packages", content=bytes(header) + unsigned, params=query)
    assert sent.json()["error"]["code"] == "artifact_unsigned"
    made = send(client, "/imports", tar([("set.json", a_set(a_module())), ("fw.raucb", BUNDLE)]))
    assert made.status_code == 201, made.text
    source = SOURCE + 'mender_signature = "required"\n'
    with connect(pg_url) as conn, conn.transaction():
        import_programme(conn, SystemIds(), source=source, actor="test", now=datetime.now(UTC), generation=1)
    other = client.post("/packages", content=BUNDLE + b"x", params=query | {"version": "2.2.0"})
    assert other.json()["error"]["code"] == "not_mender"
    checked = client.post(f"/releases/{made.json()['release']['id']}/check", json={}).json()
    assert "not_mender" in {each["code"] for each in checked["findings"]}


def test_an_operator_imports_a_programme_again_but_who_signs_for_an_ecu_is_an_approvers_word(
    client: httpx.Client, pg_url: str
) -> None:
    operator = {"Authorization": f"Bearer {add_account(pg_url, 'olga', Role.OPERATOR)}"}

    def replace(source: str, generation: int, headers: dict[str, str] | None = None) -> int:
        body = {"source": source, "generation": generation}
        return client.post("/programmes", json=body, headers=headers or {}).status_code

    moved = SOURCE.replace('supplier = "Egret"', 'supplier = "Osprey"')
    renamed = SOURCE.replace("telebox", "telebox2")
    reported, required = (SOURCE + f'mender_signature = "{word}"\n' for word in ("reported", "required"))
    assert replace(reported, 1, operator) == 403
    assert replace(moved, 1, operator) == 200  # nobody signs for either
    assert replace(SOURCE, 2, operator) == 200
    assert register(client, public_pem(RSA_KEY), supplier="Egret").status_code == 201
    for source in (moved, renamed, renamed.replace("Egret", "Osprey")):
        assert replace(source, 3, operator) == 403
    assert replace(required, 3, operator) == 200
    for source in (reported, SOURCE):
        assert replace(source, 4, operator) == 403
    assert replace(reported, 4) == 200
    assert replace(reported + "# the same\n", 5, operator) == 200
    assert replace(SOURCE, 1) == 409
