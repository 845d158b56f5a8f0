"""The facts on this machine: fetched once, kept fresh with ETags, kept on disk, never waited for.

Whoever asks gets what is at hand at once: the newest snapshot from the registry, else the one on disk,
else the catalog that came with this package. Which of them it is, and how old, stands in `Held`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal

import httpx2

from registry.core.changes import snapshot_of
from registry.core.errors import RegistryError, Unavailable
from registry.core.facts import Json, Snapshot
from registry.core.judgement import Judge
from registry.core.memo import Memo
from registry.core.places import Place
from registry.core.resolution import Ask, Resolver
from registry.core.wire import snapshot_from_json
from registry.sources import SourceError
from registry.sources.catalog import bundled_catalog, parse_catalog

__all__ = ["DAY", "FAILURES", "Held", "Line", "Store", "cache_folder"]

Clock = Callable[[], float]
Origin = Literal["registry", "cache", "bundled"]

log: Final = logging.getLogger("registry.client")

FAILURES: Final = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RuntimeError)
"""What a call can end in: a token that no header can carry and a closed client among them."""

DAY: Final = 86400.0
"""Seconds of a day, and the age from which facts drop what has passed its sunset (contract, rule 7)."""
MAX_BYTES: Final = 32 * 1024 * 1024
_FORMAT: Final = "beta-registry/client-cache-1"
_TIMEOUT: Final = 10.0
_MEMO: Final = 8 * 1024 * 1024
"""Bytes of answers remembered; dropped whole when full, and when the facts or the day change."""
_ASKS: Final = 256
_PLACE_MAX: Final = 1000
_WORDS: Final = {
    "registry": "the facts it gave before",
    "cache": "the facts kept on disk",
    "bundled": "the bundled catalog",
}


@dataclass(slots=True, kw_only=True, eq=False)
class Held:
    """A snapshot at hand, where it is from, and the answers that were made from it.

    `confirmed_at`: when the registry last said that it is current; of the bundled catalog, its own day.
    The memo holds for `today`, in UTC, from `since` and before `until`. `kinds` tells betas from features,
    and is what is asked for by either: a name that is both is a beta.
    """

    resolver: Resolver
    origin: Origin
    confirmed_at: float
    clock: Clock
    keep: float
    etag: str | None = None
    memo: Memo[tuple[Any, ...], Any] = field(default_factory=lambda: Memo(_MEMO))
    asks: dict[tuple[str | None, ...], Ask] = field(default_factory=dict)
    today: date = date.min
    since: float = 0.0
    until: float = 0.0
    kinds: dict[str, tuple[str, str]] = field(default_factory=dict)
    old: float = field(init=False)
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.confirm(self.confirmed_at)
        betas = self.snapshot.betas
        self.kinds = {beta.feature: ("feature", beta.feature) for beta in betas.values()}
        self.kinds.update((name, ("beta", name)) for name in betas)

    def ask(self, place: tuple[str | None, ...], default: str) -> Ask:
        """Return the ask, without names, of one place and policy: made once, for many questions."""
        known = self.asks.get(place)
        if known is None:
            platform, api, hosting, region, model, endpoint, target, policy, *on = place
            known = Ask(
                platform=platform,
                api=api,
                hosting=hosting,
                region=region,
                model=model,
                endpoint=endpoint,
                target=target,
                policy=policy or default,
                on_unknown=on[0],
                on_unproven=on[1],
                on_restricted=on[2],
            )
            if sum(len(str(part)) for part in place) <= _PLACE_MAX:
                if len(self.asks) >= _ASKS:
                    self.asks.clear()
                self.asks[place] = known
        return known

    def judge(self, place: Place) -> Judge:
        """Return the judge of a place, by these facts and today."""
        return self.resolver.judges(self.today).at(place)

    def confirm(self, at: float) -> None:
        """Note that the facts were current then; `old` is their age now, by a clock that may be set."""
        self.confirmed_at = at
        self.old, self.begun = max(0.0, self.clock() - at), monotonic()
        self.until = 0.0

    def begin(self) -> None:
        """Forget the answers made so far: the day decides too, and whether the facts are old (rule 7)."""
        now = self.clock()
        self.today = datetime.fromtimestamp(now, UTC).date()
        midnight = datetime.combine(self.today, time.min, UTC).timestamp()
        self.since, self.until = midnight, midnight + DAY
        stale = self.age > DAY
        if not stale:
            self.until = min(self.until, now + DAY - self.age)
        self.resolver = Resolver(self.snapshot, stale=stale)
        self.memo = Memo(_MEMO)

    @property
    def snapshot(self) -> Snapshot:
        """The facts themselves."""
        return self.resolver.snapshot

    @property
    def age(self) -> float:
        """Seconds since these facts were known to be current."""
        # A clock that is set back makes nothing younger, and one that nobody can set sleeps with its machine.
        return max(self.clock() - self.confirmed_at, self.old + monotonic() - self.begun)

    @property
    def stale(self) -> bool:
        """Whether the registry may know better by now."""
        return self.origin != "registry" or self.age > self.keep


class Line:
    """A line to the registry: URL, token and HTTP client, the client made when first needed."""

    def __init__(self, url: str, token: str | None, http: httpx2.Client | None) -> None:
        self.url = url
        self._token, self._given, self._http = token, http, http

    @property
    def http(self) -> httpx2.Client:
        """The HTTP client. Making one reads certificates, which is slow: for the background only."""
        if self._http is None:
            self._http = httpx2.Client(timeout=_TIMEOUT)
        return self._http

    def headers(self, *, token: bool = True) -> dict[str, str]:
        """The headers of a call."""
        return {"Authorization": f"Bearer {self._token}"} if token and self._token else {}

    def forked(self) -> None:
        """Forget the connections of the parent. A client that was given is the giver's to replace."""
        self._http = self._given

    def close(self) -> None:
        """Close the client that was made here."""
        if self._http is not None and self._given is None:
            self._http.close()
        self._http = self._given


