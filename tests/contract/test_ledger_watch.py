"""The watch itself: it sees a change of state without a fact, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ringroad.build.store_packages import SQL
from ringroad.kernel.clock import SystemIds
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import append_fact
from support.ledger_watch import changes_without_fact

pytestmark = pytest.mark.engines

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        opened.execute(
            "INSERT INTO programme (id, digest, source, document, imported_at) VALUES ('p', '', '', '{}', %s)",
            [NOW],
        )
        opened.execute(
            "INSERT INTO plant_order (id, programme_id, variant, received_at) VALUES ('o', 'p', 'city', %s)",
            [NOW],
        )
        yield opened
        opened.execute("TRUNCATE house.change")


def move(conn: Connection, before: str, state: str) -> int:
    return int(SQL.move_order(conn, order_id="o", before=before, state=state))


def move_and_fail(conn: Connection) -> None:
    with transaction(conn):
        move(conn, "open", "building")
        raise ZeroDivisionError


def tell(conn: Connection) -> None:
    append_fact(conn, SystemIds(), kind=FactKind.ORDER_STARTED, subject="o", actor="test", now=NOW)


def test_a_change_and_its_fact_in_one_transaction_are_fine(conn: Connection) -> None:
    with transaction(conn):
        move(conn, "open", "building")
        with transaction(conn):  # a savepoint is the same transaction
            tell(conn)
    assert changes_without_fact(conn) == []


def test_a_change_without_a_fact_is_seen(conn: Connection) -> None:
    move(conn, "open", "building")
    assert changes_without_fact(conn) == ["plant_order: build move_order"]


def test_a_fact_in_the_next_transaction_is_too_late(conn: Connection) -> None:
    with transaction(conn):
        move(conn, "open", "building")
    with transaction(conn):
        tell(conn)
    assert changes_without_fact(conn) == ["plant_order: build move_order"]


def test_what_changed_nothing_or_was_rolled_back_or_is_a_tests_own_needs_no_fact(conn: Connection) -> None:
    assert move(conn, "building", "open") == 0
    with pytest.raises(ZeroDivisionError):
        move_and_fail(conn)
    conn.execute("UPDATE plant_order SET state = 'cancelled'")
    assert changes_without_fact(conn) == []
