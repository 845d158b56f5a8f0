"""Whether verdicts err under a hostile upstream: false deaths, missed ones, and what certainty costs.

    make bench B=verdicts                                 every hostility, a life of each (minutes)
    make bench B="verdicts sweeps=10000 kinds=canary"     those whose name holds a word (or another: a,b)
    make bench B="verdicts way=memory sweeps=10000"       the same without HTTP and database, much faster

`way=whole` is the product's whole way: its sender over real HTTP to `tests/hostile`, `jobs.probe`, a real SQLite
database, the schedule that the registry itself sets; only time is virtual. `way=database` bypasses HTTP and the
sender, for speed. `way=memory` bypasses `jobs` and `targets` too, so that it tells nothing of statuses, health
and alerts, nor of what is about several targets: what decides there is `probing.sweep` and `lifecycle.advance`.
"""

from __future__ import annotations

import itertools
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.table import show
from registry.db import Database, upgrade
from tests.hostile.folded import Folded, searched
from tests.hostile.kinds import KINDS, Kind
from tests.hostile.server import Server
from tests.hostile.trial import Tally, Trial, one_authority

__all__ = ["run"]


def run(
    sweeps: str = "1", kinds: str = "", way: str = "whole", notes: str = "0", draws: str = "200"
) -> None:
    """Measure the kinds whose name holds one of `kinds`, at least so many `sweeps` each; print so many `notes`.

    `draws` is for the search where refusals name nothing, which is measured when all kinds are; 0 for none.
    """
    words = kinds.split(",")
    chosen = [kind for name, kind in KINDS.items() if any(word in name for word in words)]
    if way == "memory":
        chosen = [kind for kind in chosen if not kind.needs_registry]
    if not chosen or way not in WAYS:
        known = "; ".join(KINDS)
        raise SystemExit(f"way is one of {', '.join(WAYS)}; kinds are part of one of: {known}.")
    begun, rows, total, told = time.monotonic(), [], Tally(), []
    with _place() as place:
        for kind in chosen:
            tally = _measure(kind, int(sweeps), way, place)
            rows.append(_row(kind.name, tally))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
            told += [f"{kind.name}: {note}" for note in tally.notes[: int(notes)]]
            total.add(tally)
    show(f"Verdicts under a hostile upstream, {way}, {time.monotonic() - begun:.0f} s; 60 betas", COLUMNS,
         [*rows, _row("all", total)])  # fmt: skip
    print(LEGEND, *told, sep="\n")
    if not kinds and int(draws):
        _search(int(draws))
        with _place() as place:
            _deciding_sweep(place)


WAYS = ("whole", "database", "memory")


def _search(draws: int) -> None:
    rows = []
    for dead in range(1, 9):
        mean, most = searched(dead, draws)
        bound = math.log2(math.comb(60, dead)) + 2 * dead + 4
        rows.append((dead, f"{mean:.2f}", most, f"{bound:.2f}"))
    show(f"Requests of a search among 60 where refusals name nothing, {draws} draws",
         ("refused", "mean", "most", "mean at most"), rows)  # fmt: skip


def _deciding_sweep(place: _Place) -> None:
    """Print the requests of the sweep in which a death is decided, over real HTTP."""
    rows: list[tuple[object, ...]] = []
    with closing(Database(f"sqlite:///{place.folder}/template.db")) as database:
        trial = Trial(database, place.server, place.trust)
        trial.settle()
        (victim,) = trial.pick()
        trial.dead.add(victim)
        trial.world.dead.add(victim)
        while trial.states()[victim] == "supported":
            trial.asked.clear()
            place.server.exchanges.clear()
            trial.sweep()
    start = place.server.exchanges[0].asked.at
    for number, exchange in enumerate(place.server.exchanges, start=1):
        asked = exchange.asked
        never = [name for name in asked.betas if name not in trial.names]
        what = victim if asked.betas == (victim,) else f"{len(asked.betas) - len(never)} betas"
        what += " and a never-issued name" if never else ""
        rows.append((number, f"{asked.at - start:.3f}", asked.connection, what, exchange.status))
    columns = ("request", "seconds", "connection", "asked about", "status")
    show(f"The sweep that decides the death of {victim}", columns, rows)


@dataclass(frozen=True)
class _Place:
    """What all trials share: a folder with an empty database in it, and one server."""

    folder: Path
    server: Server
    trust: Path


@contextmanager
def _place() -> Iterator[_Place]:
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name,
        closing(Server()) as server,
    ):
        upgrade(f"sqlite:///{name}/template.db")
        trust = one_authority(Path(name, "ca.pem"))
        yield _Place(Path(name), server, trust)


def _measure(kind: Kind, sweeps: int, way: str, place: _Place) -> Tally:
    """Let a kind live again and again, each life with a seed and a registry of its own."""
    tally, seed = Tally(), 0
    while not seed or tally.sweeps < sweeps:
        seed += 1
        tally.add(_life(kind, seed, way, place))
    return tally


_NUMBERS = itertools.count()


def _life(kind: Kind, seed: int, way: str, place: _Place) -> Tally:
    if way == "memory":
        return _lived(kind, Folded(seed=seed, **dict(kind.given)))
    # Each at a path of its own: the product refuses a database that was replaced.
    path = place.folder / f"life-{next(_NUMBERS)}.db"
    shutil.copy(place.folder / "template.db", path)
    server = place.server if way == "whole" else None
    with closing(Database(f"sqlite:///{path}")) as database:
        tally = _lived(kind, Trial(database, server, place.trust, seed=seed, **dict(kind.given)))
    for left in place.folder.glob(f"{path.name}*"):
        left.unlink()
    return tally


def _lived(kind: Kind, trial: Trial) -> Tally:
    try:
        kind.live(trial)
    except Exception as error:
        trial.tally.broken += 1
        trial.note(f"the life ended early: {error!r}")
    return trial.tally


COLUMNS = (
    "hostility", "sweeps", "dead", "refused", "die", "missed", "kept", "sweeps", "requests", "hours",
    "back", "quiet", "alerts", "broken",
)  # fmt: skip
LEGEND = """
dead, refused: live betas called so, per 10,000 sweeps. die, missed: deaths, and those not found in 24 sweeps.
kept: turns that were not taken back, of live betas within 2 sweeps of the end, of revived ones within 24.
sweeps, requests, hours: from a death to certainty, median / most; back: sweeps until a revival is known.
quiet: requests a sweep while nothing dies. alerts: events about the target itself.
broken: lives that ended by an exception.
"""


def _row(name: str, tally: Tally) -> tuple[object, ...]:
    per = 10_000 / max(tally.sweeps, 1)
    return (
        name, tally.sweeps, _rate(tally.false_deaths * per), _rate(tally.false_refusals * per),
        tally.deaths, tally.missed, tally.unrestored + tally.unrevived, _middle(tally.sweeps_to_certainty),
        _middle(tally.requests_to_certainty), _middle(tally.hours_to_certainty, 1),
        _middle(tally.sweeps_to_revival), _mean(tally.quiet_requests), tally.alerts,
        tally.broken,
    )  # fmt: skip


def _rate(rate: float) -> str:
    return f"{rate:.3g}" if rate else "0"


def _middle(found: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(found):.{digits}f} / {max(found):.{digits}f}" if found else "-"


def _mean(found: Sequence[float]) -> str:
    return f"{statistics.mean(found):.1f}" if found else "-"
