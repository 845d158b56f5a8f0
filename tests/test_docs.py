"""What the documents say is true: settings, commands, calls and links exist, and the tour runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from registry.alerts.placeholders import PLACEHOLDERS
from registry.cli import cli
from registry.config import PREFIX, Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_every_setting_is_in_the_readme() -> None:
    """And none that does not exist."""
    told = set(re.findall(rf"`(?:{PREFIX}|_)([A-Z_]+)`", README)) - {"CONFIG", "URL", "TOKEN"}
    assert told == {name.upper() for name in Settings.model_fields}


def test_every_placeholder_of_a_template_is_in_the_readme() -> None:
    """And none that does not exist."""
    assert re.findall(r"`\$([a-z_]+)`", README)[1:] == list(PLACEHOLDERS)


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


def test_the_launcher_of_a_checkout(tmp_path: Path) -> None:
    """From any folder and through a link: the command of `.venv`, or one sentence on what to run."""
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    shutil.copy(ROOT / "beta-registry", checkout)
    (tmp_path / "link").symlink_to(checkout / "beta-registry")

    def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([tmp_path / "link", *arguments], cwd="/", capture_output=True,
                              text=True, check=False)  # fmt: skip

    absent = launch("--version")
    assert (absent.returncode, absent.stdout, absent.stderr.count("\n")) == (1, "", 1)
    assert "run `make install`" in absent.stderr
    command = checkout / ".venv" / "bin" / "beta-registry"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m registry.cli "$@"\n')
    command.chmod(0o755)
    assert launch("--version").stdout.startswith("beta-registry, version ")
    assert launch("check", "prompt-tools-2025-04-02").returncode == 3


def test_the_readme_says_how_the_command_is_found() -> None:
    """Before it is used for the first time, and `make run` says it too."""
    assert README.index('export PATH="$PWD:$PATH"') < README.index("$ beta-registry")
    told = subprocess.run(
        ["make", "-n", "run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f'export PATH="{ROOT}:$PATH"' in told.stdout


def csv_example() -> tuple[str, list[str]]:
    """The README's command that imports a CSV: its file and the rest of its arguments."""
    found = re.search(r"\$ beta-registry usage import (\S+\.csv) (.*)", README)
    assert found
    return found[1], found[2].split()


@pytest.mark.parametrize("header", [True, False])
def test_the_csv_of_the_readme_is_read_as_a_table(header: bool) -> None:
    """Its columns are none of the betas; without its header line it is refused, not guessed at."""
    file, arguments = csv_example()
    columns = [part.partition("=")[2] for part in arguments if "=" in part]
    row = ["mcp-client-2025-11-20", "2026-11-23T10:00:00Z", "200", ""]
    lines = [",".join(columns)] * header + [",".join(row)]
    Path(file).write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "registry.cli", "--json", "usage", "import", file, "--dry-run", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if header:
        assert json.loads(done.stdout)["betas"] == ["mcp-client-2025-11-20"]
    else:
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "There is no column" in done.stderr


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
