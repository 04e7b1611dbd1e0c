"""A Spark we did not write makes the same forecasts as processes of this machine, to the last bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ringroad.signal.demand.block import Block, to_bytes
from ringroad.signal.demand.engines import run_blocks
from ringroad.signal.demand.panel import Key
from ringroad.signal.demand.score import StockCost

pytestmark = pytest.mark.foreign

# In a process of its own: a JVM leaves pipes and sockets open until its parent ends.
ON_SPARK = """
import pathlib, sys
from ringroad.kernel.errors import Unavailable
from ringroad.signal.demand.engines import run_blocks
folder = pathlib.Path(sys.argv[1])
tasks = [path.read_bytes() for path in sorted(folder.glob("task*"))]
for number, result in enumerate(run_blocks(tasks, engine="local[2]")):
    (folder / f"result{number}").write_bytes(result)
try:
    run_blocks(tasks, engine="no://spark")
except Unavailable as error:
    print("refused:", error.message)
"""


def test_processes_and_spark_give_the_same_bytes(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    tasks = [
        to_bytes(
            Block(
                keys=tuple(Key(option, plant, "EU", "city") for plant in ("north", "south")),
                units=draw.poisson(6.0, (2, 36)).astype(float), horizon=3, cost=StockCost(),
            )
        )
        for option in ("", "tow_bar")
    ]  # fmt: skip
    done: list[int] = []
    here = run_blocks(tasks, processes=0, progress=done.append)
    assert done == [1, 2]
    assert run_blocks(tasks, processes=2) == here
    for number, task in enumerate(tasks):
        (tmp_path / f"task{number}").write_bytes(task)
    command = [sys.executable, "-c", ON_SPARK, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert told.returncode == 0, told.stderr[-3000:]
    assert [(tmp_path / f"result{number}").read_bytes() for number in range(len(tasks))] == here
    assert "refused: the Spark no://spark did not do its work" in told.stdout
