"""Tokens: who may do what. Only hashes are stored; the secret is shown once, when it is made.

Scopes grow: `read` < `write` < `admin`. Beside them stand two narrow ones: `report` (send usage, and read
what can be open to all) and `feed` (read feeds and exports with the token in the URL).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.core.errors import Forbidden, Invalid, NotFound
from registry.models import RevisionRow, TokenRow

__all__ = [
    "SCOPES",
    "Scope",
    "Token",
    "allows",
    "bearer",
    "create",
    "digest",
    "index",
    "reads_public",
    "require",
    "revoke",
    "scope_now",
    "tokens",
]

Scope = Literal["read", "write", "admin", "report", "feed"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

_INCLUDES: Final[dict[Scope, frozenset[Scope]]] = {
    "read": frozenset({"read", "feed"}),
    "write": frozenset({"read", "write", "report", "feed"}),
    "admin": frozenset(SCOPES),
    "report": frozenset({"report"}),
    "feed": frozenset({"feed"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as it may be shown: without its secret."""

    id: int
    name: str
    scope: Scope
    created_at: datetime
    revoked_at: datetime | None


def allows(scope: Scope, wanted: Scope) -> bool:
    """Say whether a token of `scope` may do what needs `wanted`."""
    return wanted in _INCLUDES[scope]


def reads_public(scope: Scope) -> bool:
    """Say whether a token may read what `PUBLIC_READ` covers, also where it is not open to all.

    Scope `report` may, so that one token serves a program: it asks what to send, and says what it sent.
    """
    return allows(scope, "read") or allows(scope, "report")


def digest(secret: str) -> str:
    """Hash a secret. It is 256 random bits, so a plain fast hash is enough (no dictionary to try)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def bearer(authorization: str) -> str | None:
    """Return the secret of an `Authorization` header, or None if it is of another scheme or empty."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() or None if scheme.lower() == "bearer" else None


def require(scope: Scope | None, wanted: Scope, *, public: bool = False) -> None:
    """Let pass what holds `scope`, or None for no living token. Raises `Forbidden`.

    `public` says that it is something `PUBLIC_READ` covers, see `reads_public`.
    """
    if scope is None:
        raise Forbidden(
            "A valid token is needed: send `Authorization: Bearer TOKEN`; an operator makes one with "
            "`beta-registry token create`.",
            slug="unauthenticated",
        )
    if not allows(scope, wanted) and not (public and reads_public(scope)):
        raise Forbidden(f"This token has scope {scope}; {wanted} is needed.")


def create(session: Session, name: str, scope: str, now: datetime) -> tuple[Token, str]:
    """Make a token. Returns it with its secret, which is not kept. Raises `Invalid`."""
    if scope not in SCOPES:
        raise Invalid(f"{scope[:40]!r} is not a scope; use one of {', '.join(SCOPES)}.")
    if not name.strip() or len(name) > 200:
        raise Invalid("Give the token a name of 1 to 200 characters, such as whose it is.")
    secret = f"br_{secrets.token_urlsafe(32)}"
    row = TokenRow(name=name.strip(), digest=digest(secret), scope=scope, created_at=now)
    session.add(row)
    _touch(session)
    return _token(row), secret


def tokens(session: Session) -> list[Token]:
    """Return all tokens, revoked ones too, in the order in which they were made."""
    return [_token(row) for row in session.scalars(sa.select(TokenRow).order_by(TokenRow.id))]


def revoke(session: Session, number: int, now: datetime) -> Token:
    """Revoke a token for good; every process forgets it within a second. Raises `NotFound`."""
    row = session.get(TokenRow, number) if number < 2**31 else None
    if row is None:
        raise NotFound(f"There is no token {number}; `beta-registry token list` shows them.")
    row.revoked_at = row.revoked_at or now
    _touch(session)
    return _token(row)


def index(session: Session) -> Mapping[str, Scope]:
    """Return the scope of every living token by the hash of its secret."""
    rows = session.scalars(sa.select(TokenRow).where(TokenRow.revoked_at.is_(None)))
    return {row.digest: _token(row).scope for row in rows}


def scope_now(session: Session, digest: str) -> Scope | None:
    """Return the scope of a living token by the hash of its secret, as this transaction sees it."""
    row = session.scalar(
        sa.select(TokenRow).where(TokenRow.digest == digest, TokenRow.revoked_at.is_(None))
    )
    return _token(row).scope if row else None


def _touch(session: Session) -> None:
    session.execute(sa.update(RevisionRow).values(tokens=RevisionRow.tokens + 1))
    session.flush()


def _token(row: TokenRow) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scope=row.scope,  # type: ignore[arg-type]  # checked by `create`
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
