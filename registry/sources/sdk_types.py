"""What the SDK's types say of request bodies: which fields and tool types only its beta namespace has.

The parameters of a message are described twice, in `types/message_create_params.py` and in
`types/beta/message_create_params.py`. Both are followed from there through aliases, unions and imports, side
by side. What only the second has needs a beta. Which one is told in two ways only:

- a description that begins a sentence with "Requires" and names it;
- the name and the day of a type: `computer_20251124` is of the listed `computer-use-2025-11-24`, if no other
  listed beta has that first word and that day.

Where neither says it, nothing is claimed; `Additions.untold` keeps such fields for people.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from registry.core.names import parse

__all__ = ["Addition", "Additions", "additions"]

PACKAGE: Final = "anthropic/"
PLAIN: Final = f"{PACKAGE}types/message_create_params.py"
BETA: Final = f"{PACKAGE}types/beta/message_create_params.py"
PARAMS: Final = "MessageCreateParamsBase"
NOT_IN_BODY: Final = frozenset({"betas", "type"})
MAX_DEPTH: Final = 8
"""Members of members that are followed: the types refer to themselves."""
MAX_INSIDE: Final = 2
"""How far a path that only the beta namespace has is followed, for what is said inside it."""

_LISTS: Final = frozenset({"Iterable", "List", "Sequence", "SequenceNotStr", "list"})
_ONE_OF: Final = frozenset({"Union", "Optional", "Required", "NotRequired", "Annotated"})
_REQUIRES = re.compile(r"Requires? [`*]*(?:the |anthropic-beta: ?|[`*])*(?P<beta>[a-z0-9][\w.-]*)")
_DATED = re.compile(r"(?P<word>[a-z]+)(?:_[a-z0-9_]+)?_(?P<day>\d{8})")


@dataclass(frozen=True, slots=True)
class Addition:
    """A field or tool type that only one beta allows, and the module and sentence that say so.

    No `quote`: the name and day of the type say it.
    """

    beta: str
    field: str
    value: str
    module: str
    quote: str | None


@dataclass(frozen=True, slots=True)
class Additions:
    """What the beta namespace adds: `told` with its beta, `untold` (paths) without."""

    told: tuple[Addition, ...] = ()
    untold: tuple[str, ...] = ()


def additions(modules: Mapping[str, str], listed: Collection[str]) -> Additions:
    """Compare the two descriptions of a message. `modules`: source texts by path in the wheel.

    `listed`: the names of all betas of the release. What cannot be read or followed says nothing.
    """
    types = _Types(modules)
    beta, plain = types.named(BETA, PARAMS), types.named(PLAIN, PARAMS)
    if not beta.objects or not plain.objects:
        return Additions()
    told: dict[tuple[str, str], Addition] = {}
    untold = []
    for only in _Comparison(types).members("", beta.objects, plain.objects):
        found = _attributed(only, listed)
        if found is not None:
            told.setdefault((found.beta, found.value), found)
        elif not only.inside:
            untold.append(only.path)
    return Additions(tuple(told.values()), tuple(sorted(set(untold))))


# --- Which beta -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Only:
    """A path that only the beta namespace has. `inside` another such path it is told with its beta only."""

    path: str
    tag: str
    docs: tuple[str, ...]
    module: str
    inside: bool


def _attributed(only: _Only, listed: Collection[str]) -> Addition | None:
    named = _required(only.docs, listed) or _dated(only.tag, listed)
    if named is None:
        return None
    beta, quote = named
    tool = only.tag if only.path == f"tools[type={only.tag}]" else ""
    return Addition(
        beta, "tool_types" if tool else "body_fields", tool or only.path, only.module, quote
    )


def _required(docs: Collection[str], listed: Collection[str]) -> tuple[str, str] | None:
    for text in docs:
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split())):
            stated = _REQUIRES.match(sentence)
            if stated and stated["beta"].rstrip(".") in listed:
                return stated["beta"].rstrip("."), sentence
    return None


def _dated(tag: str, listed: Collection[str]) -> tuple[str, None] | None:
    match = _DATED.fullmatch(tag)
    if match is None:
        return None
    known = [(name, parse(name)) for name in listed]
    fitting = [
        name
        for name, parsed in known
        if parsed.release_date is not None
        and f"{parsed.release_date:%Y%m%d}" == match["day"]
        and re.split(r"[-_]", name)[0] == match["word"]
    ]
    return (fitting[0], None) if len(fitting) == 1 else None


# --- Two descriptions side by side ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Class:
    """One class of a module."""

    module: str
    node: ast.ClassDef


@dataclass(slots=True)
class _Shape:
    """What can stand at a place: objects of these classes, lists of `items`, one of these words."""

    objects: list[_Class] = field(default_factory=list)
    items: _Shape | None = None
    words: set[str] = field(default_factory=set)

    def add(self, other: _Shape) -> None:
        """Take over what can stand at another place."""
        self.objects += [item for item in other.objects if item not in self.objects]
        self.words |= other.words
        if other.items is not None:
            self.items = self.items or _Shape()
            self.items.add(other.items)


@dataclass(frozen=True, slots=True)
class _Member:
    """One member of an object: what it can be, whether it must be there, what is said of it."""

    shape: _Shape
    required: bool
    docs: tuple[str, ...]
    module: str


class _Comparison:
    def __init__(self, types: _Types) -> None:
        self._types = types
        self._within: list[tuple[str, ...]] = []

    def members(
        self, path: str, beta: list[_Class], plain: list[_Class], inside: int = 0
    ) -> Iterator[_Only]:
        """Yield what only `beta` has of the members of an object.

        `inside` counts the paths around this one that only `beta` has.
        """
        names = tuple(item.node.name for item in beta)
        if len(self._within) >= MAX_DEPTH or names in self._within:
            return
        self._within.append(names)
        known = self._all_members(plain)
        for name, member in self._all_members(beta).items():
            if name in NOT_IN_BODY:
                continue
            at = f"{path}.{name}" if path else name
            if name in known:
                yield from self._shapes(at, member.shape, known[name].shape, inside)
                more = (
                    member.shape.words - known[name].shape.words if known[name].shape.words else ()
                )
                for word in sorted(more):
                    yield _Only(f"{at}={word}", "", (), member.module, inside > 0)
                continue
            yield _Only(at, "", member.docs, member.module, inside > 0)
            if inside < MAX_INSIDE:
                yield from self._stated(at, member.shape)
                yield from self._shapes(at, member.shape, _Shape(), inside + 1)
        self._within.pop()

    def _shapes(self, path: str, beta: _Shape, plain: _Shape, inside: int) -> Iterator[_Only]:
        yield from self._objects(path, beta.objects, plain.objects, inside, "{}.type={}")
        if beta.items is not None:
            known = plain.items or _Shape()
            yield from self._objects(path, beta.items.objects, known.objects, inside, "{}[type={}]")

    def _objects(
        self, path: str, beta: list[_Class], plain: list[_Class], inside: int, pick: str
    ) -> Iterator[_Only]:
        """Compare what can stand at a place, kind by kind: a kind is what the member `type` says."""
        known = self._by_tag(plain)
        for tag, classes in self._by_tag(beta).items():
            listed = "[" in pick
            at = pick.format(path, tag) if tag and listed else f"{path}[]" if listed else path
            if tag in known:
                yield from self.members(at, classes, known[tag], inside)
            elif tag:
                docs = tuple(doc for item in classes if (doc := ast.get_docstring(item.node)))
                yield _Only(pick.format(path, tag), tag, docs, classes[0].module, inside > 0)
            elif inside:
                yield from self.members(at, classes, [], inside)

    def _stated(self, path: str, shape: _Shape) -> Iterator[_Only]:
        """Yield the members by which one form of a field is known, with what is said of that form."""
        for form in shape.objects:
            doc = ast.get_docstring(form.node)
            members = self._types.members(form)
            if doc and "type" not in members:
                for name in [n for n, member in members.items() if member.required]:
                    yield _Only(f"{path}.{name}", "", (doc,), form.module, True)

    def _all_members(self, classes: list[_Class]) -> dict[str, _Member]:
        found: dict[str, _Member] = {}
        for item in classes:
            for name, member in self._types.members(item).items():
                if name in found:
                    found[name].shape.add(member.shape)
                else:
                    found[name] = member
        return found

    def _by_tag(self, classes: list[_Class]) -> dict[str, list[_Class]]:
        found: dict[str, list[_Class]] = {}
        for item in classes:
            for tag in self._types.tags(item):
                found.setdefault(tag, []).append(item)
        return found


# --- Modules --------------------------------------------------------------------------------------


class _Types:
    """The classes and aliases of modules, read as they are asked for."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._texts = modules
        self._names: dict[str, dict[str, ast.ClassDef | ast.expr | tuple[str, str]]] = {}

    def named(self, module: str, name: str, depth: int = 0) -> _Shape:
        """Return what a name of a module stands for; nothing where it leads out of what is known."""
        found = self._module(module).get(name)
        if found is None or depth > MAX_DEPTH * 4:
            return _Shape()
        if isinstance(found, tuple):
            return self.named(*found, depth + 1)
        if isinstance(found, ast.ClassDef):
            return _Shape([_Class(module, found)])
        return self._shape(module, found, depth + 1)

    def members(self, item: _Class) -> dict[str, _Member]:
        """Return the members of a class, those of its bases first."""
        return self._members(item, 0)

    def tags(self, item: _Class) -> tuple[str, ...]:
        """Return what its member `type` can say; one empty text where it has none."""
        for node in item.node.body:
            if isinstance(node, ast.AnnAssign) and _name(node.target) == "type":
                return tuple(_texts(node.annotation)) or ("",)
        return ("",)

    def _members(self, item: _Class, depth: int) -> dict[str, _Member]:
        found: dict[str, _Member] = {}
        for base in item.node.bases if depth < MAX_DEPTH else ():
            for parent in self.named(item.module, _name(base)).objects:
                found |= self._members(parent, depth + 1)
        body = item.node.body
        for place, node in enumerate(body):
            if isinstance(node, ast.AnnAssign) and (name := _name(node.target)):
                found[name] = _Member(
                    self._shape(item.module, node.annotation, 0),
                    "Required" in {_name(part) for part in ast.walk(node.annotation)},
                    _described(body[place + 1 : place + 2]),
                    item.module,
                )
        return found

    def _shape(self, module: str, node: ast.expr, depth: int) -> _Shape:
        if isinstance(node, ast.Name | ast.Attribute):
            return self.named(module, _name(node), depth)
        found = _Shape()
        if isinstance(node, ast.Subscript) and depth <= MAX_DEPTH * 4:
            kind, inner = _name(node.value), node.slice
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if kind == "Literal":
                found.words.update(_texts(node))
            elif kind in _LISTS:
                found.items = self._shape(module, parts[0], depth + 1)
            elif kind in _ONE_OF:
                for part in parts[:1] if kind == "Annotated" else parts:
                    found.add(self._shape(module, part, depth + 1))
        return found

    def _module(self, path: str) -> dict[str, ast.ClassDef | ast.expr | tuple[str, str]]:
        if path not in self._names:
            self._names[path] = dict(_definitions(path, self._texts.get(path, "")))
        return self._names[path]


def _definitions(
    path: str, text: str
) -> Iterator[tuple[str, ast.ClassDef | ast.expr | tuple[str, str]]]:
    """Yield the classes, aliases and imports (module, name) of a module; none of one that is no Python."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield _name(node.target), node.value
        elif isinstance(node, ast.Assign):
            yield _name(node.targets[0]), node.value
        elif isinstance(node, ast.ImportFrom) and node.level and node.module:
            folder = path
            for _ in range(node.level):
                folder = posixpath.dirname(folder)
            module = f"{folder}/{node.module.replace('.', '/')}.py"
            for alias in node.names:
                yield alias.asname or alias.name, (module, alias.name)


def _described(after: list[ast.stmt]) -> tuple[str, ...]:
    """Return the text that stands right after a member and describes it."""
    if after and isinstance(after[0], ast.Expr) and isinstance(after[0].value, ast.Constant):
        text = after[0].value.value
        return (text,) if isinstance(text, str) else ()
    return ()


def _texts(node: ast.expr) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
