"""The client against the real service: fresh, stale, from the disk, from the package; never in the way."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from registry import auth, catalog
from registry.client import Invalid, Registry, RegistryError, reporting
from registry.client.snapshot import DAY, Held
from registry.core.changes import snapshot_of
from registry.core.places import Place
from registry.core.resolution import Resolver
from registry.db import Database
from registry.simulator import running
from tests.factories import NOW, claim, finding
from tests.stub import Usages
from tests.waiting import until

LIVE, NEXT, GONE = "thing-2026-01-01", "thing-2026-09-09", "gone-2024-12-01"
DYING, DONE = "dying-2025-06-01", "done-2025-01-01"
TWINS = ("twin-2026-02-02", "twin-2026-03-03")
KNOWN = "mcp-client-2025-11-20"
ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Told(logging.Handler):
    """Keeps what the client logs; the service under test sets up logging of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def count(self, text: str) -> int:
        """Return how many lines hold a text."""
        return sum(text in line for line in self.lines)


@pytest.fixture
def told() -> Iterator[Told]:
    """What the client logs, from level INFO on."""
    handler, logger = Told(), logging.getLogger("registry.client")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def said(name: str, **fields: Any) -> list[Any]:
    """Claims of the documentation about one beta."""
    on = fields.pop("on", "2026-01-01")
    return [claim(name, key, value, source="docs", on=on) for key, value in fields.items()]


@dataclass
class Wire(httpx2.BaseTransport):
    """A real connection that can be cut, and that notes what passes."""

    down: bool = False
    tries: int = 0
    seen: list[tuple[str, int, str | None]] = field(default_factory=list)
    inner: httpx2.HTTPTransport = field(default_factory=httpx2.HTTPTransport)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.tries += 1
        if self.down:
            raise httpx2.ConnectError("the line is cut", request=request)
        answer = self.inner.handle_request(request)
        told = request.headers.get("if-none-match")
        self.seen.append((request.url.path, answer.status_code, told))
        return answer

    def close(self) -> None:
        self.inner.close()


@dataclass
class Stage:
    """A running service, and how to ask it."""

    url: str
    database: Database
    folder: Path
    made: list[Registry | httpx2.Client] = field(default_factory=list)

    def ask(self, wire: Wire | None = None, **more: Any) -> Registry:
        """Make a client; its line can be cut if a wire is given."""
        http = httpx2.Client(transport=wire, timeout=5) if wire else None
        given = {"refresh": 0.05, "cache": self.folder, "http": http, **more}
        found = Registry(
            more.pop("url", self.url), **{k: v for k, v in given.items() if k != "url"}
        )
        self.made += [found, *([http] if http else [])]
        return found

    def say(self, *claims: Any) -> None:
        """Let the documentation say more."""
        with self.database.write() as session:
            catalog.apply(session, finding("docs", *claims), NOW, NOW)


@pytest.fixture
def begin(
    database: Database, serve: Callable[..., httpx2.Client], tmp_path: Path
) -> Iterator[Callable[..., Stage]]:
    """Start the service with a few betas."""
    stages: list[Stage] = []

    def start(**settings: Any) -> Stage:
        http = serve(database_url=database.url.render_as_string(hide_password=False), **settings)
        stage = Stage(str(http.base_url).rstrip("/"), database, tmp_path / "cache")
        stages.append(stage)
        return stage

    stage = Stage("", database, tmp_path)
    stage.say(
        *said(LIVE, status="active", gate="public", **{"platforms.anthropic.state": "supported"}),
        *said(DYING, status="deprecated", gate="public", sunset_on="2027-02-01"),
        *said(DONE, status="ga", header_effect="ignored"),
        *said(GONE, status="retired", accepted=False, retired_on="2025-09-01"),
        *said(TWINS[0], status="active"),
        *said(TWINS[1], status="active"),
    )
    yield start
    for stage in stages:
        for made in stage.made:
            made.close()


