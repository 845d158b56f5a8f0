"""`beta-registry changelog` as its users run it: tables, documents, and following what comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import feedparser  # type: ignore[import-untyped]
import httpx2
import pytest
from icalendar import Calendar

from registry import catalog
from registry.core.facts import Event
from registry.db import Database
from tests.factories import NOW, claim, finding

COMMAND = [sys.executable, "-m", "registry.cli", "changelog"]
X, Y = "thing-2026-01-01", "thing-2026-05-05"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def filled(sqlite_url: str) -> str:
    """A local database with a dying beta and its successor; gives its URL."""
    made = [
        claim(X, "status", "deprecated"), claim(X, "sunset_on", "2030-01-01"),
        claim(X, "superseded_by", Y), claim(Y, "status", "active"),
    ]  # fmt: skip
    database = Database(sqlite_url)
    with database.write() as session:
        catalog.apply(session, finding("docs", *made), NOW, NOW)
    database.close()
    return sqlite_url


def run(*arguments: str) -> Any:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(params=["local", "remote"])
def where(request: pytest.FixtureRequest, filled: str, serve: Callable[..., httpx2.Client]) -> Any:
    """The options that name the registry: the local database, or a service over it."""
    if request.param == "local":
        return ["--database-url", filled]
    return ["--url", str(serve(database_url=filled).base_url)]


@pytest.fixture
def follow(where: list[str]) -> Iterator[Start]:
    """Start to follow, and interrupt at the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, "--follow", *arguments, *where], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_the_table_tells_in_words(where: list[str]) -> None:
    """A title each, not the bare reason."""
    found = run(*where)
    assert found.returncode == 0, found.stderr
    assert f"`{X}` is new, with status deprecated." in found.stdout


def test_documents(where: list[str]) -> None:
    """Each form is what its readers take."""
    assert "## November 2026" in run("--format", "md", *where).stdout
    read = feedparser.parse(run("--format", "atom", "--beta", Y, *where).stdout)
    assert not read.bozo
    assert [Y in entry.title for entry in read.entries] == [True]
    assert (
        len(json.loads(run("--format", "json-feed", "--limit", "1", *where).stdout)["items"]) == 1
    )
    found = Calendar.from_ical(run("--format", "ics", *where).stdout)
    assert [str(event["summary"]) for event in found.walk("VEVENT")] == [f"{X} ends: use {Y}"]


def test_following_prints_what_comes(filled: str, follow: Start) -> None:
    """From an id on, then what is recorded; an interrupt is a good end."""
    process = follow("--since", "0", "--json")
    assert process.stdout
    assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == [1, 2]
    database = Database(filled)
    with database.write() as session:
        writer = catalog.Writer(session, NOW)
        writer.record(Event(type="source.failed", at=NOW, reason="Away.", source="docs"))
        writer.finish()
    database.close()
    assert json.loads(process.stdout.readline())["type"] == "source.failed"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    assert process.stderr
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--since", "soon"], "is no time"),
        (["--type", "beta.born"], "type of event"),
        (["--format", "rss"], "rss"),
        (["--follow", "--format", "md"], "leave --format out"),
        (["--format", "md", "--platform", "azure"], "platform"),
        (["--follow", "--since", "soon"], "is no time"),
    ],
)
def test_bad_words_get_one_sentence(where: list[str], arguments: list[str], sentence: str) -> None:
    """On stderr, and the exit code is 1."""
    found = run(*arguments, *where)
    assert found.returncode == 1
    assert found.stdout == ""
    assert sentence in found.stderr
    assert found.stderr.count("\n") == 1


def test_without_a_registry_there_is_no_changelog() -> None:
    """The bundled catalog has no events, in any form."""
    for arguments in ([], ["--format", "ics"], ["--follow"]):
        found = run(*arguments)
        assert (found.returncode, found.stderr.count("\n")) == (1, 1)
    gone = run("--format", "md", "--url", "http://127.0.0.1:9")
    assert "Cannot reach" in gone.stderr
