"""Encryption at rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.errors import Unavailable
from registry.sealing import Sealer

keys = st.binary(min_size=1, max_size=64)
texts = st.text(st.characters(), max_size=200)


@given(keys, texts)
def test_what_was_sealed_opens_again(key: bytes, text: str) -> None:
    """In another process too: a sealer holds nothing but its key."""
    assert Sealer(key).open(Sealer(key).seal(text)) == text


@given(keys, st.text(st.characters(codec="ascii"), min_size=8))
def test_a_sealed_text_shows_nothing_and_never_twice_the_same(key: bytes, text: str) -> None:
    """Equal secrets cannot be told from the database."""
    sealer = Sealer(key)
    sealed = sealer.seal(text)
    assert text not in sealed
    assert sealed != sealer.seal(text)


@given(keys, keys, texts)
def test_another_key_does_not_open_it(key: bytes, other: bytes, text: str) -> None:
    """It says that the key has changed, and what to do."""
    if key == other:
        return
    with pytest.raises(Unavailable, match="secret key of the settings has changed"):
        Sealer(other).open(Sealer(key).seal(text))


@given(keys, texts, st.data())
def test_an_altered_text_does_not_open(key: bytes, text: str, data: st.DataObject) -> None:
    """Whoever writes to the database cannot make us send to another place."""
    sealed = Sealer(key).seal(text)
    place = data.draw(st.integers(0, len(sealed.rstrip("=")) - 2))
    put = data.draw(st.sampled_from("AZaz09-_").filter(lambda char: char != sealed[place]))
    with pytest.raises(Unavailable):
        Sealer(key).open(sealed[:place] + put + sealed[place + 1 :])


@given(keys, st.text(st.characters(), max_size=200))
def test_what_was_never_sealed_is_refused_in_a_sentence(key: bytes, rubbish: str) -> None:
    """Never a traceback of the library below."""
    with pytest.raises(Unavailable):
        Sealer(key).open(rubbish)