def test_facts_of_yesterday_drop_what_has_passed_its_sunset(begin: Callable[..., Stage]) -> None:
    """Fresh facts decide by themselves; facts older than a day do not outlive an announced end."""
    day = datetime(2027, 2, 2, 12, tzinfo=UTC).timestamp()
    at = [day]
    stage, wire = begin(), Wire()
    client = stage.ask(wire, refresh=0.05, clock=lambda: at[0])
    assert client.wait()

    def sent() -> str:
        return client.header(DYING, policy="filter").value

    assert sent() == DYING
    wire.down = True
    at[0] = day + 23 * 3600
    assert sent() == DYING
    at[0] = day + 25 * 3600
    assert sent() == ""
    assert client.header(DYING, policy="filter").dropped[0].reason == "retired"
    wire.down = False
    until(lambda: sent() == DYING)


def test_the_bundled_catalog_is_as_old_as_its_day() -> None:
    """Where nothing else is at hand, its own day counts, not that of the installation."""
    name = "thing-2026-01-01"
    claims = [*said(name, status="deprecated", sunset_on="2026-12-01")]
    known = snapshot_of(tuple(claims), NOW, NOW)
    for hours, stale in ((23, False), (25, True)):
        moment = NOW.timestamp() + hours * 3600
        held = Held(
            resolver=Resolver(known), origin="bundled", confirmed_at=known.as_of.timestamp(),
            clock=partial(float, moment), keep=60.0,
        )  # fmt: skip
        held.begin()
        assert (held.age > DAY) is stale


def test_places_travel_whole(begin: Callable[..., Stage]) -> None:
    """Hosting, region and what to do with what is unproven or restricted; words that are none are told."""
    client = begin().ask()
    assert client.wait()
    assert client.header(LIVE, platform="foundry", hosting="azure", region="eastus").value == LIVE
    assert client.header(LIVE, platform="foundry", on_unproven="drop").omit
    assert client.header(LIVE, platform="vertex", hosting="azure").problem
    with pytest.raises(Invalid):
        client.header(LIVE, platform="foundry", on_unproven="error", policy="strict")


def test_answers_are_the_services_own(begin: Callable[..., Stage]) -> None:
    """The snapshot is fetched once; the local answer is the answer of `GET /v1/header`."""
    stage, wire = begin(), Wire()
    client = stage.ask(wire, refresh="1h")
    assert client.wait(60)
    found = client.header("thing", DYING, GONE, policy="filter")
    query = f"beta={DYING}&beta={GONE}&feature=thing&policy=filter"
    theirs = httpx2.get(f"{stage.url}/v1/header?{query}").json()
    assert sorted(found.names) == sorted(theirs["value"].split(","))
    ours = found.to_json()
    assert {item["name"]: item for item in ours["betas"]} == {b["name"]: b for b in theirs["betas"]}
    assert (ours["dropped"], ours["revision"]) == (theirs["dropped"], theirs["revision"])
    assert (found.origin, found.stale, found.age < 60) == ("registry", False, True)
    assert found.headers == {"anthropic-beta": f"{LIVE},{DYING}"}
    for _ in range(100):
        client.header("thing")
    assert [path for path, _, _ in wire.seen] == ["/v1/snapshot"]


def test_facts_are_kept_fresh_with_etags(begin: Callable[..., Stage]) -> None:
    """An unchanged snapshot costs a 304; a changed one is in the very next answer, memo or not."""
    stage, wire = begin(), Wire()
    client = stage.ask(wire)
    assert client.wait(60)
    assert client.header("thing").value == LIVE
    until(lambda: [status for _, status, _ in wire.seen].count(304) >= 2)
    assert wire.seen[-1][2]
    stage.say(*said(LIVE, status="retired", accepted=False, on="2026-11-01"))
    until(lambda: client.header("thing").betas[0].status == "retired")
    assert [item.reason for item in client.header(LIVE, policy="filter").dropped] == ["retired"]


