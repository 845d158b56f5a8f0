"""The wire format: what is printed can be read again, and rubbish is refused in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.changes import snapshot_of
from registry.core.errors import Invalid
from registry.core.wire import (
    beta_from_json,
    beta_to_json,
    snapshot_from_json,
    snapshot_to_json,
)
from registry.sources.catalog import bundled_catalog, parse_catalog
from tests.factories import NOW, beta, snapshot

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def test_the_whole_catalog_survives_the_wire() -> None:
    """Every beta that is known, and their snapshot."""
    as_of, claims = parse_catalog(bundled_catalog())
    whole = snapshot_of(claims, as_of, NOW)
    assert len(whole.betas) >= 99
    assert snapshot_from_json(snapshot_to_json(whole)) == whole
    for known in whole.betas.values():
        assert beta_from_json(beta_to_json(known)) == known


@given(JSON)
def test_rubbish_is_refused_in_a_sentence(data: Any) -> None:
    """Never another exception than `Invalid`."""
    for read in (beta_from_json, snapshot_from_json):
        with pytest.raises(Invalid):
            read(data)


@pytest.mark.parametrize(
    ("member", "wrong"),
    [("status", "dead"), ("release_date", "2026-02-30"), ("endpoints", "messages"),
     ("platforms", {"azure": {}}), ("accepted", "yes"), ("added_at", "yesterday"), ("name", 3)],
)  # fmt: skip
def test_a_wrong_member_is_named(member: str, wrong: Any) -> None:
    """So that whoever wrote it can mend it."""
    data = {**beta_to_json(beta("thing-2026-01-01")), member: wrong}
    with pytest.raises(Invalid, match=member):
        beta_from_json(data)


def test_members_of_a_later_version_are_ignored() -> None:
    """Extra members are welcome: an old client reads a new server."""
    whole = snapshot_to_json(snapshot(beta("thing-2026-01-01")))
    whole["betas"][0]["colour"] = "blue"
    assert len(snapshot_from_json({**whole, "more": 1}).betas) == 1
