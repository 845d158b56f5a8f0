"""What is known, in the formats of others: LiteLLM's beta config and Renovate's datasource.

    litellm(snapshot, theirs)   what LiteLLM's filter shall let through, a word for every name and provider
    parse_litellm(text)         LiteLLM's file, checked
    differences(...)            their file beside ours: every difference in effect, and the reason for it
    renovate(snapshot, feature) the dates of a feature as versions

LiteLLM drops a name that a column does not hold, without a word; so every known name stands in every column.
It checks no types and breaks its requests on a wrong one; so every value here is one name or null. One name
is also all that its format carries: a comma would end up inside a list in the body. Of several names for one
beta the one that LiteLLM sends is kept, else the first; the others stand in the column by themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from typing import Final

from registry.core import resolution
from registry.core.errors import Invalid
from registry.core.facts import Beta, Json, PlatformState, Snapshot, rfc3339
from registry.core.names import is_well_formed, read_header, sort_key
from registry.core.resolution import Place, view_at

__all__ = [
    "COLUMNS",
    "HEADER_ONLY",
    "Difference",
    "LiteLLM",
    "Verdict",
    "differences",
    "dump_litellm",
    "litellm",
    "parse_litellm",
    "read_litellm",
    "renovate",
]

COLUMNS: Final[Mapping[str, Place | None]] = {
    "anthropic": Place(platform="anthropic"),
    "azure_ai": Place(platform="foundry"),
    "bedrock": Place(platform="bedrock", api="invoke"),
    "bedrock_converse": Place(platform="bedrock", api="invoke"),
    "bedrock_mantle": Place(platform="bedrock", api="mantle"),
    "vertex_ai": Place(platform="vertex"),
    "databricks": None,
}
"""LiteLLM's providers, and where on our platforms each sends; None where nothing of ours can speak."""

HEADER_ONLY: Final = "_header_only"
"""Ends the column of the names that a provider takes in the header, and not in the body's list."""

MAX_FILE: Final = 4 * 1024 * 1024
MAX_NAMES: Final = 10_000

_OURS: Final = ("operator", "probed", "declared", "sdk")
"""Bases that are evidence of our own; LiteLLM's file, usage and what is inferred from them are not."""

_DESCRIPTION: Final = (
    "Beta headers by provider: the name that comes in, and the name that goes out or null. Written by "
    "beta-registry from its evidence; LiteLLM's own file has not been read."
)

Column = Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLM:
    """LiteLLM's beta config, checked: whatever it names as a provider's column, aliases followed."""

    columns: Mapping[str, Column] = field(default_factory=dict)
    header_only: Mapping[str, Column] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """All names that come in."""
        columns = (*self.columns.values(), *self.header_only.values())
        return frozenset(name for column in columns for name in column)

    def to_json(self) -> dict[str, Json]:
        """Print it in LiteLLM's format, names in order."""
        made: dict[str, Json] = {"description": self.description} if self.description else {}
        made |= {"provider_aliases": dict(self.aliases)} if self.aliases else {}
        made |= {provider: _ordered(column) for provider, column in self.columns.items()}
        return made | {f"{name}{HEADER_ONLY}": _ordered(c) for name, c in self.header_only.items()}

    def updated(self, newer: LiteLLM) -> LiteLLM:
        """Return both together; where both speak, the newer one counts."""
        return LiteLLM(
            columns=_merged(self.columns, newer.columns),
            header_only=_merged(self.header_only, newer.header_only),
            aliases={**self.aliases, **newer.aliases},
            description=newer.description or self.description,
        )


def _ordered(column: Column) -> dict[str, str | None]:
    return {name: column[name] for name in sorted(column, key=sort_key)}


def _merged(older: Mapping[str, Column], newer: Mapping[str, Column]) -> dict[str, Column]:
    return {
        name: {**older.get(name, {}), **newer.get(name, {})}
        for name in dict.fromkeys((*older, *newer))
    }


# --- Reading their file ---------------------------------------------------------------------------


def parse_litellm(text: bytes) -> LiteLLM:
    """Read a file of LiteLLM's. Raises `Invalid` with one sentence that names the key that is wrong."""
    if len(text) > MAX_FILE:
        raise _wrong(f"it is larger than {MAX_FILE:,} bytes")
    try:
        document = json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _wrong("it is not UTF-8 text") from None
    except RecursionError:
        raise _wrong("it is nested too deeply") from None
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise _wrong(f"it is not JSON{f' (line {line})' if line else ''}") from None
    return read_litellm(document)


