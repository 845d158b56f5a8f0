"""Readings of a log cut into batches, so that a file read again adds nothing twice.

A place in a file is named by a digest over all records up to it. What was counted is remembered as such
*marks*, and a file is recognised by the digest of its first record. A batch ends after so many records,
counted from the start of the file, and every batch that is recorded leaves a mark at its end. So:

- the same file again, a week later or packed with gzip, meets its marks and adds nothing;
- a file that has grown meets the mark at its old end, and only what follows is counted;
- a file that ends before a mark, such as a copy that was cut off, is compared with the *checks* that
  the batch has left: two bytes of the digest after each of its records;
- an import that was interrupted goes on after the last batch that was recorded;
- a last line without an ending stands in a batch of its own, for its writer may not be done with it;
- two files with the same records are the same file, for nothing tells them apart;
- a file that differs in one early record is another file, from that record on.

What goes into the digest is a record's bytes and what they were counted as: service, environment and
betas. So a file may be read again under another service; another mapping that finds the same changes
nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from registry.core.facts import Json, rfc3339
from registry.core.logs import COUNT_MAX, Reading, Seen
from registry.core.places import Place

__all__ = ["BATCH_ITEMS", "BATCH_RECORDS", "Batch", "Mark", "Past", "Tally", "batches"]

BATCH_RECORDS: Final = 5000
BATCH_ITEMS: Final = 2500
"""A batch ends after so many records, or so many different items. Changing either makes old marks useless."""

REPORT_ITEMS: Final = 500
SHOWN: Final = 20
OLDEST: Final = timedelta(days=399)
AHEAD: Final = timedelta(minutes=4)
"""How old usage may be, and how far clocks may differ: a little less than the inventory takes."""
HOURLY: Final = timedelta(days=2)
"""How far back the inventory counts by the hour; before that by the day."""


class Mark(NamedTuple):
    """A place in a file up to which everything has been counted."""

    line: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Usage reports to record all or none, and the mark that they leave.

    `number` is the number of marks of this file before this one. If there are more by now, somebody else
    is importing the file and the batch must be refused.
    """

    file: str
    number: int
    mark: Mark
    checks: bytes
    reports: tuple[dict[str, Json], ...]
    requests: int


@dataclass(slots=True)
class Tally:
    """What became of the records: `requests` were counted now, `known` earlier, `without` have no beta."""

    lines: int = 0
    requests: int = 0
    known: int = 0
    without: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    shown: list[tuple[int, str]] = field(default_factory=list)
    betas: set[str] = field(default_factory=set)

    def skip(self, line: int, reason: str, detail: str = "") -> None:
        """Count a record that was not read; the first ones are kept to be shown."""
        self.skipped[reason] += 1
        if len(self.shown) < SHOWN:
            self.shown.append((line, f"{reason}: {detail}" if detail else reason))


class _Subject(NamedTuple):
    """What one report is about: a service in one environment, on one platform, within one hour or day."""

    service: str
    environment: str
    platform: str | None
    slot: int | None


class _Kind(NamedTuple):
    """What records have in common that are added up: there are few of these, and many records."""

    service: str
    environment: str
    place: Place
    hour: int | None
    betas: tuple[str, ...]


@dataclass(slots=True)
class _Sum:
    """Records of one kind, added up."""

    requests: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    start: datetime | None = None
    stop: datetime | None = None

    def add(self, seen: Seen) -> None:
        """Add one record."""
        self.requests += seen.requests
        if seen.accepted:
            self.accepted += seen.requests
        for beta in seen.refused:
            self.refused[beta] += seen.requests
        if seen.at is not None:
            self.start = seen.at if self.start is None else min(self.start, seen.at)
            self.stop = seen.at if self.stop is None else max(self.stop, seen.at)


