"""Probing: one sweep over one target, from controls to observations.

A sweep sends as few requests as will do and counts only what is proven (CONTRACT, section 2, rules 3
and 5). It goes through these steps, and none of them can be left out on the way to an observation:

1. *Controls*: a request without betas must be accepted, and a never-issued name refused.
2. *Search*: groups, until each beta has an answer or the budget for it is used up (`grouping.py`).
3. *Confirmation*: what speaks against a state is asked alone, over connections of their own; in the sweep
   that would decide several times, spread over time. More confirmed refusals than may turn at once are a
   mass change, and then nothing is told. What the budget does not allow to confirm is not told either.
4. *Controls again*, whenever something is told that moves anything. `_Proof` is what they return, and only
   it makes observations.

Whatever goes wrong makes the sweep inconclusive, with a sentence that says how to mend it.
This package knows no database. It is given what is known, and returns a `Report`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from registry.core.lifecycle import (
    MIXED_WITHIN,
    Observed,
    Standing,
    State,
    Thresholds,
    advance,
    is_against,
    is_held,
    is_mass_change,
    mass_limit,
    would_turn,
)
from registry.probing.asking import Line, Progress, Spent, Stop
from registry.probing.grouping import HEADER_BYTES, Found, Heard, batches, halving, naming
from registry.probing.values import (
    ONCE_A_DAY,
    Aside,
    Candidate,
    Limits,
    Memory,
    Observation,
    Outcome,
    Raw,
    Report,
    Sender,
    read_memory,
)

__all__ = [
    "Aside",
    "Candidate",
    "Limits",
    "Memory",
    "Observation",
    "Outcome",
    "Raw",
    "Report",
    "Sender",
    "read_memory",
    "sweep",
]

FOR_CONTROLS: Final = 3
"""Requests kept for the controls at the end: both, and one retry."""
FOR_PARITY: Final = 1
"""A request that is drawn before a decision, so that no alternation of servers falls in with ours."""
AT_FIRST: Final = 2
"""Lone refusals that decide of a beta of which nothing is known yet, where the budget allows no more, and
nothing was refused and accepted in turn."""
SOONER: Final = 3
"""Lone refusals that are asked for once a run of them has begun, while the budget allows."""
SPARE_ROUNDS: Final = 3
"""Further requests for a confirmation whose answer said nothing."""
LEAST_SAMPLE: Final = 3
"""So many asked alone, all of them refused, speak for the others that the budget does not allow to ask."""
EVERY_FOURTH: Final = 4
"""Where refusals name nothing, those believed refused are each asked again every fourth sweep."""


def sweep(
    sender: Sender,
    candidates: Sequence[Candidate],
    limits: Limits,
    *,
    platform: str,
    model: str,
    clock: Callable[[], datetime],
    pause: Callable[[float], object],
    names_refused: bool = True,
    turn: int = 0,
    confirmed: bool | Collection[str] = False,
    progress: Progress = lambda _requests, _what: None,
    thresholds: Thresholds = Thresholds(),  # noqa: B008 - a frozen value
    memory: Memory = Memory(),  # noqa: B008
    wanted: Collection[str] = (),
    locked: bool = False,
    rng: random.Random | None = None,
) -> Report:
    """Sweep once over a target. Never raises for what the upstream does.

    `candidates` are all betas that the target can be asked about; `wanted` those to ask first, and the
    others then only if something of these speaks against a state. `names_refused` and `memory` are what
    the last sweeps found out, `turn` counts them. `confirmed` are the betas (True: all) of which an
    operator says that they died: they are no mass change, and one refusal alone confirms them.
    `locked`: a mass change waits for an operator, so nothing is confirmed or told. `pause` waits so many
    seconds, and returns True when this process is to end. `rng` draws order and pauses.
    """
    started, retry_after = clock(), None
    line = Line(sender, platform, model, limits, pause, progress, wary=memory.wary > 0)
    known = {item.name for item in candidates}
    run = _Sweep(
        line=line,
        items={item.name: item for item in candidates},
        limits=limits,
        thresholds=thresholds,
        memory=memory,
        now=started,
        rng=rng or random.Random(),  # noqa: S311 - nothing secret is drawn
        turn=turn,
        named=names_refused,
        believed=frozenset(known if confirmed is True else confirmed or ()),
    )
    outcome: Outcome
    observations: tuple[Observation, ...] = ()
    lost: tuple[str, ...] = ()
    try:
        run.find(wanted)
        if locked:
            outcome, detail = "mass_change", run.about_lock()
        else:
            outcome, detail, observations, lost = run.conclude()
        memory = run.remembered()
    except Stop as stop:
        outcome, detail, retry_after = stop.outcome, stop.detail, stop.retry_after
        memory = replace(
            memory,
            missing=memory.missing + 1 if line.missing else 0,
            wary=MIXED_WITHIN if outcome == "blind" or line.dropped else memory.wary,
        )
    return Report(
        started_at=started,
        ended_at=clock(),
        outcome=outcome,
        detail=detail,
        endpoint=line.endpoint,
        requests=line.requests,
        controls=line.controls,
        observations=observations,
        names_refused=line.names_refused,
        retry_after=retry_after,
        lost=lost,
        memory=memory,
    )


@dataclass(frozen=True, slots=True)
class _Proof:
    """That both controls held at both ends of the sweep (`repeated`), or at its start."""

    repeated: bool

    def observe(self, run: _Sweep) -> tuple[Observation, ...]:
        """Make the observations: the one place. What would move a state without being confirmed is left out."""
        made = []
        for name, heard in run.found.items():
            refusals = run.refusals(name)
            confirmed = not is_against(heard.verdict) or refusals >= run.needed(name)
            if run.moves(name) and not (self.repeated and confirmed):
                continue
            made.append(
                Observation(
                    beta=name, verdict=heard.verdict, http_status=heard.status,
                    message=heard.message, request_id=heard.request_id, confirmations=refusals,
                )
            )  # fmt: skip
        return tuple(made)


@dataclass(slots=True)
class _Sweep:
    """The state of one sweep. `left` are betas that it could not find out about within its budget.

    `passable` are groups that passed where a longer header does not.
    """

    line: Line
    items: dict[str, Candidate]
    limits: Limits
    thresholds: Thresholds
    memory: Memory
    now: datetime
    rng: random.Random
    turn: int
    named: bool
    believed: frozenset[str]
    found: Found = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    names_few: bool = False
    passable: list[set[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    # --- What an answer means for a beta ----------------------------------------------------------

    def standing(self, name: str) -> Standing:
        return self.items[name].standing

    def turning(self) -> list[str]:
        """Return the betas whose refusal moves anything, those nearest to a decision first."""
        names = [
            name
            for name, heard in self.found.items()
            if is_against(heard.verdict) and self.moves(name)
        ]
        self.rng.shuffle(names)
        return sorted(names, key=lambda name: -self.standing(name).count)

    def moves(self, name: str) -> bool:
        """Say whether the answer turns a state, brings it nearer to that, or takes it back."""
        verdict, standing = self.found[name].verdict, self.standing(name)
        counting = standing.toward is not None and verdict != "inconclusive"
        return counting or would_turn(standing, verdict)

    def decides(self, name: str) -> bool:
        """Say whether the answer would turn the state now."""
        return advance(self.standing(name), self.found[name].verdict, self.thresholds, self.now)[1]

    def refusals(self, name: str) -> int:
        """Count the lone answers that speak for the same state as the one that counts."""
        restricted = name in self.found and self.found[name].verdict == "restricted"
        return sum(
            is_against(heard.verdict) and (heard.verdict == "restricted") is restricted
            for heard in self.line.alone.get(name, ())
        )

    def needed(self, name: str) -> int:
        """Return how many lone refusals it takes to tell this beta's refusal."""
        if name in self.believed or not self.decides(name):
            return 1
        noisy = any(heard.verdict == "mixed" for heard in self.found.values())
        if self.standing(name).state == "unknown" and not noisy:
            return min(AT_FIRST, self.limits.confirmations)
        return self.limits.confirmations

    # --- The search -------------------------------------------------------------------------------

    def find(self, wanted: Collection[str]) -> None:
        """Both controls, then the betas, in an order that is drawn anew."""
        line = self.line
        line.reserve = FOR_CONTROLS
        line.expected = frozenset(filter(self._is_doubted, self.items))
        try:
            line.first_control(self.memory)
            here = [
                item.name
                for item in self.items.values()
                if (line.endpoint == "list") == (item.path is not None)
            ]
            self.rng.shuffle(here)
            first = [name for name in here if name in wanted] if wanted else here
            self._find(first)
            if wanted and self.turning():
                self._find([name for name in here if name not in wanted])
            self._learn_bounds()
        except Spent:
            pass
        if not line.control_held:
            line.reserve = 0
            try:
                line.second_control()
            except Spent:
                raise Stop("inconclusive", self._used_up()) from None

    def _find(self, names: Sequence[str]) -> None:
        """Ask about these: first those that must be asked alone, then the others in groups."""
        if not self.named and not self.line.control_held:
            self.line.second_control()
            self.named = self.line.named_control()
        asked = set(names)
        try:
            self._find_all(names, asked)
        finally:
            self.left |= asked - set(self.found)

    def _find_all(self, names: Sequence[str], asked: set[str]) -> None:
        few = not self.named or self.memory.names_few
        aside = [name for name in names if name in self.memory.aside]
        resting = {name for name in aside if self.memory.aside[name].rests(self.now)}
        apart = [name for name in names if few or name in self.memory.apart]
        doubted = [name for name in apart if self._is_doubted(name)]
        suspects = [name for name in apart if self._is_suspect(name)]
        by_itself = {*aside, *doubted, *suspects}
        # Those not chosen in this sweep are not left over: their turn comes.
        asked -= resting | set(doubted)
        going_on = [name for name in self.memory.open if name in asked - by_itself]
        if going_on:
            asked -= set(suspects)
        for name in [name for name in aside if name not in resting]:
            self._ask_alone(name)
        if not going_on:
            self._ask_each(suspects)
        rest = [name for name in names if name not in by_itself and name not in going_on]
        for group in [*self._groups(going_on), *self._groups(rest)]:
            self._ask_group(group)
        self._ask_each(self._doubted_now(doubted))
        if going_on:
            self._ask_each(suspects)

    def _is_doubted(self, name: str) -> bool:
        standing = self.standing(name)
        return standing.state in ("refused", "restricted") or standing.excused

    def _is_suspect(self, name: str) -> bool:
        standing = self.standing(name)
        return standing.toward in ("refused", "restricted") and not self._is_doubted(name)

    def _doubted_now(self, doubted: Sequence[str]) -> list[str]:
        """Return those to be asked in this sweep: those that are turning already, and of the others a part."""
        turning = [name for name in doubted if self.standing(name).toward is not None]
        others = sorted(set(doubted) - set(turning))
        part = -(-len(others) // EVERY_FOURTH)
        start = self.turn * part
        return turning + [others[(start + place) % len(others)] for place in range(part)]

    def _ask_each(self, names: Sequence[str]) -> None:
        for name in sorted(names, key=lambda name: -self.standing(name).count):
            self._ask_alone(name)

    def _ask_alone(self, name: str) -> None:
        self.line.reserve = self._reserve()
        self.line.path = self.items[name].path
        self.found[name] = self.line.ask((name,))

    def _groups(self, names: Sequence[str]) -> list[list[str]]:
        """Part betas into those that may share a request; on `list`, by their list call."""
        by_path: dict[str | None, list[str]] = {}
        for name in names:
            by_path.setdefault(self.items[name].path, []).append(name)
        count, size = self._bounds()
        made = []
        for members in by_path.values():
            conflicts = {name: self.items[name].conflicts for name in members}
            made += [list(part) for part in batches(members, conflicts, count, size=size)]
        return made

    def _bounds(self) -> tuple[int, int]:
        memory = self.memory
        fresh = memory.learned_at is not None and self.now - memory.learned_at < ONCE_A_DAY
        count = (memory.max_names if fresh else None) or self.limits.max_header_betas
        return max(1, count - 1), (memory.max_bytes if fresh else None) or HEADER_BYTES

    def _ask_group(self, group: Sequence[str]) -> None:
        line = self.line
        line.path = self.items[group[0]].path
        if self.named:
            refused = line.drive(
                naming(group, self.found, control=not line.control_held), self._reserve
            )
            self.names_few |= refused > 2
            if line.names_refused is False:
                self.named = False
            return
        line.names_refused = False
        line.drive(halving(group, self.found), self._reserve)

    def _reserve(self) -> int:
        """Return what must be kept: for the controls, and to confirm what was found so far.

        Ends the search (`Spent`) as soon as so many are refused alone that they are a mass change.
        """
        if self._is_mass(self.found):
            raise Spent
        turning = self.turning()
        alone = sum(not self.refusals(name) for name in turning)
        deciding = self.limits.confirmations if any(map(self.decides, turning)) else 0
        return FOR_CONTROLS + min(max(alone + deciding, 2), self.limits.max_requests // 2)

    # --- Confirmation -----------------------------------------------------------------------------

    def conclude(self) -> tuple[Outcome, str, tuple[Observation, ...], tuple[str, ...]]:
        """Confirm, look for a mass change, repeat the controls, and tell. Raises `Stop`."""
        mass = self._confirm()
        proof = _Proof(repeated=False)
        if mass or any(map(self.moves, self.found)):
            self.line.repeat_controls()
            proof = _Proof(repeated=True)
        if mass:
            against = {name for name, it in self.found.items() if is_against(it.verdict)}
            lost = self._guarded(name for name in self.items if name in self.left | against)
            return "mass_change", self._about_mass(), (), tuple(sorted(lost))
        self._doubt_foreign()
        self._note_aside()
        self._note_mixed()
        if self.left:
            self.notes.insert(0, self._used_up())
        return ("partial" if self.left else "ok"), " ".join(self.notes), proof.observe(self), ()

    def _confirm(self) -> bool:
        """Ask alone what turns; returns whether it is a mass change. Drops what cannot be confirmed."""
        turning = self.turning()
        if not turning:
            return False
        self.line.reserve = FOR_CONTROLS
        asked: list[str] = []
        if self._is_mass_now() or self._ask_turning(turning, asked):
            return True
        unknown = [name for name in turning if name not in asked]
        if self._is_mass_likely(asked, unknown):
            return True
        for name in unknown:
            self._drop(name)
        self._decide(asked, unknown)
        return False

    def _ask_turning(self, turning: Sequence[str], asked: list[str]) -> bool:
        """Ask them alone, into `asked`, as far as the budget goes; returns whether it is a mass change."""
        held = set(self._guarded(turning))
        try:
            for name in sorted(turning, key=lambda name: name not in held):
                if not self.line.alone.get(name):
                    self.line.reserve = FOR_CONTROLS + self._still_needed(asked, name)
                    self._confirm_once(name)
                for _ in range(AT_FIRST):
                    if self.standing(name).state == "unknown" and self._is_open(name):
                        self._confirm_once(name)
                asked.append(name)
                if self._is_mass_now():
                    return True
        except Spent:
            pass
        finally:
            self.line.reserve = FOR_CONTROLS
        return False

    def _is_mass_now(self) -> bool:
        return self._is_mass() and self._is_mass_again()

    def _still_needed(self, asked: Sequence[str], name: str) -> int:
        """Return how many requests are to be kept for decisions when one more is asked alone.

        All of what is held is asked, because a mass change is made of it; of the others only what can be
        decided too.
        """
        needed = [self.needed(one) - self.refusals(one) for one in asked if self._is_open(one)]
        if self._guarded([name]):
            return FOR_PARITY + max(needed, default=self.needed(name) - 1)
        return FOR_PARITY + sum(needed) + self.needed(name) - 1

    def _confirm_once(self, name: str) -> None:
        """Ask a beta alone, and let this answer count; one that was refused and accepted is mixed."""
        self.line.path = self.items[name].path
        before, heard = self.found[name], self.line.ask((name,))
        against = [it for it in self.line.alone[name] if is_against(it.verdict)]
        if heard.verdict == "accepted":
            self.found[name] = replace(
                heard, verdict="mixed"
            )  # also when nothing more can be asked
            self.found[name] = self.found[name] if self.line.is_taken(name) else before
        elif against:
            self.found[name] = _prevailing(against, self.standing(name).toward)
        else:
            self.found[name] = heard

    def _doubt_foreign(self) -> None:
        """Count a refusal that names only others for the beta sent alone if what is sent without it passes."""
        for name, heard in self.found.items():
            if heard.foreign and not any(name not in names for names in self.line.passed):
                self.found[name] = replace(heard, verdict="inconclusive")

    def _is_lost(self, name: str) -> bool:
        """Say whether a beta's loss is confirmed: alone, in this sweep or, if unasked, in an earlier one."""
        if name in self.found:
            return is_against(self.found[name].verdict) and self.refusals(name) > 0
        return self.standing(name).toward in ("refused", "restricted")

    def _is_mass(self, among: Collection[str] | None = None) -> bool:
        counted = [name for name in self.items if name not in self.believed]
        verdicts: list[Observed] = [
            "refused"
            if (among is None or name in among) and self._is_lost(name)
            else "inconclusive"
            for name in counted
        ]
        return is_mass_change([self.standing(name) for name in counted], verdicts)

    def _is_mass_again(self) -> bool:
        """Ask those lost once more: random refusals do not repeat.

        Where the budget does not allow it for all, some must do.
        """
        lost = [name for name in self.found if self._is_lost(name) and name not in self.believed]
        self.rng.shuffle(lost)
        again = [name for name in lost if self.refusals(name) > 1]
        try:
            for name in lost:
                if name not in again:
                    self._confirm_once(name)
                    again.append(name)
                if not self._is_mass():
                    return False
        except Spent:
            return len(again) >= LEAST_SAMPLE and all(map(self._is_lost, again))
        return True

    def _guarded(self, names: Iterable[str]) -> list[str]:
        """Return those of which a mass change is made: held, and not believed to have died."""
        return [
            name for name in names if is_held(self.standing(name)) and name not in self.believed
        ]

    def _is_mass_likely(self, asked: Sequence[str], unknown: Sequence[str]) -> bool:
        """Say whether those left over would make it one, when all that could be asked were refused."""
        asked, unknown = self._guarded(asked), self._guarded(unknown)
        lost = sum(map(self._is_lost, asked))
        few = len(asked) + len(unknown) <= self._most()
        return bool(unknown) and LEAST_SAMPLE <= len(asked) == lost and not few

    def _most(self) -> float:
        return mass_limit(len(self._guarded(self.items)))

    def _decide(self, asked: Sequence[str], unknown: Sequence[str]) -> None:
        """Confirm what would decide, in rounds that are spread over time; drop what cannot be."""
        deciding = [name for name in asked if self._is_open(name)]
        if deciding and not self._may_decide(asked, unknown):
            for name in deciding:
                self._drop(name)
            self.notes.append("Nothing is decided before the search is over.")
            deciding = []
        kept = self._affordable(deciding)
        for name in deciding:
            if name not in kept:
                self._drop(name)
        self._rounds(kept)
        self._sooner([name for name in asked if name not in deciding])
        for name in self.turning():  # the last answer may speak for another state than the first
            if self._is_open(name):
                self._drop(name)

    def _may_decide(self, asked: Sequence[str], unknown: Sequence[str]) -> bool:
        """Say whether enough is known to exclude a mass change: `unknown` could not be asked alone.

        Of what the search left over nothing is known, so all of it may be lost.
        """
        lost = sum(map(self._is_lost, self._guarded(self.items)))
        left = [name for name in self._guarded(self.left) if name not in unknown]
        tried = self._guarded(asked)
        share = sum(map(self._is_lost, tried)) / len(tried) if tried else 0.0
        more = share * len(self._guarded(unknown)) + sum(not self._is_lost(name) for name in left)
        return lost + more <= self._most()

    def _is_open(self, name: str) -> bool:
        verdict = self.found[name].verdict if name in self.found else "inconclusive"
        return is_against(verdict) and self.refusals(name) < self.needed(name)

    def _affordable(self, deciding: Sequence[str]) -> list[str]:
        """Return as many of those that decide as can be confirmed within the budget."""
        left = self.limits.max_requests - FOR_CONTROLS - FOR_PARITY - self.line.requests
        kept = []
        for name in deciding:
            left -= self.needed(name) - self.refusals(name)
            if left < 0:
                break
            kept.append(name)
        return kept

    def _rounds(self, deciding: Sequence[str]) -> None:
        if not deciding:
            return
        try:
            if self.rng.random() < 0.5:
                self.line.plain()
            rounds = max(self.needed(name) - self.refusals(name) for name in deciding)
            gaps = self._gaps(rounds)
            for number in range(rounds + SPARE_ROUNDS):
                names = [name for name in deciding if self._is_open(name)]
                if not names:
                    return
                self.rng.shuffle(names)
                self.line.wait(gaps[number] if number < rounds else gaps[-1])
                for name in names:
                    self._confirm_once(name)
        except Spent:
            pass

    def _gaps(self, rounds: int) -> list[float]:
        """Draw the pauses before each round; together they are as long as the spread, or a bit longer."""
        shares = [self.rng.uniform(0.5, 1.5) for _ in range(rounds)]
        whole = self.limits.confirm_spread * self.rng.uniform(1.0, 1.2)
        return [whole * share / sum(shares) for share in shares]

    def _sooner(self, names: Sequence[str]) -> None:
        """Ask a few times more what costs little to ask: a server in two is found out the sooner.

        That is those whose run has begun, and those of which nothing was known.
        """
        most = {
            name: self.limits.confirmations
            if self.standing(name).state == "unknown"
            else SOONER
            if self.standing(name).count
            else 0
            for name in names
            if name in self.found and name not in self.believed
        }
        spare = self.limits.max_requests // 4
        try:
            for number in range(max(most.values(), default=0)):
                for name, count in most.items():
                    if self.line.requests >= self.limits.max_requests - spare:
                        return
                    asked = len(self.line.alone.get(name, ()))
                    if number < count and asked <= number and is_against(self.found[name].verdict):
                        self._confirm_once(name)
        except Spent:
            pass

    def _drop(self, name: str) -> None:
        self.found.pop(name, None)
        self.left.add(name)

    # --- What is said and remembered --------------------------------------------------------------

    def _used_up(self) -> str:
        count = len(self.left)
        left = "1 beta is" if count == 1 else f"{count} betas are"
        return (
            f"The budget of {self.limits.max_requests} requests is used up. {left} left for later."
        )

    def _about_mass(self) -> str:
        held = self._guarded(self.items)
        lost = sum(map(self._is_lost, held))
        return (
            f"mass refusal: did the key or the plan change? {lost} of {len(held)} supported betas are "
            "refused, each when asked alone."
        )

    def about_lock(self) -> str:
        """Say how it stands while an operator's word is waited for."""
        held = [item.name for item in self.items.values() if is_held(item.standing)]
        refused = sum(name in self.found and is_against(self.found[name].verdict) for name in held)
        return (
            f"mass refusal: did the key or the plan change? Now {refused} of {len(held)} supported betas are "
            "refused; nothing is decided before an operator has answered."
        )

    def _note_aside(self) -> None:
        unproven = [
            f"{name} ({heard.status or 'no answer'}: {heard.message[:80]})"
            for name, heard in sorted(self.found.items())
            if heard.verdict == "inconclusive"
        ]
        resting = [
            f"{name} ({held.http_status or 'no answer'}: {held.message[:80]}; asked once a day)"
            for name, held in sorted(self.memory.aside.items())
            if name in self.items and name not in self.found
        ]
        unproven += resting
        if unproven:
            more = f" and {len(unproven) - 5} more" if len(unproven) > 5 else ""
            self.notes.append(
                f"Put aside, because neither accepted nor refused: {', '.join(unproven[:5])}{more}."
            )

    def _note_mixed(self) -> None:
        mixed = sorted(
            name
            for name, heard in self.found.items()
            if heard.verdict == "mixed"
            or (is_against(heard.verdict) and self.standing(name).mixed_since is not None)
        )
        if mixed:
            more = f" and {len(mixed) - 5} more" if len(mixed) > 5 else ""
            self.notes.append(f"Refused and accepted in turn: {', '.join(mixed[:5])}{more}.")

    def remembered(self) -> Memory:
        """Return what the next sweep must know."""
        aside = {name: it for name, it in self.memory.aside.items() if name not in self.found}
        for name, heard in self.found.items():
            if heard.verdict == "inconclusive" and self.line.alone.get(name):
                before = self.memory.aside.get(name)
                aside[name] = Aside(
                    strikes=before.strikes + 1 if before else 1,
                    asked_at=self.now,
                    http_status=heard.status,
                    message=heard.message[:200],
                )
        unclear = (self.left | set(self.memory.open)) & set(self.items) - set(self.found)
        return replace(
            self._with_bounds(),
            endpoint=self.line.endpoint,
            missing=0,
            open=() if self.named else tuple(sorted(unclear)),
            aside={name: item for name, item in aside.items() if name in self.items},
            names_few=self.names_few,
            wary=MIXED_WITHIN if self.line.dropped else max(0, self.memory.wary - 1),
            apart=tuple(sorted(filter(self._is_apart, self.items))),
        )

    def _is_apart(self, name: str) -> bool:
        """Say whether the last lone refusal of a beta, in this sweep or before, did not name it."""
        if heard := self.line.alone.get(name):
            return is_against(heard[-1].verdict) and not heard[-1].names
        return name in self.memory.apart and (self._is_doubted(name) or self._is_suspect(name))

    def _learn_bounds(self) -> None:
        """Learn how long a header may be, where a group fails again of which each part passed."""
        passed = [set(names) for names in self.line.passed]
        for names, by_size in self.line.failed:
            inner = [part for part in passed if part < set(names)]
            if by_size and inner and set(names) <= set().union(*inner):
                self.line.path = self.items[names[0]].path
                if self.line.ask(names).verdict == "inconclusive":
                    self.passable = inner
                return

    def _with_bounds(self) -> Memory:
        if self.passable:
            return replace(
                self.memory,
                max_names=max(map(len, self.passable)) + 1,
                max_bytes=max(sum(len(name) + 1 for name in part) for part in self.passable) + 64,
                learned_at=self.now,
            )
        if self.memory.learned_at and self.now - self.memory.learned_at >= ONCE_A_DAY:
            return replace(self.memory, max_names=None, max_bytes=None, learned_at=None)
        return self.memory


def _prevailing(against: Sequence[Heard], toward: State | None) -> Heard:
    """Return the last of those lone refusals of which there are more: for everybody, or for this key.

    Of as many the sweeps before decide, else the last.
    """
    limited = [heard for heard in against if heard.verdict == "restricted"]
    others = [heard for heard in against if heard.verdict != "restricted"]
    if len(limited) != len(others):
        return max(limited, others, key=len)[-1]
    if toward in ("refused", "restricted"):
        return (limited if toward == "restricted" else others)[-1]
    return against[-1]
