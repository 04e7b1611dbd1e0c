"""The page that `ringroad plant world --html` writes: ramp-up, unit cost and first pass of each plant, as pictures.

One file without scripts or anything from elsewhere. Pure.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final

WIDTH, HEIGHT, PAD = 360, 180, 36
COLOURS: Final = {"cloned": "#0a7d55", "alone": "#b3421e", "copied": "#6a6f7a"}
NAMES: Final = {"cloned": "cloned", "alone": "work study alone", "copied": "copied, no doubt"}
CHARTS: Final = (
    ("error", "Error of the times known, %", 100.0),
    ("takt_s", "Seconds per vehicle", 1.0),
    ("conversion", "Conversion cost, euro per vehicle", 1.0),
    ("first_pass", "Vehicles that leave the line right, %", 100.0),
)
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "section{border-top:1px solid #ccc;margin-top:1.5rem}figure{display:inline-block;margin:.5rem;width:360px;max-width:100%}"
    "figcaption{font-size:.85rem}svg{width:100%;height:auto}text{font-size:11px;fill:#555}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:right}td:first-child,th:first-child{text-align:left}"
    ".no{color:#b3421e}@media(max-width:800px){figure{width:100%;margin:.5rem 0}}"
)


def world_page(document: Mapping[str, Any]) -> str:
    """Return a whole page of what the world shows."""
    plants = "".join(_plant(each) for each in document["plants"])
    legend = " · ".join(f'<b style="color:{COLOURS[way]}">{name}</b>' for way, name in NAMES.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Plants with and without cloning</title><style>{_STYLE}</style>"
        f"<h1>Plants with and without cloning</h1><p>Made after {html.escape(document['mother'])}, in"
        f" {document['seeds']} worlds of which the truth is known. Curves are means. {legend}</p>{plants}{_flow(document)}</html>\n"
    )


def _flow(document: Mapping[str, Any]) -> str:
    """Return what flowed back; nothing if nobody asked."""
    flow = document.get("flow_back")
    if flow is None:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(each['clone'])}: {html.escape(', '.join(each['stations']))}<td>{each['proposed']} of"
        f" {flow['seeds']}<td>{each['proved']}<td>{each['kept']}<td>{html.escape(each['reason'])}"
        for each in flow["flows"]
    )
    saved = "".join(
        f"<tr><td>{html.escape(name)}<td>{each['mean']:.2f} ({each['low']:.2f} to {each['high']:.2f})"
        for name, each in flow["saved"].items()
    )
    return (
        "<section><h2>What flowed back</h2><p>Proved on the mother's twin, tried there, taken over by the others.</p>"
        f"<table><tr><th>found<th>proposed<th>proved<th>kept<th>the twin{rows}</table>"
        f"<table><tr><th>with what was kept<th>euro a vehicle less{saved}</table></section>"
    )


def _plant(plant: Mapping[str, Any]) -> str:
    saved = plant["saved"]["unit_cost"]
    verdict = (
        "cloning saves"
        if plant["helps"]
        else '<span class="no">in more than one of ten worlds cloning saves nothing; in the mean</span>'
    )
    head = f"{html.escape(plant['name'])}, {html.escape(plant['site'])}, {html.escape(plant['continent'])}"
    rows = "".join(
        f"<tr><td>{name}<td>{_of(way['cycles_to_known'])}<td>{_of(way['vehicles_to_rate'])}<td>{_of(way['unit_cost'])}"
        f"<td>{100 * way['first_pass']['mean']:.1f} %"
        for name, way in ((NAMES[key], plant["ways"][key]) for key in NAMES)
    )
    charts = "".join(
        _chart(title, {key: [scale * v for v in plant["ways"][key]["days"][kind]] for key in NAMES})
        for kind, title, scale in CHARTS
    )
    return (
        f"<section><h2>{head}</h2><p>{verdict} {_of(saved)} euro a vehicle over the first ten days.</p>"
        "<table><tr><th>begins<th>cycles to 5 %<th>vehicles to rate<th>euro a vehicle<th>first pass"
        f"{rows}</table>{charts}</section>"
    )


def _chart(title: str, lines: Mapping[str, Sequence[float]]) -> str:
    every = [value for values in lines.values() for value in values]
    low, high = min(every), max(every)
    span = (high - low) or 1.0
    drawn = "".join(
        f'<polyline fill="none" stroke="{COLOURS[way]}" stroke-width="2" points="'
        + " ".join(
            f"{PAD + at * (WIDTH - PAD - 8) / max(1, len(values) - 1):.1f},"
            f"{HEIGHT - 20 - (value - low) / span * (HEIGHT - 32):.1f}"
            for at, value in enumerate(values)
        )
        + '"/>'
        for way, values in lines.items()
    )
    days = len(next(iter(lines.values())))
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)} by day">'
        f'<line x1="{PAD}" y1="{HEIGHT - 20}" x2="{WIDTH - 8}" y2="{HEIGHT - 20}" stroke="#999"/>'
        f'<text x="0" y="16">{high:.4g}</text><text x="0" y="{HEIGHT - 20}">{low:.4g}</text>'
        f'<text x="{PAD}" y="{HEIGHT - 4}">day 1</text><text x="{WIDTH - 48}" y="{HEIGHT - 4}">day {days}</text>'
        f"{drawn}</svg><figcaption>{html.escape(title)}</figcaption></figure>"
    )


def _of(spread: Mapping[str, float]) -> str:
    return f"{spread['mean']:.0f} ({spread['low']:.0f} to {spread['high']:.0f})"