def test_the_registry_goes_down_and_comes_back(begin: Callable[..., Stage], told: Told) -> None:
    """Answers go on, at once and with one line in the log; they say that they are stale."""
    now = [NOW.timestamp()]
    stage, wire = begin(), Wire()
    client = stage.ask(wire, clock=lambda: now[0])
    assert client.wait(60)
    wire.down = True
    until(lambda: told.count("gives no facts"))
    now[0] += 3600
    found = client.header("thing")
    assert (found.value, found.origin, found.stale, found.age >= 3600) == (
        LIVE, "registry", True, True,
    )  # fmt: skip
    tries = wire.tries
    until(lambda: wire.tries >= tries + 3)
    assert told.count("gives no facts") == 1
    wire.down = False
    until(lambda: not client.header("thing").stale)
    assert told.count("gives facts again") == 1


@ONE_DATABASE
def test_the_disk_keeps_facts_for_the_next_run(begin: Callable[..., Stage]) -> None:
    """A program that starts while the registry is away answers from the last run's facts."""
    stage, wire = begin(), Wire()
    with stage.ask(wire) as first:
        assert first.wait(60)
    [kept] = stage.folder.iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    cut = Wire(down=True)
    second = stage.ask(cut)
    found = second.header("thing")
    assert (found.value, found.origin, found.stale) == (LIVE, "cache", True)
    cut.down = False
    until(lambda: second.header("thing").origin == "registry")
    # Nothing had changed, so nothing was sent again.
    assert cut.seen[0][1:] == (304, wire.seen[-1][2] or cut.seen[0][2])


