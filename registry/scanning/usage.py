"""What a scan found, as a report of usage to the registry (`POST /v1/usages`)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from registry.core.facts import Json
from registry.scanning.formats import Report
from registry.scanning.judging import Finding
from registry.scanning.owners import Owners, link_base
from registry.scanning.walk import base_of

__all__ = ["usage_of"]

_ITEMS_MAX: Final = 5000
_PLACES_MAX: Final = 500
"""Places told of one beta; what is beyond is counted without them."""


def usage_of(report: Report, paths: Sequence[str], service: str, environment: str) -> Json:
    """Return the body of the report: each place with its line, address and owner.

    The instance is the name of what was scanned, so that the next scan of it replaces this one.
    """
    root = base_of(paths[0])
    return {
        "service": service,
        "environment": environment,
        "instance": _instance(paths),
        "source": "scan",
        "platform": report.place.platform,
        "window": None,
        "items": [
            {**item, **report.place.details}
            for item in _items(report.findings, Owners(Path(root)), link_base(Path(root)))
        ],
    }


def _instance(paths: Sequence[str]) -> str:
    named = [os.path.abspath(path) for path in paths if path != "-"]
    if not named:
        return "stdin"
    return os.path.basename(os.path.commonpath(named)) or "root"


def _items(findings: Sequence[Finding], owners: Owners, base: str | None) -> Iterator[Json]:
    by_beta: dict[str, list[Finding]] = defaultdict(list)
    for found in findings:
        by_beta[found.beta].append(found)
    most = min(_PLACES_MAX, max(1, _ITEMS_MAX // max(1, len(by_beta)) - 1))
    for beta, places in by_beta.items():
        for found in places[:most]:
            yield _item(
                beta, 1, path=found.path, line=found.line, owner=owners.of(found.path),
                url=f"{base}/{quote(found.path)}#L{found.line}" if base else None,
            )  # fmt: skip
        if len(places) > most:
            yield _item(beta, len(places) - most)


def _item(
    beta: str,
    count: int,
    *,
    path: str | None = None,
    line: int | None = None,
    url: str | None = None,
    owner: str | None = None,
) -> Json:
    return {
        "beta": beta,
        "count": count,
        "accepted": None,
        "refused": None,
        "path": path,
        "line": line,
        "url": url,
        "owner": owner,
    }
