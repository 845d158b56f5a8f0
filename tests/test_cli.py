"""The command line as its users run it: a process of its own, its output and its exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import pytest

from registry import auth, jobs
from registry.config import now
from registry.db import Database
from registry.sources.catalog import CatalogSource
from tests.factories import NOW
from tests.waiting import until

COMMAND = [sys.executable, "-m", "registry.cli"]
MCP = "mcp-client-2025-11-20"
GONE = "prompt-tools-2025-04-02"


def run(*arguments: str, text: str | None = None, env: Mapping[str, str] = {}) -> Any:
    """Run the command line to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, input=text, timeout=120,
        env={**os.environ, **env}, check=False,
    )  # fmt: skip


SERVER_COMMANDS = (
    "serve", "db upgrade", "db downgrade base", "db check", "sync", "token create x", "token list",
    "token revoke 1", "probe", "probe --dry-run", "targets", "subscriptions list",
    "subscriptions add x --to https://x.example", "subscriptions show 1", "subscriptions set 1 a=b",
    "subscriptions mute 1 --off", "subscriptions test 1", "subscriptions rotate 1",
    "subscriptions remove 1", "deliveries list", "deliveries show x", "deliveries redeliver x",
    "deliveries acknowledge x", "services", "services show x", "services import x", "inventory",
    "betas who x-2026-01-01", "betas set x-2026-01-01 status=ga --reason x", "usage import x", "report",
    "export catalog", "simulate --port 0", "demo --exit",
)  # fmt: skip
"""What needs the server where no registry is named."""


@pytest.fixture
def filled(sqlite_url: str) -> str:
    """A local database that holds the bundled catalog; gives its URL."""
    database = Database(sqlite_url)
    with httpx2.Client() as http:
        assert jobs.sync(database, CatalogSource(), http, now).error is None
    database.close()
    return sqlite_url


def test_help_names_the_commands_and_imports_no_server() -> None:
    """Quick because it loads nothing of the server."""
    found = run("--help")
    assert found.returncode == 0
    for word in ("serve", "db", "sync", "betas", "header", "check", "changelog", "token", "export",
                 "import", "doctor"):  # fmt: skip
        assert f"\n  {word}" in found.stdout
    code = (
        "import sys, registry.cli as c\n"
        "try: c.cli.main(['--help'], standalone_mode=False)\n"
        "finally: print([m for m in ('sqlalchemy', 'fastapi', 'pydantic', 'httpx2', 'rich')"
        " if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip().endswith("[]")


def test_without_a_database_the_bundled_catalog_answers() -> None:
    """Nothing is made on the disk, and the origin is told."""
    found = run("betas", "show", MCP)
    assert found.returncode == 0
    assert "the bundled catalog: catalog of 20" in found.stdout
    assert "probed never" in found.stdout
    assert list(Path().iterdir()) == []
    refused = run("changelog")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_the_light_client_needs_no_server_packages() -> None:
    """Reading works where only the light client is installed; serving says what to install."""
    block = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('sqlalchemy', 'fastapi', 'pydantic', 'pydantic_settings',"
        " 'alembic', 'uvicorn', 'apscheduler', 'starlette'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import contextlib, io, json, shlex\n"
        "from registry.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    out, err = io.StringIO(), io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):\n"
        "        try: main(shlex.split(command))\n"
        "        except SystemExit as end: code = end.code\n"
        "    print(json.dumps([code, out.getvalue(), err.getvalue()]))\n"
    )

    def light(*commands: str) -> list[Any]:
        """Run commands one after the other; gives exit code, output and errors of each."""
        done = subprocess.run([sys.executable, "-c", block, *commands], capture_output=True,
                              text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    header, check, doctor, away = light(
        "header mcp-client", f"check {MCP}", "doctor", "doctor --url http://127.0.0.1:9"
    )
    assert header == [0, f"{MCP}\n", ""]
    assert check[0] == 0
    assert (doctor[0], doctor[2]) == (0, "")
    assert "Facts come from the bundled catalog: " in doctor[1]
    assert "This is the light client" in doctor[1]
    assert away[0] == 1
    assert "BAD  Cannot reach http://127.0.0.1:9" in away[1]
    for command, (code, _, told) in zip(SERVER_COMMANDS, light(*SERVER_COMMANDS), strict=True):
        assert (code, told.count("\n")) == (1, 1), (command, told)
        assert "Install the server to do this: pip install 'beta-registry[server]'." in told, (
            command
        )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["header", "mcp-client", "files-api-2025-04-14"], 0, f"{MCP},files-api-2025-04-14"),
        (["header"], 0, "omit the header"),
        (["header", GONE], 1, "retired"),
        (["header", "mcp-clint"], 1, "not in the registry"),
        (["header", "mcp-client", "--platform", "azure"], 1, "use one of anthropic"),
        (["check", MCP], 0, "ok"),
        (["check", "mine-2026-01-01"], 2, "unknown"),
        (["check", "mine-2026-01-01", "--fail-on", "retired"], 0, "unknown"),
        (["check", f"mine-2026-01-01,{GONE}"], 3, "retired"),
        (["check", GONE, "--fail-on", "never"], 0, "retired"),
        (["check", "a b"], 3, "malformed"),
        (["check"], 1, "VALUE or --file"),
        (["check", "--file", "nowhere"], 1, "nowhere"),
        (["betas", "list", "--status", "dead"], 1, "use active"),
        (["betas", "show", "mcp-client-2025-11-21"], 1, "Did you mean"),
        (["features"], 0, "mcp-client"),
        (["betas", "list", "-q", "mcp"], 0, MCP),
        (["serv"], 1, "No such command"),
        (["--config", "nowhere.toml", "betas", "list"], 1, "Cannot read the settings file"),
        (["betas", "list", "--url", "http://127.0.0.1:9"], 1, "Cannot reach"),
        (["betas", "list", "--url", "no url"], 1, "Cannot reach"),
        (["import", "nowhere.json"], 1, "nowhere.json"),
        (["db", "upgrade", "--database-url", "mysql://x/y"], 1, "not supported"),
        (["db", "upgrade", "--database-url", "nonsense"], 1, "cannot be read"),
        (["db", "upgrade", "--database-url", "sqlite:////nowhere/at/all.db"], 1, "cannot be opened"),
        (["betas", "list", "--database-url", "sqlite:///none.db"], 1, "db upgrade"),
        (["completion", "bash"], 0, "_BETA_REGISTRY_COMPLETE"),
        (["sync", "pypi"], 1, "use catalog"),
    ],
)  # fmt: skip
def test_answers_and_exit_codes(arguments: list[str], code: int, says: str) -> None:
    """An error is one line on stderr, never a traceback."""
    found = run(*arguments)
    assert found.returncode == code, found.stdout + found.stderr
    assert says in found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    if code == 1:
        assert found.stderr.startswith("Error: ")
        assert found.stderr.count("\n") == 1


