"""Which stored images may go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.sweep import UNNAMED_S_MIN, decide_sweep
from ringroad.storage.blobs import Stored

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OLD_S = UNNAMED_S_MIN + 1


def blob(sha256: str, age_s: int) -> Stored:
    return Stored(sha256=sha256, bytes=1, stored_at=NOW - timedelta(seconds=age_s))


def test_only_what_is_old_and_unnamed_goes() -> None:
    stored = [blob("a", OLD_S), blob("b", OLD_S), blob("c", UNNAMED_S_MIN), blob("d", -5)]
    found = decide_sweep(stored, frozenset({"a", "e"}), now=NOW)
    assert [each.sha256 for each in found.unnamed] == ["b"]
    assert found.missing == ("e",)
    assert found.named == 2


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(-OLD_S, 3 * OLD_S)),
    st.frozensets(st.sampled_from("abcdef")),
)
def test_what_a_package_names_never_goes(ages_s: dict[str, int], named: frozenset[str]) -> None:
    found = decide_sweep((blob(*each) for each in ages_s.items()), named, now=NOW)
    assert named.isdisjoint(each.sha256 for each in found.unnamed)
    assert all(ages_s[each.sha256] > UNNAMED_S_MIN for each in found.unnamed)
    assert set(found.missing) == named - ages_s.keys()
