"""Make registry/data/catalog.json, the catalog that is bundled with every release.

    python scripts/build_catalog.py            write it
    python scripts/build_catalog.py --check    fail with one sentence when it is not up to date

`scripts/facts/lifecycles.jsonl` holds one record a beta, as gathered; the rules here turn each into
claims. `scripts/facts/curation.toml` holds what a rule cannot know: statements that stand in a
record's prose, each with its reason and the words that say so, which must stand in that record.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from registry.core.errors import Invalid
from registry.core.facts import Claim, Json
from registry.core.names import sort_key
from registry.sources.catalog import dump_catalog, parse_catalog

ROOT: Final = Path(__file__).resolve().parent.parent
FACTS: Final = ROOT / "scripts" / "facts" / "lifecycles.jsonl"
PLAN: Final = tomllib.loads(FACTS.with_name("curation.toml").read_text(encoding="utf-8"))
CATALOG: Final = ROOT / "registry" / "data" / "catalog.json"

Record = Mapping[str, Any]

_GATES: Final = {"public": "public", "org": "org", "product-internal": "internal"}
_STATES: Final = {"yes": "supported", "no": "refused"}
_EXCEPTION: Final = ("platform", "model", "endpoint", "status", "accepted")


class Wrong(Exception):
    """The facts and the curation do not fit together; the message is one sentence."""


def _claim(record: Record, field: str, value: Json, at: date | None = None, **more: Any) -> Claim:
    """Make one claim from a record, with the record's first source and its confidence."""
    url = _first_url(record["sources"])
    usual = {"basis": "declared", "confidence": record["confidence"], "url": url}
    stated = {"field": field, "value": value, "at": _midnight(at or PLAN["as_of"]), **usual, **more}
    return Claim(beta=record["name"], source="catalog", **stated)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _first_url(sources: list[str]) -> str | None:
    """Return the first source that is a web address, without the remark that may follow it."""
    return next((text.split()[0] for text in sources if text.startswith("https://")), None)


# --- From a record to claims ----------------------------------------------------------------------


def claims_of(record: Record) -> Iterator[Claim]:
    """Turn one record into claims, by rule alone."""
    yield from _status(record)
    for platform, said in record["platforms"].items():
        for member, value in _platform(said):
            yield _claim(record, f"platforms.{platform}.{member}", value)
    plain = {
        "topic": record["feature"],
        "summary": record["summary"],
        "docs_url": record["docs_url"],
        "gate": _GATES[record["gate"]],
        "accepted": record["header_still_accepted"],
        "endpoints": _plain_members(record["endpoints"]),
        "models": _plain_members(record["models"]),
        "notes": list(_notes(record)),
    }
    for field, value in plain.items():
        if value is not None and value != []:
            yield _claim(record, field, value)
    announced = record["announced_date"]
    if announced:
        yield _claim(record, "announced_on", announced, date.fromisoformat(announced))
    yield from _sdk(record)


def _status(record: Record) -> Iterator[Claim]:
    """Say the status, unless the evidence is thin: no claim leaves a beta `unverified`."""
    said, day, successor = record["status"], record["status_date"], record["replaced_by"]
    on = date.fromisoformat(day) if day else None
    if successor:
        yield _claim(record, "superseded_by", successor, on if said == "superseded" else None)
    if record["confidence"] == "low" or record["gate"] == "product-internal":
        return
    if said in ("ga", "retired", "deprecated"):
        yield _claim(record, "status", said, on)
        if day:
            yield _claim(record, f"{said}_on", day)
    elif said == "beta" or (said == "superseded" and record["header_still_accepted"] is True):
        # That it still lives is known of the day of the facts, not of the day it was superseded.
        yield _claim(record, "status", "active")


def _platform(said: str) -> Iterator[tuple[str, Json]]:
    """Read a platform's column: yes, no, unknown, or the names that the feature has there."""
    if said in _STATES:
        yield "state", _STATES[said]
    elif said != "unknown":
        yield "state", "supported"
        yield "names", said.split(" / ")


def _sdk(record: Record) -> Iterator[Claim]:
    """Say which releases of the official SDK hold the name, and whether one deprecates it."""
    said, sdk = record["sdk_python"], PLAN["sdk"]
    listed = [(said["first"][0], date.fromisoformat(said["first"][1]))] if said["first"] else []
    if said["in_2_12_0_literal"]:
        listed.append((sdk["latest"], sdk["latest_on"]))
    for version, day in listed:
        more = {"basis": "sdk", "version": version, "url": sdk["url"]}
        yield _claim(record, "listed", True, day, **more)
    if said["deprecated_in_2_9_0"]:
        more = {"basis": "sdk", "version": sdk["deprecating"], "url": sdk["changelog"]}
        day = sdk["deprecating_on"]
        yield _claim(record, "deprecated_on", day.isoformat(), day, **more)


