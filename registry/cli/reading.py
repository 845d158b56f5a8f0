"""Commands that read: betas, features, header, check; and the operator's word."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from registry.core.facts import Beta, Json

from registry.cli.frame import (
    Options,
    call,
    check_words,
    cli,
    common,
    exit_code,
    facts_of,
    has_server,
    now,
    open_database,
    print_footer,
    print_json,
    print_table,
    shortened,
    today,
)
from registry.core.places import Place

_BODY_MAX = 32 * 1024 * 1024

# --- Reading --------------------------------------------------------------------------------------


@cli.group()
def betas() -> None:
    """List, show and set betas."""


@betas.command("list")
@click.option("--status", multiple=True, help="Only of this status; repeatable.")
@click.option("--feature", help="Only of this feature.")
@click.option("--platform", help="Only supported on this platform.")
@click.option("-q", "query", default="", help="Text in name, topic or summary.")
@common
@click.pass_obj
def betas_list(
    options: Options, status: Sequence[str], feature: str | None, platform: str | None, query: str
) -> None:
    """List betas with their status."""
    from registry.core.facts import STATUSES
    from registry.core.names import PLATFORMS, sort_key
    from registry.core.wire import beta_to_json

    check_words(status, STATUSES, "status")
    check_words([platform] if platform else [], PLATFORMS, "platform")
    facts = facts_of(options)
    found = [
        beta
        for beta in sorted(facts.snapshot.betas.values(), key=lambda beta: sort_key(beta.name))
        if (not status or beta.status in status)
        and (not feature or beta.feature == feature)
        and (not platform or _state(beta, platform) == "supported")
        and query.lower() in f"{beta.name} {beta.topic} {beta.summary}".lower()
    ]
    if options.as_json:
        print_json({"items": [beta_to_json(beta) for beta in found], "next": None})
        return
    rows = [
        (beta.name, beta.status, beta.status_since, _ends(beta), beta.superseded_by, beta.summary)
        for beta in found
    ]
    columns = ("BETA", "STATUS", "SINCE", "ENDS", "SUPERSEDED BY", "WHAT IT IS")
    print_table(columns, rows, "No beta matches.")
    click.echo(f"\n{len(found)} betas", nl=False)
    print_footer(facts)


def _state(beta: Beta, platform: str) -> str:
    states = {str(name): known.state for name, known in beta.platforms.items()}
    return states.get(platform, "unknown")


def _ends(beta: Beta) -> str | None:
    end = beta.retired_on or beta.sunset_on
    return str(end) if end else None


@betas.command("show")
@click.argument("name")
@click.option("--reproduce", is_flag=True, help="Print the curl commands of controls and probe.")
@common
@click.pass_obj
def betas_show(options: Options, name: str, reproduce: bool) -> None:
    """Show one beta: status, dates, platforms and the evidence for them."""
    from registry.core.spelling import did_you_mean
    from registry.core.wire import beta_to_json

    facts = facts_of(options)
    beta = facts.snapshot.betas.get(name)
    if beta is None:
        near = did_you_mean(name, facts.snapshot.betas)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise click.ClickException(f"{name} is not in the registry.{hint}")
    if reproduce:
        _print_commands(options, name)
        return
    if options.as_json:
        print_json(beta_to_json(beta))
        return
    _print_beta(beta)
    _print_evidence(facts.evidence(name))
    print_footer(facts)


def _print_commands(options: Options, name: str) -> None:
    """Print what a person can run to see for himself: the first must pass, the second must not."""
    from registry.core.diagnosis import CONTROL, commands

    lines = [("", command) for command in commands([name], "anthropic", None)]
    configured = options.settings().targets if has_server() else []
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


def _print_beta(beta: Beta) -> None:
    since = f" since {beta.status_since}" if beta.status_since else ""
    click.secho(beta.name, bold=True)
    click.echo(beta.summary or "No summary.")
    lines = [
        ("status", f"{beta.status}{since}. {beta.status_reason}"),
        ("disputed", beta.disputed),
        ("header", f"{beta.header_effect}; accepted: {_yes(beta.accepted)}; gate: {beta.gate}"),
        ("feature", f"{beta.feature}{' (this is its current beta)' if beta.current else ''}"),
        ("superseded by", beta.superseded_by),
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
    print_table(("PLATFORM", "STATE", "SENT AS", "BASIS"), rows, "")


def _yes(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[value]


def _seen(seen: Any) -> str | None:
    return f"{seen.at.date()} in {seen.source} {seen.version or ''}".rstrip() if seen else None


def _print_evidence(items: Json) -> None:
    rows = [
        (
            _field(item),
            json.dumps(item["value"], ensure_ascii=False)[:60],
            f"{item['source']} {item.get('version') or ''}".strip(),
            (item["at"] or "")[:10],
            "decides" if item.get("decides") else "",
            shortened(item.get("quote") or item.get("url") or ""),
        )
        for item in items
        if item["field"] not in ("summary", "notes", "topic", "docs_url")
    ]
    click.echo()
    print_table(("EVIDENCE", "SAYS", "SOURCE", "AT", "", "WHERE"), rows, "No evidence.")


def _field(item: Mapping[str, Json]) -> str:
    place = item.get("place") or {}
    return f"{item['field']} on {Place(**place)}" if place else str(item["field"])


@betas.command("set")
@click.argument("name")
@click.argument("facts", nargs=-1, required=True, metavar="FIELD=VALUE...")
@click.option("--reason", required=True, help="Why; it is shown beside the fact.")
@click.option("--until", help="Day or time at which your word expires.")
@click.option("--platform", help="Where the facts hold; everywhere without a place.")
@click.option("--api", help="Bedrock only: invoke, converse or mantle.")
@click.option("--hosting", help="Foundry only: anthropic or azure.")
@click.option("--region", help="Only in this region.")
@click.option("--model", help="Only for this model.")
@click.option("--endpoint", help="Only on this endpoint.")
@common
@click.pass_obj
def betas_set(
    options: Options,
    /,
    name: str,
    facts: Sequence[str],
    reason: str,
    until: str | None,
    **place: str | None,
) -> None:
    """Declare facts by the operator's word; FIELD=null withdraws one.

    For example: betas set my-beta-2026-01-01 status=deprecated sunset_on=2027-01-31 --reason "told so"; or for
    one place: betas set my-beta-2026-01-01 state=refused --platform bedrock --api converse --reason "tried it"
    """
    patch = _patch(facts)
    said = {part: word for part, word in place.items() if word}
    if said:
        patch = {"places": [{**said, **patch}]}
    if options.url:
        body = {**patch, "reason": reason, **({"until": until} if until else {})}
        beta = call(options, "PATCH", f"/v1/betas/{name}", json=body)
    else:
        beta = _amend_locally(options, name, patch, reason, until)
    if options.as_json:
        print_json(beta)
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
    with open_database(options) as database:
        from registry import catalog
        from registry.core.wire import beta_to_json
        from registry.web.api import moment

        end = moment(until) if until else None
        with database.write() as session:
            return beta_to_json(catalog.amend(session, name, patch, reason, end, now()))


@cli.command()
@click.argument("names", nargs=-1, metavar="[BETA|FEATURE]...")
@click.option("--beta", "-b", multiple=True, help="A beta by its full name; repeatable.")
@click.option("--feature", "-f", multiple=True, help="A feature, sent as its current beta.")
@click.option("--platform", default="anthropic", show_default=True)
@click.option("--api", help="Bedrock only: invoke, converse or mantle.")
@click.option("--hosting", help="Foundry only: anthropic or azure.")
@click.option("--region")
@click.option("--model")
@click.option("--endpoint", default="messages", show_default=True)
@click.option("--policy", type=click.Choice(["strict", "filter", "advise"]), default="strict")
@click.option("--on-unknown", type=click.Choice(["error", "pass", "drop"]))
@click.option("--format", "form", help="Ready to paste.", type=click.Choice(
    ["value", "env", "json", "claude-code", "python", "typescript", "curl"]))  # fmt: skip
@common
@click.pass_obj
def header(
    options: Options,
    /,
    names: Sequence[str],
    beta: Sequence[str],
    feature: Sequence[str],
    form: str | None,
    **asked: Any,
) -> None:
    """Print the header value to send for betas and features; nothing when none is needed.

    --format json is the API's answer, env a line for a .env file, claude-code its settings; python,
    typescript and curl are programs that send the betas where the platform takes them.
    """
    from registry.core import resolution

    facts = facts_of(options)
    features = {known.feature for known in facts.snapshot.betas.values()}
    items = [("beta", name) for name in beta] + [("feature", name) for name in feature]
    items += [
        ("feature" if name in features and name not in facts.snapshot.betas else "beta", name)
        for name in names
    ]
    ask = resolution.Ask(requested=tuple(items), **{k: v for k, v in asked.items() if v})
    found = resolution.resolve(facts.snapshot, ask, today()).to_json()
    if options.as_json:
        print_json(found)
        return
    _print_header(found, form, asked)


def _print_header(found: Mapping[str, Json], form: str | None, asked: Mapping[str, Any]) -> None:
    """Print what to send on stdout, and what to know about it on stderr."""
    from registry.core.snippets import snippet

    if form is not None:
        text = snippet(found, form, model=asked["model"], endpoint=asked["endpoint"])
    else:
        text = json.dumps(found["body"]) if found["placement"] == "body" else found["value"]
    if form not in (None, "value") or not found["omit"]:
        click.echo(text)
    for item in found["betas"]:
        for warning in item["warnings"]:
            click.echo(f"{item['name']}: {warning['detail']}", err=True)
    for item in found["dropped"]:
        click.echo(f"dropped {item['requested']}: {item['detail']}", err=True)
    if found["omit"]:
        click.echo("Nothing to send: omit the header.", err=True)


@cli.command()
@click.argument("value", required=False)
@click.option("--file", "file", type=click.File("r", encoding="utf-8", errors="replace"),
              help="Read the value from a file; - is standard input.")  # fmt: skip
@click.option(
    "--body",
    type=click.File("rb"),
    help="The JSON body that the request sends; - is standard input.",
)
@click.option("--platform", default="anthropic", show_default=True)
@click.option("--api", help="Bedrock only: invoke, converse or mantle.")
@click.option("--hosting", help="Foundry only: anthropic or azure.")
@click.option("--region")
@click.option("--model")
@click.option("--endpoint", default="messages", show_default=True)
@click.option("--fail-on", type=click.Choice(["deprecated", "retired", "never"]), default="deprecated",
              show_default=True, help="Least that makes the exit code tell.")  # fmt: skip
@common
@click.pass_obj
def check(
    options: Options, /, value: str | None, file: Any, body: Any, fail_on: str, **asked: Any
) -> int:
    """Judge a header value. Exit code 2: deprecated, needless or unknown; 3: a request would fail.

    With --body it also tells what the body holds without the beta that allows it (2), and VALUE may be left
    out: then no beta is sent.
    """
    from registry.core import resolution

    if (value is not None and file is not None) or (value is file is body is None):
        raise click.UsageError("Give a VALUE or --file, one of them.")
    text = (
        value
        if value is not None
        else ",".join(file.read(1024 * 1024).splitlines())
        if file
        else ""
    )
    facts = facts_of(options)
    found = resolution.check(
        facts.snapshot, value=text, betas=None, body=_body(body), today=today(), **asked
    )
    if options.as_json:
        print_json(found)
    else:
        _print_check(found)
        print_footer(facts)
    verdicts = [item["verdict"] for item in found["betas"]]
    return exit_code([*verdicts, *("unknown" for _ in found["missing"])], fail_on)


def _body(file: Any) -> Json:
    """Read a request's body. Raises `UsageError` for what is no JSON object."""
    if file is None:
        return None
    try:
        body = json.loads(file.read(_BODY_MAX + 1))
    except (ValueError, RecursionError):
        raise click.UsageError("--body must be the JSON object that the request sends.") from None
    if body is None:
        raise click.UsageError("--body must be the JSON object that the request sends.")
    return body


def _print_check(found: Mapping[str, Json]) -> None:
    rows = [(b["name"], b["verdict"], b["use_instead"], b["detail"]) for b in found["betas"]]
    print_table(("BETA", "VERDICT", "USE INSTEAD", "WHY"), rows, "No beta in it: omit the header.")
    for item in found["betas"]:
        for warning in item["warnings"]:
            if warning["code"] in ("essential", "body_fields"):
                click.echo(f"{item['name']}: {warning['detail']}", err=True)
    for item in found["missing"]:
        needs = item["beta"] or f"one of {', '.join(item['alternatives'])}, and none works there"
        click.echo(f"{item['field']} in the body needs {needs}, which is not sent.", err=True)


@cli.command()
@common
@click.pass_obj
def features(options: Options) -> None:
    """List features with their current beta."""
    from registry.core import resolution

    facts = facts_of(options)
    found = resolution.features(facts.snapshot)
    if options.as_json:
        print_json({"items": found, "next": None})
        return
    rows = [(item["feature"], item["current"], ", ".join(item["betas"])) for item in found]
    print_table(("FEATURE", "CURRENT", "BETAS"), rows, "No feature.")
    print_footer(facts)
