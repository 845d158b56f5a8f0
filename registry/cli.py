"""The command line: each command calls a job, the catalog or the core, and prints the result.

Reading commands work against a registry (`--url`), the local database, or the bundled catalog with
nothing installed but the light client; so whatever belongs to the server is imported by the commands
that need it, which also keeps `--help` quick.

Exit codes: 0 fine, 1 error; `check` adds 2 (deprecated, needless or unknown) and 3 (would fail).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from registry import __version__

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.core.facts import Beta, Json, Snapshot
    from registry.db import Database

__all__ = ["main"]

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
        """Read the settings, or say what to install."""
        try:
            from registry import config
        except ImportError:
            raise click.ClickException(SERVER_HINT) from None
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
        _fail(error.detail)
    except BrokenPipeError:
        # Whoever read the output has gone (`| head`); nothing is left to be said to him.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.filename or 'Output'}: {error.strerror or error}.")


def _fail(sentence: str) -> NoReturn:
    click.echo(f"Error: {' '.join(sentence.split())}", err=True)
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


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
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


def _database_option(command: Callable[..., Any]) -> Callable[..., Any]:
    def callback(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value:
            found = context.find_object(Options)
            assert found is not None
            found.database_url = value

    return click.option(
        "--database-url", expose_value=False, callback=callback, help=DATABASE_HELP
    )(command)


def _print_json(value: Json) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


# --- Where facts come from ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """A snapshot and where it is from; `ask` reads a path of the API, where there is one."""

    snapshot: Snapshot
    origin: str
    events: Callable[[Mapping[str, Any]], Json]
    evidence: Callable[[str], Json]


def _facts(options: Options) -> Facts:
    """Open the registry at --url, else the local database, else the bundled catalog."""
    if options.url:
        return _remote(options)
    local = _local(options)
    return local if local is not None else _bundled()


def _remote(options: Options) -> Facts:
    from registry.core.wire import snapshot_from_json

    def events(query: Mapping[str, Any]) -> Json:
        return _call(options, "GET", "/v1/changelog", params=dict(query))

    def evidence(name: str) -> Json:
        return _call(options, "GET", f"/v1/betas/{name}/evidence")["items"]

    snapshot = snapshot_from_json(_call(options, "GET", "/v1/snapshot"))
    return Facts(snapshot, f"{options.url}", events, evidence)


def _call(options: Options, method: str, path: str, **more: Any) -> Json:
    """Call the registry at --url. Raises `ClickException` with its own words on a refusal."""
    import httpx2

    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    url = f"{(options.url or '').rstrip('/')}{path}"
    try:
        answer = httpx2.request(method, url, headers=headers, timeout=30, **more)
        body = answer.json()
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
            made = catalog.evidence(session, name, _now())
        return [evidence_json(item) for item in made]

    return Facts(snapshot, database.url.render_as_string(hide_password=True), events, evidence)


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

    return Facts(snapshot_of(claims, as_of, _now()), "the bundled catalog", events, evidence)


def _now() -> datetime:
    return datetime.now(UTC)


def _today() -> date:
    return _now().date()


# --- Printing -------------------------------------------------------------------------------------

_COLOURS = {
    "active": "green", "deprecated": "yellow", "ga": "blue", "retired": "red", "unverified": "dim",
    "supported": "green", "refused": "red", "restricted": "yellow", "unknown": "dim", "ok": "green",
    "failed": "red", "not_needed": "blue", "unproven": "dim", "no_effect": "yellow",
}  # fmt: skip


def _console() -> Any:
    from rich.console import Console

    # Piped output is for programs and files: one line a row, however long.
    width = None if sys.stdout.isatty() else 200
    return Console(width=width, highlight=False)


def _coloured(word: str) -> Any:
    from rich.text import Text

    return Text(word, style=_COLOURS.get(word, ""))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    from rich.table import Table

    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(
            *(_coloured(str(cell)) if cell is not None else _coloured("-") for cell in row)
        )
    _console().print(table)


def _print_footer(facts: Facts) -> None:
    probed = facts.snapshot.probed_at
    ago = f"{int((_now() - probed).total_seconds() // 60)} min ago" if probed else "never"
    click.echo(f"\n{facts.origin}: catalog of {facts.snapshot.as_of.date()}, probed {ago}")


# --- Reading --------------------------------------------------------------------------------------


@cli.group()
def betas() -> None:
    """List, show and set betas."""


@betas.command("list")
@click.option("--status", multiple=True, help="Only of this status; repeatable.")
@click.option("--feature", help="Only of this feature.")
@click.option("--platform", help="Only supported on this platform.")
@click.option("-q", "query", default="", help="Text in name, topic or summary.")
@_common
@click.pass_obj
def betas_list(
    options: Options, status: Sequence[str], feature: str | None, platform: str | None, query: str
) -> None:
    """List betas with their status."""
    from registry.core.facts import STATUSES
    from registry.core.names import PLATFORMS, sort_key
    from registry.core.wire import beta_to_json

    _check_words(status, STATUSES, "status")
    _check_words([platform] if platform else [], PLATFORMS, "platform")
    facts = _facts(options)
    found = [
        beta
        for beta in sorted(facts.snapshot.betas.values(), key=lambda beta: sort_key(beta.name))
        if (not status or beta.status in status)
        and (not feature or beta.feature == feature)
        and (not platform or _state(beta, platform) == "supported")
        and query.lower() in f"{beta.name} {beta.topic} {beta.summary}".lower()
    ]
    if options.as_json:
        _print_json({"items": [beta_to_json(beta) for beta in found], "next": None})
        return
    rows = [
        (beta.name, beta.status, beta.status_since, _ends(beta), beta.superseded_by, beta.summary)
        for beta in found
    ]
    columns = ("BETA", "STATUS", "SINCE", "ENDS", "USE INSTEAD", "WHAT IT IS")
    _print_table(columns, rows, "No beta matches.")
    click.echo(f"\n{len(found)} betas", nl=False)
    _print_footer(facts)


def _state(beta: Beta, platform: str) -> str:
    states = {str(name): known.state for name, known in beta.platforms.items()}
    return states.get(platform, "unknown")


def _ends(beta: Beta) -> str | None:
    end = beta.retired_on or beta.sunset_on
    return str(end) if end else None


def _check_words(words: Sequence[str], allowed: Sequence[str], what: str) -> None:
    for word in words:
        if word not in allowed:
            raise click.UsageError(f"{word!r} is not a {what}; use {', '.join(allowed)}.")


@betas.command("show")
@click.argument("name")
@click.option("--reproduce", is_flag=True, help="Print the curl commands of controls and probe.")
@_common
@click.pass_obj
def betas_show(options: Options, name: str, reproduce: bool) -> None:
    """Show one beta: status, dates, platforms and the evidence for them."""
    from registry.core import resolution
    from registry.core.wire import beta_to_json

    facts = _facts(options)
    beta = facts.snapshot.betas.get(name)
    if beta is None:
        near = resolution.did_you_mean(name, facts.snapshot.betas)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise click.ClickException(f"{name} is not in the registry.{hint}")
    if reproduce:
        _print_commands(options, name)
        return
    if options.as_json:
        _print_json(beta_to_json(beta))
        return
    _print_beta(beta)
    _print_evidence(facts.evidence(name))
    _print_footer(facts)


def _print_commands(options: Options, name: str) -> None:
    """Print what a person can run to see for himself: the first must pass, the second must not."""
    from registry.core.diagnosis import CONTROL, commands

    lines = [("", command) for command in commands([name], "anthropic", None)]
    configured = options.settings().targets if _has_server() else []
    if configured:
        from registry.app import setup_of
        from registry.probing.platforms import Upstream

        lines = []
        for target in configured:
            upstream = Upstream(setup_of(target))
            for betas in ([], [CONTROL], [name]):
                endpoint = upstream.endpoints[0]
                lines.append((target.name, upstream.curl(betas, endpoint)))
    for place, (target_name, command) in enumerate(lines):
        what = ("must be accepted", "must be refused", f"{name} alone")[place % 3]
        click.echo(f"# {target_name + ': ' if target_name else ''}{what}\n{command}")


def _has_server() -> bool:
    try:
        from registry import config  # noqa: F401
    except ImportError:
        return False
    return True


def _print_beta(beta: Beta) -> None:
    since = f" since {beta.status_since}" if beta.status_since else ""
    click.secho(beta.name, bold=True)
    click.echo(beta.summary or "No summary.")
    lines = [
        ("status", f"{beta.status}{since}. {beta.status_reason}"),
        ("disputed", beta.disputed),
        ("header", f"{beta.header_effect}; accepted: {_yes(beta.accepted)}; gate: {beta.gate}"),
        ("feature", f"{beta.feature}{' (this is its current beta)' if beta.current else ''}"),
        ("use instead", beta.superseded_by),
        ("newer", ", ".join(beta.newer)),
        ("released", beta.release_date),
        ("announced", beta.announced_on),
        ("deprecated", beta.deprecated_on),
        ("ends", beta.sunset_on),
        ("ga", beta.ga_on),
        ("retired", beta.retired_on),
        ("endpoints", ", ".join(beta.endpoints)),
        ("models", ", ".join(beta.models)),
        ("needs", ", ".join(link.beta for link in beta.requires)),
        ("excludes", ", ".join(link.beta for link in beta.conflicts_with)),
        ("first seen", _seen(beta.first_seen)),
        ("last seen", _seen(beta.last_seen)),
        ("docs", beta.docs_url),
    ]
    for label, text in lines:
        if text:
            click.echo(f"  {label:<12} {text}")
    for note in beta.notes:
        click.echo(f"  {'note':<12} {note}")
    click.echo()
    rows = [
        (platform, known.state, ", ".join(known.names), known.basis)
        for platform, known in beta.platforms.items()
    ]
    _print_table(("PLATFORM", "STATE", "SENT AS", "BASIS"), rows, "")


def _yes(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[value]


def _seen(seen: Any) -> str | None:
    return f"{seen.at.date()} in {seen.source} {seen.version or ''}".rstrip() if seen else None


def _print_evidence(items: Json) -> None:
    rows = [
        (
            item["field"],
            json.dumps(item["value"], ensure_ascii=False)[:60],
            f"{item['source']} {item.get('version') or ''}".strip(),
            item["at"][:10],
            "decides" if item.get("decides") else "",
            _shortened(item.get("quote") or item.get("url") or ""),
        )
        for item in items
        if item["field"] not in ("summary", "notes", "topic", "docs_url")
    ]
    click.echo()
    _print_table(("EVIDENCE", "SAYS", "SOURCE", "AT", "", "WHERE"), rows, "No evidence.")


def _shortened(text: str, width: int = 70) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


@betas.command("set")
@click.argument("name")
@click.argument("facts", nargs=-1, required=True, metavar="FIELD=VALUE...")
@click.option("--reason", required=True, help="Why; it is shown beside the fact.")
@click.option("--until", help="Day or time at which your word expires.")
@_common
@click.pass_obj
def betas_set(
    options: Options, name: str, facts: Sequence[str], reason: str, until: str | None
) -> None:
    """Declare facts by the operator's word; FIELD=null withdraws one.

    For example: betas set my-beta-2026-01-01 status=deprecated sunset_on=2027-01-31 --reason "told so"
    """
    patch = _patch(facts)
    if options.url:
        body = {**patch, "reason": reason, **({"until": until} if until else {})}
        beta = _call(options, "PATCH", f"/v1/betas/{name}", json=body)
    else:
        beta = _amend_locally(options, name, patch, reason, until)
    if options.as_json:
        _print_json(beta)
        return
    click.echo(f"{name}: {beta['status']}. {beta['status_reason']}")


def _patch(facts: Sequence[str]) -> dict[str, Json]:
    """Read FIELD=VALUE; a value that is no JSON is text; dots nest (`platforms.vertex.state`)."""
    patch: dict[str, Json] = {}
    for fact in facts:
        field, equals, text = fact.partition("=")
        if not equals or not field:
            raise click.UsageError(f"{fact!r} is not FIELD=VALUE.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *parents, last = field.split(".")
        place = patch
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return patch


def _amend_locally(
    options: Options, name: str, patch: Mapping[str, Json], reason: str, until: str | None
) -> Json:
    with _database(options) as database:
        from registry import catalog
        from registry.core.wire import beta_to_json
        from registry.web.api import moment

        end = moment(until) if until else None
        with database.write() as session:
            return beta_to_json(catalog.amend(session, name, patch, reason, end, _now()))


@cli.command()
@click.argument("names", nargs=-1, metavar="[BETA|FEATURE]...")
@click.option("--beta", "-b", multiple=True, help="A beta by its full name; repeatable.")
@click.option("--feature", "-f", multiple=True, help="A feature, sent as its current beta.")
@click.option("--platform", default="anthropic", show_default=True)
@click.option("--api", help="Bedrock only: invoke or mantle.")
@click.option("--model")
@click.option("--endpoint", default="messages", show_default=True)
@click.option("--policy", type=click.Choice(["strict", "filter", "advise"]), default="strict")
@click.option("--on-unknown", type=click.Choice(["error", "pass", "drop"]))
@_common
@click.pass_obj
def header(
    options: Options,
    /,
    names: Sequence[str],
    beta: Sequence[str],
    feature: Sequence[str],
    **asked: Any,
) -> None:
    """Print the header value to send for betas and features; nothing when none is needed."""
    from registry.core import resolution

    facts = _facts(options)
    features = {known.feature for known in facts.snapshot.betas.values()}
    items = [("beta", name) for name in beta] + [("feature", name) for name in feature]
    items += [
        ("feature" if name in features and name not in facts.snapshot.betas else "beta", name)
        for name in names
    ]
    ask = resolution.Ask(requested=tuple(items), **{k: v for k, v in asked.items() if v})
    found = resolution.resolve(facts.snapshot, ask, _today()).to_json()
    if options.as_json:
        _print_json(found)
        return
    if not found["omit"]:
        value = json.dumps(found["body"]) if found["placement"] == "body" else found["value"]
        click.echo(value)
    for item in found["betas"]:
        for warning in item["warnings"]:
            click.echo(f"{item['name']}: {warning['detail']}", err=True)
    for item in found["dropped"]:
        click.echo(f"dropped {item['requested']}: {item['detail']}", err=True)
    if found["omit"]:
        click.echo("Nothing to send: omit the header.", err=True)


_CODES = {"deprecated": 2, "not_needed": 2, "no_effect": 2, "unknown": 2} | dict.fromkeys(
    ("retired", "refused", "wrong_model", "wrong_endpoint", "conflict", "malformed"), 3
)


@cli.command()
@click.argument("value", required=False)
@click.option("--file", "file", type=click.File("r", encoding="utf-8", errors="replace"),
              help="Read the value from a file; - is standard input.")  # fmt: skip
@click.option("--platform", default="anthropic", show_default=True)
@click.option("--api", help="Bedrock only: invoke or mantle.")
@click.option("--model")
@click.option("--endpoint", default="messages", show_default=True)
@click.option("--fail-on", type=click.Choice(["deprecated", "retired", "never"]), default="deprecated",
              show_default=True, help="Least that makes the exit code tell.")  # fmt: skip
@_common
@click.pass_obj
def check(options: Options, /, value: str | None, file: Any, fail_on: str, **asked: Any) -> int:
    """Judge a header value. Exit code 2: deprecated, needless or unknown; 3: a request would fail."""
    from registry.core import resolution

    if (value is None) == (file is None):
        raise click.UsageError("Give a VALUE or --file, one of them.")
    text = value if value is not None else ",".join(file.read(1024 * 1024).splitlines())
    facts = _facts(options)
    found = resolution.check(facts.snapshot, value=text, betas=None, today=_today(), **asked)
    if options.as_json:
        _print_json(found)
    else:
        rows = [(b["name"], b["verdict"], b["use_instead"], b["detail"]) for b in found["betas"]]
        _print_table(
            ("BETA", "VERDICT", "USE INSTEAD", "WHY"), rows, "No beta in it: omit the header."
        )
        _print_footer(facts)
    code = max((_CODES.get(item["verdict"], 0) for item in found["betas"]), default=0)
    return code if code >= {"deprecated": 2, "retired": 3, "never": 9}[fail_on] else 0


@cli.command()
@click.option("--since", help="An event's id (exclusive) or a date.")
@click.option("--type", "types", multiple=True, help="Only this type of event; repeatable.")
@click.option("--beta", multiple=True, help="Only of this beta; repeatable.")
@click.option("--feature", multiple=True, help="Only of this feature; repeatable.")
@click.option("--limit", type=click.IntRange(1, 500), default=30, show_default=True)
@_common
@click.pass_obj
def changelog(
    options: Options,
    since: str | None,
    types: Sequence[str],
    beta: Sequence[str],
    feature: Sequence[str],
    limit: int,
) -> None:
    """Show what changed, newest first."""
    facts = _facts(options)
    query: dict[str, Any] = {"limit": limit}
    for key, given in (("type", types), ("beta", beta), ("feature", feature)):
        if given:
            query[key] = list(given)
    if since:
        query["since"] = since
    found = facts.events(query)
    if options.as_json:
        _print_json(found)
        return
    rows = [
        (
            event["id"],
            event["at"][:16].replace("T", " "),
            event["type"],
            event["beta"],
            event["reason"][:160],
        )
        for event in found["items"]
    ]
    _print_table(("ID", "RECORDED", "WHAT", "BETA", "WHY"), rows, "No event matches.")
    _print_footer(facts)


@cli.command()
@_common
@click.pass_obj
def features(options: Options) -> None:
    """List features with their current beta."""
    from registry.core import resolution

    facts = _facts(options)
    found = resolution.features(facts.snapshot)
    if options.as_json:
        _print_json({"items": found, "next": None})
        return
    rows = [(item["feature"], item["current"], ", ".join(item["betas"])) for item in found]
    _print_table(("FEATURE", "CURRENT", "BETAS"), rows, "No feature.")
    _print_footer(facts)


# --- Operating ------------------------------------------------------------------------------------


@contextmanager
def _database(options: Options, *, migrate: bool = True) -> Iterator[Database]:
    """Open the local database for an operator's command; an embedded one is brought up to date."""
    settings = options.settings()
    from registry.app import prepare
    from registry.db import Database

    if migrate:
        prepare(settings)
    database = Database(settings.database_url)
    try:
        yield database
    finally:
        database.close()


