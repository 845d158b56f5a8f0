"""Values into pages: the templates, what is safe to show, and the headers that every page carries.

Everything printed by a template passes `visible`: characters that are not seen, or that reorder their
neighbours, are written as their code. Jinja then escapes markup. Only the fields of a form give back what
was typed, by `typed`: sent again, it must mean the same. What a page may load stands in `CSP`.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Container, Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from registry.core.facts import EVENT_TYPES, Beta, rfc3339
from registry.core.names import PLATFORMS
from registry.web.answers import etag_of, matches
from registry.web.dashboard.assets import Assets, takes_gzip
from registry.web.probes import write_duration

__all__ = ["HEADERS", "Renderer", "ago", "quoted", "safe_link", "tone", "typed", "visible"]

WEB: Final = Path(__file__).parent.parent

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS: Final[dict[str, str]] = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}

SHOWN_MAX: Final = 4000
"""Longest text shown in one place, in characters."""

_TONES: Final[dict[str, str]] = {
    # statuses
    "active": "good", "deprecated": "warn", "ga": "info", "retired": "bad", "unverified": "rest",
    # states
    "supported": "good", "refused": "bad", "restricted": "odd", "unknown": "rest",
    # verdicts of a check, of an answer, and of an observation
    "ok": "good", "accepted": "good", "not_needed": "info", "changes_response": "info",
    "no_effect": "rest", "unproven": "rest", "wrong_model": "bad", "wrong_endpoint": "bad",
    "conflict": "bad", "malformed": "bad", "model_unsupported": "warn", "beta_missing": "warn",
    "inconclusive": "rest", "mixed": "warn",
    # health, outcomes of sweeps and runs
    "unhealthy": "bad", "blind": "odd", "locked": "bad", "removed": "rest", "never": "rest",
    "unchanged": "good", "failed": "bad",
    "queued": "info", "running": "info", "disabled": "rest", "at_risk": "warn", "failing": "bad",
    "sent": "good", "pending": "info", "dead": "bad", "critical": "bad", "warning": "warn",
    "info": "info",
    # events
    "beta.discovered": "good", "beta.deprecated": "warn", "beta.ga": "info", "beta.retired": "bad",
    "beta.restored": "good", "beta.superseded": "warn", "beta.supported": "good",
    "beta.refused": "bad", "beta.restricted": "odd", "beta.disputed": "odd",
    "beta.sunset_approaching": "warn", "usage.at_risk": "warn", "usage.refusing": "bad",
    "source.failed": "bad", "target.unhealthy": "bad", "target.blind": "odd",
    "source.recovered": "good", "target.recovered": "good",
}  # fmt: skip

# Controls, and what is invisible or turns the direction of the text around it.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def tone(word: str) -> str:
    """Return the colour class of a status, state, verdict, health or type of event."""
    return _TONES.get(word, "rest")


def visible(value: Any) -> Any:
    """Make text safe to look at: hidden characters become their code, and length is bounded."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return "" if value is None else value
    if len(value) > SHOWN_MAX:
        rest = len(value) - SHOWN_MAX
        value = f"{value[:SHOWN_MAX]}… ({rest:,} more characters)"
    return _UNSEEN.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", value)


def typed(text: str) -> Markup:
    """Print text into a field of a form, whole and unchanged but for what HTML cannot hold.

    A browser keeps the direction of a field to the field, so nothing around it is reordered.
    """
    return escape(re.sub("[\0\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text))


def safe_link(url: str | None) -> str | None:
    """Return a URL if a browser may follow it; sources can write anything."""
    return url if url and re.match(r"https?://[^\s\x00-\x1f]+\Z", url) else None


def ago(moment: datetime | None, now: datetime) -> str:
    """Say how long ago something was, or how soon it will be, in one unit."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    units = (("d", 86400), ("h", 3600), ("min", 60))
    size, unit = next(((s, u) for u, s in units if abs(seconds) >= s), (1, "s"))
    count = int(abs(seconds) // size)
    return f"{count} {unit} ago" if seconds >= 0 else f"in {count} {unit}"


def _time(moment: datetime | None, now: datetime) -> Markup:
    """Print a moment as "3 h ago", with the moment itself for machines and on hover."""
    if moment is None:
        return Markup("never")
    return Markup('<time datetime="{0}" title="{1} UTC">{2}</time>').format(
        rfc3339(moment), f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}", ago(moment, now)
    )


_LETTERS: Final = dict(zip(PLATFORMS, "AWGBVF", strict=True))


def letters(beta: Beta) -> Markup:
    """Print a beta's state on each platform as a coloured letter; a dot where nothing is known."""
    shown = []
    for platform, letter in _LETTERS.items():
        known = beta.platforms.get(platform)
        state = known.state if known else "unknown"
        shown.append(_letter(platform, letter, state))
    return Markup("").join(shown)


@cache
def _letter(platform: str, letter: str, state: str) -> Markup:
    return Markup('<span class="letter {0}" title="{1}: {2}">{3}</span>').format(
        tone(state), platform, state, letter if state != "unknown" else "·"
    )


def quoted(text: str, known: Container[str]) -> Markup:
    """Print a sentence whose names stand in backquotes; a beta that is known becomes a link."""
    parts = []
    for place, part in enumerate(text.split("`")):
        if place % 2 and part in known:
            link = Markup('<a class="mono" href="/betas/{0}"><bdi>{1}</bdi></a>')
            parts.append(link.format(quote(part, safe=""), visible(part)))
        elif place % 2:
            parts.append(Markup("<code><bdi>{0}</bdi></code>").format(visible(part)))
        else:
            parts.append(escape(visible(part)))
    return Markup("").join(parts)


def _in_days(day: date, today: date) -> str:
    """Say how far a day is from today."""
    count = (day - today).days
    if abs(count) <= 1:
        return ("yesterday", "today", "tomorrow")[count + 1]
    return f"in {count} days" if count > 0 else f"{-count} days ago"


class Renderer:
    """Makes pages out of templates."""

    def __init__(self, assets: Assets) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(WEB / "templates"),
            autoescape=True,
            finalize=visible,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {
            "asset": assets.url, "tone": tone, "letters": letters, "event_types": " ".join(EVENT_TYPES),
        }  # fmt: skip
        self._environment.filters |= {
            "link": safe_link,
            "json": lambda value: json.dumps(value, ensure_ascii=False),
            "path": lambda text: quote(str(text), safe=""),
            "moment": _time,
            "quoted": quoted,
            "typed": typed,
            "in_days": _in_days,
            "every": write_duration,
            "words": lambda text: str(text).replace("_", " "),
        }

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        """Print a template."""
        return self._environment.get_template(template).render(values)

    def page(
        self, request: Request, template: str, values: Mapping[str, Any], *, status: int = 200
    ) -> Response:
        """Answer with a page: compressed where that is taken, 304 where the browser has it."""
        body = self.text(template, values).encode("utf-8", "replace")
        etag = f"W/{etag_of(body)}"  # weak: the compressed bytes differ
        headers = HEADERS | {
            "ETag": etag,
            "Cache-Control": "private, no-cache",
            "Vary": "Accept-Encoding, Cookie",
        }
        if status == 200 and matches(request.headers.get("if-none-match"), etag[2:]):
            return Response(status_code=304, headers=headers)
        if takes_gzip(request):
            body = gzip.compress(body, 4, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return Response(
            body, status_code=status, media_type="text/html; charset=utf-8", headers=headers
        )
