"""How often `filter` drops what upstream refuses, and keeps what it takes, measured by dated public reports.

    make bench B=protection                    with the SDK and LiteLLM as they are installed here
    make bench B="protection since=2026-07"    pairs whose newest report is of July 2026 or later
    make bench B="protection sdk= litellm="    the catalog alone

The reports are the catalog's claims of basis `reported`, each of one beta at one exact place. Two figures, and
neither is a forecast of the next unannounced change:

(a) Consistency: all facts, the reports among them, judge the newest report of each pair of beta and place. It is no
    measure of protection, for the answer is among the facts: it shows that what is known is acted on.
(b) Walk-forward: facts that are dated before day D judge the reports of D and later. What has no day is left out.
    The SDK and LiteLLM files that are installed speak for the day of the catalog, so they take no part.

Sent: or dropped because the header is not needed there, which loses nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, get_args

import httpx2

from bench.table import show
from registry.core.changes import snapshot_of
from registry.core.facts import Claim
from registry.core.places import KNOWN_PLACES, Place
from registry.core.resolution import Ask, Resolver, check
from registry.sources import collect
from registry.sources.catalog import bundled_catalog, parse_catalog
from registry.sources.litellm import LiteLLMSource

__all__ = ["run"]

SINCE: Final = "2026-05"
YEAR: Final = 2026


def run(since: str = SINCE, sdk: str = "installed", litellm: str = "installed") -> None:
    """Print both figures; `litellm` is a file of LiteLLM's too, and empty text leaves a source out."""
    as_of, claims = parse_catalog(bundled_catalog())
    reports = _reports(claims)
    if not reports:
        raise SystemExit("The catalog holds no dated reports: there is nothing to measure by.")
    more = [*(_sdk_names(as_of) if sdk else ()), *(_litellm(litellm, as_of) if litellm else ())]
    with_all = _Facts([*claims, *more], as_of)
    first = datetime.fromisoformat(f"{since}-01").date()
    _consistency(
        with_all, {pair: all_[-1] for pair, all_ in reports.items() if all_[-1].day >= first}
    )
    _walk(claims, reports)


# --- Facts ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What somebody saw of a beta at a place: an acceptance or a refusal."""

    beta: str
    place: Place
    day: date
    refused: bool
    url: str


Pair = tuple[str, Place]


def _reports(claims: Iterable[Claim]) -> dict[Pair, list[Report]]:
    """Return the reports of each pair of beta and exact place, the newest one last."""
    found: dict[Pair, set[Report]] = defaultdict(set)
    for claim in claims:
        if claim.basis == "reported" and claim.field == "state" and claim.day is not None:
            report = Report(
                claim.beta, claim.place, claim.day, claim.value != "supported", claim.url or ""
            )
            if claim.value in ("supported", "refused"):
                found[claim.beta, claim.place].add(report)
    return {
        pair: sorted(told, key=lambda one: (one.day, one.refused)) for pair, told in found.items()
    }


def _sdk_names(at: datetime) -> Iterator[Claim]:
    """Return what the installed SDK's list says."""
    from anthropic.types.anthropic_beta_param import AnthropicBetaParam

    for name in get_args(get_args(AnthropicBetaParam)[1]):
        yield Claim(beta=name, field="listed", value=True, source="sdk", basis="sdk", at=at,
                    version=version("anthropic"))  # fmt: skip


def _litellm(where: str, at: datetime) -> Sequence[Claim]:
    """Return what LiteLLM's file says: the installed one, or the one named."""
    path = Path(where)
    if where == "installed":
        spec = find_spec("litellm")  # looked for, not imported: that asks the network
        assert spec is not None
        assert spec.origin is not None
        path = Path(spec.origin).with_name("anthropic_beta_headers_config.json")
    with httpx2.Client() as http:
        return collect(LiteLLMSource(str(path)), http, {}, at).claims


class _Facts:
    """What is known on a day, and what `filter` does with it."""

    def __init__(self, claims: Sequence[Claim], at: datetime) -> None:
        self.count, self._today = len(claims), at.date()
        self.snapshot = snapshot_of(claims, at, at)
        self._resolver = Resolver(self.snapshot)

    def fate(self, beta: str, place: Place) -> str:
        """Say what `filter` does with a beta at a place: `sent`, `dropped`, or dropped as `needless`."""
        ask = Ask(requested=(("beta", beta),), policy="filter", **asdict(place))
        answer = self._resolver.resolve(ask, self._today)
        if answer.value:
            return "sent"
        return "needless" if answer.dropped[0].reason == "ga" else "dropped"

    def obeys(self, report: Report, place: Place) -> bool:
        """Say whether `filter` does as a report tells; what is needless can go without any loss."""
        return (self.fate(report.beta, place) == "sent") is not report.refused or (
            not report.refused and self.fate(report.beta, place) == "needless"
        )

    def disputed(self, beta: str, place: Place) -> str | None:
        """Return why the facts on a beta at a place are called disputed, if they are."""
        found = check(self.snapshot, betas=[beta], today=self._today, **asdict(place))
        told = (item for item in found["betas"][0]["warnings"] if item["code"] == "disputed")
        return next((str(item["detail"]) for item in told), None)

    def why(self, beta: str, place: Place) -> str:
        """Return the verdict on a beta at a place."""
        found = check(self.snapshot, betas=[beta], today=self._today, **asdict(place))
        return str(found["betas"][0]["verdict"])


