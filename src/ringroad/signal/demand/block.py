"""The forecast of one option: everything about its series and their sums, from months to samples and grades.

1. The last months are held out; what is chosen on those before is graded on them, beside the floor and last year's
   month. Sums that add up and sums that are reconciled are graded too, and the better way is kept.
2. A series whose choice has no skill there, against either, is left to the floor, and said so.
3. The choice is made again on all months, coupled, reconciled, moved by orders, and summed.

Pure. Invariant: the same block gives the same bytes, wherever it is worked on; no option needs another.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringroad.signal.demand.candidates import FLOOR, Forecast, candidates
from ringroad.signal.demand.choose import Choice, choose, forecast_chosen
from ringroad.signal.demand.empirical import seasonal_naive, window
from ringroad.signal.demand.hierarchy import couple, parts_of, reconciled, sum_samples, summed, sums_of
from ringroad.signal.demand.panel import Floats, Key
from ringroad.signal.demand.score import Grade, StockCost, grade, skill
from ringroad.signal.demand.signals import Booked, Regressor, regressions, update_by_orders

GRADED_MONTHS_MIN: Final = (
    18  # before the held out months; with fewer nothing is graded, and the floor is shown
)
SKILL_MIN: Final = 0.0  # a model is shown above it


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """All series of one option."""

    keys: tuple[Key, ...]
    units: Floats  # shape (series, months)
    horizon: int
    cost: StockCost
    regressors: tuple[Regressor, ...] = ()
    booked: tuple[Booked, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasted:
    """What is expected of one option.

    Attributes:
        keys: of the series, then of the sums.
        series: how many series there are.
        samples: shape (keys, horizon, atoms), in the order of draws.
        told: for each key: what was chosen and why, grades, skill.
        levels: grades of all keys of a level together: series, then sums by the number of dimensions they keep.
        reconciled: whether the sums' own forecasts were used.
    """

    keys: tuple[Key, ...]
    series: int
    samples: Floats
    told: tuple[dict[str, Any], ...]
    levels: dict[str, dict[str, dict[str, float]]]
    reconciled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """One pass over known months: choices, and samples of series and sums both ways."""

    of_series: Choice
    of_sums: Choice
    plain: Floats
    fitted: Floats
    floor: Floats


def forecast_block(block: Block, offered: Mapping[str, Forecast] | None = None) -> Forecasted:
    """Forecast one option."""
    offered = candidates() if offered is None else offered
    sums = sums_of(block.keys)
    parts = parts_of(sums, block.keys)
    keys = (*block.keys, *sums)
    months = block.units.shape[1]
    held = min(block.horizon, months // 4)
    graded = months - held >= GRADED_MONTHS_MIN and held > 0
    told: list[dict[str, Any]] = [{"grades": {}} for _ in keys]
    levels: dict[str, dict[str, dict[str, float]]] = {}
    left = np.full(len(block.keys), not graded)  # what cannot be graded is not shown
    use_fitted = graded and _reconciling_pays(block, parts, block.units[:, : months - held], held, offered)
    if graded:
        known = block.units[:, : months - held]
        made = _make(block, parts, known, horizon=held, offered=offered)
        came = np.concatenate([block.units, summed(parts, block.units)])[:, months - held :]
        past = np.concatenate([known, summed(parts, known)])
        ways = {
            "model": np.sort(made.fitted if use_fitted else made.plain), "floor": np.sort(made.floor),
            "naive": seasonal_naive(past, held),
        }  # fmt: skip
        found = {
            name: [
                grade(came[row : row + 1], atoms[row : row + 1], past[row : row + 1], block.cost)
                for row in range(len(keys))
            ]
            for name, atoms in ways.items()
        }
        told = [_told(found, row) for row in range(len(keys))]
        left = np.array([not each["skilled"] for each in told[: len(block.keys)]], dtype=bool)
        levels = _levels(keys, came, ways, past, block.cost)
    made = _make(block, parts, block.units, horizon=block.horizon, offered=offered, left=left)
    samples = (made.fitted if use_fitted else made.plain)[: len(block.keys)]
    samples = update_by_orders(block.keys, samples, block.booked)
    return Forecasted(
        keys=keys, series=len(block.keys), samples=np.concatenate([samples, sum_samples(parts, samples)]),
        told=tuple(
            each | _chosen(made, row, len(block.keys), graded=graded) for row, each in enumerate(told)
        ),
        levels=levels, reconciled=use_fitted,
    )  # fmt: skip


def _reconciling_pays(
    block: Block, parts: Floats, known: Floats, held: int, offered: Mapping[str, Forecast]
) -> bool:
    """Whether sums and series in accord were closer to the months before those that are graded."""
    before = known.shape[1] - held
    if before < GRADED_MONTHS_MIN:
        return False
    made = _make(block, parts, known[:, :before], horizon=held, offered=offered)
    came = np.concatenate([known, summed(parts, known)])[:, before:]
    past = np.concatenate([known, summed(parts, known)])[:, :before]
    plain, fitted = (
        sum(
            grade(came[row : row + 1], atoms[row : row + 1], past[row : row + 1], block.cost).wql
            for row in range(len(came))
        )
        for atoms in (np.sort(made.plain), np.sort(made.fitted))
    )
    return bool(fitted < plain)


def _make(
    block: Block,
    parts: Floats,
    known: Floats,
    *,
    horizon: int,
    offered: Mapping[str, Forecast],
    left: NDArray[np.bool_] | None = None,
) -> _Made:
    """Choose and forecast from the months that are known; the series of `left` have the floor."""
    left = np.zeros(len(block.keys), dtype=bool) if left is None else left
    mine = dict(offered) | regressions(block.keys, block.regressors, block.units.shape[1])
    choice = choose(known, horizon, mine)
    weights = choice.weights.copy()
    weights[left] = np.array(choice.names) == FLOOR
    atoms = forecast_chosen(known, horizon, mine, weights)
    of_sums = summed(parts, known)
    sum_choice = choose(of_sums, horizon, offered)
    sum_atoms = forecast_chosen(of_sums, horizon, offered, sum_choice.weights)
    samples = couple(block.keys, known, atoms)
    scaled = samples * reconciled(parts, atoms, sum_atoms)[:, :, None]
    scaled[left] = samples[left]
    floor = couple(block.keys, known, window(known, horizon))
    return _Made(
        of_series=choice, of_sums=sum_choice,
        plain=np.concatenate([samples, sum_samples(parts, samples)]),
        fitted=np.concatenate([scaled, sum_samples(parts, scaled)]),
        floor=np.concatenate([floor, sum_samples(parts, floor)]),
    )  # fmt: skip


def _told(found: Mapping[str, Sequence[Grade]], row: int) -> dict[str, Any]:
    """Return the grades of one key, its skill, and whether a model may be shown for it."""
    model, floor, naive = (found[name][row] for name in ("model", "floor", "naive"))
    against = {"naive": skill(model.wql, naive.wql), "floor": skill(model.wql, floor.wql)}
    return {
        "grades": {name: found[name][row].to_document() for name in ("model", "floor", "naive")},
        "skill": {name: round(value, 6) for name, value in against.items()},
        "floor_skill": round(skill(floor.wql, naive.wql), 6),
        "skilled": min(against.values()) > SKILL_MIN,
    }


def _chosen(made: _Made, row: int, series: int, *, graded: bool) -> dict[str, Any]:
    """Return what is shown for a key and why."""
    choice, place = (made.of_series, row) if row < series else (made.of_sums, row - series)
    own = choice.losses[place]
    floor = own[choice.names.index(FLOOR)]
    return {
        "graded": graded,
        "chosen": choice.told(place),
        "origins": list(choice.origins),
        "pooled": choice.pooled,
        "candidates": [
            {
                "name": name, "weight": round(float(choice.weights[place, column]), 4),
                "skill": round(skill(float(own[column]), float(floor)), 6),
            }
            for column, name in enumerate(choice.names)
        ],
    }  # fmt: skip


def _levels(
    keys: Sequence[Key], came: Floats, ways: Mapping[str, Floats], past: Floats, cost: StockCost
) -> dict[str, dict[str, dict[str, float]]]:
    """Return grades by level: which dimensions a key keeps."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(level_of(key), []).append(row)
    return {
        level: {
            name: grade(came[chosen], atoms[chosen], past[chosen], cost).to_document()
            for name, atoms in ways.items()
        }
        for level, chosen in rows.items()
    }


