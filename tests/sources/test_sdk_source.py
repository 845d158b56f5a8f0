"""The SDK's history, against an index that behaves and misbehaves as real ones do."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from registry.core.body import is_field
from registry.core.facts import Finding
from registry.sources import SourceError, collect
from registry.sources.sdk import SdkSource
from tests.factories import NOW
from tests.sources.index_server import Index, sdist, wheel

LIST = "anthropic/types/anthropic_beta_param.py"
A, B, C = "alpha-2024-01-01", "beta-2025-02-02", "gamma-2026-03-03"

ONE_LINE = 'AnthropicBetaParam: TypeAlias = Union[str, Literal["{}"]]'
MANY_LINES = """
from typing_extensions import Literal, TypeAlias
AnthropicBetaParam: TypeAlias = Union[
    str,
    Literal[
        {},  # a comment
    ],
]
"""

RESOURCE = """
class Files:
    def list(self, *, betas=None, extra_headers=None):
        extra_headers = {"anthropic-beta": ",".join(chain((str(e) for e in betas), ["NAME"]))}
        return self._get_api_list("/v1/files?beta=true", page=Page)
    def retrieve(self, file_id):
        extra_headers = {"anthropic-beta": "NAME"}
        return self._get(path_template("/v1/files/{file_id}?beta=true", file_id=file_id))
""".replace("NAME", A)

CHANGELOG = f"""# Changelog

## 3.0.0 (2026-05-05)

### Deprecations

* **api:** deprecate old betas

  The API still accepts them. Delete `{B}`. `{A}` selects the older response shape.

## 2.0.0 (2026-03-03)

### Features

* add `{C}` beta
"""


def literal(*names: str) -> dict[str, str]:
    """A release's list, one name a line."""
    return {LIST: MANY_LINES.format(",\n        ".join(f'"{name}"' for name in names))}


def publish(index: Index, version: str, members: Mapping[str, str], on: str, **more: Any) -> None:
    """Put one wheel on the index."""
    name = f"anthropic-{version}-py3-none-any.whl"
    index.add("anthropic", name, wheel({"anthropic/_version.py": "", **members}), on, **more)


def history(index: Index) -> None:
    """Four releases: pinned headers, a one-line list, a long list, and the newest."""
    publish(index, "0.35.0", {"anthropic/resources/files.py": RESOURCE}, "2024-01-05")
    publish(index, "1.0.0", {LIST: ONE_LINE.format(A)}, "2024-06-01")
    publish(index, "2.0.0", literal(A, B), "2025-03-01")
    publish(index, "3.0.0", {**literal(A, C), "anthropic/resources/files.py": RESOURCE},
            "2026-05-05")  # fmt: skip
    index.add("anthropic", "anthropic-3.0.0.tar.gz",
              sdist("anthropic-3.0.0", {"CHANGELOG.md": CHANGELOG}), "2026-05-05")  # fmt: skip


def run(index: Index, http: httpx2.Client, memo: Mapping[str, Any] | None = None) -> Finding:
    """Read the index once."""
    return collect(SdkSource(index.url), http, memo or {}, NOW)


def said(found: Finding, name: str, field: str) -> list[Any]:
    """What the finding says of one field."""
    return [c.value for c in found.claims if (c.beta, c.field) == (name, field)]


def listed(found: Finding, name: str) -> list[tuple[bool, str | None]]:
    """In which releases a name was held, or no longer."""
    return [(c.value, c.version) for c in found.claims if (c.beta, c.field) == (name, "listed")]


@pytest.mark.parametrize("ranges", [True, False])
def test_first_and_last_release_of_each_name(
    index: Index, http: httpx2.Client, ranges: bool
) -> None:
    """Whatever the layout of the list, and where the server refuses ranges too."""
    history(index)
    index.ranges = ranges
    found = run(index, http)
    assert listed(found, A) == [(True, "0.35.0"), (True, "3.0.0")]
    assert listed(found, B) == [(True, "2.0.0"), (False, "3.0.0")]
    assert listed(found, C) == [(True, "3.0.0")]
    assert found.complete
    assert found.cost.bytes_whole == sum(
        len(body) for name, body in index.bodies.items() if name.endswith(".whl")
    )


def test_the_newest_release_says_what_is_sent_where(index: Index, http: httpx2.Client) -> None:
    """Endpoints and read-only list calls from the resource modules; deprecations from the changelog."""
    history(index)
    found = run(index, http)
    assert said(found, A, "endpoints") == [["files"]]
    assert found.memo["list_calls"] == {A: "/v1/files?beta=true"}
    assert said(found, B, "status") == ["deprecated"]
    assert said(found, B, "deprecated_on") == ["2026-05-05"]
    assert said(found, B, "header_effect") == ["ignored"]
    assert said(found, A, "header_effect") == ["changes_response"]
    assert said(found, A, "accepted") == [True]
    assert said(found, C, "status") == []


