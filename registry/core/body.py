"""What in a request's body only a beta allows, and what of it goes when the beta goes (contract, rule 14).

`Beta.body_fields` say it by paths from the top of a Messages request:

    mcp_servers                                      a member
    output_config.task_budget                        a member of a member
    messages[].content[].cache_control.ttl           in every member of a list
    context_management.edits[type=compact_20260112]  those members of a list that say so
    thinking.display=updates                         only with this value

A value may end in `*`, for all that begin so; of several that fit, the most exact one speaks. A tool type
`T` of `Beta.tool_types` is `tools[type=T]`. What stands inside `requests[].params` (a batch) or
`additionalModelRequestFields` (Bedrock's Converse) is a Messages request too. Bodies of other endpoints
have members of the same names that mean something else: ask for `ENDPOINTS` only.

A field is told by what is nearest: a beta that allows `context_management.edits[type=X]` allows that
`context_management` which holds such an edit.

**Essential** is every tool type, and every field whose loss could change a result: those that `Beta.essential`
lists. None there says that nobody classified the fields: all are. An empty tuple says that none is.

Nothing here changes a body, none raises, whatever the body is, and the work grows with its size only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

from registry.core.facts import Beta

__all__ = [
    "ENDPOINTS",
    "Cut",
    "Missing",
    "Use",
    "essential_of",
    "hinted",
    "is_field",
    "missing",
    "used",
    "without",
]

ENDPOINTS: Final = frozenset({"messages", "count_tokens", "batches"})
"""Whose bodies the paths speak of."""


@dataclass(frozen=True, slots=True)
class Use:
    """A field or tool type that a body holds, and the betas that allow it. `instead`: what took its place."""

    field: str
    betas: tuple[str, ...]
    instead: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A field or tool type that a body holds without a beta that allows it.

    `beta` is the one of `alternatives` to add: None where none can be advised. `instead` as in `Use`.
    """

    field: str
    beta: str | None
    alternatives: tuple[str, ...]
    instead: str | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """A body without the fields of dropped betas.

    `removed`: the fields and tool types that are gone. `kept_essential`: those for which betas must not be
    dropped. Of these betas, `held`, nothing was removed: they are to be sent as they were.
    """

    body: object
    removed: tuple[str, ...] = ()
    kept_essential: tuple[Use, ...] = ()

    @property
    def held(self) -> frozenset[str]:
        """The betas that must not be dropped."""
        return frozenset(name for use in self.kept_essential for name in use.betas)


def used(body: object, betas: Mapping[str, Beta]) -> tuple[Use, ...]:
    """Return what the body holds that only betas allow, by field. Tool types stand as the body says them."""
    found: dict[str, dict[str, None]] = {}
    for hit in _hits(body, _tree(betas.values())):
        found.setdefault(hit.field, {}).update(dict.fromkeys(hit.rules))
    return tuple(
        Use(field, tuple(names), _instead(names, betas)) for field, names in sorted(found.items())
    )


def missing(
    body: object,
    sent: Collection[str],
    betas: Mapping[str, Beta],
    *,
    free: Callable[[str], bool],
    prefer: Callable[[Sequence[str]], str | None],
) -> tuple[Missing, ...]:
    """Return what the body holds without any of the betas that allow it, by field.

    `sent`: the betas sent, by their names in the registry. `free` says of a beta whether what it allows needs no
    header where the request goes (it is ga there). `prefer` picks the one to advise.
    """
    found: dict[str, dict[str, None]] = {}
    for hit in _hits(body, _tree(betas.values())):
        # What holds another such field is allowed by the betas of that, which is told by itself.
        if not hit.below and not any(name in sent or free(name) for name in hit.rules):
            found.setdefault(hit.field, {}).update(dict.fromkeys(hit.rules))
    told = []
    for shown, names in sorted(found.items()):
        best = prefer(tuple(names))
        told.append(Missing(shown, best, tuple(names), _instead([best] if best else names, betas)))
    return tuple(told)


