"""What was answered before, kept up to a number of bytes however large or many the questions are."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

__all__ = ["Memo"]

K = TypeVar("K")
V = TypeVar("V")

SHARE: Final = 64
"""One value takes at most this part of a memo: what is larger is made anew each time."""


class Memo(Generic[K, V]):
    """Values by key, of at most `most` bytes in all; dropped whole when full. Read `held` directly.

    Threads may share it: a lost race costs only that a value is made twice.
    """

    __slots__ = ("_most", "_size", "held")

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self.held: dict[K, V] = {}

    def takes(self, size: int) -> bool:
        """Say whether a value of `size` bytes is small enough to be kept at all."""
        return size * SHARE <= self._most

    def has_room(self, size: int) -> bool:
        """Say whether it can be kept without dropping the others."""
        return self._size + size <= self._most

    def keep(self, key: K, value: V, size: int) -> None:
        """Keep a value that takes about `size` bytes with its key, unless it is too large."""
        if not self.takes(size):
            return
        if not self.has_room(size):
            self.clear()
        self.held[key] = value
        self._size += size

    def clear(self) -> None:
        """Drop everything."""
        self.held, self._size = {}, 0
