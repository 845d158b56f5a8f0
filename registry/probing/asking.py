"""One request of a sweep at a time: what its answer means, when it is sent again, and the controls.

A request without betas that passes proves that the upstream answers. So when a group fails again and
again while that passes, the group is to blame, whatever the answer was: it is `inconclusive`, and whoever
asked parts it. When it does not pass, the sweep ends with the sentence that says why.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from registry.core.answers import Meaning, classify
from registry.core.lifecycle import Observed, is_against
from registry.probing.grouping import Asking, Batch, Heard
from registry.probing.values import Limits, Memory, Outcome, Raw, Sender

__all__ = ["BLIND", "Line", "Progress", "Spent", "Stop"]

MAX_RETRIES: Final = 2
"""Times that one request is sent again when the upstream is busy or the network fails."""
MAX_WAIT: Final = 60.0
"""Longest `retry-after` that is waited for, in seconds; a longer one ends the sweep."""
SWEEP_RETRIES: Final = 8
"""Retries in a sweep, and one more for every third request."""
LOST_AFTER: Final = 3
"""Sweeps in a row that do not find a proven endpoint, before another one is tried."""
TAKEN_TRIES: Final = 4
"""Requests that may tell whether an acceptance is one of the beta that was sent."""
ECHO: Final = 5
"""A refusal that names all of more than so many betas tells nothing of any one of them."""

BLIND: Final = (
    "A never-issued beta was accepted: something on the way drops or ignores the header, so nothing that "
    "is accepted here proves anything. Probe the API directly, or let the gateway pass the header on."
)

_ABOUT_MODEL = re.compile(r"\bmodels?\b", re.I)
_TOO_LARGE = re.compile(
    r"too (?:large|long|big|many)|exceed|header.{0,20}(?:limit|size)|request[- ]line", re.I
)

Progress = Callable[[int, str], None]
"""Called with the number of requests so far and what was just found out."""


class Stop(Exception):
    """The sweep cannot go on."""

    def __init__(self, outcome: Outcome, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.outcome, self.detail, self.retry_after = outcome, detail, retry_after


class Spent(Exception):
    """What may be spent on this part of the sweep is spent."""


@dataclass(slots=True)
class Line:
    """The line to one upstream for one sweep. `reserve` requests are kept for what must come later.

    `expected` are the betas whose refusal is no surprise. `wary`: headers were dropped on the way lately;
    `dropped`: one was in this sweep. Once something was accepted (`answered`), one answer about the
    credential is not believed.
    """

    sender: Sender
    platform: str
    model: str
    limits: Limits
    pause: Callable[[float], object]
    progress: Progress
    endpoint: str = ""
    path: str | None = None
    requests: int = 0
    controls: int = 0
    retries: int = 0
    reserve: int = 2
    control_held: bool = False
    names_refused: bool | None = None
    alone: dict[str, list[Heard]] = field(default_factory=dict)
    failed: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)
    passed: list[tuple[str, ...]] = field(default_factory=list)
    missing: bool = False
    expected: frozenset[str] = frozenset()
    wary: bool = False
    dropped: bool = False
    answered: bool = False
    _trouble: bool = False
    _control: str = ""
    _last: Meaning | None = None

    # --- One request ------------------------------------------------------------------------------

    def ask(self, names: Sequence[str], *, control: bool = False) -> Heard:
        """Send one request and say what its answer means; waits and tries again where that helps.

        One beta alone goes over a connection of its own: behind it may stand another server. Raises
        `Spent` when the budget is used up, and `Stop` when the upstream does not answer at all.
        """
        sent = [*names, self._never_issued()] if control else list(names)
        tries = MAX_RETRIES if self._trouble else MAX_RETRIES + 1
        for attempt in range(tries):
            if len(names) == 1 and not control:
                self.sender.close()
            raw, meaning = self._send(sent)
            if not names and attempt == 0 and self._is_odd(meaning, control=control):
                continue
            if meaning.verdict != "inconclusive":
                break
            if not names:
                if meaning.reason == "request" and (attempt or not self.answered):
                    break
                self._wait_or_stop(meaning, raw, attempt)
            elif not self._wait_or_blame(meaning, raw, attempt, tries):
                break
        return self._heard(names, meaning, raw.status, control=control)

    def _is_odd(self, meaning: Meaning, *, control: bool) -> bool:
        """Say whether an answer speaks of a beta where none was sent that exists."""
        sensible = (
            ("accepted", "inconclusive", "refused") if control else ("accepted", "inconclusive")
        )
        return meaning.verdict not in sensible

    def _send(self, sent: Sequence[str]) -> tuple[Raw, Meaning]:
        if self.requests >= self.limits.max_requests - self.reserve:
            raise Spent
        self.requests += 1
        raw = self.sender.send(sent, self.endpoint, self.path)
        meaning = classify(
            raw.status, raw.headers, raw.body, sent, platform=self.platform, model=self.model
        )
        self._last = meaning
        return raw, meaning

    def _wait_or_stop(self, meaning: Meaning, raw: Raw, attempt: int) -> None:
        wait = _retry_after(raw.headers)
        self.retries += 1
        if (
            (meaning.reason in ("auth", "billing") and (attempt or not self.answered))
            or attempt == MAX_RETRIES
            or self._impatient()
            or (wait is not None and wait > MAX_WAIT)
        ):
            why = raw.error or meaning.explanation or meaning.message
            advice = f" {meaning.advice}" if meaning.advice and not raw.error else ""
            raise Stop("inconclusive", f"{why}{advice}".strip(), wait)
        self.wait(wait if wait is not None else 2.0**attempt)

    def _wait_or_blame(self, meaning: Meaning, raw: Raw, attempt: int, tries: int) -> bool:
        """Say whether to send a group once more; False when it is to blame itself."""
        wait = _retry_after(raw.headers)
        self.retries += 1
        last = attempt + 1 >= tries or self._impatient()
        if meaning.reason == "request":  # the upstream speaks: no waiting will change its mind
            return attempt == 0 and not last
        hopeless = meaning.reason in ("auth", "billing") or (wait or 0) > MAX_WAIT
        if (last or hopeless) and not self._trouble:
            self._make_sure_that_it_answers()
        if last:
            return False
        if not hopeless:
            self.wait(wait if wait is not None else 2.0**attempt)
        return True

    def _impatient(self) -> bool:
        return self.retries > SWEEP_RETRIES + self.requests // 3

    def _make_sure_that_it_answers(self) -> None:
        """Send the plain control. Raises `Stop` when it does not pass: then no group is to blame."""
        heard = self.plain()
        if heard.verdict != "accepted":
            raise Stop("inconclusive", _not_accepted(f"{heard.status} {heard.message}", self._last))
        self._trouble = True

    def wait(self, seconds: float) -> None:
        """Pause. Raises `Stop` when the pause says that this process ends."""
        if self.pause(seconds) is True:
            raise Stop("inconclusive", "The process that ran it was stopped.")

    def _heard(
        self, names: Sequence[str], meaning: Meaning, status: int | None, *, control: bool
    ) -> Heard:
        verdict: Observed = "inconclusive" if meaning.verdict == "beta_missing" else meaning.verdict
        told = {name.lower() for name in meaning.refused}
        named = tuple(name for name in names if name.lower() in told)
        if len(named) == len(names) > ECHO and not self.expected.issuperset(names):
            named, told = (), set()
        if control and verdict == "refused":
            held = self._control in told
            self.control_held = self.control_held or held
            self.names_refused = True if held else self.names_refused if named else False
        foreign = len(names) == 1 and verdict == "refused" and bool(told) and not named
        self.progress(self.requests, f"{len(names)} betas: {meaning.verdict}")
        heard = Heard(verdict, named, status, meaning.message, meaning.request_id, foreign)
        self.answered = self.answered or verdict == "accepted"
        if names:
            self._note(tuple(names), heard, control=control)
        return heard

    def _note(self, names: tuple[str, ...], heard: Heard, *, control: bool) -> None:
        if len(names) == 1 and not control:
            self.alone.setdefault(names[0], []).append(heard)
        if heard.verdict == "accepted":
            self.passed += () if control else (names,)
        elif not is_against(heard.verdict):
            large = heard.status in (413, 414, 431, 494) or bool(_TOO_LARGE.search(heard.message))
            spoke = self._last is not None and self._last.reason == "request"
            self.failed.append((names, large or not spoke))

    def _never_issued(self) -> str:
        # Random each time, so that no cache and no list can know it.
        self._control = f"never-issued-{secrets.token_hex(6)}-2024-01-01"
        return self._control

    # --- The controls -----------------------------------------------------------------------------

    def first_control(self, memory: Memory) -> None:
        """Find an endpoint that answers a request without betas; a proven one is not left lightly."""
        tried = []
        for endpoint in _in_order(self.sender.endpoints, memory.endpoint):
            self.endpoint = endpoint
            heard = self.plain()
            if heard.status in (404, 405, 501) and not _ABOUT_MODEL.search(heard.message):
                heard = self.plain()
            if heard.verdict == "accepted":
                return
            tried.append(f"{endpoint}: {heard.status} {heard.message}".strip())
            if heard.status not in (404, 405, 501) or self._names_model(heard):
                break
            if endpoint == memory.endpoint and memory.missing + 1 < LOST_AFTER:
                self.missing = True
                raise Stop(
                    "inconclusive",
                    f"{endpoint} was proven here and now answers {heard.status} {heard.message}; another "
                    f"endpoint is tried when {LOST_AFTER} sweeps in a row find it so.",
                )
        raise Stop("inconclusive", _not_accepted("; ".join(tried), self._last))

    def _names_model(self, heard: Heard) -> bool:
        if heard.status != 404 or not _ABOUT_MODEL.search(heard.message):
            return False
        raise Stop(
            "inconclusive",
            f"The model {self.model} is not found at {self.endpoint} (404 {heard.message}): correct `model` "
            "of the target, or the region that it is asked in. This says nothing about any beta.",
        )

    def plain(self) -> Heard:
        """Send the control without betas; where list calls are probed, to the models."""
        endpoint, path = self.endpoint, self.path
        if endpoint == "list":
            self.endpoint, self.path = "models", None
        try:
            return self.ask(())
        finally:
            self.endpoint, self.path = endpoint, path

    def second_control(self) -> None:
        """Make sure that a never-issued name is refused. Raises `Stop` when it is not."""
        heard = self.ask((), control=True)
        if heard.verdict == "accepted":
            raise Stop("blind", BLIND)
        if heard.verdict != "refused":
            raise Stop(
                "inconclusive",
                f"A never-issued name is neither accepted nor refused: {heard.status} {heard.message}",
            )
        self.control_held = True

    def named_control(self) -> bool:
        """Say whether the last refusal named the control name."""
        return self._last is not None and self._control in self._last.refused

    def is_taken(self, name: str) -> bool:
        """Say whether the acceptance of a beta that was just sent alone is one of this beta.

        Over the same connection it is sent again, with a never-issued name. When that is accepted, the header
        was dropped on the way, and nothing is proven. A refusal proves it, but where headers were dropped
        lately it must not name the beta too; where refusals name nothing, any of them will do.
        """
        named = False
        for _ in range(TAKEN_TRIES):
            heard = self.ask((name,), control=True)
            if heard.verdict == "accepted":
                self.dropped = True
                return False
            if is_against(heard.verdict) and not (heard.names and self.wary):
                return True
            named = named or bool(heard.names)
        return not named

    def repeat_controls(self) -> None:
        """Both once more, over a new connection, before anything that turned is believed."""
        before, self.reserve = self.requests, 0
        self.sender.close()
        try:
            if self.plain().verdict != "accepted":
                raise Stop(
                    "inconclusive", "At the end a request without betas was no longer accepted."
                )
            self.second_control()
        except Spent:
            raise Stop(
                "inconclusive", "The budget was used up before the controls could be repeated."
            ) from None
        self.controls = self.requests - before

    # --- Groups -----------------------------------------------------------------------------------

    def drive(self, asking: Asking, reserve: Callable[[], int]) -> int:
        """Feed a generator of requests with their answers. Returns how many were refused.

        `reserve` says before each request how many are to be kept for later.
        """
        refused = 0
        try:
            batch: Batch = next(asking)
            while True:
                self.reserve = reserve()
                heard = self.ask(batch.names, control=batch.control)
                if batch.control and heard.verdict == "accepted":
                    raise Stop("blind", BLIND)
                refused += heard.verdict == "refused"
                batch = asking.send(heard)
        except StopIteration:
            return refused


def _in_order(endpoints: Sequence[str], proven: str | None) -> list[str]:
    first = [proven] if proven in endpoints and proven is not None else []
    return [*first, *(name for name in endpoints if name not in first)]


def _not_accepted(tried: str, last: Meaning | None) -> str:
    advice = last.advice if last is not None else ""
    return f"A request without betas is not accepted ({tried}). {advice}".strip()


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after` in seconds (RFC 9110, section 10.2.3); a date is not used by any platform."""
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, float(value))
            except ValueError:
                return None
    return None
