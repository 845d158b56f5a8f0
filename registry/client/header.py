"""One answer: what to send for the names that were asked for, and why it differs from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from registry.client.snapshot import Held
from registry.core.errors import Invalid
from registry.core.facts import Json
from registry.core.judgement import Judge, Judgement
from registry.core.places import Place
from registry.core.resolution import BODY_FIELD, HEADER, Dropped, Paired, Resolution, Sent, pair

__all__ = ["Header"]

_NO_BETA: Final = frozenset({"malformed", "ambiguous-feature", "unresolved"})


class Header:
    """What to send. The members are those of `GET /v1/header`; where the facts are from comes on top.

    `value` is the header's value, "" when nothing is to be sent, and `names` are the names in it. `headers`
    can be merged into a request's headers, and `body` into its body, as they are. `problem` is None, or one
    sentence that says why the names were passed on unjudged.
    """

    __slots__ = ("_asked", "_held", "_resolution", "_used", "names", "problem", "value")

    # One is made for every new question: hence slots, and no `cached_property`, which takes a lock.
    def __init__(
        self,
        resolution: Resolution,
        asked: tuple[tuple[str, str], ...],
        held: Held,
        problem: str | None = None,
    ) -> None:
        self._resolution, self._asked, self._held = resolution, asked, held
        self._used: Mapping[str, tuple[str, ...]] | None = None
        self.names = tuple([sent.name for sent in resolution.sent])
        self.value = ",".join(self.names)
        self.problem = problem

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory, its names and sentences included (measured)."""
        parts = len(self._asked) + len(self.betas) + len(self.dropped)
        return 500 + 400 * parts + 4 * sum(len(text) for _kind, text in self._asked)

    @property
    def betas(self) -> tuple[Sent, ...]:
        """The names that are sent, each with its `warnings`."""
        return self._resolution.sent

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """The names that were asked for and are not sent, each with its `reason`."""
        return self._resolution.dropped

    @property
    def omit(self) -> bool:
        """Whether nothing is to be sent: an empty header is refused upstream."""
        return not self.names

    @property
    def platform(self) -> str:
        """Where it is sent."""
        return self._resolution.place.platform or "anthropic"

    @property
    def place(self) -> Place:
        """Where it is sent, with all that is known of it."""
        return self._resolution.place

    @property
    def placement(self) -> str:
        """Where the names belong: `header`, or `body` (Bedrock's InvokeModel and Converse)."""
        return "body" if self._resolution.in_body else "header"

    @property
    def headers(self) -> dict[str, str]:
        """What to merge into the request's headers; empty when there is nothing to send there."""
        return {} if self.omit or self.placement == "body" else {HEADER: self.value}

    @property
    def body(self) -> dict[str, list[str]] | None:
        """What to merge into the request's body, where betas belong there."""
        return (
            {BODY_FIELD: list(self.names)} if not self.omit and self.placement == "body" else None
        )

    @property
    def revision(self) -> int:
        """The revision of the facts; 0 for the bundled catalog."""
        return self._resolution.revision

    @property
    def origin(self) -> str:
        """Where the facts are from: `registry`, `cache` (kept on disk) or `bundled` (in the package)."""
        return self._held.origin

    @property
    def age(self) -> float:
        """Seconds since the facts were known to be current."""
        return self._held.age

    @property
    def stale(self) -> bool:
        """Whether the registry may know better by now."""
        return self._held.stale

    @property
    def used(self) -> Mapping[str, tuple[str, ...]]:
        """The betas that this counts as usage of, each with the names that were sent for it.

        A beta counts by the name it was asked by, whatever it is called on the platform, and also if it
        was dropped: the program still names it. A feature counts by the beta it stands for.
        """
        if self._used is None:
            self._used = self._find_used()
        return self._used

    def _find_used(self) -> Mapping[str, tuple[str, ...]]:
        betas = {text for kind, text in self._asked if kind == "beta"}
        made: dict[str, tuple[str, ...]] = {}
        for sent in self.betas:
            beta = sent.requested if sent.requested in betas else sent.name
            made[beta] = (*made.get(beta, ()), sent.name)
        for dropped in self.dropped:
            if dropped.requested in betas and dropped.reason not in _NO_BETA:
                made.setdefault(dropped.requested, ())
        return made

    def without(self, refused: Collection[str]) -> Header:
        """Return what is left to send once upstream refused some of the names."""
        left = tuple(sent for sent in self.betas if sent.name not in refused)
        requested = {sent.requested for sent in left}
        asked = tuple(item for item in self._asked if item[1] in requested)
        resolution = replace(self._resolution, sent=left, dropped=())
        return Header(resolution, asked, self._held, self.problem)

    def pair(
        self, body: object, *, refused: Collection[str] = (), drop_essential: bool = False
    ) -> Paired:
        """Make a body and this answer, less what was `refused`, fit together; see `resolution.pair`."""
        judge = self._held.judge(self.place)
        asked = [one for item in self._asked if (one := _judged(judge, item)) is not None]
        left = tuple(sent for sent in self.betas if sent.name not in refused)
        answer = replace(self._resolution, sent=left)
        return pair(answer, asked, judge, body, drop_essential=drop_essential)

    def adjusted(self, resolution: Resolution) -> Header:
        """Return the same answer with another resolution of it."""
        return Header(resolution, self._asked, self._held, self.problem)

    def to_json(self) -> dict[str, Json]:
        """Print it in the shape of `GET /v1/header`, with `origin`, `age` and `stale`."""
        more = {"origin": self.origin, "age": round(self.age, 1), "stale": self.stale}
        return {**self._resolution.to_json(), **more}

    def __str__(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return f"<Header {self.value!r} for {self.platform}, {self.origin}>"


def _judged(judge: Judge, item: tuple[str, str]) -> Judgement | None:
    kind, text = item
    try:
        return judge.feature(text) if kind == "feature" else judge.beta(text)
    except Invalid:  # a feature without a current beta: it was left out
        return None
