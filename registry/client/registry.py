"""`Registry`: answers from the facts at hand, and what was learned from the answers upstream gave."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from registry.client.header import Header
from registry.client.reporting import Reporter
from registry.client.snapshot import Clock, Held, Line, Store, cache_folder
from registry.client.worker import Worker
from registry.core.answers import classify
from registry.core.errors import Invalid, RegistryError
from registry.core.judgement import Warning_, lenient_place
from registry.core.names import NAME_MAX, is_well_formed, parse, read_header
from registry.core.places import MAX_PART, Place
from registry.core.resolution import Ask, Dropped, Paired, Resolution, Sent

__all__ = ["Registry"]

log: Final = logging.getLogger("registry.client")

_TOLD_MAX: Final = 2000
_REFUSALS_EVERY: Final = 5.0
_POLICIES: Final = ("strict", "filter", "advise")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LOUD: Final = frozenset(
    {
        "retired", "refused", "wrong_model", "wrong_endpoint", "conflict", "unknown", "unresolved",
        "deprecated", "no_effect", "companion_missing", "essential",
    }
)  # fmt: skip
"""Warnings that somebody should act on. The others are told at level DEBUG."""

_Key = tuple[tuple[str, ...], tuple[str, ...], str, str | None, str | None, str | None,
             str | None, str | None, str | None, str | None, str | None, str | None,
             str | None]  # fmt: skip
"""`wanted`, `sent`, platform, API, hosting, region, model, endpoint, target, policy, and `on_...`."""


class Registry:
    """What to send, answered on this machine; safe to share between threads and tasks.

    `url`: the registry (else `BETA_REGISTRY_URL`; without either the bundled catalog answers). `token`: of
    scope `report`, for usage reports and for reading where that is not open to all (else
    `BETA_REGISTRY_TOKEN`). With `service` usage is counted and reported, under `environment`.
    `policy`: `advise` (removes nothing, warns), `filter` (drops what would fail), `strict` (raises).
    `refresh`, `flush`: how often facts are asked for and usage is sent. `cache`: a folder, None for the
    user's own, False for none. `http`: an `httpx2.Client` of your own, for proxies or certificates.

    Nothing here waits for the network but `wait` and `close`. Raises `Invalid` for arguments that can
    never work; after that only `strict` ever raises.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        service: str | None = None,
        environment: str | None = None,
        instance: str | None = None,
        policy: str = "advise",
        refresh: str | float = "60s",
        flush: str | float = "30s",
        cache: str | Path | bool | None = None,
        http: httpx2.Client | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.policy, self._clock = _policy(policy), clock
        url = _url(url or os.environ.get("BETA_REGISTRY_URL"))
        line = Line(url, token or os.environ.get("BETA_REGISTRY_TOKEN"), http) if url else None
        self._store = Store(
            line, folder=_folder(cache), refresh=_seconds(refresh, "refresh"), clock=clock
        )
        every = _seconds(flush, "flush")
        self._reporter = (
            Reporter(
                line,
                service=service,
                environment=environment or "default",
                instance=instance,
                every=every,
                clock=clock,
            )
            if line and service
            else None
        )
        self._told: set[tuple[str, str, str]] = set()
        self._worker = _start(line, self._store, self._reporter)
        if self._worker is not None:
            # Whoever forgets to close it is not made to wait: the thread sends what is left, and ends.
            weakref.finalize(self, self._worker.stop, 0.0).atexit = False

    # --- Asking -----------------------------------------------------------------------------------

    def header(
        self,
        *names: str,
        platform: str = "anthropic",
        api: str | None = None,
        hosting: str | None = None,
        region: str | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        target: str | None = None,
        policy: str | None = None,
        on_unknown: str | None = None,
        on_unproven: str | None = None,
        on_restricted: str | None = None,
    ) -> Header:
        """Say what to send for these features and betas; counts as usage of them.

        A name that is neither known nor dated is taken for a misspelt feature and never sent. Raises
        `RegistryError` under the policy `strict`, and nothing under any other.
        """
        key = (
            names, (), platform, api, hosting, region, model, endpoint, target, policy,
            on_unknown, on_unproven, on_restricted,
        )  # fmt: skip
        answer = self._answer(key)
        if self._reporter is not None:
            self._reporter.count(answer.place, answer.used)
        return answer

    def resolve(
        self,
        sent: Sequence[str] = (),
        wanted: Sequence[str] = (),
        *,
        platform: str = "anthropic",
        api: str | None = None,
        hosting: str | None = None,
        region: str | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        policy: str | None = None,
        on_unknown: str | None = None,
        on_unproven: str | None = None,
        on_restricted: str | None = None,
    ) -> Header:
        """Say what to send where a request already names betas (`sent`) and more are `wanted`.

        Like `header`, but it counts nothing, and of `sent` an unknown name is passed on as it is.
        """
        key = (
            tuple(wanted), tuple(sent), platform, api, hosting, region, model, endpoint, None, policy,
            on_unknown, on_unproven, on_restricted,
        )  # fmt: skip
        return self._answer(key)

    def observe(
        self,
        answer: Header,
        status: int,
        headers: Mapping[str, str],
        body: str | bytes = b"",
        *,
        model: str | None = None,
        count: int = 0,
    ) -> tuple[str, ...]:
        """Learn from what upstream answered to a request with this header; returns the names it refused.

        A refusal is reported at once. `body` is read for errors only. `count`: how many uses to count, for a
        request whose header was not asked for with `header`. Never raises.
        """
        try:
            refused = self._refused(answer, status, headers, body, model)
            if self._reporter is not None:
                self._reporter.count(
                    _place(answer, model),
                    answer.used,
                    count=count,
                    accepted=200 <= status < 300,
                    refused=refused,
                )
                self._send_soon(at_once=bool(refused))
        except Exception as error:
            self.excuse("observe", error)
            return ()
        return refused

    def count(self, answer: Header, *, model: str | None = None) -> None:
        """Count a use whose outcome is not known, such as a request that was never answered."""
        if self._reporter is not None:
            self._reporter.count(_place(answer, model), answer.used)
            self._send_soon(at_once=False)

    def _answer(self, key: _Key) -> Header:
        held = self._store.ready or self._store.held
        worker = self._worker
        if worker is not None and worker.thread is None:
            worker.ensure()
        if not held.since <= self._clock() < held.until:
            held.begin()
        try:
            known: Header | None = held.memo.held.get(key)
        except TypeError:  # something that is no text
            known, key = None, _as_text(key)
        if known is not None:
            return known
        known = self._make(held, key)
        held.memo.keep(key, known, known.size + _length(key))
        return known

    def _make(self, held: Held, key: _Key) -> Header:
        wanted, sent, *place = key[:8]
        policy = key[9] or self.policy
        asked = _items(held, wanted, sent)
        try:
            ask = held.ask(key[2:], self.policy)
            answer = Header(_resolve(held, ask, asked), asked, held)
        except RegistryError as error:
            if policy == "strict":
                raise
            answer = _unjudged(held, asked, place, error.detail)
        except Exception as error:
            if policy == "strict":
                raise
            self.excuse("header", error)
            answer = _unjudged(held, asked, place, f"{type(error).__name__}: {error}")
        self._tell(answer)
        return answer

    # --- Learning ---------------------------------------------------------------------------------

    def _refused(
        self,
        answer: Header,
        status: int,
        headers: Mapping[str, str],
        body: str | bytes,
        model: str | None,
    ) -> tuple[str, ...]:
        if status < 400 or answer.omit:
            return ()
        meaning = classify(
            status, headers, body, answer.names, platform=answer.platform, model=model
        )
        if meaning.verdict != "refused":
            return ()
        # "invalid beta flag" names nothing; with one beta in the request it needs no name.
        named = tuple(name for name in meaning.refused if name in answer.names)
        refused = named or (answer.names if len(answer.names) == 1 else ())
        for name in refused:
            text = f"{name} was refused by {answer.platform}: {meaning.message}"
            self._say(logging.WARNING, (name, "answer", answer.platform), text)
        return refused

    def _send_soon(self, *, at_once: bool) -> None:
        if self._worker is None or self._reporter is None:
            return
        if not at_once:
            self._worker.ensure()
            return
        since = time.monotonic() - self._reporter.flushed_at
        self._worker.wake(self._reporter.flush, max(0.0, _REFUSALS_EVERY - since))

    def _tell(self, answer: Header) -> None:
        """Log what is worth knowing about an answer, each thing once."""
        where = answer.platform
        for sent in answer.betas:
            for warning in sent.warnings:
                once = (sent.requested[:NAME_MAX], warning.code, where)
                if once not in self._told:
                    level = logging.WARNING if warning.code in _LOUD else logging.DEBUG
                    text = f"{sent.requested} is sent ({warning.code} on {where}): {warning.detail}"
                    self._say(level, once, text)
        for dropped in answer.dropped:
            level = logging.DEBUG if dropped.reason == "ga" else logging.WARNING
            instead = f" Use {dropped.use_instead}." if dropped.use_instead else ""
            text = (
                f"{dropped.requested} is not sent ({dropped.reason} on {where}): {dropped.detail}"
            )
            once = (dropped.requested[:NAME_MAX], dropped.reason, where)
            self._say(level, once, f"{text}{instead}")

    def advise(self, answer: Header, paired: Paired) -> None:
        """Log what is worth knowing about a request's body, each thing once."""
        where = answer.platform
        for use in paired.cut.kept_essential:
            names = ", ".join(use.betas)
            text = f"{names} is kept, though it is not accepted on {where}: the request needs {use.field}."
            self._say(logging.WARNING, (use.field, "essential", where), text)
        for item in paired.missing:
            names = item.beta or " or ".join(item.alternatives[:3])
            todo = f"add {item.beta}" if item.beta else f"none of {names} works there; leave it out"
            todo += f", or use {item.instead}" if item.instead else ""
            text = f"{item.field} is sent without its beta (beta_missing on {where}): {todo}."
            self._say(logging.WARNING, (item.field, "beta_missing", where), text)

    def excuse(self, where: str, error: Exception) -> None:
        """Log an error of our own, once: it must not become the caller's."""
        text = f"{where} failed ({type(error).__name__}: {error}); the request goes on as it was."
        self._say(logging.ERROR, (where, type(error).__name__, ""), text)

    def _say(self, level: int, once: tuple[str, str, str], text: str) -> None:
        if once not in self._told and len(self._told) < _TOLD_MAX:
            self._told.add(once)
            log.log(level, "%s", text)

    # --- Living -----------------------------------------------------------------------------------

    def wait(self, timeout: float = 5.0) -> bool:
        """Wait for the first answer of the registry; returns whether it came. Nobody needs to."""
        if self._worker is None:
            return False
        self._worker.ensure()
        return self._store.fetched.wait(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Send what was counted and end the thread; answers are given as before, and never renewed."""
        if self._worker is not None:
            self._worker.stop(timeout)

    async def aclose(self, timeout: float = 5.0) -> None:
        """`close` for asynchronous programs."""
        await asyncio.to_thread(self.close, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _start(line: Line | None, store: Store, reporter: Reporter | None) -> Worker | None:
    """Start the thread, where there is anything to do for it. It must not hold the `Registry` itself."""
    if line is None:
        return None

    def last() -> None:
        if reporter is not None:
            reporter.flush()
        line.close()

    def forked() -> None:
        line.forked()
        store.forked()
        if reporter is not None:
            reporter.forked()

    jobs = [store.refresh, *([reporter.flush] if reporter else [])]
    worker = Worker(jobs, last=last, forked=forked)
    worker.ensure()
    return worker


# --- Names into an answer -------------------------------------------------------------------------


def _items(held: Held, wanted: Sequence[str], sent: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Tell betas from features: what a request names first, then what is wanted with it.

    Whoever names a beta has chosen the version: the same feature is not added in another one.
    """
    kinds = held.kinds
    if not sent:
        try:
            return tuple([kinds[name] for name in wanted])
        except KeyError:
            pass  # unknown names, or several in one text
    own = [kinds.get(name, ("beta", name)) for name in read_header(map(str, sent))]
    chosen = {parse(name).feature for _kind, name in own}
    more = [
        kinds.get(name, ("beta" if _dated(name) else "feature", name))
        for name in read_header(map(str, wanted))
    ]
    return (*own, *(item for item in more if item not in own and item[1] not in chosen))


def _dated(name: str) -> bool:
    parsed = parse(name)
    return parsed.release_date is not None or parsed.date_problem is not None


def _resolve(held: Held, ask: Ask, asked: tuple[tuple[str, str], ...]) -> Resolution:
    """Resolve. Only `strict` is stopped by a feature without a current beta; others leave it out."""
    left_out: list[Dropped] = []
    while True:
        try:
            found = held.resolver.resolve(ask, held.today, asked)
        except Invalid as error:
            if ask.policy == "strict" or error.slug != "ambiguous-feature":
                raise
            name = error.extra["feature"]
            left_out.append(Dropped(requested=name, reason=error.slug, detail=error.detail))
            asked = tuple(item for item in asked if item != ("feature", name))
            continue
        return replace(found, dropped=(*found.dropped, *left_out)) if left_out else found


def _unjudged(
    held: Held,
    asked: tuple[tuple[str, str], ...],
    place: Sequence[str | None],
    problem: str,
) -> Header:
    """Pass betas on as they were named; a feature has no name to send."""
    warning = Warning_("unresolved", f"It is sent unjudged: {problem}")
    names = [text for kind, text in asked if kind == "beta" and is_well_formed(text)]
    resolution = Resolution(
        place=lenient_place(*place),
        revision=held.snapshot.revision,
        sent=tuple(
            Sent(name=name, requested=name, status="unknown", warnings=(warning,)) for name in names
        ),
        dropped=tuple(
            Dropped(requested=text, reason="unresolved", detail=problem)
            for _kind, text in asked
            if text not in names
        ),
    )
    return Header(resolution, asked, held, problem)


def _place(answer: Header, model: str | None) -> Place:
    """Return where a request went: where the answer is for, and to the model that it named."""
    place = answer.place
    same = model is None or model == place.model
    return place if same else replace(place, model=str(model)[:MAX_PART])


def _length(key: _Key) -> int:
    """Return how many characters a question has."""
    wanted, sent, *place = key
    return sum(map(len, map(str, (*wanted, *sent, *filter(None, place)))))


def _as_text(key: _Key) -> Any:
    """Make a question that can be remembered out of one that holds lists or other things."""
    wanted, sent, *rest = key
    return (
        tuple(str(name) for name in wanted),
        tuple(str(name) for name in sent),
        *(None if item is None else str(item) for item in rest),
    )


# --- Reading arguments ----------------------------------------------------------------------------


def _policy(policy: str) -> str:
    if policy not in _POLICIES:
        raise Invalid(f"{policy!r} is not a policy; use one of {', '.join(_POLICIES)}.")
    return policy


def _url(url: str | None) -> str | None:
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise Invalid(
            f"{url[:200]!r} is not a registry's URL; write https://HOST, or http://HOST:PORT."
        )
    return url.rstrip("/")


def _seconds(value: str | float, what: str) -> float:
    """Read `60s`, `5m`, `1h` or a number of seconds."""
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([smhd]?)\s*", str(value))
    if not found or float(found[1]) <= 0:
        raise Invalid(f"{what} is {value!r}; write a time as 60s, 5m or 1h.")
    return float(found[1]) * _UNITS[found[2]]


def _folder(cache: str | Path | bool | None) -> Path | None:
    if cache is False:
        return None
    return cache_folder() if cache is None or cache is True else Path(cache)
