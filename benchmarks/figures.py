"""What a benchmark hands over, how it is printed and where it is kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    target: float | None
    better: Literal["lower", "higher"]
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "lower" else self.target <= self.value


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} x {model}, {memory_gib:.0f} GiB, Python {platform.python_version()}"


def commit() -> str:
    """Return the commit measured, with `+` when the tree had changes other than of figures."""
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    dirty = subprocess.run(
        ["git", "status", "--porcelain", "--", ":/", ":!/benchmarks/results"],
        capture_output=True,
        text=True,
        check=False,
    )
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def keep(figures: list[Figure], *, command: str) -> None:
    """Replace these figures in `latest.json`; the others stay as they were measured."""
    known = {row["name"]: row for row in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    for figure in figures:
        known[figure.name] = {
            **asdict(figure), "command": command, "machine": machine(), "commit": commit(),
        }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([known[name] for name in sorted(known)], indent=2) + "\n")


def show(figures: list[Figure]) -> None:
    """Print a table with the target beside each figure."""
    width = max(len(figure.name) for figure in figures)
    print(f"{'figure':<{width}}  {'measured':>12}  {'target':>12}  unit")
    for figure in figures:
        sign = "≤" if figure.better == "lower" else "≥"
        target = "-" if figure.target is None else f"{sign} {figure.target:g}"
        verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
        print(
            f"{figure.name:<{width}}  {figure.value:>12.4g}  {target:>12}  {figure.unit}  {verdict}  {figure.note}"
        )
