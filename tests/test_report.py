"""The exposure report: pure over usage, and gathered from both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from registry import inventory
from registry.core.facts import PlatformState
from registry.core.judgement import HOME, lenient_place
from registry.db import Database
from registry.inventory.exposure import report as gathered
from registry.report import SECTIONS, Finding, Location, Report, Use, expose, markdown
from tests.factories import NOW, beta, snapshot

START = NOW - timedelta(days=6)
OK, GONE, DYING, DONE = "ok-2026-01-01", "gone-2025-01-01", "dying-2025-06-01", "done-2025-02-02"
NOWHERE, NEXT = "nowhere-2026-03-03", "next-2026-06-01"
REFUSED = PlatformState(state="refused", names=(NOWHERE,), accepted=False, basis="probed")
WORLD = snapshot(
    beta(OK),
    beta(NEXT),
    beta(GONE, "retired", state="refused", accepted=False, superseded_by=NEXT,
         retired_on=date(2026, 9, 1), body_fields=("thing",)),
    beta(DYING, "deprecated", sunset_on=date(2027, 2, 1)),
    beta(DONE, "ga", header_effect="ignored"),
    beta(NOWHERE, platforms={"vertex": REFUSED}),
)  # fmt: skip


def use(
    name: str,
    count: int = 100,
    service: str = "shop",
    *,
    platform: Any = None,
    accepted: int = 0,
    refused: int = 0,
    **more: Any,
) -> Use:
    """A use of a beta by a client, in this hour."""
    hours = ((inventory.hour_of(NOW), count, accepted, refused),) if count else ()
    given = {"environment": "prod", "source": "client", "last_seen": NOW, "hours": hours, **more}
    place = lenient_place(platform)
    return Use(service=service, beta=name, place=place, placed=bool(platform), **given)


def report(*uses: Use, **more: Any) -> Report:
    """The report of these uses in seven days."""
    return expose(uses, WORLD, days=7, start=START, stop=NOW, **more)


def sections(made: Report) -> dict[str, str]:
    """Under what each beta is told."""
    return {finding.beta: finding.section for finding in made.findings}


def finding(made: Report, name: str) -> Finding:
    """The finding on a beta."""
    [found] = [item for item in made.findings if item.beta == name]
    return found


def test_each_beta_gets_its_word_and_the_worst_comes_first() -> None:
    """What works is not mentioned."""
    uses = [use(name) for name in (OK, DONE, "typo-2026-01-01", DYING, GONE)]
    made = report(*uses, use(NOWHERE, platform="vertex"))
    assert sections(made) == {
        GONE: "fails", NOWHERE: "fails", DYING: "deprecated", DONE: "ga",
        "typo-2026-01-01": "unknown",
    }  # fmt: skip
    order = [SECTIONS.index(item.section) for item in made.findings]
    assert order == sorted(order)


def test_the_platform_decides() -> None:
    """Refused on vertex, and fine elsewhere; without a platform the Claude API is meant, and told."""
    made = report(use(NOWHERE, platform="vertex"), use(NOWHERE, service="other"))
    [found] = made.findings
    assert (found.platform, [sender.service for sender in found.senders]) == ("vertex", ["shop"])
    assert any("other" in sentence for sentence in made.cannot_know)
    assert (
        report(use(NOWHERE, platform="vertex"), use(GONE), platform="vertex").requests.total == 100
    )


@pytest.mark.parametrize(
    ("uses", "total", "failing", "at_most"),
    [
        ([use(OK, 100), use(GONE, 40)], 100, 40, 40),
        ([use(GONE, 40), use(NOWHERE, 70, platform="vertex")], 110, 110, 110),
        ([use(GONE, 40), use("gone-x", 9)], 40, 40, 40),
        # Client and gateway saw the same requests.
        ([use(GONE, 40), use(GONE, 50, source="gateway")], 50, 50, 50),
        # The upstream took some of them after all.
        ([use(GONE, 40, accepted=30)], 40, 10, 10),
        ([use(GONE, 40, accepted=40)], 40, 0, 0),
        ([use(OK, 40, refused=3)], 40, 3, 3),
        ([use(GONE, 0, source="scan")], 0, 0, 0),
        ([], 0, 0, 0),
    ],
)
def test_requests_are_counted_from_below(
    uses: list[Use], total: int, failing: int, at_most: int
) -> None:
    """Betas that are sent together are not added up, nor are sources that see the same."""
    made = report(*uses).requests
    assert (made.total, made.failing, made.failing_at_most) == (total, failing, at_most)
    assert made.share == (round(failing / total, 4) if total else 0)


def test_what_services_see_outweighs_what_is_known() -> None:
    """Refused though valid, accepted though retired: both are told as what they are."""
    made = report(use(OK, 40, refused=3), use(GONE, 40, accepted=40))
    assert sections(made) == {OK: "refused_in_use", GONE: "fails"}
    assert (finding(made, OK).seen, finding(made, GONE).seen) == ("refused", "accepted")


def test_what_was_accepted_before_the_turn_fails_too() -> None:
    """Only what is accepted in hours that began after it speaks against what is known."""
    turned = NOW - timedelta(hours=3)
    dead = replace(REFUSED, target="t", checked_at=turned)
    known = beta(NOWHERE, platforms={"vertex": dead})
    places = tuple(
        replace(fact, since=turned) if fact.state == "refused" else fact for fact in known.places
    )
    world = replace(WORLD, betas={**WORLD.betas, NOWHERE: replace(known, places=places)})
    hour = inventory.hour_of(NOW)
    hours = ((hour - 5, 900, 900, 0), (hour, 12, 0, 12))
    made = expose(
        [use(NOWHERE, platform="vertex", hours=hours)], world, days=7, start=START, stop=NOW
    )
    assert (made.requests.failing, made.requests.total) == (912, 912)
    assert finding(made, NOWHERE).requests == 912
    assert made.services["failing"] == 1


def test_a_model_that_alone_is_refused_is_a_bound_from_above() -> None:
    """Where a release before kept no counts by model."""
    from registry.core.facts import Exception_

    picky = beta(OK, exceptions=(Exception_(model="claude-old", accepted=False),))
    made = expose(
        [
            replace(
                use(OK, 90),
                place=replace(HOME, model="claude-new"),
                others=(replace(HOME, model="claude-old"),),
            )
        ],
        replace(WORLD, betas={**WORLD.betas, OK: picky}), days=7, start=START, stop=NOW,
    )  # fmt: skip
    assert (made.requests.failing, made.requests.failing_at_most) == (0, 90)
    assert finding(made, OK).verdict == "wrong_model"


def test_the_change_says_before_and_after() -> None:
    """What fails is replaced where something replaces it, and dropped else; the rest stays in order."""
    made = report(use(OK, 100), use(GONE, 40), use(DONE, 20))
    [change] = made.changes
    assert (change.value_before, change.value_after) == (f"{OK},{GONE},{DONE}", f"{OK},{NEXT}")
    assert (change.failing, change.omit) == (40, False)
    [alone] = report(use(DONE)).changes
    assert (alone.value_after, alone.omit) == ("", True)
    assert report(use(OK), use("typo-2026-01-01")).changes == ()


def test_places_in_code_stand_with_those_who_send() -> None:
    """A scan adds its lines to the service's requests; alone it is a finding without requests."""
    place = Location(path="app/llm.py", line=12)
    scan = use(GONE, 0, source="scan", environment="default", locations=(place,))
    made = report(use(GONE, 40, platform="anthropic"), scan)
    assert len(made.findings) == 1
    assert made.findings[0].senders[0].locations == (place,)
    assert made.changes[0].locations == (place,)
    only = report(scan)
    assert (only.findings[0].section, only.findings[0].requests) == ("fails", 0)
    assert "Code that was scanned" in only.summary


