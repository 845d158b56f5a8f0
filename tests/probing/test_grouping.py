"""Group testing: everything is found out, and with few requests."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.probing.grouping import HEADER_BYTES, Asking, Found, Heard, batches, halving, naming


def feed(asking: Asking, bad: set[str], *, named: bool, clash: set[str] = frozenset()) -> int:  # type: ignore[assignment]
    """Answer as an upstream would that refuses `bad`, and any request with all of `clash`."""
    count = 0
    try:
        batch = next(asking)
        while True:
            count += 1
            assert count < 2000
            refused = tuple(name for name in batch.names if name in bad)
            if refused or batch.control:
                heard = Heard("refused", refused if named else ())
            elif clash and clash <= set(batch.names):
                heard = Heard("inconclusive")
            else:
                heard = Heard("accepted")
            batch = asking.send(heard)
    except StopIteration:
        return count


NAMES = st.lists(st.integers(0, 60).map(lambda n: f"b{n}"), unique=True, max_size=40)


@given(NAMES, st.data(), st.booleans())
def test_all_is_found_out(names: list[str], data: st.DataObject, named: bool) -> None:
    """Whatever is refused, whatever clashes: each name gets its own true verdict."""
    bad = set(data.draw(st.lists(st.sampled_from(names), max_size=6))) if names else set()
    good = [name for name in names if name not in bad]
    clash = set(good[:2]) if len(good) > 1 and data.draw(st.booleans()) else set()
    found: Found = {}
    asking = naming(names, found) if named else halving(names, found)
    feed(asking, bad, named=named, clash=clash)
    assert {name for name, heard in found.items() if heard.verdict == "refused"} == bad
    assert {name for name, heard in found.items() if heard.verdict == "accepted"} == set(good)


@pytest.mark.parametrize("refused", [0, 1, 5])
def test_where_names_are_named_two_requests_do(refused: int) -> None:
    """However many are refused."""
    names = [f"b{n}" for n in range(60)]
    found: Found = {}
    assert feed(naming(names, found), set(names[:refused]), named=True) == 2


@pytest.mark.parametrize("refused", [0, 1, 2, 5])
def test_where_they_are_not_halving_needs_few(refused: int) -> None:
    """The mean over random draws stays below the bound of generalised binary splitting."""
    names = [f"b{n}" for n in range(60)]
    total = 0
    for seed in range(100):
        bad = set(random.Random(seed).sample(names, refused))
        total += feed(halving(names, {}), bad, named=False)
    assert 2 + total / 100 <= math.log2(math.comb(60, refused)) + 2 * refused + 4


def test_batches_respect_conflicts_number_and_bytes() -> None:
    """Those that exclude each other never share a request."""
    conflicts = {"a": frozenset({"b"}), "b": frozenset({"a"})}
    assert batches(["a", "b", "c"], conflicts, 100) == [("a", "c"), ("b",)]
    assert batches(["a", "b", "c"], {}, 2) == [("a", "b"), ("c",)]
    long = [f"{'x' * 120}{n:03}" for n in range(200)]
    for batch in batches(long, {}, 1000):
        assert len(",".join(batch)) <= HEADER_BYTES - 64
    assert batches([], {}, 5) == []
