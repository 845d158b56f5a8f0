"""Commands about usage: logs of gateways in, the exposure report out."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

import click

if TYPE_CHECKING:
    import httpx2

    from registry.core.batches import Batch, Mark, Tally
    from registry.core.facts import Json
    from registry.core.lines import Line, Lines
    from registry.core.logs import How
    from registry.db import Database

from registry.cli.frame import (
    SERVER_HINT,
    Options,
    call,
    check_words,
    cli,
    common,
    has_server,
    now,
    open_database,
    print_json,
    print_table,
    progress_bar,
    shortened,
)

FORMATS: Final = ("auto", "jsonl", "csv", "list", "litellm", "envoy")
ATTEMPTS: Final = 3
"""How often a file is begun again because somebody else imports it too."""


@cli.group()
def usage() -> None:
    """Tell the registry which betas are used."""


# --- Import ---------------------------------------------------------------------------------------


@usage.command("import")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--format", "format_", type=click.Choice(FORMATS), default="auto", show_default=True)
@click.option("--map", "mapped", multiple=True, metavar="FIELD=PATH",
              help="Where a field stands: beta, service, environment, platform, api, hosting, region, "
              "model, endpoint, url, at, status, body, count; repeatable.")  # fmt: skip
@click.option("--service", help="The service, where a record names none.")
@click.option("--environment", default="default", show_default=True,
              help="The environment, where a record names none.")  # fmt: skip
@click.option("--platform", help="The platform of all records.")
@click.option("--api", help="Bedrock only: invoke, converse or mantle.")
@click.option("--hosting", help="Foundry only: anthropic or azure.")
@click.option("--region", help="The region of all records.")
@click.option("--at", help="The day or time, where a record names none (default: now).")
@click.option("--dry-run", is_flag=True, help="Only read, and tell what would be counted.")
@common
@click.pass_obj
def usage_import(
    options: Options, /, file: str, format_: str, mapped: Sequence[str], dry_run: bool, **more: Any
) -> int:
    """Count the betas in a gateway's log: JSON lines, CSV, LiteLLM, Envoy or a plain list; gzip too.

    - is standard input. The same file again, or one that has grown, adds nothing twice.
    """
    from registry.core.places import place_of

    place = place_of(**{part: more.pop(part) for part in ("platform", "api", "hosting", "region")})
    at = _moment(more.pop("at"))
    plan = _Plan(file, format_, _paths(mapped), {**more, "place": place}, at)
    with _ledger(options, dry_run=dry_run) as ledger:
        done = _import(plan, ledger)
    if options.as_json:
        print_json(_json(plan, done))
    else:
        _tell(plan, done, dry_run=dry_run)
    return _conclude(done)


def _paths(mapped: Sequence[str]) -> dict[str, list[str]]:
    """Read `FIELD=PATH`; an empty path says that the field is not to be looked for."""
    from registry.core.logs import FIELDS

    paths: dict[str, list[str]] = {}
    for text in mapped:
        name, equals, path = text.partition("=")
        if not equals:
            raise click.UsageError(f"--map {text!r} is not FIELD=PATH.")
        check_words([name], FIELDS, "field")
        paths.setdefault(name, []).extend([path] if path else [])
    return paths


def _moment(text: str | None) -> datetime | None:
    from registry.core.facts import parse_time

    try:
        return parse_time(text) if text else None
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"--at {text!r} is no time; write 2026-11-23 or 2026-11-23T12:00:00Z."
        ) from None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to import, and how it is to be read."""

    file: str
    format: str
    paths: Mapping[str, Sequence[str]]
    defaults: Mapping[str, Any]
    at: datetime | None

    def how(self, head: Sequence[Line]) -> How:
        """Decide how to read a file that begins with these lines."""
        from registry.core.logs import How, check_columns, recognise

        format_: Any = self.format
        if format_ == "list" and self.paths:
            raise click.UsageError("A list has no fields to map; leave --map or --format list out.")
        if format_ not in ("csv", "list"):  # those may begin with anything
            found = recognise(head, [path for paths in self.paths.values() for path in paths])
            format_ = found if format_ == "auto" else format_
        if format_ == "list" and not self.defaults["service"]:
            raise click.UsageError("A list names no service; say whose it is with --service NAME.")
        how = How(format=format_, paths=self.paths, **self.defaults)
        check_columns(head, how)
        return how


