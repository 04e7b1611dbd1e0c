"""Tags and membership lists of vehicles in PostgreSQL: what queries, and accounts of fleet operators, name.

Functions run inside a transaction of the caller; each change appends its fact, which tells counts and digests, no VIN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.vin import is_vin
from ringroad.ship.lists import (
    LISTS_MAX,
    REFUSED_TOLD_MAX,
    SHOWN_CHARS_MAX,
    TAGS_MAX,
    ListFile,
    Mode,
    RefusedRow,
    check_name,
    digest_vins,
    read_list,
    refuse_strangers,
)
from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, last_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What an upload did, or would have done."""

    name: str
    stored: bool
    generation: int  # 0: there is no such list
    vehicles: int  # in the list
    added: int
    removed: int
    rows: int
    duplicates: int
    refused: int
    refused_rows: tuple[RefusedRow, ...]  # the first of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """What tagging did."""

    tag: str
    changed: int
    unchanged: int
    unknown: tuple[str, ...]  # VINs that no vehicle has
    full: tuple[str, ...]  # VINs of vehicles that have as many tags as they may


def save_list(
    conn: Connection,
    ids: Ids,
    *,
    name: str,
    data: bytes,
    mode: Mode,
    partial: bool,
    actor: str,
    now: datetime,
    generation: int | None = None,
) -> Listed:
    """Make a list of a file's vehicles, add them to one, or take them out of one.

    Args:
        conn: a connection in a transaction.
        ids: for the fact.
        name: of the list.
        data: the file as it came.
        mode: what the file's vehicles are to the list.
        partial: store the good rows of a file that has refused ones; otherwise such a file changes nothing.
        actor: who does it.
        now: the server's time.
        generation: of the list as it was read, 0 for one that must be new; None: as it is now.

    Raises:
        InvalidInput: the name or the file cannot be read.
        NotFound: vehicles are to be taken out of a list that there is not.
        Conflict: the list changed since, or there are too many lists.
    """
    check_name(name, "list")
    file = read_list(data)
    known = {row["vin"] for row in SQL.known_vins(conn, vins=list(file.lines))}
    file = refuse_strangers(file, known)
    row = SQL.lock_list(conn, name=name)
    seen = row["generation"] if row else 0
    if generation is not None and generation != seen:
        raise Conflict(f"list {name} changed", hint="read it again, then decide again")
    if row is None and mode == "remove":
        raise NotFound(f"no list {name!r}", hint="ringroad fleet lists show")
    if (file.refused and not partial) or not (file.lines or mode == "replace"):
        return _told(conn, name, file, stored=False, generation=seen)
    if row is None and SQL.count_lists(conn) >= LISTS_MAX:
        raise Conflict(f"there are {LISTS_MAX} lists already", hint="remove one: ringroad fleet lists remove")
    return _write(conn, ids, name, file, mode=mode, seen=seen, actor=actor, now=now)


def _write(
    conn: Connection,
    ids: Ids,
    name: str,
    file: ListFile,
    *,
    mode: Mode,
    seen: int,
    actor: str,
    now: datetime,
) -> Listed:
    vins = list(file.lines)
    SQL.upsert_list(conn, name=name, actor=actor, now=now)
    removed = added = 0
    if mode == "replace":
        removed = SQL.keep_members(conn, name=name, vins=vins)
    if mode == "remove":
        removed = SQL.remove_members(conn, name=name, vins=vins)
    else:
        added = SQL.add_members(conn, name=name, vins=vins)
    members = [each["vin"] for each in SQL.list_members(conn, name=name, after_vin="", rows_max=None)]
    append_fact(
        conn, ids, kind=FactKind.LIST_CHANGED, subject=name, actor=actor, now=now, causes=last_of(conn, name),
        body={
            "mode": mode, "added": added, "removed": removed, "vehicles": len(members),
            "refused": len(file.refused), "vins_sha256": digest_vins(members),
        },
    )  # fmt: skip
    return _told(conn, name, file, stored=True, generation=seen + 1, added=added, removed=removed)


