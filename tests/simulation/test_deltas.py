"""A vehicle that is offered deltas: fewer bytes over the air, the same images, and the whole image when in doubt."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from threading import Event
from typing import Literal

import msgspec
import pytest

from ringroad.build.deltas.make import make_delta
from ringroad.kernel.errors import Untrusted
from ringroad.protocol.vehicle import DeltaOffer, EcuTarget
from ringroad.trust.sign import DirectorTarget
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.deltas import DELTA_TRIES_MAX, Coming, choose_delta, coming, delta_file
from ringroad.vehicle.images import ImageStore
from ringroad.vehicle.memory import Memory
from ringroad.vehicle.rebuild import SMALL_BYTES, Rebuilder
from support.vehicle_world import (
    DeskEcu,
    PowerCut,
    World,
    as_verified,
    content_of,
    director_target,
    with_offers,
)

SIZE = 150_000  # bytes of an image

delta_between = cache(make_delta)  # the same few pairs in every test


@dataclass
class Offers:
    """Makes deltas from what each ECU runs, and serves them."""

    world: World
    algorithm: str = ""  # instead of the true one
    spoil: Callable[[bytes], bytes] = lambda delta: delta  # before it is signed
    serve: Callable[[bytes], bytes | None] = lambda delta: delta  # after it is signed
    made: dict[str, DeltaOffer] = field(default_factory=dict)  # by ECU name

    def __call__(self, ecu: DeskEcu, target: DirectorTarget) -> tuple[DeltaOffer, ...]:
        assert ecu.running is not None
        new = content_of(ecu.name, target.ecu_target.version, target.length)
        kind, delta = delta_between("mcu" if ecu.mode == "inplace" else "linux", ecu.running.content, new)
        delta = self.spoil(delta)
        offer = DeltaOffer(
            algorithm=self.algorithm or kind,
            from_sha256=ecu.running.sha256,
            sha256=hashlib.sha256(delta).hexdigest(),
            sha512=hashlib.sha512(delta).hexdigest(),
            length=len(delta),
        )
        served = self.serve(delta)
        if served is not None:
            self.world.server.images[f"{offer.sha256}.delta"] = served
        self.made[ecu.name] = offer
        return (offer,)


ECUS: tuple[tuple[str, Literal["ab", "inplace"]], ...] = (
    ("central", "ab"), ("adas", "ab"), ("brake", "inplace"), ("body", "inplace"),
)  # fmt: skip


def updated_once(folder: Path, *, ecus: tuple[tuple[str, Literal["ab", "inplace"]], ...] = ECUS) -> World:
    """A vehicle that runs 2.0.0, whose images are in its store."""
    world = World(folder, ecus=ecus)
    world.order(version="2.0.0", size=SIZE)
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    world.server.asked.clear()
    return world


def order_next(world: World, offers: Offers) -> None:
    world.order(action_id=2, version="3.0.0", counter=3, size=SIZE, offers=offers)


def fetched(world: World) -> list[str]:
    """The kinds of files asked of the Image repository: "delta" or an image's version."""
    names = [
        path.rpartition("/")[2].split(".", 1)[1] for _, path, _ in world.server.asked if "/targets/" in path
    ]
    return [name if name == "delta" else name.partition("-")[2].removesuffix(".bin") for name in names]


def told(world: World, code: str) -> set[str]:
    return {one.ecu or one.detail for one in world.server.reports.values() if one.code == code}


def test_an_update_by_deltas_fetches_no_image_and_ends_in_the_same_images(tmp_path: Path) -> None:
    world = updated_once(tmp_path)
    offers = Offers(world)
    order_next(world, offers)
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert world.versions() == {"3.0.0"}
    assert fetched(world) == ["delta"] * 4
    assert sum(offer.length for offer in offers.made.values()) < SIZE / 50
    assert len(told(world, "delta_applied")) >= 1
    store = ImageStore(tmp_path / "images", durability="buffered")
    assert not store.stored() & {offer.sha256 for offer in offers.made.values()}  # used up


