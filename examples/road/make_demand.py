"""Makes `demand.csv` and `demand-signals.csv`: four years of a market that does not exist, the same each time.

`examples/first` gets the city car's part of it, in the north, as vans.

Run: python examples/road/make_demand.py
"""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path

FOLDER = Path(__file__).parent
SEED = 20261101
FIRST, MONTHS = (2022, 11), 48  # until October 2026
PLANTS = {"north": 1.0, "south": 0.6}
REGIONS = {"EU": 1.0, "US": 0.7}
MODELS = {"city": 60.0, "premium": 24.0}
TAKE = {"sunroof": 0.25, "tow_bar": 0.12}  # of vehicles
RARE = {"night_vision": 0.015}


def poisson(draw: random.Random, mean: float) -> int:
    """A count with this mean."""
    if mean > 50:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), draw.random(), 0
    while product > limit:
        product *= draw.random()
        count += 1
    return count


def month_of(place: int) -> str:
    """The month by its place."""
    years, month = divmod(FIRST[1] - 1 + place, 12)
    return f"{FIRST[0] + years}-{month + 1:02}"


def rows() -> tuple[list[list[object]], list[list[object]]]:
    """Demand and signals."""
    draw = random.Random(SEED)  # noqa: S311 - a market, no secret
    demand: list[list[object]] = []
    signals: list[list[object]] = []
    interest = 1.0
    for place in range(MONTHS):
        season = 1 + 0.3 * math.sin(2 * math.pi * (place + 8) / 12)
        market = season * math.exp(draw.gauss(0, 0.06)) * (1 + 0.004 * place)
        clicked, interest = (
            interest,
            math.exp(draw.gauss(0, 0.3)),
        )  # in tow bars; clicks come a month before orders
        for plant, by_plant in PLANTS.items():
            for region, by_region in REGIONS.items():
                for model, base in MODELS.items():
                    mean = base * by_plant * by_region * market
                    key = [plant, region, model]
                    demand.append([month_of(place), "", *key, poisson(draw, mean)])
                    takes = TAKE | (RARE if model == "premium" else {})
                    for option, take in takes.items():
                        demand.append(
                            [
                                month_of(place),
                                option,
                                *key,
                                poisson(draw, mean * take * (clicked if option == "tow_bar" else 1)),
                            ]
                        )
        signals.append(
            [
                f"clicks-{month_of(place)}",
                "clicks",
                month_of(place),
                "tow_bar",
                "*",
                "*",
                "*",
                round(4000 * season * interest),
            ]
        )
    return demand, signals


def main() -> None:
    demand, signals = rows()
    vans = [
        [month, option, plant, region, "van", units]
        for month, option, plant, region, model, units in demand
        if (plant, model) == ("north", "city") and option in {"", "tow_bar"}
    ]
    columns = ["option", "plant", "region", "model"]
    for folder, name, head, body in (
        (FOLDER, "demand.csv", ["month", *columns, "units"], demand),
        (FOLDER.parent / "first", "demand.csv", ["month", *columns, "units"], vans),
        (FOLDER, "demand-signals.csv", ["id", "kind", "month", *columns, "value"], signals),
        (FOLDER.parent / "first", "demand-signals.csv", ["id", "kind", "month", *columns, "value"], signals),
    ):
        with (folder / name).open("w", encoding="ascii", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([head, *body])


if __name__ == "__main__":
    main()
