"""Where forecasts are worked out: processes of this machine, or Spark through Fugue. The same numbers from both.

A task is one option, bytes in and bytes out; its result depends on nothing else.

Limits: as many tasks are in memory as there are workers, and a worker is replaced after `TASKS_PER_PROCESS`.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.signal.demand.block import work

LOCAL: Final = "local"
SMALL_BYTES: Final = 256 * 1024  # of all tasks together; less is done here before another process has started
PARTITIONS_MAX: Final = 200  # of Spark's shuffle; its own default
TASKS_PER_PROCESS: Final = 50  # then its memory is given back


def run_blocks(
    tasks: Sequence[bytes],
    *,
    engine: str = LOCAL,
    progress: Callable[[int], None] | None = None,
    processes: int | None = None,
) -> list[bytes]:
    """Work on blocks; return the results in the order of the tasks.

    Args:
        tasks: what `block.to_bytes` wrote.
        engine: ``local``, or the master of a Spark: ``local[2]``, ``spark://host:7077``, ``yarn``.
        progress: told how many are done.
        processes: of this machine; None: one per core, or none for what is small.

    Raises:
        InvalidInput: the engine's libraries are not installed.
        Unavailable: the Spark did not do its work.
    """
    told = progress or _quiet
    if engine != LOCAL:
        found = _on_spark(tasks, engine)
        told(len(found))
        return found
    if processes is None:
        processes = 0 if sum(map(len, tasks)) < SMALL_BYTES else os.cpu_count() or 1
    if processes == 0:
        return [_here(task, done, told) for done, task in enumerate(tasks, start=1)]
    context = multiprocessing.get_context("spawn")  # the worker has threads, which a fork would lose
    results = []
    with ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=TASKS_PER_PROCESS) as pool:
        for done, result in enumerate(pool.map(work, tasks), start=1):
            results.append(result)
            told(done)
    return results


def _here(task: bytes, done: int, told: Callable[[int], None]) -> bytes:
    result = work(task)
    told(done)
    return result


def _quiet(_done: int) -> None:
    """Say nothing."""


def _on_spark(tasks: Sequence[bytes], master: str) -> list[bytes]:
    missing = [name for name in ("fugue", "pyspark") if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidInput(
            f"{' and '.join(missing)} is not installed, which forecasts on {master} need",
            hint="pip install 'ringroad[demand]' pyspark, and a Java runtime; or demand_engine = \"local\"",
        )
    if master.startswith("local"):  # its workers are processes of this machine: of this Python, not of any
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        return _transformed(tasks, master)
    except Exception as error:  # whatever a JVM, a cluster or a serializer comes up with
        raise Unavailable(
            f"the Spark {master} did not do its work", hint='look at its log, or set demand_engine = "local"',
            detail=f"{type(error).__name__}: {error}"[:2_000],
        ) from error  # fmt: skip


def _transformed(tasks: Sequence[bytes], master: str) -> list[bytes]:
    import pandas as pd  # noqa: PLC0415 - only where Spark is used
    from fugue.workflow.api import transform  # noqa: PLC0415 - same
    from pyspark.sql import SparkSession  # noqa: PLC0415 - same

    builder = (
        SparkSession.builder.master(master).appName("ringroad demand").config("spark.ui.enabled", "false")
    )
    session = builder.config(
        "spark.sql.shuffle.partitions", str(min(len(tasks), PARTITIONS_MAX) or 1)
    ).getOrCreate()
    try:
        frame = pd.DataFrame({"place": range(len(tasks)), "task": list(tasks)})
        found = transform(
            frame,
            _rows,
            schema="place:long,result:bytes",
            partition={"by": "place"},
            engine=session,
            as_local=True,
        )
        by_place = dict(zip(found["place"], found["result"], strict=True))
    finally:
        session.stop()
    return [bytes(by_place[place]) for place in range(len(tasks))]


def _rows(frame: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Work on the rows of one partition."""
    return [{"place": row["place"], "result": work(bytes(row["task"]))} for row in frame]