@cli.command()
@click.option("--host", help="Address to listen on (default 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (default 8000).")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes (default 1).")
@_database_option
@click.pass_obj
def serve(options: Options, host: str | None, port: int | None, workers: int | None) -> None:
    """Start the API and the scheduler."""
    settings = options.settings(host=host, port=port, workers=workers)
    from registry import serving

    serving.run(settings, options.config)


@cli.group()
def db() -> None:
    """Migrate and check the database."""


@db.command("upgrade")
@_database_option
@click.pass_obj
def db_upgrade(options: Options) -> None:
    """Bring the schema up to date."""
    settings = options.settings()
    from registry.db import upgrade

    upgrade(settings.database_url)
    click.echo("The database is up to date.")


@db.command("downgrade")
@click.argument("revision")
@_database_option
@click.pass_obj
def db_downgrade(options: Options, revision: str) -> None:
    """Take the schema back to REVISION (`base` for empty, -1 for one step)."""
    settings = options.settings()
    from registry.db import downgrade

    downgrade(settings.database_url, revision)
    click.echo(f"The database is at {revision}.")


@db.command("check")
@_database_option
@click.pass_obj
def db_check(options: Options) -> None:
    """Say whether the schema is exactly that of this version."""
    settings = options.settings()
    from registry.db import check as check_schema

    check_schema(settings.database_url)
    click.echo("The database is as this version wants it.")