def dump_litellm(config: LiteLLM) -> str:
    """Print a file of LiteLLM's: the inverse of `parse_litellm`, without its remarks."""
    return json.dumps(config.to_json(), indent=2) + "\n"


def read_litellm(document: Json, *, lenient: bool = False) -> LiteLLM:
    """Read LiteLLM's config. `lenient` leaves out what cannot be used.

    Else raises `Invalid` (slug `invalid-litellm-config`) with one sentence that names the key.
    """
    if not isinstance(document, Mapping):
        raise _wrong("it is not one JSON object")
    return _Reader(document, lenient).read()


class _Reader:
    """Reads one document; what is wrong in it is refused, or left out where `lenient`."""

    def __init__(self, document: Mapping[str, Json], lenient: bool) -> None:
        self._document, self._lenient = document, lenient

    def read(self) -> LiteLLM:
        """Read it all."""
        aliases = self._aliases()
        members = {key: self._column(key) for key in self._document if self._is_column(key)}
        for provider in COLUMNS:  # an alias moves a provider's column, and with it its exceptions
            for end in ("", HEADER_ONLY):
                target = aliases.get(provider, provider) + end
                if target in members:
                    members[provider + end] = members[target]
        columns = {key: it for key, it in members.items() if not key.endswith(HEADER_ONLY)}
        if columns.keys().isdisjoint(COLUMNS) and not self._lenient:
            raise _wrong(f"it has no provider column that is known ({', '.join(COLUMNS)})")
        description = self._document.get("description")
        if not isinstance(description, str | None):
            self._refuse("description", f"is {_kind(description)}, and must be text")
        return LiteLLM(
            columns=columns,
            header_only={
                key.removesuffix(HEADER_ONLY): column
                for key, column in members.items()
                if key.endswith(HEADER_ONLY)
            },
            aliases={name: target for name, target in aliases.items() if name not in columns},
            description=description if isinstance(description, str) else None,
        )

    def _is_column(self, key: str) -> bool:
        """Say whether a member is a column; plain text elsewhere is a remark, as in LiteLLM's types."""
        if key in ("description", "provider_aliases"):
            return False
        remark = isinstance(self._document[key], str)
        return not remark or key.removesuffix(HEADER_ONLY) in COLUMNS

    def _aliases(self) -> dict[str, str]:
        given = self._document.get("provider_aliases", {})
        if not isinstance(given, Mapping):
            self._refuse("provider_aliases", f"is {_kind(given)}, and must be an object")
            return {}
        for name, column in given.items():
            if not isinstance(column, str):
                why = f"is {_kind(column)}, and must be the name of a column"
                self._refuse(f"provider_aliases.{name[:60]}", why)
        return {name: column for name, column in given.items() if isinstance(column, str)}

    def _column(self, key: str) -> dict[str, str | None]:
        column = self._document[key]
        if not isinstance(column, Mapping):
            why = f"is {_kind(column)}, and must be an object of name to name or null"
            self._refuse(key[:60], why)
            return {}
        if len(column) > MAX_NAMES:
            self._refuse(key[:60], f"has more than {MAX_NAMES:,} names")
            return {}
        return {name: sends for name, sends in column.items() if self._fits(key, name, sends)}

    def _fits(self, key: str, name: str, sends: Json) -> bool:
        if not is_well_formed(name):
            self._refuse(f"{key[:60]}.{name[:60]}", "is not the name of a beta")
        elif sends is not None and not _is_sendable(sends):
            why = f"is {_kind(sends)}, and must be the name of a beta or null"
            self._refuse(f"{key[:60]}.{name}", why)
        else:
            return True
        return False

    def _refuse(self, key: str, why: str) -> None:
        if not self._lenient:
            raise _wrong(f"`{ascii(key)[1:-1]}` {why}")


def _is_sendable(value: Json) -> bool:
    names = read_header(value) if isinstance(value, str) else ()
    return bool(names) and all(map(is_well_formed, names))


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return ascii(value[:40])
        case list():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return "a number"


def _wrong(why: str) -> Invalid:
    return Invalid(f"LiteLLM's beta config cannot be used: {why}.", slug="invalid-litellm-config")


# --- Deciding -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one column shall send for one name, and why; `own`: evidence of ours says so."""

    sends: str | None
    why: str
    own: bool