@ONE_DATABASE
@pytest.mark.parametrize(
    "rubbish",
    [
        b"", b"{", b"[]", b"null", b'{"format":"beta-registry/client-cache-1"}', b"\xff\xfe",
        b'{"format":"beta-registry/client-cache-1","url":"U","etag":null,"snapshot":{"betas":1}}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_corrupt_file_is_ignored(rubbish: bytes, begin: Callable[..., Stage]) -> None:
    """Whatever stands in the cache, there is an answer, and the next fetch replaces it."""
    stage = begin()
    with stage.ask() as first:
        assert first.wait(60)
    [kept] = stage.folder.iterdir()
    kept.write_bytes(rubbish.replace(b'"U"', json.dumps(stage.url).encode()))
    wire = Wire(down=True)
    second = stage.ask(wire)
    assert second.header("mcp-client").origin == "bundled"
    wire.down = False
    assert second.wait(60)
    assert second.header("thing").value == LIVE
    assert json.loads(kept.read_bytes())["url"] == stage.url


def test_without_a_registry_the_bundled_catalog_answers(tmp_path: Path, told: Told) -> None:
    """A registry that was never reached is no reason to wait, nor to fail."""
    with Registry("http://127.0.0.1:9", cache=tmp_path) as client:
        found = client.header("mcp-client")
        assert (found.value, found.origin, found.stale) == (KNOWN, "bundled", True)
        assert not client.wait(0.3)
    assert told.count("gives no facts") == 1
    assert list(tmp_path.iterdir()) == []
    assert Registry().header("mcp-client").value == KNOWN


@ONE_DATABASE
def test_a_folder_that_cannot_be_written_harms_nobody(
    begin: Callable[..., Stage], tmp_path: Path
) -> None:
    """Keeping facts is a courtesy."""
    (tmp_path / "file").write_text("")
    client = begin().ask(cache=tmp_path / "file" / "below")
    assert client.wait(60)
    assert client.header("thing").value == LIVE


@ONE_DATABASE
def test_a_report_token_is_enough(begin: Callable[..., Stage]) -> None:
    """Also where reading is closed; a token that reads feeds alone helps only where it is open."""
    stage = begin()
    with stage.database.write() as session:
        tokens = {scope: auth.create(session, scope, scope, NOW)[1] for scope in ("report", "feed")}
    learned = {"Authorization": f"Bearer {tokens['feed']}"}
    until(
        lambda: (
            httpx2.get(f"{stage.url}/v1/export/catalog.json", headers=learned).status_code == 200
        )
    )
    assert stage.ask(token=tokens["report"], cache=False).wait(60)
    assert stage.ask(token=tokens["feed"], cache=False).wait(60)
    closed = begin(public_read=False)
    assert closed.ask(token=tokens["report"], cache=False).wait(60)
    assert not closed.ask(token=tokens["feed"], cache=False).wait(0.5)


@pytest.mark.parametrize(
    "answer",
    [
        (200, "<html>Sign in</html>"), (200, "[]"), (200, '{"betas":[{}]}'), (500, ""), (404, "{}"),
        (302, ""), (200, "[" * 100_000),
        (200, '{"revision":0,"as_of":"2026-01-01T00:00:00Z","betas":[],"targets":{}}'),
    ],
)  # fmt: skip
def test_something_else_at_the_url(answer: tuple[int, str]) -> None:
    """A portal, another program, another version: never a fact, never an exception."""
    status, text = answer
    wire = httpx2.MockTransport(lambda _: httpx2.Response(status, text=text))
    with Registry("http://registry", http=httpx2.Client(transport=wire), cache=False) as client:
        assert not client.wait(0.3)
        assert client.header("mcp-client").origin == "bundled"


def test_a_line_that_cannot_work_is_told(told: Told) -> None:
    """A token that no header can carry, a client that was closed: one line, and answers."""
    closed = httpx2.Client()
    closed.close()
    for more in ({"token": "é"}, {"http": closed}):
        with Registry("http://127.0.0.1:9", cache=False, service="s", **more) as client:
            assert client.header("mcp-client").value == KNOWN
            until(lambda: told.count("gives no facts"))
        assert told.count("cannot be reported") == 1
        told.lines.clear()


# --- Names and policies ---------------------------------------------------------------------------


@ONE_DATABASE
def test_policies(begin: Callable[..., Stage]) -> None:
    """`advise` removes nothing and warns, `filter` drops, `strict` raises with the way out."""
    client = begin().ask()
    assert client.wait(60)
    asked = (LIVE, GONE, "mine-2026-05-05")
    advised = client.header(*asked)
    assert advised.names == asked
    assert [[w.code for w in beta.warnings][:1] for beta in advised.betas] == [
        [], ["retired"], ["unknown"],
    ]  # fmt: skip
    assert client.header(*asked, policy="filter").names == (LIVE, "mine-2026-05-05")
    with pytest.raises(Invalid) as refused:
        client.header(*asked, policy="strict")
    assert isinstance(refused.value, RegistryError)
    assert refused.value.extra["would_send"]["value"] == f"{LIVE},mine-2026-05-05"
    nothing = client.header(GONE, policy="filter")
    assert (nothing.value, nothing.omit, nothing.headers, nothing.body) == ("", True, {}, None)
    assert client.header().omit
    assert client.header(f"{LIVE}, {GONE}").names == (LIVE, GONE)


@ONE_DATABASE
@pytest.mark.parametrize("policy", ["advise", "filter"])
@pytest.mark.parametrize(
    ("names", "more", "value"),
    [
        ((LIVE,), {"platform": "azure"}, LIVE),
        ((LIVE, "thing"), {"platform": "vertex", "api": "mantle"}, LIVE),
        ((LIVE,), {"target": "nowhere"}, LIVE),
        ((LIVE,), {"on_unknown": "perhaps"}, LIVE),
        ((LIVE, "twin"), {}, LIVE),
        ((LIVE, "thinx"), {}, LIVE),
        ((LIVE, "a b", "é", "", "x" * 1000), {}, LIVE),
        ((LIVE,), {"model": ["no", "text"]}, LIVE),
        ((LIVE, 7, None), {}, LIVE),
        (tuple(f"n{i}-2026-01-01" for i in range(600)), {}, None),
    ],
)
def test_nothing_raises_but_strict(
    names: Any, more: Any, value: str | None, policy: str, begin: Callable[..., Stage]
) -> None:
    """Wrong words and names: what can be sent is sent, and it is told why not the rest."""
    client = begin().ask(policy=policy)
    assert client.wait(60)
    found = client.header(*names, **more)
    assert value is None or found.value == value
    assert found.problem or found.dropped or found.betas[0].warnings or found.value == LIVE


@ONE_DATABASE
def test_each_thing_is_told_once(begin: Callable[..., Stage], told: Told) -> None:
    """A warning a name, not one a request."""
    client = begin().ask()
    assert client.wait(60)
    for _ in range(3):
        client.header(GONE, LIVE)
        client.header(LIVE, GONE)
    assert told.count(GONE + " is sent (retired") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"url": "registry.example.com"}, "write https://HOST"),
        ({"url": "ftp://x"}, "write https://HOST"),
        ({"policy": "lenient"}, "use one of strict"),
        ({"refresh": "soon"}, "write a time"),
        ({"flush": 0}, "write a time"),
    ],
)
def test_arguments_that_can_never_work(arguments: Any, says: str) -> None:
    """These are told when the program starts, in one sentence."""
    with pytest.raises(Invalid, match=says):
        Registry(**arguments)


