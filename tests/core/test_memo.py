"""The memo: never more bytes than it may hold, and what it holds is what was kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.core.memo import SHARE, Memo

MOST = 100 * SHARE


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300))))
def test_it_never_holds_more_than_it_may(kept: list[tuple[int, int]]) -> None:
    """Whatever comes; a value that is too large drops no other."""
    memo: Memo[int, int] = Memo(MOST)
    for key, size in kept:
        before = dict(memo.held)
        memo.keep(key, size, size)
        assert sum(memo.held.values()) <= MOST
        if memo.takes(size):
            assert memo.held[key] == size
        else:
            assert memo.held == before


def test_it_is_dropped_whole_when_full() -> None:
    """So that nothing has to be ordered."""
    memo: Memo[str, int] = Memo(MOST)
    for number in range(SHARE):
        assert memo.has_room(100)
        memo.keep(str(number), number, 100)
    assert (len(memo.held), memo.has_room(100)) == (SHARE, False)
    memo.keep("more", 1, 100)
    assert memo.held == {"more": 1}
    memo.clear()
    assert (memo.held, memo.has_room(MOST)) == ({}, True)
