"""The docs source, through its promise: pages in, claims out; real files and a real web server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.facts import Finding, to_json
from registry.core.names import PLATFORMS
from registry.sources import SourceError, collect
from registry.sources.docs import MAX_QUOTE, MAX_REQUESTS, DocsSource
from tests.factories import field_of

NOW = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)
TODAY = datetime(2026, 11, 23, tzinfo=UTC)
HTTP = httpx2.Client(timeout=5, trust_env=False)
BETA = "mcp-client-2025-11-20"


def page(metadata: str, top: str = "title: A page\n", body: str = "# A page\n") -> str:
    """Write a page with `metadata` (YAML, indented by two) as its feature metadata."""
    return f"---\n{top}featureMetadata:\n{metadata}\n---\n\n{body}"


def run(location: object, memo: Any = None, now: datetime = NOW) -> Finding:
    """Run the source; the memo takes the way through JSON that it takes in the database."""
    remembered = json.loads(json.dumps(to_json(memo or {})))
    return collect(DocsSource(str(location)), HTTP, remembered, now)


def said(finding: Finding) -> dict[str, dict[str, Any]]:
    """Return the claims as {beta: {field: value}}, without the address of the page."""
    betas: dict[str, dict[str, Any]] = {}
    for claim in finding.claims:
        if claim.field != "docs_url":
            betas.setdefault(claim.beta, {})[field_of(claim)] = claim.value
    return betas


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Give a function that runs the source on one page's text and returns what it says."""

    def read_page(text: str) -> dict[str, dict[str, Any]]:
        file = tmp_path / "page.md"
        file.write_text(text, encoding="utf-8")
        return said(run(file))

    return read_page


def states(**platforms: str) -> dict[str, str]:
    """Spell `google_cloud="refused"` as the field and value of a claim."""
    return {f"platforms.{name.replace('_', '-')}.state": state for name, state in platforms.items()}


# --- One page -------------------------------------------------------------------------------------


def test_all_four_facts_of_a_feature_page_are_claimed(tmp_path: Path) -> None:
    """Status, models, platforms and the page's address become claims with their proof."""
    metadata = (
        "  status: beta\n"
        f"  betaHeader: {BETA}\n"
        "  supportedModels: [claude-opus-4-5, Claude Sonnet 4.5]\n"
        "  supportedPlatforms:\n"
        "    - Claude API\n"
        "    - Microsoft Foundry"
    )
    (tmp_path / "mcp.md").write_text(page(metadata, "url: https://docs.example/en/mcp\n"))

    finding = run(tmp_path)

    expected = {
        "status": "active",
        "models": ["claude-opus-4-5", "claude-sonnet-4-5"],
        **states(anthropic="supported", foundry="supported"),
        "docs_url": "https://docs.example/en/mcp",
    }
    assert expected == {field_of(claim): claim.value for claim in finding.claims}
    claim = finding.claims[0]
    origin = (BETA, "docs", "declared")
    assert origin == (claim.beta, claim.source, claim.basis)
    assert claim.at == TODAY
    assert claim.url == "https://docs.example/en/mcp"
    assert f"featureMetadata:\n{metadata}" == claim.quote


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("beta", "active"),
        ("Beta", "active"),
        ("research preview", "active"),
        ("research_preview", "active"),
        ("public-beta", "active"),
        ("ga", "ga"),
        ("GA (beta on Bedrock)", "ga"),
        ("Generally available", "ga"),
        ("deprecated", "deprecated"),
        ("Retired", "retired"),
    ],
)
def test_every_spelling_of_a_status_is_understood(read: Any, word: str, status: str) -> None:
    """A status means the same however it is written; ga speaks of the header on the page."""
    assert {BETA: {"status": status}} == read(page(f"  status: {word}\n  betaHeader: {BETA}"))


@pytest.mark.parametrize(
    "word", ["", "true", "not GA", "no longer in beta", "2026-01-01", "[beta]"]
)
def test_a_status_that_is_not_known_is_not_guessed(read: Any, word: str) -> None:
    """A word that is not in the table says nothing, because a guess could retire a beta."""
    assert not read(page(f"  status: {word}\n  betaHeader: {BETA}")).get(BETA, {})


