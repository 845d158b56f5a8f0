"""Commands that exchange facts with others: export and import of the catalog and of LiteLLM's config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli.frame import (
    BUNDLED,
    Facts,
    Options,
    call,
    cli,
    common,
    database_option,
    download,
    facts_of,
    now,
    open_database,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from registry.core.exports import Difference, LiteLLM

MAX_FILE = 64 * 1024 * 1024


@cli.command("export")
@click.argument("what", type=click.Choice(["catalog", "litellm", "allowlist"]), default="catalog")
@click.argument("place", required=False)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, writable=True), help="File to write."
)
@click.option(
    "--diff", type=click.File("rb"), metavar="FILE", help="Compare with a config of LiteLLM's."
)
@common
@click.pass_obj
def export(options: Options, what: str, place: str | None, output: str | None, diff: Any) -> None:
    """Print what others read: the whole catalog (`import` reads it without loss), or LiteLLM's config.

    export allowlist PLACE prints every known name as a gateway's allow list for a place, such as
    bedrock-invoke, foundry-azure or vertex.

    export litellm --diff FILE prints no config, but every name that LiteLLM would treat differently with it
    than with FILE, and why.
    """
    if diff is not None:
        if what != "litellm" or output:
            raise click.UsageError("--diff goes with `export litellm`, and without --output.")
        from registry.core.exports import parse_litellm

        _print_differences(options, _compare(options, parse_litellm(diff.read(MAX_FILE))))
        return
    if (place is None) == (what == "allowlist"):
        raise click.UsageError("A place, such as bedrock-invoke, goes with `export allowlist`.")
    text = _allowlist(options, place) if place else _exported(options, what)
    if output:
        Path(output).write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)


def _allowlist(options: Options, place: str) -> str:
    from registry.core.exports import allowlist
    from registry.core.places import KNOWN_PLACES

    found = KNOWN_PLACES.get(place)
    if found is None:
        raise click.UsageError(f"{place!r} is not a place; use one of {', '.join(KNOWN_PLACES)}.")
    return json.dumps(allowlist(facts_of(options).snapshot, found), indent=2) + "\n"


def _exported(options: Options, what: str) -> str:
    if options.url:
        call(options, "GET", f"/v1/export/{what}.json")
        return download(options, f"/v1/export/{what}.json")
    if what == "litellm":
        from registry.core.exports import dump_litellm, litellm

        facts = facts_of(options)
        return dump_litellm(litellm(facts.snapshot, _words(options, facts)))
    with open_database(options) as database:
        from registry import jobs

        return jobs.export_catalog(database)


def _words(options: Options, facts: Facts) -> LiteLLM | None:
    """Return what LiteLLM says, as the registry knows it, or as far as it exports it."""
    if options.url:
        from registry.core.exports import parse_litellm

        return parse_litellm(download(options, "/v1/export/litellm.json").encode())
    if facts.origin == BUNDLED:
        return None
    from registry.exchange import litellm_words

    with open_database(options) as database, database.read() as session:
        return litellm_words(session)


def _compare(options: Options, theirs: LiteLLM) -> Sequence[Difference]:
    from registry.core.exports import differences

    facts = facts_of(options)
    return differences(facts.snapshot, _words(options, facts), theirs)


def _print_differences(options: Options, found: Sequence[Difference], taken: str = "") -> None:
    """Print them; `taken` is what becomes of those on which we have no evidence of our own."""
    from registry.core.facts import to_json

    if options.as_json:
        print_json({"items": to_json(found), "next": None})
        return
    rows = [
        (
            item.name,
            item.provider,
            "missing" if item.missing else item.theirs or "null",
            item.ours or "null",
            item.why if item.own or item.missing else f"{item.why}{taken}",
        )
        for item in found
    ]
    columns = ("NAME", "PROVIDER", "THEIRS", "OURS", "WHY")
    print_table(columns, rows, "No difference in effect.")
    if rows:
        passing = sum(item.ours is not None and item.theirs is None for item in found)
        held = sum(item.ours is None for item in found)
        renamed = len(found) - passing - held
        click.echo(
            f"\n{len(found)} differences: {passing} pass with ours only, {held} with theirs only, "
            f"{renamed} go by another name."
        )


@cli.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--format", "form", type=click.Choice(["catalog", "litellm"]), default="catalog",
              show_default=True)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="LiteLLM's config only: show, and change nothing.")
@database_option
@click.pass_obj
def import_(options: Options, file: Any, form: str, dry_run: bool) -> None:
    """Take in an exported catalog, or a gateway's beta config in LiteLLM's format.

    Of a catalog, what is known already stays. LiteLLM's config is weak evidence: the registry repeats it
    where it has no evidence of its own, and every difference is shown first.
    """
    if form == "litellm":
        _import_litellm(options, file, dry_run)
        return
    if dry_run:
        raise click.UsageError("--dry-run goes with --format litellm.")
    with open_database(options) as database:
        from registry import jobs

        count = jobs.import_catalog(database, file.read(MAX_FILE + 1), now)
    click.echo(f"Imported: {count} events.")


def _import_litellm(options: Options, file: Any, dry_run: bool) -> None:
    from registry.core.exports import parse_litellm

    theirs = parse_litellm(file.read(MAX_FILE))
    options.url = None  # an import is for the local database, and so is the comparison
    _print_differences(options, _compare(options, theirs), " Theirs will be repeated.")
    if dry_run:
        click.echo("Nothing was changed.", err=options.as_json)
        return
    with open_database(options) as database:
        from registry.exchange import apply_litellm

        with database.write() as session:
            events = apply_litellm(session, theirs, now())
    click.echo(f"Imported: {len(theirs.names)} names, {len(events)} events.", err=options.as_json)
