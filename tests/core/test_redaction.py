"""What nobody may read is hidden wherever it stands, and the rest of the sentence stays."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.errors import Invalid, RegistryError, Unavailable
from registry.core.redaction import open_urls, public_url, redact, secrets_of

SHOWN = [
    ("https://example.com/a/b.md", "https://example.com/a/b.md"),
    ("https://user:s3cret@example.com/a?token=s3cret#s3cret", "https://example.com/a"),
    ("HTTPS://s3cret@example.com:8443/a", "HTTPS://example.com:8443/a"),
    ("https://user:s3/cret@example.com/a", "https://example.com/a"),
    ("https://user:s3#cret@example.com/a", "https://example.com/a"),
    ("https://user:s3?cret@example.com/a", "https://example.com/a"),
    ("https://user:s3@cret@example.com/a", "https://example.com/a"),
    ("https://s3#cret@example.com", "https://example.com"),
    ("https://user:s3cret@[::1]:80/a", "https://[::1]:80/a"),
    ("https://example.com:80/@scope/a", "https://example.com:80/@scope/a"),
    ("postgresql+psycopg://user:s3cret@db.internal/x?password=s3cret", "postgresql+psycopg://db.internal/x"),
    ("sqlite:////var/lib/x.db", "sqlite:////var/lib/x.db"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "shown"), SHOWN)
def test_a_url_is_shown_without_what_opens_it(url: str, shown: str) -> None:
    """By itself, and in the middle of a sentence with its stop."""
    assert public_url(url) == shown
    assert open_urls(f"Cannot reach {url}: timed out.") == f"Cannot reach {shown}: timed out."
    assert open_urls(f"bad '{url}' (see {url}).") == f"bad '{shown}' (see {shown})."


@pytest.mark.parametrize(("text", "shown"), [
    ("proxy user:s3cret@proxy.internal:3128 refused", "proxy ***@proxy.internal:3128 refused"),
    ("https://h/AbCdEf0123456789AbCdEf/simple/", "https://h/***/simple/"),
    ("https://h/0b8a1c9e-1111-2222-3333-444455556666/x", "https://h/***/x"),
    ("https://h/mcp-client-2025-11-20/context-1m-2025-08-07", "https://h/mcp-client-2025-11-20/context-1m-2025-08-07"),
    ("Authorization: Bearer abcdefgh", "Authorization: Bearer ***"),
    ("at 12:30 mail a@example.com", "at 12:30 mail a@example.com"),
    ("target:claude-api: refused", "target:claude-api: refused"),
])  # fmt: skip
def test_what_looks_like_a_secret_is_hidden_in_any_text(text: str, shown: str) -> None:
    """And what does not stays."""
    assert redact(text) == shown
    assert redact(shown) == shown


WORDS = st.text(alphabet="abcXYZ019!$%&*#?/@:;,=+~", min_size=6, max_size=12)


@given(WORDS, WORDS, WORDS)
def test_no_part_of_a_credential_survives(user: str, password: str, token: str) -> None:
    """Percent-encoded, as it must be written, also where an error quotes one part alone or decoded."""
    user, password, token = f"Uu{user}", f"Pp{password}", f"Tt{token}"
    parts = [quote(part, safe="") for part in (user, password, token)]
    url = "https://{}:{}@example.com/simple/?key={}#{}".format(*parts, parts[2])
    said = f"No {url}, {user} {password} {token}: {' '.join(parts)}"
    shown = redact(said, secrets_of(url))
    assert not [part for part in (user, password, token, *parts) if part in shown]
    assert "https://example.com/simple/" in shown


@pytest.mark.parametrize("kind", [Invalid, Unavailable, RegistryError])
def test_no_refusal_shows_a_url_that_opens_something(kind: type[RegistryError]) -> None:
    """Whoever makes it, and also not in what only operators read."""
    error = kind("Not https://u:s3cret@h/x?k=s3cret.", inside="No postgresql://u:s3cret@h/x here.")
    assert error.detail == "Not https://h/x."
    assert str(error) == "No postgresql://h/x here."