def without(
    body: object, dropped: Iterable[Beta], kept: Iterable[Beta], drop_essential: bool = False
) -> Cut:
    """Take what only `dropped` betas allow out of a body. What is not touched is shared with it.

    `kept`: the betas that are still sent, and those whose fields need no header where the request goes.
    Where the body uses an essential field of a dropped beta, nothing of that beta is removed and
    `kept_essential` says so, unless `drop_essential`. What a removal leaves empty goes with it; so does a
    `tool_choice` that is left without its tool.
    """
    stay = {beta.name: beta for beta in kept}
    go = {beta.name: beta for beta in dropped if beta.name not in stay}
    if not any(beta.body_fields or beta.tool_types for beta in go.values()):
        return Cut(body)
    tree = _tree([*go.values(), *stay.values()])
    needed: dict[str, dict[str, None]] = {}
    for hit in () if drop_essential else _hits(body, tree):
        if stay.keys().isdisjoint(hit.rules) and stay.keys().isdisjoint(hit.below):
            names = [name for name, essential in hit.rules.items() if essential]
            if names:
                needed.setdefault(hit.field, {}).update(dict.fromkeys(names))
    held = {name for names in needed.values() for name in names}
    cutter = _Cutter(go.keys() - held, stay.keys() | held)
    left, _ = cutter.cut(body, tree)
    kept_essential = tuple(
        Use(field, tuple(names), _instead(names, go)) for field, names in sorted(needed.items())
    )
    return Cut({} if left is _GONE else left, tuple(sorted(cutter.removed)), kept_essential)


def hinted(location: str, betas: Mapping[str, Beta]) -> tuple[str, ...]:
    """Return the betas that have to do with what an upstream error names: a place in a body, or a `type`.

    A place is told as the API's validator does: `messages.0.content.3.text.cache_control.ephemeral.ttl`, with
    positions and kinds between the members, or without them. What took a field's place counts too: where
    that is refused, the feature may still be beta. Who speaks of the place itself comes before who speaks
    of something inside it.
    """
    parts = re.split(r"[.\[\]]+", location[:MAX_LOCATION])
    said = tuple(part for part in parts if part and not part.isdigit())
    exact: list[str] = []
    inside: list[str] = []
    for beta in betas.values() if said else ():
        instead = _steps(beta.body_instead or "")
        paths = [steps for _, steps in _paths(beta.body_fields, beta.tool_types)]
        paths.append(instead)
        if any(_names(steps, said) for steps in paths):
            exact.append(beta.name)
        elif any(_holds(said, steps) for steps in paths):
            inside.append(beta.name)
    return tuple(exact or inside)


def _names(steps: _Steps, said: Sequence[str]) -> bool:
    """Say whether an error's location is that of a path: all its words in order, from first to last."""
    words = [word for kind, word in steps if (kind, word) != _EACH]
    if not words or not _fits(words[-1], said[-1]):
        return False
    if len(said) == 1 and steps[-1][0]:  # a `type` by itself
        return True
    rest = iter(said)
    return words[0] == said[0] and all(any(_fits(word, part) for part in rest) for word in words)


def _holds(said: Sequence[str], steps: _Steps) -> bool:
    """Say whether a path leads on from a location, and not into members of a list there."""
    start = steps[: len(said) + 1]
    return all(kind == "" for kind, _ in start) and [word for _, word in start[:-1]] == list(said)


def _fits(word: str, part: str) -> bool:
    return part.startswith(word[:-1]) if word.endswith("*") else word == part


def essential_of(beta: Beta) -> tuple[str, ...]:
    """Return the fields and tool types of a beta that are essential, as the API shows them."""
    stated = beta.body_fields if beta.essential is None else beta.essential
    return tuple(dict.fromkeys((*stated, *beta.tool_types)))


def is_field(text: str) -> bool:
    """Say whether a text is a path in the notation of this module."""
    return bool(_steps(text))


def _instead(names: Iterable[str], betas: Mapping[str, Beta]) -> str | None:
    known = (beta.body_instead for name in names if (beta := betas.get(name)) is not None)
    return next((instead for instead in known if instead), None)


# --- Paths ----------------------------------------------------------------------------------------

