"""The SDK's history, against an index that behaves and misbehaves as real ones do."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

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
