"""What was qualified elsewhere becomes a release at the command line: hawkBit distribution sets and Mender artifacts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli_story import Terminal, at_a_terminal
from support.docs_pages import ROOT
from support.mender import EC_KEY, header_files, make_mender, public_pem, signed_with

pytestmark = pytest.mark.engines
PROGRAMME = (ROOT / "examples" / "ddi" / "programme.toml").read_text(encoding="utf-8")
BUNDLE = b"a RAUC bundle " * 1_000


@pytest.fixture
def terminal(pg_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    with at_a_terminal(tmp_path, pg_url=pg_url, capture=capsys) as signed_in:
        signed_in.sign_in()
        signed_in("programme", "import", signed_in.file("programme.toml", PROGRAMME))
        yield signed_in


def a_set(**artifact: object) -> str:
    """Return a distribution set of one module whose file is `BUNDLE`, but for what is given."""
    hashes = {name: hashlib.new(name, BUNDLE).hexdigest() for name in ("sha1", "md5", "sha256")}
    file = {"providedFilename": "fw.raucb", "size": len(BUNDLE), "hashes": hashes} | artifact
    modules = [{"name": "rootfs", "version": "2.1.0", "type": "os", "artifacts": [file]}]
    return json.dumps({"name": "Winter", "version": "2.1.0", "complete": True, "modules": modules})


def test_a_distribution_set_becomes_packages_and_a_draft_that_passes_its_check(terminal: Terminal) -> None:
    t = terminal
    t.file("fw.raucb", BUNDLE)
    made = t("--json", "release", "import", t.file("winter.json", a_set())).value
    (package,) = made["packages"]
    assert (package["ecu"], package["version"], package["format"]) == ("telebox", "2.1.0", "bin")
    assert package["image_sha256"] == hashlib.sha256(BUNDLE).hexdigest()
    assert (made["release"]["name"], made["release"]["version"]) == ("Winter", "2.1.0")
    assert "hawkBit distribution set Winter 2.1.0" in made["release"]["document"]["notes"]
    t("release", "check", "2.1.0")
    assert "already there" in t("release", "import", "winter.json").out  # nothing is made twice
    again = t("--json", "release", "import", "winter.json", "--packages-only").value
    assert again["packages"][0]["id"] == package["id"]  # and its package is the same one


def test_a_mender_artifact_becomes_a_package_and_a_draft(terminal: Terminal) -> None:
    t = terminal
    signed = t.file("r.mender", make_mender(signature=signed_with(EC_KEY)))
    assert "no registered key" in t("release", "import", signed, "--look", status=1).out
    assert "release key add" in t("release", "import", signed, status=6).err
    key = t.file("egret.pem", public_pem(EC_KEY))
    t("release", "key", "add", key, "--name", "Egret build server", "--supplier", "Egret")
    assert "ecdsa-p256" in t("release", "key", "list").out
    assert "signed with the key 'Egret build server'" in t("release", "import", signed, "--look").out
    made = t("--json", "release", "import", signed).value
    (package,) = made["packages"]
    assert (package["format"], package["version"], made["release"]["version"]) == ("mender", "2.1.0", "2.1.0")
    assert package["facts"]["details"]["depends"]["device_type"] == ["default:1.0"]
    assert made["release"]["name"] == "release-2.1.0"
    t("release", "check", "2.1.0")
    t("release", "key", "revoke", "Egret build server")
    assert "no registered key" in t("release", "check", "2.1.0", status=1).out


def test_what_does_not_hold_is_refused_before_anything_is_stored(terminal: Terminal) -> None:
    t = terminal
    t.file("fw.raucb", BUNDLE)
    bad = {
        "size.json": (a_set(size=3), 2, "the set says 3"),
        "hash.json": (a_set(hashes={"sha256": "0" * 64}), 6, "is not the file of the set"),
        "path.json": (a_set(providedFilename="../fw.raucb"), 2, "no plain file name"),
        "gone.json": (a_set(providedFilename="other.raucb"), 2, "cannot be read"),
    }
    for name, (content, status, complaint) in bad.items():
        assert complaint in t("release", "import", t.file(name, content), status=status).err
    good = t.file("good.json", a_set())
    assert "no module" in t("release", "import", good, "--ecu", "kernel=telebox", status=2).err
    assert "no ECU" in t("release", "import", good, "--ecu", "rootfs=brake", status=2).err
    cut = t.file("cut.mender", make_mender()[:3_000])
    assert "ends" in t("release", "import", cut, status=2).err
    other = t.file("o.mender", make_mender(header=header_files(device_type=["beaglebone", "rpi4"])))
    refused = t("release", "import", other, status=2).err
    assert "for device type beaglebone, rpi4, ECU telebox has hardware 'default:1.0'" in refused
    nameless = t.file("n.mender", make_mender(header=header_files(name="nightly")))
    assert "--version" in t("release", "import", nameless, status=2).err
    assert t("--json", "package", "list").value == []