@pytest.mark.parametrize(
    "metadata", ["  status: ga", "  status: ga\n  betaHeader: null", "  {}", ""]
)
def test_metadata_without_a_beta_header_says_nothing(read: Any, metadata: str) -> None:
    """Most features need no header, and their pages speak of no beta."""
    assert not read(page(metadata))


@pytest.mark.parametrize(
    "header",
    [
        "a-2026-01-01, b-2026-02-02",
        "[a-2026-01-01, b-2026-02-02]",
        "'`a-2026-01-01` or `b-2026-02-02`'",
        '"anthropic-beta: a-2026-01-01,b-2026-02-02"',
        "\n    - name: a-2026-01-01\n    - name: b-2026-02-02",
        "\n    a-2026-01-01: beta\n    b-2026-02-02: beta",
        "{current: a-2026-01-01, latest: b-2026-02-02}",
    ],
)
def test_several_names_in_one_header_are_claimed_each(read: Any, header: str) -> None:
    """Text, list, objects and maps hold the same two names."""
    expected = {name: {"status": "active"} for name in ("a-2026-01-01", "b-2026-02-02")}
    assert expected == read(page(f"  status: beta\n  betaHeader: {header}"))


def test_a_header_with_a_status_of_its_own_keeps_it(read: Any) -> None:
    """An older name on the page of its successor is not as current as the feature."""
    metadata = (
        f"  status: beta\n  betaHeader:\n    {BETA}: beta\n    mcp-client-2025-04-04: deprecated"
    )
    expected = {BETA: {"status": "active"}, "mcp-client-2025-04-04": {"status": "deprecated"}}
    assert expected == read(page(metadata))


@pytest.mark.parametrize(
    "metadata",
    [
        "  betaHeader:\n    anthropic: tools-2025-11-20\n    Amazon Bedrock: search-2025-10-19",
        "  betaHeader: tools-2025-11-20\n  supportedPlatforms:\n"
        "    - {platform: anthropic}\n"
        "    - {platform: amazon-bedrock, status: beta, betaHeader: search-2025-10-19}",
    ],
)
def test_another_name_on_a_platform_is_what_to_send_there(read: Any, metadata: str) -> None:
    """A feature can have another name on Bedrock; both are betas, the first knows the second."""
    expected = {
        "tools-2025-11-20": {
            **states(anthropic="supported", bedrock="supported"),
            "platforms.bedrock.names": ["search-2025-10-19"],
        },
        "search-2025-10-19": states(bedrock="supported"),
    }
    assert expected == read(page(metadata))


@pytest.mark.parametrize(
    "header",
    [
        "none",
        "required",
        "n/a",
        "not-required",
        "claude-opus-4-5",
        "bedrock-2023-05-31",
        "beta-feature-name",
        "see the page",
        "'é-2025-01-01'",
        "2026-01-01",
        "{platform: amazon-bedrock}",
    ],
)
def test_what_is_no_beta_name_makes_no_beta(read: Any, header: str) -> None:
    """Look-alikes in the header's place must not enter the registry."""
    assert not read(page(f"  status: beta\n  betaHeader: {header}"))


def test_a_name_with_an_impossible_date_or_none_is_kept_as_written(read: Any) -> None:
    """Names are never corrected."""
    expected = {name: {"status": "active"} for name in ("foo-2025-02-30", "some-beta")}
    assert expected == read(page("  status: beta\n  betaHeader: [foo-2025-02-30, some-beta]"))


