"""The schema: from empty to head and back, on both databases, and from an installed wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa

from registry import db
from registry.core.errors import Invalid, Unavailable

ROOT = Path(__file__).parent.parent


def test_head_is_what_the_models_say(database_url: str) -> None:
    """Empty, then upgraded to head: Alembic finds nothing that it would change."""
    db.check(database_url)


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    """A second upgrade is safe."""
    db.upgrade(database_url)
    db.check(database_url)


def test_downgrade_leaves_an_empty_database_that_upgrades_again(database_url: str) -> None:
    """Down to base removes every table of ours; up again gives the same schema."""
    db.downgrade(database_url, "base")
    engine = db.create_engine(database_url)
    assert set(sa.inspect(engine).get_table_names()) <= {"alembic_version"}
    engine.dispose()
    db.upgrade(database_url)
    db.check(database_url)


def test_an_old_schema_is_noticed(database_url: str) -> None:
    """`is_current` tells an out-of-date schema, and reading it says which command to run."""
    database = db.Database(database_url)
    assert db.is_current(database)
    db.downgrade(database_url, "base")
    assert not db.is_current(database)
    with pytest.raises(Unavailable, match="beta-registry db upgrade"), database.read() as session:
        session.execute(sa.text("SELECT * FROM betas"))
    database.close()


def test_an_unknown_revision_is_one_sentence(sqlite_url: str) -> None:
    """A misspelt revision names itself."""
    with pytest.raises(Invalid, match="nonsense"):
        db.downgrade(sqlite_url, "nonsense")


def test_a_wheel_migrates_without_a_checkout(tmp_path: Path) -> None:
    """The migrations travel inside the wheel, and its code finds them there."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("beta_registry-*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r});"
        "import registry; from registry import db;"
        f"assert registry.__file__.startswith({str(unpacked)!r});"
        f"db.upgrade('sqlite:///{tmp_path}/w.db'); db.check('sqlite:///{tmp_path}/w.db')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
