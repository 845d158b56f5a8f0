"""The schema: from empty to head and back, on both databases, and from an installed wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from registry import catalog, db
from registry.alerts import Alerts, Rules, placeholders
from registry.core.errors import Invalid, Unavailable
from registry.core.places import Place
from registry.models import (
    AttemptRow,
    DeliveryRow,
    EventRow,
    EvidenceRow,
    SourceRow,
    SourceRunRow,
    SubscriptionRow,
)
from registry.sealing import Sealer
from tests.factories import NOW, claim, finding

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


def _alerts(database: db.Database) -> Alerts:
    return Alerts(
        database, lambda: Sealer(b"k"), Rules(allow_private=True), lambda: NOW, "http://x.example"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"title": "Beta: {{ title }}"}, {"title": "Beta: ${title}"}),
        ({"title": "costs 5 $", "body": "{{action.with}} {{ text|md }}"},
         {"title": "costs 5 $$", "body": "${replace_by} ${text}"}),
        ({"body": "{{ affected | map(attribute=\"service\") | join(', ') }}: {{ affected|length }}"},
         {"body": "${services}: ${affected_total}"}),
        ({"body": "{{ confirm|join('\\n') }}"}, {"body": "${confirm}"}),
        ({"body": "nothing of the kind"}, {"body": "nothing of the kind"}),
        ({"body": "{% if beta %}{{ beta.name }}{% endif %}"}, None),
        ({"body": "{{ title|upper }}"}, None),
        ({"body": "{{ colour }}"}, None),
        ({"title": "{{ title }}", "body": "{# x #}"}, None),
    ],
)  # fmt: skip
def test_templates_of_old_are_translated_or_their_owner_is_told(
    database: db.Database, database_url: str, before: dict[str, str], after: dict[str, str] | None
) -> None:
    """What only printed values goes on; for the rest the subscription's note says what to do."""
    alerts = _alerts(database)
    made, _ = alerts.subscribe(
        {
            "name": "n",
            "channel": "apprise",
            "url": "slack://TAAAAAAAA/BAAAAAAAA/AAAAAAAAAAAAAAAAAAAAAAAA",
        }
    )
    db.downgrade(database_url, "d496910e4192")
    with database.write() as session:
        session.execute(sa.update(SubscriptionRow).values(template=before))
    db.upgrade(database_url)
    shown = alerts.subscription(made.id)
    assert shown.template == (after or before)
    assert ("Write the template anew" in (shown.note or "")) == (after is None)
    if after is None:
        assert alerts.amend(made.id, {"template": None}).note is None
    else:
        placeholders.check(after)
        db.downgrade(database_url, "d496910e4192")
        db.upgrade(database_url)
        assert alerts.subscription(made.id).template == after


OLD_WORDS = (
    "Cannot reach https://user:s3cret@index.example/simple/?token=s3cret#s3cret: no. "
    "Cannot read /srv/s3cret/docs.md: no. Proxy user:s3cret@proxy.example:3128."
)
NEW_WORDS = "Cannot reach https://index.example/simple/: no. Cannot read docs.md: no. Proxy ***@proxy.example:3128."


def test_secrets_in_what_was_told_are_taken_out(database: db.Database, database_url: str) -> None:
    """Of the changelog, the sources, the sweeps and the deliveries; other events keep their words."""
    alerts = _alerts(database)
    made, _ = alerts.subscribe(
        {"name": "n", "channel": "webhook", "url": "http://127.0.0.1:1/s3cret"}
    )
    alerts.test(made.id)
    with database.write() as session:
        catalog.record_failure(session, "sdk", NOW, NOW, "once")
        told = finding("docs", claim("x-2026-01-01", source="docs"))
        catalog.apply(session, told, NOW, NOW)
    db.downgrade(database_url, "5d0c7be1f6a2")
    with database.write() as session:
        for column in _TOLD:
            table = column.class_.__table__
            session.execute(sa.update(table).values({column.key: OLD_WORDS}))
    db.upgrade(database_url)
    with database.read() as session:
        for column in _TOLD:
            found = set(session.scalars(sa.select(column)))
            expected = {NEW_WORDS, OLD_WORDS} if column is EventRow.reason else {NEW_WORDS}
            assert found == expected
        events = catalog.events(session, catalog.EventFilter(), 100)
    assert [event.reason for event in events if event.type == "source.failed"] == [NEW_WORDS]


_TOLD = (
    EventRow.reason, SourceRow.error, SourceRunRow.detail, DeliveryRow.last_error, AttemptRow.error,
    AttemptRow.answer,
)  # fmt: skip


