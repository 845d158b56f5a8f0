"""What all commands share: the general options, where facts come from, how results are printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from registry import __version__

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.core.facts import Json, Snapshot
    from registry.db import Database

__all__ = [
    "BUNDLED",
    "SERVER_HINT",
    "Facts",
    "Options",
    "call",
    "check_words",
    "cli",
    "coloured",
    "common",
    "console",
    "database_option",
    "download",
    "exit_code",
    "facts_of",
    "has_server",
    "main",
    "now",
    "open_database",
    "print_footer",
    "print_json",
    "print_table",
    "progress_bar",
    "shortened",
    "today",
]

BUNDLED = "the bundled catalog"
"""Origin of facts where there is neither a registry nor a database."""

DATABASE_HELP = "Database to use instead of the settings' one."
SERVER_HINT = "Install the server to do this: pip install 'beta-registry[server]'."


# --- The frame ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Options:
    """What was given before the command."""

    config: str | None = None
    url: str | None = None
    token: str | None = None
    database_url: str | None = None
    as_json: bool = False

    def settings(self, **more: Any) -> Settings:
        """Read the settings, which belong to the server."""
        from registry import config

        return config.load(self.config, database_url=self.database_url, **more)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Every error is one line on stderr and exit code 1."""
    from registry.core.errors import RegistryError

    try:
        result = cli.main(args=arguments, prog_name="beta-registry", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(1)
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        _fail("Stopped.")
    except RegistryError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "registry":
            raise  # this package is damaged, and installing more will not mend it
        _fail(SERVER_HINT)
    except BrokenPipeError:
        # Whoever read the output has gone (`| head`); nothing is left to be said to him.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.filename or 'Output'}: {error.strerror or error}.")


def _fail(sentence: str) -> NoReturn:
    from registry.core.redaction import open_urls

    click.echo(f"Error: {' '.join(open_urls(sentence).split())}", err=True)
    sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="beta-registry")
