"""Commands of probing: diagnose, targets, probe, simulate, demo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from registry.core.facts import Json
    from registry.db import Database

from registry.cli.frame import (
    Options,
    call,
    cli,
    common,
    facts_of,
    now,
    open_database,
    print_json,
    print_table,
    progress_bar,
    today,
)

# --- Probing --------------------------------------------------------------------------------------


@cli.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--platform", help="Where the answer came from, if it does not tell.")
@click.option("--api", help="Bedrock only: invoke, converse or mantle.")
@click.option("--hosting", help="Foundry only: anthropic or azure.")
@click.option("--region")
@click.option("--beta", "-b", multiple=True, help="A beta that was sent; repeatable.")
@click.option("--model")
@click.option("--endpoint", help="A path, or its name: messages, skills.")
@common
@click.pass_obj
def diagnose(options: Options, /, file: Any, beta: Sequence[str], **place: str | None) -> int:
    """Say what an upstream answer means for betas: FILE or standard input.

    Takes a raw HTTP message, `curl -v` output, JSON, or lines out of a log; a header or a list of betas in it
    counts as what was sent. Exit code 0: no trouble with a beta; 2: restricted, another model or a beta is
    missing; 3: refused.
    """
    from registry.core.diagnosis import diagnose as judge
    from registry.core.places import check_place

    check_place(place["platform"], place["api"], place["hosting"], place["region"])
    asked: dict[str, Any] = {
        "status": None,
        "headers": {},
        "body": file.read(2 * 1024 * 1024).decode("utf-8", "replace")[: 1024 * 1024],
        "betas_sent": list(beta) or None,
        **place,
    }
    if options.url:
        found = call(options, "POST", "/v1/diagnose", json=asked)
    else:
        found = judge(facts_of(options).snapshot, today=today(), **asked)
    if options.as_json:
        print_json(found)
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
        print_table(("BETA", "STATUS", "STATE", "USE INSTEAD"), rows, "")
    instead = found["send_instead"]
    if instead:
        value = "no header at all" if instead["omit"] else instead["value"]
        click.echo(f"\nSend instead: {value}")
    if found["body_fields"]:
        click.echo(f"Body fields that go with it: {', '.join(found['body_fields'])}")
    for name, near in found["did_you_mean"].items():
        click.echo(f"{name}: did you mean {', '.join(near)}?")
    for command in found["confirm"]:
        click.echo(f"$ {command}")


@cli.command()
@common
@click.pass_obj
def targets(options: Options) -> None:
    """List the targets with their health and last sweep."""
    if options.url:
        items = call(options, "GET", "/v1/targets")["items"]
    else:
        with open_database(options) as database:
            from registry import targets as known
            from registry.app import make_probes
            from registry.core.facts import to_json

            _reconcile(database, make_probes(options.settings()))
            with database.read() as session:
                items = to_json(known.statuses(session))
    if options.as_json:
        print_json({"items": items, "next": None})
        return
    rows = []
    for item in items:
        last = item["last_sweep"] or {}
        rows.append(
            (item["name"], item["platform"], item["model"], item["endpoint"], _how_it_stands(item),
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
    print_table(
        columns, rows, "No target; set ANTHROPIC_API_KEY or add [[targets]] to the settings."
    )


def _how_it_stands(item: Json) -> str:
    if item.get("removed_at"):
        return "removed"
    return "locked" if item.get("locked") else str(item["health"])


def _reconcile(database: Database, probes: Sequence[Any]) -> None:
    """Where no service schedules, these settings say which targets there are."""
    from registry import targets as known
    from registry.leases import Lease

    plans = [probe.plan for probe in probes]
    lease = Lease(database, now)
    if not plans or not lease.acquire():
        return
    try:
        with database.write() as session:
            known.reconcile(session, plans, now())
    finally:
        lease.release()


@cli.command("probe")
@click.argument("name", required=False, metavar="[TARGET]")
@click.option("--beta", "-b", multiple=True, help="Only this beta; repeatable.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--believe", is_flag=True, help="Answer a mass change: these betas died.")
@click.option(
    "--new-baseline",
    is_flag=True,
    help="Answer a mass change: the key or the plan changed; states stay, and nothing retires.",
)
@common
@click.pass_obj
def probe(
    options: Options, name: str | None, beta: Sequence[str], dry_run: bool, believe: bool,
    new_baseline: bool,
) -> int:  # fmt: skip
    """Sweep TARGET now (all of them without a name), with progress. Exit code 1: inconclusive."""
    if believe and new_baseline:
        raise click.UsageError("--believe and --new-baseline are two answers; give one of them.")
    answer = "believe" if believe else "new-baseline" if new_baseline else None
    if answer and not name:
        raise click.UsageError(f"Name the target that --{answer} is about; `targets` lists them.")
    if options.url:
        return _probe_remotely(options, name, beta, answer)
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
    with open_database(options) as database:
        _reconcile(database, make_probes(settings))
        for item in found:
            if dry_run:
                _print_dry_run(jobs.candidates(database, item.plan, beta), item)
            else:
                good = _probe_one(options, database, item, beta, answer) and good
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
    options: Options, database: Database, item: Any, wanted: Sequence[str], answer: str | None
) -> bool:
    """Sweep here, or let the process do it that runs the jobs: never two at once."""
    import time

    from registry import jobs
    from registry import targets as known
    from registry.config import now
    from registry.leases import Lease, check_led

    if answer:
        with database.write() as session:
            if answer == "believe":
                known.confirm(session, item.plan.name)
            else:
                known.new_baseline(session, item.plan.name, now())
    lease = Lease(database, now)
    if not lease.acquire():
        asked = jobs.ask_sweep(database, now, item.plan.name, wanted)
        click.echo(f"{item.plan.name}: the running service sweeps (sweep {asked.id})...", err=True)
        while True:
            with database.read() as session:
                shown = known.sweep(session, asked.id)
                if shown.outcome not in ("queued", "running"):
                    return _print_sweep(options, shown)
                check_led(session, now, item.plan.name)
            time.sleep(0.5)
    try:
        with progress_bar(item.plan.name) as bar:
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
        print_json(sweep)
    else:
        click.echo(
            f"{sweep['target']}: {sweep['outcome']}, {sweep['requests']} requests: "
            f"{sweep['accepted']} accepted, {sweep['refused']} refused, {sweep['restricted']} "
            f"restricted. {sweep['detail']}".rstrip()
        )
    return sweep["outcome"] in ("ok", "partial")


def _probe_remotely(
    options: Options, name: str | None, wanted: Sequence[str], answer: str | None
) -> int:
    import time

    there = [] if name else call(options, "GET", "/v1/targets")["items"]
    names = [name] if name else [item["name"] for item in there if not item.get("removed_at")]
    good = True
    for one in names:
        if answer:
            call(options, "POST", f"/v1/targets/{one}/confirm", json={"answer": answer})
        asked = call(options, "POST", f"/v1/targets/{one}/sweeps", json={"betas": list(wanted)})
        while asked["outcome"] in ("queued", "running"):
            time.sleep(0.5)
            asked = call(options, "GET", f"/v1/sweeps/{asked['id']}")
        good = _print_sweep(options, asked) and good
    return 0 if good else 1


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8900, show_default=True)
@click.option("--script", metavar="FILE", help="What it accepts and when, in JSON or TOML.")
def simulate(host: str, port: int, script: str | None) -> None:
    """Start the simulator of the upstream platforms, to try clients and probing against."""
    from registry import simulator

    try:
        simulator.run(host, port, script)
    except simulator.SimulatorError as error:
        raise click.ClickException(str(error)) from None


@cli.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of its own service (default: a free one).",
)
@click.option("--exit", "leave", is_flag=True, help="End when the story is told.")
def demo(port: int, leave: bool) -> None:
    """Show it all: a beta works, dies upstream, is found out, and is no longer served.

    Its service, its database and its upstream are its own, whatever runs or is set here, and go with it.
    """
    from registry import demo as story

    story.run(port, leave=leave)
