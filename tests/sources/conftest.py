"""What the tests of sources share: an index, and a client."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.sources.index_server import Index, running


@pytest.fixture
def index() -> Iterator[Index]:
    """An empty package index."""
    with running() as made:
        yield made


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    """A client that reaches only what it is told."""
    with httpx2.Client(timeout=10, trust_env=False) as client:
        yield client
