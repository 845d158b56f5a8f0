"""LiteLLM's beta config: which beta LiteLLM sends to which provider, and under which name.

Hidden here: where the file comes from (a URL, a file, or the newest stable `litellm` wheel on the
package index, of which only the file's own bytes are read), and how its provider columns map to our
places. The file is a gateway's opinion, so every claim has low confidence: a string says that LiteLLM
sends the beta there. Null says that it holds it back, which is a hint and no refusal: the claim's state is
`unknown`, its quote tells. A name that is missing says nothing.

The memo keeps the config as it was read, `{"config": {...}, "at": ...}`, so that an export can repeat
LiteLLM's own words without reading anything again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from registry.core.exports import read_litellm
from registry.core.facts import Claim, Cost, Finding, Json, rfc3339
from registry.core.names import is_well_formed, read_header
from registry.core.places import Place
from registry.sources import Progress, SourceError, fetch, public_url, shown
from registry.sources.index import File, Wheel, read_project

__all__ = ["MAX_CONFIG", "LiteLLMSource", "finding_of"]

_FORMAT: Final = 3
"""Shape of the memo. Raise it when the file is read differently, to read it again."""

MAX_CONFIG: Final = 4 * 1024 * 1024
_CONFIG: Final = "anthropic_beta_headers_config.json"
_PROJECT: Final = "litellm"

_COLUMNS: Final[Mapping[str, Place]] = {
    "anthropic": Place(platform="anthropic"),
    "azure_ai": Place(platform="foundry"),
    "bedrock": Place(platform="bedrock", api="invoke"),
    "bedrock_converse": Place(platform="bedrock", api="converse"),
    "bedrock_mantle": Place(platform="bedrock", api="mantle"),
    "vertex_ai": Place(platform="vertex"),
}
_OTHER_COLUMNS: Final = ("databricks",)
_HEADER_ONLY: Final = "_header_only"


class LiteLLMSource:
    """Reads LiteLLM's beta config; see the module's docstring for what it means."""

    name = "litellm"

    def __init__(self, location: str | None = None, index_url: str | None = None) -> None:
        """Read from `location` (a URL or a file), else from the package index at `index_url`.

        `index_url` is the root of the index's simple API (PEP 503), as pip knows it.
        """
        self.location = location
        self.index_url = index_url

    def collect(
        self, http: httpx2.Client, memo: Mapping[str, Json], now: datetime, progress: Progress
    ) -> Finding:
        """Read the config unless it is known. Raises `SourceError`."""
        old = memo if memo.get("format") == _FORMAT else {}
        if self.location is not None:
            return self._from_location(http, self.location, old, now)
        return self._from_index(http, old, now)

    def _from_location(
        self, http: httpx2.Client, location: str, old: Mapping[str, Json], now: datetime
    ) -> Finding:
        document = fetch(http, location, old.get("document"), max_bytes=MAX_CONFIG)
        memo = {**_kept(old), "document": document.memo}
        if document.body is None:
            return _unchanged(self.name, memo, document.cost, f"{shown(location)} has not changed.")
        web = urlsplit(location).scheme in ("http", "https")
        place = shown(location)
        origin = _Origin(place=place, at=now, url=place if web else None)
        return _finding(self.name, document.text, origin, memo, document.cost)

    def _from_index(self, http: httpx2.Client, old: Mapping[str, Json], now: datetime) -> Finding:
        page, files = read_project(http, self.index_url, _PROJECT, old.get("page") or {})
        memo = {**_kept(old), "page": dict(page.memo), "version": old.get("version")}
        if page.body is None:
            return _unchanged(self.name, memo, page.cost, "The package index has not changed.")
        wheel = _newest_wheel(files)
        version = str(wheel.version)
        if version == old.get("version"):
            detail = f"LiteLLM {version} is still the newest release."
            return _unchanged(self.name, memo, page.cost, detail)
        text, read = _read_config(http, wheel)
        cost = Cost(
            requests=page.cost.requests + read.requests,
            bytes=page.cost.bytes + read.bytes,
            bytes_whole=page.cost.bytes + (wheel.size or 0),
        )
        origin = _Origin(
            place=f"LiteLLM {version}",
            at=wheel.uploaded or now,
            url=public_url(wheel.url),
            version=version,
        )
        return _finding(self.name, text, origin, {**memo, "version": version}, cost)


def _kept(old: Mapping[str, Json]) -> dict[str, Json]:
    """Start a memo with what an unchanged place leaves as it was."""
    return {"format": _FORMAT, **{key: old[key] for key in ("config", "at") if key in old}}


def finding_of(source: str, text: str, place: str, now: datetime) -> Finding:
    """Read a config that somebody hands over, as `source`; `place` names it in messages.

    Raises `SourceError` for what is no such config at all; what else is wrong in it is left out.
    """
    return _finding(source, text, _Origin(place=place, at=now), {"format": _FORMAT}, Cost())


def _unchanged(source: str, memo: Mapping[str, Json], cost: Cost, detail: str) -> Finding:
    return Finding(source=source, unchanged=True, memo=memo, cost=cost, detail=detail)


# --- What the config says -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Where a config comes from: `place` for messages, the rest for its claims."""

    place: str
    at: datetime
    url: str | None = None
    version: str | None = None


@dataclass(slots=True)
class _Skipped:
    """How many members of the config could not be used."""

    values: int = 0
    names: int = 0