@pytest.mark.parametrize(
    ("label", "platform"),
    [
        ("Claude API", "anthropic"),
        ("claude-api", "anthropic"),
        ("anthropic", "anthropic"),
        ("Claude Developer Platform", "anthropic"),
        ("Claude API (beta)", "anthropic"),
        ("Claude Platform on AWS", "aws"),
        ("aws", "aws"),
        ("Claude Platform on Google Cloud", "google-cloud"),
        ("Claude Models on Google Cloud (Anthropic managed)", "google-cloud"),
        ("Amazon Bedrock", "bedrock"),
        ("bedrock", "bedrock"),
        ("AWS Bedrock", "bedrock"),
        ("Vertex AI", "vertex"),
        ("vertex_ai", "vertex"),
        ("Google Cloud's Vertex AI", "vertex"),
        ("Google Cloud", "vertex"),
        ("Google Cloud (Google managed)", "vertex"),
        ("Microsoft Foundry", "foundry"),
        ("azure", "foundry"),
        ("azureFoundry", "foundry"),
        ("Claude Code", None),
        ("Claude Managed Agents", None),
        ("somewhere", None),
    ],
)
def test_platforms_are_known_by_their_many_names(
    read: Any, label: str, platform: str | None
) -> None:
    """Labels of the docs, slugs and clouds' own names mean our six platforms, or nothing."""
    found = read(page(f'  betaHeader: {BETA}\n  supportedPlatforms: ["{label}"]'))
    expected = {f"platforms.{platform}.state": "supported"} if platform else {}
    assert expected == found.get(BETA, {})


def test_google_cloud_beside_vertex_is_the_offer_that_anthropic_runs(read: Any) -> None:
    """Alone, the docs' "Google Cloud" is Vertex; named beside it, it cannot be."""
    found = read(page(f"  betaHeader: {BETA}\n  supportedPlatforms: [Vertex AI, Google Cloud]"))
    assert {BETA: states(vertex="supported", google_cloud="supported")} == found


MIXED = states(anthropic="supported", bedrock="refused")


@pytest.mark.parametrize(
    "platforms",
    [
        "\n    - {name: Claude API, status: ga}\n    - {name: Amazon Bedrock, status: unavailable}",
        "\n    - {id: anthropic, available: true}\n    - {id: bedrock, available: false}",
        "\n    anthropic: beta\n    bedrock: not_supported",
        "\n    anthropic: true\n    bedrock: false",
        "\n    anthropic: {status: beta}\n    bedrock: {status: notAvailable}",
        "\n    beta: [anthropic]\n    unavailable: [bedrock]",
        "Claude API (beta) [1]; not available on Amazon Bedrock",
        "[Claude API, Amazon Bedrock (not supported)]",
        "[anthropic]\n  unsupportedPlatforms: [bedrock]",
    ],
)
def test_a_platform_is_refused_only_where_the_page_says_so(read: Any, platforms: str) -> None:
    """Listed is supported, explicitly unavailable is refused, unlisted says nothing."""
    found = read(page(f"  betaHeader: {BETA}\n  supportedPlatforms: {platforms}"))
    expected = {BETA: MIXED}
    assert expected == found


@pytest.mark.parametrize("word", ["coming soon", "planned", "''", "null", "unknown"])
def test_a_platform_that_is_yet_to_come_says_nothing(read: Any, word: str) -> None:
    """What is announced is neither supported nor refused."""
    metadata = f"  betaHeader: {BETA}\n  supportedPlatforms: {{anthropic: ga, bedrock: {word}}}"
    assert {BETA: states(anthropic="supported")} == read(page(metadata))


def test_one_of_two_bedrock_labels_is_enough_for_support(read: Any) -> None:
    """Bedrock has two APIs: the platform takes a beta if either does."""
    metadata = (
        f"  betaHeader: {BETA}\n  supportedPlatforms:\n"
        "    Amazon Bedrock (legacy): unavailable\n    Amazon Bedrock: beta"
    )
    assert {BETA: states(bedrock="supported")} == read(page(metadata))


