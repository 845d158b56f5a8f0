"""What an upstream answer means together with what is known: the advice for a person or a program.

`classify` tells what the answer says, `read_pasted` what the text around it tells of the request; here the
judgement of each beta at that place is added, what to send instead, and the commands that confirm it. One
function for the command line, HTTP and the dashboard. Pure: nothing is stored, nothing is logged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from registry.core.answers import Meaning, classify
from registry.core.body import hinted
from registry.core.errors import RegistryError
from registry.core.facts import Beta, Json, Snapshot
from registry.core.judgement import (
    VERDICTS,
    Judge,
    Judgement,
    companions,
    judges_of,
    lenient_place,
    with_conflicts,
)
from registry.core.names import is_well_formed, parse, sort_key
from registry.core.pasted import Pasted, read_pasted
from registry.core.places import KNOWN_PLACES
from registry.core.redaction import mask_secrets
from registry.core.resolution import HEADER, IN_BODY, Ask, resolve
from registry.core.snippets import snippet

__all__ = ["commands", "diagnose"]

CONTROL: Final = "never-issued-control-2024-01-01"
_HOME: Final = "https://api.anthropic.com"

_SHOWN: Final = 20
"""Betas, suspects or places that one sentence names."""
_LOWER_BASE32: Final = re.compile(r"req_[a-z2-7]{40,}")


def diagnose(
    snapshot: Snapshot,
    *,
    status: int | None,
    headers: Mapping[str, str],
    body: str,
    today: date,
    platform: str | None = None,
    api: str | None = None,
    hosting: str | None = None,
    region: str | None = None,
    betas_sent: Sequence[str] | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> dict[str, Json]:
    """Return the answer of `POST /v1/diagnose`; its members are those of the contract. Never raises.

    `body` is the answer's body, or whatever was pasted; what is said beside it outweighs what it tells.
    """
    pasted = read_pasted(body)
    sent = tuple(betas_sent) if betas_sent is not None else pasted.betas_sent
    model, endpoint = model or pasted.model, endpoint or pasted.endpoint
    platform = platform or pasted.platform
    meaning = classify(
        status if status is not None else pasted.status,
        headers or pasted.headers,
        pasted.body,
        sent,
        platform=platform,
        model=model,
        endpoint=endpoint,
    )
    told = meaning.platform or platform
    own = pasted if told == pasted.platform else Pasted()
    mantle = told == "bedrock" and _LOWER_BASE32.fullmatch(meaning.request_id or "")
    place = lenient_place(
        told,
        api or own.api or ("mantle" if mantle else None),
        hosting or own.hosting,
        region or own.region,
        model,
        endpoint,
    )
    judge = judges_of(snapshot, today).at(place, endpoint_asked=bool(endpoint))
    return _Case(snapshot, today, meaning, sent, told, judge).answer()


@dataclass(frozen=True, slots=True)
class _Case:
    """One answer, the betas that were sent (None: not known), and the judge of the place it came from."""

    snapshot: Snapshot
    today: date
    meaning: Meaning
    sent: tuple[str, ...] | None
    platform: str | None
    judge: Judge

    def answer(self) -> dict[str, Json]:
        meaning = self.meaning
        refused = self._refused()
        suspects = self._suspects() if meaning.verdict == "refused" and not refused else ()
        hints = self._hints()
        shown = dict.fromkeys([*refused, *(self.sent or ()), *hints])
        judged = {name: self.judge.beta(name) for name in shown if is_well_formed(name)}
        near = {name: one.near for name, one in judged.items() if one.near}
        blamed = [*refused, *(one.requested for one in suspects)]
        all_suspected = bool(suspects) and len(suspects) == len(self.sent or ())
        explanation = [meaning.explanation]
        explanation += [self._known_of(judged[name]) for name in refused[:_SHOWN] if name in judged]
        explanation += _of_suspects(suspects, self.sent) if meaning.verdict == "refused" else ()
        return {
            "verdict": meaning.verdict,
            "reason": meaning.reason,
            "platform": self.platform,
            "refused": list(refused),
            "suspects": [
                {"name": one.requested, "verdict": one.verdict, "detail": _why(one)}
                for one in suspects
            ],
            "betas": [_beta(one) for one in judged.values()],
            "did_you_mean": {name: list(names) for name, names in near.items()},
            "hints": list(hints),
            "explanation": " ".join(filter(None, explanation)),
            "advice": " ".join(filter(None, self._advice(refused, suspects, hints))),
            "send_instead": None if all_suspected else self._instead(blamed),
            "body_fields": self._body_fields(blamed),
            "services": None,
            "confirm": self._commands(blamed) if blamed else [],
            "message": mask_secrets(meaning.message),
            "request_id": meaning.request_id,
        }

    def _refused(self) -> tuple[str, ...]:
        if self.meaning.verdict not in ("refused", "restricted", "model_unsupported"):
            return ()
        if not self.meaning.refused and self.sent is not None and len(self.sent) == 1:
            return self.sent  # nothing is named, and only one can be meant
        return self.meaning.refused

    # --- Who it was -----------------------------------------------------------------------------

    def _suspects(self) -> tuple[Judgement, ...]:
        """Return who may be meant where nobody is named: those of the worst kind, the surest first.

        What fails at the place explains a refusal; else what its key may not use or nobody knows; else
        what nothing proves; else any of them.
        """
        names = [name for name in self.sent or () if is_well_formed(name)]
        judged = [self.judge.beta(name) for name in names]
        judged = companions(with_conflicts(judged, self.judge.place), self.judge.place)
        ranked = sorted(judged, key=_suspicion)
        worst = _suspicion(ranked[0])[0] if ranked else 0
        return tuple(one for one in ranked if _suspicion(one)[0] == worst)

    # --- What is known --------------------------------------------------------------------------

    def _known_of(self, judged: Judgement) -> str:
        """Say what the registry knows of a refused beta at the place, or that it did not know."""
        name = judged.requested
        told = [judged.detail]
        if judged.verdict in ("ok", "unproven"):
            proof = f", on {judged.since}" if judged.since else ""
            where = judged.fact.place if judged.fact is not None else self.judge.place
            told = [
                f"{name} was taken on {where} ({judged.basis}{proof}): so {self._question()}."
                if judged.verdict == "ok" and judged.basis
                else judged.detail
            ]
        told += [item.detail for item in judged.warnings if item.code not in _NO_NEWS]
        if self.platform is None and not judged.fails and judged.beta is not None:
            told += self._elsewhere(name)
        if judged.use_instead is None and judged.alternatives:
            others = ", ".join(one.name for one in judged.alternatives[:3])
            told.append(f"Other versions: {others}.")
        elif judged.use_instead is None and judged.fails and judged.beta is not None:
            told += self._grown_up(judged.beta)
        return " ".join(told)

    def _question(self) -> str:
        """Say what to find out where a beta is refused that the place is known to take."""
        if self.meaning.verdict == "model_unsupported":
            return "ask which models take it there"
        return "ask what this key or plan may use, or whether it ended since"

    def _elsewhere(self, name: str) -> list[str]:
        """Say where a beta is known to fail, as nobody says where this one was sent."""
        judges = judges_of(self.snapshot, self.today)
        there = {slug: judges.at(place).beta(name) for slug, place in KNOWN_PLACES.items()}
        fails = [slug for slug, one in there.items() if one.fails]
        told = (
            [f"It is known to fail on {', '.join(fails)}: say where it was sent."] if fails else []
        )
        partly = (one.warning("place_dependent") for one in there.values() if not one.fails)
        return [*told, *dict.fromkeys(item.detail for item in partly if item)]

    def _grown_up(self, beta: Beta) -> list[str]:
        """Name the other versions of a feature that need no header any more."""
        line = sorted(
            self.judge.index.features.get(beta.feature, ()), key=lambda one: sort_key(one.name)
        )
        free = [one for one in reversed(line) if one is not beta and self.judge.beta(one.name).free]
        if not free:
            return []
        instead = next((one.body_instead for one in free if one.body_instead), None)
        use = f"; use {instead}" if instead else ""
        names = ", ".join(one.name for one in free[:3])
        return [f"{beta.feature} is generally available by now ({names}): it needs no header{use}."]

    # --- What the body asks for -----------------------------------------------------------------

    def _hints(self) -> tuple[str, ...]:
        """Return the betas that allow the fields and types which the answer does not know, likeliest first."""
        betas = self.snapshot.betas
        found: dict[str, None] = {}
        for tag in self.meaning.tags:
            alike = (one.name for one in betas.values() if _sounds_like(one, tag))
            self._add(found, hinted(tag, betas) or tuple(alike))
        for path in () if self.meaning.tags else self.meaning.body_fields:
            alike = (one.name for one in betas.values() if _has_words_of(one, path))
            self._add(found, hinted(path, betas) or tuple(alike))
        return tuple(found)

    def _add(self, found: dict[str, None], names: Sequence[str]) -> None:
        found |= dict.fromkeys(one.requested for one in self.judge.likeliest(names))

    # --- What to do -----------------------------------------------------------------------------

    def _advice(
        self, refused: Sequence[str], suspects: Sequence[Judgement], hints: Sequence[str]
    ) -> list[str]:
        said = [self.meaning.advice]
        for name in refused[:_SHOWN]:
            judged = self.judge.beta(name)
            if judged.verdict == "not_needed":
                said.append(f"Nothing is lost without {name}.")
            elif judged.use_instead:
                said.append(f"Replace {name} by {judged.use_instead}.")
        if refused and self.sent is None:
            said.append("Whatever else was sent can stay.")
        if suspects and len(suspects) < len(self.sent or ()):
            said.append(f"Leave out {_listed(suspects)} first.")
        elif suspects:
            said.append("Send them one by one: `confirm` has the commands.")
        elif self.meaning.verdict == "refused" and not refused:
            said.append("Say which betas were sent: paste the request's header or body with it.")
        if hints:
            said.append(self._of_hints(hints))
        return said

    def _of_hints(self, hints: Sequence[str]) -> str:
        """Say which beta is missing, or that the place does not take it."""
        judged = [self.judge.beta(name) for name in hints]
        absent = [one.requested for one in judged if one.requested not in (self.sent or ())]
        usable = [one.requested for one in judged if not one.fails and one.requested in absent]
        if usable:
            return f"A missing beta is a frequent cause: {', '.join(usable)}."
        if absent:
            told = " ".join(one.detail for one in judged if one.requested in absent)
            return f"It belongs to {', '.join(absent)}: leave the field out there. {told}"
        return (
            f"{', '.join(hints)} was sent: a gateway may have dropped it, or it is not taken there."
        )

    def _instead(self, blamed: Sequence[str]) -> Json:
        """Return what to send instead, where some of what was sent is to blame."""
        if not blamed or self.meaning.verdict in ("accepted", "inconclusive", "beta_missing"):
            return None
        sent = self.sent if self.sent is not None else blamed
        place = self.judge.place
        renamed = [one for one in map(self.judge.beta, blamed) if _misnamed(one) and not one.fails]
        gone = set(blamed) - {one.requested for one in renamed}  # those go out by their names there
        ask = Ask(
            requested=tuple(("beta", name) for name in sent if name not in gone),
            platform=place.platform, api=place.api, hosting=place.hosting, region=place.region,
            model=place.model, endpoint=place.endpoint, policy="filter",
        )  # fmt: skip
        try:
            found = resolve(self.snapshot, ask, self.today).to_json()
        except RegistryError:
            return None
        return {key: found[key] for key in ("value", "omit", "body")}

    def _body_fields(self, blamed: Sequence[str]) -> list[str]:
        """Return the body fields that go with the header: a refused beta's must go, too."""
        own = [field for name in blamed for field in self.judge.beta(name).body_fields]
        return list(dict.fromkeys([*self.meaning.body_fields, *own]))

    def _commands(self, names: Sequence[str]) -> list[str]:
        place = self.judge.place
        targets = [
            name
            for name, target in sorted(self.snapshot.targets.items())
            if target.get("platform") == place.platform and target.get("api") in (None, place.api)
        ]
        return commands(names, place.platform, place.model, api=place.api, targets=targets)