def level_of(key: Key) -> str:
    """Return which dimensions a key keeps, for people."""
    kept = [name for name, value in zip(("plant", "region", "model"), key[1:], strict=True) if value != "*"]
    return " × ".join(kept) if kept else "all"


def to_bytes(block: Block) -> bytes:
    """Return a block for another process."""
    meta = {
        "keys": block.keys, "horizon": block.horizon, "cost": [block.cost.holding, block.cost.shortage],
        "regressors": [[each.kind, each.key, each.values] for each in block.regressors],
        "booked": [[each.key, each.ahead, each.units, each.elapsed] for each in block.booked],
    }  # fmt: skip
    return _pack(meta, block.units)


def block_of(data: bytes) -> Block:
    """Return the block that `to_bytes` wrote."""
    meta, units = _unpack(data)
    return Block(
        keys=tuple(Key(*key) for key in meta["keys"]), units=units, horizon=meta["horizon"],
        cost=StockCost(holding=meta["cost"][0], shortage=meta["cost"][1]),
        regressors=tuple(
            Regressor(kind=kind, key=Key(*key), values=tuple(values)) for kind, key, values in meta["regressors"]
        ),
        booked=tuple(
            Booked(key=Key(*key), ahead=ahead, units=units_, elapsed=elapsed)
            for key, ahead, units_, elapsed in meta["booked"]
        ),
    )  # fmt: skip


def work(data: bytes) -> bytes:
    """Forecast one block, bytes in, bytes out: what every engine runs."""
    found = forecast_block(block_of(data))
    meta = {
        "keys": found.keys, "series": found.series, "told": found.told, "levels": found.levels,
        "reconciled": found.reconciled,
    }  # fmt: skip
    return _pack(meta, found.samples)


def forecasted_of(data: bytes) -> Forecasted:
    """Return the forecast that `work` wrote."""
    meta, samples = _unpack(data)
    return Forecasted(
        keys=tuple(Key(*key) for key in meta["keys"]), series=meta["series"], samples=samples,
        told=tuple(meta["told"]), levels=meta["levels"], reconciled=meta["reconciled"],
    )  # fmt: skip


def _pack(meta: Mapping[str, Any], values: Floats) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), values=values)
    return stream.getvalue()


def _unpack(data: bytes) -> tuple[dict[str, Any], Floats]:
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        meta: dict[str, Any] = json.loads(found["meta"].tobytes())
        return meta, found["values"]
