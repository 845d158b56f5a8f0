"""What a beta means for a program that is seen with it: what is wrong, and what to do about it.

The judging is that of `resolution.check`; here its verdicts become the few words by which a team sorts
its work. Pure, like all of the core.

    retired      requests fail now, or the header does nothing any more
    refused      requests fail now, there
    deprecated   an end is announced
    ga           the header is no longer needed
    superseded   another beta replaces it
    unknown      the registry does not know the name
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, get_args

from registry.core.facts import PlatformState, Snapshot
from registry.core.memo import Memo
from registry.core.names import PLATFORMS
from registry.core.resolution import check

__all__ = [
    "AT_RISK",
    "HEALTHS",
    "ISSUES",
    "Health",
    "Issue",
    "Judge",
    "Judgement",
    "health_of",
    "judge_of",
]

Issue = Literal["retired", "refused", "deprecated", "ga", "superseded", "unknown"]
Health = Literal["ok", "at_risk", "failing"]
ISSUES: Final[tuple[Issue, ...]] = get_args(Issue)
HEALTHS: Final[tuple[Health, ...]] = get_args(Health)

AT_RISK: Final[frozenset[str]] = frozenset({"retired", "refused", "deprecated"})
"""Issues that break requests, or will."""

_ISSUE_OF: Final[dict[str, Issue]] = {
    "retired": "retired",
    "no_effect": "retired",
    "refused": "refused",
    "wrong_model": "refused",
    "wrong_endpoint": "refused",
    "deprecated": "deprecated",
    "not_needed": "ga",
    "unknown": "unknown",
    "malformed": "unknown",
}
MEMO: Final = 16 * 1024 * 1024
"""Bytes of judgements remembered: some 15,000."""
ENTRY: Final = 1000
"""Bytes that one takes with its sentences, beside its model (measured)."""

_FAILING: Final = frozenset({"retired", "refused", "wrong_model", "wrong_endpoint"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How one beta stands where a program uses it. `fails`: requests with it fail now."""

    name: str
    status: str
    state: str
    verdict: str
    issue: Issue | None
    fails: bool
    use_instead: str | None
    detail: str
    advice: str


class Judge:
    """Judges names against one snapshot and day, each question once.

    A question is (name, platform, model); without a platform the Claude API is meant.
    """

    def __init__(self, snapshot: Snapshot, today: date) -> None:
        self.snapshot, self.today = snapshot, today
        self._made: Memo[tuple[str, str | None, str | None], Judgement] = Memo(MEMO)
        self._known = set(snapshot.betas) | {
            name
            for beta in snapshot.betas.values()
            for place in beta.platforms.values()
            for name in place.names
        }

    def __call__(
        self, name: str, platform: str | None = None, model: str | None = None
    ) -> Judgement:
        """Judge one name. Never raises: a platform that is none counts as unknown."""
        if name not in self._known:
            return _unknown(name)  # at once: looking for similar names would take its time
        key = name, platform if platform in PLATFORMS else None, model
        found = self._made.held.get(key)
        if found is None:
            found = self._judge(*key)
            self._made.keep(key, found, ENTRY + len(model or ""))
        return found

    def knows(self, name: str) -> bool:
        """Say whether a name is a beta of the registry, or goes by this name on some platform."""
        return name in self._known

    def _judge(self, name: str, platform: str | None, model: str | None) -> Judgement:
        found = check(
            self.snapshot, betas=[name], platform=platform, model=model, today=self.today
        )["betas"][0]
        beta = self.snapshot.betas.get(name)
        verdict, instead = found["verdict"], found["use_instead"]
        issue = _ISSUE_OF.get(verdict)
        if issue is None and beta is not None and beta.superseded_by:
            issue, instead = "superseded", instead or beta.superseded_by
        places = (
            {str(place): state.state for place, state in beta.platforms.items()} if beta else {}
        )
        return Judgement(
            name=name,
            status=beta.status if beta else "unverified",
            state=places.get(platform or "anthropic", PlatformState().state),
            verdict=verdict,
            issue=issue,
            fails=verdict in _FAILING,
            use_instead=instead,
            detail=found["detail"],
            advice=_advice(issue, instead, verdict),
        )


def judge_of(snapshot: Snapshot, today: date) -> Judge:
    """Return the judge of a snapshot and day: the same one as last time while both stay the same."""
    judge = _latest[-1] if _latest else None
    if judge is None or judge.snapshot is not snapshot or judge.today != today:
        judge = Judge(snapshot, today)
        _latest[:] = [judge]
    return judge


_latest: Final[list[Judge]] = []


def _unknown(name: str) -> Judgement:
    return Judgement(
        name=name, status="unknown", state="unknown", verdict="unknown", issue="unknown",
        fails=False, use_instead=None, detail=f"{name} is not in the registry.",
        advice=_advice("unknown", None, "unknown"),
    )  # fmt: skip


def _advice(issue: Issue | None, instead: str | None, verdict: str) -> str:
    replace = f"Replace it by {instead}." if instead else ""
    match issue:
        case "retired" if verdict == "no_effect":
            return replace or "Remove it: it has no effect any more."
        case "retired" | "refused":
            return replace or "Remove it, and the body fields that belong to it."
        case "deprecated":
            return replace or "Plan to remove it before it ends."
        case "ga":
            return "Remove the header: it is no longer needed."
        case "superseded":
            return replace
        case "unknown":
            return "Check the spelling; if it is right, add it with POST /v1/betas."
        case None:
            return ""


def health_of(judged: Iterable[tuple[Judgement, int, int]]) -> Health:
    """Return a service's health from (judgement, accepted, refused in the last 24 hours) of its betas.

    What the service itself reports outweighs what is known: refusals mean that it fails, and a beta that
    should fail and is accepted there puts it at risk only.
    """
    health: Health = "ok"
    for item, accepted, refused in judged:
        if refused or (item.fails and not accepted):
            return "failing"
        if item.issue in AT_RISK:
            health = "at_risk"
    return health
