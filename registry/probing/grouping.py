"""Which betas to send together: group testing as generators that are fed with answers.

Each yields the names of the next request, is sent what the answer meant, and returns a `Found`. Nothing
is sent here. The never-issued control name is the caller's: it rides along where `Batch.control` says.

- Where refusals name names, one request tells all the refused ones, and a second one that the rest is
  accepted: acceptance counts only from a 2xx.
- Where they do not, halving finds them one by one: when one half is clean, the other is to blame and need
  not be asked as a whole (generalised binary splitting; Hwang, 1972). The next group is as large as is
  clean about every second time, by the share that was refused so far.

A group that fails for another reason is split too, until whoever causes it stands alone.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from registry.core.lifecycle import Observed

__all__ = ["Batch", "Found", "Heard", "batches", "halving", "naming"]

HEADER_BYTES: Final = 8 * 1024
"""Longest header value sent; common servers refuse longer ones."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The next request. `control`: the never-issued name rides along."""

    names: tuple[str, ...]
    control: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What an answer meant for a batch. `names` are those that it named, of the ones that were sent.

    `foreign`: one beta was sent alone, and the refusal names only others.
    """

    verdict: Observed
    names: tuple[str, ...] = ()
    status: int | None = None
    message: str = ""
    request_id: str | None = None
    foreign: bool = False


Found = dict[str, Heard]
"""The answer that decides for each beta; one that is absent could not be found out."""

Asking = Generator[Batch, Heard, None]
"""Yields the next request and is sent its answer. What it found stands in the `Found` it was given, also
when it is stopped half-way."""


def batches(
    names: Sequence[str],
    conflicts: Mapping[str, frozenset[str]],
    limit: int,
    spare: int = 64,
    size: int = HEADER_BYTES,
) -> list[tuple[str, ...]]:
    """Part names into as few groups as will do: no two that conflict, bounded in number and bytes.

    `spare` is room, in bytes, for the control name.
    """
    groups: list[list[str]] = []
    for name in names:
        for group in groups:
            fits = len(group) < limit and sum(len(n) + 1 for n in group) + len(name) <= (
                size - spare
            )
            if fits and conflicts.get(name, frozenset()).isdisjoint(group):
                group.append(name)
                break
        else:
            groups.append([name])
    return [tuple(group) for group in groups]


def naming(names: Sequence[str], found: Found, *, control: bool = True) -> Asking:
    """Find the refused ones where refusals name them.

    With `control`, the first request carries the control name, so it must be refused.
    """
    rest = tuple(names)
    if control:
        first = yield Batch(rest, control=True)
        left = _without_named(rest, first, found)
        if first.verdict == "inconclusive":
            yield from halving(rest, found, tainted=True)
            return
        rest = left
    while rest:
        heard = yield Batch(rest)
        if heard.verdict == "accepted" or len(rest) == 1:
            found |= dict.fromkeys(rest, heard)
            return
        left = _without_named(rest, heard, found)
        if left == rest:
            yield from halving(rest, found, tainted=True)
            return
        rest = left


def _without_named(names: tuple[str, ...], heard: Heard, found: Found) -> tuple[str, ...]:
    if heard.verdict in ("accepted", "inconclusive"):
        return names
    found |= {name: heard for name in heard.names if name in names}
    return tuple(name for name in names if name not in found)


CLEAN_ENOUGH: Final = 1.2
"""When fewer than so many refused ones are to be expected among all that are left, these go together."""
HALF_CHANCE: Final = 0.7
"""A group of so many over the share of refused ones is clean about every second time (ln 2)."""


def halving(names: Sequence[str], found: Found, *, tainted: bool = False) -> Asking:
    """Find the refused ones where refusals name nothing.

    All together first, unless they are known to fail (`tainted`). When that fails, halving finds one that
    is to blame; what was not cleared on the way goes back into the pool. On average over random draws of d
    of 60 it takes less than log2 C(60, d) + 2d + 2 requests for d from 1 to 8.
    """
    pool = tuple(names)
    size, bad, good = len(pool), 0, 0
    while pool:
        part, rest = pool[:size], pool[size:]
        heard = None
        if not tainted or len(part) == 1:
            heard = yield Batch(part)
        tainted = False
        if heard is not None and (heard.verdict == "accepted" or len(part) == 1):
            found |= dict.fromkeys(part, heard)
            bad += heard.verdict != "accepted"
            good += len(part) if heard.verdict == "accepted" else 0
            pool = rest
        else:
            unclear = yield from _blame(part, found)
            culprit = any(found[name].verdict != "accepted" for name in part if name not in unclear)
            bad, good = bad + culprit, good + len(part) - len(unclear) - culprit
            pool = (*unclear, *rest)
        size = _size(len(pool), bad, good)


def _size(left: int, bad: int, good: int) -> int:
    share = bad / (bad + good + 1)
    if share * left < CLEAN_ENOUGH:
        return left
    return max(1, round(HALF_CHANCE / share))


def _blame(group: tuple[str, ...], found: Found) -> Generator[Batch, Heard, tuple[str, ...]]:
    """Find one that makes a group fail; add it and those cleared to `found`, return the others."""
    unclear: tuple[str, ...] = ()
    while True:
        if len(group) == 1:
            # Even one that is left over is asked alone: a refusal counts only by itself.
            found[group[0]] = yield Batch(group)
            return unclear
        middle = len(group) // 2
        left, right = group[:middle], group[middle:]
        heard = yield Batch(left)
        if heard.verdict == "accepted":
            found |= dict.fromkeys(left, heard)
            group = right
        elif len(left) == 1:
            found[left[0]] = heard
            return (*right, *unclear)
        else:
            group, unclear = left, (*right, *unclear)
