"""Which files are scanned: trees and single files, without what git ignores, and never through links.

A path that is named is scanned whatever the ignore files above it say about it. Below it, `.gitignore`
files and `.git/info/exclude` hold as git reads them: the last matching line of the nearest file wins,
and what lies in an ignored folder stays ignored. Links found on the way are not followed: what they
point to is either met where it lies, or outside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["Complain", "Files", "base_of", "repository_of", "walk"]

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


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one folder, in order: their names, where the folder is, and what it is called in reports.

    Both `folder` and `name` end in a slash, or are empty, so that a file's name can be appended.
    """

    folder: str
    name: str
    files: tuple[str, ...]


def walk(paths: Iterable[str], complain: Complain) -> Iterator[Files]:
    """Yield the files to scan, folder by folder in a stable order, none twice.

    Names in reports are relative to the repository, else to the working folder, else to the path that
    was named. What cannot be read goes to `complain`, and the walk goes on.
    """
    roots = list(dict.fromkeys(map(os.path.abspath, paths)))
    seen: set[str] = set()
    for root in roots:
        for found in _walk_one(root, complain):
            if len(roots) > 1:
                found = _unseen(found, seen)
            if found.files:
                yield found


def _unseen(found: Files, seen: set[str]) -> Files:
    files = tuple(file for file in found.files if found.folder + file not in seen)
    seen.update(found.folder + file for file in files)
    return replace(found, files=files)


def _walk_one(root: str, complain: Complain) -> Iterator[Files]:
    base = base_of(root)
    name = os.path.relpath(root, base).replace(os.sep, "/")
    if os.path.isdir(root):
        rules = _rules_above(Path(root), base)
        yield from _tree(_Folder(root, "" if name == "." else f"{name}/", rules), complain)
    elif os.path.lexists(root):
        folder, file = os.path.split(root)
        yield Files(os.path.join(folder, ""), name.removesuffix(file), (file,))
    else:
        complain(name, "There is no such file or folder.")


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


def _tree(root: _Folder, complain: Complain) -> Iterator[Files]:
    """Walk depth first, names in order; an explicit stack, for trees may be deep."""
    stack = [root]
    while stack:
        folder = stack.pop()
        try:
            files, folders = _list(folder.path)
        except OSError as error:
            complain(folder.name or folder.path, f"{error.strerror or error}.")
            continue
        path = os.path.join(folder.path, "")
        rules = _rules_of(folder, files, folders)
        if rules:
            files = [name for name in files if not _ignored(rules, path + name)]
            folders = [name for name in folders if not _ignored(rules, f"{path}{name}/")]
        yield Files(path, folder.name, tuple(files))
        stack += [
            _Folder(path + name, f"{folder.name}{name}/", rules)
            for name in reversed(folders)
            if name not in _UNSEEN
        ]


def _list(path: str) -> tuple[list[str], list[str]]:
    """List the files and the folders of a folder, sorted; links are neither."""
    files, folders = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                files.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
    files.sort()
    folders.sort()
    return files, folders


# --- Ignore files ---------------------------------------------------------------------------------


def _rules_of(folder: _Folder, files: Sequence[str], folders: Sequence[str]) -> tuple[_Rules, ...]:
    """Return the rules that hold in a folder: its own before those above it."""
    rules = folder.rules
    if ".git" in folders:
        exclude = Path(folder.path, ".git", "info", "exclude")
        rules = (*_read_rules(exclude, folder.path), *rules)
    if ".gitignore" in files:
        rules = (*_read_rules(Path(folder.path, ".gitignore"), folder.path), *rules)
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
