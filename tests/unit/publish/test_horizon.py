"""How far the ledger can be read: decided from looks at open transactions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.publish.horizon import Look, Settled, settle


def look(top: int, *writers: str) -> Look:
    return Look(top=top, writers=frozenset(writers))


@pytest.mark.parametrize(
    ("known", "seen", "expected"),
    [
        (Settled(), look(0), Settled()),  # an empty ledger
        (Settled(), look(9), Settled(seq=9)),  # nobody writes
        (Settled(seq=4), look(9, "a"), Settled(seq=4, pending=look(9, "a"))),  # somebody may come behind 9
        (Settled(seq=4, pending=look(9, "a")), look(12, "a"), Settled(seq=4, pending=look(9, "a"))),
        (Settled(seq=4, pending=look(9, "a", "b")), look(12, "b", "c"), Settled(seq=4, pending=look(9, "b"))),
        (Settled(seq=4, pending=look(9, "a")), look(12, "b"), Settled(seq=9, pending=look(12, "b"))),
        (Settled(seq=4, pending=look(9, "a")), look(12), Settled(seq=12)),
        (Settled(seq=9), look(3), Settled(seq=9)),  # never goes back
    ],
)
def test_it_is_settled_when_who_was_writing_is_over(known: Settled, seen: Look, expected: Settled) -> None:
    assert settle(known, seen) == expected


@given(
    st.lists(
        st.one_of(
            st.just(("begin",)),
            st.tuples(st.just("draw"), st.integers(0, 5)),
            st.tuples(st.just("end"), st.integers(0, 5), st.booleans()),
            st.just(("look",)),
        ),
        max_size=80,
    )
)
def test_nothing_is_ever_committed_behind_what_was_settled(steps: list[tuple[object, ...]]) -> None:
    drawn, opened, transactions, known = 0, 0, dict[str, list[int]](), Settled()
    for name, *values in steps:
        names = sorted(transactions)
        match name:
            case "begin":
                opened += 1
                transactions[f"t{opened}"] = []
            case "draw" if names:
                drawn += 1
                transactions[names[int(str(values[0])) % len(names)]].append(drawn)
            case "end" if names:
                numbers = transactions.pop(names[int(str(values[0])) % len(names)])
                assert not values[1] or all(known.seq < number for number in numbers)
            case "look":
                before = known.seq
                # Only who drew holds the lock for sure; who merely began may draw later, from higher numbers.
                known = settle(known, look(drawn, *(each for each in names if transactions[each])))
                assert before <= known.seq <= drawn
