"""Deltas: what HDiffPatch makes is rebuilt byte for byte, and nothing else gets out of a decoder."""

from __future__ import annotations

import lzma
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import hdiffpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.deltas.make import make_delta, pack
from ringroad.protocol.delta import hdiff13, hpatchlite, ihex
from ringroad.protocol.delta.apply import ALGORITHMS, rebuild
from ringroad.protocol.delta.pieces import MalformedDelta, add_bytes

MIB = 1024**2
ZEPHYR = "zephyr_4_4_0_hci_usb_nrf52840dk_"


def of(content: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, size: content[offset : offset + size]


def apply(algorithm: str, base: bytes, delta: bytes, *, length: int) -> bytes:
    return b"".join(rebuild(algorithm, of(base), len(base), of(delta), len(delta), length=length))


def image(size: int, *, seed: int) -> bytes:
    """Bytes that compress like code does: words out of a small set."""
    draw = random.Random(seed)
    words = [draw.randbytes(4) for _ in range(400)]
    return b"".join(draw.choices(words, k=size // 4))


def changed(base: bytes, *, seed: int) -> bytes:
    """The next build: addresses shift, a function is new, one is gone."""
    draw = random.Random(seed)
    new = bytearray(base)
    for _ in range(len(base) // 400):
        at = draw.randrange(len(new) - 4)
        new[at : at + 2] = ((int.from_bytes(new[at : at + 2], "little") + 36) & 0xFFFF).to_bytes(2, "little")
    cut = len(new) // 3
    return bytes(new[:cut] + draw.randbytes(700) + new[cut + 300 :])


BASE = image(24_000, seed=1)
NEW = changed(BASE, seed=2)
DELTAS = {kind: make_delta(kind, BASE, NEW) for kind in ("linux", "mcu")}


def zephyr(build: str) -> bytes:
    for place in sys.path:
        path = Path(place) / f"{ZEPHYR}{build}" / "firmware.hex"
        if path.exists():
            return path.read_bytes()
    raise AssertionError(f"no Zephyr build {build}")


@pytest.mark.parametrize("kind", ["linux", "mcu"])
def test_a_delta_gives_the_new_image_and_is_much_smaller(kind: str) -> None:
    algorithm, delta = DELTAS[kind]
    assert apply(algorithm, BASE, delta, length=len(NEW)) == NEW
    assert len(delta) < len(lzma.compress(NEW)) / 4


def test_hdiffpatch_itself_reads_what_we_packed_anew() -> None:
    plain = hdiffpatch.diff(BASE, NEW, None)
    packed = pack(plain)
    assert hdiffpatch.apply(BASE, packed) == NEW
    assert len(packed) <= len(hdiffpatch.recompress(plain, "lzma2"))
    assert hdiffpatch.apply_lite(BASE, DELTAS["mcu"][1]) == NEW


@pytest.mark.parametrize("compression", [None, "lzma2"])
def test_we_read_what_hdiffpatch_packed_where_the_dictionary_is_small(compression: str | None) -> None:
    config = None if compression is None else hdiffpatch.Lzma2Config(window=20)
    delta = hdiffpatch.diff(BASE, NEW, config)
    assert apply("hdiff13", BASE, delta, length=len(NEW)) == NEW


@pytest.mark.parametrize("kind", ["linux", "mcu"])
def test_two_zephyr_builds_in_intel_hex_are_told_apart_by_what_they_say(kind: str) -> None:
    base, new = zephyr("default"), zephyr("legacy")
    algorithm, delta = make_delta("linux" if kind == "linux" else "mcu", base, new)
    assert algorithm.startswith("ihex+")
    assert apply(algorithm, base, delta, length=len(new)) == new
    assert len(delta) < len(hdiffpatch.diff(base, new, "lzma2")) / 5  # as text


@settings(max_examples=25, deadline=None)
@given(
    base=st.binary(min_size=1, max_size=3000),
    new=st.binary(min_size=1, max_size=3000),
    copies=st.integers(0, 3),
)
def test_whatever_the_images_are_both_formats_give_the_new_one(base: bytes, new: bytes, copies: int) -> None:
    new = new + base[len(base) // 3 :] * copies + new
    for kind in ("linux", "mcu"):
        algorithm, delta = make_delta("linux" if kind == "linux" else "mcu", base, new)
        assert apply(algorithm, base, delta, length=len(new)) == new


@given(left=st.binary(max_size=600), shift=st.integers(0, 255))
def test_bytes_are_added_one_by_one(left: bytes, shift: int) -> None:
    right = bytes((byte * 7 + shift) & 0xFF for byte in left)
    assert add_bytes(left, right) == bytes((a + b) & 0xFF for a, b in zip(left, right, strict=True))


# What is not a delta ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linux", "mcu"])
def test_a_delta_that_ends_early_is_refused_wherever_it_ends(kind: str) -> None:
    algorithm, delta = DELTAS[kind]
    for end in [*range(min(len(delta), 60)), *range(60, len(delta) - 4, 211)]:
        with pytest.raises(MalformedDelta):
            apply(algorithm, BASE, delta[:end], length=len(NEW))


@pytest.mark.parametrize("kind", ["linux", "mcu"])
@pytest.mark.parametrize("wrong", [0, 1, len(NEW) - 1, len(NEW) + 1, 2**40])
def test_a_delta_for_another_size_is_refused_before_a_byte_comes_out(kind: str, wrong: int) -> None:
    algorithm, delta = DELTAS[kind]
    pieces = rebuild(algorithm, of(BASE), len(BASE), of(delta), len(delta), length=wrong)
    with pytest.raises(MalformedDelta):
        next(pieces)


@pytest.mark.parametrize("kind", ["linux", "mcu"])
def test_a_base_that_is_shorter_is_refused(kind: str) -> None:
    algorithm, delta = DELTAS[kind]
    with pytest.raises(MalformedDelta):
        apply(algorithm, BASE[:2000], delta, length=len(NEW))


@pytest.mark.parametrize("algorithm", ["", "bsdiff", "ihex+", "ihex+ihex+hdiff13", "hdiff13 "])
def test_a_format_that_is_not_known_is_refused(algorithm: str) -> None:
    with pytest.raises(MalformedDelta):
        apply(algorithm, BASE, DELTAS["linux"][1], length=len(NEW))


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["linux", "mcu"]),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=6),
)
def test_a_changed_delta_gives_an_error_or_exactly_as_many_bytes(
    kind: str, edits: list[tuple[int, int]]
) -> None:
    algorithm, delta = DELTAS[kind]
    hostile = bytearray(delta)
    for at, change in edits:
        hostile[at % len(hostile)] ^= change
    assert_bounded(algorithm, bytes(hostile))


@settings(max_examples=120, deadline=None)
@given(
    algorithm=st.sampled_from(sorted(ALGORITHMS)), tail=st.binary(max_size=300), head=st.sampled_from([0, 24])
)
def test_noise_behind_a_good_beginning_gives_an_error_or_exactly_as_many_bytes(
    algorithm: str, tail: bytes, head: int
) -> None:
    good = DELTAS["linux" if algorithm.endswith("hdiff13") else "mcu"][1]
    assert_bounded(algorithm, good[:head] + tail)


def assert_bounded(algorithm: str, delta: bytes) -> None:
    size = 0
    try:
        for piece in rebuild(algorithm, of(BASE), len(BASE), of(delta), len(delta), length=len(NEW)):
            size += len(piece)
            assert size <= len(NEW)
    except MalformedDelta:
        return
    assert size == len(NEW)


# Bombs -----------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def packed(content: bytes, *, bits: int = 16) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": hdiff13.dictionary_bytes(bits)}]
    return bytes([bits]) + lzma.compress(content, format=lzma.FORMAT_RAW, filters=filters)


def hdiff(*sections: tuple[int, bytes], new: int, base: int, covers: int) -> bytes:
    numbers = [new, base, covers]
    for plain, stored in sections:
        numbers += [plain, len(stored) if stored else 0]
    head = b"HDIFF13&lzma2\0" + b"".join(number(value) for value in numbers)
    return head + b"".join(stored for _, stored in sections)


def test_a_bomb_of_covers_that_say_nothing_is_refused_at_the_first() -> None:
    covers = bytes(3_000_000)
    bomb = hdiff((len(covers), packed(covers)), (0, b""), (0, b""), (0, b""), new=10, base=10, covers=10**6)
    assert len(bomb) < 2000
    with pytest.raises(MalformedDelta, match="cover 0 is empty"):
        apply("hdiff13", bytes(10), bomb, length=10)


def test_a_section_that_unpacks_to_more_than_it_says_is_not_unpacked_further() -> None:
    literals = bytes(200 * MIB)
    bomb = hdiff((0, b""), (1, packed(b"\x09")), (0, b""), (10, packed(literals)), new=10, base=10, covers=0)
    del literals
    tracemalloc.start()
    try:
        got = apply("hdiff13", bytes(10), bomb, length=10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert got == bytes(10)
    assert peak < 4 * MIB


def test_a_dictionary_beyond_the_limit_is_refused_before_it_is_made() -> None:
    bomb = hdiff(
        (0, b""), (1, packed(b"\x09")), (0, b""), (10, b"\x28" + bytes(30)), new=10, base=10, covers=0
    )
    with pytest.raises(MalformedDelta, match="a dictionary of"):
        apply("hdiff13", bytes(10), bomb, length=10)
    lite = bytearray(DELTAS["mcu"][1])
    header = hpatchlite.parse_header(bytes(lite[:30]))
    lite[header.end - 4 : header.end] = (2**30).to_bytes(4, "little")
    with pytest.raises(MalformedDelta, match="a dictionary of"):
        apply("hpatchlite", BASE, bytes(lite), length=len(NEW))


def test_the_mcu_format_needs_no_more_than_4_kib_of_buffers() -> None:
    buffers = hpatchlite.Buffers()
    delta = DELTAS["mcu"][1]
    pieces = hpatchlite.rebuild(of(BASE), len(BASE), of(delta), len(delta), length=len(NEW), buffers=buffers)
    assert max(len(piece) for piece in pieces) <= hpatchlite.PIECE_BYTES
    assert 0 < buffers.used_bytes <= 4096


# Intel HEX -------------------------------------------------------------------------------------------


def records(*lines: str, end: str = "\n") -> bytes:
    def record(body: str) -> str:
        raw = bytes.fromhex(body)
        return f":{raw.hex().upper()}{-sum(raw) & 0xFF:02X}"

    return "".join(record(line) + end for line in lines).encode()


EOF = "00000001"


@pytest.mark.parametrize(
    "text",
    [
        zephyr("default"),
        records("0400000000112233", EOF),
        records("0400000000112233", EOF, end="\r\n"),
        records("020000040000", "0400000000112233", EOF),
        records("02FFFE001122", "020000040001", "020000003344", EOF),
        records("020000041000", "0400000000112233", "0400000510000000", EOF),
    ],
)
def test_an_intel_hex_file_comes_back_as_it_was(text: bytes) -> None:
    flat = ihex.flatten(text)
    assert flat is not None
    assert b"".join(ihex.restore(flat)) == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not hex",
        b":0400000000112233",
        records(EOF),
        records("0400000000112233"),  # no end
        records("0400000000112233", EOF).lower(),
        records("0400000000112233", EOF) + b"\n",
        records("0400000000112233", "0400001000112233", EOF).replace(b"0010", b"0011"),  # checksum
        records("020000040000", "0400000000112233", "020000040000", EOF),  # says a page twice
        records("0400000600112233", EOF),
    ],
)
def test_an_unusual_file_is_left_as_it_is(text: bytes) -> None:
    assert ihex.flatten(text) is None


@settings(max_examples=100, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 80), st.integers(1, 255)), min_size=1, max_size=5))
def test_hostile_contents_of_a_hex_file_give_an_error_or_a_text_of_bounded_size(
    edits: list[tuple[int, int]],
) -> None:
    flat = bytearray(
        ihex.flatten(records("020000041000", "0400000000112233", "0400400000112233", EOF)) or b""
    )
    for at, change in edits:
        flat[at % len(flat)] ^= change
    try:
        size = sum(len(piece) for piece in ihex.restore(bytes(flat)))
    except MalformedDelta:
        return
    assert size < 40 * len(flat)
