"""Who wants to look into the vehicle from afar, and who does, for its driver. Pure.

Whether a session may be opened at all is decided elsewhere (`diagnostics/sessions.py`); here it is said in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from html import escape

from ringroad.vehicle.diagnostics.sessions import Session, seen_of
from ringroad.vehicle.driver.language import ENGLISH, Words


def render_visits(sessions: Sequence[Session], *, token: str, zone: tzinfo, words: Words = ENGLISH) -> str:
    """Return the part of the page about sessions that are asked for or open; empty if there are none.

    Args:
        sessions: those that are not over.
        token: that a form must send back.
        zone: of the vehicle's clock.
        words: the language.
    """
    parts = [
        (_asked if each.state == "asked" else _open)(each, token, words, words.moment(each.expires_at, zone))
        for each in sessions
        if each.state != "declined"
    ]
    return "\n".join(parts)


def _asked(session: Session, token: str, words: Words, until: str) -> str:
    name = f"visit-{escape(session.id)}"
    return f"""<form method="post" action="/visit" aria-labelledby="{name}">
<h2 id="{name}">{escape(words.say("visit.asks", by=session.by))}</h2>
<p dir="auto">{escape(session.reason)}</p>
<p class="waits">{escape(words.say(f"visit.may.{session.scope}", until=until))}</p>
{_position(session, words, "visit.may.position")}
{_hidden(session, token)}
<button id="allow-{escape(session.id)}" name="word" value="allow" class="strong">{escape(words.say("visit.allow"))}</button>
<button id="deny-{escape(session.id)}" name="word" value="deny" class="quiet">{escape(words.say("visit.deny"))}</button>
</form>"""


def _open(session: Session, token: str, words: Words, until: str) -> str:
    name = f"visit-{escape(session.id)}"
    return f"""<form method="post" action="/visit" aria-labelledby="{name}">
<h2 id="{name}">{escape(words.say("visit.open", by=session.by))}</h2>
<p dir="auto">{escape(session.reason)}</p>
<p class="waits">{escape(words.say("visit.until", until=until))}</p>
{_position(session, words, "visit.position")}
{_hidden(session, token)}
<button id="deny-{escape(session.id)}" name="word" value="deny" class="quiet">{escape(words.say("visit.end"))}</button>
</form>"""


def _position(session: Session, words: Words, key: str) -> str:
    """Say whether it is about where the vehicle is, too; of one that is not, that it is not."""
    said = words.say(key if session.position else "visit.no_position")
    return f'<p class="waits">{escape(said)}</p>'


def _hidden(session: Session, token: str) -> str:
    values = (("token", token), ("session", session.id), ("seen", seen_of(session)))
    return "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in values)
