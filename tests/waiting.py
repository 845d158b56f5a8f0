"""Waiting for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["until"]

Found = TypeVar("Found")


def until(true: Callable[[], Found], what: str = "It", seconds: float = 120) -> Found:
    """Ask until the answer is true, and return it.

    The bound only ends a run that hangs: it is far beyond what a busy machine needs.
    """
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"{what} never came."
        time.sleep(0.02)
    return found