def litellm(snapshot: Snapshot, theirs: LiteLLM | None = None) -> LiteLLM:
    """Say what LiteLLM shall send: our evidence first, then LiteLLM's own word, then caution.

    `theirs` is LiteLLM's file as it was read last. Where neither speaks, a name passes for `anthropic`,
    which tells the caller itself what it does not take, and nowhere else.
    """
    book = _Book(snapshot, theirs or LiteLLM())
    columns = {provider: book.column(provider) for provider in book.providers}
    only = {provider: book.header_only(provider) for provider in book.theirs.header_only}
    return LiteLLM(
        columns=columns,
        header_only=only,
        aliases=book.theirs.aliases,
        description=book.theirs.description or _DESCRIPTION,
    )


class _Book:
    """Looks verdicts up: a snapshot and LiteLLM's file side by side."""

    def __init__(self, snapshot: Snapshot, theirs: LiteLLM) -> None:
        self.theirs = theirs
        self.providers = tuple(dict.fromkeys((*COLUMNS, *theirs.columns)))
        self._snapshot = snapshot
        self._also = {
            (platform, other): beta
            for beta in snapshot.betas.values()
            for platform, known in beta.platforms.items()
            if known.basis in _OURS
            for other in known.names
            if other not in snapshot.betas
        }
        self.names = frozenset(snapshot.betas) | theirs.names | {name for _, name in self._also}

    def column(self, provider: str) -> dict[str, str | None]:
        return {name: self.verdict(provider, name).sends for name in self.names}

    def header_only(self, provider: str) -> dict[str, str | None]:
        """Repeat LiteLLM's exceptions for the header, but for what we know to fail there."""
        said = self.theirs.header_only[provider]
        return {name: None if self._dead(provider, name) else sends for name, sends in said.items()}

    def _dead(self, provider: str, name: str) -> bool:
        own = self._own(provider, name)
        return own is not None and own.sends is None

    def verdict(self, provider: str, name: str) -> Verdict:
        """Decide for one name and one provider."""
        own, said = self._own(provider, name), self.theirs.columns.get(provider, {})
        if own is not None and not (own.sends and self._is_exception(provider, name)):
            return own
        if name in said:
            return Verdict(said[name], "No evidence of ours: LiteLLM's own value.", False)
        if provider == "anthropic":
            return Verdict(name, "Neither we nor LiteLLM know better: passes.", False)
        return Verdict(None, "Neither we nor LiteLLM know that it is taken there.", False)

    def _is_exception(self, provider: str, name: str) -> bool:
        """Say whether LiteLLM holds a name back that we only know to be taken near there.

        Two cases: it goes into the header and not into the body's list; or it is Bedrock's Converse API,
        for which a word on InvokeModel is only the next best. The operator's word is for all of them.
        """
        if self.theirs.columns.get(provider, {}).get(name, "") is not None:
            return False
        if self.theirs.header_only.get(provider, {}).get(name) is not None:
            return True
        beta = self._snapshot.betas.get(name)
        stated = beta is not None and beta.platforms["bedrock"].basis == "operator"
        return provider == "bedrock_converse" and not stated

    def _own(self, provider: str, name: str) -> Verdict | None:
        """Return what our own evidence says, if it says anything."""
        place = COLUMNS.get(provider)
        beta = self._snapshot.betas.get(name)
        if beta is None and place is not None:
            beta = self._also.get((place.platform, name))
        if beta is None:
            return None
        if place is None:
            return _retired(beta) if beta.status == "retired" and not beta.accepted else None
        known = beta.platforms.get(place.platform, PlatformState())
        ours = known if self._speaks(known, place) else PlatformState(names=(beta.name,))
        verdict = _verdict(replace(beta, platforms={place.platform: ours}), place, ours)
        if verdict is None or verdict.sends is None:
            return verdict
        if name != beta.name:
            return replace(verdict, sends=name)
        return self._with_one_name(verdict, ours, provider, name)

    def _speaks(self, known: PlatformState, place: Place) -> bool:
        """Say whether a state is evidence of ours for this API: a probe speaks only for its own."""
        target = self._snapshot.targets.get(known.target or "", {})
        asked = (target.get("api") or "invoke") if target else place.api
        other_api = known.basis == "probed" and place.platform == "bedrock" and asked != place.api
        return known.basis in _OURS and not other_api

    def _with_one_name(
        self, verdict: Verdict, known: PlatformState, provider: str, name: str
    ) -> Verdict:
        names = known.names or (name,)
        if len(names) == 1:
            return replace(verdict, sends=names[0])
        said = self.theirs.columns.get(provider, {}).get(name)
        chosen = said if said in names else name if name in names else names[0]
        rest = ", ".join(other for other in names if other != chosen)
        why = f"{verdict.why} One name is all that the format carries; ask for {rest} by name."
        return replace(verdict, sends=chosen, why=why)


