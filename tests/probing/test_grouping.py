"""Group testing: everything is found out, and with few requests."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.probing.grouping import (
    HEADER_BYTES,
    Asking,
    Batch,
    Found,
    Heard,
    batches,
    halving,
    naming,
)


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


def test_a_batch_is_filled_to_the_last_byte() -> None:
    """A comma stands between two names, and the control name has its room."""
    assert batches(["aaaa", "bbb"], {}, 10, spare=0, size=8) == [("aaaa", "bbb")]
    assert batches(["aaaa", "bbb"], {}, 10, spare=0, size=7) == [("aaaa",), ("bbb",)]
    assert batches(["aaaa", "bbb"], {}, 10, spare=1, size=8) == [("aaaa",), ("bbb",)]
    assert batches(["a", "b", "c"], {}, 10, spare=0, size=5) == [("a", "b", "c")]
    room = HEADER_BYTES - 64
    assert len(batches(["a" * (room - 4), "bbb"], {}, 10)) == 1
    assert len(batches(["a" * (room - 4), "bbbb"], {}, 10)) == 2


def asked(asking: Asking, answers: dict[str, Heard], otherwise: Heard) -> list[Batch]:
    """Return all requests, where these batches get their own answer."""
    made = []
    try:
        batch = next(asking)
        while True:
            made.append(batch)
            key = "".join(batch.names) + ("!" if batch.control else "")
            batch = asking.send(answers.get(key, otherwise))
    except StopIteration:
        return made


def row(text: str) -> list[Batch]:
    """Read requests: `ab! c` is a and b with the control name, then c alone."""
    return [Batch(tuple(word.rstrip("!")), word.endswith("!")) for word in text.split()]


ACCEPTED, UNCLEAR = Heard("accepted"), Heard("inconclusive")


@pytest.mark.parametrize(
    ("names", "control", "answers", "requests"),
    [
        ("abc", True, {"abc!": Heard("refused")}, "abc! abc"),
        ("abc", True, {"abc!": Heard("refused", ("b",))}, "abc! ac"),
        ("abc", True, {"abc!": Heard("refused", ("a", "b", "c"))}, "abc!"),
        # An answer that accepts or says nothing names nobody.
        ("abc", True, {"abc!": Heard("accepted", ("a",))}, "abc! abc"),
        ("ab", True, {"ab!": UNCLEAR}, "ab! a b"),
        ("abcd", True, {"abcd!": Heard("inconclusive", ("a",))}, "abcd! ab c d"),
        ("abc", False, {"abc": Heard("refused", ("a",))}, "abc bc"),
        ("abcd", False, {"abcd": Heard("refused")}, "abcd ab c d"),
        ("abcd", False, {"abcd": Heard("inconclusive", ("a",))}, "abcd ab c d"),
        ("ab", False, {"ab": Heard("refused")}, "ab a b"),
        ("a", False, {"a": UNCLEAR}, "a"),
        ("", True, {"!": Heard("refused")}, "!"),
    ],
)  # fmt: skip
def test_each_request_where_names_are_named(
    names: str, control: bool, answers: dict[str, Heard], requests: str
) -> None:
    """What is known to fail together is not asked together again."""
    found: Found = {}
    empty = [Batch((), control=True)] if not names else row(requests)
    assert asked(naming(tuple(names), found, control=control), answers, ACCEPTED) == empty
    assert set(found) == set(names)


@pytest.mark.parametrize(
    ("names", "bad", "requests"),
    [
        (8, "h", "abcdefgh abcd ef g h"),
        (8, "a", "abcdefgh abcd ab a b cd efgh"),
        (12, "abe", "abcdefghijkl abcdef abc a b c d ef e f gh ij kl"),
        (16, "ap", "abcdefghijklmnop abcdefgh abcd ab a b cd efg hijklmnop hijk lm n o p"),
        (5, "abcd", "abcde ab a b c d e"),
        (6, "abc", "abcdef abc a b c d e f"),
        (16, "abcdefg", "abcdefghijklmnop abcdefgh abcd ab a b c d e f g h i j k l m n op"),
    ],
)
def test_each_request_of_a_search(names: int, bad: str, requests: str) -> None:
    """By hand: after one to blame, groups as large as are clean about every second time."""
    wanted = row(requests)
    asking = halving(tuple("abcdefghijklmnop"[:names]), {})
    answers = {
        "".join(batch.names): Heard("refused") for batch in wanted if set(bad) & set(batch.names)
    }
    assert asked(asking, answers, ACCEPTED) == wanted


def test_those_that_only_clash_count_as_good() -> None:
    """c and d fail together and neither alone: the next groups are no smaller for it."""
    requests = row("abcdefghijkl abcdef abc a b cd c d efg hijkl")
    answers = {"".join(batch.names): Heard("refused") for batch in requests if "a" in batch.names}
    found: Found = {}
    assert (
        asked(halving(tuple("abcdefghijkl"), found), {**answers, "cd": UNCLEAR}, ACCEPTED)
        == requests
    )
    assert {name for name, heard in found.items() if heard.verdict != "accepted"} == {"a"}


@pytest.mark.parametrize(
    ("refused", "total"), [(1, 924), (2, 1591), (5, 3102), (8, 4216), (20, 6830)]
)
def test_a_search_costs_what_it_cost(refused: int, total: int) -> None:
    """Requests of 100 random draws of 60: a change of the sizes shows here."""
    names = [f"b{n}" for n in range(60)]
    draws = (set(random.Random(seed).sample(names, refused)) for seed in range(100))
    assert sum(feed(halving(names, {}), bad, named=False) for bad in draws) == total