def _asked(pair: Pair, pairs: Mapping[Pair, object]) -> list[Place]:
    """Return the places that a report is to be judged at.

    One of a platform whose APIs or hostings differ is judged at each of them that has no report of its own.
    """
    beta, place = pair
    kinds = [one for one in KNOWN_PLACES.values() if one.platform == place.platform]
    if not place.platform_wide or kinds == [place]:
        return [place]
    return [one for one in kinds if (beta, one) not in pairs]


# --- (a) ------------------------------------------------------------------------------------------


def _consistency(facts: _Facts, newest: Mapping[Pair, Report]) -> None:
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    slips, wrong, disputed = [], [], []
    for pair, report in sorted(newest.items(), key=lambda item: (item[0][1].slug, item[0][0])):
        places = _asked(pair, newest)
        ignored = [place for place in places if not facts.obeys(report, place)]
        slug, kind = report.place.slug, "refused" if report.refused else "accepted"
        rows[slug][kind] += 1
        if not ignored:
            rows[slug][f"{kind} obeyed"] += 1
            continue
        reason = facts.disputed(report.beta, ignored[0])
        if reason:
            rows[slug][f"{kind} disputed"] += 1
            disputed.append(f"  {report.beta} on {ignored[0]}, {report.day}: {reason}")
            continue
        (slips if report.refused else wrong).append(
            f"  {report.beta} on {ignored[0]}: {kind} {report.day} ({report.url}); judged "
            f"{facts.why(report.beta, ignored[0])}"
        )
    total: Counter[str] = sum(rows.values(), Counter())
    show(
        f"(a) Consistency, no measure of protection: the newest report of {len(newest)} pairs, "
        f"{facts.count:,} facts",
        (
            "place",
            "refused",
            "dropped",
            "disputed",
            "slip",
            "accepted",
            "sent",
            "disputed",
            "dropped",
        ),
        [_row(slug, count) for slug, count in [*sorted(rows.items()), ("all", total)]],
    )
    _list("Slip: refused by the newest report, and sent", slips)
    _list("Wrongly dropped: accepted by the newest report, and no newer refusal explains it", wrong)
    _list("Not obeyed, and told as disputed", disputed)


def _row(slug: str, count: Counter[str]) -> tuple[object, ...]:
    row: list[object] = [slug]
    for kind in ("refused", "accepted"):
        obeyed, disputed = count[f"{kind} obeyed"], count[f"{kind} disputed"]
        row += [count[kind], obeyed, disputed, count[kind] - obeyed - disputed]
    return tuple(row)


def _list(title: str, lines: Sequence[str]) -> None:
    print(f"\n{title}: {len(lines) or 'none'}", *lines, sep="\n")


# --- (b) ------------------------------------------------------------------------------------------


def _walk(claims: Sequence[Claim], reports: Mapping[Pair, list[Report]]) -> None:
    last = max(told[-1].day for told in reports.values())
    slips: dict[str, list[str]] = defaultdict(list)
    wrong: dict[str, list[str]] = defaultdict(list)
    rows = []
    for month in range(1, 13):
        day = date(YEAR, month, 1)
        if day > last:
            break
        known = [claim for claim in claims if claim.day is not None and claim.day < day]
        facts = _Facts(known, datetime.combine(day, datetime.min.time(), UTC))
        later = [
            (report, place)
            for pair, told in reports.items()
            for report in dict.fromkeys(told)
            if report.day >= day
            for place in _asked(pair, reports)
        ]
        rows.append((day, f"{len(known):,}", *_judged(facts, later, day, slips, wrong)))
    show(
        "(b) Walk-forward: facts before day D judge the reports of D and later (one a place asked)",
        ("D", "facts", "refused", "dropped", "share", "of them unknown names", "accepted", "sent",
         "wrongly dropped"),
        rows,
    )  # fmt: skip
    _list(
        "Slipped, and at which D",
        [f"  {what}: {', '.join(on)}" for what, on in sorted(slips.items())],
    )
    _list(
        "Wrongly dropped, and at which D",
        [f"  {what}: {', '.join(on)}" for what, on in sorted(wrong.items())],
    )


def _judged(
    facts: _Facts,
    later: Sequence[tuple[Report, Place]],
    day: date,
    slips: dict[str, list[str]],
    wrong: dict[str, list[str]],
) -> tuple[object, ...]:
    count: Counter[str] = Counter()
    for report, place in later:
        kind = "refused" if report.refused else "accepted"
        count[kind] += 1
        count[f"{kind} right"] += facts.obeys(report, place)
        if not facts.obeys(report, place):
            count["unknown"] += report.refused and report.beta not in facts.snapshot.betas
            told = (slips if report.refused else wrong)[f"{report.beta} on {place}"]
            if day.strftime("%m") not in told:
                told.append(day.strftime("%m"))
    refused, dropped = count["refused"], count["refused right"]
    accepted, sent = count["accepted"], count["accepted right"]
    share = f"{dropped / refused:.0%}" if refused else "-"
    return refused, dropped, share, count["unknown"], accepted, sent, accepted - sent
