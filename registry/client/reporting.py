"""Usage: which betas this program sends, counted in memory and reported in batches.

Counting takes a lock and a dictionary, never the network. A batch that could not be delivered is kept as
it is and sent again under the same `Idempotency-Key`, so that nothing is counted twice; what is counted
meanwhile is merged, so that memory stays bounded however long the registry is away.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import httpx2

from registry.client.snapshot import FAILURES, Clock, Line
from registry.core.facts import Json, rfc3339
from registry.core.places import Place
from registry.core.redaction import open_urls

__all__ = ["Reporter"]

log: Final = logging.getLogger("registry.client")

MAX_KEYS: Final = 1000
"""Distinct pairs of place and beta held at once. A program that goes beyond makes its names up."""

BATCH: Final = 500
_TIMEOUT: Final = 10.0

_Key = tuple[Place, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    body: bytes
    key: str = field(default_factory=lambda: str(uuid.uuid4()))


class Reporter:
    """Counts usage of one service and reports it. `flush` is a job of the worker."""

    def __init__(
        self,
        line: Line,
        *,
        service: str,
        environment: str,
        instance: str | None,
        every: float,
        clock: Clock,
    ) -> None:
        self._line, self._every, self._clock = line, every, clock
        self._whose = {"service": service, "environment": environment, "instance": instance}
        self._failing = False
        self.flushed_at = -1e9
        self.forked()

    def forked(self) -> None:
        """Begin with nothing: what was counted before a fork is the parent's to report."""
        self._lock = threading.Lock()
        self._counts: dict[_Key, list[int]] = {}
        self._since = 0.0
        self._overflow = 0
        self._outbox: deque[_Batch] = deque()

    def count(
        self,
        place: Place,
        used: Mapping[str, Collection[str]],
        *,
        count: int = 1,
        accepted: bool = False,
        refused: Collection[str] = (),
    ) -> None:
        """Count one use of each beta in `used` (with the names sent for it), and how it ended."""
        with self._lock:
            if not self._counts:
                self._since = self._clock()
            for beta, names in used.items():
                row = self._counts.get((place, beta))
                if row is None:
                    if len(self._counts) >= MAX_KEYS:
                        self._overflow += count
                        continue
                    row = self._counts[place, beta] = [0, 0, 0]
                row[0] += count
                row[1] += accepted and bool(names)
                row[2] += any(name in refused for name in names)

    def flush(self) -> float:
        """Send what was counted. Returns in how many seconds to do it again."""
        self.flushed_at = time.monotonic()
        if not self._outbox:
            self._outbox.extend(self._cut())
        while self._outbox and self._deliver(self._outbox[0]):
            self._outbox.popleft()
        return self._every

    def _cut(self) -> list[_Batch]:
        """Turn the counts into batches and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, {}
            overflow, self._overflow = self._overflow, 0
        if overflow:
            log.warning(
                "%d uses were not reported: more than %d different betas and places at once.",
                overflow,
                MAX_KEYS,
            )
        window = {"start": _moment(self._since), "stop": _moment(self._clock())}
        by_platform: dict[str | None, list[Json]] = {}
        for (place, beta), row in counts.items():
            by_platform.setdefault(place.platform, []).append(_item(beta, place, row))
        return [
            self._batch(platform, window, items[start : start + BATCH])
            for platform, items in by_platform.items()
            for start in range(0, len(items), BATCH)
        ]

    def _batch(self, platform: str | None, window: Json, items: list[Json]) -> _Batch:
        body = {
            **self._whose,
            "source": "client",
            "platform": platform,
            "window": window,
            "items": items,
        }
        return _Batch(body=json.dumps(body, separators=(",", ":")).encode())

    def _deliver(self, batch: _Batch) -> bool:
        """Send one batch. Returns whether it is done with: delivered, or refused for good."""
        headers = {
            **self._line.headers(),
            "Content-Type": "application/json",
            "Idempotency-Key": batch.key,
        }
        try:
            answer = self._line.http.post(
                f"{self._line.url}/v1/usages", content=batch.body, headers=headers, timeout=_TIMEOUT
            )
        except FAILURES as error:
            return self._kept(open_urls(str(error)) or type(error).__name__)
        if answer.is_success:
            self._failing = False
            return True
        if answer.status_code in (400, 413, 422):
            log.warning("The registry refused a usage report: %s", _detail(answer))
            return True
        return self._kept(_detail(answer))

    def _kept(self, why: str) -> bool:
        tell: Callable[..., None] = log.debug if self._failing else log.warning
        tell("Usage cannot be reported to %s (%s); it is kept.", self._line.url, why.rstrip("."))
        self._failing = True
        return False


def _item(beta: str, place: Place, row: list[int]) -> Json:
    count, accepted, refused = row
    known = bool(accepted or refused)
    return {
        "beta": beta,
        "count": count,
        "accepted": accepted if known else None,
        "refused": refused if known else None,
        **place.details,
    }


def _moment(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(int(seconds), UTC))


def _detail(answer: httpx2.Response) -> str:
    """Return the sentence of a problem document, else the status."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        detail = None
    return detail[:300] if isinstance(detail, str) else f"it answered {answer.status_code}"