@dataclass(slots=True)
class _Done:
    """What an import came to."""

    tally: Tally
    format: str = ""
    batches: int = 0
    recorded: int = 0
    not_kept: dict[str, str] = field(default_factory=dict)
    not_kept_count: int = 0
    problem: str | None = None


def _import(plan: _Plan, ledger: _Ledger) -> _Done:
    """Import a file. When somebody else imports it too, begin again: the marks say what is left."""
    from registry.core.errors import Conflict

    for attempt in range(1, ATTEMPTS + 1):
        try:
            with _opened(plan.file) as stream:
                return _import_once(plan, ledger, stream)
        except Conflict:
            if plan.file == "-" or attempt == ATTEMPTS:
                raise
    raise AssertionError


def _import_once(plan: _Plan, ledger: _Ledger, stream: BinaryIO) -> _Done:
    from registry.core.batches import Tally, batches
    from registry.core.errors import Conflict, RegistryError
    from registry.core.lines import Lines
    from registry.core.logs import read

    lines, done = Lines(stream), _Done(Tally())
    with progress_bar(f"Reading {Path(plan.file).name}") as show:
        each = _ticking(lines, show, _size(plan.file))
        head = list(itertools.islice(each, 5))
        how = plan.how(head)
        done.format = how.format
        readings = read(itertools.chain(head, each), how)
        try:
            for batch in batches(readings, ledger, done.tally, now(), plan.at):
                _note(done, batch, ledger.record(batch))
        except Conflict:
            raise
        except (RegistryError, click.ClickException) as error:
            why = getattr(error, "detail", None) or str(error)
            raise click.ClickException(
                f"Stopped after {done.recorded:,} requests, near line {done.tally.lines:,}: {why} The "
                "same command goes on from there."
            ) from None
    done.problem = lines.problem
    return done


def _note(done: _Done, batch: Batch, answer: Mapping[str, Json]) -> None:
    done.batches += 1
    done.recorded += batch.requests
    done.not_kept_count += answer["not_kept_count"]
    for item in answer["not_kept"]:
        if len(done.not_kept) < 100:
            done.not_kept[item["beta"]] = item["reason"]


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
    else:
        with Path(file).open("rb") as stream:
            yield stream


def _size(file: str) -> int | None:
    path = Path(file)
    return path.stat().st_size if file != "-" and path.is_file() else None


def _ticking(lines: Lines, show: Callable[[int, Any], None], size: int | None) -> Iterator[Line]:
    for number, line in enumerate(lines):
        if number % 5000 == 0:
            show(lines.bytes_read, size)
        yield line


# --- Where batches go -----------------------------------------------------------------------------


class _Ledger(Protocol):
    """Where batches are recorded; and what has been counted before (see `batches.Past`)."""

    def marks(self, file: str) -> Sequence[Mark]: ...

    def checks(self, file: str, after: int) -> Sequence[bytes]: ...

    def record(self, batch: Batch) -> Mapping[str, Json]:
        """Record a batch. Raises `Conflict` when the file has been imported further meanwhile."""


@contextmanager
def _ledger(options: Options, *, dry_run: bool) -> Iterator[_Ledger]:
    if options.url:
        import httpx2

        headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
        with httpx2.Client(base_url=options.url.rstrip("/"), headers=headers, timeout=60) as http:
            yield _Remote(http, options.url, dry_run)
    elif dry_run:
        yield _Nowhere()
    else:
        with open_database(options) as database:
            yield _Local(database)


class _Nowhere:
    """For a trial without a registry."""

    def marks(self, _file: str) -> Sequence[Mark]:
        return ()

    def checks(self, _file: str, _after: int) -> Sequence[bytes]:
        return ()

    def record(self, _batch: Batch) -> Mapping[str, Json]:
        return {"not_kept": [], "not_kept_count": 0}


