"""Who is signed in: a sealed cookie in place of a token, and the guards of everything that changes.

The cookie holds the hash of the token, never the token, and when it ends. It is encrypted, so nothing is
kept on the server and any replica can read it; the hash is looked up among the living tokens at every
request, so that revoking a token ends its sessions within a second.
"""

from __future__ import annotations

import hmac
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from registry import auth
from registry.core.due import is_due
from registry.core.errors import Forbidden, RegistryError, Unavailable
from registry.sealing import Sealer
from registry.web.access import claim

__all__ = ["COOKIE", "LASTS", "Session", "Sessions", "is_from_here", "local_path"]

COOKIE: Final = "beta_registry_session"
LASTS: Final = timedelta(hours=12)

FAILURES: Final = 10
"""Failed sign-ins an address has within `WINDOW`; a token is 256 random bits, so this only spares logs."""
WINDOW: Final = timedelta(minutes=5)
ADDRESSES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who is signed in. `csrf` stands in every form that changes something."""

    scope: auth.Scope
    csrf: str
    digest: str
    """The hash of the token."""

    def may(self, wanted: auth.Scope) -> bool:
        """Say whether this may be done."""
        return auth.allows(self.scope, wanted)


class Sessions:
    """Opens, reads and guards sessions; `key` raises `Unavailable` where no secret key is set."""

    def __init__(
        self,
        key: Callable[[], bytes],
        scope_of: Callable[[str], auth.Scope | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._scope_of, self._clock = scope_of, clock
        self._failures: OrderedDict[str, list[datetime]] = OrderedDict()
        self.problem: str | None = None
        """Why nobody can sign in here, if so."""
        try:
            own = hmac.digest(key(), b"dashboard sessions", "sha256")
        except Unavailable as error:
            self.problem, own = error.detail, b""
        self._csrf, self._sealer = own, Sealer(own)

    def open(self, secret: str, address: str) -> str:
        """Return the cookie of a new session. Raises `Forbidden` or `Unavailable`."""
        if self.problem is not None:
            raise Unavailable(f"Nobody can sign in: {self.problem}")
        now = self._clock()
        failed = [at for at in self._failures.get(address, ()) if not is_due(now, at, WINDOW)]
        if len(failed) >= FAILURES:
            raise Forbidden("Too many failed sign-ins from here; wait five minutes.", slug="slow")
        digest = auth.digest(secret.strip())
        scope = self._scope_of(digest)
        if scope is None:
            self._note_failure(address, [*failed, now])
            raise Forbidden(
                "There is no such token, or it was revoked; an operator makes one with "
                "`beta-registry token create`.",
                slug="unauthenticated",
            )
        if not auth.allows(scope, "read"):
            raise Forbidden(f"This token has scope {scope}; the dashboard needs read or more.")
        return self._sealer.seal(json.dumps([digest, (now + LASTS).timestamp()]))

    def _note_failure(self, address: str, failed: list[datetime]) -> None:
        self._failures[address] = failed
        self._failures.move_to_end(address)
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)

    def read(self, request: Request) -> Session | None:
        """Return who is signed in; None for a cookie that is absent, altered, old, or of a dead token."""
        cookie = request.cookies.get(COOKIE)
        if not cookie or self.problem is not None or len(cookie) > 1000:
            return None
        try:
            digest, ends = json.loads(self._sealer.open(cookie))
            scope = self._scope_of(digest)
        except (RegistryError, ValueError):
            return None
        if scope is None or self._clock().timestamp() >= ends:
            return None
        csrf = hmac.new(self._csrf, cookie.encode(), "sha256").hexdigest()
        return Session(scope=scope, csrf=csrf, digest=digest)

    def allow_change(
        self, request: Request, form: Mapping[str, str], scope: auth.Scope = "write"
    ) -> None:
        """Let only a form of ours pass, sent by somebody with `scope`. Raises `Forbidden`."""
        session = self.read(request)
        if session is None:
            raise Forbidden("Your session has ended; sign in again.", slug="unauthenticated")
        same = hmac.compare_digest(
            form.get("csrf", "").encode("utf-8", "replace"), session.csrf.encode()
        )
        if not same or not is_from_here(request):
            raise Forbidden(
                "This form is not of your session, so nothing was changed; load the page again."
            )
        if not session.may(scope):
            raise Forbidden(
                f"You are signed in with a token of scope {session.scope}; this needs {scope}. "
                "Nothing was changed."
            )
        claim(session.digest, scope)


def is_from_here(request: Request) -> bool:
    """Say whether a browser sent this from one of our own pages; other programs send neither header."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def local_path(text: str | None) -> str:
    """Return where to go next: a path of this service, never another host."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\")) or len(text) > 2000:
        return "/"
    if any(ord(letter) < 33 or ord(letter) == 127 or letter == "\\" for letter in text):
        return "/"
    parts = urlsplit(text)
    return text if not parts.scheme and not parts.netloc else "/"
