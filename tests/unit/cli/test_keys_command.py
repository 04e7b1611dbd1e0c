from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ringroad.cli import cli
from ringroad.cli.keys import (
    NAMES,
    REPOSITORIES,
    KeyFolders,
    group,
    load_offline_signers,
    load_online_signers,
    read_newest_root,
    read_roots,
)
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.trust.metadata import Root, check_signatures, parse_file


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        group,
        [*arguments, "--var", str(folder / "var"), "--offline", str(folder / "offline")],
        **cli.context_settings,
    )


def folders(folder: Path) -> KeyFolders:
    return KeyFolders(public=folder / "var" / "keys", offline=folder / "offline")


def rows(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return {row["role"]: row for row in json.loads(result.output)}


def test_init_makes_offline_and_online_keys_and_two_roots(tmp_path: Path) -> None:
    made = rows(run(tmp_path, "init", "--json"))
    assert {role: (row["threshold"], len(row["keyids"]), row["place"]) for role, row in made.items()} == {
        "image-root": (2, 3, "offline"),
        "image-targets": (2, 3, "offline"),
        "image-snapshot": (1, 1, "online"),
        "image-timestamp": (1, 1, "online"),
        "director-root": (2, 3, "offline"),
        "director-targets": (1, 1, "online"),
        "director-snapshot": (1, 1, "online"),
        "director-timestamp": (1, 1, "online"),
    }
    assert len({keyid for row in made.values() for keyid in row["keyids"]}) == 14
    for repository in REPOSITORIES:
        (raw,) = read_roots(tmp_path / "var" / "keys", repository)
        file = parse_file(raw, Root)
        check_signatures(file, root=file.signed, role="root")


def test_private_keys_are_for_their_owner_only_and_offline_ones_are_not_below_var(tmp_path: Path) -> None:
    run(tmp_path, "init")
    pems = sorted(tmp_path.rglob("*.pem"))
    assert len(pems) == 14
    for path in pems:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    below_var = {path.name.rsplit("-", 1)[0] for path in pems if "var" in path.parts}
    assert below_var == {
        "image-snapshot", "image-timestamp", "director-targets", "director-snapshot", "director-timestamp",
    }  # fmt: skip


@pytest.mark.parametrize("kept", ["var/keys", "offline"])
def test_init_never_overwrites(tmp_path: Path, kept: str) -> None:
    (tmp_path / kept).mkdir(parents=True)
    (tmp_path / kept / "mine").write_text("precious")
    result = run(tmp_path, "init")
    assert isinstance(result.exception, Conflict)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


@pytest.mark.parametrize("option", [["--threshold", "4"], ["--threshold", "0"], ["--root-keys", "99"]])
def test_impossible_thresholds_are_refused_before_anything_is_written(
    tmp_path: Path, option: list[str]
) -> None:
    assert isinstance(run(tmp_path, "init", *option).exception, InvalidInput)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("role", ["director-timestamp", "director-root", "image-targets"])
def test_rotate_signs_a_root_that_both_the_old_and_the_new_root_accept(tmp_path: Path, role: str) -> None:
    before = rows(run(tmp_path, "init", "--json"))
    repository, name = NAMES[role]
    assert run(tmp_path, "rotate", role).exit_code == 0
    after = rows(run(tmp_path, "show", "--json"))
    assert set(before[role]["keyids"]).isdisjoint(after[role]["keyids"])
    assert after[role]["private_keys_here"] == after[role]["keyids"]
    first, second = (parse_file(raw, Root) for raw in read_roots(tmp_path / "var" / "keys", repository))
    check_signatures(second, root=first.signed, role="root")
    check_signatures(second, root=second.signed, role="root")
    if name == "timestamp":
        signer = load_online_signers(tmp_path / "var" / "keys").director_timestamp
        assert signer.public_key.keyid == after[role]["keyids"][0]


def test_one_of_two_people_cannot_rotate(tmp_path: Path) -> None:
    run(tmp_path, "init")
    for path in sorted((tmp_path / "offline").glob("director-root-*.pem"))[:2]:
        path.unlink()
    assert run(tmp_path, "rotate", "director-timestamp").exit_code != 0
    assert len(read_roots(tmp_path / "var" / "keys", "director")) == 1


def test_offline_keys_need_their_passphrase(tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("correct horse\n")
    assert run(tmp_path, "init", "--passphrase-file", str(phrase)).exit_code == 0
    assert load_offline_signers(
        folders(tmp_path), repository="image", role="targets", passphrase=b"correct horse"
    )
    with pytest.raises(InvalidInput):
        load_offline_signers(folders(tmp_path), repository="image", role="targets")
    assert load_online_signers(folders(tmp_path).public).image_snapshot.public_key.keyid


def test_a_server_without_keys_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        load_online_signers(tmp_path)
    assert "ringroad keys init" in refused.value.hint


def test_a_key_under_another_keys_name_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "init")
    online = tmp_path / "var" / "keys" / "online"
    keyid = read_newest_root(tmp_path / "var" / "keys", "image").roles.snapshot.keyids[0]
    other = next(online.glob("image-timestamp-*"))
    (online / f"image-snapshot-{keyid[:16]}.pem").write_bytes(other.read_bytes())
    with pytest.raises(InvalidInput):
        load_online_signers(tmp_path / "var" / "keys")
