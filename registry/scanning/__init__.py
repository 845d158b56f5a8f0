"""The repository scan: betas in files, judged, and told in many formats.

    walk      which files there are: ignore files, links, what cannot be read
    reading   what each file names, in bounded memory, on all processors
    own       which files are reports and baselines of earlier scans
    judging   what is to be said of each place: verdict, fingerprint, what was accepted before
    owners    whose file it is, and where it can be seen
    usage     what is found, as a report of usage to the registry
    formats   JSON, SARIF, CSV, Markdown and GitHub's annotations of what was found

Part of the light client: nothing here needs the server. Finding names in text is `core/scan.py`,
judging them is `core/resolution.py`; this package joins them to files and reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from registry.core.facts import Snapshot
from registry.core.places import place_of
from registry.scanning.formats import FORMATS, Report, counted, summary
from registry.scanning.judging import Finding, Judge, known_names, read_baseline, with_baseline
from registry.scanning.reading import Read, read_files, read_stream
from registry.scanning.walk import Complain, walk

__all__ = ["FORMATS", "STDIN", "Report", "counted", "read_baseline", "scan", "summary"]

STDIN = "-"
"""The path that stands for standard input."""


def scan(
    paths: Sequence[str],
    snapshot: Snapshot,
    *,
    origin: str,
    platform: str,
    today: date,
    stdin: int,
    baseline: Mapping[str, str],
    api: str | None = None,
    hosting: str | None = None,
    region: str | None = None,
    model: str | None = None,
    jobs: int | None = None,
    complain: Complain = lambda _path, _sentence: None,
) -> Report:
    """Scan files and trees, and judge what they name for a place as of a day.

    What cannot be read is told to `complain` as it happens and kept in the report; the scan goes on.
    Raises `Invalid` for a place that is none.
    """
    place = place_of(platform=platform, api=api, hosting=hosting, region=region, model=model)
    judge = Judge(snapshot, place)
    problems: list[tuple[str, str]] = []

    def note(path: str, sentence: str) -> None:
        problems.append((path, sentence))
        complain(path, sentence)

    findings: list[Finding] = []
    files = binary = own = 0
    for read in _read(paths, known_names(snapshot), stdin, jobs, note):
        files, binary, own = files + read.files, binary + read.binary, own + read.own
        for problem in read.problems:
            note(*problem)
        for path, found in read.found:
            findings += with_baseline(judge.findings(path, found), baseline)
    return Report(
        findings=findings,
        problems=problems,
        files=files,
        binary=binary,
        own=own,
        place=place,
        today=today,
        snapshot=snapshot,
        origin=origin,
    )


def _read(
    paths: Sequence[str],
    known: frozenset[str],
    stdin: int,
    jobs: int | None,
    complain: Complain,
) -> Iterator[Read]:
    if STDIN in paths:
        yield read_stream(stdin, "stdin", known)
    yield from read_files(walk((path for path in paths if path != STDIN), complain), known, jobs)
