"""Beta names in text: what is found, what is not, and where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.scan import Found, Scanner

KNOWN = ("mcp-client-2025-11-20", "claude-code-20250219", "computer-use-2024-10-22")
MCP = KNOWN[0]
NEW, OTHER = "brand-thing-2027-01-01", "other-thing-2027-02-02"
SCANNER = Scanner(KNOWN)


def names(text: str) -> list[str]:
    """The names found in a text, in order."""
    return [found.name for found in SCANNER.find(text)]


@pytest.mark.parametrize(
    "text",
    [
        f"send {MCP}.",
        f"'{MCP}'",
        f"# {MCP}",
        f"#{MCP}",
        f"a,{MCP},b",
        f'"line\\n{MCP}"',
        f"?beta={MCP}",
        f"a%2C{MCP}",
        f"${{X:-{MCP}}}",
        f"toMatch(/{MCP}/)",
        f"--beta={MCP}",
        f"({MCP})",
        f"{MCP}: why",
        f"curl https://host/v1/header?betas={MCP}",
        f"\ufeff{MCP}",
    ],
)
def test_a_known_name_counts_anywhere_as_a_whole_token(text: str) -> None:
    """Whatever stands around it, as long as it is no part of another word."""
    assert names(text) == [MCP]


def test_a_known_name_may_go_on_after_its_date() -> None:
    """As `NAME-research-preview` does; as part of a longer word or an address it is none."""
    longer = f"{MCP}-research-preview"
    scanner = Scanner((*KNOWN, longer))
    text = f"betas = ['{longer}', '{MCP}']\nx{longer} {longer}-2 https://docs.example/{longer}/y"
    assert [(one.name, one.known) for one in scanner.find(text)] == [(longer, True), (MCP, True)]


@pytest.mark.parametrize(
    "text",
    [
        f"{MCP}.log",
        f"{MCP}1",
        f"x{MCP}",
        f"{MCP}-rc1",
        f"{MCP}_x",
        f"a.{MCP}",
        f"https://docs.example/betas#{MCP}",
        f"[see](#{MCP})",
        f"https://docs.example/{MCP}/x",
        f"logs/{MCP}",
        "mcp-client-2025-11",
        "2025-11-20",
        "",
    ],
)
def test_a_known_name_inside_something_else_is_none(text: str) -> None:
    """File names, anchors, addresses and longer words."""
    assert names(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"anthropic-beta: {NEW}", [NEW]),
        (f'"anthropic-beta": "{NEW},{OTHER}"', [NEW, OTHER]),
        (f'"anthropic-beta": "{NEW}, {MCP} ,{OTHER}"', [NEW, MCP, OTHER]),
        (f"ANTHROPIC_BETAS={NEW},{OTHER}", [NEW, OTHER]),
        (f'export ANTHROPIC_BETAS="{NEW},\\\n{OTHER}"', [NEW, OTHER]),
        (f'betas=[\n  "{NEW}",\n  "{OTHER}",  # why\n]', [NEW, OTHER]),
        (f'betas: ["{NEW}"]', [NEW]),
        (f"anthropic_beta:\n  - {NEW}\n  - {OTHER}\n", [NEW, OTHER]),
        (f'curl -H "anthropic-beta: {NEW}" host', [NEW]),
        (f"- name: ANTHROPIC_BETAS\n  value: {NEW},{OTHER}", [NEW, OTHER]),
        (f'name = "ANTHROPIC_BETAS"\nvalue = "{NEW}"', [NEW]),
        (f'"name": "ANTHROPIC_BETAS",\n "value": "{NEW}"', [NEW]),
        (f'variable "anthropic_betas" {{\n  default = ["{NEW}"]\n}}', [NEW]),
        (f'headers["anthropic-beta"] = "{NEW}"', [NEW]),
        (f'h["anthropic-beta"] = ",".join([\n  "{NEW}",\n  "{OTHER}",\n])', [NEW, OTHER]),
        (f'req.Header.Set("anthropic-beta", "{NEW}")', [NEW]),
        (f'Betas: []anthropic.AnthropicBeta{{"{NEW}"}}', [NEW]),
        (f'"anthropic-beta": (\n  "{NEW},"\n  "{OTHER}"\n)', [NEW, OTHER]),
        (f"anthropic-beta: >-\n  {NEW},\n  {OTHER}", [NEW, OTHER]),
        (f'extra_headers={{"anthropic-beta": "{NEW}"}}', [NEW]),
        (f'default_headers={{\n  "anthropic-beta": "{NEW}",\n}}', [NEW]),
        (f'BETAS: list[str] = ["{NEW}"]', [NEW]),
        (f"x-anthropic-beta: {NEW}", [NEW]),
        (f'BETAS = {{\n "thinking": "{NEW}",\n "x": "{OTHER}"}}', [NEW, OTHER]),
        (f"const ANTHROPIC_BETAS = [\n  '{NEW}',\n] as const", [NEW]),
        (f'params.addBeta("{NEW}")', [NEW]),
        (f'AnthropicBeta.of("{NEW}")', [NEW]),
        (f'anthropicBeta: ["{NEW}"]', [NEW]),
        (f'x = "{NEW}"  # anthropic-beta', [NEW]),
        (f"with the `{NEW}` beta header", [NEW]),
        (f"the `anthropic-beta` header set to `{NEW}`", [NEW]),
        (f'{{"env":{{"ANTHROPIC_BETAS":"{NEW}"}}}}', [NEW]),
        (f"'anthropic-beta' => '{NEW}'", [NEW]),
        (f'"${{ANTHROPIC_BETAS:-{NEW}}}"', [NEW]),
        (f'betas=["{NEW}"] if new else ["{OTHER}"]', [NEW, OTHER]),
        (f'[[env]]\nkey = 1\nanthropic-beta = ["{NEW}"]', [NEW]),
        ('anthropic-beta: text_editor_20250124', ["text_editor_20250124"]),
        ('betas=["text_editor_20250124"]', ["text_editor_20250124"]),
        ("anthropic-beta: odd-name-2025-02-30", ["odd-name-2025-02-30"]),
        ("anthropic-beta: output-128k", ["output-128k"]),
        ("anthropic-beta: output-128k,no-date", ["output-128k", "no-date"]),
        ('import anthropic\nbetas=["un-dated"]', ["un-dated"]),
        ("anthropic_beta:\n  - no-date-here\n", ["no-date-here"]),
        ('h.Set("anthropic-beta", "un-dated")', ["un-dated"]),
    ],
)  # fmt: skip
def test_an_unknown_name_counts_where_betas_are_spoken_of(text: str, found: list[str]) -> None:
    """Headers, lists and assignments of Python, TypeScript, Go, JSON, YAML, TOML, shell, Terraform."""
    assert names(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "feature-2024-01-01",
        f'x = "{NEW}"\nanthropic-beta: {MCP}',
        f'"anthropic-beta": "{MCP}",\n "x": "{NEW}"',
        f'{{"anthropic-beta": "{MCP}", "X-Feature": "{NEW}"}}',
        f'betas=["{MCP}"],\nextra_body={{"a":"{NEW}"}}',
        f'betas=["{MCP}"]\nx="{NEW}"',
        f'betas=["{MCP}"]; other = "{NEW}"',
        f"anthropic-beta: {MCP}\nX-Version: {NEW}",
        f"- name: ANTHROPIC_BETAS\n  value: {MCP}\n- name: OTHER\n  value: {NEW}",
        'anthropic_version: "bedrock-2023-05-31", betas: []',
        "anthropic-beta: bedrock-2023-05-31",
        "anthropic-beta: vertex-2023-10-16",
        "anthropic-version: 2023-06-01",
        "betas claude-sonnet-4-5-20250929",
        'betas=["x"], model="claude-sonnet-4-5-20250929"',
        "anthropic-beta us.anthropic.claude-3-5-sonnet-20240620-v1:0",
        "anthropic-beta claude-3-5-sonnet@20240620",
        'betas=["x"], model="gpt-4o-2024-08-06"',
        'tools=[{"type": "computer_20251124"}], betas=["a"]',
        'betas=[], tools=[{"type": "text_editor_20250124"}]',
        "anthropic-beta: beta-feature-name",
        "anthropic-beta: some-new-beta-2026-01-01",
        "anthropic-beta-2026-01-01.log",
        "anthropic-beta-2026-01-01",
        f"https://docs.example/anthropic-beta/{NEW}",
        f"[x](#anthropic-betas-{NEW})",
        f"anthropic-beta log: logs/{NEW}.log",
        f"About the anthropic-beta header. Use {NEW} in another product.",
        '["anthropic-beta", "anthropic-version", "x-api-key"]',
        "Access-Control-Allow-Headers: anthropic-beta, anthropic-version, content-type",
        '"anthropic-beta": {"type": "string", "description": "comma-separated"}',
        "anthropic-beta: comma-separated list",
        "adam(betas=(0.9, 0.999))",
        "ANTHROPIC_BETAS=${SOME_VAR}",
        'headers.get("anthropic-beta")',
    ],
)
def test_a_look_alike_is_no_beta(text: str) -> None:
    """Models, versions, tools, placeholders, addresses, other products, other keys."""
    assert [name for name in names(text) if name != MCP] == []


def test_the_place_is_told_in_lines_characters_and_bytes() -> None:
    """Columns count characters, offsets bytes; a byte order mark takes no room."""
    found = SCANNER.find(f"é\n ü {MCP} x\n")
    assert found == [
        Found(MCP, line=2, column=4, offset=7, known=True, ignored=False, excerpt=f"ü {MCP} x")
    ]
    assert SCANNER.find(f"\ufeff{MCP}")[0].column == 1


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        (f"{MCP}  # beta-registry: ignore", True),
        (f"{MCP}  # beta-registry: ignore {MCP}", True),
        (f"{MCP}  # beta-registry: ignore computer-use-2024-10-22", False),
        (f"{MCP}  # beta-registry: ignore because of the old client", True),
        (f"# beta-registry: ignore-next-line\n{MCP}", True),
        (f"<!-- beta-registry: ignore-next-line {MCP} -->\n{MCP}", True),
        (f"{MCP} # beta-registry: ignore-next-line", False),
        (f"# beta-registry: ignore\n{MCP}", False),
        (f"# beta-registry: ignore-next-line\n\n{MCP}", False),
    ],
)
def test_a_comment_asks_to_pass_over(text: str, ignored: bool) -> None:
    """On the line or for the next; all betas, or those it names."""
    assert [found.ignored for found in SCANNER.find(text)] == [ignored]


PIECES = st.lists(
    st.sampled_from(
        [MCP, NEW, "anthropic-beta: ", 'betas=["', '"]', ",", "\n", " ", "é", "- ", "word ", "x" * 3000,
         "# beta-registry: ignore\n", "https://h/", "output-128k", "computer_20251124", "\\n", "{", "}"]
    ),
    max_size=60,
)  # fmt: skip


@given(PIECES, st.lists(st.integers(1, 5000), min_size=1, max_size=8))
def test_how_a_text_is_cut_changes_nothing(pieces: list[str], sizes: list[int]) -> None:
    """A stream finds what is found in the whole, at the same places."""
    text = "".join(pieces).encode()
    stream, found, at, turn = SCANNER.stream(), [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        found += stream.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    assert found + stream.feed(b"", last=True) == SCANNER.find(text)


@given(st.binary(max_size=2000) | st.text(max_size=2000).map(str.encode))
def test_no_text_raises_and_every_place_is_real(text: bytes) -> None:
    """Whatever the bytes are, what is found stands where it is said to stand."""
    for found in SCANNER.find(text + b" " + MCP.encode()):
        whole = text + b" " + MCP.encode()
        assert whole[found.offset :].startswith(found.name.encode())
        assert whole[: found.offset].count(b"\n") == found.line - 1


@given(st.text(alphabet="abc-_.\n\"'[](){}:=,;#/ ", max_size=300))
def test_a_known_name_as_a_token_of_its_own_is_found(noise: str) -> None:
    """On a line of its own it is found whatever stands elsewhere."""
    assert MCP in names(f"{noise}\n{MCP}\n{noise}")
