"""Who wants to look into the vehicle from afar, and who does, for its driver. Pure.

Whether a session may be opened at all is decided elsewhere (`diagnostics/sessions.py`); here it is said in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from html import escape
from typing import Final

from ringroad.protocol.diagnostics import Scope
from ringroad.vehicle.diagnostics.sessions import Session, seen_of

_MAY: Final[dict[Scope, str]] = {
    "read": "read what the vehicle's computers say, and change nothing",
    "service": "read what the vehicle's computers say, and work on them while it stands still",
}


def render_visits(sessions: Sequence[Session], *, token: str, zone: tzinfo) -> str:
    """Return the part of the page about sessions that are asked for or open; empty if there are none.

    Args:
        sessions: those that are not over.
        token: that a form must send back.
        zone: of the vehicle's clock.
    """
    parts = [
        _asked(each, token=token, zone=zone) if each.state == "asked" else _open(each, token=token, zone=zone)
        for each in sessions
        if each.state != "declined"
    ]
    return "\n".join(parts)


def _asked(session: Session, *, token: str, zone: tzinfo) -> str:
    name = f"visit-{escape(session.id)}"
    return f"""<form method="post" action="/visit" aria-labelledby="{name}">
<h2 id="{name}">May {escape(session.by)} look into this vehicle?</h2>
<p>{escape(session.reason)}</p>
<p class="waits">They could {_MAY[session.scope]}, until {_until(session, zone)}.</p>
{_hidden(session, token)}
<button id="allow-{escape(session.id)}" name="word" value="allow" class="strong">Allow</button>
<button id="deny-{escape(session.id)}" name="word" value="deny" class="quiet">Decline</button>
</form>"""


def _open(session: Session, *, token: str, zone: tzinfo) -> str:
    name = f"visit-{escape(session.id)}"
    return f"""<form method="post" action="/visit" aria-labelledby="{name}">
<h2 id="{name}">{escape(session.by)} may look into this vehicle</h2>
<p>{escape(session.reason)}</p>
<p class="waits">Until {_until(session, zone)}.</p>
{_hidden(session, token)}
<button id="deny-{escape(session.id)}" name="word" value="deny" class="quiet">End this</button>
</form>"""


def _hidden(session: Session, token: str) -> str:
    values = (("token", token), ("session", session.id), ("seen", seen_of(session)))
    return "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in values)


def _until(session: Session, zone: tzinfo) -> str:
    return f"{session.expires_at.astimezone(zone):%d %b %H:%M}"
