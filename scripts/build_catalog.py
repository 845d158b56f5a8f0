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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from registry.core.claims import is_no_beta
from registry.core.errors import Invalid
from registry.core.facts import UNDATED, Claim, Json
from registry.core.names import PLATFORMS, sort_key
from registry.core.places import ANYWHERE, KNOWN_PLACES, Place, place_of
from registry.sources.catalog import dump_catalog, parse_catalog

ROOT: Final = Path(__file__).resolve().parent.parent
FACTS: Final = ROOT / "scripts" / "facts"
CATALOG: Final = ROOT / "registry" / "data" / "catalog.json"

Record = Mapping[str, Any]
Key = tuple[str, str, Place]
"""Beta, field and place."""
Made = dict[Key, list[Claim]]

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


class Wrong(Exception):
    """The facts do not fit together; the message is one sentence."""


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((FACTS / name).read_text(encoding="utf-8"))


def _lines(name: str) -> list[Record]:
    return [json.loads(line) for line in (FACTS / name).read_text(encoding="utf-8").splitlines()]


PLAN: Final = _toml("curation.toml")
SAID: Final = _toml("said.toml")


def _claim(beta: str, field: str, value: Json, place: Place = ANYWHERE, **more: Any) -> Claim:
    """Make a claim that cites nobody, unless `more` says who is cited, and for which day."""
    stated = {"basis": "declared", "at": UNDATED, **more}
    return Claim(beta=beta, field=field, value=value, source="catalog", place=place, **stated)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _put(made: Made, claim: Claim) -> None:
    """Add a claim; what cites nobody gives way, and two that are declared for one day are a mistake."""
    key = claim.beta, claim.field, claim.place
    held = [one for one in made.get(key, ()) if one.url]
    twice = [
        o for o in held if (o.basis, o.at, o.version) == (claim.basis, claim.at, claim.version)
    ]
    if twice and claim.basis != "reported":
        raise Wrong(f"{claim.beta}: {claim.field} is said twice for {claim.place} and {claim.day}.")
    made[key] = [*held, claim]


# --- Records: what somebody gathered ---------------------------------------------------------------


def of_record(record: Record) -> Iterator[Claim]:
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
            yield _claim(record["name"], field, value, confidence=sure)
    # What is not offered is not refused, and a record without any source only guesses where it works.
    for platform, said in record["platforms"].items():
        if said in ("no", "unknown") or not record["sources"] or record["status"] == "retired":
            continue
        place = _PLACES[platform]
        yield _claim(record["name"], "state", "supported", place, confidence=sure)
        if said != "yes":
            yield _claim(record["name"], "names", said.split(" / "), place, confidence=sure)


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


def of_sdk(record: Record) -> Iterator[Claim]:
    """Say which releases of the official SDK hold the name: the first, and the newest that was read."""
    name, said, sdk = record["name"], record["sdk_python"], PLAN["sdk"]
    found = []
    if said["first"]:
        version, day = said["first"]
        found.append((version, date.fromisoformat(day), sdk["pinned"].get(name, sdk["list"])))
    if said["in_2_12_0_literal"]:
        found.append((sdk["latest"], sdk["latest_on"], sdk["list"]))
    for version, on, page in found:
        item = {"source": "sdk", "basis": "sdk", "version": version, "at": on, "page": page}
        yield _claim(name, "listed", True, **_cited(item, name))


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
                    _put(made, _claim(name, field, item["value"], place, confidence=sure))
                elif made.pop((name, field, place), None) is None:
                    raise Wrong(f"{name}: there is no {field} to withhold.")


# --- Sources: what they say ------------------------------------------------------------------------


def say(item: Record, records: Mapping[str, Record], made: Made) -> None:
    """Add what one entry of a source says of its betas at its places."""
    for name in item["betas"]:
        fields: dict[str, Json] = {f: item[f] for f in item if f not in _ABOUT}
        for field in item.get("record", []):
            if (name, field, ANYWHERE) not in made:
                raise Wrong(f"{name}: nothing is recorded of {field} that could be cited.")
            fields[field] = made[name, field, ANYWHERE][0].value
        sure = records[name]["confidence"] if name in records else "high"
        more = {"confidence": item.get("confidence", sure), **_cited(item, name)}
        for field, value in fields.items():
            for place in _places(item):
                _put(made, _claim(name, field, value, place, **more))