MAX_LOCATION: Final = 1000
MAX_STEPS: Final = 32
"""Of a path, and so of every walk: a longer path is none."""

_Steps = tuple[tuple[str, str], ...]

_EACH: Final = ("[]", "")
_STEP = re.compile(
    r"(?P<member>(?:(?<=\.)|\A)[^.\[\]=*]+)|(?P<each>\[\])|\[(?P<key>[^.\[\]=*]+)=(?P<pick>[^\[\]]+)\]"
    r"|(?P<dot>(?<!\A)\.(?=[^.\[\]=*]))|=(?P<value>[^\[\]]+)\Z"
)


@lru_cache(maxsize=4096)
def _steps(text: str) -> _Steps:
    """Read a path: `("", member)`, `_EACH`, `(key, value)`, `("=", value)`; nothing where it is none."""
    found, at = [], 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            return ()
        at = step.end()
        if step["member"]:
            found.append(("", step["member"]))
        elif step["each"]:
            found.append(_EACH)
        elif step["key"]:
            found.append((step["key"], step["pick"]))
        elif step["value"]:
            found.append(("=", step["value"]))
    return tuple(found) if found and found[0][0] == "" and len(found) <= MAX_STEPS else ()


def _paths(fields: Iterable[str], tools: Iterable[str]) -> Iterator[tuple[str, _Steps]]:
    """Yield all paths of a beta with their notation; what is no path is left out."""
    yield from ((text, steps) for text in fields if (steps := _steps(text)))
    yield from ((kind, (("", "tools"), ("type", kind))) for kind in tools)


class _Table(dict[str, "_Node"]):
    """Nodes by value; a key that ends in `*` is for all values that begin so."""

    def of(self, value: object) -> _Node | None:
        """Return the node that fits best."""
        if not self or not isinstance(value, str):
            return None
        return self.get(value) or next(
            (self[key] for key in self._families if value.startswith(key[:-1])), None
        )

    @cached_property
    def _families(self) -> list[str]:
        """Keys for many values, the most exact first. Asked for when the table is complete."""
        return sorted((key for key in self if key.endswith("*")), key=len, reverse=True)


@dataclass(slots=True)
class _Node:
    """A place in a body. `rules`: the betas that allow what stands there, and for which it is essential."""

    shown: str = ""
    rules: dict[str, bool] = field(default_factory=dict)
    members: dict[str, _Node] = field(default_factory=dict)
    each: _Node | None = None
    picks: dict[str, _Table] = field(default_factory=dict)
    values: _Table = field(default_factory=_Table)
    request: bool = False

    def step(self, kind: str, word: str) -> _Node:
        """Return the node one step on, made where there was none."""
        if (kind, word) == _EACH:
            self.each = self.each or _Node()
            return self.each
        if kind == "":
            return self.members.setdefault(word, _Node())
        table = self.values if kind == "=" else self.picks.setdefault(kind, _Table())
        return table.setdefault(word, _Node())

    def of(self, item: object) -> Iterator[_Node]:
        """Yield the nodes of one member of a list, the most exact first."""
        if isinstance(item, dict):
            for key, table in self.picks.items():
                node = table.of(item.get(key))
                if node is not None:
                    yield node
        if self.each is not None:
            yield self.each


def _tree(betas: Iterable[Beta]) -> _Node:
    """Lay the paths of all betas over each other, so that a body is walked once."""
    return _laid(
        tuple(
            (beta.name, beta.body_fields, beta.tool_types, essential_of(beta))
            for beta in betas
            if beta.body_fields or beta.tool_types
        )
    )


@lru_cache(maxsize=64)
def _laid(
    rules: tuple[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...],
) -> _Node:
    root = _Node(request=True)
    for name, fields, tools, essential in rules:
        for text, steps in _paths(fields, tools):
            node = root
            for kind, word in steps:
                node = node.step(kind, word)
            node.shown = text
            node.rules[name] = node.rules.get(name, False) or text in essential
    batch = _Node(each=_Node(members={"params": root}))
    around = {"requests": batch, "additionalModelRequestFields": root}
    return _Node(members={**around, **root.members}, request=True)


