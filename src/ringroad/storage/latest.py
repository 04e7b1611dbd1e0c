"""The last known value of VSS paths and faults, out of the lake: what `telemetry.<path>` and `fault.<ecu>.<code>` are.

Cheap and honest: asked for only when a query names a path, one pass over the newest days; a vehicle that sent nothing
within them, or only with a clock that cannot be believed, is not known. Nothing is stored, so nothing can be stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import ibis
import pyarrow.parquet as pq

from ringroad.kernel.errors import InvalidInput
from ringroad.storage.lake import Lake, View, to_us
from ringroad.storage.measures import BELIEVED

Value = float | bool | str
Latest = Mapping[str, Mapping[str, Value]]  # path -> VIN -> value

AGE_MAX = timedelta(days=30)  # what is older is not known any more: a parked car's battery is no longer full
PATHS_MAX = 8  # paths per query; each keeps a value per vehicle in memory, some 100 MB for a million
FAULTS_MAX = 8  # faults per query, likewise
STORED = 0x0D  # failing, pending or confirmed; ISO 14229-1, annex D.2
FILES_LOOKED_AT = 3  # newest files, for the names of paths


def latest_samples(lake: Lake, paths: Sequence[str], *, now: datetime) -> Latest:
    """Return each vehicle's newest believed sample of these paths.

    Raises:
        InvalidInput: too many paths.
        Unavailable: the lake cannot be read now.
        Corrupt: a file of the lake does not read back.
    """
    if len(paths) > PATHS_MAX:
        raise InvalidInput(f"{len(paths)} telemetry paths in one query, limit {PATHS_MAX}")
    if not paths:
        return {}

    def ask(view: View) -> dict[str, dict[str, Value]]:
        samples = view.raw("samples")  # a row delivered twice has the same value twice
        newest = _newest(samples, "path", paths, now=now).select("vin", "path", "kind", "number", "text")
        found: dict[str, dict[str, Value]] = {path: {} for path in paths}
        columns = view.columns(newest)
        for vin, path, kind, number, text in zip(
            *(columns[name] for name in ("vin", "path", "kind", "number", "text")), strict=True
        ):
            found[path][vin] = text if kind == "text" else bool(number) if kind == "bool" else number
        return found

    return lake.read(ask)


def latest_faults(lake: Lake, names: Sequence[str], *, now: datetime) -> Mapping[str, Mapping[str, bool]]:
    """Return whether each vehicle's ECU stores these faults, as it told last; who told nothing is not known.

    Args:
        lake: where it was told.
        names: of faults: ECU, a dot, code.
        now: the server's time.

    Raises:
        InvalidInput: too many faults.
        Unavailable: the lake cannot be read now.
        Corrupt: a file of the lake does not read back.
    """
    if len(names) > FAULTS_MAX:
        raise InvalidInput(f"{len(names)} faults in one query, limit {FAULTS_MAX}")
    if not names:
        return {}

    def ask(view: View) -> dict[str, dict[str, bool]]:
        faults = view.raw("faults")
        named = faults.mutate(name=faults.ecu + "." + faults.code)
        columns = view.columns(_newest(named, "name", names, now=now).select("vin", "name", "status"))
        found: dict[str, dict[str, bool]] = {name: {} for name in names}
        for vin, name, status in zip(*(columns[each] for each in ("vin", "name", "status")), strict=True):
            found[name][vin] = bool(status & STORED)
        return found

    return lake.read(ask)


def _newest(rows: Any, column: str, wanted: Sequence[str], *, now: datetime) -> Any:
    """Keep each vehicle's newest believed row of what is wanted.

    Of one instant it is the one that was delivered last: the order is total, so the answer repeats.
    """
    believed = rows.filter(
        rows[column].isin(list(wanted)), rows.at_us >= to_us(now - AGE_MAX), rows.clock.isin(BELIEVED)
    )
    ranked = believed.mutate(
        place=ibis.row_number().over(
            group_by=[believed.vin, believed[column]],
            order_by=[ibis.desc(name) for name in ("at_us", "seq", "batch", "index")],
        )
    )
    return ranked.filter(ranked.place == 0)


def recent_faults(lake: Lake) -> tuple[str, ...]:
    """Return the faults in the newest files, ECU, a dot, code, to choose from."""
    found: set[str] = set()
    for file in lake.files("faults")[-FILES_LOOKED_AT:]:
        try:
            table = pq.read_table(file, columns=["ecu", "code"], partitioning=None)
        except OSError:
            continue
        pairs = table.group_by(["ecu", "code"]).aggregate([]).to_pydict()
        found.update(f"{ecu}.{code}" for ecu, code in zip(pairs["ecu"], pairs["code"], strict=True))
    return tuple(sorted(found))


def recent_paths(lake: Lake) -> tuple[str, ...]:
    """Return the paths in the newest files, to choose from; a file that moves meanwhile says nothing."""
    found: set[str] = set()
    for file in lake.files("samples")[-FILES_LOOKED_AT:]:
        try:
            table = pq.read_table(file, columns=["path"], partitioning=None)
        except OSError:
            continue
        found.update(table.column("path").unique().to_pylist())
    return tuple(sorted(found))
