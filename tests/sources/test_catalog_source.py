"""The catalog: its file format, and the source that reads it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.claims import FIELDS, PLACED, check_claim, check_value
from registry.core.errors import Invalid
from registry.core.facts import (
    BASES,
    CONFIDENCES,
    GATES,
    HEADER_EFFECTS,
    STATES,
    STATUSES,
    UNDATED,
    Claim,
    Finding,
    to_json,
)
from registry.core.names import PLATFORMS
from registry.core.places import ANYWHERE, APIS, HOSTINGS, Place, endpoint_name
from registry.sources import SourceError, collect
from registry.sources.catalog import (
    FORMAT,
    CatalogSource,
    dump_catalog,
    parse_catalog,
)

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
AS_OF = datetime(2026, 11, 23, tzinfo=UTC)
HTTP = httpx2.Client(timeout=5, trust_env=False)
BETA = "mcp-client-2025-11-20"


def claim(**members: Any) -> Claim:
    """Make a claim that is fine, but for the members given."""
    usual: dict[str, Any] = {
        "beta": BETA,
        "field": "status",
        "value": "active",
        "source": "catalog",
        "basis": "declared",
        "at": AS_OF,
    }
    return Claim(**(usual | members))


def run(source: CatalogSource, memo: Any = None) -> Finding:
    """Run the source; the memo takes the way through JSON that it takes in the database."""
    return collect(source, HTTP, json.loads(json.dumps(to_json(memo or {}))), NOW)


# --- The format -----------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
labels = texts.map(str.strip).filter(bool)
names = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)
days = st.dates().map(lambda day: day.isoformat())
webs = st.sampled_from(["https://example.com/a?b=c#d", "http://127.0.0.1:8000/x"])
moments = st.datetimes(
    min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=st.just(UTC)
)
links = st.lists(
    st.fixed_dictionaries({"beta": names}, optional={"endpoint": st.none() | labels}), max_size=3
)
words = labels.filter(str.isprintable)
regions = st.from_regex(r"[a-z]{2}-[a-z]{4,8}-[0-9]", fullmatch=True)
narrowed = {"region": regions, "model": words, "endpoint": words.map(endpoint_name)}
places = st.one_of(
    st.builds(Place, platform=st.sampled_from(PLATFORMS), **narrowed),
    st.builds(Place, platform=st.sampled_from(PLATFORMS)),
    st.builds(Place, platform=st.just("bedrock"), api=st.sampled_from(APIS)),
    st.builds(Place, platform=st.just("foundry"), hosting=st.sampled_from(HOSTINGS)),
    st.builds(Place, **narrowed),
)
flags = st.booleans()
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "status": st.sampled_from(STATUSES),
    "header_effect": st.sampled_from(HEADER_EFFECTS),
    "gate": st.sampled_from(GATES),
    "accepted": st.none() | flags,
    "superseded_by": st.none() | names.map(lambda name: f"new-{name}"),
    "summary": texts,
    "docs_url": st.none() | webs,
    "topic": st.none() | labels,
    "requires": links,
    "conflicts_with": links,
    "notes": st.lists(texts, max_size=3),
    **dict.fromkeys(("current", "listed"), flags),
    **dict.fromkeys(("endpoints", "models", "body_fields"), st.lists(labels, max_size=3)),
    **{f"{event}_on": st.none() | days for event in ("announced", "deprecated", "sunset")},
    **{f"{event}_on": st.none() | days for event in ("ga", "retired")},
    "state": st.sampled_from(STATES),
    "names": st.lists(names, max_size=3),
    "body_instead": st.none() | labels,
    **dict.fromkeys(("tool_types", "essential"), st.lists(labels, max_size=3)),
}


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    """Draw any claim that is allowed, on any field."""
    basis = draw(st.sampled_from(BASES))
    field = draw(st.sampled_from(sorted(VALUES)))
    value = draw(VALUES[field] | st.none() if basis == "operator" else VALUES[field])
    return Claim(
        beta=draw(names),
        field=field,
        value=value,
        source=draw(labels),
        basis=basis,
        at=draw(moments | st.just(UNDATED)),
        confidence=draw(st.sampled_from(CONFIDENCES)),
        version=draw(st.none() | labels),
        url=draw(st.none() | webs),
        quote=draw(st.none() | texts),
        until=draw(st.none() | moments),
        where=draw(st.none() | texts),
        place=draw(_places_of(field)),
    )


def _places_of(field: str) -> st.SearchStrategy[Place]:
    if field not in PLACED:
        return st.just(ANYWHERE)
    return places if field in ("state", "names") else st.just(ANYWHERE) | places


@settings(deadline=None)
@given(moments, st.lists(claims(), max_size=6), st.booleans())
def test_reading_a_catalog_gives_back_what_was_written(
    as_of: datetime, made: list[Claim], encoded: bool
) -> None:
    """Nothing is lost, to the microsecond, and equal claims give equal text."""
    text = dump_catalog(as_of, made)
    assert parse_catalog(text.encode() if encoded else text) == (as_of, tuple(made))
    assert dump_catalog(*parse_catalog(text)) == text


def test_every_field_has_a_strategy() -> None:
    """The test above must speak of every field that a claim can have."""
    assert set(VALUES) == set(FIELDS)


def test_format_1_is_read_as_claims_with_a_place() -> None:
    """It named the platform in the field, and kept what differs as one claim on `exceptions`."""
    url = "https://example.com/notes"
    lines: list[dict[str, Any]] = [
        {"field": "platforms.bedrock.state", "value": "refused"},
        {"field": "platforms.vertex.state", "value": "refused", "basis": "litellm"},
        {"field": "exceptions", "value": [
            {"platform": "vertex", "model": "claude-haiku-4-5", "endpoint": None, "status": None,
             "accepted": False, "source": url},
            {"platform": None, "model": "claude-opus-5", "endpoint": None, "status": "ga",
             "accepted": True, "source": "A person."}]},
    ]  # fmt: skip
    usual = {"beta": BETA, "source": "catalog", "basis": "declared", "at": "2026-11-23"}
    old = {"format": "beta-registry/catalog-1", "as_of": "2026-11-23",
           "claims": [usual | line for line in lines]}  # fmt: skip
    _, made = parse_catalog(json.dumps(old))
    assert [(str(one.place), one.field, one.value, one.url, one.where) for one in made] == [
        ("bedrock", "state", "refused", None, None),
        ("vertex", "state", "unknown", None, None),
        ("vertex for claude-haiku-4-5", "accepted", False, url, None),
        ("every platform for claude-opus-5", "accepted", True, None, "A person."),
        ("every platform for claude-opus-5", "status", "ga", None, "A person."),
    ]
    assert parse_catalog(dump_catalog(AS_OF, made))[1] == made


def test_a_claim_that_cites_nothing_says_so_and_has_no_day() -> None:
    """It is marked in the file, and newer than nothing."""
    text = dump_catalog(AS_OF, [claim(at=UNDATED)])
    assert '"at":null' in text
    assert '"unsourced":true' in text
    ((_, (read,))) = parse_catalog(text)
    assert read.day is None


def test_other_time_zones_are_the_same_moment() -> None:
    """A time is written in UTC, whatever zone it came in."""
    zone = datetime.fromisoformat("2026-11-23T01:00:00+01:00")
    assert '"at":"2026-11-23"' in dump_catalog(AS_OF, [claim(at=zone)])


def test_one_claim_stands_on_each_line() -> None:
    """So that two versions of the file can be compared by eye; an empty one is fine too."""
    text = dump_catalog(AS_OF, [claim(), claim(field="current", value=True)])
    assert len(text.splitlines()) == 4
    assert parse_catalog(dump_catalog(AS_OF, [])) == (AS_OF, ())


def test_a_beta_may_be_spoken_of_twice() -> None:
    """Two claims on one field are evidence like any other."""
    twice = (claim(), claim(), claim(value="ga"))
    assert parse_catalog(dump_catalog(AS_OF, twice))[1] == twice


def catalog(**changed: Any) -> str:
    """Write a catalog of two good claims and a third one with some members changed or removed (...)."""
    plain = json.loads(dump_catalog(AS_OF, [claim()] * 3))
    for name, value in changed.items():
        plain["claims"][2].pop(name, None)
        if value is not ...:
            plain["claims"][2][name] = value
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("9" * 5_000, "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        (" " * (32 * 1024 * 1024 + 1), "larger than"),
        ("{}", "format is None"),
        ('{"format":"beta-registry/catalog-9","as_of":"2026-11-23","claims":[]}', "catalog-9"),
        (f'{{"format":"{FORMAT}","claims":[]}}', "as_of"),
        (f'{{"format":"{FORMAT}","as_of":"2026-02-30","claims":[]}}', "2026-02-30"),
        (f'{{"format":"{FORMAT}","as_of":"2026-11-23","claims":{{}}}}', "not a list"),
        (f'{{"format":"{FORMAT}","as_of":"2026-11-23","claims":[7]}}', "claim 1 is wrong"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_a_file_that_is_no_catalog_is_refused_in_one_sentence(text: str | bytes, says: str) -> None:
    """Whatever it is, the refusal says what is wrong with it."""
    with pytest.raises(Invalid) as refused:
        parse_catalog(text)
    assert says in refused.value.detail
    assert refused.value.detail.startswith("The catalog cannot be used: ")
    assert len(refused.value.detail) < 400
    assert refused.value.slug == "invalid-catalog"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"beta": "a b"}, "beta name"),
        ({"beta": None}, "beta name"),
        ({"beta": ...}, "no `beta`"),
        ({"colour": "red"}, "'colour'"),
        ({"field": "colour"}, "'colour'"),
        ({"field": "platforms.mars.state"}, "platforms.mars.state"),
        ({"field": ["status"]}, "`field` is a list"),
        ({"value": "alive"}, "'alive'"),
        ({"value": ["active"]}, "`status` is a list"),
        ({"value": None}, "`status` is null"),
        ({"value": ...}, "no `value`"),
        ({"source": ""}, "`source`"),
        ({"basis": "guessed"}, "'guessed'"),
        ({"confidence": 1}, "`confidence` is a number"),
        ({"at": "yesterday"}, "'yesterday'"),
        ({"at": "2026-13-01"}, "2026-13-01"),
        ({"at": "0001-01-01T00:00:00+10:00"}, "`at`"),
        ({"until": 5}, "`until`"),
        ({"url": "javascript:alert(1)"}, "https://"),
        ({"url": "http://[bad"}, "https://"),
        ({"quote": "\x00"}, "control"),
        ({"quote": "\ud800"}, "control"),
        ({"quote": "x" * 9_000}, "8,000"),
        ({"field": "ga_on", "value": "20261123"}, "date"),
        ({"field": "ga_on", "value": "2026-02-30"}, "2026-02-30"),
        ({"field": "accepted", "value": "yes"}, "true or false"),
        ({"field": "current", "value": None}, "`current` is null"),
        ({"field": "superseded_by", "value": BETA}, "itself"),
        ({"field": "models", "value": ["a", 1]}, "models[1]"),
        ({"field": "models", "value": ["a"] * 501}, "500"),
        ({"field": "requires", "value": [{"endpoint": "messages"}]}, "no `beta`"),
        ({"field": "requires", "value": ["files-api-2025-04-14"]}, "requires[0]"),
        ({"field": "exceptions", "value": [{"model": 7}]}, "exceptions.model"),
        ({"field": "exceptions", "value": [{"platform": "mars"}]}, "'mars'"),
        ({"field": "exceptions", "value": {}}, "`exceptions` is an object"),
        ({"field": "state", "value": "refused"}, "needs a place"),
        ({"field": "gate", "value": "org", "place": {"platform": "aws"}}, "no place"),
        ({"place": {"platform": "mars"}}, "'mars'"),
        ({"place": {"platform": "anthropic", "api": "mantle"}}, "`api` is for bedrock only"),
        ({"place": {"platform": "vertex", "hosting": "azure"}}, "`hosting` is for foundry only"),
        ({"place": {"platform": "bedrock", "api": "grpc"}}, "'grpc'"),
        ({"place": {"planet": "mars"}}, "`place` must be an object"),
        ({"place": {"platform": None}}, "as text"),
        ({"place": "bedrock"}, "`place` must be an object"),
        ({"unsourced": True}, "`unsourced`"),
        ({"at": None}, "`unsourced`"),
        ({"at": None, "unsourced": True, "url": "https://x.example"}, "`unsourced`"),
        ({"field": "platforms.bedrock.names", "value": ["a b"]}, "beta name"),
        ({"field": "docs_url", "value": "file:///etc/passwd"}, "https://"),
    ],
)
def test_a_claim_that_is_wrong_is_named(changed: dict[str, Any], says: str) -> None:
    """The refusal says which claim it is, by its number, and why it cannot be used."""
    with pytest.raises(Invalid, match="claim 3") as refused:
        parse_catalog(catalog(**changed))
    assert says in refused.value.detail
    assert refused.value.detail.isascii()


@given(st.text() | st.binary())
def test_rubbish_is_refused_and_never_breaks_anything(text: str | bytes) -> None:
    """Any text at all is either a catalog or `Invalid`."""
    with pytest.raises(Invalid):
        parse_catalog(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.sampled_from([*sorted(FIELDS), "colour"]), JSON)
def test_any_value_is_judged(field: str, value: Any) -> None:
    """A value fits its field or is refused with `Invalid`; there is no third way."""
    try:
        check_value(field, value)
        refusal = None
    except Invalid as error:
        refusal = error
    assert refusal is None or (refusal.detail[-1], refusal.slug) == (".", "invalid-claim")


def test_the_operator_withdraws_his_word_with_null() -> None:
    """Null is a value of every field from the operator, and of no status from anybody else."""
    check_claim(claim(basis="operator", value=None))
    with pytest.raises(Invalid):
        check_claim(claim(basis="operator", value=None, field="colour"))
    with pytest.raises(Invalid):
        check_claim(claim(value=None))


def test_a_time_without_zone_is_refused() -> None:
    """A moment that nobody can place is no evidence."""
    with pytest.raises(Invalid, match="zone"):
        check_claim(claim(at=datetime(2026, 11, 23)))


# --- The source -----------------------------------------------------------------------------------


@contextmanager
def serving(body: bytes) -> Iterator[tuple[str, list[int]]]:
    """Serve one document with an ETag; give its URL and the list of statuses answered."""
    answered: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            same = self.headers.get("If-None-Match") == '"1"'
            answered.append(304 if same else 200)
            self.send_response(answered[-1])
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", "0" if same else str(len(body)))
            self.end_headers()
            if not same:
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/catalog.json", answered
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_bundled_catalog_is_read_once() -> None:
    """Without a location it is the one in the package; the same one again is unchanged."""
    first = run(CatalogSource())
    assert first.source == CatalogSource.name
    assert first.complete
    assert len(first.names) == 117
    assert first.memo["as_of"] == "2026-11-25"
    assert "117 betas" in first.detail
    again = run(CatalogSource(), first.memo)
    assert again.unchanged
    assert again.claims == ()
    assert run(CatalogSource(), again.memo).unchanged


def test_a_catalog_at_a_url_is_asked_for_conditionally() -> None:
    """Fresher facts come without a release of ours, and cost one 304 when nothing is new."""
    newer = claim(value="ga", at=AS_OF + timedelta(days=1))
    with serving(dump_catalog(NOW, [newer]).encode()) as (url, answered):
        bundled = run(CatalogSource())
        first = run(CatalogSource(url), bundled.memo)
        again = run(CatalogSource(url), first.memo)
    assert first.claims == (newer,)
    assert first.memo["as_of"] == "2026-11-24T09:00:00Z"
    assert again.unchanged
    assert again.memo == first.memo
    assert answered == [200, 304]
    assert not run(CatalogSource(), again.memo).unchanged


def test_a_catalog_can_be_a_file(tmp_path: Path) -> None:
    """A mirror without network has files."""
    file = tmp_path / "catalog.json"
    file.write_text(dump_catalog(AS_OF, [claim()]), encoding="utf-8")
    assert run(CatalogSource(str(file))).claims == (claim(),)


def test_only_what_holds_for_all_is_taken_from_another_registry(tmp_path: Path) -> None:
    """Another operator's word, key and services are not ours; the rest becomes the catalog's word."""
    local = [claim(basis=basis) for basis in ("operator", "probed", "usage")]
    theirs = claim(source="docs", url="https://example.com/docs")
    file = tmp_path / "export.json"
    file.write_text(dump_catalog(AS_OF, [*local, theirs]), encoding="utf-8")
    found = run(CatalogSource(str(file)))
    assert found.claims == (claim(url="https://example.com/docs"),)
    assert "3 claims" in found.detail


@pytest.mark.parametrize("body", [b"", b"<html>", catalog(value="alive").encode()])
def test_a_catalog_that_cannot_be_used_says_where_it_is(body: bytes) -> None:
    """The sentence names the place, without the token that may stand in its URL."""
    with serving(body) as (url, _), pytest.raises(SourceError) as refused:
        run(CatalogSource(f"{url}?token=secret"))
    assert url in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """One sentence, no traceback."""
    with pytest.raises(SourceError, match="Cannot read"):
        run(CatalogSource(str(tmp_path / "none.json")))
