"""The count of what peers gave of a download, across tries, losses of power and damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringroad.kernel.errors import Unavailable
from ringroad.vehicle import given as given_module
from ringroad.vehicle.given import GivenBytes
from ringroad.vehicle.images import ImageStore
from support.uptane import IMAGE, make_world


def count(folder: Path) -> GivenBytes:
    return GivenBytes(folder / "x.peers", durability="buffered")


def test_it_adds_up_over_tries_and_is_gone_with_the_download(tmp_path: Path) -> None:
    given = count(tmp_path)
    given.begin(100)
    assert given.counting
    given.end(150)
    given.begin(400)
    given.end(410)
    assert (count(tmp_path).total, count(tmp_path).counting) == (60, False)
    given.forget()
    assert given.total == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("here", "total"), [(150, 50), (100, 0), (40, 0)])
def test_a_loss_of_power_in_a_peers_bytes_costs_no_more_than_it_cost_of_them(
    tmp_path: Path, here: int, total: int
) -> None:
    count(tmp_path).begin(100)
    again = count(tmp_path)
    again.end(here)
    assert (again.total, count(tmp_path).total) == (total, total)


def test_it_is_never_more_than_what_is_here(tmp_path: Path) -> None:
    given = count(tmp_path)
    given.begin(0)
    given.end(500)
    again = count(tmp_path)
    again.end(300)  # the disk had not taken the rest
    assert again.total == count(tmp_path).total == 300


@pytest.mark.parametrize("content", [b"", b"7", b"x -", b"7 y", b"-7 -", b"7 - 8", b"\xff\xfe"])
def test_one_that_does_not_read_back_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.peers").write_bytes(content)
    assert (count(tmp_path).total, count(tmp_path).counting) == (0, False)


def full(*_: object, **__: object) -> None:
    raise Unavailable("cannot write it: No space left on device", code="disk")


def test_a_disk_that_does_not_take_it_keeps_no_download_and_counts_none_of_the_servers_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_world().run().targets["brake-serial"]
    content = IMAGE + b"brake"
    store = ImageStore(tmp_path, durability="buffered")
    with store.resume(target) as image, image.from_peer():
        image.write(content[:2])
    (tmp_path / f"{target.sha256}.peers").write_bytes(b"0 1")  # power went in the middle of a peer's bytes
    with monkeypatch.context() as disk:
        disk.setattr(given_module, "replace_file", full)
        with store.resume(target) as image:
            with image.from_peer():
                image.write(content[2:3])
            image.write(content[3:])
    with store.resume(target) as image:
        assert image.whole
        assert image.finish() == 0
    assert store.stored() == {target.sha256}


def test_a_count_that_cannot_be_removed_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    given = count(tmp_path)
    given.begin(0)
    given.end(5)
    monkeypatch.setattr(Path, "unlink", read_only)
    given.forget()
    assert given.total == 0
