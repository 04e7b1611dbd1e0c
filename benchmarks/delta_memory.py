"""What applying deltas takes in memory: the part of `benchmarks.delta` that needs no peers.

Run: python -m benchmarks delta_memory
"""

from __future__ import annotations

from benchmarks.delta import FOLDER, applied, shared_object, worst_memory, zephyr
from benchmarks.figures import Figure
from ringroad.build.deltas.make import make_delta


def run() -> list[Figure]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = []
    for pair in [*zephyr(), *shared_object()]:
        kind, delta = make_delta(pair.ecu_class, pair.base, pair.new)
        found.append(applied(pair, kind, delta))
    return worst_memory(found)
