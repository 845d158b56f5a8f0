"""What the documents say is true: settings, commands, calls and links exist, and the tour runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from registry.cli import cli
from registry.config import PREFIX, Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_every_setting_is_in_the_readme() -> None:
    """And none that does not exist."""
    told = set(re.findall(rf"`(?:{PREFIX}|_)([A-Z_]+)`", README)) - {"CONFIG", "URL", "TOKEN"}
    assert told == {name.upper() for name in Settings.model_fields}


def test_commands_in_the_documents_exist() -> None:
    """`beta-registry WORD` is a command wherever it stands."""
    for page in PAGES:
        for word in re.findall(r"(?:`|\$ )beta-registry ([a-z]+)", page.read_text(), re.M):
            assert word in cli.commands, f"{page.name}: {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files that are there."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_tour_prints_what_the_readme_shows() -> None:
    """The verdicts of the check in the tour are those of the bundled catalog."""
    command = re.search(r'\$ beta-registry check "([^"]+)"', README)
    assert command
    done = subprocess.run(
        [sys.executable, "-m", "registry.cli", "check", command[1]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    for line in done.stdout.splitlines()[:4]:
        assert line.rstrip() in README


def test_every_make_target_has_a_help_line() -> None:
    """`make help` lists what there is."""
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", text, re.M))
    assert targets == set(re.findall(r"^([a-z]+):.*## ", text, re.M))
    for word in re.findall(r"`?make ([a-z]+)", README):
        assert word in targets


def test_renovate_finds_a_beta_with_the_readmes_configuration() -> None:
    """The expressions match a name in code, and the versions that the export has."""
    block = next(
        json.loads(text) for text in re.findall(r"```json\n(.*?)```", README, re.S)
        if "customManagers" in text
    )  # fmt: skip
    manager = block["customManagers"][0]
    source = manager["datasourceTemplate"].removeprefix("custom.")
    assert (
        "/v1/export/renovate/{{packageName}}.json"
        in (block["customDatasources"][source]["defaultRegistryUrlTemplate"])
    )

    def python(expression: str) -> str:
        return expression.replace("(?<", "(?P<")

    found = re.search(python(manager["matchStrings"][0]), 'betas=["mcp-client-2025-11-20"]')
    assert found
    assert found.groupdict() == {"depName": "mcp-client", "currentValue": "2025-11-20"}
    versioning = manager["versioningTemplate"].removeprefix("regex:")
    assert re.match(python(versioning), found["currentValue"])
    assert re.search(manager["managerFilePatterns"][0].strip("/"), "src/app.py")