# --- Threads, forks, loops ------------------------------------------------------------------------


def test_threads_share_it(begin: Callable[..., Stage]) -> None:
    """Answers are whole while facts change under them."""
    stage = begin()
    client = stage.ask(refresh=0.01)
    assert client.wait(60)
    wrong: list[str] = []

    def ask() -> None:
        for number in range(300):
            value = client.header("thing", f"mine{number % 7}-2026-01-01").value
            if not value.startswith("thing-"):
                wrong.append(value)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    stage.say(*said(NEXT, status="active", current=True))
    for thread in threads:
        thread.join()
    assert wrong == []
    until(lambda: client.header("thing").value == NEXT)


FORKING = """
import os, sys, time
from registry.client import Registry
client = Registry(sys.argv[1], service="forking", cache=False, refresh=0.05, flush=0.05)
assert client.wait(60)
client.header("thing")
child = os.fork()
if child == 0:
    client._store.fetched.clear()
    found = client.header("thing")
    ok = client.wait(60) and found.value.startswith("thing-")
    client.close()
    os._exit(0 if ok else 1)
status = os.waitpid(child, 0)[1]
client.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@ONE_DATABASE
def test_a_forked_child_starts_anew(begin: Callable[..., Stage]) -> None:
    """The thread does not survive a fork; the child starts one of its own at its first question."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, begin().url],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@ONE_DATABASE
def test_it_serves_asynchronous_programs(begin: Callable[..., Stage]) -> None:
    """Asking is CPU only; closing waits aside."""
    stage = begin()

    async def program() -> str:
        async with stage.ask() as client:
            await asyncio.to_thread(client.wait)
            return client.header("thing").value

    assert asyncio.run(program()) == LIVE