@cli.command()
@click.argument("names", nargs=-1, metavar="[SOURCE]...")
@_database_option
@click.pass_obj
def sync(options: Options, names: Sequence[str]) -> int:
    """Read the sources now: catalog, sdk, litellm, release-notes, docs (all of them if none is named)."""
    settings = options.settings()
    from registry import config, jobs
    from registry.app import http_client, make_sources

    _check_words(names, config.SOURCE_NAMES, "source")
    wanted = settings.model_copy(update={"sources": list(names) or settings.sources})
    sources = make_sources(wanted)
    for name in set(names) - {source.name for source in sources}:
        click.echo(f"{name}: disabled, because the settings say offline.", err=True)
    failed = False
    with _database(options) as database, http_client() as http:
        for source in sources:
            with _progress(source.name) as progress:
                done = jobs.sync(database, source, http, config.now, progress)
            failed = failed or done.error is not None
            _print_synced(done, options.as_json)
    return 1 if failed else 0


def _print_synced(done: Any, as_json: bool) -> None:
    from registry.core.facts import to_json

    if as_json:
        click.echo(json.dumps(to_json(done)))
        return
    cost = f"{done.cost.requests} requests, {done.cost.bytes:,} bytes"
    if done.cost.bytes_whole:
        cost += f" of {done.cost.bytes_whole:,}"
    if done.error:
        click.echo(f"Error: {done.source}: {done.error}", err=True)
        return
    news = "nothing new" if done.unchanged else f"{done.events} events"
    click.echo(f"{done.source}: {news}; {cost}; {done.seconds:.1f} s. {done.detail}".rstrip())


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@cli.group()
def token() -> None:
    """Make, list and revoke tokens."""


