"""What nobody may read in a text: one place for every error, whoever made it. Pure.

    redact        a text from anywhere, as anybody may read it
    open_urls     a sentence of ours: only the URLs in it are cut
    public_url    one URL as it may be shown: where it leads is kept
    secrets_of    what must be hidden of a URL where its parts stand alone
    hide          a text without these
    mask_secrets  keys, tokens and the values of credential headers

A URL's user information, query and fragment are never shown: package indexes, proxies and signed downloads keep
tokens there (RFC 3986, section 7.5). In a text, a segment of its path is hidden too when it looks like a token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

__all__ = ["hide", "mask_secrets", "open_urls", "public_url", "redact", "secrets_of"]

SHORTEST: Final = 4
"""Characters that a secret has at least; what is shorter would hide half of a sentence."""

_SECRETS: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?:sk-[\w-]{8,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|eyJ[\w-]{6,}(?:\.[\w-]*){0,2}"
    r"|(?:AIza|ya29\.|gh[pousr]_|whsec_|xox[a-z]-)[\w.-]{10,})"
)
_SECRET_VALUES: Final = re.compile(
    r"((?:authorization|api[-_]?key|security-token|cookie|secret|auth_token|access_key|password)[\\\"']{0,8}"
    r"\s{0,4}[:=]\s{0,4}[\\\"']{0,8}(?:(?:bearer|basic|token)\s{1,4})?+|\bbearer\s{1,4}|\b(?:credential|signature)=)"
    r"(?!\*\*\*)[^\s\"'\\,;}<>]{4,}",
    re.I,
)

_URL: Final = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s\"'`<>]+")
_ACCOUNT: Final = re.compile(r"(?<![\w/.@:-])[^\s\"'`<>/@:]{1,200}:[^\s\"'`<>/@]{1,200}@(?=[\w\[])")
_TRAILING: Final = ".,;:!?)]}"
_TOKEN: Final = re.compile(r"(?=[^-]*[0-9])(?=[^-]*[A-Za-z])[A-Za-z0-9]{20,}|[0-9a-fA-F]{32,}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def mask_secrets(text: str) -> str:
    """Replace keys, tokens and the values of credential headers with `***`, wherever they stand."""
    return _SECRETS.sub("***", _SECRET_VALUES.sub(r"\1***", text))


def redact(text: str, hidden: Iterable[str] = ()) -> str:
    """Return a text as anybody may read it; `hidden` are secrets that are known to those who call."""
    return mask_secrets(open_urls(hide(text, hidden)))


def hide(text: str, hidden: Iterable[str]) -> str:
    """Replace secrets by `***`, however their letters are cased."""
    # Longest first: a short secret inside a long one must not leave the rest of it standing.
    for secret in sorted({*hidden}, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)
    return text


def open_urls(text: str) -> str:
    """Return a text in which every URL is public, and every `user:password@` before a host is hidden."""
    if ":" not in text:
        return text
    return _ACCOUNT.sub("***@", _URL.sub(_opened, text))


def _opened(found: re.Match[str]) -> str:
    url = found[0].rstrip(_TRAILING)
    shown = "/".join("***" if _is_token(part) else part for part in public_url(url).split("/"))
    return shown + found[0][len(url) :]


def public_url(url: str) -> str:
    """Return a URL as it may be shown: without user, password, query and fragment."""
    scheme, mark, rest = url.partition("://")
    place = _parted(rest)[1] if mark else ""
    return scheme + mark + re.split(r"[?#]", place, maxsplit=1)[0]


def _is_token(segment: str) -> bool:
    bare = unquote(segment)
    pieces = re.split(r"[._~:;,=+-]", bare)
    return bool(_UUID.fullmatch(bare)) or any(map(_TOKEN.fullmatch, pieces))


def _parted(rest: str) -> tuple[str, str]:
    """Part what follows `://` into user information and the rest.

    A password that was not percent-encoded may hold what ends an authority, so a later `@` counts where
    the text before it is no host.
    """
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    after = rest[len(authority) :]
    if "@" in authority:
        account, _, host = authority.rpartition("@")
        return account, host + after
    no_host = after[:1] in ("?", "#") or not re.fullmatch(r"[^:]*(?::[0-9]*)?|\[.*", authority)
    if "@" in after and no_host:
        account, _, place = rest.rpartition("@")
        return account, place
    return "", rest


def secrets_of(url: str) -> set[str]:
    """Return the parts of a URL that must be hidden, as they are written and decoded."""
    _, mark, rest = url.partition("://")
    account, place = _parted(rest) if mark else ("", url)
    query = re.split(r"[?#]", place, maxsplit=1)[1:]
    wholes = [account, *query]
    pieces = {*wholes, *(part for whole in wholes for part in re.split(r"[:/?#&;@]", whole))}
    pieces |= {piece.partition("=")[2] for piece in pieces if "=" in piece}
    pieces |= {part for part in place.split("/") if _is_token(part)}
    return {form for piece in pieces for form in (piece, unquote(piece)) if form}