PARAMS = """
class MessageCreateParamsBase(TypedDict, total=False):
    messages: Required[Iterable[Message]]
    tools: Iterable[ToolUnion]
    display: Optional[Literal["on"MORE_WORDS]]
    config: Config
    MORE_PARAMS
Message: TypeAlias = Union[User, System]
class User(TypedDict, total=False):
    content: Required[Union[str, Iterable[Block]]]
    role: Required[Literal["user"]]
class System(TypedDict, total=False):
    content: str
    MORE_OF_SYSTEM
Block: TypeAlias = Union[Text, Result]
class Text(TypedDict):
    type: Required[Literal["text"]]
class Result(TypedDict):
    type: Required[Literal["result"]]
    content: Iterable[Block]
class Tool(TypedDict):
    type: Optional[Literal["custom"]]
class Bash(TypedDict):
    type: Required[Literal["bash_20250202"]]
class Config(TypedDict):
    kept: str
    MORE_OF_CONFIG
from .tool_union import Union_ as ToolUnion
"""
UNION = """
from .message_create_params import Tool, Bash
from .gamma_tool import Gamma, GammaTwo
Union_: TypeAlias = Union[Tool, Bash, Gamma, GammaTwo]
"""
MORE = {
    "MORE_WORDS": ', "later"',
    "MORE_PARAMS": f"""
    betas: List[str]
    edits: Optional[Edits]
    token: Union[str, Token]
    speed: str
    '''Some models require the `{A}` beta header.'''
    servers: Iterable[Server]
    '''Servers.

    Requires the `{C}` beta
    header.
    '''
""",
    "MORE_OF_SYSTEM": "clear_at: str\n    '''Requires `anthropic-beta: unlisted-2026-01-01`.'''",
    "MORE_OF_CONFIG": "budget: Budget",
}
ONLY_BETA = f"""
class Edits(TypedDict):
    all: Iterable[Union[Alpha, Other]]
class Alpha(TypedDict):
    type: Required[Literal["alpha_20240101"]]
class Other(TypedDict):
    type: Required[Literal["other_20240101"]]
class Token(TypedDict):
    '''Object form. Requires ``anthropic-beta: {C}``; without it a string only.'''
    text: Required[str]
    mode: str
"""
GAMMA = """
class Gamma(TypedDict):
    type: Required[Literal["gamma_tool_20260303"]]
class GammaTwo(TypedDict):
    type: Required[Literal["set_20260303"]]
"""


def params(more: Mapping[str, str]) -> str:
    """Describe a message's parameters, with more at some places."""
    text = PARAMS
    for word in MORE:
        text = text.replace(word, more.get(word, ""))
    return text


PLAIN_TYPES = {
    "anthropic/types/message_create_params.py": params({}),
    "anthropic/types/tool_union.py": UNION,  # `gamma_tool` is not there, so its names lead nowhere
}
BETA_TYPES = {
    "anthropic/types/beta/message_create_params.py": params(MORE) + ONLY_BETA,
    "anthropic/types/beta/tool_union.py": UNION,
    "anthropic/types/beta/gamma_tool.py": GAMMA,
    "anthropic/types/beta/broken.py": "((((",
}


def body(found: Finding) -> dict[tuple[str, str], Any]:
    """What the finding says of bodies."""
    fields = ("body_fields", "tool_types")
    return {(c.beta, c.field): c.value for c in found.claims if c.field in fields}


def test_what_only_the_beta_namespace_has_in_a_body(index: Index, http: httpx2.Client) -> None:
    """Claimed where a description or a type's name and day tell the beta; kept for people where not."""
    publish(index, "3.0.0", {**literal(A, B, C), **PLAIN_TYPES, **BETA_TYPES}, "2026-05-05")
    found = run(index, http)
    assert body(found) == {
        (A, "body_fields"): ["edits.all[type=alpha_20240101]"],
        (C, "body_fields"): ["token.text", "servers"],
        (C, "tool_types"): ["gamma_tool_20260303"],
    }
    assert found.memo["extras"]["beta_only"] == [
        "config.budget", "display=later", "edits", "messages[].clear_at", "speed", "token",
        "tools[type=set_20260303]",
    ]  # fmt: skip
    assert all(is_field(path) for path in found.memo["extras"]["beta_only"])
    (tool,) = [c for c in found.claims if c.field == "tool_types"]
    assert (tool.basis, tool.version, tool.confidence) == ("sdk", "3.0.0", "medium")
    assert tool.at == datetime(2026, 5, 5, 12, tzinfo=UTC)
    assert str(tool.url).endswith("/v3.0.0/src/anthropic/types/beta/gamma_tool.py")
    (stated,) = [c for c in found.claims if (c.beta, c.field) == (C, "body_fields")]
    assert str(stated.quote).startswith("Requires ``anthropic-beta: ")


