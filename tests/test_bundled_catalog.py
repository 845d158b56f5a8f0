"""What the bundled catalog says: who says it, where, and on which day (CONTRACT, section 2, rules 2, 11, 12)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from registry.core.facts import UNDATED, Claim
from registry.sources.catalog import dump_catalog, parse_catalog

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "build_catalog.py"
CATALOG = json.loads((ROOT / "registry" / "data" / "catalog.json").read_text("utf-8"))
CLAIMS: list[dict[str, Any]] = CATALOG["claims"]
RECORDS = [
    json.loads(line)
    for line in (ROOT / "scripts/facts/lifecycles.jsonl").read_text("utf-8").splitlines()
]
ARCHIVED = "7967a16b6c96ca5976b57fed84f290abab90b008/docs/en/release-notes/overview.md"
AUTUMN = "22b170d8584c52e49bbc1db54fa957f9bba13b47/docs-md/api/release-notes/overview.md"

Row = dict[str, Any]


def said(beta: str, field: str, **place: str) -> list[Row]:
    """Return the claims on one field at exactly one place, the undated first."""
    found = [
        c for c in CLAIMS if (c["beta"], c["field"], c.get("place", {})) == (beta, field, place)
    ]
    return sorted(found, key=lambda claim: claim["at"] or "")


def value(beta: str, field: str, **place: str) -> Any:
    """Return what is said last of a field at a place; None if nothing is."""
    found = said(beta, field, **place)
    return found[-1]["value"] if found else None


def claim(**members: Any) -> Claim:
    """Make a claim that cites nobody, but for the members given."""
    usual = {"beta": "a-2026-01-01", "field": "gate", "value": "public", "source": "catalog"}
    return Claim(**{**usual, "basis": "declared", "at": UNDATED, **members})


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    """Import the script."""
    spec = importlib.util.spec_from_file_location("build_catalog", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bundled_catalog_is_what_the_script_makes() -> None:
    """Nobody edits the generated file, and nobody forgets to make it again."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert CATALOG["format"] == "beta-registry/catalog-2"


def test_reading_and_writing_the_bundled_catalog_loses_nothing() -> None:
    """It is what the reader of catalogs makes of it, byte by byte."""
    text = (ROOT / "registry" / "data" / "catalog.json").read_text("utf-8")
    assert dump_catalog(*parse_catalog(text)) == text


# --- Who says so ----------------------------------------------------------------------------------


def test_each_claim_cites_somebody_or_is_marked() -> None:
    """What is marked has no day, so that it is never newer than anything; what is cited says where."""
    for one in CLAIMS:
        marked = one.get("unsourced", False)
        assert marked is (one.get("url") is None), one
        assert not (marked and one["at"]), one
        assert marked or one.get("where") or "docs.aws.amazon.com" in one["url"], one
        assert one["at"] is None or one["at"] <= CATALOG["as_of"], one


def test_no_claim_cites_a_page_that_ended_before_its_day() -> None:
    """The archived release notes end on 2026-08-20, the other copy on 2026-10-08."""
    for page, last in ((ARCHIVED, "2026-08-20"), (AUTUMN, "2026-10-08")):
        days = [one["at"] for one in CLAIMS if page in (one.get("url") or "")]
        assert days
        assert max(days) <= last


def test_release_notes_are_cited_by_the_heading_of_their_day() -> None:
    """`August 19, 2026` is the heading of 2026-08-19; older ones have ordinals."""
    for one in CLAIMS:
        if ARCHIVED in (one.get("url") or "") or AUTUMN in (one.get("url") or ""):
            day = date.fromisoformat(one["at"])
            heads = {
                f"{day:%B} {day.day}{mark}, {day.year}" for mark in ("", "st", "nd", "rd", "th")
            }
            assert one["where"] in heads


def test_no_place_is_refused_by_a_guess_and_no_guess_outlives_an_end() -> None:
    """Refused is declared only where a source says so; supported yields to a stated retirement."""
    for one in CLAIMS:
        if one["field"] == "state" and one.get("unsourced"):
            assert one["value"] == "supported"
            assert value(one["beta"], "status") != "retired"


def test_reports_are_dated_threads_at_a_place() -> None:
    """Basis `reported` says a state only, at a platform, with the thread that tells it."""
    reports = [one for one in CLAIMS if one["basis"] == "reported"]
    assert len(reports) == 125
    for one in reports:
        assert one["field"] == "state"
        assert one["place"]["platform"]
        assert one["at"]
        assert one["url"].startswith("https://github.com/")


