"""Logs into the inventory: on both databases, and by the command line as its users run it."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from registry import auth, catalog, imports, inventory
from registry.config import now
from registry.core.batches import Mark
from registry.core.errors import Conflict, Invalid
from registry.core.judgement import Judges
from registry.db import Database
from tests.factories import NOW
from tests.test_cli import filled, run

__all__ = ["filled"]

A, GONE = "mcp-client-2025-11-20", "computer-use-2024-10-22"
FILE, ONE, TWO = "f" * 64, "1" * 64, "2" * 64


def report(service: str = "shop", count: int = 3, **more: Any) -> inventory.Report:
    """One report of a gateway."""
    item = inventory.Item(beta=A, count=count)
    return inventory.Report(**{"service": service, "source": "gateway", "items": (item,), **more})


def record(database: Database, number: int, digest: str, *reports: inventory.Report) -> Any:
    """Record one batch."""
    with database.write() as session:
        return imports.record(
            session, file=FILE, number=number, mark=Mark(10, digest), checks=b"ab", requests=3,
            reports=reports, now=NOW,
        )  # fmt: skip


def counted(database: Database) -> int:
    """Requests in the inventory."""
    with database.read() as session:
        judges = Judges(catalog.snapshot(session), NOW.date())
        return sum(item.count_24h for item in inventory.affected(session, [A], judges, NOW)[A])


def test_a_batch_is_recorded_with_its_mark_or_not_at_all(database: Database) -> None:
    """One bad report, and neither usage nor mark is kept."""
    bad = report(service="x" * 200)
    with pytest.raises(Invalid):
        record(database, 0, ONE, report(), bad)
    with database.read() as session:
        assert imports.marks(session, FILE) == []
    assert counted(database) == 0
    done = record(database, 0, ONE, report(), report("api"))
    assert (done.reports, done.items, done.not_kept_count) == (2, 2, 0)
    with database.read() as session:
        assert imports.marks(session, FILE) == [Mark(10, ONE)]
        assert imports.checks(session, FILE, 9) == [b"ab"]
        assert imports.checks(session, FILE, 10) == []
    assert counted(database) == 6


def test_only_one_of_two_importers_goes_on(database: Database) -> None:
    """Both read the marks and found none; the second must read them again."""
    record(database, 0, ONE, report())
    with pytest.raises(Conflict, match="import it again"):
        record(database, 0, TWO, report())
    record(database, 1, TWO, report())
    assert counted(database) == 6


def test_of_many_at_once_one_succeeds(database: Database) -> None:
    """Threads that race for the same mark, over several services in any order."""

    def attempt(number: int) -> bool:
        services = [report("a"), report("b"), report("c")]
        try:
            record(database, 0, f"{number:064x}", *(services if number % 2 else services[::-1]))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(6))) == 1
    assert counted(database) == 9


def test_marks_go_with_the_usage_they_stand_for(database: Database) -> None:
    """After 400 days neither is kept."""
    record(database, 0, ONE, report())
    for days, left in ((399, 1), (401, 0)):
        with database.write() as session:
            imports.prune(session, NOW + timedelta(days=days))
            assert len(imports.marks(session, FILE)) == left


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"file": "F" * 64}, "SHA-256"),
        ({"mark": Mark(1, "x")}, "SHA-256"),
        ({"number": -1}, "marks"),
        ({"reports": [report(source="client")]}, "gateway"),
    ],
)
def test_bad_batches_are_refused(database: Database, bad: dict[str, Any], word: str) -> None:
    """With one sentence."""
    given = {"file": FILE, "number": 0, "mark": Mark(1, ONE), "reports": [report()]}
    with database.write() as session, pytest.raises(Invalid, match=word):
        imports.record(session, checks=b"", requests=1, now=NOW, **{**given, **bad})


# --- The command line -----------------------------------------------------------------------------


def log(path: Path, size: int, *, more: str = "") -> Path:
    """A log of so many requests of three services, in the last day."""
    rows = [
        {
            "service": f"svc-{n % 3}", "time": (now() - timedelta(minutes=n % 600)).isoformat(),
            "status": 200, "headers": {"Anthropic-Beta": A if n % 2 else f"{A}, {GONE}"},
        }
        for n in range(size)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + more)
    return path


def usage(url: str, *arguments: str, **more: Any) -> Any:
    """Import into a database; gives what is printed as JSON."""
    done = run("usage", "import", "--json", "--database-url", url, *arguments, **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_log_is_imported_once(filled: str, tmp_path: Path) -> None:
    """Again, packed, through a pipe, and grown; what is skipped is told by line and reason."""
    path = log(tmp_path / "access.jsonl", 300, more='{"broken\n')
    first = usage(filled, str(path))
    assert (first["format"], first["lines"], first["requests"], first["batches"]) == (
        "jsonl", 301, 300, 1,
    )  # fmt: skip
    assert first["betas"] == [GONE, A]
    assert first["skipped"]["reasons"] == {"no JSON": 1}
    assert first["skipped"]["shown"][0]["line"] == 301
    packed = tmp_path / "access.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert usage(filled, str(packed))["requests"] == 0
    with path.open("a") as file:
        file.write(json.dumps({"service": "svc-0", "beta": A}) + "\n")
    grown = usage(filled, "-", text=path.read_text())
    assert (grown["requests"], grown["known"]) == (1, 300)
    shown = run("report", "--database-url", filled, "--json")
    assert json.loads(shown.stdout)["requests"]["total"] == 301


def test_a_cut_file_counts_and_ends_with_one(filled: str, tmp_path: Path) -> None:
    """What stands before the cut is in; the whole adds the rest."""
    path = log(tmp_path / "access.jsonl", 2000)
    cut = tmp_path / "cut.gz"
    whole = gzip.compress(path.read_bytes())
    cut.write_bytes(whole[: len(whole) // 2])
    done = run("usage", "import", "--database-url", filled, str(cut))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: The gzip file is cut off; what stands before the cut was read."
    )
    assert "counted" in done.stdout
    rest = usage(filled, str(path))
    assert rest["requests"] + rest["known"] == 2000
    assert 0 < rest["known"] < 2000


def test_wrong_input_is_one_sentence(tmp_path: Path) -> None:
    """And nothing is made or counted."""
    (tmp_path / "envoy.log").write_text('[2026-11-23T12:00:00.000Z] "POST / HTTP/2" 200\n')
    (tmp_path / "list").write_text(f"{A}\n")
    (tmp_path / "rows.csv").write_text(f"ts,req.headers.anthropic-beta,code\n2026-11-23,{A},200\n")
    for arguments, word in (
        (["nothing.jsonl"], "No such file"),
        (["envoy.log"], "%REQ(ANTHROPIC-BETA)%"),
        (["list"], "--service NAME"),
        (["list", "--map", "beta"], "FIELD=PATH"),
        (["list", "--map", "colour=x"], "is not a field"),
        (["list", "--at", "soon"], "is no time"),
        (["rows.csv", "--map", "beta=header"], "there are ts, req.headers.anthropic-beta, code"),
        (["rows.csv", "--service", "search"], "--map beta=COLUMN"),
        (["list", "--service", "s", "--format", "list", "--map", "at=ts"], "no fields to map"),
    ):
        done = run("usage", "import", "--dry-run", *arguments)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert done.stderr.count("\n") == 1
        assert word in done.stderr


def test_a_log_that_names_no_beta_says_how_to_get_one(tmp_path: Path) -> None:
    """LiteLLM logs headers only when it is told to."""
    row = {"custom_llm_provider": "anthropic", "startTime": 1.0, "request_tags": []}
    Path("spend.jsonl").write_text(json.dumps(row) + "\n")
    done = run("usage", "import", "--dry-run", "spend.jsonl")
    assert done.returncode == 0
    assert "extra_spend_tag_headers" in done.stderr


def test_import_into_a_registry(filled: str, tmp_path: Path, serve: Any) -> None:
    """Over HTTP, with a token of scope report; without one it is refused before anything is read."""
    database = Database(filled)
    with database.write() as session:
        _, secret = auth.create(session, "gateway", "report", now())
    database.close()
    url = str(serve(database_url=filled).base_url)
    path = log(tmp_path / "access.jsonl", 5200)
    env = {"BETA_REGISTRY_URL": url}
    refused = run("usage", "import", str(path), env=env)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "token is needed" in refused.stderr
    env["BETA_REGISTRY_TOKEN"] = secret
    for requests, known in ((5200, 0), (0, 5200)):
        done = run("usage", "import", "--json", str(path), env=env)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["requests"], told["known"]) == (requests, known)
