"""The official Python SDK: which names each release knew, from the wheels on the package index.

Hidden here: that the list of names moved and changed its layout, that releases before it pinned names
in the resource modules, and that an index can be read for a few kilobytes a release. When a name was
first and last seen comes from upload times: maintenance releases of an old line appear after newer
ones, so the order of versions says nothing about time.

What a release held never changes, so it is remembered, and a later run reads only what is new.
"""

from __future__ import annotations

import ast
import io
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
from packaging.version import Version

from registry.core.facts import Claim, Cost, Finding, Json, parse_time, rfc3339
from registry.core.names import is_well_formed, parse
from registry.sources import Progress, SourceError
from registry.sources.index import File, Wheel, read_bounded, read_project
from registry.sources.sdk_types import Additions, additions

__all__ = ["SdkSource"]

LIST_MODULE: Final = "types/anthropic_beta_param.py"
RESOURCES: Final = "anthropic/resources/"
TYPES: Final = ("anthropic/types", "anthropic/types/beta")
SOURCE_URL: Final = (
    "https://github.com/anthropics/anthropic-sdk-python/blob/v{version}/src/{module}"
)
MAX_CHANGELOG: Final = 8 * 1024 * 1024
MAX_QUOTE: Final = 300
FORMAT: Final = 1
"""Shape of the memo. Raise it when a release is read differently, to read all of them again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    """What one wheel held. `listed` tells a release with a list from one that only pinned names."""

    version: str
    uploaded: datetime
    yanked: bool
    listed: bool
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """One wheel as read, or why it could not be."""

    file: File
    release: _Release | None
    problem: str | None
    cost: Cost


class SdkSource:
    """The history of the official SDK on a package index."""

    name = "sdk"

    def __init__(
        self, index_url: str | None = None, project: str = "anthropic", workers: int = 8
    ) -> None:
        """Read `project` from the simple index at `index_url` (None: pip's default)."""
        self.index_url, self.project, self.workers = index_url, project, workers

    def collect(
        self, http: httpx2.Client, memo: Mapping[str, Json], now: datetime, progress: Progress
    ) -> Finding:
        """Read what is new on the index. Raises `SourceError`."""
        memo = memo if memo.get("format") == FORMAT else {}
        page, files = read_project(http, self.index_url, self.project, memo.get("page") or {})
        pending = bool(memo.get("pending"))
        if page.body is None and not pending:
            return Finding(
                source=self.name, unchanged=True, memo=memo, cost=page.cost,
                detail="No new release on the index.",
            )  # fmt: skip
        if page.body is None:  # unchanged, but some releases could not be read last time
            page, files = read_project(http, self.index_url, self.project, {})
        wheels = [file for file in files if file.is_wheel]
        known = {key: _from_memo(value) for key, value in (memo.get("releases") or {}).items()}
        fresh = [file for file in wheels if file.name not in known]
        reads = self._read_all(http, fresh, progress)
        releases = {**known, **{r.file.name: r.release for r in reads if r.release is not None}}
        releases = _with_yanked(releases, wheels)
        latest = _latest(releases, wheels)
        extras, extra_cost = self._extras(http, files, latest, memo)
        problems = [read.problem for read in reads if read.problem]
        claims = [*_listed_claims(releases, latest), *map(_extra_claim, extras["claims"])]
        cost = _sum([page.cost, extra_cost, *(read.cost for read in reads)])
        whole = sum(file.size or 0 for file in fresh)
        return Finding(
            source=self.name,
            claims=tuple(claims),
            complete=True,
            memo={
                "format": FORMAT,
                "page": dict(page.memo),
                "pending": bool(problems),
                "releases": {key: _to_memo(release) for key, release in releases.items()},
                "extras": extras,
                "list_calls": extras["list_calls"],
            },
            cost=Cost(requests=cost.requests, bytes=cost.bytes, bytes_whole=whole),
            detail=_detail(releases, latest, len(fresh), problems),
        )

    def _read_all(
        self, http: httpx2.Client, files: Sequence[File], progress: Progress
    ) -> list[_Read]:
        reads = []
        progress(0, len(files))
        with ThreadPoolExecutor(self.workers) as pool:
            for read in pool.map(lambda file: _read_wheel(http, file), files):
                reads.append(read)
                progress(len(reads), len(files))
        if files and all(read.release is None for read in reads):
            raise SourceError(f"No wheel of {self.project} can be read: {reads[-1].problem}")
        return reads

    def _extras(
        self, http: httpx2.Client, files: Sequence[File], latest: _Release, memo: Mapping[str, Json]
    ) -> tuple[dict[str, Any], Cost]:
        """Read endpoints, what the body may hold, and changelog of the newest release, once."""
        held = memo.get("extras") or {}
        if held.get("version") == latest.version and "beta_only" in held:
            return dict(held), Cost()
        same = [file for file in files if str(file.version) == latest.version]
        wheel = next(file for file in same if file.is_wheel)
        archive = Wheel(http, wheel)
        sends = _sends(_resources(archive))
        claims = [
            {"beta": name, "field": "endpoints", "value": sorted(endpoints)}
            for name, endpoints in sorted(sends.endpoints.items())
        ]
        added = additions(_types(archive), latest.names)
        claims += _body_claims(added, latest.version)
        claims = [
            {**item, "version": latest.version, "at": rfc3339(latest.uploaded)} for item in claims
        ]
        cost = archive.cost
        sdist = next((file for file in same if file.name.endswith(".tar.gz")), None)
        if sdist is not None:
            body, more = read_bounded(http, sdist.url)
            cost = _sum([cost, more])
            claims += _changelog_claims(_changelog(body))
        return {
            "version": latest.version,
            "claims": claims,
            "list_calls": sends.lists,
            "beta_only": list(added.untold),
        }, cost


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(requests=sum(c.requests for c in costs), bytes=sum(c.bytes for c in costs))


def _detail(
    releases: Mapping[str, _Release], latest: _Release, fresh: int, problems: Sequence[str]
) -> str:
    names = {name for release in releases.values() for name in release.names}
    text = (
        f"{len(releases)} releases ({fresh} read now) hold {len(names)} names; "
        f"{latest.version} of {latest.uploaded.date()} lists {len(latest.names)}."
    )
    if problems:
        text += f" {len(problems)} could not be read and will be tried again: {problems[0]}"
    return text


# --- One wheel ------------------------------------------------------------------------------------


def _read_wheel(http: httpx2.Client, file: File) -> _Read:
    """Read the names that one wheel knows; what is wrong with it is a value, not an exception."""
    wheel: Wheel | None = None
    try:
        wheel = Wheel(http, file)
        release = _release(wheel, file)
        return _Read(file=file, release=release, problem=None, cost=wheel.cost)
    except (SourceError, httpx2.HTTPError) as error:
        cost = wheel.cost if wheel is not None else Cost(requests=1)
        return _Read(file=file, release=None, problem=f"{file.name}: {error}", cost=cost)


def _release(wheel: Wheel, file: File) -> _Release:
    modules = [name for name in wheel.names() if name.endswith(LIST_MODULE)]
    names: set[str] = set()
    for text in wheel.read(modules).values():
        names |= set(names_in_literal(text))
    listed = bool(names)
    if not modules:
        names = {name for text in _resources(wheel).values() for name in names_in_headers(text)}
    uploaded = file.uploaded or wheel.dated(wheel.names()[-1])
    return _Release(
        version=str(file.version),
        uploaded=uploaded,
        yanked=file.yanked,
        listed=listed,
        names=tuple(sorted(names)),
    )


def _resources(wheel: Wheel) -> dict[str, str]:
    return wheel.read(
        [name for name in wheel.names() if name.startswith(RESOURCES) and name.endswith(".py")]
    )


def _types(wheel: Wheel) -> dict[str, str]:
    return wheel.read([name for name in wheel.names() if name.rpartition("/")[0] in TYPES])


def names_in_literal(text: str) -> list[str]:
    """Return the strings of every `Literal` in a module, whatever its layout; [] if there is none."""
    return [
        node.value
        for subscript in ast.walk(_parse(text))
        if isinstance(subscript, ast.Subscript) and _called(subscript.value) == "Literal"
        for node in ast.walk(subscript.slice)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and is_well_formed(node.value)
    ]


def names_in_headers(text: str) -> list[str]:
    """Return the names that a module sends in a literal `anthropic-beta` header."""
    return [
        name
        for node in ast.walk(_parse(text))
        if isinstance(node, ast.Dict)
        for name in _header_names(node)
    ]


def _header_names(node: ast.Dict) -> Iterator[str]:
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "anthropic-beta":
            for part in ast.walk(value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield from (n for n in part.value.split(",") if parse(n).release_date)


def _parse(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SourceError(f"A module is no Python that can be read: {error}.") from error


def _called(node: ast.expr) -> str:
    """Return the last name of `a.b.c`, the name of `c`, or nothing."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


# --- What is sent where ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sends:
    """Which endpoints are sent which beta, and a read-only list call for each, where there is one."""

    endpoints: dict[str, set[str]]
    lists: dict[str, str]


def _sends(modules: Mapping[str, str]) -> _Sends:
    found = _Sends({}, {})
    for _, text in sorted(modules.items()):
        for function in ast.walk(_parse(text)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                _add_sends(function, found)
    return found


def _add_sends(function: ast.FunctionDef | ast.AsyncFunctionDef, found: _Sends) -> None:
    nodes = list(ast.walk(function))
    names = {name for node in nodes if isinstance(node, ast.Dict) for name in _header_names(node)}
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    paths = [(_called(call.func), path) for call in calls if (path := _path(call))]
    for name in names:
        for verb, path in paths:
            found.endpoints.setdefault(name, set()).add(_endpoint(path))
            if verb == "_get_api_list" and "{" not in path:
                found.lists.setdefault(name, path)


def _path(call: ast.Call) -> str | None:
    """Return the path of `self._get("/v1/...")` or `self._get(path_template("/v1/..."))`."""
    if not _called(call.func).startswith("_") or not call.args:
        return None
    first = call.args[0]
    if isinstance(first, ast.Call) and first.args:
        first = first.args[0]
    if isinstance(first, ast.JoinedStr):
        text = "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{id}" for part in first.values
        )
    elif isinstance(first, ast.Constant) and isinstance(first.value, str):
        text = first.value
    else:
        return None
    return text if text.startswith("/v1/") else None


def _endpoint(path: str) -> str:
    """Return the word for an endpoint: `/v1/files/{id}/content` is `files`."""
    plain = path.removeprefix("/v1/").partition("?")[0]
    fixed = plain.partition("/{")[0].strip("/")
    return {"messages/count_tokens": "count_tokens", "messages/batches": "batches"}.get(
        fixed, fixed
    )


def _body_claims(added: Additions, version: str) -> list[dict[str, Json]]:
    """Turn what the types say into one claim for each beta and field."""
    found: dict[tuple[str, str], dict[str, Json]] = {}
    for item in added.told:
        claim = found.setdefault(
            (item.beta, item.field),
            {
                "beta": item.beta,
                "field": item.field,
                "value": [],
                "confidence": "high" if item.quote else "medium",
                "url": SOURCE_URL.format(version=version, module=item.module),
                "quote": item.quote and item.quote[:MAX_QUOTE],
            },
        )
        claim["value"].append(item.value)
    return list(found.values())


# --- The changelog --------------------------------------------------------------------------------

_SECTION = re.compile(
    r"^## \[?v?(?P<version>[0-9][\w.]*)\]?.*\((?P<day>\d{4}-\d\d-\d\d)\)\s*$", re.M
)
_QUOTED = re.compile(r"`([A-Za-z0-9._-]{1,128})`")


def _changelog(archive: bytes) -> str:
    """Take CHANGELOG.md out of a source archive; empty where there is none."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                if member.name.count("/") == 1 and member.name.endswith("/CHANGELOG.md"):
                    file = tar.extractfile(member)
                    return file.read(MAX_CHANGELOG).decode("utf-8", "replace") if file else ""
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise SourceError(f"The SDK's source archive cannot be read: {error}.") from error
    return ""


def _changelog_claims(text: str) -> list[dict[str, Json]]:
    """Read what the changelog says of deprecated betas. The newest section wins by its date."""
    claims: list[dict[str, Json]] = []
    heads = list(_SECTION.finditer(text))
    for place, head in enumerate(heads):
        end = heads[place + 1].start() if place + 1 < len(heads) else len(text)
        for bullet in _bullets(text[head.end() : end]):
            claims += _bullet_claims(bullet, head["version"], head["day"])
    return claims


def _bullets(section: str) -> Iterator[str]:
    """Yield bullets whole: an indented paragraph after a blank line belongs to the bullet above."""
    bullet: list[str] = []
    for line in section.splitlines():
        if re.match(r"[*-] ", line) or line.startswith("#"):
            if bullet:
                yield " ".join(bullet)
            bullet = [line.lstrip("*- ")] if not line.startswith("#") else []
        elif bullet and (line.startswith("  ") or not line.strip()):
            bullet.append(line.strip())
    if bullet:
        yield " ".join(bullet)


def _bullet_claims(bullet: str, version: str, day: str) -> Iterator[dict[str, Json]]:
    """Read one bullet: only one that says "deprecate" and "beta" counts, and only dated names in it."""
    lowered = bullet.lower()
    if "deprecat" not in lowered or "beta" not in lowered:
        return
    for sentence in re.split(r"(?<=[.!?])\s+", bullet):
        names = [name for name in _QUOTED.findall(sentence) if _is_beta(name)]
        shared = {"version": version, "at": day, "quote": sentence[:MAX_QUOTE]}
        for name in names:
            yield {"beta": name, "field": "status", "value": "deprecated", **shared}
            yield {"beta": name, "field": "deprecated_on", "value": day, **shared}
            effect = _effect(sentence.lower())
            if effect:
                yield {"beta": name, "field": "header_effect", "value": effect, **shared}
            if "still accepts" in lowered:
                yield {"beta": name, "field": "accepted", "value": True, **shared}


def _is_beta(name: str) -> bool:
    return parse(name).release_date is not None and not name.startswith("claude-")


def _effect(sentence: str) -> str | None:
    if re.search(r"response shapes?|shape of the response", sentence):
        return "changes_response"
    return "ignored" if re.match(r"\s*(delete|remove)\b", sentence) else None


# --- Claims ---------------------------------------------------------------------------------------


def _with_yanked(releases: Mapping[str, _Release], files: Sequence[File]) -> dict[str, _Release]:
    """Take over what the index says of yanking today; a file that is gone stays known."""
    yanked = {file.name: file.yanked for file in files}
    return {
        name: _Release(
            version=release.version,
            uploaded=release.uploaded,
            yanked=yanked.get(name, release.yanked),
            listed=release.listed,
            names=release.names,
        )
        for name, release in releases.items()
    }


def _latest(releases: Mapping[str, _Release], files: Sequence[File]) -> _Release:
    """Return the highest stable release that is not yanked. Raises `SourceError` if it lists nothing."""
    present = {file.name for file in files}
    stable = [
        release
        for name, release in releases.items()
        if name in present and not release.yanked and not Version(release.version).is_prerelease
    ]
    if not stable:
        raise SourceError("The index has no stable release of the SDK that can be read.")
    latest = max(stable, key=lambda release: Version(release.version))
    if not latest.listed:
        raise SourceError(
            f"SDK {latest.version} holds no list of beta names ({LIST_MODULE}); nothing was changed."
        )
    return latest


def _listed_claims(releases: Mapping[str, _Release], latest: _Release) -> Iterator[Claim]:
    """Say of each name in which release it was first and last held, and whether the newest lists it."""
    by_time = sorted(releases.values(), key=lambda release: (release.uploaded, release.version))
    for name in sorted({name for release in by_time for name in release.names}):
        holding = [release for release in by_time if name in release.names]
        yield _listed_claim(name, holding[0], True)
        if name in latest.names:
            newest = max((latest, holding[-1]), key=lambda release: release.uploaded)
            if newest != holding[0]:
                yield _listed_claim(name, newest, True)
            continue
        if holding[-1] != holding[0]:
            yield _listed_claim(name, holding[-1], True)
        yield _listed_claim(name, _first_without(by_time, holding[-1], latest), False)


def _first_without(by_time: Sequence[_Release], last: _Release, latest: _Release) -> _Release:
    """Return the first release with a list, after the last that held the name."""
    later = (
        release
        for release in by_time
        if release.uploaded > last.uploaded
        and release.listed
        and Version(release.version) > Version(last.version)
    )
    return next(later, latest)


def _listed_claim(name: str, release: _Release, value: bool) -> Claim:
    return Claim(
        beta=name,
        field="listed",
        value=value,
        source="sdk",
        basis="sdk",
        at=release.uploaded,
        version=release.version,
    )


def _extra_claim(item: Mapping[str, Any]) -> Claim:
    return Claim(
        beta=item["beta"],
        field=item["field"],
        value=item["value"],
        source="sdk",
        basis="sdk",
        at=parse_time(item["at"]).astimezone(UTC),
        confidence=item.get("confidence", "high"),
        version=item["version"],
        url=item.get("url"),
        quote=item.get("quote"),
    )


def _to_memo(release: _Release) -> Json:
    return {
        "version": release.version,
        "uploaded": rfc3339(release.uploaded),
        "yanked": release.yanked,
        "listed": release.listed,
        "names": list(release.names),
    }


def _from_memo(data: Mapping[str, Any]) -> _Release:
    return _Release(
        version=data["version"],
        uploaded=parse_time(data["uploaded"]),
        yanked=data["yanked"],
        listed=data["listed"],
        names=tuple(data["names"]),
    )
