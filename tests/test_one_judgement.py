"""One judgement: no module but the judgement turns what is known of a beta into a verdict (CONTRACT, rule 0).

Reading a beta's status, state or places elsewhere is how surfaces come to disagree. So a module that does
it must stand here with its reason, and with what it may read.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import registry

ROOT: Final = Path(registry.__file__).parent

FACTS: Final = frozenset({"status", "state", "platforms", "exceptions", "places", "superseded_by"})
"""What a beta, or what is known of it at a place, is asked for to judge it."""
BETAS: Final = frozenset({"beta", "other", "known", "fact", "after", "before", "one", "incumbent"})
"""Names that hold a beta, or what is known of one, in this code."""

JUDGES: Final = frozenset({"core/judgement.py", "core/changes.py", "core/placing.py"})
"""The judgement itself, and the two that make facts of claims."""

PRINTS: Final = {
    "alerts/messages.py": "the beta's platforms, as the API prints them",
    "catalog.py": "stores what was derived, and compares it with what was",
    "cli/reading.py": "prints a beta as the API does",
    "core/exports.py": "writes names and models of every place into other programs' formats",
    "core/sunsets.py": "asks whether an announced end is still ahead",
    "core/wire.py": "tells a snapshot of before places from one that has them",
    "scanning/judging.py": "makes the facts of another day, which the judgement then judges",
    "simulator.py": "plays the upstream that the bundled catalog describes",
    "targets.py": "which betas a target asks about under their own name; retirement (rule 4)",
    "web/__init__.py": "counts by status for the metrics",
    "web/api.py": "filters and sorts the list of betas by what it prints",
    "web/dashboard/pictures.py": "draws the life of a beta",
    "web/dashboard/reading.py": "filters, sorts and counts betas by what it prints",
    "web/dashboard/rendering.py": "prints the platforms as letters",
    "web/dashboard/tools.py": "prints the status beside the verdict",
}
"""Modules that read facts to print, store or select them, each with its reason."""


def readings(tree: ast.AST) -> list[tuple[int, str]]:
    """Return where facts of a beta are read: line and expression."""
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr in FACTS):
            continue
        if not isinstance(node.ctx, ast.Load):
            continue
        value = node.value
        name = value.id if isinstance(value, ast.Name) else getattr(value, "attr", "")
        if name in BETAS:
            found.append((node.lineno, f"{name}.{node.attr}"))
    return sorted(found)


def modules() -> dict[str, list[tuple[int, str]]]:
    """Return by module what it reads."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        made = readings(ast.parse(path.read_text()))
        if made:
            found[path.relative_to(ROOT).as_posix()] = made
    return found


def test_only_the_judgement_judges() -> None:
    """Whoever else reads facts of a beta stands in the list with a reason."""
    strangers = {
        name: reads
        for name, reads in modules().items()
        if name not in JUDGES and name not in PRINTS
    }
    assert strangers == {}
    assert modules().keys() >= PRINTS.keys(), "a reason for nothing"


def test_the_rule_sees_what_it_forbids() -> None:
    """Reading is found, also through another object; writing and other names are not."""
    source = (
        "if beta.status == 'x': pass\nitem.beta.places\nrow.status\nbeta.status = 1\nfact.state"
    )
    assert readings(ast.parse(source)) == [
        (1, "beta.status"), (2, "beta.places"), (5, "fact.state"),
    ]  # fmt: skip
