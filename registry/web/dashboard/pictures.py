"""Pictures as SVG, drawn on the server: lives of betas, observations over time, small bars.

Pure functions from values to markup. Colours are classes of the style sheet, so that a picture follows the
theme and prints; shapes differ too, so that nothing is told by colour alone. Every text is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from urllib.parse import quote

from markupsafe import Markup, escape

from registry.core.facts import Beta
from registry.web.dashboard.rendering import tone, visible

__all__ = ["EARLIEST", "LATEST", "Life", "Mark", "Seen", "Span", "bars", "life_of", "lifelines"]
__all__ += ["observations", "range_of", "shape"]

WIDTH: Final = 1160
LEFT: Final = 300
RIGHT: Final = WIDTH - 20
ROW: Final = 22
TOP: Final = 26

EARLIEST: Final = date(2020, 1, 1)
LATEST: Final = date(2060, 1, 1)
"""No picture reaches farther, whatever a source or a URL says."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to a beta on a day."""

    kind: str
    day: date


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of days with one status; `ending` is the announced rest until the sunset."""

    kind: str
    start: date
    end: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The dated life of one beta."""

    name: str
    status: str
    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]

    @property
    def told(self) -> str:
        """The life in words: what a screen reader says, and what stands on hover."""
        days = "; ".join(f"{mark.kind} {mark.day}" for mark in self.marks)
        return f"{self.name}: {self.status}. {days or 'no dates known'}."


def life_of(beta: Beta, today: date) -> Life:
    """Put the dates of a beta in order, and say which status each stretch had."""
    seen = beta.first_seen.at.date() if beta.first_seen else None
    stated = (
        ("announced", beta.announced_on), ("first seen", seen), ("ga", beta.ga_on),
        ("deprecated", beta.deprecated_on), ("sunset", beta.sunset_on),
        ("retired", beta.retired_on),
    )  # fmt: skip
    marks = tuple(sorted((Mark(k, d) for k, d in stated if d), key=lambda mark: mark.day))
    begins = [day for day in (beta.announced_on, seen, beta.release_date) if day]
    if not begins:
        return Life(name=beta.name, status=beta.status, spans=(), marks=marks)
    start, end = min(begins), _end(beta, today)
    turns = [("active" if beta.status != "unverified" else "unverified", start)]
    # What is generally available stays so when the SDK deprecates its name.
    deprecated = beta.deprecated_on if beta.status != "ga" else None
    turns += sorted(
        ((kind, max(day, start)) for kind, day in
         (("ga", beta.ga_on), ("deprecated", deprecated)) if day and day < end),
        key=lambda turn: turn[1],
    )  # fmt: skip
    ends = [day for _, day in turns[1:]] + [end]
    spans = [
        Span(kind, begin, until) for (kind, begin), until in zip(turns, ends, strict=True)
        if until > begin
    ]  # fmt: skip
    if beta.status != "retired" and beta.sunset_on and beta.sunset_on > today:
        spans.append(Span("ending", max(today, start), beta.sunset_on))
    return Life(name=beta.name, status=beta.status, spans=tuple(spans), marks=marks)


def _end(beta: Beta, today: date) -> date:
    if beta.status != "retired":
        return today
    seen = beta.last_seen.at.date() if beta.last_seen else None
    return min(beta.retired_on or beta.status_since or seen or today, today)


def range_of(lives: Iterable[Life], today: date) -> tuple[date, date]:
    """Return the days that all lives need, with some room on both sides."""
    days = [day for life in lives for span in life.spans for day in (span.start, span.end)]
    days += [mark.day for life in lives for mark in life.marks]
    sane = [min(max(day, EARLIEST), LATEST) for day in days]
    first, last = min([*sane, today - timedelta(days=90)]), max([*sane, today])
    return first - timedelta(days=10), last + timedelta(days=20)


