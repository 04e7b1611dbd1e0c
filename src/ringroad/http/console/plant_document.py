"""What the plant page shows of the document behind a line, and of what its stations said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ringroad.build.plant import store, store_events
from ringroad.build.store import StoredProgramme
from ringroad.build.working_time import rests_until
from ringroad.http.console.branches import look
from ringroad.http.console.shops import shop_panels
from ringroad.http.views_plant import document_view, refused_view
from ringroad.storage.db import Connection

BELIEFS_SHOWN = 300
REFUSED_SHOWN = 20


def document_panels(
    conn: Connection, programme: StoredProgramme, asked: Mapping[str, str | None], *, now: datetime
) -> dict[str, Any]:
    """Return the plant document of a programme's line, its shops, the state of the line that is asked for, and events that cannot be."""
    programme_id, line = programme.programme.id, programme.programme.line
    plant = store.get_plant(conn, programme.plant_id or programme_id)
    shown = document_view(plant, [programme_id])
    looked = look(conn, programme_id, line, asked, now=now)
    letters = store_events.list_refused(conn, programme_id, rows_max=REFUSED_SHOWN)
    return {
        "document": shown,
        "structure": plant.plant.structure,
        "rests_until": rests_until(line.calendar, now=now),
        "calendars": plant.plant.calendars().values(),
        "shops": shop_panels(conn, plant.plant, now=now) if plant.generation else [],
        "beliefs": shown.beliefs[:BELIEFS_SHOWN],
        "state": looked.state,
        "looked": looked,
        "refused": [refused_view(each) for each in letters],
    }
