"""The driver page as HTML. Pure; every text of a vehicle or a release is escaped.

The page works without its script, which only keeps it fresh: buttons are forms, and a browser without scripts loads
the page again by itself.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

from ringroad.vehicle.driver.language import ENGLISH, Words
from ringroad.vehicle.driver.view import DriverView, EcuLine

HERE: Final = Path(__file__).parent
STYLE: Final = (HERE / "page.css").read_bytes()
SCRIPT: Final = (HERE / "page.js").read_bytes()
REFRESH_S: Final = 5  # s; where there are no scripts


def render_page(
    view: DriverView, *, token: str, alert: str = "", visits: str = "", words: Words = ENGLISH
) -> str:
    """Return the whole page.

    Args:
        view: what it says.
        token: that a form must send back.
        alert: why the last word was not taken; empty if it was.
        visits: what `visits.render_visits` says.
        words: the language.
    """
    return f"""<!doctype html>
<html lang="{words.language}" dir="{words.direction}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(view.headline)}</title>
<link rel="stylesheet" href="/page.css">
<noscript><meta http-equiv="refresh" content="{REFRESH_S};url=/"></noscript>
<script src="/page.js" defer></script>
</head>
<body>
<p id="link" role="alert" hidden>{escape(words.say("page.away"))}</p>
{f'<p class="alert" role="alert">{escape(alert)}</p>' if alert else ""}
<main id="main">
{render_part(view, token=token, visits=visits, words=words)}
</main>
<p id="said" role="status" class="spoken"></p>
</body>
</html>
"""


def render_part(view: DriverView, *, token: str, visits: str = "", words: Words = ENGLISH) -> str:
    """Return what changes as the update goes on."""
    parts = [
        f'<h1 class="{view.tone}">{escape(view.headline)}</h1>',
        f"<p>{escape(view.text)}</p>" if view.text else "",
        f'<p class="waits">{escape(view.waits)}</p>' if view.waits else "",
        _notes(view, words),
        _facts(view, words),
        _question(view, token=token),
        visits,
        _ecus(view, words),
    ]
    return "\n".join(part for part in parts if part)


def _question(view: DriverView, *, token: str) -> str:
    if not view.choices:
        return ""
    buttons = "\n".join(
        f'<button id="say-{choice.word}" name="word" value="{choice.word}"'
        f' class="{choice.weight}">{escape(choice.text)}</button>'
        for choice in view.choices
    )
    hidden = {
        "token": token,
        "action_id": str(view.action_id),
        "phase": view.phase or "",
        "notes_sha256": view.notes_sha256,
    }
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in hidden.items()
    )
    title = f'<h2 id="question">{escape(view.question)}</h2>\n' if view.question else ""
    labelled = ' aria-labelledby="question"' if view.question else ""
    return f'<form method="post" action="/answer"{labelled}>\n{title}{fields}\n{buttons}\n</form>'


def _facts(view: DriverView, words: Words) -> str:
    rows = [
        (words.say("page.version"), view.version),
        (words.say("page.download"), view.size),
        (words.say("page.way_back"), view.way_back),
        (words.say("page.from_peers"), view.from_peers),
        (words.say("page.stands"), view.time),
        (words.say("page.code"), view.code),
    ]
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows if value
    )
    return f"<dl>{shown}</dl>" if shown else ""


def _notes(view: DriverView, words: Words) -> str:
    if not view.notes:
        return ""
    lines = "".join(f'<p dir="auto">{escape(line)}</p>' for line in view.notes.splitlines() if line.strip())
    title = escape(words.say("page.changed" if view.installed else "page.changes"))
    return f"<section><h2>{title}</h2>{lines}</section>"


def _ecus(view: DriverView, words: Words) -> str:
    if not view.ecus:
        return ""
    rows = "\n".join(_ecu(number, ecu) for number, ecu in enumerate(view.ecus))
    return f"<section><h2>{escape(words.say('page.parts'))}</h2><ul>\n{rows}\n</ul></section>"


def _ecu(number: int, ecu: EcuLine) -> str:
    name = f'<span id="part-{number}">{escape(ecu.name)}</span><b>{escape(ecu.word)}</b>'
    if ecu.percent is None:
        return f"<li>{name}</li>"
    bar = f'<progress aria-labelledby="part-{number}" max="100" value="{ecu.percent}">{ecu.percent} %</progress>'
    return f"<li>{name}{bar}</li>"