def test_two_betas_of_one_word_and_day_tell_nothing(index: Index, http: httpx2.Client) -> None:
    """Which of them a type belongs to cannot be told."""
    names = literal(C, "gamma-more-2026-03-03")
    publish(index, "3.0.0", {**names, **PLAIN_TYPES, **BETA_TYPES}, "2026-05-05")
    assert "tools[type=gamma_tool_20260303]" in run(index, http).memo["extras"]["beta_only"]


BETA_PARAMS = "anthropic/types/beta/message_create_params.py"
SILENT: dict[str, dict[str, str]] = {
    "none": {},
    "plain only": PLAIN_TYPES,
    "beta only": BETA_TYPES,
    "no Python": {**PLAIN_TYPES, BETA_PARAMS: "class ("},
    "in circles": {
        **PLAIN_TYPES,
        BETA_PARAMS: "from .a import MessageCreateParamsBase",
        "anthropic/types/beta/a.py": "from .message_create_params import MessageCreateParamsBase",
    },
    "of itself": {
        **PLAIN_TYPES,
        BETA_PARAMS: "A: TypeAlias = Union[A, List[A]]\n"
        "class MessageCreateParamsBase(Base):\n    messages: A\nclass Base(Base):\n    tools: A",
    },
    "the same": {
        **PLAIN_TYPES,
        **{path.replace("types/", "types/beta/"): text for path, text in PLAIN_TYPES.items()},
    },
}


@pytest.mark.parametrize("types", SILENT.values(), ids=SILENT.keys())
def test_types_that_say_nothing(index: Index, http: httpx2.Client, types: dict[str, str]) -> None:
    """Then nothing is claimed, and the rest of the release counts."""
    publish(index, "3.0.0", {**literal(A, B, C), **types}, "2026-05-05")
    found = run(index, http)
    assert body(found) == {}
    assert found.memo["extras"]["beta_only"] == []
    assert listed(found, C) == [(True, "3.0.0")]


def test_types_are_read_once_in_one_request(index: Index, http: httpx2.Client) -> None:
    """Of the newest release only; and where that was read before types were."""
    history(index)
    noise = {f"anthropic/z{n}.py": random.Random(n).randbytes(9000).hex() for n in range(20)}
    publish(index, "4.0.0", {**literal(A, C), **PLAIN_TYPES, **BETA_TYPES, **noise}, "2026-06-06")
    first = run(index, http)
    assert body(first) != {}
    extras = {key: value for key, value in first.memo["extras"].items() if key != "beta_only"}
    older = {**first.memo, "extras": {**extras, "claims": []}, "pending": True}
    index.paths.clear()
    assert body(run(index, http, older)) == body(first)
    assert len([path for path in index.paths if "4.0.0" in path]) == 2  # the end, and the types


def test_times_come_from_uploads_and_not_from_versions(index: Index, http: httpx2.Client) -> None:
    """A maintenance release of an old line, uploaded last, is the last that held the name."""
    history(index)
    publish(index, "1.0.1", literal(B), "2026-09-09")
    found = run(index, http)
    last = [c for c in found.claims if c.beta == B and c.field == "listed" and c.value]
    assert (last[-1].version, last[-1].at) == ("1.0.1", datetime(2026, 9, 9, 12, tzinfo=UTC))
    assert "3.0.0 of 2026-05-05 lists 2" in found.detail


@pytest.mark.parametrize(
    ("version", "more"), [("9.0.0", {"yanked": "broken"}), ("9.0.0rc1", {}), ("9.0.0.dev1", {})]
)
def test_what_is_withdrawn_or_not_final_is_not_the_newest(
    index: Index, http: httpx2.Client, version: str, more: dict[str, Any]
) -> None:
    """But its names were seen."""
    history(index)
    publish(index, version, literal("delta-2026-06-06"), "2026-06-06", **more)
    found = run(index, http)
    assert "3.0.0 of" in found.detail
    assert listed(found, "delta-2026-06-06")[0] == (True, version)