# --- Bodies ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Hit:
    """One place in a body that rules speak of, and the betas that allow something inside it."""

    field: str
    rules: Mapping[str, bool]
    below: frozenset[str]


_NOBODY: Final[frozenset[str]] = frozenset()


def _hits(body: object, tree: _Node) -> list[_Hit]:
    hits: list[_Hit] = []
    _walk(body, tree, _NOBODY, hits)
    return hits


def _walk(value: object, node: _Node, below: frozenset[str], hits: list[_Hit]) -> frozenset[str]:
    """Collect what stands at and below a place; returns the betas that allow any of it.

    As deep as a path is long, however deep the body is.
    """
    if isinstance(value, dict):
        for member, child in node.members.items():
            if member in value:
                below |= _walk(value[member], child, _NOBODY, hits)
    elif isinstance(value, list | tuple):
        for item in value if node.each is not None or node.picks else ():
            inside = _NOBODY
            for child in node.of(item):
                inside = _walk(item, child, inside, hits)
            if inside:
                below |= inside
    elif (only := node.values.of(value)) is not None:
        below |= _walk(value, only, _NOBODY, hits)
    if node.rules:
        hits.append(_Hit(_shown(node, value), node.rules, below))
        below |= node.rules.keys()
    return below


def _shown(node: _Node, value: object) -> str:
    """Name a tool type as the body does, also where a rule is for a family of them."""
    if node.shown.endswith("*") and isinstance(value, dict) and "[" not in node.shown:
        kind = value.get("type")
        return kind if isinstance(kind, str) else node.shown
    return node.shown


_GONE: Final = object()


@dataclass(slots=True)
class _Cutter:
    """Takes out what the betas `go` allow, unless one of `stay` allows it or something inside it."""

    go: frozenset[str] | set[str]
    stay: frozenset[str] | set[str]
    removed: set[str] = field(default_factory=set)

    def cut(self, value: object, node: _Node, stays: bool = False) -> tuple[object, bool]:
        """Return what is left of a value, or `_GONE`; and whether something in it is to stay."""
        left = value
        if isinstance(value, dict):
            left, inside = self._object(value, node)
            stays |= inside
        elif isinstance(value, list | tuple):
            left, inside = self._list(value, node)
            stays |= inside
        elif (only := node.values.of(value)) is not None:
            left, inside = self.cut(value, only)
            stays |= inside
        if not self.stay.isdisjoint(node.rules):
            stays = True
        elif not stays and not self.go.isdisjoint(node.rules):
            self.removed.add(_shown(node, value))
            left = _GONE
        return left, stays

    def _object(self, value: dict[object, object], node: _Node) -> tuple[object, bool]:
        changed: dict[object, object] = {}
        stays = False
        for member, child in node.members.items():
            if member in value:
                part, inside = self.cut(value[member], child)
                stays |= inside
                if part is not value[member]:
                    changed[member] = part
        if not changed:
            return value, stays
        left = {k: v for k, v in {**value, **changed}.items() if v is not _GONE}
        if node.request and "tools" in changed and _is_orphan(left):
            del left["tool_choice"]
            self.removed.add("tool_choice")
        return left or _GONE, stays

    def _list(self, value: Sequence[object], node: _Node) -> tuple[object, bool]:
        if node.each is None and not node.picks:
            return value, False
        items, stays, changed = [], False, False
        for item in value:
            part, inside = item, False
            for child in node.of(item):
                part, inside = self.cut(part, child, inside)
                if part is _GONE:
                    break
            stays |= inside
            changed |= part is not item
            if part is not _GONE:
                items.append(part)
        return ((items or _GONE) if changed else value), stays


def _is_orphan(request: Mapping[object, object]) -> bool:
    """Say whether a request's `tool_choice` asks for a tool that the request does not have."""
    tools, choice = request.get("tools"), request.get("tool_choice")
    if not isinstance(choice, dict):
        return False
    if not isinstance(tools, list | tuple):
        return True
    names = [tool.get("name") for tool in tools if isinstance(tool, dict)]
    return choice.get("type") == "tool" and choice.get("name") not in names
