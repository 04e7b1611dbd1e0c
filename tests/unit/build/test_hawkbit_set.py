from __future__ import annotations

import copy
import hashlib
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.hawkbit_set import ArtifactFile, check_file, read_set
from ringroad.kernel.errors import InvalidInput, Untrusted

CONTENT = b"firmware " * 100
FILE = {
    "id": 5,
    "providedFilename": "fw-2.swu",
    "size": len(CONTENT),
    "hashes": {name: hashlib.new(name, CONTENT).hexdigest() for name in ("sha1", "md5", "sha256")},
    "_links": {"download": {"href": "https://hawkbit/…"}},
}
SET: dict[str, Any] = {
    "id": 7,
    "name": "Winter",
    "version": "2.1.0",
    "type": "os",
    "complete": True,
    "modules": [{"id": 3, "name": "rootfs", "version": "2.1.0", "type": "os", "artifacts": [FILE]}],
}


def changed(path: tuple[str | int, ...], value: object) -> bytes:
    """Return the set with one thing changed; `...` takes it away."""
    document: Any = copy.deepcopy(SET)
    at = document
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.dumps(document).encode()


def test_a_set_is_read_with_its_files_and_hashes() -> None:
    found = read_set(json.dumps(SET).encode())
    (module,) = found.modules
    assert (found.name, found.version, module.name, module.version) == ("Winter", "2.1.0", "rootfs", "2.1.0")
    assert module.file.hashes == FILE["hashes"]
    check_file(module.file, io.BytesIO(CONTENT).read, size=len(CONTENT))


MODULE, ARTIFACT = ("modules", 0), ("modules", 0, "artifacts", 0)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no JSON"),
        (b"[]", "no distribution set"),
        (b"[" * 100_000, "no JSON"),
        (b" " * (4 * 1024**2 + 1), "more than"),
        (changed(("modules",), ...), "no modules"),
        (changed(("modules",), []), "no modules"),
        (changed(("modules",), SET["modules"] * 2), "same name"),
        (changed(("modules",), SET["modules"] * 300), "more than 256"),
        (changed(("complete",), False), "incomplete"),
        (changed(("deleted",), True), "deleted"),
        (changed(("name",), ""), "no name"),
        (changed(("version",), 2), "no version"),
        (changed(MODULE, "rootfs"), "no object"),
        (changed((*MODULE, "artifacts"), ...), "no artifacts"),
        (changed((*MODULE, "artifacts"), []), "0 files"),
        (changed((*MODULE, "artifacts"), [FILE, FILE]), "2 files"),
        (changed((*ARTIFACT, "providedFilename"), "../../etc/passwd"), "no plain file name"),
        (changed((*ARTIFACT, "providedFilename"), "/etc/passwd"), "no plain file name"),
        (changed((*ARTIFACT, "providedFilename"), "a..b"), "no plain file name"),
        (changed((*ARTIFACT, "providedFilename"), ""), "no plain file name"),
        (changed((*ARTIFACT, "size"), 0), "no size"),
        (changed((*ARTIFACT, "size"), True), "no size"),
        (changed((*ARTIFACT, "size"), 2**60), "no size"),
        (changed((*ARTIFACT, "hashes"), {"sha1": "0" * 40}), "no sha256"),
        (changed((*ARTIFACT, "hashes", "md5"), "zz"), "no md5"),
    ],
)
def test_a_bad_set_is_refused_with_the_reason(content: bytes, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as refused:
        read_set(content)
    assert refused.value.hint


def test_a_file_that_is_not_the_sets_is_refused() -> None:
    (module,) = read_set(json.dumps(SET).encode()).modules
    with pytest.raises(InvalidInput, match="the set says"):
        check_file(module.file, io.BytesIO(CONTENT).read, size=len(CONTENT) - 1)
    with pytest.raises(Untrusted, match="sha256"):
        check_file(module.file, io.BytesIO(CONTENT[:-1] + b"X").read, size=len(CONTENT))
    good = dict(module.file.hashes) | {"sha1": "0" * 40}
    with pytest.raises(Untrusted, match="sha1"):  # they must agree: one of them is a mistake
        check_file(
            ArtifactFile(filename="f", size=len(CONTENT), hashes=good),
            io.BytesIO(CONTENT).read,
            size=len(CONTENT),
        )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PATHS = [("name",), ("version",), ("modules",), MODULE, (*MODULE, "artifacts"), ARTIFACT]
PATHS += [(*ARTIFACT, key) for key in ("providedFilename", "size", "hashes")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATHS), JSON)
def test_whatever_stands_in_a_set_it_is_read_or_refused(path: tuple[str | int, ...], value: object) -> None:
    try:
        found = read_set(changed(path, value))
    except InvalidInput:
        return
    assert all("/" not in module.file.filename for module in found.modules)
