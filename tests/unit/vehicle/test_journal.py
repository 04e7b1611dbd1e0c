from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringroad.kernel.errors import Corrupt, InvalidInput, Unavailable
from ringroad.vehicle.journal import (
    CRASH_EXIT_STATUS,
    RECORD_BYTES_MAX,
    Journal,
    encode_record,
    parse_records,
)


def journal(folder: Path) -> Journal:
    return Journal(folder / "journal", durability="fsync")


def filled(folder: Path, *payloads: bytes) -> Path:
    made = journal(folder)
    for payload in payloads:
        made.append(payload)
    made.close()
    return folder / "journal"


def payloads(folder: Path) -> list[bytes]:
    opened = journal(folder)
    found = [record.payload for record in opened.records]
    opened.close()
    return found


def test_what_was_appended_reads_back_in_order(tmp_path: Path) -> None:
    filled(tmp_path, b"one", b"two words", b"3")
    assert payloads(tmp_path) == [b"one", b"two words", b"3"]


@pytest.mark.parametrize("lost_bytes", range(1, 16))
def test_a_torn_last_record_is_dropped_wherever_it_tore(tmp_path: Path, lost_bytes: int) -> None:
    path = filled(tmp_path, b"one", b"two")
    whole = path.read_bytes()
    path.write_bytes(whole[: max(len(whole) - lost_bytes, len(whole) // 2)])
    assert payloads(tmp_path) == [b"one"]


def test_a_last_record_with_a_wrong_checksum_is_dropped_and_its_place_used_again(tmp_path: Path) -> None:
    path = filled(tmp_path, b"one", b"two")
    path.write_bytes(path.read_bytes().replace(b"two", b"tvo"))
    again = journal(tmp_path)
    assert again.append(b"three").sequence == 2
    again.close()
    assert payloads(tmp_path) == [b"one", b"three"]


@pytest.mark.parametrize(("old", "new"), [(b"one", b"0ne"), (b"one\n", b"one"), (b" 1 ", b" 7 ")])
def test_damage_anywhere_but_at_the_end_stops_everything(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = filled(tmp_path, b"one", b"two", b"three")
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(Corrupt, match="journal is damaged"):
        journal(tmp_path)


def test_a_missing_record_in_the_middle_is_damage(tmp_path: Path) -> None:
    path = filled(tmp_path, b"one", b"two", b"three")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(Corrupt, match="record 3 follows 1"):
        journal(tmp_path)


def test_numbers_go_on_after_compaction_and_after_a_restart(tmp_path: Path) -> None:
    made = journal(tmp_path)
    for _ in range(5):
        made.append(b"x")
    assert made.compact(b"all of it").sequence == 6
    assert made.append(b"next").sequence == 7
    made.close()
    assert payloads(tmp_path) == [b"all of it", b"next"]


def test_a_compaction_that_was_cut_off_leaves_the_old_records(tmp_path: Path) -> None:
    filled(tmp_path, b"one", b"two")
    (tmp_path / "journal.new").write_bytes(b"half a lin")
    assert payloads(tmp_path) == [b"one", b"two"]
    assert not (tmp_path / "journal.new").exists()


@pytest.mark.parametrize("moment", ["sync of the folder", "opening"])
def test_after_a_compaction_that_failed_half_way_nothing_is_appended_to_a_lost_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    made = journal(tmp_path)
    made.append(b"one")
    real = os.open

    def broken(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECTORY if moment == "sync of the folder" else flags & os.O_APPEND:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, flags, mode)

    with monkeypatch.context() as disk:
        disk.setattr("os.open", broken)
        with pytest.raises(Unavailable, match="Input/output error"):
            made.compact(b"all of it")
    with pytest.raises(Unavailable):
        made.append(b"two")
    made.close()
    assert payloads(tmp_path) == [b"all of it"]


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = journal(tmp_path)
    made.append(b"one")
    with monkeypatch.context() as disk:

        def half(descriptor: int, content: bytes) -> int:
            raise OSError(28, "No space left on device")

        disk.setattr("os.write", half)
        with pytest.raises(Unavailable, match="No space left"):
            made.append(b"two")
    assert made.append(b"three").sequence == 2
    made.close()
    assert payloads(tmp_path) == [b"one", b"three"]


@pytest.mark.parametrize("payload", [b"two\nlines", b"x" * (RECORD_BYTES_MAX + 1)])
def test_a_record_is_one_bounded_line(tmp_path: Path, payload: bytes) -> None:
    with pytest.raises(InvalidInput):
        journal(tmp_path).append(payload)


def test_an_empty_file_has_no_records() -> None:
    assert parse_records(b"") == ([], 0)


def test_every_prefix_of_a_journal_is_a_journal(tmp_path: Path) -> None:
    content = filled(tmp_path, b"one", b"two", b"three").read_bytes()
    for size in range(len(content)):
        records, good_bytes = parse_records(content[:size])
        assert b"".join(encode_record(record) for record in records) == content[:good_bytes]


def test_the_crash_variable_ends_the_process_right_after_the_record(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from ringroad.vehicle.journal import Journal, crash_after\n"
        "journal = Journal(Path(sys.argv[1]), durability='fsync', hook=crash_after(2))\n"
        "for word in (b'one', b'two', b'three'): journal.append(word)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "journal")], timeout=60, check=False)
    assert done.returncode == CRASH_EXIT_STATUS
    assert payloads(tmp_path) == [b"one", b"two"]
