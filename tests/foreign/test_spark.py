"""A Spark we did not write makes the same forecasts as processes of this machine, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from ringroad.signal.demand.block import Block, to_bytes
from ringroad.signal.demand.engines import run_blocks
from ringroad.signal.demand.panel import Key
from ringroad.signal.demand.score import StockCost

pytestmark = [pytest.mark.foreign, pytest.mark.filterwarnings("default")]  # of other people's code


def test_processes_and_spark_give_the_same_bytes() -> None:
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
    assert run_blocks(tasks, engine="local[2]") == here