def test_json_is_the_apis(filled: str) -> None:
    """Programs read what the API would have said."""
    listed = json.loads(run("betas", "list", "--json", "--database-url", filled).stdout)
    assert len(listed["items"]) >= 99
    shown = json.loads(run("betas", "show", MCP, "--json", "--database-url", filled).stdout)
    assert (shown["name"], shown["status"]) == (MCP, "active")
    events = json.loads(run("changelog", "--json", "--limit", "3", "--database-url", filled).stdout)
    assert len(events["items"]) == 3
    value = json.loads(run("header", MCP, "--json", "--database-url", filled).stdout)
    assert value["value"] == MCP


def test_the_doctor_tells_of_an_address_that_is_no_registry(tmp_path: Path) -> None:
    """As one finding among the others, whatever answers there."""
    (tmp_path / "v1").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with HTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        for body in ("{}", '{"betas": [{}]}', "not JSON"):
            (tmp_path / "v1" / "snapshot").write_text(body)
            told = run("doctor", "--url", f"http://127.0.0.1:{other.server_address[1]}")
            assert (told.returncode, told.stderr) == (1, "")
            assert told.stdout.count("BAD") == 1
        other.shutdown()


def test_the_operators_word_from_the_command_line(filled: str) -> None:
    """Set, read, withdraw; bad words change nothing."""
    at = ["--database-url", filled]
    said = run(
        "betas", "set", MCP, "status=deprecated", "sunset_on=2030-01-31", "--reason", "told", *at
    )
    assert said.returncode == 0, said.stderr
    assert "deprecated" in run("betas", "show", MCP, *at).stdout
    assert run("check", MCP, *["--database-url", filled]).returncode == 2
    assert run("betas", "set", MCP, "status", "--reason", "x", *at).returncode == 1
    assert run("betas", "set", MCP, "status=dead", "--reason", "x", *at).returncode == 1
    back = run("betas", "set", MCP, "status=null", "sunset_on=null", "--reason", "no", *at)
    assert back.stdout.startswith(f"{MCP}: active")