class _Axis:
    """From days to places in the picture."""

    def __init__(
        self, first: datetime, last: datetime, left: int = LEFT, right: int = RIGHT
    ) -> None:
        self.first, self.last, self.left, self.right = (
            first,
            max(last, first + timedelta(hours=1)),
            left,
            right,
        )
        self._per_second = (right - left) / (self.last - first).total_seconds()

    def x(self, moment: datetime) -> float:
        """Return the place of a moment, inside the picture whatever it is."""
        place = self.left + (moment - self.first).total_seconds() * self._per_second
        return round(min(max(place, self.left), self.right), 1)

    def holds(self, moment: datetime) -> bool:
        """Say whether the moment is in the picture."""
        return self.first <= moment <= self.last

    def draw(self, height: int) -> str:
        """Draw the grid with its dates."""
        parts = []
        for moment, label in _ticks(self.first, self.last):
            x = self.x(moment)
            parts.append(f'<line class="grid" x1="{x}" y1="{TOP - 6}" x2="{x}" y2="{height}"/>')
            if x < self.right - 8 * len(label):
                parts.append(f'<text class="muted" x="{x + 3}" y="12">{label}</text>')
        return "".join(parts)


def _ticks(first: datetime, last: datetime) -> list[tuple[datetime, str]]:
    """Choose round moments, about ten of them."""
    days = (last - first).total_seconds() / 86400
    if days < 3:
        return _steps(first, last, timedelta(hours=1 if days < 0.5 else 6), "%d %b %H:%M")
    if days < 50:
        return _steps(first, last, timedelta(days=1 if days < 10 else 7), "%Y-%m-%d")
    months = next((n for n in (1, 3, 6, 12) if days / 30.4 / n <= 12), 12)
    found, year, month = [], first.year, 1
    while (moment := datetime(year, month, 1, tzinfo=UTC)) <= last:
        if moment >= first:
            found.append((moment, f"{moment:%Y-%m}" if months < 12 else f"{moment:%Y}"))
        year, month = (year + 1, 1) if month + months > 12 else (year, month + months)
    return found