# --- Lists that hold remarks in words -------------------------------------------------------------

_REMARK = re.compile(r"(?P<member>\S+) \((?P<remark>.+)\)")


def _plain_members(members: list[str]) -> list[str]:
    """Return the members without remarks. One that is only words means that the list is not known."""
    plain = [found["member"] if (found := _REMARK.fullmatch(m)) else m for m in members]
    return [] if any(" " in member for member in plain) else list(dict.fromkeys(plain))


def _notes(record: Record) -> Iterator[str]:
    """Return the record's note, then all that does not fit into a field."""
    if record["notes"]:
        yield record["notes"]
    for kind in ("endpoints", "models"):
        members = record[kind]
        if members and not _plain_members(members):
            yield f"{kind.capitalize()}: {'; '.join(members)}."
        else:
            found = [_REMARK.fullmatch(member) for member in members]
            yield from (f"{m['member']} ({kind[:-1]}): {m['remark']}." for m in found if m)
    for kind, word in (("requires", "Needs"), ("conflicts", "Excludes")):
        yield from (f"{word} {entry}." for entry in record[kind])


# --- Curation -------------------------------------------------------------------------------------


def curate(records: Record, made: dict[tuple[str, str], list[Claim]]) -> None:
    """Apply the curation to the claims that the rules made, grouped by beta and field."""
    for item in PLAN["withhold"]:
        for record in _records(records, item):
            if made.pop((record["name"], item["field"]), None) is None:
                raise Wrong(f"{record['name']}: there is no {item['field']} to withhold.")
    stated: set[tuple[str, str]] = set()
    for item in PLAN["state"]:
        for record in _records(records, item):
            key = record["name"], item["field"]
            if key in stated:
                raise Wrong(f"{key[0]}: {key[1]} is stated twice; make it one statement.")
            stated.add(key)
            made[key] = [_curated(record, item)]


def _records(records: Record, item: Record) -> Iterator[Record]:
    """Find the records that a statement is about, and its grounds in each of them."""
    quotes = item.get("quote", [])
    for name in item["betas"]:
        if name not in records:
            raise Wrong(f"The curation speaks of {name}, which has no record.")
        if not item.get("why") or not (quotes or item.get("source")):
            raise Wrong(f"{name}: state why {item['field']} is curated, and a quote or a source.")
        record = records[name]
        links = record["requires"] + record["conflicts"]
        prose = "\n".join([record["summary"], record["notes"] or "", *links])
        for quote in [quotes] if isinstance(quotes, str) else quotes:
            if quote not in prose:
                raise Wrong(f"{name}: its record does not say {quote!r}.")
        yield record


def _curated(record: Record, item: Record) -> Claim:
    more = {key: item[key] for key in ("url", "confidence") if key in item}
    value = item["value"]
    if item["field"] == "exceptions":
        source = more.get("url") or _first_url(record["sources"])
        value = [{**{key: one.get(key) for key in _EXCEPTION}, "source": source} for one in value]
    return _claim(record, item["field"], value, item.get("at"), **more)


# --- The file -------------------------------------------------------------------------------------


def build_catalog() -> str:
    """Return the text of the catalog. Raises `Wrong`."""
    facts = [json.loads(line) for line in FACTS.read_text(encoding="utf-8").splitlines()]
    records = {record["name"]: record for record in facts}
    made: dict[tuple[str, str], list[Claim]] = {}
    for record in records.values():
        for claim in claims_of(record):
            made.setdefault((claim.beta, claim.field), []).append(claim)
    curate(records, made)
    text = dump_catalog(
        _midnight(PLAN["as_of"]), sorted((c for group in made.values() for c in group), key=_order)
    )
    try:
        parse_catalog(text)
    except Invalid as error:
        raise Wrong(error.detail) from error
    return text


def _order(claim: Claim) -> tuple[Any, ...]:
    return *sort_key(claim.beta), claim.field, claim.at, claim.version or ""


def main() -> int:
    """Write the catalog, or say whether it is up to date; the result is the exit code."""
    options = argparse.ArgumentParser(description="Make registry/data/catalog.json from the facts.")
    options.add_argument("--check", action="store_true", help="only say whether it is up to date")
    check = options.parse_args().check
    try:
        text = build_catalog()
    except Wrong as error:
        print(error, file=sys.stderr)
        return 1
    if check:
        if CATALOG.is_file() and CATALOG.read_text(encoding="utf-8") == text:
            return 0
        print("catalog.json is stale; run: python scripts/build_catalog.py", file=sys.stderr)
        return 1
    CATALOG.parent.mkdir(exist_ok=True)
    CATALOG.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
