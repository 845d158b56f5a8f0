"""The command that scans: betas in files, judged, told in many formats, and reported as usage."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli.frame import (
    Options,
    call,
    cli,
    common,
    exit_code,
    facts_of,
    print_footer,
    print_table,
    today,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.cli.frame import Facts
    from registry.scanning import Report
    from registry.scanning.judging import Finding

_FORMATS = ("table", "json", "sarif", "csv", "markdown", "github")


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--platform", default="anthropic", show_default=True, help="Judge for this platform.")
@click.option("--api", help="Bedrock only: invoke, converse or mantle.")
@click.option("--hosting", help="Foundry only: anthropic or azure.")
@click.option("--region")
@click.option("--model")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE",
              help="Judge as if it were this day: ends announced for it have come.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(_FORMATS), default="table", show_default=True)
@click.option("--output", metavar="FILE", help="Write the report to a file.")
@click.option("--all", "every", is_flag=True, help="List every place in the table, fine ones too.")
@click.option("--fail-on", type=click.Choice(["deprecated", "retired", "never"]), default="deprecated",
              show_default=True, help="Least that makes the exit code tell.")  # fmt: skip
@click.option("--baseline", metavar="FILE", help="Pass over what this file accepts.")
@click.option("--write-baseline", is_flag=True, help="Accept all that is found: write --baseline.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), help="Processes that read (default: processors)."
)
@click.option(
    "--report", is_flag=True, help="Send what is found to the registry at --url, as usage."
)
@click.option(
    "--service", metavar="NAME", help="The service that the files belong to, for --report."
)
@click.option("--environment", default="production", show_default=True, help="For --report.")
@common
@click.pass_obj
def scan(
    options: Options,
    /,
    paths: Sequence[str],
    platform: str,
    as_of: datetime | None,
    kind: str,
    output: str | None,
    every: bool,
    fail_on: str,
    baseline: str | None,
    write_baseline: bool,
    jobs: int | None,
    report: bool,
    service: str | None,
    environment: str,
    **place: str | None,
) -> int:
    """Find betas in files and folders (- is standard input), and judge each place.

    Honours .gitignore; skips binary files, and reports and baselines of earlier scans; follows no links.
    A comment `beta-registry: ignore` on a line, or `beta-registry: ignore-next-line` above it, passes over
    its betas, or those it names.

    Exit code 2: deprecated, needless or unknown; 3: retired or refused; the highest wins. Files that
    cannot be read are told on stderr and passed over; the exit code is 1 for them if nothing is worse.
    """
    _check(options, baseline, write_baseline, report, service)
    facts = facts_of(options)
    accepted = baseline if not write_baseline else None
    found = _scan(facts, paths, {"platform": platform, **place}, as_of, accepted, jobs)
    if write_baseline and baseline:
        return _accept(found, baseline)
    if report and service:
        _send(options, found, paths, service, environment)
    _print(found, facts, "json" if options.as_json else kind, output, every=every)
    counted = (place.verdict for place in found.findings if not place.suppressed)
    return exit_code(counted, fail_on) or int(bool(found.problems))


def _check(
    options: Options,
    baseline: str | None,
    write_baseline: bool,
    report: bool,
    service: str | None,
) -> None:
    if write_baseline and not baseline:
        raise click.UsageError("--write-baseline needs --baseline FILE, the file to write.")
    if report and not service:
        raise click.UsageError("--report needs --service NAME: whose files these are.")
    if report and not options.url:
        raise click.UsageError("--report needs --url: the registry to send to.")


def _scan(
    facts: Facts,
    paths: Sequence[str],
    place: Mapping[str, Any],
    as_of: datetime | None,
    baseline: str | None,
    jobs: int | None,
) -> Report:
    from registry import scanning
    from registry.scanning.judging import on_day

    accepted: Mapping[str, str] = scanning.read_baseline(Path(baseline)) if baseline else {}
    return scanning.scan(
        paths,
        on_day(facts.snapshot, as_of.date()) if as_of else facts.snapshot,
        origin=facts.origin,
        **place,
        today=as_of.date() if as_of else today(),
        stdin=sys.stdin.fileno(),
        baseline=accepted,
        jobs=jobs,
        complain=lambda path, sentence: click.echo(f"{path}: {sentence}", err=True),
    )


def _accept(found: Report, baseline: str) -> int:
    from registry.scanning import counted
    from registry.scanning.judging import baseline_of

    accepted = baseline_of(found.findings)
    Path(baseline).write_text(json.dumps(accepted, indent=2, sort_keys=True) + "\n", "utf-8")
    click.echo(f"{baseline} accepts {counted(len(accepted['fingerprints']), 'place')}.")
    return 0


def _send(
    options: Options, found: Report, paths: Sequence[str], service: str, environment: str
) -> None:
    from registry.scanning.usage import usage_of

    body = usage_of(found, paths, service, environment)
    call(options, "POST", "/v1/usages", json=body)
    click.echo(f"Reported {len(found.findings)} places of {service} to {options.url}.", err=True)


# --- Printing -------------------------------------------------------------------------------------


def _print(found: Report, facts: Facts, kind: str, output: str | None, *, every: bool) -> None:
    from registry.scanning import FORMATS, summary

    if kind == "table":
        if output:
            raise click.UsageError("--output needs a --format other than table.")
        _print_table(found, every=every)
        click.echo(f"\n{summary(found)}", nl=False)
        print_footer(facts)
        return
    text = FORMATS[kind](found)
    if output:
        Path(output).write_text(text, "utf-8", newline="")
        click.echo(f"{output}: {summary(found)}", err=True)
    else:
        click.echo(text, nl=False)


def _print_table(found: Report, *, every: bool) -> None:
    """Print a row for each beta and verdict, then each place with something to do."""
    ordered = sorted(found.findings, key=lambda place: (-place.severity, place.beta))
    groups = [list(group) for _, group in groupby(ordered, key=_verdict_of)]
    rows = [
        (first.beta, verdict, len(group), first.use_instead, first.detail)
        for group in groups
        for first, (_, verdict) in [(group[0], _verdict_of(group[0]))]
    ]
    columns = ("BETA", "VERDICT", "PLACES", "USE INSTEAD", "WHY")
    print_table(columns, rows, "No beta is named here.")
    places = found.findings if every else found.to_do
    if places:
        click.echo()
    for place in places:
        click.echo(f"{place.path}:{place.line}:{place.column}: {' '.join(_verdict_of(place))}")


def _verdict_of(place: Finding) -> tuple[str, str]:
    passed = f" (passed over by {place.suppressed})" if place.suppressed else ""
    return place.beta, place.verdict + passed