def test_tokens_are_made_listed_and_revoked(filled: str) -> None:
    """The secret is shown once and stored nowhere."""
    at = ["--database-url", filled]
    made = run("token", "create", "ci", "--scope", "write", *at)
    secret = made.stdout.strip()
    assert secret
    assert secret not in run("token", "list", *at).stdout
    assert secret.encode() not in Path(filled.removeprefix("sqlite:///")).read_bytes()
    assert run("token", "revoke", "1", *at).returncode == 0
    assert run("token", "revoke", "9", *at).returncode == 1


def test_export_and_import_of_files(filled: str, tmp_path: Path) -> None:
    """What was exported can be taken in by an empty registry."""
    out = tmp_path / "out.json"
    assert run("export", "-o", str(out), "--database-url", filled).returncode == 0
    other = f"sqlite:///{tmp_path}/other.db"
    assert run("import", str(out), "--database-url", other).returncode == 0
    assert run("export", "--database-url", other).stdout == out.read_text()
    out.write_text("{")
    bad = run("import", str(out), "--database-url", other)
    assert (bad.returncode, bad.stderr.count("\n")) == (1, 1)


def test_the_database_commands(tmp_path: Path, postgres_url: str) -> None:
    """Both kinds; a PostgreSQL schema that is out of date is refused by name of the command."""
    for url in (f"sqlite:///{tmp_path}/new.db", postgres_url):
        assert run("db", "upgrade", "--database-url", url).returncode == 0
        assert run("db", "check", "--database-url", url).returncode == 0
        assert run("db", "downgrade", "base", "--database-url", url).returncode == 0
    refused = run("serve", "--port", "0", "--database-url", postgres_url)
    assert refused.returncode == 1
    assert "run `beta-registry db upgrade`" in refused.stderr
    assert run("db", "downgrade", "nonsense", "--database-url", postgres_url).returncode == 1


