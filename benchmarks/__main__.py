"""`python -m benchmarks [NAME ...]`: run benchmarks, print their figures, keep them in results/latest.json."""

from __future__ import annotations

import importlib
import sys

from benchmarks.figures import keep, show

BENCHMARKS = (
    "gateway",
    "gateway_million",
    "gateway_connections",
    "gateway_nginx",
    "hawkbit",
    "vecu_transfer",
    "doip",
    "isotp",
    "campaign_1m",
    "canary",
    "canary_whole",
    "sequence",
    "fjsp",
    "twin",
    "replan",
    "clone",
    "quality",
    "logistics",
    "forecast",
    "demo",
    "delta",
    "delta_memory",
    "makespan",
    "vehicles",
    "powercut",
    "kills",
)  # each a module with `run() -> list[Figure]`
LONG = frozenset(
    {"delta", "fjsp", "powercut", "kills"}
)  # minutes and a quarter of an hour of CPU: only when named


def main() -> None:
    names = sys.argv[1:] or [name for name in BENCHMARKS if name not in LONG]
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"error: no benchmark {', '.join(sorted(unknown))}\nhint: one of {', '.join(BENCHMARKS)}")
    for name in names:
        figures = importlib.import_module(f"benchmarks.{name}").run()
        if not figures:  # it said why
            continue
        keep(figures, command=f"make bench ARGS={name}")
        show(figures)


if __name__ == "__main__":
    main()