@pytest.mark.parametrize(
    ("models", "ids"),
    [
        ("[Claude Opus 4.5]", ["claude-opus-4-5"]),
        ("[Claude 3.5 Sonnet, Haiku 4.5]", ["claude-3-5-sonnet", "claude-haiku-4-5"]),
        ("Claude Opus 4.5 (`claude-opus-4-5-20251101`)", ["claude-opus-4-5-20251101"]),
        ("[us.anthropic.claude-sonnet-4-5-20250929-v1:0]", ["claude-sonnet-4-5-20250929"]),
        ("'`claude-opus-5`, `claude-sonnet-5`'", ["claude-opus-5", "claude-sonnet-5"]),
        ("\n    - {name: Claude Opus 5, id: claude-opus-5-1}", ["claude-opus-5-1"]),
        ("{claude-opus-5: true, claude-opus-4: false}", ["claude-opus-5"]),
        ("[claude-3-*, Claude Mythos Preview]", ["claude-3-*", "claude-mythos-preview"]),
        ("all", None),
        ("[Claude Opus 4.5 and later, All active models]", None),
    ],
)
def test_models_become_ids_where_they_are_some(
    read: Any, models: str, ids: list[str] | None
) -> None:
    """Ids and display names are brought to one form; a sentence about models is left out."""
    found = read(page(f"  betaHeader: {BETA}\n  supportedModels: {models}"))
    assert ({"models": ids} if ids else {}) == found.get(BETA, {})


@pytest.mark.parametrize(
    "text",
    [
        f"---\r\nfeature_metadata:\r\n  Status: Beta\r\n  beta-header: {BETA}\r\n---\r\nText\r\n",
        f"\ufeff---\nfeatureMetadata:\n- status: beta\n  betaHeaders: [{BETA}]\n---\n",
        f'---\n{{"featureMetadata": {{"status": "beta", "betaHeader": "{BETA}"}}}}\n---\n',
        f"---\ntitle: X\nstatus: beta\nbetaHeader: {BETA}\n---\n",
        f"# X\n\n## Compatibility\n- Status: Beta\n- [Beta header](https://x/y): `{BETA}`\n\nText.",
        f"---\ntitle: X\n---\n## Compatibility\n\n* **Status**: Beta\n* **Beta header:** `{BETA}`",
    ],
)
def test_metadata_is_found_in_every_known_place(read: Any, text: str) -> None:
    """Line ends, marks and spellings of keys do not matter, nor does the older list."""
    expected = {BETA: {"status": "active"}}
    assert expected == read(text)


def test_the_compatibility_list_is_read_like_front_matter(read: Any) -> None:
    """The older form says the same things: footnotes, links and "not available on" included."""
    text = (
        "---\ntitle: MCP\n---\n\n## Compatibility\n"
        "- Status: Beta\n"
        f"- [Beta header](https://docs.example/beta): `{BETA}`\n"
        "- Supported models: `claude-opus-5`, `claude-haiku-4-5-20251001`\n"
        "- Platforms: Claude API (beta), Claude Platform on AWS (beta), "
        "Microsoft Foundry (beta) [1]; not available on Amazon Bedrock, Google Cloud\n"
        "1. On [Foundry](https://x), see [there](https://y).\n\n"
        "The previous version (`mcp-client-2025-04-04`) is deprecated.\n"
    )
    expected = {
        "status": "active",
        "models": ["claude-opus-5", "claude-haiku-4-5-20251001"],
        **states(anthropic="supported", aws="supported", foundry="supported"),
        **states(bedrock="refused", vertex="refused"),
    }
    assert {BETA: expected} == read(text)


def test_a_page_that_speaks_of_one_beta_beats_one_that_names_several(tmp_path: Path) -> None:
    """A page with three headers describes its own feature, not each header's."""
    many = f"  status: ga\n  betaHeader: [{BETA}, skills-2025-10-02]"
    (tmp_path / "a-many.md").write_text(page(many))
    (tmp_path / "b-one.md").write_text(page(f"  status: beta\n  betaHeader: {BETA}"))
    expected = {BETA: {"status": "active"}, "skills-2025-10-02": {"status": "ga"}}
    assert expected == said(run(tmp_path))


