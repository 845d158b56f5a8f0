"""Facts and tokens in memory: how old they may grow, and what a request may wait for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import auth, catalog, jobs
from registry.core.errors import Unavailable
from registry.db import Database
from tests.factories import NOW, claim, finding

GRACE = 60.0


class Ticks:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Moody(Database):
    """A database that can fail in ways that nobody foresaw."""

    trouble: Exception | None = None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Read, or fail."""
        if self.trouble is not None:
            raise self.trouble
        with super().read() as session:
            yield session


@pytest.fixture
def moody(database_url: str) -> Iterator[Moody]:
    """A database of either kind that can fail."""
    opened = Moody(database_url)
    yield opened
    opened.close()


@pytest.fixture
def ticks() -> Ticks:
    """A clock for ages."""
    return Ticks()


@pytest.fixture
def live(moody: Moody, ticks: Ticks) -> jobs.Live:
    """What requests read, with the token of the settings; its thread does not run."""
    grace = timedelta(seconds=GRACE)
    return jobs.Live(moody, "token-of-the-settings", grace=grace, ticks=ticks)


def make(database: Database, name: str = "t") -> tuple[int, str]:
    """Make a token; returns its number and its hash."""
    with database.write() as session:
        token, secret = auth.create(session, name, "read", NOW)
    return token.id, auth.digest(secret)


def test_tokens_are_confirmed_anew_after_five_seconds(
    live: jobs.Live, moody: Moody, ticks: Ticks
) -> None:
    """Before that memory counts."""
    number, digest = make(moody)
    live.refresh()
    with moody.write() as session:
        auth.revoke(session, number, NOW)
    ticks.now += 4
    live.confirm()
    assert live.scope_of(digest) == "read"
    ticks.now += 2
    live.confirm()
    assert live.scope_of(digest) is None


@pytest.mark.parametrize(
    "trouble", [Unavailable("It is away."), ValueError("what?"), MemoryError()]
)
def test_while_the_database_is_away_known_tokens_count_for_a_grace(
    live: jobs.Live, moody: Moody, ticks: Ticks, trouble: Exception
) -> None:
    """Those that are new wait; the one of the settings needs nobody's word. Then all goes on."""
    _, digest = make(moody)
    live.refresh()
    _, newer = make(moody, "newer")
    moody.trouble = trouble
    ticks.now += 30
    live.confirm()
    assert not live.tokens_fresh
    assert live.scope_of(digest) == "read"
    with pytest.raises(Unavailable, match=r"The token cannot be checked now\."):
        live.scope_of(newer)
    ticks.now += GRACE
    with pytest.raises(Unavailable, match=r"The token cannot be checked now\."):
        live.scope_of(digest)
    assert live.scope_of(auth.digest("token-of-the-settings")) == "admin"
    moody.trouble = None
    live.refresh()
    assert (live.scope_of(digest), live.scope_of(newer)) == ("read", "read")


@pytest.mark.parametrize("trouble", [Unavailable("It is away."), ValueError("what?")])
def test_a_refresh_that_fails_is_told_and_the_next_goes_well(
    live: jobs.Live, moody: Moody, ticks: Ticks, trouble: Exception
) -> None:
    """With the age of what is known."""
    live.refresh()
    assert live.problem is None
    moody.trouble = trouble
    ticks.now += 3
    assert live.refresh() is False
    assert live.problem in ("It is away.", "The facts could not be refreshed (ValueError).")
    assert live.age == 3
    moody.trouble = None
    live.refresh()
    assert (live.problem, live.age) == (None, 0)


def test_a_thread_that_stands_still_is_told(live: jobs.Live, ticks: Ticks) -> None:
    """Nothing failed, and nothing was heard either."""
    live.refresh()
    ticks.now += 6
    assert live.problem == "Facts and tokens were last refreshed 6 seconds ago."


def test_whoever_waits_for_changes_cannot_stop_them(
    live: jobs.Live, moody: Moody, caplog: pytest.LogCaptureFixture
) -> None:
    """One that raises costs nobody else anything."""
    told: list[str] = []

    def stumble() -> None:
        raise RuntimeError

    live.watch(stumble)
    live.watch(lambda: told.append("told"))
    assert live.refresh()
    make(moody)
    assert live.refresh()
    assert told == ["told", "told"]
    assert "could not be told" in caplog.text


def test_facts_that_cannot_be_read_keep_no_revoked_token_alive(
    live: jobs.Live, moody: Moody
) -> None:
    """Tokens come first."""
    number, digest = make(moody)
    with moody.write() as session:
        catalog.apply(session, finding("docs", claim("a-2026-01-01", source="docs")), NOW, NOW)
    live.refresh()
    assert live.scope_of(digest) == "read"
    with moody.write() as session:
        session.execute(sa.text("UPDATE betas SET status = 'nonsense', facts = '7'"))
        auth.revoke(session, number, NOW)
    assert live.refresh() is False
    assert live.problem
    assert live.scope_of(digest) is None
    assert "a-2026-01-01" in live.current().betas


def test_the_thread_brings_what_is_asked_for(moody: Moody) -> None:
    """`ask` returns when what was there before it has come; nothing is waited for that is away."""
    live = jobs.Live(moody)
    live.start()
    _, digest = make(moody)
    live.ask(60)
    assert live.scope_of(digest) == "read"
    moody.trouble = ValueError("what?")
    live.ask(60)  # ends with the turn that fails, or at once
    assert live.problem
    moody.trouble = None
    live.stop()


def test_users_are_those_of_now(live: jobs.Live, moody: Moody, tmp_path: Path) -> None:
    """Counted anew after usage came; while the database is away the last ones stay."""
    from registry import inventory

    def use(service: str) -> None:
        items = (inventory.Item(beta="a-2026-01-01", count=1),)
        with moody.write() as session:
            inventory.record(session, inventory.Report(service=service, items=items), NOW)
        live.usage_moved()

    live.refresh()
    use("one")
    assert live.users(NOW) == {"a-2026-01-01": 1}
    use("two")
    assert live.users(NOW) == {"a-2026-01-01": 2}
    use("three")
    moody.trouble = Unavailable("It is away.")
    assert live.users(NOW) == {"a-2026-01-01": 2}
