"""The queries of this room, loaded once."""

from __future__ import annotations

from ringroad.storage.db import load_queries

SQL = load_queries("ringroad.publish")