def test_the_summary_can_be_understood() -> None:
    """One paragraph: how many, why, what else, what to do."""
    made = report(
        use(GONE, 250, team="web"), use(OK, 1000, team="web"), use(DYING, 5, service="b", team="ml"),
        use(DONE, 5, service="c"), silent=["d"],
    )  # fmt: skip
    assert made.summary == (
        f"In 7 days, 3 services sent at least 1,010 requests with betas. At least 250 of them (24.8%) fail "
        f"or would have failed because of {GONE} on anthropic. 1 beta in use will end, the first on "
        "2027-02-01. 1 beta can simply be deleted: the header is not needed. To be safe, 2 services of 1 "
        "team must change the header as listed."
    )
    assert any("1 known service reported nothing" in sentence for sentence in made.cannot_know)
    assert report(use(OK)).summary.endswith("No header has to change.")
    assert "nothing can be said" in report().summary


def test_markdown_holds_it_all() -> None:
    """Tables that no name can break."""
    made = report(use(GONE, 250, service="a|b", team="web"), use(OK))
    text = markdown(made.to_json())
    assert text.startswith("# Exposure to betas\n\n2026-11-17 to 2026-11-23\n\nIn 7 days")
    assert f"| `{GONE}` | anthropic | 250 |" in text
    assert "a\\|b (prod)" in text
    assert "## What to change" in text
    assert markdown(report().to_json()).count("##") == 1


def test_it_is_gathered_from_the_database(database: Database) -> None:
    """Only the days asked for and the team asked for; scans stay; silent services are named."""

    def told(service: str, name: str, days: int, count: int, source: Any = "client") -> None:
        at = NOW - timedelta(days=days)
        item = inventory.Item(
            beta=name, count=count, path="a.py" if source == "scan" else None, line=3
        )
        made = inventory.Report(
            service=service, environment="prod", source=source, window=(at, at), items=(item,)
        )
        with database.write() as session:
            inventory.record(session, made, NOW, snapshot=WORLD)

    told("shop", GONE, 1, 10)
    told("shop", GONE, 6, 20)
    told("shop", GONE, 8, 40)
    told("shop", GONE, 20, 1, source="scan")
    told("old", GONE, 30, 7)
    with database.read() as session:
        made = gathered(session, NOW, days=7, snapshot=WORLD)
        assert gathered(session, NOW, days=7, team="nobody", snapshot=WORLD).services["total"] == 0
        month = gathered(session, NOW, days=40, snapshot=WORLD)
    assert made.start == datetime(2026, 11, 17, tzinfo=UTC)
    assert made.requests.failing == 30
    assert finding(made, GONE).senders[0].locations == (Location(path="a.py", line=3),)
    assert any("old" in sentence for sentence in made.cannot_know)
    assert month.requests.failing == 77
