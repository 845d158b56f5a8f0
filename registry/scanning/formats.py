"""The report of a scan in the formats of other programs: JSON, SARIF 2.1.0, CSV, Markdown, GitHub.

JSON and CSV hold every place; the others hold those with something to do. The table for people is
printed by the command line, which knows its terminal.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from urllib.parse import quote

from registry import __version__
from registry.core.facts import Json, Snapshot, rfc3339
from registry.core.places import Place
from registry.scanning.judging import Finding

__all__ = ["COLUMNS", "FORMATS", "Report", "counted", "summary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a scan found, and against what it was judged.

    `problems` are (path, sentence) of what could not be read; of the `files`, `binary` are not text and
    `own` are reports and baselines of earlier scans, which are not read.
    """

    findings: Sequence[Finding]
    problems: Sequence[tuple[str, str]]
    files: int
    binary: int
    own: int
    place: Place
    today: date
    snapshot: Snapshot
    origin: str

    @property
    def to_do(self) -> list[Finding]:
        """The places that ask for a change, the weightiest first."""
        weighty = [found for found in self.findings if found.severity]
        return sorted(weighty, key=lambda found: -found.severity)


def summary(report: Report) -> str:
    """Say in one line what was found."""
    betas = {found.beta for found in report.findings}
    verdicts = Counter(found.verdict for found in report.findings if not found.suppressed)
    suppressed = Counter(found.suppressed for found in report.findings if found.suppressed)
    told = [f"{count} {verdict}" for verdict, count in verdicts.most_common()]
    told += [f"{count} passed over by {why}" for why, count in sorted(suppressed.items())]
    read = report.files - report.binary - report.own
    skipped = [f"{report.binary:,} binary skipped"] if report.binary else []
    skipped += [f"{counted(report.own, 'earlier report')} skipped"] if report.own else []
    skipped += [f"{len(report.problems):,} with problems"] if report.problems else []
    where = f"{counted(read, 'file')}{' (' + ', '.join(skipped) + ')' if skipped else ''}"
    found = f"{counted(len(report.findings), 'place')} of {counted(len(betas), 'beta')}"
    return f"{found} in {where}{': ' + ', '.join(told) if told else ''}."


def counted(number: int, noun: str) -> str:
    """Print a number of things: `1 place`, `1,200 places`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# --- JSON and CSV ---------------------------------------------------------------------------------


def _finding_json(found: Finding) -> dict[str, Json]:
    return {
        "path": found.path,
        "line": found.line,
        "column": found.column,
        "offset": found.offset,
        "beta": found.beta,
        "verdict": found.verdict,
        "severity": found.severity,
        "detail": found.detail,
        "use_instead": found.use_instead,
        "docs_url": found.docs_url,
        "other_names": {platform: list(names) for platform, names in found.other_names.items()},
        "known": found.known,
        "suppressed": found.suppressed,
        "fingerprint": found.fingerprint,
    }


def _json(report: Report) -> str:
    snapshot = report.snapshot
    verdicts = Counter(found.verdict for found in report.findings if not found.suppressed)
    return _dumped(
        {
            "platform": report.place.platform,
            "as_of": report.today.isoformat(),
            "catalog": {
                "origin": report.origin,
                "as_of": rfc3339(snapshot.as_of),
                "probed_at": rfc3339(snapshot.probed_at) if snapshot.probed_at else None,
            },
            "summary": {
                "files": report.files,
                "binary": report.binary,
                "own": report.own,
                "places": len(report.findings),
                "betas": len({found.beta for found in report.findings}),
                "suppressed": sum(found.suppressed is not None for found in report.findings),
                "verdicts": dict(verdicts.most_common()),
            },
            "findings": [_finding_json(found) for found in report.findings],
            "problems": [{"path": path, "detail": detail} for path, detail in report.problems],
        }
    )


def _dumped(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


COLUMNS: Final = (
    "path", "line", "column", "beta", "verdict", "use_instead", "detail", "suppressed", "fingerprint",
)  # fmt: skip


def _csv(report: Report) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for found in report.findings:
        writer.writerow({key: _cell(value) for key, value in _finding_json(found).items()})
    return out.getvalue()


def _cell(value: Json) -> Json:
    """Keep a spreadsheet from taking a file's name for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


# --- Markdown -------------------------------------------------------------------------------------


def _markdown(report: Report) -> str:
    lines = ["## Betas", "", summary(report), ""]
    if report.to_do:
        lines += ["| Where | Beta | Verdict | Use instead | Why |", "|---|---|---|---|---|"]
    for found in report.to_do:
        cells = (
            f"`{found.path}:{found.line}`", f"`{found.beta}`", found.verdict,
            f"`{found.use_instead}`" if found.use_instead else "", found.detail,
        )  # fmt: skip
        lines.append("| " + " | ".join(map(_in_a_cell, cells)) + " |")
    return "\n".join(lines).rstrip() + "\n"


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- GitHub's annotations -------------------------------------------------------------------------