@click.option("--config", metavar="FILE", help="Settings in TOML (default beta-registry.toml).")
@click.option(
    "--url", envvar="BETA_REGISTRY_URL", help="Registry to ask instead of the local database."
)
@click.option("--token", envvar="BETA_REGISTRY_TOKEN", help="Token for the registry at --url.")
@click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")
@click.pass_context
def cli(
    context: click.Context, config: str | None, url: str | None, token: str | None, as_json: bool
) -> None:
    """Know every Anthropic API beta, and send only what is valid now."""
    context.obj = Options(config=config, url=url, token=token, as_json=as_json)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a reading command take the general options after its name too."""

    def keep(member: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
            if value:
                setattr(context.find_object(Options), member, value)

        return callback

    for names, member, more in (
        (["--json", "_json"], "as_json", {"is_flag": True, "help": "Print the API's JSON."}),
        (["--url", "_url"], "url", {"help": "Registry to ask instead of the local database."}),
        (["--database-url", "_database"], "database_url", {"help": DATABASE_HELP}),
    ):
        command = click.option(*names, expose_value=False, callback=keep(member), **more)(command)
    return command


def database_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let an operator's command name another database."""

    def callback(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value:
            found = context.find_object(Options)
            assert found is not None
            found.database_url = value

    return click.option(
        "--database-url", expose_value=False, callback=callback, help=DATABASE_HELP
    )(command)


def print_json(value: Json) -> None:
    """Print JSON as the API has it, for a person to read."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


@contextmanager
def open_database(options: Options, *, migrate: bool = True) -> Iterator[Database]:
    """Open the local database for an operator's command; an embedded one is brought up to date."""
    settings = options.settings()
    from registry.app import prepare, waits_of
    from registry.db import Database

    if migrate:
        prepare(settings)
    database = Database(settings.database_url, waits_of(settings))
    try:
        yield database
    finally:
        database.close()


def has_server() -> bool:
    """Say whether the service is installed, and not only the light client."""
    try:
        from registry import config  # noqa: F401
    except ImportError:
        return False
    return True


# --- Where facts come from ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """A snapshot and where it is from; `ask` reads a path of the API, where there is one."""

    snapshot: Snapshot
    origin: str
    events: Callable[[Mapping[str, Any]], Json]
    evidence: Callable[[str], Json]


def facts_of(options: Options) -> Facts:
    """Open the registry at --url, else the local database, else the bundled catalog."""
    if options.url:
        return _remote(options)
    local = _local(options)
    return local if local is not None else _bundled()


def _remote(options: Options) -> Facts:
    from registry.core.wire import snapshot_from_json

    def events(query: Mapping[str, Any]) -> Json:
        return call(options, "GET", "/v1/changelog", params=dict(query))

    def evidence(name: str) -> Json:
        return call(options, "GET", f"/v1/betas/{name}/evidence")["items"]

    try:
        told = call(options, "GET", "/v1/snapshot?format=2")
    except click.ClickException:
        # A token that may only report or read feeds opens less than none where reads are public.
        if not options.token:
            raise
        told = call(replace(options, token=None), "GET", "/v1/snapshot?format=2")
    snapshot = snapshot_from_json(told)
    return Facts(snapshot, f"{options.url}", events, evidence)


def call(options: Options, method: str, path: str, **more: Any) -> Json:
    """Call the registry at --url. Raises `ClickException` with its own words on a refusal."""
    import httpx2

    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    url = f"{(options.url or '').rstrip('/')}{path}"
    try:
        answer = httpx2.request(method, url, headers=headers, timeout=30, **more)
        body = None if answer.status_code == 204 else answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise click.ClickException(
            f"Cannot reach {url}: {error or type(error).__name__}."
        ) from None
    except ValueError:
        raise click.ClickException(f"{url} is no beta-registry: it answered no JSON.") from None
    if answer.is_error:
        detail = body.get("detail") if isinstance(body, dict) else None
        raise click.ClickException(str(detail or f"{url} answered {answer.status_code}."))
    return body


def _local(options: Options) -> Facts | None:
    """Open the local database; None where there is none or the server is not installed."""
    if not _may_have_database(options):
        return None
    try:
        from registry import catalog
        from registry.db import Database
    except ImportError:
        return None
    settings = options.settings()
    database = Database(settings.database_url)
    file = database.url.database if database.is_sqlite else None
    if database.is_sqlite and not (file and Path(file).is_file()):
        if options.database_url:
            raise click.ClickException(
                f"There is no database at {file}; run `beta-registry db upgrade`."
            )
        return None
    with database.read() as session:
        snapshot = catalog.snapshot(session)
    if not snapshot.betas:
        return None

    def events(query: Mapping[str, Any]) -> Json:
        from registry.web.api import changelog

        return changelog(database, **query)

    def evidence(name: str) -> Json:
        from registry.web.api import evidence_json

        with database.read() as session:
            made = catalog.evidence(session, name, now())
        return [evidence_json(item) for item in made]

    return Facts(snapshot, database.place, events, evidence)


def _may_have_database(options: Options) -> bool:
    """Say whether there is a sign of a local database or of settings that may name one.

    Loading the settings and the database layer takes longer than most commands; where none of these is,
    neither is needed.
    """
    told = options.database_url or options.config
    named = any(name.upper().startswith("BETA_REGISTRY_") for name in os.environ)
    files = ("beta-registry.db", "beta-registry.toml", ".env")
    return bool(told) or named or any(Path(file).exists() for file in files)


def _bundled() -> Facts:
    from registry.core.changes import snapshot_of
    from registry.core.facts import to_json
    from registry.sources.catalog import bundled_catalog, parse_catalog

    as_of, claims = parse_catalog(bundled_catalog())

    def events(_query: Mapping[str, Any]) -> Json:
        raise click.ClickException(
            "The bundled catalog has no changelog; name a registry with --url or start one."
        )

    def evidence(name: str) -> Json:
        return [to_json(claim) for claim in claims if claim.beta == name]

    return Facts(snapshot_of(claims, as_of, now()), BUNDLED, events, evidence)


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def today() -> date:
    """Return the day, in UTC."""
    return now().date()


# --- Printing -------------------------------------------------------------------------------------

_COLOURS = {
    "active": "green", "deprecated": "yellow", "ga": "blue", "retired": "red", "unverified": "dim",
    "supported": "green", "refused": "red", "restricted": "yellow", "unknown": "dim", "ok": "green",
    "failed": "red", "not_needed": "blue", "unproven": "dim", "no_effect": "yellow",
}  # fmt: skip


def console() -> Any:
    """Make what prints tables."""
    from rich.console import Console

    # Piped output is for programs and files: one line a row, however long.
    width = None if sys.stdout.isatty() else 200
    return Console(width=width, highlight=False)


def coloured(word: str) -> Any:
    """Give a status, state or verdict its colour."""
    from rich.text import Text

    return Text(word, style=_COLOURS.get(word, ""))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """Print rows, or the sentence `empty` where there are none."""
    from rich.table import Table

    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*(coloured(str(cell)) if cell is not None else coloured("-") for cell in row))
    console().print(table)


def print_footer(facts: Facts) -> None:
    """Say where the facts come from and how old they are."""
    probed = facts.snapshot.probed_at
    ago = f"{int((now() - probed).total_seconds() // 60)} min ago" if probed else "never"
    click.echo(f"\n{facts.origin}: catalog of {facts.snapshot.as_of.date()}, probed {ago}")


def check_words(words: Sequence[str], allowed: Sequence[str], what: str) -> None:
    """Raise `UsageError` for a word that is none of those allowed."""
    for word in words:
        if word not in allowed:
            raise click.UsageError(f"{word!r} is not a {what}; use {', '.join(allowed)}.")


def exit_code(verdicts: Iterable[str], fail_on: str) -> int:
    """Return the exit code of the weightiest verdict, or 0 if `--fail-on` lets it pass."""
    from registry.core.judgement import severity

    code = max(map(severity, verdicts), default=0)
    return code if code >= {"deprecated": 2, "retired": 3, "never": 9}[fail_on] else 0


def shortened(text: str, width: int = 70) -> str:
    """Cut a text so that a table stays readable."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def download(options: Options, path: str) -> str:
    """Read a document of the registry at --url."""
    import httpx2

    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    return httpx2.get(f"{(options.url or '').rstrip('/')}{path}", headers=headers, timeout=60).text