def test_a_port_in_use_and_a_locked_database(filled: str) -> None:
    """Each says what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = run("serve", "--port", str(taken.getsockname()[1]), "--database-url", filled)
    assert found.returncode == 1
    assert "Choose another with --port" in found.stderr


def test_sync_of_a_file_and_the_doctor(tmp_path: Path) -> None:
    """A source that fails is exit code 1; the doctor repeats why."""
    url = f"sqlite:///{tmp_path}/new.db"
    done = run("sync", "catalog", "--database-url", url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("catalog: ")
    again = run("sync", "catalog", "--database-url", url)
    assert "nothing new" in again.stdout
    bad = run("sync", "docs", "--database-url", url,
              env={"BETA_REGISTRY_DOCS_LOCATION": str(tmp_path / "none.md")})  # fmt: skip
    assert bad.returncode == 1
    told = run("doctor", env={"BETA_REGISTRY_DATABASE_URL": url})
    assert told.returncode == 1
    assert "none.md" in told.stdout


def test_offline_reads_no_source_but_the_catalog(tmp_path: Path) -> None:
    """And says so."""
    url = f"sqlite:///{tmp_path}/new.db"
    found = run("sync", "sdk", "catalog", "--database-url", url, env={"BETA_REGISTRY_OFFLINE": "1"})
    assert "sdk: disabled" in found.stderr
    assert found.returncode == 0


@pytest.fixture
def serving(tmp_path: Path) -> Any:
    """Start `serve` as a process; gives its URL and the process, and stops it."""
    said = tmp_path / "said"
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, env: Mapping[str, str] = {}) -> tuple[str, subprocess.Popen[str]]:
        with said.open("w") as out:
            process = subprocess.Popen(
                [*COMMAND, "serve", "--port", "0", *arguments], stdout=out, stderr=out, text=True,
                env={**os.environ, "BETA_REGISTRY_SOURCES": "catalog", **env},
            )  # fmt: skip
        started.append(process)
        until(lambda: "http://" in said.read_text() or process.poll() is not None, "the address")
        url = re.findall(r"knows \d+ betas: (http://\S+)", said.read_text())[0]
        until(lambda: _answers(url) or process.poll() is not None, "the service")
        assert process.poll() is None, said.read_text()
        return url, process

    yield begin
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False


def test_serve_from_nothing(serving: Any, tmp_path: Path) -> None:
    """One command: database, catalog, service; reading commands work against it; it stops cleanly."""
    url, process = serving(env={"BETA_REGISTRY_ADMIN_TOKEN": "a-bootstrap-secret-of-ours"})
    assert run("header", "mcp-client", "--url", url).stdout == f"{MCP}\n"
    assert MCP in run("betas", "list", "--url", url).stdout
    assert run("changelog", "--url", url, "--limit", "2").returncode == 0
    env = {"BETA_REGISTRY_TOKEN": "a-bootstrap-secret-of-ours"}
    said = run("betas", "set", MCP, "gate=org", "--reason", "told", "--url", url, env=env)
    assert said.returncode == 0, said.stderr
    assert (
        "token is needed"
        in run("betas", "set", MCP, "gate=org", "--reason", "x", "--url", url).stderr
    )
    assert json.loads(run("export", "--url", url).stdout)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) in (0, -signal.SIGTERM)
    assert (tmp_path / "beta-registry.db").is_file()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_workers_see_a_change(
    kind: str, serving: Any, request: pytest.FixtureRequest
) -> None:
    """Every worker process follows the database."""
    url_of = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[kind]
    database_url = request.getfixturevalue(url_of)
    url, _ = serving("--workers", "2", "--database-url", database_url)
    database = Database(database_url)
    with database.write() as session:
        _, secret = auth.create(session, "t", "read", NOW)
        from registry import catalog

        catalog.amend(session, MCP, {"status": "retired", "accepted": False}, "told", None, now())
    database.close()

    def all_see(path: str, status: int, **headers: str) -> bool:
        """Ask so often over new connections that every worker is among those that answer."""
        answers = (httpx2.get(f"{url}{path}", headers=headers, timeout=60) for _ in range(16))
        return all(answer.status_code == status for answer in answers)

    until(lambda: all_see(f"/v1/header?beta={MCP}", 422), "the change")
    until(lambda: all_see("/v1/sources", 200, Authorization=f"Bearer {secret}"), "the token")


REFUSAL = (
    "anthropic.BadRequestError: Error code: 400 - {'type': 'error', 'error': {'type': "
    "'invalid_request_error', 'message': 'Unexpected value(s) `prompt-tools-2025-04-02` for the "
    "`anthropic-beta` header.'}}"
)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (REFUSAL, 3, "prompt-tools-2025-04-02 was retired on 2026-08-17"),
        ("HTTP/1.1 529 \r\n\r\nOverloaded", 0, "inconclusive (overload)"),
        ("", 0, "inconclusive"),
        ("\x00\xff" * 100, 0, "inconclusive"),
        ('{"status": 400, "body": "The long context beta is not yet available for this subscription."}',
         2, "restricted"),
    ],
)  # fmt: skip
def test_diagnose_of_a_paste(text: str, code: int, says: str) -> None:
    """A log line, a raw message, JSON, nothing, rubbish."""
    found = run("diagnose", text=text)
    assert found.returncode == code, found.stdout + found.stderr
    assert says in found.stdout


PASTES = (
    REFUSAL,
    'Error: 400 {"message":"invalid beta flag"}\nbetas=["claude-code-20250219", "mine-2026-01-01"]',
    "> POST /v1/messages HTTP/1.1\n> anthropic-beta: a-2026-01-01\n>\n< HTTP/1.1 529 \n<\nOverloaded",
    "400 output_config.effort: Extra inputs are not permitted, key sk-ant-api03-0123456789abcdef",
    "",
)


@pytest.mark.parametrize("text", PASTES)
def test_a_paste_is_diagnosed_alike_by_command_and_over_http(
    text: str, filled: str, serve: Any
) -> None:
    """The same facts, the same paste, the same answer, to the letter; and no secret in it."""
    here = run("diagnose", "--json", "--database-url", filled, text=text)
    asked: dict[str, Any] = {"status": None, "headers": {}, "body": text}
    there = serve(database_url=filled).post("/v1/diagnose", json=asked)
    assert json.loads(here.stdout) == there.json()
    assert "0123456789abcdef" not in here.stdout


def test_a_body_is_checked_with_its_header(tmp_path: Path) -> None:
    """A field without its beta is told, and makes the exit code tell."""
    body = tmp_path / "body.json"
    body.write_text('{"context_management": {"edits": []}}')
    alone = run("check", "--body", str(body))
    assert (alone.returncode, "context_management in the body needs" in alone.stderr) == (2, True)
    found = run("check", "--json", MCP, "--body", str(body))
    assert json.loads(found.stdout)["missing"][0]["field"] == "context_management"
    name = json.loads(found.stdout)["missing"][0]["beta"]
    assert run("check", name, "--body", str(body)).returncode == 0
    for text in ("[]", "nonsense", "null"):
        body.write_text(text)
        wrong = run("check", MCP, "--body", str(body))
        assert wrong.returncode == 1
        assert "JSON object" in wrong.stderr


def test_probing_from_the_command_line(filled: str, tmp_path: Path) -> None:
    """A target against the simulator: dry run, sweep, list, and curl commands without the key."""
    from registry import simulator

    with simulator.running(simulator.create_simulator()) as upstream:
        config = tmp_path / "my.toml"
        config.write_text(
            f'[[targets]]\nname = "ours"\nplatform = "anthropic"\nbase_url = "{upstream}"\n'
            'api_key_env = "OUR_KEY"\nmax_requests = 200\n'
        )
        env = {"OUR_KEY": "sk-ant-secret-of-ours", "BETA_REGISTRY_CONFIG": str(config)}
        at = ["--database-url", filled]
        dry = run("probe", "--dry-run", *at, env=env)
        assert dry.stdout.startswith("ours: "), dry.stderr
        swept = run("probe", "ours", *at, env=env)
        assert swept.returncode == 0, swept.stderr
        assert "ours: ok" in swept.stdout
        assert "ok" in run("targets", *at, env=env).stdout
        assert run("probe", "theirs", *at, env=env).returncode == 1
        shown = run("betas", "show", MCP, "--reproduce", *at, env=env)
        assert shown.stdout.count("curl") == 3, shown.stderr
        assert "secret-of-ours" not in shown.stdout
        assert "min ago" in run("betas", "list", *at, env=env).stdout
        bad = run("probe", *at, env={**env, "OUR_KEY": "nonsense"})
        assert bad.returncode == 1
        assert "inconclusive" in bad.stdout
    away = run("probe", *at, env=env)
    assert away.returncode == 1
    assert "Nothing listens" in away.stdout


def test_a_mass_change_and_a_rename_from_the_command_line(filled: str, tmp_path: Path) -> None:
    """A lock names both answers; a target that is taken out of the settings is shown as removed."""
    from registry import simulator

    world = simulator.create_simulator({"betas": [{"beta": "*"}]})
    with simulator.running(world) as upstream:
        config = tmp_path / "my.toml"
        table = (
            '[[targets]]\nname = "{name}"\nplatform = "anthropic"\nbase_url = "{url}"\n'
            'api_key_env = "OUR_KEY"\n'
        )
        config.write_text(table.format(name="ours", url=upstream))
        env = {"OUR_KEY": "sk-ant-secret-of-ours", "BETA_REGISTRY_CONFIG": str(config)}
        at = ["--database-url", filled]
        world.patch({"betas": [{"beta": "*-20*"}, {"beta": "never-*", "do": "refuse"}]})
        assert run("probe", "ours", *at, env=env).returncode == 0
        early = run("probe", "ours", "--believe", *at, env=env)
        assert early.returncode == 1
        assert "No mass change of ours waits" in early.stderr
        world.patch({"mode": "refusing"})
        locked = run("probe", "ours", *at, env=env)
        assert locked.returncode == 1
        assert "probe ours --believe" in locked.stdout
        assert "probe ours --new-baseline" in locked.stdout
        assert "locked" in run("targets", *at, env=env).stdout
        both = run("probe", "ours", "--believe", "--new-baseline", *at, env=env)
        assert (both.returncode, "two answers" in both.stderr) == (1, True)
        answered = run("probe", "ours", "--new-baseline", *at, env=env)
        assert "ours: ok" in answered.stdout, answered.stdout + answered.stderr
        config.write_text(table.format(name="other", url=f"{upstream}/other"))
        shown = run("targets", *at, env=env).stdout
        assert "removed" in next(line for line in shown.splitlines() if "ours" in line)


def test_the_demo_tells_its_story(serve: Callable[..., httpx2.Client], sqlite_url: str) -> None:
    """And cleans up; neither a service that runs nor what is set for it is in its way."""
    port = serve(database_url=sqlite_url).base_url.port
    Path(".env").write_text("BETA_REGISTRY_WORKERS=many\nBETA_REGISTRY_PUBLIC_READ=false\n")
    env = {"BETA_REGISTRY_PORT": str(port), "BETA_REGISTRY_DATABASE_URL": sqlite_url,
           "BETA_REGISTRY_ADMIN_TOKEN": "x", "HTTP_PROXY": "http://127.0.0.1:9"}  # fmt: skip
    before = Path("registry.db").read_bytes()
    told = run("demo", "--exit", env=env)
    assert Path("registry.db").read_bytes() == before
    assert told.returncode == 0, told.stderr
    assert "Certain after" in told.stdout
    assert "-> 422" in told.stdout
    assert told.stdout.endswith("Removed everything.\n")


def test_the_simulator_refuses_a_bad_script(tmp_path: Path) -> None:
    """With one sentence."""
    script = tmp_path / "script.json"
    script.write_text('{"betas": 3}')
    found = run("simulate", "--port", "0", "--script", str(script))
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)
