"""Make registry/data/catalog.json, the catalog that is bundled with every release.

    python scripts/build_catalog.py            write it
    python scripts/build_catalog.py --check    fail with one sentence when it is not up to date

Every claim says who says so, or is marked `unsourced` (CONTRACT, section 2, rule 11). The facts:

    facts/lifecycles.jsonl      one record a beta, as gathered: what nobody is cited for below is unsourced
    facts/curation.toml         fields for what stands in the prose of a record, each with its reason
    facts/said.toml, body.toml  what a source says: where in it, for which place, on which day
    facts/observations.jsonl    dated public reports that a place took or refused a beta
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

from registry.core.errors import Invalid
from registry.core.facts import Json
from registry.core.names import PLATFORMS, is_well_formed, sort_key
from registry.core.places import ANYWHERE, KNOWN_PLACES, Place, place_of

ROOT: Final = Path(__file__).resolve().parent.parent
FACTS: Final = ROOT / "scripts" / "facts"
CATALOG: Final = ROOT / "registry" / "data" / "catalog.json"

Record = Mapping[str, Any]
Row = dict[str, Json]
"""One claim, in the members of the file."""
Key = tuple[str, str, Place]
"""Beta, field and place."""
Made = dict[Key, list[Row]]

_GATES: Final = {"public": "public", "org": "org", "product-internal": "internal"}
_STATES: Final = {"accepted": "supported", "refused": "refused"}
_ABOUT: Final = {
    "source",
    "page",
    "where",
    "at",
    "betas",
    "places",
    "record",
    "confidence",
    "basis",
    "version",
}
_PLACES: Final = {name: Place(platform=name) for name in PLATFORMS} | KNOWN_PLACES | {"*": ANYWHERE}
_MEMBERS: Final = (
    "beta", "field", "value", "source", "basis", "at", "confidence", "version", "url", "place", "where", "unsourced"
)  # fmt: skip
"""The members of a claim in the file, in their order."""
_TOOL_TYPE = re.compile(r"[a-z_]+_20[0-9]{6}", re.ASCII)


class Wrong(Exception):
    """The facts do not fit together; the message is one sentence."""


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((FACTS / name).read_text(encoding="utf-8"))


def _lines(name: str) -> list[Record]:
    return [json.loads(line) for line in (FACTS / name).read_text(encoding="utf-8").splitlines()]


PLAN: Final = _toml("curation.toml")
SAID: Final = _toml("said.toml")


def _row(beta: str, field: str, value: Json, **more: Json) -> Row:
    """Make a claim that cites nobody; `more` says who is cited."""
    usual = {"basis": "declared", "at": None, "url": None}
    row: Row = {"beta": beta, "field": field, "value": value, "source": "catalog", **usual, **more}
    return row if row["url"] else {**row, "unsourced": True}


def _put(made: Made, row: Row, place: Place = ANYWHERE) -> None:
    """Add a claim; what nobody is cited for gives way, and two that are cited for one day are a mistake."""
    held = made.setdefault((row["beta"], row["field"], place), [])
    held[:] = [one for one in held if not one.get("unsourced")]
    if row["basis"] != "reported" and any(
        (one["basis"], one["at"], one.get("version"))
        == (row["basis"], row["at"], row.get("version"))
        for one in held
    ):
        raise Wrong(f"{row['beta']}: {row['field']} is said twice for {place} and {row['at']}.")
    if place != ANYWHERE:
        said = {part: getattr(place, part) for part in Place.__slots__ if getattr(place, part)}
        row = {**row, "place": said}
    held.append(row)


# --- Records: what somebody gathered ---------------------------------------------------------------


def of_record(record: Record) -> Iterator[tuple[Row, Place]]:
    """Turn one record into claims that cite nobody, by rule alone."""
    plain: dict[str, Json] = {
        **dict(_status(record)),
        "topic": record["feature"],
        "summary": record["summary"],
        "docs_url": record["docs_url"],
        "gate": _GATES[record["gate"]],
        "accepted": record["header_still_accepted"],
        "endpoints": _plain_members(record["endpoints"]),
        "models": _plain_members(record["models"]),
        "notes": list(_notes(record)),
        "announced_on": record["announced_date"],
    }
    sure = record["confidence"]
    for field, value in plain.items():
        if value is not None and value != []:
            yield _row(record["name"], field, value, confidence=sure), ANYWHERE
    # What is not offered is not refused, and a record without any source only guesses where it works.
    for platform, said in record["platforms"].items():
        if said in ("no", "unknown") or not record["sources"] or record["status"] == "retired":
            continue
        yield _row(record["name"], "state", "supported", confidence=sure), _PLACES[platform]
        if said != "yes":
            yield (
                _row(record["name"], "names", said.split(" / "), confidence=sure),
                _PLACES[platform],
            )


def _status(record: Record) -> Iterable[tuple[str, Json]]:
    """Say the status, unless the evidence is thin: no claim leaves a beta `unverified`."""
    said, day = record["status"], record["status_date"]
    yield "superseded_by", record["replaced_by"]
    if record["confidence"] == "low" or record["gate"] == "product-internal":
        return
    if said in ("ga", "retired", "deprecated"):
        yield "status", said
        yield f"{said}_on", day
    elif said == "beta" or (said == "superseded" and record["header_still_accepted"] is True):
        yield "status", "active"


def of_sdk(record: Record) -> Iterator[Row]:
    """Say which releases of the official SDK hold the name: the first, and the newest that was read."""
    said, sdk = record["sdk_python"], PLAN["sdk"]
    pages = (
        [(*said["first"], sdk["pinned"].get(record["name"], sdk["list"]))] if said["first"] else []
    )
    if said["in_2_12_0_literal"]:
        pages.append((sdk["latest"], sdk["latest_on"].isoformat(), sdk["list"]))
    for version, day, page in pages:
        url = SAID["sources"]["sdk"]["url"].format(version=version, page=page)
        more = {"at": day, "url": url, "where": page}
        yield _row(record["name"], "listed", True, basis="sdk", version=version, **more)


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


def curate(records: Mapping[str, Record], made: Made) -> None:
    """Apply the curation: withhold, or state what stands in the prose of a record."""
    for item in [*PLAN["withhold"], *PLAN["state"]]:
        quotes = item.get("quote", [])
        for name in item["betas"]:
            if name not in records:
                raise Wrong(f"The curation speaks of {name}, which has no record.")
            record, field = records[name], item["field"]
            if not item.get("why") or not (quotes or item.get("source")):
                raise Wrong(f"{name}: state why {field} is curated, and a quote or a source.")
            prose = [
                record["summary"],
                record["notes"] or "",
                *record["requires"],
                *record["conflicts"],
            ]
            for quote in [quotes] if isinstance(quotes, str) else quotes:
                if quote not in "\n".join(prose):
                    raise Wrong(f"{name}: its record does not say {quote!r}.")
            for place in _places(item):
                if "value" in item:
                    sure = item.get("confidence", record["confidence"])
                    made[name, field, place] = []
                    _put(made, _row(name, field, item["value"], confidence=sure), place)
                elif made.pop((name, field, place), None) is None:
                    raise Wrong(f"{name}: there is no {field} to withhold.")


# --- Sources: what they say ------------------------------------------------------------------------


def say(item: Record, records: Mapping[str, Record], made: Made) -> None:
    """Add what one entry of a source says of its betas at its places."""
    for name in item["betas"]:
        fields: dict[str, Json] = {f: item[f] for f in item if f not in _ABOUT}
        for field in item.get("record", []):
            held = made.get((name, field, ANYWHERE)) or [{}]
            if "value" not in held[0]:
                raise Wrong(f"{name}: nothing is recorded of {field} that could be cited.")
            fields[field] = held[0]["value"]
        sure = records[name]["confidence"] if name in records else "high"
        more = {"confidence": item.get("confidence", sure), **_cited(item, name)}
        for field, value in fields.items():
            for place in _places(item):
                _put(made, _row(name, field, value, **more), place)


def _cited(item: Record, name: str) -> Row:
    """Say who is cited, and for which day: one that the source can have spoken of."""
    more = {key: item[key] for key in ("basis", "version") if key in item}
    if "source" not in item:
        return more
    source = SAID["sources"][item["source"]]
    day = item.get("at", source.get("seen"))
    first, last = (source.get(end, source.get("seen")) for end in ("since", "until"))
    if (day is None or not first <= day <= last) if first else day:
        raise Wrong(f"{name}: {item['source']} says nothing on {day}; it is of {first} to {last}.")
    url = source["url"].format(
        page=item.get("page"), version=item.get("version", PLAN["sdk"]["read"])
    )
    where = item.get("where") or item.get("page")
    return {**more, "at": day and day.isoformat(), "url": url, "where": where}


def _places(item: Record) -> Iterator[Place]:
    """Read places: `bedrock-invoke/claude-opus-4-6`, `vertex`, `*/claude-opus-4-6`."""
    for text in item.get("places", ["*"]):
        slug, _, model = text.partition("/")
        if slug not in _PLACES:
            raise Wrong(f"{text!r} is no place.")
        known = _PLACES[slug]
        yield Place(
            platform=known.platform, api=known.api, hosting=known.hosting, model=model or None
        )


def of_report(report: Record) -> tuple[Row, Place] | None:
    """Turn a public report into a claim; one that nobody can look up, or without a day, is none."""
    url, day = report["source"], report.get("on")
    if not url.startswith("https://") or not day or report["beta"] in SAID["never"]:
        return None
    parts = ("platform", "api", "hosting", "region", "model", "endpoint")
    place = place_of(**{part: report.get(part) for part in parts})
    at = day if len(day) == 10 else f"{day}-01"
    more = {"basis": "reported", "at": at, "url": url, "where": "thread", "confidence": "medium"}
    return _row(report["beta"], "state", _STATES[report["verdict"]], **more), place


# --- The file -------------------------------------------------------------------------------------


def build_catalog() -> str:
    """Return the text of the catalog. Raises `Wrong`."""
    records = {record["name"]: record for record in _lines("lifecycles.jsonl")}
    made: Made = {}
    for record in records.values():
        for row, place in of_record(record):
            _put(made, row, place)
        for row in of_sdk(record):
            _put(made, row)
    curate(records, made)
    for item in [*SAID["said"], *_toml("body.toml")["said"]]:
        say(item, records, made)
    _yield_guesses(made)
    for found in map(of_report, _lines("observations.jsonl")):
        if found is not None:
            _put(made, *found)
    rows = sorted((row for group in made.values() for row in group), key=_order)
    check(rows)
    opening = f'{{"format":"beta-registry/catalog-2","as_of":"{PLAN["as_of"]}","claims":[\n'
    return opening + ",\n".join(map(_json, rows)) + "\n]}\n"


def _yield_guesses(made: Made) -> None:
    """Drop an unsourced state where somebody says more: of a part of that platform, or that the beta ended."""
    stated = [(b, p) for (b, f, p), rows in made.items() for r in rows if f == "state" and r["url"]]
    ended = {
        (b, p) for (b, f, p), rows in made.items() for r in rows
        if f == "status" and r["value"] == "retired" and p.model is None
    }  # fmt: skip
    for (beta, field, place), rows in list(made.items()):
        guess = field == "state" and rows[0].get("unsourced")
        told = any(
            b == beta and p.platform == place.platform and p.model is None for b, p in stated
        )
        if guess and (told or (beta, place) in ended or (beta, ANYWHERE) in ended):
            del made[beta, field, place]


def check(rows: list[Row]) -> None:
    """Refuse what no reader should get. Raises `Wrong`."""
    for row in rows:
        beta, day = row["beta"], row["at"]
        if not is_well_formed(beta) or _TOOL_TYPE.fullmatch(beta) or beta in SAID["never"]:
            raise Wrong(f"{beta} is not the name of a beta.")
        if bool(row["url"]) == bool(row.get("unsourced")):
            raise Wrong(f"{beta}: {row['field']} cites nobody and is not marked, or both.")
        if day and (row.get("unsourced") or date.fromisoformat(day) > PLAN["as_of"]):
            raise Wrong(f"{beta}: {row['field']} has no day that its source can have stated.")


def _json(row: Row) -> str:
    kept = {m: row[m] for m in _MEMBERS if m in row and (row[m] is not None or m == "at")}
    if kept.get("confidence") == "high":
        del kept["confidence"]
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def _order(row: Row) -> tuple[Any, ...]:
    place = "/".join(row.get("place", {}).values())
    return *sort_key(row["beta"]), row["field"], place, row["at"] or "", row.get("version") or ""


def main() -> int:
    """Write the catalog, or say whether it is up to date; the result is the exit code."""
    options = argparse.ArgumentParser(description="Make registry/data/catalog.json from the facts.")
    options.add_argument("--check", action="store_true", help="only say whether it is up to date")
    only = options.parse_args().check
    try:
        text = build_catalog()
    except (Wrong, Invalid) as error:
        print(error, file=sys.stderr)
        return 1
    if only:
        if CATALOG.is_file() and CATALOG.read_text(encoding="utf-8") == text:
            return 0
        print("catalog.json is stale; run: python scripts/build_catalog.py", file=sys.stderr)
        return 1
    CATALOG.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
