"""The five ways in which a request is refused. The edges translate them; nothing else raises.

    RegistryError
     ├── NotFound      what was named does not exist
     ├── Invalid       the input cannot be used; says what to do about it
     ├── Conflict      the input is fine, but not with what is stored
     ├── Forbidden     the caller may not do this
     └── Unavailable   try again later: a database, an upstream or a job is away

Each carries one sentence for a person (`detail`), a stable `slug` that names the problem type, and
`extra` members for programs. `detail` is for everybody: no URL in it shows user, password, query or
fragment. What only those who run the service may read stands in `inside`. The core knows no status
codes: `web/errors.py` maps these to RFC 9457 problem documents and `cli/` to one line on stderr.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from registry.core.redaction import open_urls

__all__ = ["Conflict", "Forbidden", "Invalid", "NotFound", "RegistryError", "Unavailable"]


class RegistryError(Exception):
    """Base of all refusals; `str(error)` is the sentence for those who run the service, and for its log."""

    default_slug: ClassVar[str] = "error"

    def __init__(
        self,
        detail: str,
        *,
        slug: str | None = None,
        extra: Mapping[str, Any] | None = None,
        inside: str | None = None,
    ) -> None:
        self.detail = open_urls(detail)
        self.inside = open_urls(inside) if inside else None
        super().__init__(self.inside or self.detail)
        self.slug = slug or self.default_slug
        self.extra: dict[str, Any] = dict(extra or {})


class NotFound(RegistryError):
    """What was named does not exist."""

    default_slug = "not-found"


class Invalid(RegistryError):
    """The input cannot be used."""

    default_slug = "invalid-request"


class Conflict(RegistryError):
    """The input is fine by itself but contradicts what is stored."""

    default_slug = "conflict"


class Forbidden(RegistryError):
    """The caller may not do this; slug `unauthenticated` when no valid token came with it."""

    default_slug = "forbidden"


class Unavailable(RegistryError):
    """Not now: a database, an upstream or a job is away."""

    default_slug = "unavailable"
