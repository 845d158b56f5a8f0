"""Settings: where they come from, which one wins, and what a wrong one says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from registry.config import load, pip_index_url
from registry.core.errors import Invalid


def test_the_defaults_are_those_of_the_contract() -> None:
    """Nothing set: an embedded database, loopback, reads open."""
    found = load()
    assert (found.database_url, found.host, found.port) == (
        "sqlite:///beta-registry.db", "127.0.0.1", 8000,
    )  # fmt: skip
    assert found.public_read
    assert found.scheduler
    assert list(found.sources) == ["catalog", "sdk", "litellm", "release-notes", "docs"]


def test_the_command_line_outweighs_the_environment_and_that_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In that order."""
    (tmp_path / "beta-registry.toml").write_text('port = 1\nhost = "a"\nlog_format = "json"\n')
    (tmp_path / ".env").write_text("BETA_REGISTRY_HOST=b\n")
    monkeypatch.setenv("BETA_REGISTRY_PORT", "2")
    found = load(port=3)
    assert (found.port, found.host, found.log_format) == (3, "b", "json")
    assert load().port == 2


def test_lists_and_targets_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma list, and JSON."""
    monkeypatch.setenv("BETA_REGISTRY_SOURCES", "sdk, docs")
    monkeypatch.setenv(
        "BETA_REGISTRY_TARGETS", '[{"name": "t", "platform": "anthropic", "every": "90s"}]'
    )
    found = load()
    assert found.sources == ["sdk", "docs"]
    assert (found.targets[0].every, found.targets[0].confirm_every) == (
        timedelta(seconds=90), timedelta(minutes=2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("port = ", "is not TOML"),
        ("port = 99999", "'port'"),
        ('prot = 8000', "'prot' is not a setting"),
        ('sources = ["sdk", "pypi"]', "sources[1]"),
        ('log_format = "xml"', "'log_format'"),
        ('sdk_every = "often"', "write a time as 30s, 2m, 1h or 1d"),
        ('[[targets]]\nname = "t"', "targets[0].platform"),
        ('[[targets]]\nname = "t"\nplatform = "azure"', "targets[0].platform"),
        ('[[targets]]\nname = "t"\nplatform = "anthropic"\nevry = "1h"', "targets[0].evry"),
        ('[[targets]]\nname = "t"\nplatform = "anthropic"\nevery = 0', "targets[0].every"),
        ('[[targets]]\nname = "t"\nplatform = "anthropic"\nendpoint = "chat"',
         "targets[0].endpoint"),
        ('[[targets]]\nname = "t"\nplatform = "anthropic"\nmax_requests = 9', "at least 14"),
        ('[[targets]]\nname = "t"\nplatform = "anthropic"\nconfirm_spread = "soon"',
         "targets[0].confirm_spread"),
        ('targets = "x"', "'targets'"),
    ],
)  # fmt: skip
def test_a_wrong_file_names_file_key_and_reason(tmp_path: Path, toml: str, says: str) -> None:
    """One sentence, and the start stops."""
    file = tmp_path / "my.toml"
    file.write_text(toml)
    with pytest.raises(Invalid) as caught:
        load(str(file))
    assert says in caught.value.detail
    assert "my.toml" in caught.value.detail


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is spelt in the environment."""
    monkeypatch.setenv("BETA_REGISTRY_PORT", "eighty")
    with pytest.raises(Invalid, match=r"the environment \(BETA_REGISTRY_PORT\)"):
        load()
    monkeypatch.delenv("BETA_REGISTRY_PORT")
    monkeypatch.setenv("BETA_REGISTRY_TARGETS", "[{")
    with pytest.raises(Invalid, match="targets"):
        load()


def test_a_named_file_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no default, so it must be there."""
    monkeypatch.setenv("BETA_REGISTRY_CONFIG", "nowhere.toml")
    with pytest.raises(Invalid, match=r"Cannot read the settings file nowhere\.toml"):
        load()


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the settings nor in the refusal of a bad one."""
    monkeypatch.setenv("BETA_REGISTRY_ADMIN_TOKEN", "short-secret")
    with pytest.raises(Invalid) as caught:
        load()
    assert "short-secret" not in caught.value.detail
    monkeypatch.setenv("BETA_REGISTRY_ADMIN_TOKEN", "a-secret-that-is-long-enough")
    assert "long-enough" not in repr(load())


def test_pips_own_settings_name_the_index(tmp_path: Path) -> None:
    """The environment outweighs the files."""
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://files.test/simple\n")
    environ = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path)}
    assert pip_index_url(environ) == "http://files.test/simple"
    assert pip_index_url({**environ, "PIP_INDEX_URL": "http://env.test/"}) == "http://env.test/"