def test_an_in_place_ecu_s_backup_is_the_base_and_what_has_no_base_is_fetched_whole(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.order(version="2.0.0", offers=Offers(world, algorithm=""))
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    # The two in-place ECUs' backups come first; the A/B ECUs' old images are nowhere in the vehicle.
    assert sorted(fetched(world)) == ["1.0.0", "1.0.0", "2.0.0", "2.0.0", "delta", "delta"]


def truncated(delta: bytes) -> bytes:
    return delta[: len(delta) // 2]


def noise(delta: bytes) -> bytes:
    return bytes(byte ^ 0x5A for byte in delta)


BOMB = b"HDIFF13&lzma2\0" + bytes([0xFF] * 80)


@pytest.mark.parametrize(
    ("spoil", "serve"),
    [
        pytest.param(bytes, noise, id="other bytes than were signed"),
        pytest.param(bytes, truncated, id="fewer bytes than were signed"),
        pytest.param(bytes, lambda _: None, id="not there"),
        pytest.param(noise, bytes, id="signed bytes that are no delta"),
        pytest.param(truncated, bytes, id="a signed delta that ends early"),
        pytest.param(lambda _: BOMB, bytes, id="a signed header that says too much"),
        pytest.param(lambda delta: delta + b"\0", bytes, id="a signed delta that goes on"),
    ],
)
def test_whatever_is_wrong_with_a_delta_the_whole_image_is_fetched_and_the_update_succeeds(
    tmp_path: Path, spoil: Callable[[bytes], bytes], serve: Callable[[bytes], bytes | None]
) -> None:
    world = updated_once(tmp_path)
    order_next(world, Offers(world, spoil=spoil, serve=serve))
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert world.versions() == {"3.0.0"}
    assert fetched(world).count("3.0.0") >= 2  # HPatchLite does not mind a byte that is too many
    assert told(world, "delta_failed")


def test_a_delta_that_gives_another_image_is_never_used(tmp_path: Path) -> None:
    world = updated_once(tmp_path)
    other = make_delta("linux", content_of("adas", "2.0.0", SIZE), content_of("adas", "6.6.6", SIZE))
    order_next(world, Offers(world, algorithm=other[0], spoil=lambda _: other[1]))
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert world.versions() == {"3.0.0"}
    assert fetched(world).count("3.0.0") == 4


def test_a_corrupted_base_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    world = updated_once(tmp_path)
    offers = Offers(world)
    order_next(world, offers)
    offer = offers.made["adas"]
    base = tmp_path / "images" / offer.from_sha256
    content = bytearray(base.read_bytes())
    content[SIZE // 2] ^= 1
    base.write_bytes(content)
    target = as_verified(director_target(world.ecus["adas"], "3.0.0", 3, size=SIZE))
    delta = tmp_path / "images" / offer.sha256
    delta.write_bytes(world.server.images[f"{offer.sha256}.delta"])
    store = ImageStore(tmp_path / "images", durability="buffered")
    with pytest.raises(Untrusted, match="base") as refused:
        store.rebuild(target, delta_file(target, offer), offer)
    assert refused.value.code == "delta_base"  # a disk that went bad, and nobody's attack
    assert not list((tmp_path / "images").glob("*.part"))
    assert not base.exists()
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert fetched(world).count("3.0.0") == 1


@pytest.mark.parametrize("algorithm", ["next-year", "ihex+next-year"])
def test_a_format_that_this_vehicle_does_not_know_is_passed_over(tmp_path: Path, algorithm: str) -> None:
    world = updated_once(tmp_path)
    order_next(world, Offers(world, algorithm=algorithm))
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert fetched(world) == ["3.0.0"] * 4
    assert not told(world, "delta_failed")


def test_a_delta_is_fetched_from_where_its_download_broke(tmp_path: Path) -> None:
    world = updated_once(tmp_path)
    offers = Offers(world)
    order_next(world, offers)
    offer = offers.made["brake"]
    part = tmp_path / "images" / f"{offer.sha256}.part"
    part.write_bytes(world.server.images[f"{offer.sha256}.delta"][:20])
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert fetched(world) == ["delta"] * 4
    assert "bytes=20-" in [span for _, path, span in world.server.asked if offer.sha256 in path]


class Cut:
    """Power that goes in the n-th write of an image that a delta gives, in the middle of the piece."""

    def __init__(self, world: World, at: int) -> None:
        self._write, self._world = os.write, world
        self.left = at

    def __call__(self, descriptor: int, content: bytes | memoryview) -> int:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name.endswith(".part") and self._world.server.asked and len(content) > 2_000:
            self.left -= 1
            if self.left == 0:
                self._write(descriptor, content[: len(content) // 2])
                raise PowerCut
        return self._write(descriptor, content)


def test_power_that_goes_in_any_write_of_a_rebuilt_image_costs_only_what_was_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = 0
    for at in range(1, 100):
        world = updated_once(tmp_path / str(at), ecus=ECUS[:1])
        order_next(world, Offers(world))
        with monkeypatch.context() as disk:
            cut = Cut(world, at)
            disk.setattr("os.write", cut)
            try:
                state = asyncio.run(world.drive())
            except PowerCut:
                world.reset()
                state = asyncio.run(world.drive())
                cuts += 1
        assert state == "SUCCEEDED"
        assert world.versions() == {"3.0.0"}
        assert fetched(world) == ["delta"]  # nothing was fetched again
        if cut.left > 0:
            break
    assert cuts == 3  # pieces of 64 KiB


def test_a_delta_under_which_the_vehicle_keeps_restarting_is_given_up(tmp_path: Path) -> None:
    world = updated_once(tmp_path)
    order_next(world, Offers(world))
    for _ in range(DELTA_TRIES_MAX):
        with pytest.MonkeyPatch.context() as disk:
            disk.setattr("os.write", Cut(world, 1))
            with pytest.raises(PowerCut):
                asyncio.run(world.drive())
    assert asyncio.run(world.drive()) == "SUCCEEDED"
    assert fetched(world).count("3.0.0") == 1
    assert fetched(world).count("delta") == 4


class SlowStore(ImageStore):
    """A store whose rebuilding waits for a word in the middle."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, durability="buffered")
        self.begun, self.go_on, self.ended = Event(), Event(), False

    def rebuild(self, target: VerifiedTarget, delta: VerifiedTarget, offer: DeltaOffer) -> None:
        self.begun.set()
        assert self.go_on.wait(10)
        self.ended = True


def test_who_is_told_to_end_while_a_large_base_is_read_waits_for_the_writer(tmp_path: Path) -> None:
    world = World(tmp_path / "vehicle", ecus=ECUS[:1])
    target = as_verified(director_target(world.ecus["central"], "3.0.0", 3))
    store = SlowStore(tmp_path / "images")
    (tmp_path / "images" / OFFER.from_sha256).write_bytes(bytes(SMALL_BYTES))  # the image itself is small
    memory = Memory(
        tmp_path / "vehicle",
        clock=world.clock,
        ids=world.ids,
        durability="buffered",
        hook=None,
        observer=None,
    )

    async def stop_in_the_middle() -> None:
        rebuilder = Rebuilder(images=store, memory=memory, clock=world.clock)
        rebuilding = asyncio.create_task(rebuilder.rebuild(target, OFFER, keep=()))
        assert await asyncio.to_thread(store.begun.wait, 10)
        rebuilding.cancel()
        asyncio.get_running_loop().call_later(0.1, store.go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await rebuilding
        assert store.ended

    asyncio.run(stop_in_the_middle())
    memory.close()


OFFER = DeltaOffer(algorithm="hdiff13", from_sha256="0" * 64, sha256="1" * 64, sha512="2" * 128, length=900)


@pytest.mark.parametrize(
    ("offers", "stored", "tries", "expected"),
    [
        ((OFFER,), {"0" * 64}, {}, OFFER),
        ((), {"0" * 64}, {}, None),
        ((OFFER,), set(), {}, None),  # the base is not here
        ((OFFER,), {"1" * 64}, {}, None),  # the delta is, which helps nothing
        ((OFFER,), {"0" * 64}, {f"delta:{'1' * 64}": DELTA_TRIES_MAX - 1}, OFFER),
        ((OFFER,), {"0" * 64}, {f"delta:{'1' * 64}": DELTA_TRIES_MAX}, None),
        ((msgspec.structs.replace(OFFER, length=3_000),), {"0" * 64}, {}, None),  # no shorter than the image
        ((msgspec.structs.replace(OFFER, algorithm="other"),), {"0" * 64}, {}, None),
        ((msgspec.structs.replace(OFFER, sha256="3" * 64, length=901), OFFER), {"0" * 64}, {}, OFFER),
    ],
)
def test_the_shortest_delta_that_can_be_used_is_chosen(
    tmp_path: Path,
    offers: tuple[DeltaOffer, ...],
    stored: set[str],
    tries: dict[str, int],
    expected: DeltaOffer | None,
) -> None:
    target = director_target(World(tmp_path).ecus["adas"], "2.0.0", 2)
    verified = as_verified(with_offers(target, offers))
    assert choose_delta(verified, stored=stored, tries=tries) == expected


def test_what_was_signed_before_deltas_existed_reads_and_writes_as_it_did() -> None:
    old = b'{"name":"adas","mode":"ab","format":"bin","version":"1"}'
    assert msgspec.json.encode(msgspec.json.decode(old, type=EcuTarget)) == old

    class Before(msgspec.Struct, frozen=True, kw_only=True):
        name: str
        mode: str

    offer = DeltaOffer(algorithm="x", from_sha256="0" * 64, sha256="1" * 64, sha512="2" * 128, length=9)
    new = msgspec.json.encode(EcuTarget(name="adas", mode="ab", format="bin", version="1", deltas=(offer,)))
    assert msgspec.json.decode(new, type=Before).name == "adas"


@pytest.mark.parametrize(
    ("stored", "tries", "expected"),
    [
        (
            set(),
            {},
            Coming(update=900, way_back=2_000),
        ),  # what is fetched first is the base of what is fetched then
        ({"base"}, {}, Coming(update=900)),
        ({"base", OFFER.sha256}, {}, Coming()),  # the delta is here, and only to be applied
        ({"base", "target"}, {}, Coming()),
        ({"base"}, {f"delta:{OFFER.sha256}": DELTA_TRIES_MAX}, Coming(update=2_000)),
        ({"target"}, {}, Coming(way_back=2_000)),
    ],
)
def test_what_is_to_come_is_told_apart_from_what_comes_for_the_way_back(
    tmp_path: Path, stored: set[str], tries: dict[str, int], expected: Coming
) -> None:
    world = World(tmp_path)
    images = {
        name: replace(as_verified(director_target(world.ecus["adas"], version, counter)), length=2_000)
        for name, version, counter in (("base", "1.0.0", 1), ("target", "2.0.0", 2))
    }
    offer = msgspec.structs.replace(OFFER, from_sha256=images["base"].sha256)
    target = msgspec.structs.replace(images["target"].ecu_target, deltas=(offer,))
    images["target"] = replace(images["target"], ecu_target=target)
    digests = {images[each].sha256 if each in images else each for each in stored}
    found = coming(list(images.values()), targets={images["target"].sha256}, stored=digests, tries=tries)
    assert found == expected