class _Pending:
    """What has been read since the last mark, and what decides where the batch ends.

    The end must be the same whether or not a mark inside has been met, and whatever time it is. So
    `records`, `items` and `total` count from the start of the batch, and the sums from the last mark.
    """

    def __init__(self, now: datetime, size: int) -> None:
        self._now, self._size = now, size
        self.begin()

    def begin(self) -> None:
        """Begin a batch."""
        self.records, self.total, self.checks = 0, 0, bytearray()
        self.items = set[tuple[_Subject, str, str | None]]()
        self.forget()

    def forget(self) -> None:
        """Drop the sums: what they hold has been counted before, or is in a batch."""
        self._sums: dict[_Kind, _Sum] = {}
        self.requests = 0

    @property
    def is_full(self) -> bool:
        """Say whether the batch ends here."""
        return (
            self.records >= self._size or len(self.items) >= BATCH_ITEMS or self.total >= COUNT_MAX
        )

    def add(self, seen: Seen, *, counts: bool) -> None:
        """Take one record in. One that does not count still says where the batch ends."""
        hour = None if seen.at is None else int(seen.at.timestamp()) // 3600
        kind = _Kind(seen.service, seen.environment, seen.place, hour, seen.betas)
        total = self._sums.get(kind)
        if total is None:
            total = self._sums[kind] = _Sum()
            # By no finer place: where a batch ends must not depend on what this program can tell of it.
            subject = _subject(kind, by_hour=False)
            self.items.update((subject, beta, kind.place.model) for beta in kind.betas)
        self.total += seen.requests
        if counts:
            self.requests += seen.requests
            total.add(seen)

    def reports(self) -> Iterator[dict[str, Json]]:
        """Print the sums in the shape of `POST /v1/usages`."""
        recent = int((self._now - HOURLY).timestamp()) // 3600
        groups: dict[_Subject, list[tuple[_Kind, _Sum]]] = {}
        for kind, total in self._sums.items():
            if total.requests:
                by_hour = kind.hour is not None and kind.hour >= recent
                groups.setdefault(_subject(kind, by_hour=by_hour), []).append((kind, total))
        for subject, sums in groups.items():
            items, window = list(_items(sums)), _window([total for _, total in sums])
            for start in range(0, len(items), REPORT_ITEMS):
                yield _report(subject, window, items[start : start + REPORT_ITEMS])


def _subject(kind: _Kind, *, by_hour: bool) -> _Subject:
    hour = kind.hour
    slot = hour if hour is None or by_hour else hour - hour % 24
    return _Subject(kind.service, kind.environment, kind.place.platform, slot)


def _items(sums: Iterable[tuple[_Kind, _Sum]]) -> Iterator[dict[str, Json]]:
    cells: dict[tuple[str, Place], list[int]] = {}
    for kind, total in sums:
        for beta in kind.betas:
            cell = cells.setdefault((beta, kind.place), [0, 0, 0])
            cell[0] += total.requests
            cell[1] += total.accepted
            cell[2] += total.refused[beta]
    for (beta, place), (count, accepted, refused) in cells.items():
        yield {
            "beta": beta, "count": count, "accepted": accepted, "refused": refused, **place.details,
        }  # fmt: skip


def _window(sums: Sequence[_Sum]) -> dict[str, Json] | None:
    starts = [total.start for total in sums if total.start is not None]
    stops = [total.stop for total in sums if total.stop is not None]
    if not starts or not stops:
        return None
    # A window ends before its last moment: one that ends at midnight would be of the day before.
    stop = max(stops) + timedelta(microseconds=1)
    return {"start": rfc3339(min(starts)), "stop": rfc3339(stop)}


def _report(subject: _Subject, window: Json, items: Sequence[dict[str, Json]]) -> dict[str, Json]:
    return {
        "service": subject.service,
        "environment": subject.environment,
        "instance": None,
        "source": "gateway",
        "platform": subject.platform,
        "window": window,
        "items": list(items),
    }


CHECK: Final = 2
"""Bytes of a check."""


class Past(Protocol):
    """What has been counted of files before."""

    def marks(self, file: str) -> Sequence[Mark]:
        """Return all marks of a file, in the order in which they were made."""

    def checks(self, file: str, after: int) -> Sequence[bytes]:
        """Return the checks of the batches whose marks lie after a line, the nearest first."""


def batches(
    readings: Iterable[Reading],
    past: Past,
    tally: Tally,
    now: datetime,
    at: datetime | None = None,
    size: int = BATCH_RECORDS,
) -> Iterator[Batch]:
    """Cut readings into batches, leaving out what has been counted; `tally` is filled on the way.

    A batch must be recorded before the next one is asked for. `at` is the time of records that say none;
    without it they count as of now. `size` is the number of records in a batch.
    """
    cutter = _Cutter(past, tally, now, size)
    for reading in readings:
        if reading.is_open and not cutter.is_open:
            cutter.meet_end()
            yield from cutter.end()  # what follows may be read otherwise next time
            cutter.is_open = True
        tally.lines = reading.line
        seen = _timed(reading.seen, at)
        cutter.note(reading, _identity(seen, at if _untimed(reading.seen) else None))
        _take(reading, seen, cutter, tally, now)
        cutter.meet_mark()
        if cutter.pending.is_full:
            yield from cutter.end()
    cutter.meet_end()
    yield from cutter.end()