@dataclass(frozen=True, slots=True)
class _Local:
    """The local database."""

    database: Database

    def marks(self, file: str) -> Sequence[Mark]:
        from registry import imports

        with self.database.read() as session:
            return imports.marks(session, file)

    def checks(self, file: str, after: int) -> Sequence[bytes]:
        from registry import imports

        with self.database.read() as session:
            return imports.checks(session, file, after)

    def record(self, batch: Batch) -> Mapping[str, Json]:
        from registry import imports
        from registry.core.facts import to_json

        reports = [imports.report_of(report) for report in batch.reports]
        with self.database.write() as session:
            done = imports.record(
                session, file=batch.file, number=batch.number, mark=batch.mark,
                checks=batch.checks, requests=batch.requests, reports=reports, now=now(),
            )  # fmt: skip
        found: Mapping[str, Json] = to_json(done)
        return found


@dataclass(frozen=True, slots=True)
class _Remote:
    """The registry at --url."""

    http: httpx2.Client
    url: str
    dry_run: bool

    def marks(self, file: str) -> Sequence[Mark]:
        from registry.core.batches import Mark

        found = self._call("GET", f"/v1/imports/{file}")
        return [Mark(item["line"], item["digest"]) for item in found["items"]]

    def checks(self, file: str, after: int) -> Sequence[bytes]:
        found = self._call("GET", f"/v1/imports/{file}/checks", params={"after": after})
        return [bytes.fromhex(item) for item in found["items"]]

    def record(self, batch: Batch) -> Mapping[str, Json]:
        if self.dry_run:
            return _Nowhere().record(batch)
        body = {
            "number": batch.number, "line": batch.mark.line, "digest": batch.mark.digest,
            "checks": batch.checks.hex(), "requests": batch.requests,
            "reports": list(batch.reports),
        }  # fmt: skip
        found: Mapping[str, Json] = self._call("POST", f"/v1/imports/{batch.file}", json=body)
        return found

    def _call(self, method: str, path: str, **more: Any) -> Any:
        import httpx2

        from registry.core.errors import Conflict

        try:
            answer = self.http.request(method, path, **more)
            body = answer.json()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise click.ClickException(
                f"Cannot reach {self.url}: {error or type(error).__name__}."
            ) from None
        except ValueError:
            raise click.ClickException(
                f"{self.url} is no beta-registry: it answered no JSON."
            ) from None
        if answer.is_success:
            return body
        detail = body.get("detail") if isinstance(body, dict) else None
        said = str(detail or f"{self.url} answered {answer.status_code}.")
        raise Conflict(said) if answer.status_code == 409 else click.ClickException(said)


# --- Telling --------------------------------------------------------------------------------------


def _json(plan: _Plan, done: _Done) -> Json:
    tally = done.tally
    return {
        "file": plan.file,
        "format": done.format,
        "lines": tally.lines,
        "requests": tally.requests,
        "known": tally.known,
        "without": tally.without,
        "betas": sorted(tally.betas),
        "batches": done.batches,
        "skipped": {
            "count": tally.skipped.total(),
            "reasons": dict(tally.skipped.most_common()),
            "shown": [{"line": line, "reason": reason} for line, reason in tally.shown],
        },
        "not_kept": {"count": done.not_kept_count, "betas": done.not_kept},
        "problem": done.problem,
    }


def _tell(plan: _Plan, done: _Done, *, dry_run: bool) -> None:
    tally = done.tally
    for line, reason in tally.shown:
        click.echo(f"{plan.file}:{line}: {reason}", err=True)
    more = tally.skipped.total() - len(tally.shown)
    if more > 0:
        click.echo(f"... and {more:,} more", err=True)
    click.echo(f"{plan.file} ({done.format}): {tally.lines:,} lines")
    would = "would count" if dry_run else "counted"
    click.echo(f"  {would:<12} {tally.requests:,} requests with {len(tally.betas):,} betas")
    if tally.known:
        click.echo(f"  {'known':<12} {tally.known:,} requests, imported before")
    if tally.without:
        click.echo(f"  {'without':<12} {tally.without:,} records name no beta")
    if tally.skipped:
        reasons = ", ".join(f"{count:,} {word}" for word, count in tally.skipped.most_common())
        click.echo(f"  {'skipped':<12} {tally.skipped.total():,}: {reasons}")
    if done.not_kept_count:
        names = shortened(", ".join(f"{name} ({why})" for name, why in done.not_kept.items()), 400)
        click.echo(f"  {'not kept':<12} {done.not_kept_count:,}: {names}")