def _told(
    conn: Connection, name: str, file: ListFile, *, stored: bool, generation: int, **done: int
) -> Listed:
    return Listed(
        name=name,
        stored=stored,
        generation=generation,
        vehicles=SQL.count_members(conn, name=name),
        added=done.get("added", 0),
        removed=done.get("removed", 0),
        rows=file.rows,
        duplicates=file.duplicates,
        refused=len(file.refused),
        refused_rows=file.refused[:REFUSED_TOLD_MAX],
    )


def remove_list(conn: Connection, ids: Ids, *, name: str, actor: str, now: datetime) -> None:
    """Remove a list; plans that named it keep the vehicles they were made for.

    Raises:
        NotFound: there is none.
        Conflict: it says which vehicles an account sees.
    """
    if SQL.list_bound(conn, name=name):
        raise Conflict(f"list {name} is the fleet of an account", hint="ringroad account list")
    if SQL.delete_list(conn, name=name) != 1:
        raise NotFound(f"no list {name[:80]!r}", hint="ringroad fleet lists show")
    append_fact(
        conn, ids, kind=FactKind.LIST_REMOVED, subject=name, actor=actor, now=now, causes=last_of(conn, name)
    )


def read_lists(conn: Connection) -> list[dict[str, Any]]:
    """Return all lists by name, with how many vehicles are in each."""
    return list(SQL.lists(conn))


def read_members(conn: Connection, name: str, *, after_vin: str, rows_max: int) -> list[str]:
    """Return a page of a list's vehicles by VIN.

    Raises:
        NotFound: there is no such list.
    """
    rows = SQL.list_members(conn, name=name, after_vin=after_vin, rows_max=min(rows_max, PAGE_ROWS_MAX))
    found = [row["vin"] for row in rows]
    if not found and SQL.lock_list(conn, name=name) is None:
        raise NotFound(f"no list {name[:80]!r}", hint="ringroad fleet lists show")
    return found


def change_tag(
    conn: Connection, ids: Ids, *, tag: str, vins: Sequence[str], remove: bool, actor: str, now: datetime
) -> Tagged:
    """Give vehicles a tag or take it away; doing it again changes nothing.

    Raises:
        InvalidInput: the tag could not be written in a query.
    """
    check_name(tag, "tag")
    wanted = sorted(vin for vin in set(vins) if is_vin(vin))
    known = {row["vin"] for row in SQL.known_vins(conn, vins=wanted)}
    unknown = [vin[:SHOWN_CHARS_MAX] for vin in sorted(set(vins)) if vin not in known]
    if unknown and len(set(vins)) == 1:
        raise NotFound(f"no vehicle {unknown[0]!r}", hint="ringroad fleet list")
    if remove:
        changed = [row["vin"] for row in SQL.untag_vehicles(conn, tag=tag, vins=wanted)]
        full: list[str] = []
    else:
        changed = [row["vin"] for row in SQL.tag_vehicles(conn, tag=tag, vins=wanted, tags_max=TAGS_MAX)]
        full = [row["vin"] for row in SQL.full_vehicles(conn, tag=tag, vins=wanted, tags_max=TAGS_MAX)]
    if changed:
        kind = FactKind.VEHICLES_UNTAGGED if remove else FactKind.VEHICLES_TAGGED
        append_fact(
            conn, ids, kind=kind, subject=tag, actor=actor, now=now, causes=last_of(conn, tag),
            body={"vehicles": len(changed), "vins_sha256": digest_vins(changed)},
        )  # fmt: skip
    return Tagged(
        tag=tag,
        changed=len(changed),
        unchanged=len(known) - len(changed) - len(full),
        unknown=tuple(unknown),
        full=tuple(full),
    )


def require_lists(conn: Connection, names: Sequence[str]) -> None:
    """Raise unless every list that a query names exists: a misspelt one would leave everybody in, or out.

    Raises:
        InvalidInput: one does not.
    """
    known = {row["name"] for row in SQL.lists(conn)} if names else set()
    missing = sorted(set(names) - known)
    if missing:
        raise InvalidInput(
            f"there is no list {missing[0][:80]!r}",
            hint="ringroad fleet lists show names all",
            code="list_unknown",
        )
