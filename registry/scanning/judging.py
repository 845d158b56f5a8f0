"""What is to be said of each place: its verdict, its fingerprint, and whether it was accepted before.

The verdicts are those of the judgement at the place that a scan is for, one name at a time, because names
that stand in different places of the files are not sent together.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

from registry.core.errors import Invalid
from registry.core.facts import Beta, Json, PlaceFact, Snapshot
from registry.core.judgement import Judge as Judgements
from registry.core.judgement import severity
from registry.core.places import Place
from registry.core.scan import Found

__all__ = [
    "Finding",
    "Judge",
    "baseline_of",
    "known_names",
    "on_day",
    "read_baseline",
    "with_baseline",
]

_SUGGESTIONS_MAX: Final = 200
"""So many unknown names get a "did you mean"; looking for more would take minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place at which a beta is named, judged.

    `other_names` are the names under which other platforms know it. `fingerprint` stays the same when
    lines move. `suppressed` says why the place does not count: a `comment`, or the `baseline`.
    """

    path: str
    line: int
    column: int
    offset: int
    beta: str
    verdict: str
    detail: str
    use_instead: str | None
    docs_url: str | None
    other_names: Mapping[str, tuple[str, ...]]
    known: bool
    excerpt: str
    fingerprint: str
    suppressed: Literal["comment", "baseline"] | None = None

    @property
    def severity(self) -> int:
        """The exit code that this place asks for by itself."""
        return 0 if self.suppressed else severity(self.verdict)


def known_names(snapshot: Snapshot) -> frozenset[str]:
    """Return every name that the registry knows, those on other platforms too."""
    others = (
        name for beta in snapshot.betas.values() for fact in beta.places for name in fact.names
    )
    return frozenset((*snapshot.betas, *others))


class Judge:
    """Judges what is named in files for the place that it will be sent to; each name once."""

    def __init__(self, snapshot: Snapshot, place: Place) -> None:
        if place.platform == "bedrock" and place.api is None:
            place = replace(place, api="invoke")
        self._snapshot, self._platform = snapshot, place.platform
        self._judge = Judgements(snapshot.betas, place)
        self._verdicts: dict[str, Mapping[str, Any]] = {}
        self._seen: Counter[str] = Counter()

    def findings(self, path: str, found: Iterable[Found]) -> Iterator[Finding]:
        """Judge the places of one file."""
        for place in found:
            yield Finding(
                path=path,
                line=place.line,
                column=place.column,
                offset=place.offset,
                beta=place.name,
                known=place.known,
                excerpt=place.excerpt,
                fingerprint=self._fingerprint(path, place),
                suppressed="comment" if place.ignored else None,
                **self._verdict(place.name),
            )

    def _verdict(self, name: str) -> Mapping[str, Any]:
        if name not in self._verdicts:
            self._verdicts[name] = self._judged(name)
        return self._verdicts[name]

    def _judged(self, name: str) -> Mapping[str, Any]:
        if len(self._verdicts) > len(self._snapshot.betas) + _SUGGESTIONS_MAX:
            verdict, detail, instead = "unknown", f"{name} is not in the registry.", None
        else:
            found = self._judge.beta(name)
            verdict, detail, instead = found.verdict, found.detail, found.use_instead
        beta = self._snapshot.betas.get(name)
        others = _other_names(beta) if beta else {}
        here = others.get(self._platform or "")
        also = f" On {self._platform} it is sent as {', '.join(here)}." if here else ""
        return {
            "verdict": verdict,
            "detail": detail + also,
            "use_instead": instead,
            "docs_url": beta.docs_url if beta else None,
            "other_names": others,
        }

    def _fingerprint(self, path: str, place: Found) -> str:
        """Hash what stays the same when lines move: file, name, the words around it, and which of them."""
        words = "\0".join((path, place.name, place.excerpt))
        self._seen[words] += 1
        return hashlib.sha256(f"{words}\0{self._seen[words]}".encode()).hexdigest()[:32]


def _other_names(beta: Beta) -> dict[str, tuple[str, ...]]:
    """Return the names by which platforms know a beta, where they differ from its own."""
    return {
        fact.place.platform: fact.names
        for fact in beta.places
        if fact.place.platform and fact.names and fact.names != (beta.name,)
    }


# --- Another day ----------------------------------------------------------------------------------

_MAY_END: Final = ("active", "deprecated", "ga")


def on_day(snapshot: Snapshot, day: date) -> Snapshot:
    """Return what is known as if it were that day.

    Ends that are announced for it have come, in general and where they are stated for a place; what ended
    later lives, and what was learned of a place after it is not known yet.
    """
    return replace(
        snapshot, betas={name: _aged(beta, day) for name, beta in snapshot.betas.items()}
    )


def _aged(beta: Beta, day: date) -> Beta:
    beta = replace(
        beta, places=tuple(_placed_on(fact, day) for fact in beta.places if _is_known(fact, day))
    )
    end = beta.retired_on or beta.sunset_on
    if beta.status in _MAY_END and end and end <= day:
        return replace(
            beta,
            status="retired",
            status_since=end,
            status_reason=f"Its end was announced for {end}.",
            retired_on=end,
            accepted=False,
        )
    if beta.status == "retired" and beta.retired_on and beta.retired_on > day:
        told = beta.deprecated_on is not None and beta.deprecated_on <= day
        return replace(
            beta,
            status="deprecated" if told else "active",
            sunset_on=beta.retired_on,
            accepted=True,
            places=tuple(_alive(fact) for fact in beta.places),
        )
    if beta.status == "ga" and beta.ga_on and beta.ga_on > day:
        return replace(beta, status="active")
    return beta


def _is_known(fact: PlaceFact, day: date) -> bool:
    return fact.at is None or fact.at.date() <= day


def _placed_on(fact: PlaceFact, day: date) -> PlaceFact:
    """Let an end come that is stated for a place."""
    end = fact.retired_on or fact.sunset_on
    if end is None or end > day or fact.status not in (None, *_MAY_END):
        return fact
    return replace(fact, status="retired", accepted=False, retired_on=end)


def _alive(fact: PlaceFact) -> PlaceFact:
    """Forget a refusal without a day: it may be of the end that has not come yet."""
    refused = fact.state == "refused" and fact.at is None
    return replace(fact, state="unknown", accepted=None) if refused else fact


# --- What was accepted before ---------------------------------------------------------------------


def read_baseline(file: Path) -> Mapping[str, str]:
    """Read a baseline: fingerprints and the verdicts at which they were accepted. Raises `Invalid`."""
    try:
        data = json.loads(file.read_bytes())
        return {
            str(fingerprint): str(entry["verdict"])
            for fingerprint, entry in data["fingerprints"].items()
        }
    except FileNotFoundError:
        raise Invalid(
            f"There is no baseline {file}; make it with --baseline {file} --write-baseline."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Invalid(
            f"{file} is no baseline of this program; make it anew with --write-baseline."
        ) from None


def with_baseline(findings: Iterable[Finding], baseline: Mapping[str, str]) -> Iterator[Finding]:
    """Suppress what was accepted before, unless it has become worse since."""
    for finding in findings:
        before = baseline.get(finding.fingerprint)
        if before is not None and finding.severity and finding.severity <= severity(before):
            yield replace(finding, suppressed="baseline")
        else:
            yield finding


def baseline_of(findings: Iterable[Finding]) -> Json:
    """Return the baseline that accepts all places as they are."""
    return {
        "version": 1,
        "fingerprints": {
            found.fingerprint: {"path": found.path, "beta": found.beta, "verdict": found.verdict}
            for found in findings
            if found.severity
        },
    }
