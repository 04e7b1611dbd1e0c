"""Our verifier and python-tuf on the same bytes: whatever we accept, a stock client accepts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api import exceptions
from tuf.api.metadata import Metadata, TargetFile
from tuf.api.metadata import Targets as TufTargets
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from ringroad.kernel.errors import Untrusted
from ringroad.trust import sign
from ringroad.trust.canonical import encode_canonical
from ringroad.trust.repository import TrustedRepository
from ringroad.trust.state import RepositoryState
from support.uptane import NOW, VIN, Repo, World, make_world, parsed, target

STRICTER = {"malformed", "wrong_vehicle", "delegation", "equivocation", "path_traversal", "endless_data"}
FILES = ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]


def ours(repo: Repo, state: RepositoryState) -> str:
    """Return the code of our refusal, or nothing."""
    trusted = TrustedRepository(state, name=repo.name, now=NOW, vin=repo.vin)
    try:
        trusted.update_root(repo.files["2.root.json"])
        trusted.update_timestamp(repo.files["timestamp.json"])
        trusted.update_snapshot(repo.files["2.snapshot.json"])
        trusted.update_targets(repo.files["2.targets.json"])
    except Untrusted as error:
        return error.code
    return ""


def stock(repo: Repo, state: RepositoryState) -> bool:
    """Say whether python-tuf accepts the same files after the same earlier ones."""
    trusted = TrustedMetadataSet(state.root, EnvelopeType.METADATA)
    trusted.reference_time = NOW
    try:
        trusted.update_root(repo.files["2.root.json"])
        trusted.update_timestamp(state.timestamp)
        with suppress(exceptions.EqualVersionNumberError):
            trusted.update_timestamp(repo.files["timestamp.json"])
        with suppress(exceptions.BadVersionNumberError):
            trusted.update_snapshot(state.snapshot, trusted=True)
        trusted.update_snapshot(repo.files["2.snapshot.json"])
        trusted.update_targets(repo.files["2.targets.json"])
    except (exceptions.RepositoryError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def prepared(name: str) -> tuple[Repo, RepositoryState]:
    """Return a repository with a second version, and the state of a vehicle that saw the first."""
    repo, state = made(name)
    return replace(repo, files=dict(repo.files)), state


@cache
def made(name: str) -> tuple[Repo, RepositoryState]:
    world = make_world()
    world.run()
    world.publish(2)
    repo: Repo = getattr(world, name)
    repo.put_root(2)
    return repo, world.state.of(repo.name)


def role_of(filename: str) -> str:
    return filename.removesuffix(".json").split(".")[-1]


def rebuild_above(repo: Repo, filename: str) -> None:
    """Make the files above a changed one describe it, so that deeper checks are reached."""
    until = NOW + timedelta(days=1)
    if filename == "2.targets.json":
        snapshot = sign.build_snapshot(
            version=2, expires=until, targets_version=2, targets_raw=repo.files[filename], vin=repo.vin
        )
        repo.put_snapshot(sign.sign(snapshot, repo.signers("snapshot")), 2)
    if filename == "2.snapshot.json":
        repo.put_snapshot(repo.files[filename], 2)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [path, *(leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key)))]
    if isinstance(value, list):
        return [path, *(leaf for index, inner in enumerate(value) for leaf in leaves(inner, (*path, index)))]
    return [path]


REPLACEMENTS: st.SearchStrategy[Any] = st.sampled_from(
    [
        0,
        1,
        2,
        3,
        -1,
        "",
        "x",
        "0" * 64,
        "2020-01-01T00:00:00Z",
        "2026-11-23T12:00:00Z",
        "2040-01-01T00:00:00Z",
        None,
        True,
        [],
        {},
    ]
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_we_accept_a_stock_client_accepts_and_what_only_we_refuse_has_a_reason(
    data: st.DataObject,
) -> None:
    repo, state = prepared(data.draw(st.sampled_from(["image", "director"])))
    filename = data.draw(st.sampled_from(FILES))
    document = parsed(repo.files[filename])
    path = data.draw(st.sampled_from([leaf for leaf in leaves(document) if leaf]))
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    if data.draw(st.booleans()):
        at[path[-1]] = data.draw(REPLACEMENTS)
    else:
        del at[path[-1]]
    raw = encode_canonical(document)
    if data.draw(st.booleans()) and isinstance(document.get("signatures"), list) and "signed" in document:
        document["signatures"] = []
        raw = sign.add_signatures(encode_canonical(document), repo.signers(role_of(filename)))
    repo.files[filename] = raw
    if data.draw(st.booleans()):
        rebuild_above(repo, filename)
    code, accepted = ours(repo, state), stock(repo, state)
    if not code:
        assert accepted
    elif accepted:
        assert code in STRICTER


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FILES), st.integers(0, 5_000), st.integers(1, 255))
def test_one_changed_byte_is_refused(filename: str, at: int, bits: int) -> None:
    repo, state = prepared("director")
    raw = bytearray(repo.files[filename])
    raw[at % len(raw)] ^= bits
    repo.files[filename] = bytes(raw)
    code = ours(repo, state)
    assert code or filename == "2.root.json"  # two of three root signatures suffice
    assert code or stock(repo, state)


@pytest.mark.parametrize("name", ["image", "director"])
def test_both_verifiers_accept_what_we_sign(name: str) -> None:
    repo, state = prepared(name)
    assert ours(repo, state) == ""
    assert stock(repo, state)


@pytest.mark.parametrize("name", ["image", "director"])
def test_both_verifiers_refuse_at_the_second_of_expiry(name: str) -> None:
    repo, state = prepared(name)
    repo.put_snapshot(repo.files["2.snapshot.json"], 2, until=NOW)
    assert ours(repo, state) == "freeze"
    assert not stock(repo, state)


def test_a_stock_client_reads_the_custom_fields_and_checks_the_image() -> None:
    world: World = make_world()
    whole = Metadata[TufTargets].from_bytes(world.image.files["1.targets.json"])
    listed = whole.signed.targets["brake-2.0.0.bin"]
    assert isinstance(listed, TargetFile)
    assert listed.unrecognized_fields["custom"]["must_match"] == {
        "hardware_ids": list(target("brake").hardware_ids),
        "release_counter": 2,
    }
    director = Metadata[TufTargets].from_bytes(world.director.files["1.targets.json"])
    assert director.signed.unrecognized_fields["vin"] == VIN
