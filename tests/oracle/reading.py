"""Reads the oracle's table (`rows.txt`, which says how it is written) and builds the facts of a row."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, cast

from registry.core.changes import derive_feature
from registry.core.facts import BASES, UNDATED, Basis, Claim, Json, Snapshot
from registry.core.lifecycle import Standing
from registry.core.names import parse
from registry.core.places import KNOWN_PLACES, Place, place_of
from tests.factories import NOW

__all__ = ["Question", "Row", "read", "snapshot_of_row"]

TABLE: Final = Path(__file__).with_name("rows.txt")
NAMES: Final = {
    "dig1": "dig-2026-01-01", "dig2": "dig-2026-06-01", "dig3": "dig-2026-09-01",
    "sort": "sort-2026-02-02", "bag": "bag-2026-03-03",
}  # fmt: skip
FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
SOURCES: Final[Mapping[str, str]] = {"declared": "docs", "probed": "target:t"}


@dataclass(frozen=True)
class Question:
    """One line of the table: what is asked of one row's facts, and what the contract says to it."""

    asked: tuple[tuple[str, str], ...]
    place: Place
    policy: str
    options: Mapping[str, str]
    stale: bool
    verdicts: tuple[frozenset[str], ...]
    expected: Mapping[str, str]
    line: int
    text: str


@dataclass
class Row:
    """Some facts, and the questions asked of them."""

    title: str
    read_on: datetime = NOW
    claims: list[Claim] = field(default_factory=list)
    standings: list[tuple[str, Standing]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


def read() -> list[Row]:
    """Return all rows of the table."""
    rows: list[Row] = []
    body = TABLE.read_text().split("\n== ", 1)
    offset = body[0].count("\n") + 1
    for number, line in enumerate(body[1].splitlines()[1:], start=offset + 2):
        text = line.strip()
        if not text or text.startswith("== "):
            continue
        if not line.startswith(" "):
            rows.append(Row(text))
        elif text.startswith("? "):
            rows[-1].questions.append(_question(text, number))
        elif text.startswith("read "):
            rows[-1].read_on = _moment(text.split()[1])
        elif text.split()[1] == "target":
            rows[-1].standings.append(_standing(text))
        else:
            rows[-1].claims += _claims(text)
    return rows


def snapshot_of_row(row: Row) -> Snapshot:
    """Derive what is known from the facts of a row, as the registry does."""
    known: dict[str, dict[str, list[Claim]]] = defaultdict(lambda: defaultdict(list))
    found: dict[str, list[Standing]] = defaultdict(list)
    for claim in row.claims:
        known[parse(claim.beta).feature][claim.beta].append(claim)
    for name, standing in row.standings:
        known[parse(name).feature][name] += []
        found[name].append(standing)
    betas = {
        name: derived.beta
        for made in known.values()
        for name, derived in derive_feature(made, row.read_on, {}, found).items()
    }
    return Snapshot(revision=7, as_of=row.read_on, betas=betas)


# --- Words ----------------------------------------------------------------------------------------

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")


def _moment(text: str) -> datetime:
    return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)


def _name(text: str) -> str:
    return NAMES.get(text, text)


def _place(text: str) -> Place:
    """Read `@vertex(model=claude-haiku-4-5)`."""
    found = re.fullmatch(r"@([a-z-]+)(?:\((.*)\))?", text)
    assert found, text
    parts: dict[str, str | None] = {}
    for part in filter(None, (found[2] or "").split(",")):
        word, _, parts[word] = part.partition("=")
    whole = KNOWN_PLACES.get(found[1])
    if whole is not None:
        parts |= {"platform": whole.platform, "api": whole.api, "hosting": whole.hosting}
    elif found[1] != "any":
        parts["platform"] = found[1]
    return place_of(**parts)


