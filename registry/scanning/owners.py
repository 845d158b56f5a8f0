"""Whose file it is, and where it can be seen: CODEOWNERS, Backstage, and the repository's web address.

CODEOWNERS  `.github/`, the root, `docs/`: the first that exists; in it the last matching line wins
Backstage   `catalog-info.yaml`, the nearest above the file: `spec.owner`
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from urllib.parse import quote, urlsplit

__all__ = ["Owners", "link_base", "web_address"]

_CODEOWNERS = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")


class Owners:
    """Says who owns the files of one repository; reads each file of rules once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rules = list(_code_owners(root))
        self._backstage: dict[Path, str | None] = {}

    def of(self, path: str) -> str | None:
        """Return the owner of a file (its path in the repository), several joined with commas."""
        for pattern, owners in reversed(self._rules):
            if pattern.match(path):
                return owners or None
        return self._catalogued((self._root / path).parent)

    def _catalogued(self, folder: Path) -> str | None:
        if folder not in self._backstage:
            owner = _spec_owner(folder / "catalog-info.yaml")
            if owner is None and folder != self._root and folder.is_relative_to(self._root):
                owner = self._catalogued(folder.parent)
            self._backstage[folder] = owner
        return self._backstage[folder]


def _read(file: Path) -> str | None:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return None


def _code_owners(root: Path) -> Iterator[tuple[re.Pattern[str], str]]:
    text = next((found for name in _CODEOWNERS if (found := _read(root / name)) is not None), "")
    for line in text.splitlines():
        words = [word.replace("\\ ", " ") for word in re.findall(r"(?:\\ |\S)+", line)]
        pattern, *owners = words or [""]
        # A section of GitLab's (`[Docs] @team`) and a negation mean nothing on GitHub.
        if pattern and pattern[0] not in "#[^!":
            named = takewhile(lambda owner: not owner.startswith("#"), owners)
            yield _pattern(pattern), ", ".join(named)


def _pattern(text: str) -> re.Pattern[str]:
    """Read a pattern by GitHub's rules: as in an ignore file, but `docs/*` goes one level deep."""
    folder = text.endswith("/")
    plain = text.strip("/")
    anchored = text.startswith("/") or "/" in plain
    parts = re.split(r"(/\*\*/|\*\*/|/\*\*|\*\*|\*|\?)", plain)
    translated = {
        "/**/": "/(?:.*/)?", "**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]",
    }  # fmt: skip
    body = "".join(translated.get(part, re.escape(part)) for part in parts)
    if folder:
        end = "/.*"
    elif anchored and plain.rsplit("/", 1)[-1] == "*":
        end = ""
    else:
        end = "(?:/.*)?"
    return re.compile(f"{'' if anchored else '(?:.*/)?'}{body}{end}\\Z", re.DOTALL)


def _spec_owner(file: Path) -> str | None:
    """Find `spec.owner` in the first document of a Backstage file, without a YAML reader."""
    inside = False
    for line in (_read(file) or "").splitlines():
        if re.match(r"\S", line):
            inside = re.match(r"spec:\s*(?:#.*)?$", line) is not None
        elif inside and (
            found := re.match(r"\s+owner:\s*[\"']?([^\s\"'#][^\"'#]*?)[\"']?\s*(?:#.*)?$", line)
        ):
            return found[1]
    return None


# --- Where it can be seen -------------------------------------------------------------------------


def link_base(root: Path) -> str | None:
    """Return the address under which the checked-out commit's files can be seen, if it is known."""
    remote = _git(root, "config", "--get", "remote.origin.url")
    commit = _git(root, "rev-parse", "HEAD")
    address = web_address(remote) if remote and commit else None
    if address is None:
        return None
    host = urlsplit(address).hostname or ""
    return f"{address}/-/blob/{commit}" if "gitlab" in host else f"{address}/blob/{commit}"


def web_address(remote: str) -> str | None:
    """Turn a remote of GitHub or GitLab into the address of its page, without any credentials.

    >>> web_address("git@github.com:acme/shop.git")
    'https://github.com/acme/shop'
    """
    short = re.fullmatch(r"(?:[\w.-]+@)?([\w.-]+):(?!/)([\w./~-]+)", remote.strip())
    if short:
        host, path = short.groups()
    else:
        try:
            parts = urlsplit(remote.strip())
        except ValueError:
            return None
        host, path = parts.hostname or "", parts.path
    path = path.strip("/").removesuffix(".git")
    if not path or not any(known in host for known in ("github", "gitlab")):
        return None
    return f"https://{host}/{quote(path)}"


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            ["git", "-C", str(root), *arguments],  # noqa: S607 - the user's own git
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