@pytest.mark.parametrize(
    ("on", "at"),
    [
        ("2026-10-01", datetime(2026, 10, 1, tzinfo=UTC)),
        ("2026-10-01T08:00:00+02:00", datetime(2026, 10, 1, 6, tzinfo=UTC)),
        ("2026-02-30", TODAY),
        ("2031-01-01", TODAY),
        ("0001-01-01T00:00:00+14:00", TODAY),
        ("yesterday", TODAY),
    ],
)
def test_a_claim_speaks_for_the_day_of_its_page(tmp_path: Path, on: str, at: datetime) -> None:
    """The page's own date counts, unless it is none or lies in the future."""
    text = page(f"  status: beta\n  betaHeader: {BETA}", f"lastUpdated: {on}\n")
    (tmp_path / "page.md").write_text(text)
    assert {at} == {claim.at for claim in run(tmp_path).claims}


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: [unclosed\n---\n",
        "---\na: &a [1]\nb: *a\n---\n",
        "---\n" + "[" * 5_000 + "\n---\n",
        "---\n- a\n- list\n---\n",
        "---\ntitle: never closed\n",
        "---\n? {a: b}\n: c\n---\n",
        "<!DOCTYPE html><html><body>Not found</body></html>",
        "---\ntitle: \x00\n---\n",
    ],
)
def test_a_page_that_is_not_understood_is_counted_and_costs_no_other(
    tmp_path: Path, text: str
) -> None:
    """Broken front matter, hostile YAML and error pages leave the other pages alone."""
    (tmp_path / "bad.md").write_text(text)
    (tmp_path / "good.md").write_text(page(f"  status: beta\n  betaHeader: {BETA}"))
    finding = run(tmp_path)
    expected = {BETA: {"status": "active"}}
    assert expected == said(finding)
    assert "1 not understood" in finding.detail


