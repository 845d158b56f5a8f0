"""The catalog: facts that people gathered, bundled with every release or read from a URL.

The format is one JSON object, `{"format": "beta-registry/catalog-2", "as_of": ..., "claims": [...]}`,
with one claim a line, so that two versions can be compared by eye. A claim's members are those of
`facts.Claim`; what has its default value is left out. Of a place only what is said stands there,
`{"platform":"vertex"}`; `at` is null where no day is stated, and `"unsourced": true` marks a claim that cites
nothing. The same format carries a whole registry from one place to another (`export`, `import`), so writing
and reading it loses nothing. Format 1, which named platforms in the field, is read too.

A catalog read as a source only says what anyone could know: the operator's word, what was probed
with some key, and who uses what speak for the registry that they come from, and are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, fields, replace
from datetime import UTC, datetime, time
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, cast

from registry.core.claims import check_claim, placed
from registry.core.errors import Invalid
from registry.core.facts import UNDATED, Claim, Cost, Finding, Json, parse_time, rfc3339
from registry.core.places import PARTS, Place, place_of
from registry.sources import MAX_DOCUMENT, Document, Progress, SourceError, fetch, shown

if TYPE_CHECKING:
    import httpx2

__all__ = ["FORMAT", "CatalogSource", "bundled_catalog", "dump_catalog", "parse_catalog"]

FORMAT: Final = "beta-registry/catalog-2"
"""Raise the number whenever a reader of the old format would misread or refuse the new one."""

_READ: Final = (FORMAT, "beta-registry/catalog-1")

MAX_CLAIMS: Final = 200_000

_BUNDLED: Final = "bundled"
_LOCAL: Final = frozenset({"operator", "probed", "traffic", "usage"})
"""Bases that speak only for the registry in which they were learned."""


class CatalogSource:
    """Reads a catalog: the bundled one, or the one at `location` (a URL or a file)."""

    name = "catalog"

    def __init__(self, location: str | None = None) -> None:
        self.location = location

    def collect(
        self, http: httpx2.Client, memo: Mapping[str, Json], now: datetime, progress: Progress
    ) -> Finding:
        """Read the catalog unless it is as `memo` remembers it. Raises `SourceError`."""
        del now  # Its claims carry their own days.
        document = fetch(http, self.location, memo) if self.location else _bundled(memo)
        if document.body is None:
            return Finding(
                source=self.name,
                complete=True,
                unchanged=True,
                memo={**memo, **document.memo},
                cost=document.cost,
                detail=f"The catalog of {memo.get('as_of', 'an unknown day')} has not changed.",
            )
        try:
            as_of, claims = parse_catalog(document.body)
        except Invalid as error:
            raise SourceError(f"{shown(document.location)}: {error.detail}") from error
        progress(1, 1)
        return _finding(document, as_of, claims)


def bundled_catalog() -> bytes:
    """Return the catalog that came with this release, as it stands in the package."""
    try:
        return (files("registry") / "data" / "catalog.json").read_bytes()
    except OSError as error:
        raise SourceError(
            "The bundled catalog is missing from this installation; install beta-registry again."
        ) from error


def _bundled(memo: Mapping[str, Json]) -> Document:
    body = bundled_catalog()
    digest = hashlib.sha256(body).hexdigest()
    same = memo.get("location") == _BUNDLED and memo.get("digest") == digest
    return Document(
        location=_BUNDLED,
        body=None if same else body,
        memo={"location": _BUNDLED, "digest": digest},
        cost=Cost(),
    )


def _finding(document: Document, as_of: datetime, claims: tuple[Claim, ...]) -> Finding:
    # Whoever said it first, here it is the catalog that says it; the claim's URL leads to the origin.
    ours = tuple(
        claim if claim.source == CatalogSource.name else replace(claim, source=CatalogSource.name)
        for claim in claims
        if claim.basis not in _LOCAL
    )
    betas = len({claim.beta for claim in ours})
    left = len(claims) - len(ours)
    detail = f"The catalog of {_moment(as_of)} holds {len(ours):,} claims on {betas:,} betas."
    if left:
        detail += f" {left:,} claims that speak only for another registry were left out."
    return Finding(
        source=CatalogSource.name,
        claims=ours,
        complete=True,
        memo={**document.memo, "as_of": _moment(as_of)},
        cost=document.cost,
        detail=detail,
    )


# --- The format -----------------------------------------------------------------------------------

_MEMBERS: Final = tuple(member.name for member in fields(Claim))
_DEFAULTS: Final[Mapping[str, Json]] = {
    member.name: member.default for member in fields(Claim) if member.default is not MISSING
}
_REQUIRED: Final = tuple(name for name in _MEMBERS if name not in _DEFAULTS)


def dump_catalog(as_of: datetime, claims: Iterable[Claim]) -> str:
    """Write a catalog: the inverse of `parse_catalog`. The order of the claims is kept.

    Equal input gives equal text, byte by byte; sort the claims for a file that is compared.
    """
    lines = ",\n".join(_json(_to_json(claim)) for claim in claims)
    opening = f'{{"format":{_json(FORMAT)},"as_of":{_json(_moment(as_of))},"claims":['
    return f"{opening}\n{lines}\n]}}\n" if lines else f"{opening}]}}\n"


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _to_json(claim: Claim) -> dict[str, Json]:
    made: dict[str, Json] = {}
    for name in _MEMBERS:
        value = getattr(claim, name)
        if name in _DEFAULTS and value == _DEFAULTS[name]:
            continue
        if isinstance(value, Place):
            value = {part: word for part, word in asdict(value).items() if word is not None}
        made[name] = _moment(value) if isinstance(value, datetime) else value
    if claim.day is None:
        made["at"] = None
        if claim.url is None:
            made["unsourced"] = True
    return made


def _moment(moment: datetime) -> str:
    """Print the first moment of a day (UTC) as that day, any other as RFC 3339."""
    moment = moment.astimezone(UTC)
    return moment.date().isoformat() if moment.time() == time.min else rfc3339(moment)


def parse_catalog(text: str | bytes) -> tuple[datetime, tuple[Claim, ...]]:
    """Read a catalog: the moment to which its facts reach, and its claims in their order.

    Every claim is checked (`claims.check_claim`). Raises `Invalid` (slug `invalid-catalog`) with one
    sentence that names the first claim that cannot be used, and why.
    """
    data = _load(text)
    if data.get("format") not in _READ:
        raise _invalid(f"its format is {_shown(data.get('format'))}, not {FORMAT}")
    try:
        as_of = _parse_moment(data.get("as_of"), "as_of")
    except Invalid as error:
        raise _invalid(_inside(error)) from error
    listed = data.get("claims")
    if not isinstance(listed, list) or len(listed) > MAX_CLAIMS:
        raise _invalid(f"its claims are not a list of at most {MAX_CLAIMS:,}")
    read = (_claim(number, member) for number, member in enumerate(listed, start=1))
    return as_of, tuple(claim for several in read for claim in several)


def _load(text: str | bytes) -> dict[str, Json]:
    """Read the outer object; nothing is decoded before its size is known."""
    if len(text) > MAX_DOCUMENT:
        raise _invalid(f"it is larger than {MAX_DOCUMENT:,} bytes")
    try:
        data = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise _invalid("it is not UTF-8 text") from error
    except RecursionError as error:
        raise _invalid("it is nested too deeply") from error
    except ValueError as error:
        # A number of thousands of digits is a ValueError too, without a line.
        line = getattr(error, "lineno", None)
        raise _invalid(f"it is not JSON{f' (line {line})' if line else ''}") from error
    if not isinstance(data, dict):
        raise _invalid("it is not a JSON object")
    return data


def _claim(number: int, data: Json) -> list[Claim]:
    """Read what stands at `number`, counted from 1: one claim, or several that format 1 wrote as one."""
    try:
        claims = list(placed([_read_claim(data)]))
        for claim in claims:
            check_claim(claim)
    except Invalid as error:
        beta = data.get("beta") if isinstance(data, dict) else None
        named = f" ({_shown(beta)})" if isinstance(beta, str) else ""
        raise _invalid(f"claim {number}{named} is wrong: {_inside(error)}") from error
    return claims


def _read_claim(data: Json) -> Claim:
    """Make the claim. Types of members that `check_claim` looks at are left to it."""
    if not isinstance(data, dict):
        raise Invalid("It is not an object.")
    for name in _REQUIRED:
        if name not in data:
            raise Invalid(f"It has no `{name}`.")
    unknown = sorted(set(data) - set(_MEMBERS) - {"unsourced"})
    if unknown:
        raise Invalid(f"It has a member {_shown(unknown[0])} that no claim has.")
    made = dict(data)
    unsourced = made.pop("unsourced", False)
    if unsourced is not (made["at"] is None and made.get("url") is None):
        raise Invalid("`unsourced` is true exactly where a claim has neither `at` nor `url`.")
    made["at"] = UNDATED if data["at"] is None else _parse_moment(data["at"], "at")
    made["place"] = _read_place(data.get("place", {}))
    if data.get("until") is not None:
        made["until"] = _parse_moment(data["until"], "until")
    return Claim(**cast(Any, made))


def _read_place(data: Json) -> Place:
    if not isinstance(data, dict) or not set(data) <= set(PARTS):
        raise Invalid(f"`place` must be an object of {', '.join(PARTS)}.")
    if not all(isinstance(word, str) and word for word in data.values()):
        raise Invalid("`place` holds what is said only, each part as text.")
    return place_of(**data)


def _parse_moment(value: Json, what: str) -> datetime:
    try:
        if isinstance(value, str):
            return parse_time(value)
    except (ValueError, OverflowError):
        pass
    raise Invalid(f"`{what}` is {_shown(value)}; it must be a date or a time in RFC 3339.")


def _shown(value: Json) -> str:
    return ascii(value)[:60] if isinstance(value, str | bool | None) else "not text"


def _inside(error: Invalid) -> str:
    """Make an inner refusal the second half of a sentence."""
    detail = error.detail.removesuffix(".")
    return detail[:1].lower() + detail[1:]


def _invalid(why: str) -> Invalid:
    return Invalid(f"The catalog cannot be used: {why}.", slug="invalid-catalog")