@token.command("create")
@click.argument("name")
@click.option("--scope", type=click.Choice(["read", "write", "admin", "report", "feed"]), default="read",
              show_default=True)  # fmt: skip
@_common
@click.pass_obj
def token_create(options: Options, name: str, scope: str) -> None:
    """Make a token called NAME and print its secret, once."""
    with _database(options) as database:
        from registry import auth
        from registry.core.facts import to_json

        with database.write() as session:
            made, secret = auth.create(session, name, scope, _now())
    if options.as_json:
        _print_json({**to_json(made), "token": secret})
        return
    click.echo(secret)
    click.echo(f"Token {made.id} ({made.scope}, {made.name}); it is not shown again.", err=True)


@token.command("list")
@_common
@click.pass_obj
def token_list(options: Options) -> None:
    """List tokens, without their secrets."""
    with _database(options) as database:
        from registry import auth
        from registry.core.facts import to_json

        with database.read() as session:
            found = auth.tokens(session)
    if options.as_json:
        _print_json({"items": to_json(found), "next": None})
        return
    rows = [
        (item.id, item.name, item.scope, str(item.created_at)[:16],
         f"revoked {item.revoked_at:%Y-%m-%d}" if item.revoked_at else "")
        for item in found
    ]  # fmt: skip
    _print_table(
        ("ID", "NAME", "SCOPE", "MADE", ""), rows, "No token yet; make one with token create."
    )


