"""Names that look like a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest
from itertools import pairwise, zip_longest
from typing import Final

from registry.core.names import NAME_MAX, parse

__all__ = ["Spellings", "did_you_mean"]


def did_you_mean(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return up to three known names that look like a misspelt one, the likeliest first."""
    return Spellings(known).like(name)


_ALIKE: Final = 0.6
"""Share of the pairs of letters that two spellings of a name have in common (Dice's coefficient)."""
_LENGTHS: Final = 12
"""Characters by which two such spellings may differ in length."""


class Spellings:
    """Finds names by a misspelt one.

    Names come from whoever asks, hundreds at once, so that the work is bounded: features are compared as
    bits, one for each pair of letters that stand together, which takes some ten microseconds a name.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._names: dict[str, list[str]] = {}
        for name in sorted(known, reverse=True):
            self._names.setdefault(parse(name).feature.lower(), []).append(name)
        marked = [(feature, _pairs(feature)) for feature in self._names]
        self._marks = [(len(name), bits, bits.bit_count(), name) for name, bits in marked]

    def like(self, name: str) -> tuple[str, ...]:
        """Return up to three names: of the same feature, the nearest first, then of the likest features."""
        wanted = parse(name[:NAME_MAX].lower()).feature
        length, bits = len(wanted), _pairs(wanted)
        count = bits.bit_count()
        alike = [
            (share, feature)
            for size, marks, total, feature in self._marks
            if -_LENGTHS <= size - length <= _LENGTHS
            and (share := 2 * (marks & bits).bit_count() / (count + total or 1)) >= _ALIKE
            and feature != wanted
        ]
        near = [wanted, *(feature for _, feature in nlargest(3, alike))]
        found = [
            other
            for feature in near
            for other in sorted(self._names.get(feature, ()), key=lambda one: _unlike(one, name))
        ]
        return tuple([other for other in found if other != name][:3])


def _unlike(known: str, name: str) -> int:
    """Say in how many of their letters and digits two names differ, place by place from their ends."""
    ends = zip_longest(reversed(known.lower()), reversed(name[:NAME_MAX].lower()))
    return sum(one != other for one, other in ends)


def _pairs(text: str) -> int:
    """Return which letters follow each other in a text, at once or after one more, as bits of a number.

    Two letters that changed places so still leave most of it as it was.
    """
    bits = 0
    for one, other in {*pairwise(text), *zip(text, text[2:])}:  # noqa: B905 - the longer one is cut
        bits |= 1 << (ord(one) * 31 + ord(other)) % 1021
    return bits