_NO_NEWS: Final = frozenset(
    {"companion_missing", "endpoint_not_listed", "model_not_listed", "unknown", "unproven"}
)
_KINDS: Final[tuple[frozenset[str], ...]] = (
    frozenset(VERDICTS[: VERDICTS.index("conflict") + 1]),
    frozenset({"restricted", "unknown"}),
    frozenset({"deprecated", "no_effect", "unproven"}),
)
_SURE: Final = ("proven", "stated", "guessed", "unknown")


def _suspicion(judged: Judgement) -> tuple[int, int, int]:
    """Rank a beta as the cause of a refusal: 0 is the likeliest."""
    kind = next((at for at, words in enumerate(_KINDS) if judged.verdict in words), len(_KINDS))
    kind = 0 if _misnamed(judged) else kind
    return kind, _SURE.index(judged.certainty), VERDICTS.index(judged.verdict)


def _misnamed(judged: Judgement) -> bool:
    """Say whether a beta goes by other names at the place than by the one that was sent."""
    return bool(judged.names) and judged.requested not in judged.names


def _why(judged: Judgement) -> str:
    if judged.fails or not _misnamed(judged):
        return judged.detail
    return f"{judged.requested} goes by {', '.join(judged.names)} on {judged.place}."


def _listed(judged: Sequence[Judgement]) -> str:
    return ", ".join(one.requested for one in judged[:_SHOWN])