@token.command("revoke")
@click.argument("number", type=click.IntRange(1))
@_database_option
@click.pass_obj
def token_revoke(options: Options, number: int) -> None:
    """Revoke the token with this ID, for good."""
    with _database(options) as database:
        from registry import auth

        with database.write() as session:
            gone = auth.revoke(session, number, _now())
    click.echo(f"Token {gone.id} ({gone.name}) is revoked.")


@cli.command("export")
@click.argument("what", type=click.Choice(["catalog"]), default="catalog")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, writable=True), help="File to write."
)
@_common
@click.pass_obj
def export(options: Options, what: str, output: str | None) -> None:
    """Print the whole catalog: every claim that counts. `import` reads it without loss."""
    assert what == "catalog"
    if options.url:
        _call(options, "GET", "/v1/export/catalog.json")
        text = _download(options, "/v1/export/catalog.json")
    else:
        with _database(options) as database:
            from registry import jobs

            text = jobs.export_catalog(database)
    if output:
        Path(output).write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)


def _download(options: Options, path: str) -> str:
    import httpx2

    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    return httpx2.get(f"{(options.url or '').rstrip('/')}{path}", headers=headers, timeout=60).text


@cli.command("import")
@click.argument("file", type=click.File("rb"))
@_database_option
@click.pass_obj
def import_(options: Options, file: Any) -> None:
    """Take in an exported catalog; what is known already stays."""
    with _database(options) as database:
        from registry import jobs

        count = jobs.import_catalog(database, file.read(64 * 1024 * 1024 + 1), _now)
    click.echo(f"Imported: {count} events.")


