"""Nothing counts twice: files that repeat, grow, are cut, are packed, and imports that were interrupted."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.batches import BATCH_RECORDS, Batch, Mark, Tally, batches
from registry.core.lines import Lines
from registry.core.logs import How, read
from registry.core.places import ANYWHERE
from tests.factories import NOW


class Died(Exception):
    """The importer was killed."""


@dataclass
class Memory:
    """A registry that remembers, and counts what it is told."""

    held: dict[str, list[Batch]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    dies_after: int = 10**9

    def marks(self, file: str) -> Sequence[Mark]:
        return [batch.mark for batch in self.held.get(file, [])]

    def checks(self, file: str, after: int) -> Sequence[bytes]:
        return [batch.checks for batch in self.held.get(file, []) if batch.mark.line > after]

    def take(self, batch: Batch) -> None:
        if self.dies_after == 0:
            raise Died
        self.dies_after -= 1
        marks = self.held.setdefault(batch.file, [])
        assert batch.number == len(marks)
        marks.append(batch)
        for report in batch.reports:
            assert len(report["items"]) <= 500
            for item in report["items"]:
                self.counts[item["beta"]] += item["count"]

    def load(
        self,
        data: bytes,
        *,
        now: datetime = NOW,
        at: datetime | None = None,
        size: int = BATCH_RECORDS,
        **how: str,
    ) -> Tally:
        """Import a list, or JSON lines."""
        tally, format_ = Tally(), "jsonl" if data.startswith(b"{") else "list"
        readings = read(Lines(io.BytesIO(data)), How(format=format_, **{"service": "s", **how}))  # type: ignore[arg-type]
        for batch in batches(readings, self, tally, now, at, size):
            self.take(batch)
        return tally


def log(size: int, start: int = 0) -> bytes:
    """A list of so many different names."""
    return b"".join(b"name-%d 1\n" % number for number in range(start, start + size))


def test_a_repeat_adds_nothing() -> None:
    """Also later, packed, and with other line endings."""
    memory, data = Memory(), log(12_000)
    assert memory.load(data).requests == 12_000
    before = memory.counts.copy()
    for again in (data, gzip.compress(data), data.replace(b"\n", b"\r\n"), data[:-1]):
        tally = memory.load(again, now=NOW + timedelta(days=300))
        assert (tally.requests, tally.known) == (0, 12_000)
    assert memory.counts == before


def test_a_grown_file_adds_what_is_new() -> None:
    """Wherever it stood before, also in the middle of a batch and across several."""
    memory, whole = Memory(), log(13_000)
    lines = whole.splitlines(keepends=True)
    for size in (1, 2, 700, 4999, 5000, 5001, 12_999, 13_000):
        memory.load(b"".join(lines[:size]))
        assert memory.counts.total() == size


def test_a_cut_copy_of_a_counted_file_adds_nothing() -> None:
    """A download that ended early, after the whole had been imported."""
    memory, lines = Memory(), log(7_000).splitlines(keepends=True)
    memory.load(b"".join(lines))
    for size in (1, 3000, 5000, 6999):
        assert memory.load(b"".join(lines[:size])).requests == 0


def test_an_interrupted_import_goes_on() -> None:
    """What was recorded before the end is not counted again."""
    memory, data = Memory(dies_after=2), log(13_000)
    with pytest.raises(Died):
        memory.load(data)
    assert 0 < memory.counts.total() < 13_000
    memory.dies_after = 10**9
    memory.load(data)
    assert memory.counts == Counter({f"name-{number}": 1 for number in range(13_000)})


def test_a_line_that_was_not_finished_is_read_again() -> None:
    """Whoever writes the log was in the middle of it; the lines before it are not counted twice."""
    memory = Memory()
    memory.load(b"a-1\nb-1\nc-1 1")
    memory.load(b"a-1\nb-1\nc-1 12\nd-1\n")
    assert memory.counts["a-1"] == memory.counts["b-1"] == memory.counts["d-1"] == 1
    broken = Memory()
    assert broken.load(b'{"beta": "a-1"}\n{"beta": "b-').skipped.total() == 1
    broken.load(b'{"beta": "a-1"}\n{"beta": "b-1"}\n')
    assert broken.counts == {"a-1": 1, "b-1": 1}


def test_the_same_lines_are_the_same_file() -> None:
    """Nothing tells two such files apart, but the day that the caller names, or another service."""
    memory = Memory()
    memory.load(b"a-1 5\nb-1 2\n")
    assert memory.load(b"a-1 5\nb-1 2\n").requests == 0
    assert memory.load(b"a-1 5\nb-1 2\n", at=NOW - timedelta(days=1)).requests == 7
    assert memory.load(b"a-1 5\nb-1 2\n", at=NOW - timedelta(days=1)).requests == 0
    assert memory.load(b"a-1 5\nb-1 2\n", service="other").requests == 7
    assert memory.load(b"a-1 5\nc-1 2\n").requests == 7


def test_equal_lines_in_one_file_all_count() -> None:
    """Thousands of requests look alike; whole batches do."""
    memory = Memory()
    assert memory.load(b"a-1\n" * (3 * BATCH_RECORDS)).requests == 3 * BATCH_RECORDS
    assert memory.counts["a-1"] == 3 * BATCH_RECORDS


step = st.tuples(st.integers(0, 40), st.sampled_from(["whole", "no end", "packed", "dies"]))


@given(st.lists(step, min_size=1, max_size=8))
def test_every_line_counts_once_whatever_happens(steps: list[tuple[int, str]]) -> None:
    """Grown, cut, repeated and interrupted in any order: the longest copy is what is counted."""
    lines = [b"n-%d\n" % (number // 3) for number in range(41)]
    memory, longest = Memory(), 0
    for size, kind in steps:
        data = b"".join(lines[:size])
        memory.dies_after = 1 if kind == "dies" else 10**9
        data = data.removesuffix(b"\n") if kind == "no end" else data
        try:
            memory.load(gzip.compress(data) if kind == "packed" else data, size=7)
            longest = max(longest, size)
        except Died:
            pass
    memory.dies_after = 10**9
    memory.load(b"".join(lines[:longest]), size=7)
    expected = Counter(line.decode().strip() for line in lines[:longest])
    assert memory.counts >= expected
    dead = max([size for size, kind in steps if kind == "dies"], default=0)
    assert memory.counts <= Counter(line.decode().strip() for line in lines[: max(longest, dead)])


def test_reports_are_by_service_and_hour_or_day() -> None:
    """Recent hours stand alone; older ones are a day; the numbers add up by beta and model."""
    memory = Memory()
    made: list[Batch] = []
    memory.take = made.append  # type: ignore[method-assign,assignment]
    rows = [
        {"beta": "a-1,b-1", "service": "x", "time": "2026-11-23T10:10:00Z", "status": 200},
        {"beta": "a-1", "service": "x", "time": "2026-11-23T10:50:00Z", "status": 500},
        {"beta": "a-1", "service": "x", "time": "2026-11-23T11:00:00Z"},
        {"beta": "a-1", "service": "y", "time": "2026-10-01T00:00:00Z", "model": "m"},
        {"beta": "a-1", "service": "y", "time": "2026-10-01T23:59:59Z", "model": "m"},
        {"beta": "a-1", "service": "y"},
    ]
    memory.load("".join(json.dumps(row) + "\n" for row in rows).encode())
    reports = made[0].reports
    assert [(r["service"], r["window"] and r["window"]["start"]) for r in reports] == [
        ("x", "2026-11-23T10:10:00Z"), ("x", "2026-11-23T11:00:00Z"),
        ("y", "2026-10-01T00:00:00Z"), ("y", None),
    ]  # fmt: skip
    assert reports[0]["items"] == [
        {"beta": "a-1", "count": 2, "accepted": 1, "refused": 0, **ANYWHERE.details},
        {"beta": "b-1", "count": 1, "accepted": 1, "refused": 0, **ANYWHERE.details},
    ]
    assert reports[2]["items"][0]["count"] == 2


def test_a_report_is_of_one_platform_and_its_items_tell_the_rest_of_the_place() -> None:
    """API, region, model and endpoint are told apart; what each record knows arrives."""
    memory = Memory()
    bedrock = {"beta": "a-1", "service": "x", "platform": "bedrock"}
    rows = [
        {**bedrock, "api": "invoke", "region": "eu-west-1", "model": "m"},
        {**bedrock, "api": "converse", "region": "eu-west-1", "model": "m"},
        {**bedrock, "api": "converse", "region": "us-east-1", "model": "m"},
        {**bedrock, "api": "converse", "region": "us-east-1", "model": "m"},
        {"beta": "a-1", "service": "x", "platform": "vertex", "region": "europe-west1"},
    ]
    memory.load("".join(json.dumps(row) + "\n" for row in rows).encode())
    [[batch]] = memory.held.values()
    first, second = batch.reports
    assert (first["platform"], second["platform"]) == ("bedrock", "vertex")
    assert [(i["api"], i["region"], i["model"], i["count"]) for i in first["items"]] == [
        ("invoke", "eu-west-1", "m", 1), ("converse", "eu-west-1", "m", 1),
        ("converse", "us-east-1", "m", 2),
    ]  # fmt: skip
    assert [item["region"] for item in second["items"]] == ["europe-west1"]


def test_times_out_of_reach_are_skipped() -> None:
    """From the future, or older than usage is kept."""
    rows = [{"beta": "a", "time": time} for time in ("2027-01-01", "2020-01-01", "2026-11-23")]
    tally = Memory().load("".join(json.dumps(row) + "\n" for row in rows).encode())
    assert tally.requests == 1
    assert tally.skipped == {"a time in the future": 1, "older than 399 days": 1}


def test_only_the_first_skipped_lines_are_shown() -> None:
    """All are counted."""
    tally = Memory().load(b"{bad\n" * 100)
    assert (tally.skipped.total(), len(tally.shown), tally.shown[0][0]) == (100, 20, 1)
