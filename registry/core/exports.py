"""What is known, in the formats of others: LiteLLM's beta config and Renovate's datasource.

    litellm(snapshot, theirs)   what LiteLLM's filter shall let through, a word for every name and provider
    parse_litellm(text)         LiteLLM's file, checked
    differences(...)            their file beside ours: every difference in effect, and the reason for it
    allowlist(snapshot, place)  every known name: taken there, refused there, or nobody knows
    envoy(snapshot)             the same as filters of Envoy AI Gateway's backends
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
from registry.core.facts import Beta, Json, Snapshot, rfc3339
from registry.core.judgement import HOME, Index, Judge, Judgement
from registry.core.names import is_well_formed, read_header, sort_key
from registry.core.places import KNOWN_PLACES, Place, may_cover

__all__ = [
    "COLUMNS",
    "HEADER_ONLY",
    "Difference",
    "LiteLLM",
    "Verdict",
    "allowlist",
    "differences",
    "dump_litellm",
    "envoy",
    "litellm",
    "parse_litellm",
    "read_litellm",
    "renovate",
]

COLUMNS: Final[Mapping[str, Place | None]] = {
    "anthropic": Place(platform="anthropic"),
    "azure_ai": Place(platform="foundry"),
    "bedrock": Place(platform="bedrock", api="invoke"),
    "bedrock_converse": Place(platform="bedrock", api="converse"),
    "bedrock_mantle": Place(platform="bedrock", api="mantle"),
    "vertex_ai": Place(platform="vertex"),
    "databricks": None,
}
"""LiteLLM's providers, and where on our platforms each sends; None where nothing of ours can speak."""

HEADER_ONLY: Final = "_header_only"
"""Ends the column of the names that a provider takes in the header, and not in the body's list."""

MAX_FILE: Final = 4 * 1024 * 1024
MAX_NAMES: Final = 10_000

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
    """Looks verdicts up: the judgement at each provider's place and LiteLLM's file side by side."""

    def __init__(self, snapshot: Snapshot, theirs: LiteLLM) -> None:
        self.theirs = theirs
        self.providers = tuple(dict.fromkeys((*COLUMNS, *theirs.columns)))
        index = Index(snapshot.betas)
        self._judges = {
            provider: Judge(snapshot.betas, place or HOME, index)
            for provider, place in COLUMNS.items()
        }
        others = {name for _, name in index.by_other_name}
        self.names = frozenset(snapshot.betas) | theirs.names | others

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
        if own is not None and not (own.sends and self._only_in_header(provider, name)):
            return own
        if name in said:
            return Verdict(said[name], "No evidence of ours: LiteLLM's own value.", False)
        if provider == "anthropic":
            return Verdict(name, "Neither we nor LiteLLM know better: passes.", False)
        return Verdict(None, "Neither we nor LiteLLM know that it is taken there.", False)

    def _only_in_header(self, provider: str, name: str) -> bool:
        """Say whether LiteLLM sends a name in the header there and keeps it out of the body's list."""
        held_back = self.theirs.columns.get(provider, {}).get(name, "") is None
        return held_back and self.theirs.header_only.get(provider, {}).get(name) is not None

    def _own(self, provider: str, name: str) -> Verdict | None:
        """Return what our own evidence says, if it says anything: hints are LiteLLM's own."""
        if provider not in COLUMNS:
            return None
        judged = self._judges[provider].beta(name)
        if judged.beta is None:
            return None
        if COLUMNS[provider] is None:  # nothing of ours can speak of that place, but of an end
            dead = judged.verdict == "retired"
            return Verdict(None, judged.detail, True) if dead else None
        if judged.fails or (judged.needless and judged.warning("place_dependent")):
            return Verdict(None, judged.detail, True)
        if judged.certainty in ("guessed", "unknown") and not judged.beta.accepted:
            return None
        return self._with_one_name(judged, provider, name)

    def _with_one_name(self, judged: Judgement, provider: str, name: str) -> Verdict:
        names = judged.names or (name,)
        if len(names) == 1:
            return Verdict(names[0], judged.detail, True)
        said = self.theirs.columns.get(provider, {}).get(name)
        chosen = said if said in names else name if name in names else names[0]
        rest = ", ".join(other for other in names if other != chosen)
        why = f"{judged.detail} One name is all that the format carries; ask for {rest} by name."
        return Verdict(chosen, why, True)