class Store:
    """Holds the newest snapshot there is. `refresh` is a job of the worker."""

    def __init__(
        self, line: Line | None, *, folder: Path | None, refresh: float, clock: Clock
    ) -> None:
        self._line, self._refresh, self._clock = line, refresh, clock
        self._file = folder / _file_name(line.url) if folder and line else None
        self.ready: Held | None = None
        self._lock = threading.Lock()
        self._failures = 0
        self._anonymous = False
        self.fetched = threading.Event()

    @property
    def held(self) -> Held:
        """What is known now; read from the disk or the package at the first call, never fetched.

        `ready` is the same, or None before the first call.
        """
        held = self.ready
        if held is None:
            with self._lock:
                held = self.ready
                if held is None:
                    held = self.ready = self._from_disk() or self._bundled()
        return held

    def forked(self) -> None:
        """Replace a lock that a thread of the parent may hold for ever."""
        self._lock = threading.Lock()

    # --- Fetching ---------------------------------------------------------------------------------

    def refresh(self) -> float:
        """Ask the registry whether anything changed. Returns in how many seconds to ask again."""
        assert self._line is not None
        held = self.held
        try:
            self._take(held, self._fetch(held.etag))
        except RegistryError as error:
            self._failed(error.detail)
            spacing = min(self._refresh, 2.0 ** min(self._failures - 1, 20))
        else:
            self._reached()
            spacing = self._refresh
        # Spread out, so that a thousand programs that started together do not ask together.
        return spacing * random.uniform(0.9, 1.1)  # noqa: S311 - no secret

    def _fetch(self, etag: str | None) -> tuple[bytes, str | None] | None:
        """Read the snapshot; None if `etag` is current. Raises `Unavailable`."""
        try:
            answer = self._ask(etag, token=not self._anonymous)
            if answer[0] in (401, 403) and not self._anonymous and self._line_has_token():
                # A token that may not read, or has ended: reading is usually open to all.
                answer = self._ask(etag, token=False)
                self._anonymous = answer[0] in (200, 304)
        except FAILURES as error:
            raise Unavailable(str(error) or type(error).__name__) from None
        status, body, tag = answer
        if status == 304:
            return None
        if status != 200:
            raise Unavailable(f"it answered {status}")
        return body, tag

    def _line_has_token(self) -> bool:
        return self._line is not None and bool(self._line.headers())

    def _ask(self, etag: str | None, *, token: bool) -> tuple[int, bytes, str | None]:
        assert self._line is not None
        headers = {**self._line.headers(token=token), **({"If-None-Match": etag} if etag else {})}
        url = f"{self._line.url}/v1/snapshot?format=2"
        with self._line.http.stream(
            "GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=False
        ) as answer:
            body = bytearray()
            if answer.status_code == 200:
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > MAX_BYTES:
                        raise Unavailable(f"its snapshot is larger than {MAX_BYTES:,} bytes")
            return answer.status_code, bytes(body), answer.headers.get("etag")

    def _take(self, held: Held, answer: tuple[bytes, str | None] | None) -> None:
        """Make an answer what is held. Raises `RegistryError` for one that cannot be used."""
        now = self._clock()
        if answer is None:
            # What was on disk is then current after all, and the registry's word.
            held.confirm(now)
            held.origin = "registry"
            self._touch(now)
            return
        body, etag = answer
        data = _json(body)
        snapshot = snapshot_from_json(data)
        if not snapshot.betas:
            raise Unavailable("it knows no beta yet")
        self.ready = self._hold(snapshot, "registry", now, etag)
        self._write({"format": _FORMAT, "url": self._url, "etag": etag, "snapshot": data}, now)

    def _hold(
        self, snapshot: Snapshot, origin: Origin, confirmed_at: float, etag: str | None = None
    ) -> Held:
        return Held(
            resolver=Resolver(snapshot),
            origin=origin,
            confirmed_at=confirmed_at,
            clock=self._clock,
            keep=3 * self._refresh,
            etag=etag,
        )

    def _failed(self, why: str) -> None:
        self._failures += 1
        if self._failures > 1:
            log.debug("The registry at %s still gives no facts: %s", self._url, why)
            return
        held = self.held
        log.warning(
            "The registry at %s gives no facts (%s); going on with %s, as of %s.",
            self._url,
            why.rstrip("."),
            _WORDS[held.origin],
            held.snapshot.as_of.date(),
        )

    def _reached(self) -> None:
        if self._failures:
            log.info("The registry at %s gives facts again.", self._url)
        self._failures = 0
        self.fetched.set()

    @property
    def _url(self) -> str:
        return self._line.url if self._line else ""

    # --- Without the registry ---------------------------------------------------------------------

    def _bundled(self) -> Held:
        now = datetime.fromtimestamp(self._clock(), UTC)
        try:
            as_of, claims = parse_catalog(bundled_catalog())
            known = snapshot_of(claims, as_of, now)
        except (RegistryError, SourceError) as error:
            # A damaged installation knows nothing; the caller's requests still go out.
            log.warning("No facts are at hand: %s", error)
            known = Snapshot(revision=0, as_of=now, betas={})
        return self._hold(known, "bundled", known.as_of.timestamp())

    def _from_disk(self) -> Held | None:
        """Read the snapshot that an earlier run kept; whatever is wrong with the file, there is none."""
        if self._file is None:
            return None
        try:
            with self._file.open("rb") as file:
                confirmed_at = os.fstat(file.fileno()).st_mtime
                data = _json(file.read(MAX_BYTES + 1))
            if data["format"] != _FORMAT or data["url"] != self._url:
                return None
            etag = data["etag"] if isinstance(data["etag"], str) else None
            return self._hold(snapshot_from_json(data["snapshot"]), "cache", confirmed_at, etag)
        except FileNotFoundError:
            return None
        except (OSError, RegistryError, KeyError, TypeError) as error:
            log.debug("The kept snapshot %s is ignored: %s", self._file, error)
            return None

    def _write(self, data: Json, now: float) -> None:
        """Keep the snapshot for the next run: a file of its own, then renamed, so that it is whole."""
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=self._file.parent, prefix=".snapshot-")
            try:
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    json.dump(data, file, separators=(",", ":"))
                os.utime(name, (now, now))
                os.replace(name, self._file)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            log.debug("The snapshot cannot be kept in %s: %s", self._file, error)

    def _touch(self, now: float) -> None:
        if self._file is not None:
            try:
                os.utime(self._file, (now, now))
            except OSError as error:
                log.debug("The kept snapshot %s cannot be touched: %s", self._file, error)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unavailable("it answered something that is no JSON") from None


def _file_name(url: str) -> str:
    return f"snapshot-{hashlib.sha256(url.encode()).hexdigest()[:24]}.json"


def cache_folder() -> Path | None:
    """Return the user's folder for caches (XDG), or None where there is no home."""
    try:
        given = os.environ.get("XDG_CACHE_HOME")
        base = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "beta-registry"