def _verdict(beta: Beta, place: Place, known: PlatformState) -> Verdict | None:
    view = view_at(beta, place)
    if view.status == "retired" and not view.accepted:
        return _retired(beta)
    said = f"{known.basis}{f' by {known.target}' if known.target else ''}"
    told = known.state != "unknown" or known.accepted is not None
    where = f"on {place.platform} ({said})" if told else f"on {place.platform}"
    if view.state == "refused" or view.accepted is False:
        return Verdict(None, f"Refused {where}.", True)
    if view.state == "restricted":
        return Verdict(beta.name, f"Restricted {where}: some keys may send it.", True)
    if view.state == "supported":
        return Verdict(beta.name, f"Supported {where}.", True)
    if view.accepted:
        status = "Generally available, and accepted" if view.status == "ga" else "Accepted"
        return Verdict(beta.name, f"{status} {where}.", True)
    return None


def _retired(beta: Beta) -> Verdict:
    when = f" on {beta.retired_on}" if beta.retired_on else ""
    return Verdict(None, f"Retired{when}, and not accepted.", True)


# --- Differences ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One name that one provider's filter treats differently; `None` is held back.

    `missing`: their column does not hold the name, which to LiteLLM is the same as null.
    """

    name: str
    provider: str
    theirs: str | None
    ours: str | None
    why: str
    own: bool
    missing: bool = False


def differences(
    snapshot: Snapshot, base: LiteLLM | None, theirs: LiteLLM
) -> tuple[Difference, ...]:
    """Compare their file with what `litellm(snapshot, base)` says, by what it does to a request."""
    book = _Book(snapshot, base or LiteLLM())
    return tuple(_compared(book, theirs))


def _compared(book: _Book, theirs: LiteLLM) -> Iterator[Difference]:
    for name in sorted(book.names | theirs.names, key=sort_key):
        for provider in dict.fromkeys((*book.providers, *theirs.columns)):
            column = theirs.columns.get(provider, {})
            verdict = book.verdict(provider, name)
            known = name in book.names and provider in book.providers
            ours = verdict.sends if known else None
            if column.get(name) != ours:
                yield Difference(
                    name=name,
                    provider=provider,
                    theirs=column.get(name),
                    ours=ours,
                    why=verdict.why if known else "Not known here.",
                    own=verdict.own,
                    missing=name not in column,
                )


# --- Renovate -------------------------------------------------------------------------------------


def renovate(snapshot: Snapshot, feature: str) -> dict[str, Json]:
    """List a feature's betas as Renovate's custom datasource wants them; the date is the version.

    A version is the suffix as the name has it (`2025-11-20`, `20250219`), so that what Renovate writes
    back is a name; a beta without a date has none and is left out. What is unverified is not stable, which
    Renovate passes over, and the tag `latest` is the current beta. Raises `NotFound`.
    """
    found = resolution.feature(snapshot, feature)
    betas = [snapshot.betas[name] for name in found["betas"]]
    releases = [_release(beta) for beta in betas if _version(beta)]
    newest = max((beta for beta in betas if beta.docs_url), key=_age, default=None)
    made: dict[str, Json] = {"releases": releases}
    if newest is not None:
        made["homepage"] = newest.docs_url
    if current := _version(snapshot.betas.get(found["current"] or "")):
        made["tags"] = {"latest": current}
    return made


def _version(beta: Beta | None) -> str:
    """Return what follows the feature in a name, without the separator."""
    return beta.name[len(beta.feature) + 1 :] if beta is not None else ""


def _age(beta: Beta) -> tuple[str, str]:
    return str(beta.release_date or ""), beta.name


def _release(beta: Beta) -> dict[str, Json]:
    made: dict[str, Json] = {
        "version": _version(beta),
        "isDeprecated": beta.status in ("deprecated", "retired"),
        "isStable": beta.status != "unverified",
    }
    if day := beta.announced_on or beta.release_date:
        made["releaseTimestamp"] = rfc3339(datetime.combine(day, time(), UTC))
    if beta.docs_url:
        made["changelogUrl"] = beta.docs_url
    return made