def test_it_needs_no_server_packages() -> None:
    """Importing and asking work where only httpx2 is installed."""
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('sqlalchemy', 'fastapi', 'pydantic', 'pydantic_settings',"
        " 'alembic', 'uvicorn', 'apscheduler', 'starlette', 'click', 'rich', 'anthropic'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import registry.client\n"
        "client = registry.client.Registry(cache=False)\n"
        "registry.client.middleware(client), registry.client.transport(client)\n"
        "print(client.header('mcp-client').value)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == f"{KNOWN}\n", done.stderr


def test_registries_that_are_forgotten_leave_no_thread(tmp_path: Path) -> None:
    """Nobody has to call close."""
    before = threading.active_count()
    for _ in range(5):
        Registry("http://127.0.0.1:9", cache=tmp_path)
    until(lambda: threading.active_count() <= before)


def test_the_users_cache_folder(tmp_path: Path) -> None:
    """XDG's variable names it, where it is absolute."""
    code = "from registry.client.snapshot import cache_folder; print(cache_folder())"

    def folder(**env: str) -> str:
        run = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **env}, text=True,
            capture_output=True, check=True,
        )  # fmt: skip
        return run.stdout.strip()

    assert folder(XDG_CACHE_HOME=str(tmp_path)) == f"{tmp_path}/beta-registry"
    assert folder(XDG_CACHE_HOME="x", HOME=str(tmp_path)) == f"{tmp_path}/.cache/beta-registry"


# --- Usage ----------------------------------------------------------------------------------------


@pytest.fixture
def usages() -> Iterator[Usages]:
    """What takes usage reports."""
    app = Usages()
    with running(app) as url:
        app.url = url
        yield app


def reporting_client(usages: Usages, **more: Any) -> Registry:
    """A client that reports as `checkout`."""
    given = {"service": "checkout", "environment": "staging", "cache": False, "token": "t"}
    return Registry(usages.url, **{**given, **more})


def test_usage_is_reported_in_batches(usages: Usages) -> None:
    """Counted by beta, platform and model; sent when it is closed at the latest."""
    client = reporting_client(usages)
    for _ in range(3):
        client.header("mcp-client", GONE)
    client.header(KNOWN, platform="vertex", model="claude-x")
    client.close()
    assert {item["authorization"] for item in usages.headers} == {"Bearer t"}
    assert len({item["idempotency-key"] for item in usages.headers}) == len(usages.reports) == 2
    here, there = sorted(usages.reports, key=lambda report: str(report["platform"]))
    assert {k: here[k] for k in ("service", "environment", "instance", "source", "platform")} == {
        "service": "checkout", "environment": "staging", "instance": None, "source": "client",
        "platform": "anthropic",
    }  # fmt: skip
    assert here["items"] == [
        {"beta": name, "count": 3, "accepted": None, "refused": None,
         **Place(endpoint="messages").details}
        for name in (KNOWN, GONE)
    ]  # fmt: skip
    assert here["window"]["start"] <= here["window"]["stop"]
    assert (there["platform"], there["items"][0]["model"]) == ("vertex", "claude-x")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"platform": "bedrock"}, Place(platform="bedrock", api="invoke")),
        ({"platform": "bedrock", "api": "mantle", "region": "eu-west-1", "model": "m"},
         Place(platform="bedrock", api="mantle", region="eu-west-1", model="m")),
        ({"platform": "foundry", "hosting": "azure"}, Place(platform="foundry", hosting="azure")),
        ({"platform": "vertex", "region": "europe-west1", "endpoint": "count_tokens"},
         Place(platform="vertex", region="europe-west1", endpoint="count_tokens")),
    ],
)  # fmt: skip
def test_usage_tells_the_whole_place(usages: Usages, asked: dict[str, str], told: Place) -> None:
    """What the program said of where it sends, whether it asked, observed or counted; each place by itself."""
    client = reporting_client(usages, flush="1h")
    answer = client.header(KNOWN, **asked)
    client.observe(answer, 200, {}, model="claude-y", count=1)
    client.count(answer)
    client.header(KNOWN)
    client.close()
    there = next(report for report in usages.reports if report["platform"] == told.platform)
    place = replace(told, endpoint=told.endpoint or "messages")
    found = [
        ({part: item[part] for part in place.details}, item["count"]) for item in there["items"]
    ]
    assert found == [(place.details, 2), (replace(place, model="claude-y").details, 1)]