def test_the_quote_is_cut(tmp_path: Path) -> None:
    """A long list of models must not become a long quote."""
    models = ", ".join(f"claude-opus-{n}" for n in range(99))
    (tmp_path / "page.md").write_text(page(f"  betaHeader: {BETA}\n  supportedModels: [{models}]"))
    quotes = {claim.quote for claim in run(tmp_path).claims}
    assert {MAX_QUOTE} == {len(quote or "") for quote in quotes}


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=12) | st.sampled_from(["bedrock", BETA, "beta"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "status", "bedrock", BETA, "id"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    metadata=st.dictionaries(
        st.sampled_from(["status", "betaHeader", "supportedModels", "supportedPlatforms", "x"]),
        JSON,
    )
)
def test_any_metadata_gives_well_formed_claims_or_none(
    tmp_path_factory: pytest.TempPathFactory, metadata: Any
) -> None:
    """Whatever shape the metadata takes, the run succeeds and its claims are as promised."""
    file = tmp_path_factory.mktemp("docs") / "page.md"
    file.write_text(f"---\n{json.dumps({'featureMetadata': metadata})}\n---\n")
    for claim in run(file).claims:
        kind, *rest = field_of(claim).split(".")
        assert kind in ("status", "models", "platforms", "docs_url")
        assert not rest or (rest[0] in PLATFORMS and rest[1] in ("state", "names"))
        assert claim.at <= NOW


# --- Files ----------------------------------------------------------------------------------------


def test_a_directory_without_pages_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    """The message says what to give instead of an empty result that looks like success."""
    with pytest.raises(SourceError, match=r"holds no \.md files"):
        run(tmp_path)
    with pytest.raises(SourceError, match="Cannot read"):
        run(tmp_path / "missing.md")
    with pytest.raises(SourceError, match="Cannot read"):
        run(tmp_path / "llms.txt")


def test_a_local_index_reads_the_pages_beside_it_and_nothing_else(tmp_path: Path) -> None:
    """A mirror is read without a request; a link out of its directory is not followed."""
    site = tmp_path / "site"
    (site / "docs").mkdir(parents=True)
    (site / "docs" / "a.md").write_text(page(f"  status: beta\n  betaHeader: {BETA}"))
    (tmp_path / "secret.md").write_text(page("  status: beta\n  betaHeader: secret-2026-01-01"))
    links = "[A](https://docs.example/docs/a.md) [out](../secret.md) [gone](docs/gone.md)"
    (site / "llms.txt").write_text(links)
    finding = run(site / "llms.txt")
    expected = {BETA: {"status": "active"}}
    assert expected == said(finding)
    assert finding.cost.requests == 0


def test_an_index_without_links_is_refused(tmp_path: Path) -> None:
    """An error page in the place of the index is a failed run, not an empty docs site."""
    (tmp_path / "llms.txt").write_text("<html>Sign in</html>")
    with pytest.raises(SourceError, match="links to no pages"):
        run(tmp_path / "llms.txt")


def test_an_unchanged_page_keeps_the_day_on_which_it_first_said_so(tmp_path: Path) -> None:
    """A daily run must not make a new claim of old words; new words get the new day."""
    file = tmp_path / "page.md"
    file.write_text(page(f"  status: beta\n  betaHeader: {BETA}"))
    first = run(tmp_path)
    second = run(tmp_path, first.memo, NOW + timedelta(days=1))
    file.write_text(page(f"  status: beta\n  betaHeader: {BETA}", body="Another word.\n"))
    third = run(tmp_path, second.memo, NOW + timedelta(days=2))
    file.write_text(page(f"  status: ga\n  betaHeader: {BETA}"))
    fourth = run(tmp_path, third.memo, NOW + timedelta(days=3))

    assert (first.claims, first.claims) == (second.claims, third.claims)
    expected = [False, True, True, False]
    assert expected == [f.unchanged for f in (first, second, third, fourth)]
    assert {TODAY + timedelta(days=3)} == {claim.at for claim in fourth.claims}


def test_a_page_that_breaks_keeps_its_word_and_one_that_is_gone_does_not(tmp_path: Path) -> None:
    """A mistake in one page is no news about its beta; a deleted page says nothing more."""
    broken, gone = tmp_path / "broken.md", tmp_path / "gone.md"
    broken.write_text(page(f"  status: beta\n  betaHeader: {BETA}"))
    gone.write_text(page("  status: beta\n  betaHeader: other-2026-01-01"))
    first = run(tmp_path)
    broken.write_text("---\n[\n---\n")
    gone.unlink()
    (tmp_path / "plain.md").write_text("# Plain\n")
    expected = {BETA: {"status": "active"}}
    assert expected == said(run(tmp_path, first.memo))


# --- The web --------------------------------------------------------------------------------------


@dataclass
class Site:
    """A docs site: pages by path, ETags, and a record of what was asked."""

    pages: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    not_modified: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, etag: str | None) -> tuple[int, str, str]:
        self.asked.append(path)
        if path not in self.pages:
            return 404, "", "<html>Not found</html>"
        tag = f'"{hash(self.pages[path])}"'
        if etag == tag:
            self.not_modified.append(path)
            return 304, tag, ""
        return 200, tag, self.pages[path]


