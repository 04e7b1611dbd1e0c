"""The leaves of a vehicle's signal tree: which there are, of which type, and what was last said of each.

A tree is a VSS catalogue as `vspec export json` writes it, or, without one, what the signals themselves show.
What a client publishes is a sample like any other: it ages, and preconditions go by it.

Invariant: a value is kept only for a leaf that exists, and only of its type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.limits import TELEMETRY_BATCH_MAX
from ringroad.protocol.vehicle import Sample
from ringroad.vehicle.signals import SignalSource

TREE_BYTES_MAX: Final = 8 * 1024**2  # bytes; the whole COVESA catalogue has 0.4 MB
LEAVES_MAX: Final = 20_000  # the whole COVESA catalogue has 1,400
DEPTH_MAX: Final = 32
TEXT_CHARS_MAX: Final = 2_000

Value = float | int | bool | str

_BITS: Final[Mapping[str, tuple[int, int]]] = {
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One signal: its path, VSS datatype and kind (sensor, actuator, attribute)."""

    path: str
    datatype: str
    kind: str = "sensor"
    unit: str = ""
    description: str = ""


def read_tree(path: Path) -> dict[str, Leaf]:
    """Return the leaves of a VSS catalogue in JSON, by path.

    Raises:
        InvalidInput: it is missing, too large, or no such catalogue.
    """
    try:
        if path.stat().st_size > TREE_BYTES_MAX:
            raise InvalidInput(f"{path} is over {TREE_BYTES_MAX // 1024**2} MiB")
        tree = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidInput(f"{path} is no VSS catalogue", hint="vspec export json writes one") from error
    leaves: dict[str, Leaf] = {}
    for leaf in _walk("", tree, depth=0):
        leaves[leaf.path] = leaf
        if len(leaves) > LEAVES_MAX:
            raise InvalidInput(f"{path} has more than {LEAVES_MAX} leaves")
    return leaves


def _walk(prefix: str, children: Mapping[str, Any], *, depth: int) -> Iterator[Leaf]:
    if depth > DEPTH_MAX:
        raise InvalidInput(f"the catalogue is nested more than {DEPTH_MAX} deep")
    for name, node in children.items():
        if not isinstance(node, dict):
            raise InvalidInput(f"{prefix}{name} is no node of a VSS catalogue")
        path = f"{prefix}{name}"
        below = node.get("children")
        if isinstance(below, dict):
            yield from _walk(f"{path}.", below, depth=depth + 1)
        elif node.get("type") in {"sensor", "actuator", "attribute"}:
            yield Leaf(
                path=path, datatype=str(node.get("datatype", "")), kind=str(node["type"]),
                unit=str(node.get("unit", "")), description=str(node.get("description", "")),
            )  # fmt: skip


def leaf_of(sample: Sample) -> Leaf:
    """Return the leaf that a sample shows, where no catalogue tells of it."""
    match sample.value:
        case bool():
            datatype = "boolean"
        case str():
            datatype = "string"
        case _:
            datatype = "double"
    return Leaf(path=sample.path, datatype=datatype)


def fitting(leaf: Leaf, value: Value) -> Value:
    """Return a value as its leaf keeps it.

    Raises:
        InvalidInput: it is of another type, or out of its type's range.
    """
    wrong = InvalidInput(f"{leaf.path} is {leaf.datatype}, not {str(value)[:40]!r}", code="datatype")
    if leaf.datatype == "boolean" or isinstance(value, bool):
        if leaf.datatype == "boolean" and isinstance(value, bool):
            return value
        raise wrong
    if leaf.datatype == "string" or isinstance(value, str):
        if leaf.datatype == "string" and isinstance(value, str) and len(value) <= TEXT_CHARS_MAX:
            return value
        raise wrong
    if leaf.datatype in {"float", "double"}:
        return float(value)
    low, high = _BITS.get(leaf.datatype, (1, 0))
    if not low <= value <= high or value != int(value):
        raise wrong
    return int(value)


class SharedSignals:
    """A source of signals that others publish to as well; the newest sample of each path counts."""

    def __init__(self, source: SignalSource, tree: Mapping[str, Leaf]) -> None:
        self._source = source
        self._tree = tree
        self._put: dict[str, Sample] = {}

    def read(self, now: datetime) -> Sequence[Sample]:
        """Return the newest sample of each path, at most `TELEMETRY_BATCH_MAX`."""
        found = {each.path: each for each in self._source.read(now)}
        found |= {
            path: put for path, put in self._put.items() if path not in found or found[path].at <= put.at
        }
        return list(found.values())[:TELEMETRY_BATCH_MAX]

    def leaves(self, now: datetime) -> dict[str, Leaf]:
        """Return every leaf there is, by path."""
        return {each.path: leaf_of(each) for each in self._source.read(now)} | dict(self._tree)

    def publish(self, path: str, value: Value, *, now: datetime) -> None:
        """Keep a value.

        Raises:
            NotFound: there is no such leaf.
            InvalidInput: it is of another type.
        """
        leaf = self.leaves(now).get(path)
        if leaf is None:
            raise NotFound(f"there is no signal {path[:100]!r}", hint="vss_file names the tree")
        self._put[path] = Sample(at=now, path=path, value=fitting(leaf, value))


def matching(leaves: Mapping[str, Leaf], asked: Sequence[str]) -> list[str]:
    """Return the paths of leaves that were asked for by themselves or by a branch above; those that are not there are left out."""
    found: dict[str, None] = {}
    for each in asked:
        root = each.removesuffix(".*").removesuffix(".**")
        if root in leaves:
            found[root] = None
        else:
            found.update(dict.fromkeys(path for path in leaves if not root or path.startswith(f"{root}.")))
    return list(found)