def test_a_report_that_fails_is_kept(usages: Usages, told: Told) -> None:
    """It is sent again under the same key, what came meanwhile after it, and nothing is lost."""
    usages.status = 503
    client = reporting_client(usages, flush=0.05)
    client.header(KNOWN)
    until(lambda: len(usages.headers) >= 3)
    for _ in range(5):
        client.header(KNOWN)
    usages.status = 200
    until(lambda: sum(report["items"][0]["count"] for report in usages.reports) == 6)
    client.close()
    keys = [item["idempotency-key"] for item in usages.headers]
    assert keys[0] == keys[1] == keys[2] != keys[-1]
    assert told.count("cannot be reported") == 1


def test_a_report_that_is_refused_for_good_is_dropped(usages: Usages, told: Told) -> None:
    """The registry's own sentence is told."""
    usages.status = 422
    client = reporting_client(usages)
    client.header(KNOWN)
    client.close()
    assert told.count("The registry refused a usage report: no such thing") == 1


def test_made_up_names_are_bounded_and_told(usages: Usages, told: Told) -> None:
    """Memory stays bounded; what went over is counted in the log."""
    client = reporting_client(usages)
    client.wait(0.2)
    for number in range(reporting.MAX_KEYS + 50):
        client.header(f"made-up-{number}-2026-01-01")
    client.close()
    items = [item for report in usages.reports for item in report["items"]]
    over = sum(int(line.split()[0]) for line in told.lines if "were not reported" in line)
    assert len(items) + over == reporting.MAX_KEYS + 50
    assert max(len(report["items"]) for report in usages.reports) <= reporting.BATCH


def test_an_ended_program_has_reported(usages: Usages) -> None:
    """No close, no waiting: the flush at exit takes care, and takes two seconds at most."""
    code = (
        "import sys; from registry.client import Registry\n"
        f"c = Registry(sys.argv[1], service='short', cache=False)\nc.header({KNOWN!r})\n"
    )
    subprocess.run([sys.executable, "-c", code, usages.url], check=True, timeout=60)
    assert usages.reports[0]["items"][0]["count"] == 1
    usages.held = True
    subprocess.run([sys.executable, "-c", code, usages.url], check=True, timeout=60)
    usages.held = False


def test_without_a_service_nothing_is_reported(usages: Usages) -> None:
    """Usage belongs to a service; a client without one tells nothing."""
    client = reporting_client(usages, service=None)
    client.header(KNOWN)
    client.close()
    assert usages.reports == []


def test_what_upstream_refused_is_learned(usages: Usages) -> None:
    """For programs with a client of their own: one call with the answer."""
    client = reporting_client(usages, flush="1h")
    until(lambda: client._reporter is not None and client._reporter.flushed_at > 0)
    sent = client.header(KNOWN, "files-api-2025-04-14")
    text = f"Unexpected value(s) `{KNOWN}` for the `anthropic-beta` header."
    body = json.dumps(
        {"type": "error", "error": {"type": "invalid_request_error", "message": text}}
    )
    assert client.observe(sent, 400, {}, body) == (KNOWN,)
    assert client.observe(sent, 529, {}, body) in ((), (KNOWN,))
    until(lambda: usages.reports)  # at once, but not more often than every 5 seconds
    client.close()
    counted = {item["beta"]: item for item in usages.reports[0]["items"]}
    assert counted[KNOWN]["count"] == 1
    assert counted[KNOWN]["refused"] >= 1


def test_a_clock_that_is_set_back_makes_no_fact_younger_and_no_day_last() -> None:
    """The age goes on by a clock that nobody can set, and answers are those of the clock's own day."""
    now = [NOW.timestamp()]
    with Registry(cache=False, clock=lambda: now[0]) as client:
        old = client.header(KNOWN).age
        day = client._store.held.today
        now[0] -= 30 * 86400
        found = client.header(KNOWN)
        assert found.age >= old > 0
        assert client._store.held.today < day
