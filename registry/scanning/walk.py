"""Which files are scanned: trees and single files, without what git ignores, and never through links.

A path that is named is scanned whatever the ignore files above it say about it. Below it, `.gitignore`
files and `.git/info/exclude` hold as git reads them: the last matching line of the nearest file wins,
and what lies in an ignored folder stays ignored. Links found on the way are not followed: what they
point to is either met where it lies, or outside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["Complain", "base_of", "repository_of", "walk"]

Complain = Callable[[str, str], None]
"""Takes a path and a sentence about it."""

_UNSEEN = frozenset({".git", ".hg", ".svn"})


@dataclass(frozen=True, slots=True)
class _Rules:
    """One ignore file: its patterns, and the folder they are relative to (ending in a slash)."""

    folder: str
    spec: GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder to read (absolute), its name in reports, and the ignore files above it, nearest first."""

    path: str
    name: str
    rules: tuple[_Rules, ...]


def walk(paths: Iterable[str], complain: Complain) -> Iterator[tuple[str, str]]:
    """Yield (path, name) of each file to scan, in a stable order, none twice.

    `name` is relative to the repository, else to the working folder, else to the path that was named.
    What cannot be read goes to `complain`, and the walk goes on.
    """
    seen: set[str] = set()
    for path in dict.fromkeys(paths):
        for found in _walk_one(path, complain):
            if found[0] not in seen:
                seen.add(found[0])
                yield found


def _walk_one(path: str, complain: Complain) -> Iterator[tuple[str, str]]:
    absolute, base = os.path.abspath(path), base_of(path)
    name = os.path.relpath(absolute, base).replace(os.sep, "/")
    if os.path.isdir(absolute):
        rules = _rules_above(Path(absolute), base)
        yield from _tree(_Folder(absolute, "" if name == "." else f"{name}/", rules), complain)
    elif os.path.lexists(absolute):
        yield absolute, name
    else:
        complain(path, "There is no such file or folder.")


def base_of(path: str) -> str:
    """Return the folder to which names are relative: the repository, the working folder or the path."""
    absolute = os.path.abspath(path)
    repository = repository_of(absolute)
    if repository:
        return repository
    here = os.getcwd()
    if absolute == here or absolute.startswith(os.path.join(here, "")):
        return here
    return absolute if os.path.isdir(absolute) else os.path.dirname(absolute)


def repository_of(path: str) -> str | None:
    """Return the nearest folder at or above a path that holds a `.git`."""
    place = Path(os.path.abspath(path))
    for folder in (place, *place.parents):
        if (folder / ".git").exists():
            return str(folder)
    return None


def _tree(root: _Folder, complain: Complain) -> Iterator[tuple[str, str]]:
    """Walk depth first, names in order; an explicit stack, for trees may be deep."""
    stack = [root]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(folder.path) as entries:
                # A plain list sorted by name: the same order on every machine.
                found = sorted(entries, key=_by_name)
        except OSError as error:
            complain(folder.path, f"{error.strerror or error}.")
            continue
        rules = _rules_of(folder, found)
        below = []
        for entry in found:
            if entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _UNSEEN and not _ignored(rules, f"{entry.path}/"):
                    below.append(_Folder(entry.path, f"{folder.name}{entry.name}/", rules))
            elif entry.is_file(follow_symlinks=False) and not _ignored(rules, entry.path):
                yield entry.path, folder.name + entry.name
        stack.extend(reversed(below))


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name


# --- Ignore files ---------------------------------------------------------------------------------


def _rules_of(folder: _Folder, entries: Sequence[os.DirEntry[str]]) -> tuple[_Rules, ...]:
    """Return the rules that hold in a folder: its own before those above it."""
    rules = folder.rules
    for entry in entries:
        if entry.name == ".git":
            rules = (*_read_rules(Path(entry.path) / "info" / "exclude", folder.path), *rules)
    for entry in entries:
        if entry.name == ".gitignore":
            rules = (*_read_rules(Path(entry.path), folder.path), *rules)
    return rules


def _rules_above(root: Path, base: str) -> tuple[_Rules, ...]:
    """Return the rules of the folders above a named one; none if they ignore that folder itself."""
    rules: tuple[_Rules, ...] = ()
    above = [folder for folder in reversed(root.parents) if folder.is_relative_to(base)]
    for folder in above:
        if str(folder) == base:
            rules = _read_rules(folder / ".git" / "info" / "exclude", str(folder))
        rules = (*_read_rules(folder / ".gitignore", str(folder)), *rules)
        below = folder / root.relative_to(folder).parts[0]
        if _ignored(rules, f"{below}/"):
            return ()
    return rules


def _read_rules(file: Path, folder: str) -> tuple[_Rules, ...]:
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()
    from pathspec import GitIgnoreSpec

    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except ValueError:
        spec = GitIgnoreSpec.from_lines(line for line in lines if _is_pattern(line))
    return (_Rules(os.path.join(folder, ""), spec),) if len(spec) else ()


def _is_pattern(line: str) -> bool:
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _ignored(rules: tuple[_Rules, ...], path: str) -> bool:
    for rule in rules:
        verdict = rule.spec.check_file(path[len(rule.folder) :]).include
        if verdict is not None:
            return verdict
    return False