def _cited(item: Record, name: str) -> dict[str, Any]:
    """Say who is cited, and for which day: one that the source can have spoken of."""
    more = {key: item[key] for key in ("basis", "version") if key in item}
    if "source" not in item:
        return more
    source, page = SAID["sources"][item["source"]], item.get("page")
    day = item.get("at", source.get("seen"))
    first, last = (source.get(end, source.get("seen")) for end in ("since", "until"))
    if (day is None or not first <= day <= last) if first else day:
        raise Wrong(f"{name}: {item['source']} says nothing on {day}; it is of {first} to {last}.")
    url = source["url"].format(page=page, version=item.get("version", PLAN["sdk"]["read"]))
    at = _midnight(day) if day else UNDATED
    return {**more, "at": at, "url": url, "where": item.get("where", page)}


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


def of_report(report: Record) -> Claim:
    """Turn a public report into a claim. One that states a month only speaks for its first day."""
    parts = ("platform", "api", "hosting", "region", "model", "endpoint")
    place = place_of(**{part: report.get(part) for part in parts})
    day = date.fromisoformat(f"{report['on']}-01"[:10])
    more = {"at": _midnight(day), "url": report["source"], "where": "thread"}
    state = _STATES[report["verdict"]]
    return _claim(
        report["beta"], "state", state, place, basis="reported", confidence="medium", **more
    )


# --- The file -------------------------------------------------------------------------------------


def build_catalog() -> str:
    """Return the text of the catalog. Raises `Wrong`."""
    records = {record["name"]: record for record in _lines("lifecycles.jsonl")}
    made: Made = {}
    for record in records.values():
        for claim in (*of_record(record), *of_sdk(record)):
            _put(made, claim)
    curate(records, made)
    for item in [*SAID["said"], *_toml("body.toml")["said"]]:
        say(item, records, made)
    _drop_guesses(made)
    for report in _lines("observations.jsonl"):
        _put(made, of_report(report))
    claims = sorted((claim for group in made.values() for claim in group), key=_order)
    check(claims)
    text = dump_catalog(_midnight(PLAN["as_of"]), claims)
    parse_catalog(text)
    return text


def _drop_guesses(made: Made) -> None:
    """Drop an unsourced state where a source says more: of a part of that platform, or that the beta ended."""
    cited = [(*key, c.value) for key, group in made.items() for c in group if c.url]
    told = {(beta, p.platform) for beta, field, p, _ in cited if field == "state" and not p.model}
    ended = {
        (beta, p) for beta, field, p, value in cited if (field, value) == ("status", "retired")
    }
    for (beta, field, place), group in list(made.items()):
        lost = (beta, place.platform) in told or not ended.isdisjoint(
            {(beta, place), (beta, ANYWHERE)}
        )
        if field == "state" and not group[0].url and lost:
            del made[beta, field, place]


def check(claims: Iterable[Claim]) -> None:
    """Refuse what no reader should get, beyond the shape (`parse_catalog`). Raises `Wrong`."""
    for claim in claims:
        if is_no_beta(claim.beta) or claim.beta in SAID["never"]:
            raise Wrong(f"{claim.beta} is not the name of a beta.")
        if claim.day is not None and (not claim.url or claim.day > PLAN["as_of"]):
            raise Wrong(
                f"{claim.beta}: {claim.field} is of {claim.day}, which no source can have said."
            )


def _order(claim: Claim) -> tuple[Any, ...]:
    return (
        *sort_key(claim.beta),
        claim.field,
        str(claim.place),
        claim.at,
        claim.version or "",
        claim.url or "",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the catalog, or say whether it is up to date; the result is the exit code."""
    options = argparse.ArgumentParser(description="Make registry/data/catalog.json from the facts.")
    options.add_argument("--check", action="store_true", help="only say whether it is up to date")
    only = options.parse_args(arguments).check
    try:
        text = build_catalog()
    except (Wrong, Invalid) as error:
        print(getattr(error, "detail", error), file=sys.stderr)
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