def _finding(
    source: str, text: str, origin: _Origin, memo: Mapping[str, Json], cost: Cost
) -> Finding:
    config = _parse(text, origin.place)
    skipped = _Skipped()
    claims = tuple(_claims(source, config, origin, skipped))
    names = len({claim.beta for claim in claims})
    parts = [f"{names} betas in {origin.place}"]
    if skipped.values:
        parts.append(f"{skipped.values} values of a wrong type skipped")
    if skipped.names:
        parts.append(f"{skipped.names} malformed names skipped")
    detail = ", ".join(parts) + "."
    kept = {"config": read_litellm(config, lenient=True).to_json(), "at": rfc3339(origin.at)}
    return Finding(
        source=source, claims=claims, complete=True, memo={**memo, **kept}, cost=cost, detail=detail
    )


def _parse(text: str, place: str) -> Mapping[str, Any]:
    """Read the config and check its shape: one object whose provider columns are objects."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{place} is not JSON; expected LiteLLM's beta config.") from error
    if not isinstance(config, dict):
        raise SourceError(f"{place} is not one JSON object; expected LiteLLM's beta config.")
    wrong = [name for name in _provider_columns(config) if not isinstance(config[name], dict)]
    if wrong:
        raise SourceError(f"{place}: column {wrong[0]!r} is not an object of name to name or null.")
    if not any(_column(config, name) for name in _COLUMNS):
        raise SourceError(
            f"{place} has no provider column that is known ({', '.join(_COLUMNS)}); is it "
            "LiteLLM's beta config?"
        )
    return config


def _provider_columns(config: Mapping[str, Any]) -> Iterator[str]:
    """Name the members of the config that must be columns."""
    providers = {_canonical(config, name) for name in (*_COLUMNS, *_OTHER_COLUMNS)}
    for name in config:
        if name.removesuffix(_HEADER_ONLY) in providers:
            yield name


def _canonical(config: Mapping[str, Any], provider: str) -> str:
    """Follow the config's `provider_aliases` {provider: column} by one step, as LiteLLM does."""
    aliases = config.get("provider_aliases")
    column = aliases.get(provider) if isinstance(aliases, dict) else None
    return column if isinstance(column, str) else provider


def _column(config: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    column = config.get(_canonical(config, provider))
    return column if isinstance(column, dict) else {}


@dataclass(frozen=True, slots=True)
class _Word:
    """What one column says of one beta: the names that LiteLLM sends, none for null."""

    column: str
    sends: tuple[str, ...]


def _claims(
    source: str, config: Mapping[str, Any], origin: _Origin, skipped: _Skipped
) -> Iterator[Claim]:
    for provider, place in _COLUMNS.items():
        words: dict[str, list[_Word]] = {}
        for name, word in _words(config, provider, skipped):
            words.setdefault(name, []).append(word)
        for name, said in (*words.items(), *_sent_only(words)):
            for field, value in _meaning(name, said):
                yield Claim(
                    beta=name,
                    field=field,
                    value=value,
                    source=source,
                    basis="litellm",
                    at=origin.at,
                    confidence="low",
                    version=origin.version,
                    url=origin.url,
                    quote="; ".join(dict.fromkeys(_quote(name, word) for word in said)),
                    place=place,
                )


def _words(
    config: Mapping[str, Any], provider: str, skipped: _Skipped
) -> Iterator[tuple[str, _Word]]:
    """Read one provider's column, and the names that it takes in the header only."""
    column = _canonical(config, provider)
    for key in (column, column + _HEADER_ONLY):
        members = config.get(key) or {}
        for name, value in members.items():
            sends = read_header(value) if isinstance(value, str) else ()
            if not is_well_formed(name):
                skipped.names += 1
            elif value is not None and not (sends and all(map(is_well_formed, sends))):
                skipped.values += 1
            elif value is not None or key == column:
                # Null in a header-only column only says that the name has no such exception.
                yield name, _Word(key, sends)


def _sent_only(words: Mapping[str, list[_Word]]) -> Iterator[tuple[str, list[_Word]]]:
    """Find names that are sent in the place of others and that have no word of their own."""
    found: dict[str, list[_Word]] = {}
    for said in words.values():
        for word in said:
            for name in word.sends:
                if name not in words:
                    found.setdefault(name, [_Word(word.column, (name,))])
    yield from found.items()


def _meaning(name: str, said: list[_Word]) -> Iterator[tuple[str, Json]]:
    """Say what a column means, with the names that it takes in the header only."""
    sending = next((word for word in said if word.sends), None)
    yield "state", "supported" if sending else "unknown"
    if sending and sending.sends != (name,):
        yield "names", list(sending.sends)


def _quote(name: str, word: _Word) -> str:
    value = json.dumps(",".join(word.sends)) if word.sends else "null"
    return f"{word.column}: {json.dumps(name)}: {value}"


# --- The newest wheel -----------------------------------------------------------------------------


def _newest_wheel(files: Sequence[File]) -> File:
    """Choose the smallest wheel of the highest stable version that is not yanked."""
    stable = [f for f in files if f.is_wheel and not f.yanked and not f.version.is_prerelease]
    if not stable:
        raise SourceError(f"The package index lists no stable wheel of {_PROJECT}.")
    newest = max(file.version for file in stable)
    same = (file for file in stable if file.version == newest)
    return min(same, key=lambda file: (file.size or 0, file.url))


def _read_config(http: httpx2.Client, file: File) -> tuple[str, Cost]:
    """Read the config out of a wheel: its directory, then the one file."""
    wheel = Wheel(http, file)
    named = [name for name in wheel.names() if name.rpartition("/")[2] == _CONFIG]
    if not named:
        raise SourceError(f"LiteLLM {file.version} holds no {_CONFIG}.")
    chosen = min(named, key=len)
    return wheel.read([chosen])[chosen], wheel.cost
