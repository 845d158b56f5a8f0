"""The API's release notes: dated entries that people read, and the few words in them that prove something.

Hidden here: how Markdown becomes entries, how an entry is recognised again after it was rewritten, and
which phrases are clear enough to be claims. A phrase that is not clear is an entry and nothing more:
a missed claim is mended by another source, a wrong one misleads everybody.

    "no longer requires the `X` beta header"            X is ga since that day
    "retired the ... beta (`X`)"                        X is retired since that day
    "`X` will have no effect after April 30, 2026"      X ends on that day
    "in beta", "include the `X` beta header"            X was in beta on that day
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from registry.core.facts import Claim, Entry, Finding, Json
from registry.core.names import is_well_formed, parse
from registry.core.places import ANYWHERE, Place
from registry.sources import Document, Progress, SourceError, fetch, public_url, shown

__all__ = ["ReleaseNotesSource", "read_entries"]

LOCATION: Final = "https://platform.claude.com/docs/en/release-notes/overview.md"
FORMAT: Final = 1
MAX_TEXT: Final = 4000
MAX_QUOTE: Final = 300
SAME: Final = 0.5
"""Share of common text from which a changed entry is the same one, rewritten."""

MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip


class ReleaseNotesSource:
    """Release notes in Markdown, from a URL or a file."""

    name = "release-notes"

    def __init__(self, location: str = LOCATION) -> None:
        """Read the notes at `location`."""
        self.location = location

    def collect(
        self, http: httpx2.Client, memo: Mapping[str, Json], now: datetime, progress: Progress
    ) -> Finding:
        """Read the notes unless they are known. Raises `SourceError`."""
        old = memo if memo.get("format") == FORMAT else {}
        document = fetch(
            http, self.location, old.get("document"), accept="text/markdown, text/plain"
        )
        if document.body is None:
            return Finding(
                source=self.name, unchanged=True, memo={**old, "document": dict(document.memo)},
                cost=document.cost, detail="The release notes have not changed.",
            )  # fmt: skip
        entries = _keyed(read_entries(_markdown(document)), old.get("entries") or {})
        web = urlsplit(self.location).scheme in ("http", "https")
        page = public_url(self.location) if web else None
        entries = [replace(entry, url=page) for entry in entries]
        told = [entry for entry in entries if entry.betas or "beta" in entry.text.lower()]
        claims = _claims(told)
        names = {claim.beta for claim in claims}
        return Finding(
            source=self.name,
            claims=claims,
            entries=tuple(told),
            memo={
                "format": FORMAT,
                "document": dict(document.memo),
                "entries": {entry.key: entry.text for entry in entries},
            },
            cost=document.cost,
            detail=f"{len(entries)} entries, {len(told)} on betas, {len(names)} betas by name.",
        )


def _markdown(document: Document) -> str:
    text = document.text
    if text.lstrip()[:200].lower().startswith(("<!doctype", "<html")):
        raise SourceError(
            f"{shown(document.location)} is a web page and not Markdown; give the page's URL with .md at its end."
        )
    return text


# --- Entries --------------------------------------------------------------------------------------

_HEADING = re.compile(
    r"^#{1,4}\s+(?:\*\*)?(?P<month>[A-Z][a-z]+)\.?\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?,?\s+"
    r"(?P<year>\d{4})(?:\*\*)?\s*$"
)
_DATE = re.compile(
    r"\b(?P<month>[A-Z][a-z]+)\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>\d{4})\b"
    r"|\b(?P<iso>\d{4}-\d{2}-\d{2})\b(?![\w`-])"
)


def read_entries(text: str) -> list[Entry]:
    """Read the bullets under date headings, in order, with a provisional key.

    Raises `SourceError` when no date heading has an entry: then this is another document.
    """
    entries: list[Entry] = []
    day: date | None = None
    bullet: list[str] = []

    def finish() -> None:
        words = " ".join(" ".join(bullet).split())[:MAX_TEXT]
        if day is not None and words:
            entries.append(Entry(key="", on=day, text=words, betas=_names(words)))
        bullet.clear()

    for line in text.splitlines():
        heading = _HEADING.match(line)
        if heading or line.startswith("#"):
            finish()
            day = _day(heading) if heading else day
        elif re.match(r"[*-]\s+\S", line):
            finish()
            bullet.append(line[1:].strip())
        elif bullet and (not line.strip() or line[0] in " \t"):
            bullet.append(line.strip())
        elif bullet and line.strip():
            finish()
    finish()
    if not entries:
        raise SourceError(
            "The release notes hold no entry under a date heading (### October 15, 2026); "
            "check their location."
        )
    return entries


def _day(found: re.Match[str]) -> date | None:
    groups = found.groupdict()
    try:
        if groups.get("iso"):
            return date.fromisoformat(groups["iso"])
        month = next(
            place for place, name in enumerate(MONTHS, start=1)
            if name.startswith(groups["month"].lower()[:3]) and len(groups["month"]) >= 3
        )  # fmt: skip
        return date(int(groups["year"]), month, int(groups["day"]))
    except (ValueError, StopIteration):
        return None


def _keyed(entries: Sequence[Entry], known: Mapping[str, str]) -> list[Entry]:
    """Give every entry its key: the one it had, even if its words have changed since.

    Entries of a day are matched with those remembered, first letter for letter, then by the beta names
    they share, then by how much of the text they share. What is left is new and gets the day's next
    free number.
    """
    keyed: list[Entry] = []
    taken: set[str] = set()
    for entry in entries:
        key = next(
            (
                k
                for k, text in known.items()
                if text == entry.text and k not in taken and _of(k, entry)
            ),
            None,
        )
        taken |= {key} if key else set()
        keyed.append(replace(entry, key=key or ""))
    numbers = dict.fromkeys((str(entry.on) for entry in entries), 0)
    for key in known:
        day, _, number = key.partition("#")
        numbers[day] = max(numbers.get(day, 0), int(number))
    for place, entry in enumerate(keyed):
        if entry.key:
            continue
        key = _rewritten(
            entry, {k: t for k, t in known.items() if k not in taken and _of(k, entry)}
        )
        if key is None:
            numbers[str(entry.on)] += 1
            key = f"{entry.on}#{numbers[str(entry.on)]}"
        taken.add(key)
        keyed[place] = replace(entry, key=key)
    return keyed


def _of(key: str, entry: Entry) -> bool:
    return key.partition("#")[0] == str(entry.on)


def _rewritten(entry: Entry, candidates: Mapping[str, str]) -> str | None:
    def likeness(text: str) -> float:
        if entry.betas and set(entry.betas) & set(_names(text)):
            return 1 + difflib.SequenceMatcher(None, entry.text, text).ratio()
        return difflib.SequenceMatcher(None, entry.text, text).ratio()

    best = max(candidates, key=lambda key: likeness(candidates[key]), default=None)
    return best if best is not None and likeness(candidates[best]) >= SAME else None


# --- Names in prose -------------------------------------------------------------------------------

_QUOTED = re.compile(r"`(?:anthropic-beta:\s*)?([^`\s]{1,160})`")
_MODEL = re.compile(r"claude-(?:opus|sonnet|haiku|instant|fable|mythos|v?\d)")
_VERSION_FIELDS: Final = frozenset({"bedrock-2023-05-31", "vertex-2023-10-16"})


def _names(text: str) -> tuple[str, ...]:
    """Return the beta names that a text quotes, each once; look-alikes are none."""
    found = (part for quoted in _QUOTED.findall(text) for part in quoted.strip(",").split(","))
    return tuple(dict.fromkeys(name for name in found if _is_beta(name)))


def _is_beta(name: str) -> bool:
    """Tell a beta from model ids, version fields and tool types (`computer_20251124`)."""
    if not is_well_formed(name) or name in _VERSION_FIELDS or _MODEL.match(name):
        return False
    return parse(name).release_date is not None and not re.search(r"_20\d{6}$", name)


# --- Claims ---------------------------------------------------------------------------------------

_FUTURE = re.compile(
    r"\b(?:will|'ll|would|may|might|plan(?:s|ned|ning)?|going to|retiring|upcoming|soon|starting|"
    r"deprecating|to be (?:retired|removed|deprecated)|scheduled)\b"
)
_NEGATED = re.compile(
    r"\b(?:not yet|has not|have not|is not|are not|isn't|aren't|haven't|hasn't|never)\b"
)
_GA = re.compile(
    r"\bno longer\s+(?:be\s+)?(?:requires?|required|needs?|needed|necessary)\b"
    r"|\b(?:is|are)\s+(?:now\s+)?(?:out of beta|generally available)\b"
    r"|\bwithout (?:a|the|any) beta header\b"
)
_RETIRED = re.compile(
    r"\bretired\b|\bno longer (?:accepted|supported|available|has any effect)\b"
    r"|\b(?:we've|we have|has been|have been) (?:removed|discontinued|shut down)\b"
)
_RETIRED_MODEL = re.compile(r"\bretired\b[^,`]*\bmodels?\b|\bmodels?\b[^,`]*\bretired\b")
_ENDS = re.compile(r"\b(?:retir|remov|sunset|discontinu|no effect|stop|no longer|end)")
_DEPRECATED = re.compile(r"\bdeprecated\b")
_IN_BETA = re.compile(
    r"\b(?:in (?:public |open |limited )?beta|public beta|research preview|beta header|beta)\b"
)
_ELSEWHERE = re.compile(r"\b(?:bedrock|vertex|foundry|aws|google cloud|azure)\b")
_CLOUDS: Final[tuple[tuple[re.Pattern[str], Place], ...]] = (
    (re.compile(r"\bbedrock\b"), Place(platform="bedrock")),
    (re.compile(r"\bvertex\b"), Place(platform="vertex")),
    (re.compile(r"\bfoundry\b"), Place(platform="foundry")),
)
_HERE = re.compile(r"\b(?:claude api|anthropic api|claude platform|first-party)\b")
_NAMED = re.compile(r"`(?:anthropic-beta:\s*)?[^`]+`")


@dataclass(frozen=True, slots=True)
class _Said:
    """What one sentence says of the betas it names, and where that holds."""

    field: str
    value: Json
    place: Place = ANYWHERE


def _claims(entries: Sequence[Entry]) -> tuple[Claim, ...]:
    """Read all entries, oldest first; the first that tells of a beta dates its announcement."""
    claims: list[Claim] = []
    announced: set[tuple[str, Place]] = set()
    for entry in sorted(entries, key=lambda entry: entry.on):
        told: dict[tuple[str, str, Place], Claim] = {}
        for claim in _entry_claims(entry):
            if claim.field == "announced_on" and (claim.beta, claim.place) in announced:
                continue
            told.setdefault((claim.beta, claim.field, claim.place), claim)
        announced |= {(claim.beta, claim.place) for claim in told.values()}
        claims += told.values()
    return tuple(claims)


def _entry_claims(entry: Entry) -> Iterator[Claim]:
    """Read one entry. A clear end or ga outweighs the mere mention that stands beside it."""
    weak: list[Claim] = []
    day: date | None = None
    for sentence in _sentences(entry.text):
        dates = [
            found for match in _DATE.finditer(_NAMED.sub("`", sentence)) if (found := _day(match))
        ]
        day = dates[0] if dates else day
        names = _names(sentence)
        for said in _say(sentence, day, entry.on) if names else ():
            made = [_claim(entry, name, said, sentence) for name in names]
            if said.value == "active" or said.field == "announced_on":
                weak += made
            else:
                yield from made
    yield from weak


def _sentences(text: str) -> list[str]:
    plain = re.sub(r"\[([^\[\]]*)\]\([^()\s]*\)", r"\1", text)
    # A semicolon parts statements too: the end of one thing is not that of the beta beside it.
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`*])|;\s+", plain)


def _say(sentence: str, day: date | None, on: date) -> list[_Said]:
    """Read one sentence that names betas. `day` is the date it, or one before it, speaks of.

    What it says of clouds that it names, and not of the Claude API, holds on those clouds only.
    """
    words = _NAMED.sub("`", sentence).lower().replace("’", "'")
    about_header = re.search(r"\bbeta|header\b", words)
    if not about_header or _NEGATED.search(words):
        return []
    places = [ANYWHERE]
    if _ELSEWHERE.search(words) and not _HERE.search(words):
        places = [place for pattern, place in _CLOUDS if pattern.search(words)]
    return [replace(said, place=place) for place in places for said in _meant(words, day, on)]


def _meant(words: str, day: date | None, on: date) -> list[_Said]:
    if _FUTURE.search(words):
        ends = _ENDS.search(words) or _DEPRECATED.search(words)
        return [_Said("sunset_on", day.isoformat())] if ends and day and day > on else []
    if re.search(r"\bif\b|\bunless\b|\bonce\b", words):
        return []
    if _RETIRED_MODEL.search(words):
        return []
    if _RETIRED.search(words):
        return [_Said("status", "retired"), _Said("retired_on", on.isoformat())]
    if _GA.search(words):
        return [_Said("status", "ga"), _Said("ga_on", on.isoformat())]
    if _DEPRECATED.search(words):
        return [_Said("status", "deprecated"), _Said("deprecated_on", on.isoformat())]
    if _IN_BETA.search(words) and not re.search(r"\b(?:instead of|replace|previously)\b", words):
        return [_Said("status", "active"), _Said("announced_on", on.isoformat())]
    return []


def _claim(entry: Entry, name: str, said: _Said, sentence: str) -> Claim:
    quote: Any = sentence if len(sentence) <= MAX_QUOTE else f"{sentence[: MAX_QUOTE - 1]}…"
    return Claim(
        beta=name,
        field=said.field,
        value=said.value,
        source="release-notes",
        basis="declared",
        at=datetime.combine(entry.on, time(), UTC),
        url=entry.url,
        quote=quote,
        place=said.place,
    )
