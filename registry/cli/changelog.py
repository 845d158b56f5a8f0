"""`beta-registry changelog`: what changed, as a table, as a document, or as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from registry.cli.frame import (
    Facts,
    Options,
    cli,
    common,
    facts_of,
    print_footer,
    print_json,
    print_table,
    today,
)
from registry.core.redaction import public_url

if TYPE_CHECKING:
    from registry.core.facts import Json

FORMS: Final = {"md": "md", "atom": "atom", "ics": "ics", "json-feed": "json"}
"""Documents by the word of the command line, with the ending of their address."""

POLL_SECONDS: Final = 1.0
LONGEST_WAIT: Final = 30.0

Query = dict[str, Any]


@cli.command()
@click.option("--since", help="An event's id (exclusive) or a date.")
@click.option("--type", "types", multiple=True, help="Only this type of event; repeatable.")
@click.option("--beta", multiple=True, help="Only of this beta; repeatable.")
@click.option("--feature", multiple=True, help="Only of this feature; repeatable.")
@click.option("--platform", multiple=True, help="Only on this platform; repeatable.")
@click.option("--limit", type=click.IntRange(1, 500), default=30, show_default=True)
@click.option("--format", "form", type=click.Choice(["table", *FORMS]), default="table",
              show_default=True, help="ics: the announced ends, as a calendar.")  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Go on printing what comes, until interrupted.")
@common
@click.pass_obj
def changelog(
    options: Options, /, since: str | None, types: Sequence[str], limit: int, form: str, follow: bool,
    **named: Sequence[str],
) -> None:  # fmt: skip
    """Show what changed, newest first."""
    given = {"since": since, "type": list(types), **{key: list(it) for key, it in named.items()}}
    query: Query = {key: value for key, value in given.items() if value}
    if follow and form != "table":
        raise click.UsageError("--follow prints lines, or JSON with --json; leave --format out.")
    if form != "table":
        click.echo(_document(options, form, {**query, "limit": limit}), nl=False)
        return
    facts = facts_of(options)
    if follow:
        _follow(options, facts, query)
        return
    _print(options, facts, facts.events({**query, "limit": limit}))


def _print(options: Options, facts: Facts, found: Json) -> None:
    if options.as_json:
        print_json(found)
        return
    rows = [
        (event["id"], event["at"][:16].replace("T", " "), event["type"], _title(facts, event))
        for event in found["items"]
    ]
    print_table(("ID", "RECORDED", "WHAT", "IN WORDS"), rows, "No event matches.")
    print_footer(facts)


def _title(facts: Facts, event: Json) -> str:
    from registry.core.wire import event_from_json
    from registry.core.wording import tell

    return tell(event_from_json(event), facts.snapshot).title


# --- Documents ------------------------------------------------------------------------------------


def _document(options: Options, form: str, query: Query) -> str:
    """Return the changelog in one of `FORMS`, from the registry at --url or the local database."""
    if not options.url:
        return _local_document(options, form, query)
    import httpx2

    url = f"{options.url.rstrip('/')}/v1/changelog.{FORMS[form]}"
    try:
        answer = httpx2.get(url, params=query, headers=_headers(options), timeout=30)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise click.ClickException(f"Cannot reach {url}: {error}.") from None
    if answer.is_error:
        raise click.ClickException(_detail(answer))
    return answer.text


def _local_document(options: Options, form: str, query: Query) -> str:
    facts = facts_of(options)
    found = facts.events(query)["items"]  # says so where there is no changelog to read
    from registry.core.wire import event_from_json
    from registry.web import formats

    if form == "ics":
        return _local_calendar(options, facts, query)
    base = options.settings().address
    feed = formats.Feed(
        events=[event_from_json(event) for event in found], snapshot=facts.snapshot, base=base,
        link=f"{base}/v1/changelog.{FORMS[form]}",
    )  # fmt: skip
    if form == "md":
        return formats.markdown(feed.events, feed.snapshot, base).decode()
    return (formats.atom(feed) if form == "atom" else formats.json_feed(feed)).decode()


def _local_calendar(options: Options, facts: Facts, query: Query) -> str:
    from registry import catalog
    from registry.db import Database
    from registry.web import formats

    database = Database(options.settings().database_url)
    with database.read() as session:
        found = catalog.calendar(session, query.get("beta", ()), query.get("feature", ()))
    database.close()
    return formats.calendar(found, facts.snapshot, today()).decode()


# --- Following ------------------------------------------------------------------------------------


def _follow(options: Options, facts: Facts, query: Query) -> None:
    """Print events one a line as they come, until interrupted."""
    come = _from_stream(options, query) if options.url else _from_database(facts, query)
    try:
        for event in come:
            if options.as_json:
                click.echo(json.dumps(event, ensure_ascii=False))
            else:
                moment = event["at"][:16].replace("T", " ")
                click.echo(f"{event['id']}  {moment}  {event['type']}  {_title(facts, event)}")
    except KeyboardInterrupt:
        return  # that is how following ends


def _from_database(facts: Facts, query: Query) -> Iterator[Json]:
    """Ask the local database again and again for what is newer."""
    since = query.get("since", str(facts.snapshot.revision))
    while True:
        found = facts.events({**query, "since": since, "order": "asc", "limit": 500})["items"]
        yield from found
        if found:
            since = str(found[-1]["id"])
        else:
            time.sleep(POLL_SECONDS)


def _from_stream(options: Options, query: Query) -> Iterator[Json]:
    """Follow the registry's stream; after a break go on where it stopped."""
    import httpx2

    url, last, wait = f"{(options.url or '').rstrip('/')}/v1/changelog/stream", "", 1.0
    while True:
        headers = {**_headers(options), **({"Last-Event-ID": last} if last else {})}
        try:
            with httpx2.stream("GET", url, params=query, headers=headers, timeout=60) as answer:
                _check(answer)
                for event in _messages(answer.iter_lines()):
                    last, wait = event["id"], 1.0
                    yield from _told(event)
        except httpx2.HTTPError as error:
            click.echo(
                f"Lost {public_url(url)} ({error or type(error).__name__}); trying again.", err=True
            )
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT)


def _check(answer: Any) -> None:
    """Raise for an answer that will not get better by itself."""
    if answer.is_error:
        answer.read()
        if answer.status_code != 503:
            raise click.ClickException(_detail(answer))
        click.echo(_detail(answer), err=True)


def _told(message: Mapping[str, str]) -> Iterator[Json]:
    if message["event"] == "reset":
        told = "Events in between are unknown to the registry; following from now on."
        click.echo(told, err=True)
    else:
        yield json.loads(message["data"])


def _messages(lines: Iterable[str]) -> Iterator[Mapping[str, str]]:
    """Read server-sent events; what carries no data is skipped."""
    told: dict[str, str] = {}
    for line in lines:
        field, _, value = line.partition(":")
        if line:
            told[field] = value.removeprefix(" ")
            continue
        if {"data", "event", "id"} <= told.keys():
            yield told
        told = {}


def _headers(options: Options) -> dict[str, str]:
    return {"Authorization": f"Bearer {options.token}"} if options.token else {}


def _detail(answer: Any) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.url} answered {answer.status_code}."