@cli.command()
@_common
@click.pass_obj
def doctor(options: Options) -> int:
    """Say what is wrong with this installation and how to mend it."""
    from registry.serving import findings

    found = findings(options.settings())
    if options.as_json:
        _print_json([{"level": level, "what": what} for level, what in found])
    else:
        marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "bad": ("BAD", "red")}
        for level, what in found:
            mark, colour = marks[level]
            click.echo(f"{click.style(f'{mark:>5}', fg=colour)}  {what}")
    return 1 if any(level == "bad" for level, _ in found) else 0


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script: eval "$(beta-registry completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "beta-registry", "_BETA_REGISTRY_COMPLETE").source())


# --- Probing --------------------------------------------------------------------------------------


@cli.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--platform", help="Where the answer came from, if it does not tell.")
@click.option("--beta", "-b", multiple=True, help="A beta that was sent; repeatable.")
@click.option("--model")
@_common
@click.pass_obj
def diagnose(
    options: Options, file: Any, platform: str | None, beta: Sequence[str], model: str | None
) -> int:
    """Say what an upstream answer means for betas: FILE or standard input.

    Takes a raw HTTP message, `curl -v` output, JSON, or lines out of a log. Exit code 0: no trouble with
    a beta; 2: restricted, another model or a beta is missing; 3: refused.
    """
    from registry.core.answers import read_pasted
    from registry.core.diagnosis import diagnose as judge

    pasted = read_pasted(file.read(2 * 1024 * 1024).decode("utf-8", "replace"))
    asked: dict[str, Any] = {
        "status": pasted.status,
        "headers": pasted.headers,
        "body": pasted.body[: 1024 * 1024],
        "platform": platform or pasted.platform,
        "betas_sent": list(beta) or (list(pasted.betas_sent) if pasted.betas_sent else None),
        "model": model or pasted.model,
        "endpoint": pasted.endpoint,
    }
    if options.url:
        found = _call(options, "POST", "/v1/diagnose", json=asked)
    else:
        found = judge(_facts(options).snapshot, today=_today(), **asked)
    if options.as_json:
        _print_json(found)
    else:
        _print_diagnosis(found)
    return {"refused": 3, "restricted": 2, "model_unsupported": 2, "beta_missing": 2}.get(
        found["verdict"], 0
    )