def test_claims_of_targets_that_others_withdrew_come_back(
    database: db.Database, database_url: str
) -> None:
    """Not those that the target itself has replaced, and no one else's."""
    field = "platforms.anthropic.state"
    with database.write() as session:
        for source in ("target:eu-1", "target:eu_1", "target:eu_1"):
            made = claim("x-2026-01-01", field, "supported", source=source, basis="probed")
            catalog.insert(session, [made], NOW)
        catalog.insert(session, [claim("x-2026-01-01", field, "supported", source="docs")], NOW)
        rows = list(session.scalars(sa.select(EvidenceRow).order_by(EvidenceRow.id)))
        for row in (rows[0], rows[1], rows[3]):
            row.withdrawn_at = NOW
    db.downgrade(database_url, "5d0c7be1f6a2")
    db.upgrade(database_url)
    with database.read() as session:
        kept = sa.select(EvidenceRow.source).where(EvidenceRow.withdrawn_at.is_(None))
        assert sorted(session.scalars(kept)) == ["target:eu-1", "target:eu_1"]


LINK = "https://example.com/notes"
EXCEPTIONS = [
    {"platform": "vertex", "model": "claude-haiku-4-5", "endpoint": None, "status": None,
     "accepted": False, "source": LINK},
    {"platform": None, "model": "claude-opus-5", "endpoint": None, "status": "ga", "accepted": True,
     "source": LINK},
]  # fmt: skip
OLD = [
    ("status", "active", "docs", "declared"),
    ("platforms.bedrock.state", "refused", "docs", "declared"),
    ("platforms.bedrock.names", ["other-2026-01-01"], "docs", "declared"),
    ("platforms.anthropic.state", "supported", "docs", "declared"),
    ("exceptions", EXCEPTIONS, "docs", "declared"),
]
STATE: dict[str, Any] = {"names": [], "accepted": None, "basis": "inferred", "target": None, "checked_at": None,
         "pending": None}  # fmt: skip


def test_claims_of_old_get_their_place_and_can_go_back(
    database: db.Database, database_url: str
) -> None:
    """Nothing is lost on either way; what was guessed for other platforms goes, as history."""
    name = "x-2026-01-01"
    with database.write() as session:
        catalog.apply(session, finding("docs", claim(name, source="docs")), NOW, NOW)
        session.execute(sa.delete(EvidenceRow))
    db.downgrade(database_url, "7c1f4a0b93d2")
    moments = {"at": NOW, "observed_at": NOW, "confidence": "high"}
    evidence = sa.table(
        "evidence",
        sa.column("beta"), sa.column("field"), sa.column("value", sa.JSON()), sa.column("source"),
        sa.column("basis"), sa.column("confidence"), sa.column("at", db.UTCDateTime()),
        sa.column("observed_at", db.UTCDateTime()),
    )  # fmt: skip
    states = sa.table("platform_states", sa.column("beta"), sa.column("platform"), sa.column("state"),
                      sa.column("facts", sa.JSON()))  # fmt: skip
    with database.write() as session:
        for field, value, source, basis in OLD:
            row = {"beta": name, "field": field, "value": [value], "source": source}
            session.execute(sa.insert(evidence).values(**row, basis=basis, **moments))
        for platform, state, basis in (("anthropic", "supported", "declared"),
                                       ("aws", "supported", "inferred")):  # fmt: skip
            facts = {**STATE, "state": state, "basis": basis, "names": [name]}
            where = (states.c.beta == name, states.c.platform == platform)
            session.execute(sa.update(states).where(*where).values(state=state, facts=facts))
    db.upgrade(database_url)
    with database.read() as session:
        held = {(str(made.place), made.field): made for made in catalog.claims(session)}
    assert {key: made.value for key, made in held.items()} == {
        ("every platform", "status"): "active",
        ("bedrock", "state"): "refused",
        ("bedrock", "names"): ["other-2026-01-01"],
        ("anthropic", "state"): "supported",
        ("vertex for claude-haiku-4-5", "accepted"): False,
        ("every platform for claude-opus-5", "accepted"): True,
        ("every platform for claude-opus-5", "status"): "ga",
    }
    assert held["vertex for claude-haiku-4-5", "accepted"].url == LINK
    new = [
        claim(name, "state", "refused", basis="reported", source="docs", url=LINK,
              place=Place(platform="foundry", hosting="azure")),
        claim(name, "gate", "org", basis="reported", source="docs"),
    ]  # fmt: skip
    with database.write() as session:
        catalog.insert(session, new, NOW)
        before = sorted(map(repr, catalog.claims(session)))
    db.downgrade(database_url, "7c1f4a0b93d2")
    with database.read() as session:
        rows = session.execute(sa.select(evidence.c.field, evidence.c.value, evidence.c.basis))
        back = {field: (value[0], basis) for field, value, basis in rows}
    for field, value, _, basis in OLD:
        assert back[field] == (value, basis)
    assert {basis for _, basis in back.values()} <= {"declared", "inferred"}
    db.upgrade(database_url)
    with database.write() as session:
        assert sorted(map(repr, catalog.claims(session))) == before
        events = catalog.advance(session, NOW)
    guessed = [event for event in events if event.platform == "aws"]
    assert [(event.type, event.backfill) for event in guessed] == [("beta.changed", True)]
    assert all(event.backfill for event in events)


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
