"""What a reader asks of a page, in its URL: words, days and numbers, and what is wrong with them.

A page never fails for what stands in its URL: what cannot be used is left out, and a sentence says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request

__all__ = ["Asked", "form_of"]

TEXT_MAX = 16_000


class Asked:
    """The query of one page. Reading it notes in `notices` what could not be used."""

    def __init__(self, request: Request, known: Sequence[str]) -> None:
        self.path = request.url.path
        self._pairs = [
            (key, text)
            for key, value in request.query_params.multi_items()
            if (text := value.replace("\0", "")).strip()  # PostgreSQL holds no NUL
        ]
        self.notices: list[str] = []
        for key in dict.fromkeys(key for key, _ in self._pairs if key not in known):
            self.notices.append(
                f"There is no filter {_short(key)} here; there are {', '.join(known)}."
            )
        self._pairs = [pair for pair in self._pairs if pair[0] in known]

    def text(self, key: str, longest: int = 200) -> str:
        """Return one text, trimmed; "" when it is not given."""
        found = [value.strip() for name, value in self._pairs if name == key]
        if found and len(found[-1]) > longest:
            self.notices.append(f"{key} was cut: at most {longest} characters are read.")
        return found[-1][:longest] if found else ""

    def words(self, key: str, allowed: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return the words of a repeatable filter, comma lists too."""
        values = (value[:TEXT_MAX] for name, value in self._pairs if name == key)
        words = [word.strip() for value in values for word in value.split(",") if word.strip()]
        found = tuple(dict.fromkeys(words))
        for word in found:
            if allowed is not None and word not in allowed:
                self._refuse(key, word, allowed)
        return found if allowed is None else tuple(word for word in found if word in allowed)

    def word(self, key: str, allowed: Sequence[str], default: str = "") -> str:
        """Return one word out of those allowed."""
        given = self.text(key)
        if given and given not in allowed:
            self._refuse(key, given, allowed)
        return given if given in allowed else default

    def day(self, key: str) -> date | None:
        """Return a day."""
        given = self.text(key, 40)
        try:
            return date.fromisoformat(given) if given else None
        except ValueError:
            self.notices.append(f"{_short(given)} is no day for {key}; write it as 2026-11-23.")
            return None

    def number(self, key: str, default: int) -> int:
        """Return a positive number."""
        given = self.text(key, 40)
        if given.isascii() and given.isdigit() and 0 < int(given) < 2**31:
            return int(given)
        if given:
            self.notices.append(f"{_short(given)} is no number for {key}.")
        return default

    def link(self, **changes: Any) -> str:
        """Return the URL of this page with some of the query changed; None takes a part away."""
        kept = [pair for pair in self._pairs if pair[0] not in changes]
        added = [(key, str(value)) for key, value in changes.items() if value is not None]
        query = urlencode([*kept, *added])
        return f"{self.path}?{query}" if query else self.path

    def query(self, *keys: str) -> str:
        """Return these parts of the query, to hand them on to another URL: "" or "?a=b"."""
        kept = [pair for pair in self._pairs if pair[0] in keys]
        return f"?{urlencode(kept)}" if kept else ""

    @property
    def is_filtered(self) -> bool:
        """Say whether anything at all is asked."""
        return bool(self._pairs)

    def _refuse(self, key: str, word: str, allowed: Sequence[str]) -> None:
        choices = ", ".join(allowed) or "none"
        self.notices.append(f"{_short(word)} is no {key.replace('_', ' ')}; there are {choices}.")


def _short(text: str) -> str:
    return f"“{text[:60]}{'…' if len(text) > 60 else ''}”"


def form_of(body: bytes) -> Mapping[str, str]:
    """Read a form that was posted; of several values of one name the last counts.

    Browsers end lines with CR LF whatever was typed; here a line ends with LF, as the page shows it again.
    """
    try:
        pairs = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100
        )
    except ValueError:
        return {}
    return {name: re.sub("\r\n?", "\n", value) for name, value in pairs}