def test_declared_facts_are_said_once_a_day() -> None:
    """The catalog is of one mind: only releases of the SDK and reports are several."""
    keys = Counter(
        (c["beta"], c["field"], json.dumps(c.get("place")), c["basis"], c["at"], c.get("version"))
        for c in CLAIMS
        if c["basis"] != "reported"
    )
    assert max(keys.values()) == 1


# --- Which betas ----------------------------------------------------------------------------------

MISSING = [
    "cache-keepalive-2026-09-03", "claude-code-side-query-2026-09-29", "program-use-case-ids-2026-09-17",
    "request-tags-2026-08-21", "resumption-2026-10-08", "subagent-review-2026-11-17",
    "tool-provenance-2026-10-26", "web-search-results-only-2026-11-15", "research-preview-2026-02-01",
    "adaptive-thinking-2026-01-28", "tmp-preserve-thinking-2025-10-01", "token-efficient-tools-2024-12-11",
    "managed-agents-2026-04-01-research-preview", "per-message-effort-2026-07-01",
    "fallback-credit-2026-06-09",
]  # fmt: skip


def test_every_record_and_every_name_that_was_missing_is_a_beta() -> None:
    """99 records, 15 names that other sources hold, two of newer releases of the SDK, one of a thread."""
    betas = {one["beta"] for one in CLAIMS}
    newer = {"efs-2026-10-01", "google-managed-data-controls-2026-09-01"}
    known = {record["name"] for record in RECORDS} | set(MISSING) | newer
    assert known <= betas
    assert {one["beta"] for one in CLAIMS if one["basis"] != "reported"} == known
    assert all(value(name, "gate") == "internal" for name in MISSING[:12])


@pytest.mark.parametrize(
    "name",
    ["computer-use-2025-04-29", "tool-search-tool-2025-11-19", "interleaved-thinking-2025-04-14",
     "bash_20241022", "computer_20251124"],
)  # fmt: skip
def test_what_is_no_beta_is_none(name: str, builder: ModuleType) -> None:
    """Misspelt names and tool types are not in the catalog, and the script refuses them."""
    assert name not in {one["beta"] for one in CLAIMS}
    with pytest.raises(builder.Wrong, match="not the name of a beta"):
        builder.check([claim(beta=name)])


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({"source": "notes", "at": date(2026, 8, 21)}, "says nothing on 2026-08-21"),
        ({"source": "notes"}, "says nothing on None"),
        ({"source": "notes-october", "at": date(2024, 4, 1)}, "says nothing on 2024-04-01"),
        ({"source": "page", "page": "x", "at": date(2026, 11, 1)}, "says nothing on 2026-11-01"),
        ({"source": "aws", "at": date(2026, 11, 1)}, "says nothing on 2026-11-01"),
        ({"source": "page", "page": "x", "places": ["mars"]}, "is no place"),
        ({"source": "page", "page": "x", "record": ["sunset_on"]}, "nothing is recorded"),
    ],
)
def test_what_a_source_cannot_have_said_is_refused(
    item: Row, sentence: str, builder: ModuleType
) -> None:
    """A day before or after its source, a place that is none, a citation of nothing: one sentence."""
    entry = {"betas": ["a-2026-01-01"], "where": "there", "gate": "public", **item}
    with pytest.raises(builder.Wrong, match=sentence) as refused:
        builder.say(entry, {}, {})
    assert "\n" not in str(refused.value)


def test_a_day_needs_a_source_and_lies_in_the_past(builder: ModuleType) -> None:
    """Who cites nobody states no day."""
    day = datetime(2026, 1, 2, tzinfo=UTC)
    builder.check(
        [claim(), claim(url="https://example.com"), claim(url="https://example.com", at=day)]
    )
    for wrong in (claim(at=day), claim(url="https://example.com", at=day.replace(year=2027))):
        with pytest.raises(builder.Wrong, match="no source can have said"):
            builder.check([wrong])