@contextmanager
def serve(site: Site) -> Iterator[str]:
    """Serve the site on a free port; yields the address of its index."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_GET(self) -> None:
            status, tag, text = site.answer(self.path, self.headers.get("If-None-Match"))
            self.send_response(status)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield f"{site.url}/llms.txt"
        finally:
            server.shutdown()
            thread.join()


def test_pages_are_found_through_the_index_and_then_asked_conditionally() -> None:
    """Links with and without .md lead to Markdown; an unchanged site only says "not modified"."""
    feature = page(f"  status: beta\n  betaHeader: {BETA}")
    index = (
        "# Docs\n- [A](/docs/a.md#anchor)\n- [B](docs/b): B\n- [Image](/logo.png)\n- [Home](/)\n"
    )
    site = Site({"/llms.txt": index, "/docs/a.md": feature, "/docs/b.md": "# Plain\n"})
    with serve(site) as location:
        first = run(location)
        asked = sorted(site.asked)
        second = run(location, first.memo, NOW + timedelta(hours=1))
        third = run(location, second.memo, NOW + timedelta(days=2))

    whole = ["/docs/a.md", "/docs/b.md", "/llms.txt"]
    assert whole == asked
    expected = {BETA: {"status": "active"}}
    assert expected == said(first)
    assert f"{site.url}/docs/a" == first.claims[0].url
    # A page without metadata is asked again after a day; a page with some at every run.
    assert sorted([*whole, "/docs/a.md", "/llms.txt"]) == sorted(site.not_modified)
    costs = [3, 2, 3]
    assert costs == [finding.cost.requests for finding in (first, second, third)]
    assert (second.unchanged, third.unchanged) == (True, True)
    assert first.claims == third.claims


def test_an_index_leads_to_no_other_host() -> None:
    """What an index says must not decide whom this server asks."""
    site = Site({"/docs/a.md": page(f"  status: beta\n  betaHeader: {BETA}")})
    with serve(site) as location:
        other = site.url.replace("127.0.0.1", "localhost")
        links = (
            f"[1]({other}/docs/other.md) [2](file:///etc/passwd.md) [3](//[bad/x.md) [4](docs/a.md)"
        )
        site.pages["/llms.txt"] = links
        finding = run(location)
    expected = ["/docs/a.md", "/llms.txt"]
    assert expected == sorted(site.asked)
    assert {BETA} == finding.names


def test_a_large_site_is_read_in_portions_and_guides_come_before_reference() -> None:
    """No run asks for more than its budget; the rest follows in the next one."""
    guides = [f"/docs/guide-{n}.md" for n in range(MAX_REQUESTS - 1)]
    reference = [f"/docs/api/call-{n}.md" for n in range(10)]
    last = page(f"  status: beta\n  betaHeader: {BETA}")
    site = Site(dict.fromkeys([*guides, *reference], "# Plain\n") | {reference[-1]: last})
    site.pages["/llms.txt"] = "".join(f"[p]({path})\n" for path in [*reference, *guides])
    with serve(site) as location:
        first = run(location)
        asked = set(site.asked)
        second = run(location, first.memo, NOW + timedelta(hours=1))
    assert {"/llms.txt", reference[0], *guides} == asked
    assert "9 not read yet" in first.detail
    assert not first.names
    assert frozenset({BETA}) == second.names
    assert second.cost.requests == 1 + 9


def test_a_failing_page_is_counted_and_keeps_its_word() -> None:
    """A page that is away for a while is no reason to forget what it said."""
    feature = page(f"  status: beta\n  betaHeader: {BETA}")
    site = Site({"/llms.txt": "[A](/a.md) [B](/b.md)", "/a.md": feature, "/b.md": "# Plain\n"})
    with serve(site) as location:
        first = run(location)
        del site.pages["/a.md"]
        second = run(location, first.memo, NOW + timedelta(days=2))
    assert first.claims == second.claims
    assert "1 failed" in second.detail
    assert "404" in second.detail


def test_a_server_that_fails_again_and_again_is_left_alone() -> None:
    """After some failures in a row the run ends and says why, instead of asking for all pages."""
    site = Site({"/llms.txt": "".join(f"[p](/page-{n}.md)\n" for n in range(100))})
    with serve(site) as location, pytest.raises(SourceError, match="None of 100 docs pages"):
        run(location)
    assert len(site.asked) == 1 + 8


def test_an_index_that_cannot_be_reached_is_a_failed_run() -> None:
    """Without the index nothing is known of the docs, and the message names the address."""
    with serve(Site()) as location, pytest.raises(SourceError, match=r"llms\.txt answered 404"):
        run(location)
    with pytest.raises(SourceError, match="Cannot reach"):
        run(location)


@pytest.mark.parametrize("memo", [{"format": 0}, {"format": 1, "location": "elsewhere"}, {"x": []}])
def test_a_memo_of_another_place_or_form_is_forgotten(tmp_path: Path, memo: Any) -> None:
    """A change of the location or of how pages are understood reads everything again."""
    (tmp_path / "page.md").write_text(page(f"  status: beta\n  betaHeader: {BETA}"))
    finding = run(tmp_path, memo)
    assert (frozenset({BETA}), False) == (finding.names, finding.unchanged)