def _print_diagnosis(found: Json) -> None:
    colour = {"accepted": "green", "refused": "red", "inconclusive": "blue"}.get(
        found["verdict"], "yellow"
    )
    reason = f" ({found['reason']})" if found["reason"] else ""
    where = f" on {found['platform']}" if found["platform"] else ""
    click.secho(f"{found['verdict']}{reason}{where}", fg=colour, bold=True)
    for line in (found["explanation"], found["advice"]):
        if line:
            click.echo(line)
    rows = [(b["name"], b["status"], b["state"], b["use_instead"]) for b in found["betas"]]
    if rows:
        click.echo()
        _print_table(("BETA", "STATUS", "STATE", "USE INSTEAD"), rows, "")
    instead = found["send_instead"]
    if instead:
        value = "no header at all" if instead["omit"] else instead["value"]
        click.echo(f"\nSend instead: {value}")
    if found["body_fields"]:
        click.echo(f"Body fields that go with it: {', '.join(found['body_fields'])}")
    for command in found["confirm"]:
        click.echo(f"$ {command}")


@cli.command()
@_common
@click.pass_obj
def targets(options: Options) -> None:
    """List the targets with their health and last sweep."""
    if options.url:
        items = _call(options, "GET", "/v1/targets")["items"]
    else:
        with _database(options) as database:
            from registry import targets as known
            from registry.app import make_probes
            from registry.core.facts import to_json

            with database.write() as session:
                known.ensure(session, [p.plan for p in make_probes(options.settings())], _now())
                items = to_json(known.statuses(session))
    if options.as_json:
        _print_json({"items": items, "next": None})
        return
    rows = []
    for item in items:
        last = item["last_sweep"] or {}
        rows.append(
            (item["name"], item["platform"], item["model"], item["endpoint"], item["health"],
             (last.get("ended_at") or "never")[:16].replace("T", " "), last.get("accepted"),
             last.get("refused"), item["detail"][:80])
        )  # fmt: skip
    columns = (
        "TARGET",
        "PLATFORM",
        "MODEL",
        "ENDPOINT",
        "HEALTH",
        "SWEPT",
        "ACCEPTED",
        "REFUSED",
        "",
    )
    _print_table(
        columns, rows, "No target; set ANTHROPIC_API_KEY or add [[targets]] to the settings."
    )


@cli.command("probe")
@click.argument("name", required=False, metavar="[TARGET]")
@click.option("--beta", "-b", multiple=True, help="Only this beta; repeatable.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--confirm", is_flag=True, help="Believe a mass change: the key or plan is right.")
@_common
@click.pass_obj
def probe(
    options: Options, name: str | None, beta: Sequence[str], dry_run: bool, confirm: bool
) -> int:
    """Sweep TARGET now (all of them without a name), with progress. Exit code 1: inconclusive."""
    if options.url:
        return _probe_remotely(options, name, beta, confirm)
    settings = options.settings()
    from registry import jobs
    from registry.app import make_probes

    found = [item for item in make_probes(settings) if name in (None, item.plan.name)]
    if not found:
        known = ", ".join(item.plan.name for item in make_probes(settings))
        raise click.ClickException(
            f"There is no target {name}; there is {known}." if known
            else "No target; set ANTHROPIC_API_KEY or add [[targets]] to the settings."
        )  # fmt: skip
    good = True
    with _database(options) as database:
        for item in found:
            if dry_run:
                _print_dry_run(jobs.candidates(database, item.plan, beta), item)
            else:
                good = _probe_one(options, database, item, beta, confirm) and good
    return 0 if good else 1


