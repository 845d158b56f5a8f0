"""Commands of alerts: subscriptions and deliveries."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from registry.cli.frame import (
    Options,
    call,
    cli,
    common,
    open_database,
    print_json,
    print_table,
    shortened,
)

if TYPE_CHECKING:
    from registry.alerts import Alerts
    from registry.core.facts import Json

__all__ = ["deliveries", "subscriptions"]


def _ask(
    options: Options, method: str, path: str, local: Callable[[Alerts], Any], **more: Any
) -> Json:
    """Call the registry at --url, or do the same here. Returns JSON as the API prints it."""
    if options.url:
        return call(options, method, f"/v1{path}", **more)
    with open_database(options) as database:
        from registry.app import make_alerts
        from registry.core.facts import to_json

        return to_json(local(make_alerts(options.settings(), database)))


@cli.group()
def subscriptions() -> None:
    """Say who hears of what, and where."""


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, told in reversed(
        (
            ("type", "Only events of this type, such as beta.retired or beta.*; repeatable."),
            ("beta", "Only of this beta; repeatable."),
            ("feature", "Only of this feature; repeatable."),
            ("platform", "Only on this platform; repeatable."),
            ("status", "Only of betas with this status; repeatable."),
            ("affects", "Only what affects services of this team; repeatable."),
        )
    ):
        command = click.option(f"--{name}", name, multiple=True, help=told)(command)
    return command


_MEMBERS = {
    "type": "types", "beta": "betas", "feature": "features", "platform": "platforms",
    "status": "statuses", "affects": "teams",
}  # fmt: skip


@subscriptions.command("add")
@click.argument("name")
@click.option(
    "--channel", type=click.Choice(["webhook", "apprise"]), default="webhook", show_default=True
)
@click.option("--to", "address", help="Where to send: a webhook's URL, or an Apprise URL.")
@click.option(
    "--to-env",
    "url_env",
    metavar="VARIABLE",
    help="Variable that holds the URL, to keep it out of sight.",
)
@click.option("--team", help="Whose subscription it is.")
@_filter_options
@click.option("--backfill", is_flag=True, help="History, too.")
@click.option("--pending", is_flag=True, help="Also what a target has not decided yet.")
@click.option(
    "--only-if-used", is_flag=True, help="Only of betas that the team's services were seen with."
)
@click.option(
    "--schedule",
    type=click.Choice(["immediate", "daily", "weekly"]),
    default="immediate",
    show_default=True,
)
@click.option(
    "--timezone", default="UTC", show_default=True, help="IANA name; digests come at 9 there."
)
@common
@click.pass_obj  # fmt: skip
def add(
    options: Options,
    /,
    name: str,
    channel: str,
    address: str | None,
    url_env: str | None,
    backfill: bool,
    pending: bool,
    **given: Any,
) -> None:
    """Subscribe. The secret that a webhook is signed with is printed once."""
    import os

    if (address is None) == (url_env is None):
        raise click.UsageError("Give --to or --to-env, one of them.")
    url = address if address is not None else os.environ.get(url_env or "")
    if not url:
        raise click.UsageError(f"The variable {url_env} is not set.")
    asked = {_MEMBERS[key]: list(given.pop(key)) for key in _MEMBERS}
    chosen = {member: words for member, words in asked.items() if words}
    body = {
        "name": name, "channel": channel, "url": url,
        "filter": {**chosen, "backfill": backfill, "pending": pending},
        **{key: value for key, value in given.items() if value is not None},
    }  # fmt: skip

    def local(alerts: Alerts) -> Any:
        from registry.core.facts import to_json

        made, secret = alerts.subscribe(body)
        return {**to_json(made), "secret": secret}

    made = _ask(options, "POST", "/subscriptions", local, json=body)
    if options.as_json:
        print_json(made)
        return
    click.echo(f"Subscription {made['id']}, {made['name']}: {made['channel']} to {made['url']}.")
    if made["note"]:
        click.echo(made["note"], err=True)
    if made["secret"]:
        click.echo(made["secret"])
        click.echo("Verify webhooks with this secret; it is not shown again.", err=True)


@subscriptions.command("list")
@common
@click.pass_obj
def list_subscriptions(options: Options) -> None:
    """List subscriptions; addresses are masked."""
    found = _ask(
        options,
        "GET",
        "/subscriptions",
        lambda alerts: {"items": alerts.subscriptions(), "next": None},
    )
    if options.as_json:
        print_json(found)
        return
    rows = [
        (item["id"], item["name"], item["team"], item["url"], item["schedule"], _told(item["filter"]),
         _state_of(item))
        for item in found["items"]
    ]  # fmt: skip
    columns = ("ID", "NAME", "TEAM", "TO", "WHEN", "OF", "STATE")
    print_table(columns, rows, "No subscription yet; make one with subscriptions add.")


def _told(filter: Json) -> str:
    words = [word for member in _MEMBERS.values() for word in filter.get(member) or ()]
    return shortened(", ".join(words), 50) or "everything"


def _state_of(item: Json) -> str:
    if item["disabled_reason"]:
        return f"disabled: {item['disabled_reason']}"
    if item["muted_until"]:
        return f"muted until {item['muted_until'][:16]}"
    if item["failing_since"]:
        return f"failing since {item['failing_since'][:16]}"
    return item["note"] or "ok"


@subscriptions.command("show")
@click.argument("number", type=click.IntRange(1))
@common
@click.pass_obj
def show(options: Options, number: int) -> None:
    """Show one subscription, as JSON."""
    print_json(
        _ask(options, "GET", f"/subscriptions/{number}", lambda alerts: alerts.subscription(number))
    )


@subscriptions.command("set")
@click.argument("number", type=click.IntRange(1))
@click.argument("members", nargs=-1, required=True, metavar="MEMBER=VALUE...")
@common
@click.pass_obj
def set_(options: Options, number: int, members: Sequence[str]) -> None:
    """Change members: set 3 schedule=daily 'filter={"types": ["beta.retired"]}' disabled_reason=null."""
    patch: dict[str, Json] = {}
    for member in members:
        key, equals, text = member.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{member!r} is not MEMBER=VALUE.")
        try:
            patch[key] = json.loads(text)
        except ValueError:
            patch[key] = text
    _amend(options, number, patch)


@subscriptions.command("mute")
@click.argument("number", type=click.IntRange(1))
@click.option("--until", help="Day or time at which it is heard again.")
@click.option("--off", is_flag=True, help="Hear again now.")
@common
@click.pass_obj
def mute(options: Options, number: int, until: str | None, off: bool) -> None:
    """Send nothing for a while; what happens meanwhile comes in one message afterwards."""
    if (until is None) != off:
        raise click.UsageError("Give --until or --off, one of them.")
    _amend(options, number, {"muted_until": until})


def _amend(options: Options, number: int, patch: dict[str, Json]) -> None:
    made = _ask(
        options, "PATCH", f"/subscriptions/{number}", lambda alerts: alerts.amend(number, patch),
        json=patch,
    )  # fmt: skip
    if options.as_json:
        print_json(made)
    else:
        click.echo(f"Subscription {number}, {made['name']}: {_state_of(made)}.")


@subscriptions.command("test")
@click.argument("number", type=click.IntRange(1))
@common
@click.pass_obj
def test(options: Options, number: int) -> int:
    """Send a test now. Exit code 1: it did not arrive."""
    made = _ask(
        options, "POST", f"/subscriptions/{number}/test", lambda alerts: alerts.test(number)
    )
    if options.as_json:
        print_json(made)
    else:
        told = made["last_error"] or f"sent in {made['log'][-1]['latency_ms']} ms"
        click.echo(f"{made['id']}: {told}")
    return 0 if made["status"] == "sent" else 1


@subscriptions.command("rotate")
@click.argument("number", type=click.IntRange(1))
@common
@click.pass_obj
def rotate(options: Options, number: int) -> None:
    """Make a new secret and print it, once; for a day both sign."""
    made = _ask(
        options, "POST", f"/subscriptions/{number}/rotate",
        lambda alerts: {"secret": alerts.rotate(number)},
    )  # fmt: skip
    print_json(made) if options.as_json else click.echo(made["secret"])


@subscriptions.command("remove")
@click.argument("number", type=click.IntRange(1))
@common
@click.pass_obj
def remove(options: Options, number: int) -> None:
    """Delete a subscription with its deliveries."""
    _ask(options, "DELETE", f"/subscriptions/{number}", lambda alerts: alerts.remove(number))
    click.echo(f"Subscription {number} is gone.")


# --- Deliveries -----------------------------------------------------------------------------------


@cli.group()
def deliveries() -> None:
    """See what was sent, and send it again."""


@deliveries.command("list")
@click.option("--subscription", type=click.IntRange(1), help="Only of this subscription.")
@click.option("--status", multiple=True, type=click.Choice(["pending", "sent", "failed", "dead"]))
@click.option("--limit", type=click.IntRange(1, 500), default=30, show_default=True)
@common
@click.pass_obj
def list_deliveries(
    options: Options, subscription: int | None, status: Sequence[str], limit: int
) -> None:
    """List deliveries, newest first."""
    query = {"limit": limit, "subscription": subscription, "status": list(status) or None}
    found = _ask(
        options, "GET", "/deliveries",
        lambda alerts: {
            "items": alerts.deliveries(limit, subscription=subscription, statuses=status),
            "next": None,
        },
        params={key: value for key, value in query.items() if value is not None},
    )  # fmt: skip
    if options.as_json:
        print_json(found)
        return
    rows = [
        (item["id"], item["created_at"][:16].replace("T", " "), item["subscription"], item["status"],
         item["attempts"], item["last_status"], shortened(item["last_error"] or item["title"] or item["kind"], 90))
        for item in found["items"]
    ]  # fmt: skip
    columns = ("ID", "MADE", "TO", "STATUS", "TRIES", "HTTP", "WHAT")
    print_table(columns, rows, "No delivery yet.")


@deliveries.command("show")
@click.argument("number")
@common
@click.pass_obj
def show_delivery(options: Options, number: str) -> None:
    """Show one delivery with the log of its attempts."""
    item = _ask(options, "GET", f"/deliveries/{number}", lambda alerts: alerts.delivery(number))
    if options.as_json:
        print_json(item)
        return
    click.echo(f"{item['id']}: {item['status']}. {item['title'] or item['kind']}")
    if item["events"]:
        click.echo(f"Events: {', '.join(map(str, item['events'][:20]))}")
    rows = [
        (entry["number"], entry["at"][:19].replace("T", " "), entry["result"], entry["status"],
         f"{entry['latency_ms']} ms", shortened(entry["error"] or entry["answer"], 100))
        for entry in item["log"]
    ]  # fmt: skip
    print_table(("TRY", "AT", "RESULT", "HTTP", "TOOK", "ANSWER"), rows, "Not attempted yet.")


@deliveries.command("redeliver")
@click.argument("numbers", nargs=-1, metavar="[ID]...")
@click.option("--subscription", type=click.IntRange(1), help="All of this subscription.")
@click.option("--since", help="All that were made since this day or time.")
@click.option("--until", help="All that were made until this day or time.")
@click.option("--status", multiple=True, type=click.Choice(["pending", "sent", "failed", "dead"]),
              help="With this status (default failed and dead); repeatable.")  # fmt: skip
@common
@click.pass_obj
def redeliver(
    options: Options,
    numbers: Sequence[str],
    subscription: int | None,
    since: str | None,
    until: str | None,
    status: Sequence[str],
) -> None:
    """Send deliveries again, each under its id: named ones, or a range."""
    ranged = subscription is not None or bool(since or until or status)
    if bool(numbers) == ranged:
        raise click.UsageError(
            "Give IDs, or a range by --subscription, --since, --until or --status."
        )
    for number in numbers:
        _redeliver(options, number)
    count = len(numbers)
    if ranged:
        body = {
            "subscription": subscription,
            "since": since,
            "until": until,
            "status": list(status) or None,
        }
        count = _ask(
            options, "POST", "/deliveries/redeliver",
            lambda alerts: {"count": _range(alerts, subscription, since, until, status)}, json=body,
        )["count"]  # fmt: skip
    click.echo(f"{count} on their way again; the running service sends them.")


def _redeliver(options: Options, number: str) -> None:
    path = f"/deliveries/{number}/redeliver"
    _ask(options, "POST", path, lambda alerts: alerts.redeliver(number))


def _range(
    alerts: Alerts,
    subscription: int | None,
    since: str | None,
    until: str | None,
    status: Sequence[str],
) -> int:
    return alerts.redeliver_range(
        statuses=status or ("failed", "dead"), subscription=subscription, since=_moment(since),
        until=_moment(until),
    )  # fmt: skip


def _moment(text: str | None) -> datetime | None:
    from registry.web.api import moment

    return moment(text) if text else None


@deliveries.command("acknowledge")
@click.argument("number")
@common
@click.pass_obj
def acknowledge(options: Options, number: str) -> None:
    """Note that somebody has seen to it."""
    _ask(
        options, "POST", f"/deliveries/{number}/acknowledge",
        lambda alerts: alerts.acknowledge(number),
    )  # fmt: skip
    click.echo(f"{number} is acknowledged.")