# --- Allow lists ----------------------------------------------------------------------------------


def allowlist(snapshot: Snapshot, place: Place) -> dict[str, Json]:
    """List every known name for a gateway at a place: `allow`, `deny` and `unproven` together are all.

    `rename` says what to send for a name that goes by others there; `models` holds for each model that
    something is known of the names that differ from these lists.
    """
    index = Index(snapshot.betas)
    names = sorted({*snapshot.betas, *(name for _, name in index.by_other_name)}, key=sort_key)
    judge = Judge(snapshot.betas, place, index)
    general = {name: judge.beta(name) for name in names}
    lists = {name: _list_of(judged) for name, judged in general.items()}
    return {
        "format": "allowlist-1",
        "place": place.slug,
        **{kind: [n for n in names if lists[n] == kind] for kind in ("allow", "deny", "unproven")},
        "rename": {
            name: list(judged.names)
            for name, judged in general.items()
            if judged.names not in ((name,), ())
        },
        "models": {
            model: differing
            for model in _models(snapshot, place)
            if (
                differing := _differing(
                    Judge(snapshot.betas, replace(place, model=model), index), lists
                )
            )
        },
        "as_of": rfc3339(snapshot.as_of),
        "revision": snapshot.revision,
    }


ENVOY_BACKENDS: Final = (
    ("anthropic-bedrock", "AWSAnthropic", KNOWN_PLACES["bedrock-invoke"]),
    ("anthropic-vertex", "GCPAnthropic", KNOWN_PLACES["vertex"]),
)
"""Name, schema and place of the backends for which Envoy AI Gateway filters the values of a header."""


def envoy(snapshot: Snapshot) -> list[dict[str, Json]]:
    """Return what to apply to Envoy AI Gateway: a backend a place that holds back what is refused there.

    Whatever nobody knows passes, as under the policy `filter`. A backend without any refusal has no filter,
    for an empty one is none. `backendRef` names a `Backend` of the same name.
    """
    made: list[dict[str, Json]] = []
    for name, schema, place in ENVOY_BACKENDS:
        spec: dict[str, Json] = {
            "schema": {"name": schema},
            "backendRef": {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": name},
        }
        denied = allowlist(snapshot, place)["deny"]
        if denied:
            spec["headerValueFilters"] = [
                {"name": resolution.HEADER, "mode": "Denylist", "values": denied}
            ]
        made.append(
            {
                "apiVersion": "aigateway.envoyproxy.io/v1beta1",
                "kind": "AIServiceBackend",
                "metadata": {"name": name},
                "spec": spec,
            }
        )
    return made


def _list_of(judged: Judgement) -> str:
    if judged.fails:
        return "deny"
    return "unproven" if judged.verdict in ("unknown", "unproven") else "allow"


def _models(snapshot: Snapshot, place: Place) -> list[str]:
    """Return the models of which something is known at a place."""
    facts = (fact for beta in snapshot.betas.values() for fact in beta.places)
    found = {
        fact.place.model for fact in facts if fact.place.model and may_cover(fact.place, place)
    }
    return sorted(found)


def _differing(judge: Judge, lists: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, usual in lists.items():
        here = _list_of(judge.beta(name))
        if here != usual:
            found.setdefault(here, []).append(name)
    return found


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
    judge = Judge(snapshot.betas, HOME)
    releases = [_release(beta, judge.beta(beta.name)) for beta in betas if _version(beta)]
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


def _release(beta: Beta, judged: Judgement) -> dict[str, Json]:
    made: dict[str, Json] = {
        "version": _version(beta),
        "isDeprecated": judged.fails or judged.verdict in ("deprecated", "no_effect"),
        "isStable": judged.verdict != "unknown",
    }
    if day := beta.announced_on or beta.release_date:
        made["releaseTimestamp"] = rfc3339(datetime.combine(day, time(), UTC))
    if beta.docs_url:
        made["changelogUrl"] = beta.docs_url
    return made
