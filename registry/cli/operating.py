"""Commands that run and keep the service: serve, db, sync, token, doctor."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from typing import Any

import click

from registry import __version__
from registry.cli.frame import (
    SERVER_HINT,
    Options,
    check_words,
    cli,
    common,
    database_option,
    facts_of,
    has_server,
    now,
    open_database,
    print_json,
    print_table,
    progress_bar,
)

# --- Operating ------------------------------------------------------------------------------------


@cli.command()
@click.option("--host", help="Address to listen on (default 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (default 8000).")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes (default 1).")
@database_option
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
@database_option
@click.pass_obj
def db_upgrade(options: Options) -> None:
    """Bring the schema up to date."""
    settings = options.settings()
    from registry.db import upgrade

    upgrade(settings.database_url)
    click.echo("The database is up to date.")


@db.command("downgrade")
@click.argument("revision")
@database_option
@click.pass_obj
def db_downgrade(options: Options, revision: str) -> None:
    """Take the schema back to REVISION (`base` for empty, -1 for one step)."""
    settings = options.settings()
    from registry.db import downgrade

    downgrade(settings.database_url, revision)
    click.echo(f"The database is at {revision}.")


@db.command("check")
@database_option
@click.pass_obj
def db_check(options: Options) -> None:
    """Say whether the schema is exactly that of this version."""
    settings = options.settings()
    from registry.db import check as check_schema

    check_schema(settings.database_url)
    click.echo("The database is as this version wants it.")


@cli.command()
@click.argument("names", nargs=-1, metavar="[SOURCE]...")
@database_option
@click.pass_obj
def sync(options: Options, names: Sequence[str]) -> int:
    """Read the sources now: catalog, sdk, litellm, release-notes, docs (all of them if none is named)."""
    settings = options.settings()
    from registry import config, jobs
    from registry.app import http_client, make_sources

    check_words(names, config.SOURCE_NAMES, "source")
    wanted = settings.model_copy(update={"sources": list(names) or settings.sources})
    sources = make_sources(wanted)
    for name in set(names) - {source.name for source in sources}:
        click.echo(f"{name}: disabled, because the settings say offline.", err=True)
    failed = False
    with open_database(options) as database, http_client() as http:
        for source in sources:
            with progress_bar(source.name) as progress:
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


@cli.group()
def token() -> None:
    """Make, list and revoke tokens."""


@token.command("create")
@click.argument("name")
@click.option("--scope", type=click.Choice(["read", "write", "admin", "report", "feed"]), default="read",
              show_default=True)  # fmt: skip
@common
@click.pass_obj
def token_create(options: Options, name: str, scope: str) -> None:
    """Make a token called NAME and print its secret, once."""
    with open_database(options) as database:
        from registry import auth
        from registry.core.facts import to_json

        with database.write() as session:
            made, secret = auth.create(session, name, scope, now())
    if options.as_json:
        print_json({**to_json(made), "token": secret})
        return
    click.echo(secret)
    click.echo(f"Token {made.id} ({made.scope}, {made.name}); it is not shown again.", err=True)


@token.command("list")
@common
@click.pass_obj
def token_list(options: Options) -> None:
    """List tokens, without their secrets."""
    with open_database(options) as database:
        from registry import auth
        from registry.core.facts import to_json

        with database.read() as session:
            found = auth.tokens(session)
    if options.as_json:
        print_json({"items": to_json(found), "next": None})
        return
    rows = [
        (item.id, item.name, item.scope, str(item.created_at)[:16],
         f"revoked {item.revoked_at:%Y-%m-%d}" if item.revoked_at else "")
        for item in found
    ]  # fmt: skip
    print_table(
        ("ID", "NAME", "SCOPE", "MADE", ""), rows, "No token yet; make one with token create."
    )


@token.command("revoke")
@click.argument("number", type=click.IntRange(1))
@database_option
@click.pass_obj
def token_revoke(options: Options, number: int) -> None:
    """Revoke the token with this ID, for good."""
    with open_database(options) as database:
        from registry import auth

        with database.write() as session:
            gone = auth.revoke(session, number, now())
    click.echo(f"Token {gone.id} ({gone.name}) is revoked.")


@cli.command()
@common
@click.pass_obj
def doctor(options: Options) -> int:
    """Say what is wrong with this installation and how to mend it."""
    found = [("ok", f"beta-registry {__version__} on Python {platform.python_version()}.")]
    if options.url or not has_server():
        found.append(_about_facts(options))
    if has_server():
        from registry.serving import findings

        found += findings(options.settings())
    else:
        found.append(
            ("note", f"This is the light client; serving and probing need more. {SERVER_HINT}")
        )
    if options.as_json:
        print_json([{"level": level, "what": what} for level, what in found])
    else:
        marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "bad": ("BAD", "red")}
        for level, what in found:
            mark, colour = marks[level]
            click.echo(f"{click.style(f'{mark:>5}', fg=colour)}  {what}")
    return 1 if any(level == "bad" for level, _ in found) else 0


def _about_facts(options: Options) -> tuple[str, str]:
    """Say where reading commands get their facts, and whether they can be had."""
    from registry.core.errors import RegistryError

    try:
        facts = facts_of(options)
    except click.ClickException as error:
        return "bad", error.format_message()
    except RegistryError as error:
        return "bad", error.detail
    known, day = len(facts.snapshot.betas), facts.snapshot.as_of.date()
    return "ok", f"Facts come from {facts.origin}: {known} betas, catalog of {day}."


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script: eval "$(beta-registry completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "beta-registry", "_BETA_REGISTRY_COMPLETE").source())