def _of_suspects(suspects: Sequence[Judgement], sent: Sequence[str] | None) -> list[str]:
    if not suspects:
        return []
    if len(suspects) == len(sent or ()):
        return ["Any of those sent may be meant."]
    return ["Most likely:", *(_why(one) for one in suspects[:_SHOWN])]


def _beta(judged: Judgement) -> dict[str, Json]:
    return {
        "name": judged.requested,
        "status": judged.status,
        "state": judged.state,
        "verdict": judged.verdict,
        "use_instead": judged.use_instead,
        "did_you_mean": list(judged.near),
    }


# --- Fields and types of a body -------------------------------------------------------------------


def _has_words_of(beta: Beta, path: str) -> bool:
    """Compare the words: `cache_control.ttl` and extended-cache-ttl. Most of a beta's must be in the path."""
    told = path.lower().split(".")
    words = set(beta.feature.lower().split("-"))
    last = set(told[-1].split("_"))
    common = words & {word for part in told for word in part.split("_")}
    return last <= words and 3 * len(common) >= 2 * len(words)


def _sounds_like(beta: Beta, tag: str) -> bool:
    """Say whether a type is called as the beta is, day included: `advisor_20260301`, advisor-tool-2026-03-01."""
    kind = parse(tag)
    words = kind.feature.replace("_", "-")
    return (
        kind.release_date is not None
        and kind.release_date == beta.release_date
        and (beta.feature == words or beta.feature.startswith(f"{words}-"))
    )


# --- How to confirm -------------------------------------------------------------------------------


def commands(
    names: Sequence[str],
    platform: str | None,
    model: str | None,
    *,
    api: str | None = None,
    targets: Sequence[str] = (),
) -> list[str]:
    """Return commands that ask a place: without betas, with a name never issued, and with each beta alone.

    The first must be accepted and the second refused, else the others prove nothing. They name the place's
    own address and key variable. Where `targets` ask there, probes by the registry follow.
    """
    safe = [name for name in names if is_well_formed(name)][:_SHOWN]
    place = lenient_place(platform, api)
    answer = {
        "header": HEADER,
        "platform": place.platform,
        "placement": "body" if place.api in IN_BODY else "header",
    }

    def curl(value: str) -> str:
        shown = snippet({**answer, "value": value}, "curl", model=model, endpoint="count_tokens")
        return shown.replace(" \\\n  ", " ").replace(_HOME, f"${{ANTHROPIC_BASE_URL:-{_HOME}}}")

    return [
        *(curl(value) for value in ("", CONTROL, *safe)),
        *(f"beta-registry probe {target} --beta {name}" for target in targets for name in safe),
    ]
