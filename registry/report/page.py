"""The exposure report for people: a page of Markdown, and the words that the table shares with it.

It prints the report's JSON, so that the command line can print what a registry answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from registry.core.facts import Json
from registry.core.places import Place
from registry.report.exposure import SECTIONS, listing, many

__all__ = ["TITLES", "markdown", "place_text", "senders_text", "where"]

TITLES: Final[Mapping[str, str]] = {
    "fails": "Fails or would have failed",
    "refused_in_use": "Refused in use",
    "retired": "Without effect",
    "deprecated": "Will end",
    "ga": "No longer needed",
    "superseded": "Replaced by another",
    "unknown": "Not in the registry",
}

SOURCES: Final[Mapping[str, str]] = {
    "client": "clients that report",
    "gateway": "gateway logs",
    "scan": "scans of code",
}


def markdown(report: Mapping[str, Json]) -> str:
    """Print a report (its JSON) as a page that can stand in a wiki, an issue or a mail."""
    parts = [
        "# Exposure to betas",
        f"{report['start'][:10]} to {report['stop'][:10]}{_filters(report)}",
        report["summary"],
        *_sections(report["findings"]),
        *_change_section(report["changes"]),
        "## Where the numbers come from",
        _numbers(report),
        "\n".join(f"- {sentence}" for sentence in report["cannot_know"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _filters(report: Mapping[str, Json]) -> str:
    given = [f"{word} {report[word]}" for word in ("team", "platform") if report[word]]
    return f", {' and '.join(given)} only" if given else ""


def _sections(findings: Sequence[Mapping[str, Json]]) -> Iterator[str]:
    for section in SECTIONS:
        rows = [
            (
                f"`{found['beta']}`", where(found["place"]), f"{found['requests']:,}",
                found["ends_on"] or "", senders_text(found["senders"]), found["advice"],
            )
            for found in findings
            if found["section"] == section
        ]  # fmt: skip
        if rows:
            yield f"## {TITLES[section]}"
            yield _table(("Beta", "Place", "Requests", "Ends", "Services", "What to do"), rows)


def where(place: Mapping[str, Json]) -> str:
    """Print a place (its JSON) in words."""
    return str(Place(**place))


def senders_text(senders: Sequence[Mapping[str, Json]], shown: int = 3) -> str:
    """Name the services of a finding, with the first place in the code of each."""
    made = []
    for sender in senders:
        places = sender["locations"]
        where = f" {place_text(places[0])}" if places else ""
        made.append(f"{sender['service']} ({sender['environment']}){where}")
    return listing(made, shown)


def place_text(place: Mapping[str, Json]) -> str:
    """Print a place in code as editors and terminals know it: `path:line`."""
    return f"{place['path']}:{place['line']}" if place["line"] else str(place["path"])


def _change_section(changes: Sequence[Mapping[str, Json]]) -> Iterator[str]:
    rows = [
        (
            f"{change['service']} ({change['environment']})", change["team"] or change["owner"] or "",
            f"{change['failing']:,}", f"`{change['value_before']}`",
            "omit the header" if change["omit"] else f"`{change['value_after']}`",
            ", ".join(place_text(place) for place in change["locations"][:5]),
        )
        for change in changes
    ]  # fmt: skip
    if rows:
        yield "## What to change"
        yield _table(("Service", "Team", "Failing", "Sends now", "Should send", "Where"), rows)


def _numbers(report: Mapping[str, Json]) -> str:
    sources = [
        f"{SOURCES.get(source['source'], source['source'])} ({many(source['services'], 'service')})"
        for source in report["sources"]
    ]
    probed = f"probed {report['probed_at'][:16]}Z" if report["probed_at"] else "never probed"
    return (
        f"From {', '.join(sources) or 'no source'}. Catalog of {report['as_of'][:10]}, {probed}, "
        f"revision {report['revision']}."
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
