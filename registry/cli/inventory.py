"""Commands of the inventory: services, inventory, and who uses a beta."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from registry.core.facts import Json
    from registry.core.judgement import Judges
    from registry.inventory import Declaration

from registry.cli.frame import (
    Options,
    call,
    check_words,
    cli,
    common,
    download,
    now,
    open_database,
    print_json,
    print_table,
    shortened,
    today,
)
from registry.cli.reading import betas
from registry.core.places import Place

Params = Mapping[str, Any]


# --- Where it comes from --------------------------------------------------------------------------


@contextmanager
def _local(options: Options) -> Iterator[tuple[Session, Judges]]:
    """Open the local database to read, and what judges by it."""
    with open_database(options) as database, database.read() as session:
        from registry import catalog
        from registry.core.judgement import Judges

        yield session, Judges(catalog.snapshot(session), today())


def _remote(options: Options, path: str, params: Params) -> list[Any]:
    """Read all pages of a list of the registry at --url."""
    items: list[Any] = []
    cursor: str | None = None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = call(options, "GET", path, params={**params, "limit": 500, **more})
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


def _path(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _filters(*words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command take repeatable options of these names, and `-q`."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("-q", "query", default="", help="Text in service, beta or team.")(
            command
        )
        for word in reversed(words):
            text = f"Only of this {word}; repeatable."
            command = click.option(f"--{word}", multiple=True, help=text)(command)
        return command

    return add


def _given(**values: Any) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value
            for key, value in values.items() if value}  # fmt: skip


# --- Services -------------------------------------------------------------------------------------


@cli.group(invoke_without_command=True)
@common
@click.pass_context
def services(context: click.Context) -> None:
    """List, show and import services."""
    if context.invoked_subcommand is None:
        context.invoke(services_list)


@services.command("list")
@_filters("team", "beta", "environment", "platform", "health")
@common
@click.pass_obj
def services_list(
    options: Options,
    team: tuple[str, ...] = (),
    beta: tuple[str, ...] = (),
    environment: tuple[str, ...] = (),
    platform: tuple[str, ...] = (),
    health: tuple[str, ...] = (),
    query: str = "",
) -> None:
    """List services with their health and what they use."""
    from registry.core.health import HEALTHS
    from registry.core.names import PLATFORMS

    check_words(health, HEALTHS, "health")
    check_words(platform, PLATFORMS, "platform")
    if options.url:
        asked = _given(team=team, beta=beta, environment=environment, platform=platform,
                       health=health, q=query)  # fmt: skip
        items = _remote(options, "/v1/services", asked)
    else:
        with _local(options) as (session, judge):
            from registry import inventory
            from registry.core.facts import to_json

            wanted = inventory.ServiceFilter(
                teams=team, betas=beta, environments=environment, platforms=platform,
                healths=health, q=query,
            )  # fmt: skip
            found = inventory.services(session, judge, now(), wanted, limit=100_000)
            items = to_json(found)
    if options.as_json:
        print_json({"items": items, "next": None})
        return
    rows = [
        (item["name"], item["health"], item["team"], item["owner"], _minute(item["last_seen"]),
         _troubles(item["betas"]))
        for item in items
    ]  # fmt: skip
    columns = ("SERVICE", "HEALTH", "TEAM", "OWNER", "LAST SEEN", "WHAT TO LOOK AT")
    print_table(columns, rows, "No service matches; services appear with their first report.")


def _troubles(used: Sequence[Json]) -> str:
    found = [
        f"{beta['name']} ({beta['issue']} on {_where(beta['place'])})"
        for beta in used
        if beta["issue"]
    ]
    return shortened(", ".join(found) or f"{_number(len(used), 'beta')}, none in trouble", 110)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _where(place: Json) -> str | None:
    """Print a place (its JSON) in words."""
    return str(Place(**place)) if place else None


def _minute(moment: str | None) -> str | None:
    return moment[:16].replace("T", " ") if moment else None


@services.command("show")
@click.argument("name")
@common
@click.pass_obj
def services_show(options: Options, name: str) -> None:
    """Show one service: its people, its betas, and what to do about them."""
    if options.url:
        item = call(options, "GET", f"/v1/services/{_path(name)}")
    else:
        with _local(options) as (session, judge):
            from registry import inventory
            from registry.core.facts import to_json

            item = to_json(inventory.service(session, name, judge, now()))
    if options.as_json:
        print_json(item)
        return
    click.echo(f"{item['name']}: {item['health']}")
    for key in ("team", "owner", "contacts", "repository", "tier", "platform", "model"):
        value = item[key]
        shown = ", ".join(value) if isinstance(value, list) else value
        if shown:
            click.echo(f"  {key:<12} {shown}")
    click.echo(f"  {'environments':<12} {', '.join(item['environments']) or '-'}")
    click.echo(f"  {'last seen':<12} {_minute(item['last_seen']) or 'never'}\n")
    rows = [
        (beta["name"], _where(at["place"]), at["status"], at["issue"], at["count_24h"],
         at["refused_24h"], at["advice"] or at["detail"])
        for beta in item["betas"]
        for at in beta["places"]
    ]  # fmt: skip
    columns = ("BETA", "PLACE", "STATUS", "ISSUE", "24 H", "REFUSED", "WHAT TO DO")
    print_table(columns, rows, "It was seen with no beta in the last 30 days.")
    for beta in item["betas"]:
        for place in beta["locations"]:
            line = f":{place['line']}" if place["line"] else ""
            click.echo(f"{place['path']}{line}: {beta['name']}")


@services.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@common
@click.pass_obj
def services_import(options: Options, files: Sequence[Path]) -> None:
    """Take names, owners and repositories from Backstage's catalog-info.yaml FILES.

    What else is known of a service stays as it is. A file that cannot be read changes nothing.
    """
    from registry.inventory.backstage import MAX_BYTES, read_components

    found: list[Declaration] = []
    for file in files:
        with file.open("rb") as opened:
            found += read_components(opened.read(MAX_BYTES + 1), str(file))
    if not found:
        raise click.ClickException("There is no document of kind Component in it.")
    if options.url:
        _declare_remotely(options, found)
    else:
        with open_database(options) as database, database.write() as session:
            from registry import inventory

            inventory.declare(session, found, "backstage", now(), owners_only=True)
    click.echo(f"{_number(len({item.name for item in found}), 'service')} imported.")


def _declare_remotely(options: Options, found: Sequence[Declaration]) -> None:
    """Declare over HTTP: PUT replaces, so what is known already is sent along."""
    held = {item["name"]: item for item in _remote(options, "/v1/services", {})}
    for made in found:
        known = held.get(made.name, {})
        kept = ("contacts", "tier", "platform", "model", "defaults")
        body = {key: known[key] for key in kept if known.get(key)}
        body |= {"team": made.team, "owner": made.owner}
        body["repository"] = made.repository or known.get("repository")
        call(options, "PUT", f"/v1/services/{_path(made.name)}", json=body)


# --- Inventory ------------------------------------------------------------------------------------


@cli.command("inventory")
@click.option(
    "--group-by", type=click.Choice(["beta", "service", "team", "status"]), default="beta",
    show_default=True,
)  # fmt: skip
@_filters("team", "service", "beta", "status", "environment", "platform")
@click.option("--csv", "as_csv", is_flag=True, help="Print every usage as CSV.")
@common
@click.pass_obj
def inventory_command(
    options: Options,
    group_by: str,
    team: tuple[str, ...],
    service: tuple[str, ...],
    beta: tuple[str, ...],
    status: tuple[str, ...],
    environment: tuple[str, ...],
    platform: tuple[str, ...],
    query: str,
    as_csv: bool,
) -> None:
    """Say who uses what: the last 30 days, grouped and filtered."""
    from registry.core.facts import STATUSES
    from registry.core.names import PLATFORMS

    check_words(status, (*STATUSES, "unknown"), "status")
    check_words(platform, PLATFORMS, "platform")
    asked = _given(team=team, service=service, beta=beta, status=status, environment=environment,
                   platform=platform, q=query)  # fmt: skip
    if as_csv:
        click.echo(_csv(options, asked), nl=False)
        return
    items = _rows(options, group_by, asked)
    if options.as_json:
        print_json({"items": items, "next": None})
        return
    _print_rows(group_by, items)


def _filter(asked: Params) -> Any:
    from registry import inventory

    return inventory.Filter(
        teams=tuple(asked.get("team", ())),
        services=tuple(asked.get("service", ())),
        betas=tuple(asked.get("beta", ())),
        statuses=tuple(asked.get("status", ())),
        environments=tuple(asked.get("environment", ())),
        platforms=tuple(asked.get("platform", ())),
        q=asked.get("q", ""),
    )


def _csv(options: Options, asked: Params) -> str:
    if options.url:
        from urllib.parse import urlencode

        return download(options, f"/v1/export/inventory.csv?{urlencode(asked, doseq=True)}")
    with _local(options) as (session, judge):
        from registry import inventory

        return inventory.write_csv(session, judge, now(), _filter(asked))


def _rows(options: Options, group_by: str, asked: Params) -> Any:
    if options.url:
        return _remote(options, "/v1/inventory", {**asked, "group_by": group_by})
    with _local(options) as (session, judge):
        from registry import inventory
        from registry.core.facts import to_json

        return to_json(
            inventory.rows(session, judge, now(), group_by, _filter(asked), limit=100_000)
        )


def _print_rows(group_by: str, items: Sequence[Json]) -> None:
    """Print the groups, the most used first."""
    by_use = sorted(items, key=lambda item: (-item["services"], -item["count_30d"]))
    rows = [
        (item["key"] or "(none)", *_place(group_by, item), item["status"], item["services"], item["betas"],
         item["count_30d"], item["refused_30d"], _minute(item["last_seen"]), item["advice"])
        for item in by_use
    ]  # fmt: skip
    columns = (
        group_by.upper(), *(["PLACE"] if group_by == "beta" else []), "STATUS", "SERVICES", "BETAS",
        "30 DAYS", "REFUSED", "LAST SEEN", "WHAT TO DO",
    )  # fmt: skip
    print_table(columns, rows, "Nothing was seen in the last 30 days.")


def _place(group_by: str, item: Json) -> list[str | None]:
    """Return where a beta is used and stands worst; other groups have no place."""
    return [_where(item["place"])] if group_by == "beta" else []


# --- Who uses a beta ------------------------------------------------------------------------------


@betas.command("who")
@click.argument("name")
@click.option("--platform", help="Only those seen there.")
@click.option("--team", multiple=True, help="Only of this team; repeatable.")
@common
@click.pass_obj
def betas_who(options: Options, name: str, platform: str | None, team: tuple[str, ...]) -> None:
    """Say who uses a beta: services, owners, how often, and where in the code."""
    from registry.core.names import PLATFORMS

    check_words([platform] if platform else [], PLATFORMS, "platform")
    asked = _given(team=team, platform=platform)
    found = _who(options, name, asked)
    if options.as_json:
        print_json(found)
        return
    rows = [
        (item["service"], item["environment"], item["team"], item["owner"], _where(item["place"]),
         _minute(item["last_seen"]), item["count_24h"], item["refused_24h"], _places(item))
        for item in found["items"]
    ]  # fmt: skip
    columns = (
        "SERVICE", "ENVIRONMENT", "TEAM", "OWNER", "PLACE", "LAST SEEN", "24 H", "REFUSED",
        "WHERE",
    )  # fmt: skip
    print_table(columns, rows, f"Nobody was seen with {name} in the last 30 days.")
    if rows:
        radius = found["radius"]
        click.echo(
            f"\n{_number(radius['services'], 'service')} of {_number(len(radius['teams']), 'team')}; "
            f"{radius['count_30d']:,} times in 30 days, {radius['refused_30d']:,} refused."
        )


def _who(options: Options, name: str, asked: Params) -> Any:
    if options.url:
        path = f"/v1/betas/{_path(name)}/usages"
        whole = call(options, "GET", path, params={**asked, "limit": 1})
        return {**whole, "items": _remote(options, path, asked), "next": None}
    with _local(options) as (session, judge):
        from registry import inventory
        from registry.core.facts import to_json

        wanted = _filter({**asked, "beta": [name],
                          "platform": [asked["platform"]] if "platform" in asked else []})  # fmt: skip
        found = inventory.users(session, judge, now(), wanted, limit=100_000)
        radius = inventory.radius(session, judge, now(), wanted)
        return {"items": to_json(found), "next": None, "radius": to_json(radius)}


def _places(item: Json) -> str:
    first = [f"{at['path']}:{at['line']}" if at["line"] else at["path"] for at in item["locations"]]
    return shortened(", ".join(first), 80)