def test_what_breaks_the_shape_is_one_sentence(
    builder: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reader of catalogs looks at everything that the script writes."""
    wrong = {"betas": ["a-2026-01-01"], "status": "alive"}
    monkeypatch.setitem(builder.SAID, "said", [*builder.SAID["said"], wrong])
    assert builder.main(["--check"]) == 1
    said_of_it = capsys.readouterr().err
    assert "a-2026-01-01" in said_of_it
    assert said_of_it.count("\n") == 1


# --- Status ---------------------------------------------------------------------------------------

STATUS_OF = {"beta": "active", "ga": "ga", "retired": "retired", "deprecated": "deprecated"}
BY_MODEL = {"fast-mode-2026-02-01": "active", "computer-use-2024-10-22": "active"}
"""What a record says of the whole though it holds for some models only."""


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record["name"]))
def test_status_follows_the_mapping_of_the_contract(record: Row) -> None:
    """beta is active; superseded is active while accepted; thin evidence gives no status at all."""
    thin = record["confidence"] == "low" or record["gate"] == "product-internal"
    expected = None if thin else STATUS_OF.get(record["status"])
    if record["status"] == "superseded":
        expected = "active" if record["header_still_accepted"] else None
    assert value(record["name"], "status") == BY_MODEL.get(record["name"], expected)
    assert value(record["name"], "superseded_by") == record["replaced_by"]


def test_every_beta_that_a_record_needs_or_excludes_is_a_link() -> None:
    """Prose that begins with the name of a beta must not get lost in the notes."""
    known = {record["name"] for record in RECORDS}
    for record in RECORDS:
        for kind, field in (("requires", "requires"), ("conflicts", "conflicts_with")):
            named = {entry.split()[0] for entry in record[kind]} & known
            linked = {link["beta"] for link in value(record["name"], field) or ()}
            assert linked == named, record["name"]


# --- Facts by hand --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beta", "field", "place", "wanted", "day", "url"),
    [
        ("fast-mode-2026-02-01", "announced_on", "", "2026-02-07", "2026-02-07", ARCHIVED),
        ("fast-mode-2026-02-01", "state", "aws", "refused", "2026-08-21", "fast-mode.md"),
        ("fast-mode-2026-02-01", "status", "anthropic//claude-opus-4-7", "retired", "2026-07-24", ARCHIVED),
        ("fast-mode-2026-02-01", "status", "anthropic//claude-opus-5-5", "ga", "2026-10-15", "zh-CN"),
        ("oauth-2025-04-20", "state", "aws", "refused", "2026-08-21", "claude-platform-on-aws.md"),
        ("cache-diagnosis-2026-04-07", "state", "aws", "refused", "2026-08-21", "cache-diagnostics.md"),
        ("cache-diagnosis-2026-04-07", "status", "anthropic", "ga", "2026-09-23", AUTUMN),
        ("server-side-fallback-2026-06-01", "state", "aws", "supported", "2026-06-09", ARCHIVED),
        ("files-api-2025-04-14", "status", "anthropic", "ga", "2026-08-19", ARCHIVED),
        ("files-api-2025-04-14", "status", "aws", "active", "2026-08-21", "build-with-claude/overview.md"),
        ("skills-2025-10-02", "status", "foundry-anthropic", "active", "2026-08-21", "overview.md"),
        ("files-api-2025-04-14", "deprecated_on", "", "2026-11-16", "2026-11-16", "CHANGELOG.md"),
        ("mcp-client-2025-11-20", "state", "foundry-azure", "refused", "2026-08-21", "foundry.md"),
        ("mcp-client-2025-11-20", "state", "foundry-anthropic", "supported", "2026-08-21", "overview.md"),
        ("mcp-client-2025-04-04", "state", "bedrock-invoke", "supported", "2026-08-11", "pull/2512"),
        ("computer-use-2025-11-24", "state", "vertex//claude-opus-5-5", "refused", "2026-09-22", AUTUMN),
        ("computer-use-2025-11-24", "state", "bedrock//claude-opus-5-5", "supported", "2026-09-22", AUTUMN),
        ("computer-use-2024-10-22", "status", "anthropic//claude-3-5-sonnet-20241022", "retired",
         "2025-10-28", ARCHIVED),
        ("structured-outputs-2025-11-13", "state", "bedrock-invoke", "refused", "2026-01-24", "pull/19712"),
        ("compact-2026-01-12", "state", "bedrock-converse", "refused", None, "docs.aws.amazon.com"),
        ("compact-2026-09-04", "state", "bedrock", "refused", "2026-10-08", "compaction-on-demand.md"),
        ("effort-2025-11-24", "state", "bedrock-invoke/eu.anthropic.claude-opus-4-7", "refused",
         "2026-04-16", "issues/49370"),
        ("prompt-caching-2024-07-31", "state", "vertex", "refused", "2025-11-14", "issues/42715"),
        ("search-results-2025-06-09", "ga_on", "bedrock", "2025-11-21", "2025-11-21", ARCHIVED),
        ("managed-agents-2026-04-01", "state", "aws", "supported", "2026-08-21", "overview.md"),
        ("mcp-tunnels-2026-06-22", "announced_on", "", "2026-06-22", "2026-06-22", ARCHIVED),
        ("max-tokens-3-5-sonnet-2024-07-15", "ga_on", "", "2024-08-19", "2024-08-19", ARCHIVED),
        ("admin-user-sign-out-2026-10-08", "status", "", "active", "2026-11-24", "organization/users.py"),
    ],
)  # fmt: skip
def test_a_known_fact_has_its_place_day_and_source(
    beta: str, field: str, place: str, wanted: str, day: str | None, url: str
) -> None:
    """The contradictions that an audit found, and a dozen well-known facts."""
    slug, _, model = place.replace("//", "/").partition("/")
    platform, _, detail = slug.partition("-")
    kind = "api" if platform == "bedrock" else "hosting"
    parts = {"platform": platform, kind: detail, "model": model}
    found = said(beta, field, **{part: word for part, word in parts.items() if word})
    assert found, f"nothing is said of {beta} {field} at {place}"
    last = found[-1]
    assert (last["value"], last["at"]) == (wanted, day)
    assert url in last["url"]


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        ("mcp-client-2025-04-04", {"superseded_by": "mcp-client-2025-11-20", "topic": "mcp-connector"}),
        ("mcp-client-2025-11-20", {"current": True, "tool_types": ["mcp_toolset"]}),
        ("mcp-client-2026-09-15", {"current": None, "requires": [{"beta": "inline-tools-2026-09-15"}]}),
        ("files-api-2025-04-14", {"header_effect": "changes_response", "accepted": True}),
        ("prompt-caching-2024-07-31", {"header_effect": "ignored"}),
        ("output-128k-2025-02-19", {"accepted": True, "header_effect": "ignored"}),
        ("structured-outputs-2025-09-17", {"retired_on": None, "accepted": False}),
        ("claude-code-20250219", {"status": None, "gate": "internal", "accepted": True}),
        ("oauth-2025-04-20", {"endpoints": None, "header_effect": "required"}),
        ("oidc-federation-2026-04-01", {"endpoints": ["oauth/token"]}),
        ("server-side-fallback-2026-07-01", {"body_fields": ["fallbacks"], "essential": ["fallbacks"]}),
        ("task-budgets-2026-03-13", {"body_fields": ["output_config.task_budget"], "essential": []}),
        ("structured-outputs-2025-11-13", {"body_instead": "output_config.format"}),
        ("fast-mode-2026-02-01", {"body_fields": ["speed"], "essential": []}),
    ],
)  # fmt: skip
def test_what_the_catalog_says_of_well_known_betas(beta: str, expected: Row) -> None:
    """By hand, as people know them."""
    assert {field: value(beta, field) for field in expected} == expected


def test_what_only_a_beta_allows_is_classified() -> None:
    """Whoever has body fields or tool types says which are essential, and only of its own."""
    with_body = {one["beta"] for one in CLAIMS if one["field"] in ("body_fields", "tool_types")}
    assert len(with_body) == 31
    for beta in with_body:
        own = [*(value(beta, "body_fields") or []), *(value(beta, "tool_types") or [])]
        assert set(value(beta, "essential")) <= set(own), beta


def test_each_feature_has_at_most_one_current_beta() -> None:
    """Those of several live dates of which the newest is not simply right."""
    assert sorted(one["beta"] for one in CLAIMS if one["field"] == "current") == [
        "code-execution-2025-08-25",
        "compact-2026-09-04",
        "fallback-credit-2026-07-01",
        "mcp-client-2025-11-20",
        "mcp-tunnels-2026-06-22",
        "server-side-fallback-2026-07-01",
        "user-profiles-2026-09-04",
    ]


def test_the_sdk_dates_the_existence_of_a_beta() -> None:
    """The first release that holds a name, and the newest one that was read, each on its day."""
    listed = said("mcp-client-2025-11-20", "listed")
    assert [(one["version"], one["at"], one["basis"]) for one in listed] == [
        ("0.75.0", "2025-11-24", "sdk"),
        ("2.12.0", "2026-11-20", "sdk"),
    ]
    first = said("managed-agents-2026-04-01", "listed")[0]
    assert (first["version"], first["at"]) == ("0.92.0", "2026-04-08")


def test_counts() -> None:
    """What the catalog holds, so that a change of the facts is seen."""
    marked = sum(one.get("unsourced", False) for one in CLAIMS)
    assert (len(CLAIMS), marked, len({one["beta"] for one in CLAIMS})) == (1659, 782, 117)