def _print_dry_run(candidates: Sequence[Any], item: Any) -> None:
    from registry.probing.grouping import batches

    conflicts = {one.name: one.conflicts for one in candidates}
    parts = batches([one.name for one in candidates], conflicts, item.limits.max_header_betas - 1)
    click.echo(
        f"{item.plan.name}: {len(candidates)} betas in {len(parts)} requests beside the controls, at most "
        f"{item.limits.max_requests} requests; {item.plan.endpoint} on {item.plan.platform} with "
        f"{item.plan.model}."
    )
    for part in parts:
        click.echo(f"  {','.join(part)}")


def _probe_one(
    options: Options, database: Database, item: Any, wanted: Sequence[str], confirm: bool
) -> bool:
    """Sweep here, or let the process do it that runs the jobs: never two at once."""
    import time

    from registry import jobs
    from registry import targets as known
    from registry.config import now
    from registry.scheduler import Lease

    if confirm:
        with database.write() as session:
            known.ensure(session, [item.plan], now())
            known.confirm(session, item.plan.name)
    lease = Lease(database, now)
    if not lease.acquire():
        with database.write() as session:
            number = known.begin(session, item.plan.name, "asked", now(), queue=True, betas=wanted)
        click.echo(f"{item.plan.name}: the running service sweeps (sweep {number})...", err=True)
        while True:
            with database.read() as session:
                shown = known.sweep(session, number)
            if shown.outcome not in ("queued", "running"):
                return _print_sweep(options, shown)
            time.sleep(0.5)
    try:
        with _progress(item.plan.name) as bar:
            done = jobs.probe(
                database, item, now, time.sleep, trigger="asked", wanted=wanted,
                generation=lease.generation,
                progress=lambda requests, _what: bar(requests, item.limits.max_requests),
            )  # fmt: skip
    finally:
        lease.release()
    with database.read() as session:
        shown = known.sweep(session, done.id)
    good = _print_sweep(options, shown)
    if not options.as_json:
        for event in done.events[:50]:
            click.echo(f"  {event.type:<20} {event.beta or event.target}: {event.reason}")
    return good


def _print_sweep(options: Options, shown: Any) -> bool:
    from registry.core.facts import to_json

    sweep = shown if isinstance(shown, dict) else to_json(shown)
    if options.as_json:
        _print_json(sweep)
    else:
        click.echo(
            f"{sweep['target']}: {sweep['outcome']}, {sweep['requests']} requests: "
            f"{sweep['accepted']} accepted, {sweep['refused']} refused, {sweep['restricted']} "
            f"restricted. {sweep['detail']}".rstrip()
        )
    return sweep["outcome"] in ("ok", "partial")


def _probe_remotely(
    options: Options, name: str | None, wanted: Sequence[str], confirm: bool
) -> int:
    import time

    names = [name] if name else [t["name"] for t in _call(options, "GET", "/v1/targets")["items"]]
    good = True
    for one in names:
        if confirm:
            _call(options, "POST", f"/v1/targets/{one}/confirm")
        asked = _call(options, "POST", f"/v1/targets/{one}/sweeps", json={"betas": list(wanted)})
        while asked["outcome"] in ("queued", "running"):
            time.sleep(0.5)
            asked = _call(options, "GET", f"/v1/sweeps/{asked['id']}")
        good = _print_sweep(options, asked) and good
    return 0 if good else 1


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8900, show_default=True)
@click.option("--script", metavar="FILE", help="What it accepts and when, in JSON or TOML.")
def simulate(host: str, port: int, script: str | None) -> None:
    """Start the simulator of the upstream platforms, to try clients and probing against."""
    try:
        from registry import simulator
    except ImportError:
        raise click.ClickException(SERVER_HINT) from None
    try:
        simulator.run(host, port, script)
    except simulator.SimulatorError as error:
        raise click.ClickException(str(error)) from None


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--exit", "leave", is_flag=True, help="End when the story is told.")
def demo(port: int, leave: bool) -> None:
    """Show it all: a beta works, dies upstream, is found out, and is no longer served."""
    try:
        from registry import demo as story
    except ImportError:
        raise click.ClickException(SERVER_HINT) from None
    story.run(port, leave=leave)


if __name__ == "__main__":
    main()