def _steps(
    first: datetime, last: datetime, step: timedelta, form: str
) -> list[tuple[datetime, str]]:
    moment = datetime(first.year, first.month, first.day, tzinfo=UTC)
    while moment < first:
        moment += step
    found = []
    while moment <= last:
        found.append((moment, moment.strftime(form)))
        moment += step
    return found[:: max(1, len(found) // 9)]


def lifelines(
    groups: Mapping[str, Sequence[Life]], first: date, last: date, today: date, now: datetime
) -> Markup:
    """Draw lives as lines over time, grouped; every name is a link to its page."""
    axis = _Axis(_noon(first), _noon(last))
    parts, y, row = [], TOP, 0
    for title, lives in groups.items():
        if len(groups) > 1 or len(lives) > 1:
            parts.append(f'<text class="group" x="6" y="{y + 15}">{_text(title, 44)}</text>')
            y += ROW
        for life in lives:
            if row % 2:
                parts.append(f'<rect class="stripe" x="0" y="{y}" width="{WIDTH}" height="{ROW}"/>')
            parts.append(_row(life, axis, y))
            y, row = y + ROW, row + 1
        y += 6
    mark = axis.x(now)
    line = (
        f'<line class="today" x1="{mark}" y1="{TOP - 6}" x2="{mark}" y2="{y}"/>'
        if axis.holds(now)
        else ""
    )
    label = f"Lives of {row} betas from {first} to {last}; today is {today}."
    return _svg(axis, y + 4, axis.draw(y) + "".join(parts) + line, label)


def _row(life: Life, axis: _Axis, y: int) -> str:
    told = escape(visible(life.told))
    spans = "".join(_span(span, axis, y) for span in life.spans)
    marks = "".join(_mark(mark, axis, y + ROW / 2) for mark in life.marks)
    name = (
        f'<a href="/betas/{quote(life.name, safe="")}" aria-label="{told}">'
        f'<text class="mono" x="14" y="{y + 15}">{_text(life.name, 38)}</text></a>'
    )
    return f"<g><title>{told}</title>{name}{spans}{marks}</g>"


def _span(span: Span, axis: _Axis, y: int) -> str:
    start, end = axis.x(_noon(span.start)), axis.x(_noon(span.end))
    if end <= start:
        return ""
    kind = "warn ending" if span.kind == "ending" else tone(span.kind)
    return (
        f'<rect class="span {kind}" x="{start}" y="{y + 7}" width="{round(end - start, 1)}" '
        f'height="8" rx="2"><title>{span.kind}: {span.start} to {span.end}</title></rect>'
    )


_SHAPES: Final = {
    "announced": ("mark", "M-4.5,0 a4.5,4.5 0 1,0 9,0 a4.5,4.5 0 1,0 -9,0"),
    "first seen": ("mark full", "M-1,5 h2 v5 h-2 z"),
    "ga": ("mark", "M-4,-4 h8 v8 h-8 z"),
    "deprecated": ("mark", "M0,-5 L5,4 L-5,4 z"),
    "sunset": ("mark", "M0,-5.5 L5.5,0 L0,5.5 L-5.5,0 z"),
    "retired": ("mark", "M-4,-4 L4,4 M4,-4 L-4,4"),
}


def shape(kind: str) -> Markup:
    """Draw one mark by itself, for a legend."""
    css, path = _SHAPES[kind]
    top = 1 if kind == "first seen" else -7  # it hangs below the line
    return Markup(
        f'<svg class="chart" width="14" height="14" viewBox="-7 {top} 14 14" aria-hidden="true">'
        f'<path class="{css}" d="{path}"/></svg>'
    )


def _mark(mark: Mark, axis: _Axis, y: float) -> str:
    moment = _noon(mark.day)
    if not axis.holds(moment):
        return ""
    css, path = _SHAPES[mark.kind]
    return (
        f'<path class="{css}" d="{path}" transform="translate({axis.x(moment)},{y})">'
        f"<title>{mark.kind}: {mark.day}</title></path>"
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """One observation in the picture: the row it stands in, when, what it was, and in words."""

    row: str
    at: datetime
    verdict: str
    told: str


def observations(found: Sequence[Seen]) -> Markup:
    """Draw what sweeps learned, a row for each target; refusals are open circles."""
    if not found:
        return Markup("")
    rows = sorted({item.row for item in found})
    moments = [item.at for item in found]
    room = max((max(moments) - min(moments)) * 0.03, timedelta(minutes=20))
    axis = _Axis(min(moments) - room, max(moments) + room)
    parts = []
    for place, row in enumerate(rows):
        y = TOP + place * ROW
        parts.append(f'<text class="mono" x="6" y="{y + 15}">{_text(row, 40)}</text>')
    for item in found:
        middle = TOP + rows.index(item.row) * ROW + ROW / 2
        opened = " open" if item.verdict != "accepted" else ""
        radius = 3 if item.verdict == "inconclusive" else 5
        parts.append(
            f'<circle class="dot {tone(item.verdict)}{opened}" cx="{axis.x(item.at)}" cy="{middle}" '
            f'r="{radius}"><title>{_text(item.told, 400)}</title></circle>'
        )
    height = TOP + len(rows) * ROW
    label = f"{len(found)} observations on {len(rows)} targets."
    return _svg(axis, height + 4, axis.draw(height) + "".join(parts), label)


def bars(values: Sequence[tuple[str, int]], label: str, css: str = "info") -> Markup:
    """Draw small bars, one for each (what, how many)."""
    top = max((count for _, count in values), default=0) or 1
    step = 8
    drawn = "".join(
        f'<rect class="bar {css}" x="{place * step}" y="{32 - round(30 * count / top, 1)}" width="6" '
        f'height="{max(round(30 * count / top, 1), 1 if count else 0.4)}">'
        f"<title>{_text(what, 60)}: {count:,}</title></rect>"
        for place, (what, count) in enumerate(values)
    )
    width = max(len(values), 1) * step
    return Markup(
        f'<svg class="chart" role="img" aria-label="{_text(label, 200)}" width="{width}" height="34" '
        f'viewBox="0 0 {width} 34">{drawn}</svg>'
    )


def _svg(axis: _Axis, height: int, content: str, label: str) -> Markup:
    """Frame a chart over time. Its data say where its days lie, for the script that reads the pointer."""
    return Markup(
        f'<svg class="chart" role="group" aria-label="{_text(label, 200)}" width="{WIDTH}" '
        f'height="{height}" viewBox="0 0 {WIDTH} {height}" data-width="{WIDTH}" '
        f'data-left="{axis.left}" data-right="{axis.right}" data-from="{axis.first.isoformat()}" '
        f'data-to="{axis.last.isoformat()}">{content}'
        f'<line class="cursor" x1="0" x2="0" y1="{TOP - 6}" y2="{height}" visibility="hidden"/></svg>'
    )


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def _text(text: str, longest: int) -> str:
    """Make text safe inside the picture, and short enough for its place."""
    shown = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return str(escape(visible(shown)))