def test_a_second_run_costs_one_request(index: Index, http: httpx2.Client) -> None:
    """The page has not changed, with and without validators."""
    history(index)
    first = run(index, http)
    for conditional in (True, False):
        index.conditional = conditional
        index.paths.clear()
        again = run(index, http, first.memo)
        assert again.unchanged
        assert len(index.paths) == 1


def test_a_later_run_reads_only_what_is_new(index: Index, http: httpx2.Client) -> None:
    """A release never changes, so it is read once."""
    history(index)
    first = run(index, http)
    publish(index, "3.1.0", literal(A, C, "delta-2026-06-06"), "2026-06-06")
    index.paths.clear()
    found = run(index, http, first.memo)
    assert listed(found, "delta-2026-06-06") == [(True, "3.1.0")]
    assert listed(found, B) == [(True, "2.0.0"), (False, "3.0.0")]
    assert {path.split("/")[-1] for path in index.paths if "files" in path} == {
        "anthropic-3.1.0-py3-none-any.whl"
    }


def test_an_index_without_json_is_read_too(index: Index, http: httpx2.Client) -> None:
    """Old mirrors speak HTML and tell neither size nor upload time."""
    history(index)
    index.html = True
    found = run(index, http)
    assert listed(found, C) == [(True, "3.0.0")]


def bomb() -> bytes:
    """A wheel whose list claims to be small and is not."""
    body = bytearray(wheel({LIST: '"' + "a" * 9_000_000 + '"'}))
    return bytes(body)


BAD = {
    "no zip": b"this is no zip",
    "empty": b"",
    "cut short": wheel(literal(A))[:-30],
    "no Python": wheel({LIST: "Literal[["}),
    "too large": bomb(),
    "nested": wheel({LIST: "(" * 5000}),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_a_wheel_that_cannot_be_read_is_told_and_tried_again(
    index: Index, http: httpx2.Client, body: bytes
) -> None:
    """The others count; the next run reads it again."""
    history(index)
    name = "anthropic-2.5.0-py3-none-any.whl"
    index.add("anthropic", name, body, "2025-12-01")
    found = run(index, http)
    assert listed(found, A)[0] == (True, "0.35.0")
    assert "1 could not be read" in found.detail
    index.bodies[name] = wheel(literal(A, "delta-2026-06-06"))
    index.files["anthropic"][name]["size"] = len(index.bodies[name])
    again = run(index, http, found.memo)
    assert listed(again, "delta-2026-06-06")[0] == (True, "2.5.0")


def test_a_wheel_that_lies_about_its_size(index: Index, http: httpx2.Client) -> None:
    """Smaller or larger than it says: it is told, nothing hangs, the rest counts."""
    history(index)
    for version, size in (("2.5.0", 10), ("2.6.0", 10_000_000)):
        publish(index, version, literal(A), "2025-12-01", size=size)
    assert listed(run(index, http), C) == [(True, "3.0.0")]


def test_a_list_that_is_gone_changes_nothing(index: Index, http: httpx2.Client) -> None:
    """The newest release without a `Literal` is a failure, not the end of all betas."""
    history(index)
    publish(index, "4.0.0", {LIST: "AnthropicBetaParam = str"}, "2026-08-08")
    with pytest.raises(SourceError, match=r"4\.0\.0 holds no list of beta names"):
        run(index, http)


def test_an_index_that_is_none(index: Index, http: httpx2.Client) -> None:
    """Each failure names the place and what to check."""
    with pytest.raises(SourceError, match="answered 404"):
        run(index, http)
    index.files["anthropic"] = {}
    with pytest.raises(SourceError, match="lists no release of anthropic; check the index URL"):
        run(index, http)
    with pytest.raises(SourceError, match="Cannot reach"):
        collect(SdkSource("http://127.0.0.1:9/simple"), http, {}, NOW)


def test_a_password_in_the_index_url_is_never_shown(index: Index, http: httpx2.Client) -> None:
    """Private indexes are often configured so."""
    secret = index.url.replace("http://", "http://user:s3cret@")
    with pytest.raises(SourceError) as caught:
        collect(SdkSource(secret), http, {}, NOW)
    assert "s3cret" not in str(caught.value)


def test_progress_is_told(index: Index, http: httpx2.Client) -> None:
    """Done of total, ending at the total."""
    history(index)
    steps: list[tuple[int, int]] = []
    collect(SdkSource(index.url), http, {}, NOW, lambda done, total: steps.append((done, total)))
    assert (steps[0], steps[-1]) == ((0, 4), (4, 4))


def test_the_archive_is_a_real_zip() -> None:
    """The helper builds what it says."""
    import io

    assert zipfile.ZipFile(io.BytesIO(wheel(literal(A)))).namelist() == [LIST]
