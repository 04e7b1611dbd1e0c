"""An offline key signs what its holder can read, and nothing else."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ringroad.cli import cli
from ringroad.cli.keys import KeyFolders, group, load_offline_signers
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import RingroadError
from ringroad.trust import sign
from ringroad.trust.metadata import Targets, check_signatures, parse_file
from support.uptane import target

NOW = SystemClock().now()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    assert run(tmp_path, "init").exit_code == 0
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        group,
        [*arguments, "--var", str(folder / "var"), "--offline", str(folder / "offline")],
        **cli.context_settings,
    )


def payload(folder: Path, unsigned: Any) -> Path:
    path = folder / "payload.json"
    path.write_bytes(sign.sign(unsigned, ()))
    return path


def image_targets(**changes: Any) -> Any:
    fields = {"version": 1, "expires": NOW + timedelta(days=30), "targets": [target("brake").image()]}
    return sign.build_image_targets(**{**fields, **changes})


def test_what_is_signed_is_shown_whole(keys: Path) -> None:
    file = payload(keys, image_targets())
    done = run(keys, "sign-targets", str(file), "--out", str(keys / "signed.json"))
    assert done.exit_code == 0, done.output
    image = target("brake").image()
    for word in (image.filename, image.sha256, *image.hardware_ids, str(image.release_counter)):
        assert word in done.output
    signed = parse_file((keys / "signed.json").read_bytes(), Targets)
    root = load_root(keys)
    check_signatures(signed, root=root, role="targets")


def load_root(folder: Path) -> Any:
    from ringroad.cli.keys import read_newest_root  # noqa: PLC0415

    return read_newest_root(folder / "var" / "keys", "image")


@pytest.mark.parametrize(
    "unsigned",
    [
        image_targets(expires=NOW - timedelta(days=1)),
        image_targets(expires=NOW + timedelta(days=4_000)),
        sign.build_director_targets(
            version=1,
            expires=NOW + timedelta(days=30),
            vin="WRRDEM00000000001",
            vehicle_package=None,
            targets=[],
        ),
        sign.build_timestamp(
            version=1, expires=NOW + timedelta(days=1), snapshot_version=1, snapshot_raw=b"{}"
        ),
    ],
    ids=["expired", "for ten years", "of one vehicle", "a timestamp"],
)
def test_anything_but_image_targets_of_a_usual_life_is_refused(keys: Path, unsigned: Any) -> None:
    done = run(keys, "sign-targets", str(payload(keys, unsigned)), "--out", str(keys / "signed.json"))
    assert isinstance(done.exception, RingroadError)
    assert not (keys / "signed.json").exists()


def test_signing_names_what_is_new_and_what_is_gone(keys: Path) -> None:
    folders = KeyFolders(public=keys / "var" / "keys", offline=keys / "offline")
    signers = load_offline_signers(folders, repository="image", role="targets")
    before = keys / "before.json"
    before.write_bytes(sign.sign(image_targets(), signers))
    file = payload(keys, image_targets(version=2, targets=[target("body").image()]))
    done = run(
        keys, "sign-targets", str(file), "--out", str(keys / "signed.json"), "--previous", str(before), "--json"
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["new"], told["gone"]) == (
        [target("body").image().filename],
        [target("brake").image().filename],
    )


def test_a_published_name_with_other_content_is_never_signed(keys: Path) -> None:
    folders = KeyFolders(public=keys / "var" / "keys", offline=keys / "offline")
    signers = load_offline_signers(folders, repository="image", role="targets")
    before = keys / "before.json"
    before.write_bytes(sign.sign(image_targets(), signers))
    from dataclasses import replace  # noqa: PLC0415

    swapped = replace(target("brake").image(), sha256="0" * 64)
    file = payload(keys, image_targets(version=2, targets=[swapped]))
    done = run(keys, "sign-targets", str(file), "--out", str(keys / "signed.json"), "--previous", str(before))
    assert isinstance(done.exception, RingroadError)
    assert not (keys / "signed.json").exists()