def _claims(text: str) -> Iterator[Claim]:
    """Read `dig1 status active, gate public @vertex reported 2026-08-03`."""
    name, rest = text.split(" ", 1)
    tail: dict[str, Any] = {"basis": "declared", "at": FIRST, "source": None}
    facts = []
    for part in re.split(r",\s*(?![^\[(]*[\])])", rest):
        words = re.findall(r"\[[^\]]*\]|\S+", part)
        facts.append((words[0], _value(words[0], words[1])))
        tail |= _tail(words[2:])
    basis = cast(Basis, tail["basis"])
    tail["source"] = tail["source"] or SOURCES.get(basis, basis)
    for key, value in facts:
        yield Claim(beta=_name(name), field=key, value=value, **tail)


def _tail(words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    left = iter(words)
    for word in left:
        if word.startswith("@"):
            found["place"] = _place(word)
        elif word in BASES:
            found["basis"] = word
        elif word == "from":
            found["source"] = next(left)
        elif word == "until":
            found["until"] = _moment(next(left))
        elif word == "unsourced":
            found["at"] = UNDATED
        elif word == "low":
            found["confidence"] = "low"
        else:
            assert _DAY.fullmatch(word), words
            found["at"] = _moment(word)
    return found


def _value(key: str, text: str) -> Json:
    if text.startswith("["):
        members = text.strip("[]").split()
        if key in ("requires", "conflicts_with"):
            links = (member.partition("/") for member in members)
            return [{"beta": _name(beta), "endpoint": on or None} for beta, _, on in links]
        return members
    if text in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text]
    return _name(text)


def _standing(text: str) -> tuple[str, Standing]:
    """Read `dig1 target t refused @anthropic 2026-11-20 accepted 2026-10-01`."""
    name, _, target, state, place, day, *more = text.split()
    at, where = _moment(day), _place(place)
    before = _moment(more[more.index("accepted") + 1]) if "accepted" in more else None
    accepted = at if state == "supported" else before
    standing = Standing(
        target=target, platform=where.platform or "anthropic", api=where.api, hosting=where.hosting,
        region=where.region, model=where.model or "claude-test-1", endpoint=where.endpoint or "messages",
        state=cast(Any, state), since=at, checked_at=at, accepted_at=accepted,
        reliable="blind" not in more,
    )  # fmt: skip
    return _name(name), standing


def _question(text: str, line: int) -> Question:
    """Read `? dig1 + sort @vertex on_unproven=drop : ok + refused; use dig2`."""
    asked, told = text[2:].split(" : ", 1)
    words = asked.split()
    place = next((_place(word) for word in words if word.startswith("@")), None)
    options = dict(word.split("=") for word in words if re.match(r"(policy|on_\w+)=", word))
    names = [word for word in words if not re.match(r"@|\+$|stale$|\w+=", word)]
    if names[0] == "feature":
        items = tuple(("feature", name) for name in names[1:])
    else:
        items = tuple(("beta", _name(name)) for name in names)
    first, *rest = [part.strip() for part in told.split(";")]
    key = first.split()[0]
    if key in ("sends", "choices"):
        rest, first = [first, *rest], ""
    verdicts = tuple(frozenset(one.strip().split("|")) for one in first.split(" + ") if one)
    expected = dict(part.split(" ", 1) for part in rest)
    return Question(
        asked=items,
        place=place or Place(platform="anthropic"),
        policy=options.pop("policy", ""),
        options=options,
        stale="stale" in words,
        verdicts=verdicts,
        expected=expected,
        line=line,
        text=text[2:],
    )


def names_in(text: str) -> list[str]:
    """Return the names in an expectation; `nothing` is none."""
    return [] if text == "nothing" else [_name(word) for word in text.split()]


def with_full_names(text: str) -> str:
    """Return a text with the short names of the table written out."""
    return re.sub(r"\b(dig[123]|sort|bag)\b", lambda found: NAMES[found[0]], text)


def place_parts(place: Place) -> dict[str, Any]:
    """Return a place as the parts of a request."""
    return asdict(replace(place, platform=place.platform or "anthropic"))