def _untimed(seen: Seen | None) -> bool:
    return seen is not None and seen.at is None


def _timed(seen: Seen | None, at: datetime | None) -> Seen | None:
    return seen._replace(at=at) if seen is not None and seen.at is None else seen


def _take(
    reading: Reading, seen: Seen | None, cutter: _Cutter, tally: Tally, now: datetime
) -> None:
    cutter.pending.records += 1
    if seen is not None:
        problem = _out_of_time(seen.at, now)
        cutter.pending.add(seen, counts=problem is None)
        if problem is None:
            tally.requests += seen.requests
            tally.betas.update(seen.betas)
        else:
            tally.skip(reading.line, problem, str(seen.at))
    elif reading.reason is not None:
        tally.skip(reading.line, reading.reason, reading.detail)
    else:
        tally.without += 1


def _out_of_time(at: datetime | None, now: datetime) -> str | None:
    if at is None:
        return None
    if at > now + AHEAD:
        return "a time in the future"
    return f"older than {OLDEST.days} days" if at < now - OLDEST else None


@lru_cache(maxsize=4096)
def _identity_of(
    service: str, environment: str, betas: tuple[str, ...], at: datetime | None
) -> bytes:
    return "\0".join((service, environment, ",".join(betas), str(at or ""))).encode(
        "utf-8", "replace"
    )


def _identity(seen: Seen | None, at: datetime | None) -> bytes:
    """Return what a record was counted as. It must not depend on the clock."""
    return _identity_of(seen.service, seen.environment, seen.betas, at) if seen is not None else b""


class _Cutter:
    """Knows the place in the file: its digest, the marks that lie ahead, and the batch that is being made."""

    def __init__(self, past: Past, tally: Tally, now: datetime, size: int) -> None:
        self._past, self._tally = past, tally
        self._digest, self._file, self._line = hashlib.sha256(), "", 0
        self._marks: Mapping[int, set[str]] = {}
        self._number = 0
        self.pending = _Pending(now, size)
        self.is_open = False

    def note(self, reading: Reading, identity: bytes) -> None:
        """Move on by one record."""
        self._digest.update(b"%d %d " % (len(reading.raw), len(identity)))
        self._digest.update(reading.raw)
        self._digest.update(identity)
        self._line = reading.line
        self.pending.checks += self._digest.digest()[:CHECK]
        if not self._file:
            self._file = self._digest.hexdigest()
            self._recognise()

    def _recognise(self) -> None:
        marks: dict[int, set[str]] = {}
        known = self._past.marks(self._file)
        for mark in known:
            marks.setdefault(mark.line, set()).add(mark.digest)
        self._marks, self._number = marks, len(known)

    def meet_mark(self) -> None:
        """If everything up to here has been counted before, forget it."""
        if self._line in self._marks and self._digest.hexdigest() in self._marks[self._line]:
            self._forget()

    def meet_end(self) -> None:
        """If the file ends here and was counted further before, forget what is left."""
        if self.pending.requests and any(line > self._line for line in self._marks):
            mine = bytes(self.pending.checks)
            if any(held.startswith(mine) for held in self._past.checks(self._file, self._line)):
                self._forget()

    def _forget(self) -> None:
        self._tally.requests -= self.pending.requests
        self._tally.known += self.pending.requests
        self.pending.forget()

    def end(self) -> Iterator[Batch]:
        """End the batch. One that would add nothing is none, and leaves no mark."""
        if self.pending.requests:
            yield Batch(
                file=self._file,
                number=self._number,
                mark=Mark(self._line, self._digest.hexdigest()),
                checks=bytes(self.pending.checks),
                reports=tuple(self.pending.reports()),
                requests=self.pending.requests,
            )
            self._number += 1
        # A batch that ends early, with the file, is the first part of the one that will be full.
        if self.pending.is_full:
            self.pending.begin()
        else:
            self.pending.forget()