def _github(report: Report) -> str:
    return "".join(f"{line}\n" for line in _annotations(report))


def _annotations(report: Report) -> Iterator[str]:
    for found in report.to_do:
        place = {
            "file": found.path, "line": found.line, "col": found.column,
            "endColumn": found.column + len(found.beta), "title": f"{found.beta}: {found.verdict}",
        }  # fmt: skip
        told = ",".join(f"{key}={_property(str(value))}" for key, value in place.items())
        kind = "error" if found.severity == 3 else "warning"
        yield f"::{kind} {told}::{_data(_advice(found))}"
    for path, detail in report.problems:
        yield f"::warning file={_property(path)}::{_data(detail)}"
    yield f"::notice title=beta-registry::{_data(summary(report))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _advice(found: Finding) -> str:
    instead = found.use_instead
    told = instead is None or instead in found.detail
    return found.detail if told else f"{found.detail} Use {instead}."


# --- SARIF ----------------------------------------------------------------------------------------

_HELP: Final = "https://platform.claude.com/docs/en/api/beta-headers"
_RULES: Final[Mapping[str, tuple[str, str]]] = {
    "retired-beta": ("error", "A beta that is no longer accepted, or has no effect."),
    "refused-beta": ("error", "A beta that is refused on the platform that was asked for."),
    "deprecated-beta": ("warning", "A beta whose end is announced."),
    "needless-beta": ("warning", "A beta header that is no longer needed."),
    "unknown-beta": ("warning", "A beta that the registry does not know."),
}
_RULE_OF: Final[Mapping[str, str]] = {
    "retired": "retired-beta",
    "deprecated": "deprecated-beta",
    "not_needed": "needless-beta",
    "no_effect": "needless-beta",
    "unknown": "unknown-beta",
}


def _sarif(report: Report) -> str:
    ids = list(_RULES)
    told = [found for found in report.findings if found.verdict in _RULE_OF or found.severity]
    return _dumped(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {"driver": _driver()},
                    "columnKind": "unicodeCodePoints",
                    "originalUriBaseIds": {
                        "%SRCROOT%": {"description": {"text": "The root of the repository."}}
                    },
                    "invocations": [
                        {
                            "executionSuccessful": not report.problems,
                            "toolExecutionNotifications": [
                                _notification(*problem) for problem in report.problems
                            ],
                        }
                    ],
                    "results": [_result(found, ids) for found in told],
                    "properties": {"summary": summary(report), "platform": report.place.platform},
                }
            ],
        }
    )


def _driver() -> Json:
    return {
        "name": "beta-registry",
        "version": __version__,
        "informationUri": _HELP,
        "rules": [
            {
                "id": rule,
                "name": "".join(word.title() for word in rule.split("-")),
                "shortDescription": {"text": text},
                "helpUri": _HELP,
                "defaultConfiguration": {"level": level},
            }
            for rule, (level, text) in _RULES.items()
        ],
    }


def _notification(path: str, detail: str) -> Json:
    return {
        "level": "warning",
        "message": {"text": detail},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(path)}}],
    }


def _artifact(path: str) -> Json:
    return {"uri": quote(path), "uriBaseId": "%SRCROOT%"}


def _result(found: Finding, ids: list[str]) -> Json:
    rule = _RULE_OF.get(found.verdict, "refused-beta")
    region = {
        "startLine": found.line,
        "startColumn": found.column,
        "endColumn": found.column + len(found.beta),
        "snippet": {"text": found.beta},
    }
    kind = {"comment": "inSource", "baseline": "external"}.get(found.suppressed or "")
    return {
        "ruleId": rule,
        "ruleIndex": ids.index(rule),
        "level": _RULES[rule][0],
        "message": {"text": _advice(found)},
        "locations": [
            {"physicalLocation": {"artifactLocation": _artifact(found.path), "region": region}}
        ],
        "partialFingerprints": {"betaRegistry/v1": found.fingerprint},
        "properties": {
            "beta": found.beta,
            "verdict": found.verdict,
            "useInstead": found.use_instead,
            "docsUrl": found.docs_url,
        },
        **({"suppressions": [{"kind": kind}]} if kind else {}),
    }


FORMATS: Final[Mapping[str, Callable[[Report], str]]] = {
    "json": _json, "sarif": _sarif, "csv": _csv, "markdown": _markdown, "github": _github,
}  # fmt: skip
"""Writers by the name of their format."""