_HINTS: Final = {
    "litellm": "LiteLLM logs request headers only when told to: litellm_settings: "
    '{extra_spend_tag_headers: ["anthropic-beta"]}.',
    "envoy": 'Envoy logs the header only when told to: anthropic_beta: "%REQ(ANTHROPIC-BETA)%" in '
    "json_format; name another key with --map beta=KEY.",
}


def _conclude(done: _Done) -> int:
    """Say what is amiss with the whole, and end with the exit code for it."""
    tally = done.tally
    read = tally.requests + tally.known
    if done.problem:
        raise click.ClickException(done.problem)
    if not read and tally.skipped and not tally.without:
        raise click.ClickException("Nothing could be read; see the reasons, --format and --map.")
    if not read and tally.without:
        hint = _HINTS.get(done.format, "Say where they stand with --map beta=PATH.")
        click.echo(f"No record names a beta. {hint}", err=True)
    return 0


# --- Report ---------------------------------------------------------------------------------------


@cli.command()
@click.option("--days", type=click.IntRange(1, 400), default=7, show_default=True,
              help="Today and the days before.")  # fmt: skip
@click.option("--format", "format_", type=click.Choice(["table", "json", "markdown"]),
              default="table", show_default=True)  # fmt: skip
@click.option("--team", help="Only services of this team.")
@click.option("--platform", help="Only usage on this platform.")
@common
@click.pass_obj
def report(
    options: Options, days: int, format_: str, team: str | None, platform: str | None
) -> None:
    """Show what would break, what is dead weight, and what each service should send instead."""
    from registry.core.names import PLATFORMS
    from registry.report import markdown

    check_words([platform] if platform else [], PLATFORMS, "platform")
    query = {"days": days, "team": team, "platform": platform}
    found = _report(options, {key: value for key, value in query.items() if value is not None})
    if options.as_json or format_ == "json":
        print_json(found)
    elif format_ == "markdown":
        click.echo(markdown(found), nl=False)
    else:
        _print_report(found)


def _report(options: Options, query: Mapping[str, Any]) -> Json:
    if options.url:
        return call(options, "GET", "/v1/report", params=dict(query))
    if not has_server():
        raise click.ClickException(
            f"Usage is kept by a registry: name it with --url. {SERVER_HINT}"
        )
    from registry.core.errors import NotFound
    from registry.db import Database
    from registry.inventory.exposure import report as made

    database = Database(options.settings().database_url)
    file = database.url.database if database.is_sqlite else None
    if database.is_sqlite and not (file and Path(file).is_file()):
        raise NotFound(f"There is no database at {file}; name a registry with --url or start one.")
    with database.read() as session:
        return made(session, now(), **query).to_json()


def _print_report(found: Json) -> None:
    from registry.report import TITLES, place_text, senders_text, where

    click.echo(f"{found['summary']}\n")
    rows = [
        (
            TITLES[item["section"]], item["beta"], where(item["place"]), f"{item['requests']:,}",
            item["ends_on"], senders_text(item["senders"]), item["advice"],
        )
        for item in found["findings"]
    ]  # fmt: skip
    columns = ("WHAT", "BETA", "PLACE", "REQUESTS", "ENDS", "SERVICES", "WHAT TO DO")
    print_table(columns, rows, "Nothing to change.")
    for change in found["changes"]:
        click.echo(f"\n{change['service']} ({change['environment']}) on {where(change['place'])}")
        click.echo(f"  sends    {change['value_before']}")
        click.echo(f"  should   {'omit the header' if change['omit'] else change['value_after']}")
        if change["body_fields"]:
            click.echo(f"  without  {', '.join(change['body_fields'])} in the body")
        for place in change["locations"]:
            click.echo(f"  in       {place_text(place)}")
    click.echo()
    for sentence in found["cannot_know"]:
        click.echo(f"- {sentence}")
    sources = ", ".join(item["source"] for item in found["sources"]) or "no source"
    click.echo(f"\n{found['start'][:10]} to {found['stop'][:10]}, from {sources}")
