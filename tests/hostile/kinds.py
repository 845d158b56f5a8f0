"""The hostilities, each a short life of a registry. A life ends with what it believes wrongly in the tally."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from registry import inventory, jobs, targets
from registry.leases import Lease
from tests.hostile import world as w
from tests.hostile.trial import Trial
from tests.hostile.world import FAULTS, LIES, Balance, Fleet, Wording

__all__ = ["KINDS", "WORDINGS", "Kind", "canary", "limit", "poison"]

QUIET: Final = 10
"""Sweeps in which nothing may happen, before something does."""


@dataclass(frozen=True)
class Kind:
    """One hostility. `given` are the settings of its trials; some need a registry, not only sweeps."""

    name: str
    live: Callable[[Trial], None]
    given: tuple[tuple[str, Any], ...] = ()
    needs_registry: bool = False


def _life(
    trial: Trial,
    start: Callable[[Trial], None],
    *,
    deaths: int = 1,
    quiet: int = QUIET,
    spared: Sequence[str] = (),
) -> None:
    """Let a hostility begin, a beta die and live again meanwhile, and the hostility end."""
    trial.settle()
    start(trial)
    trial.stay(quiet)
    if deaths:
        mortal = [name for name in trial.names if name not in (*spared, *trial.suspects)]
        victims = trial.chance.sample(mortal, deaths)
        if trial.die(*victims):
            trial.sweeps(3)
            trial.revive(*victims)
        else:
            trial.dead -= set(victims)
            trial.world.dead -= set(victims)
    trial.recover(trial.honest)


# --- Noise ----------------------------------------------------------------------------------------


def _noise(trial: Trial, names: Sequence[str], share: float = 0.2) -> None:
    for name in names:
        fault = LIES.get(name) or _always(FAULTS[name])
        trial.world.noise.append((share / len(names), fault))


def _always(said: w.Said) -> Callable[[w.Asked], w.Said]:
    return lambda _asked: said


def _flap(trial: Trial, share: float, *, all_of_them: bool = True) -> None:
    names = trial.names if all_of_them else trial.pick()
    trial.world.flapping = dict.fromkeys(names, share)


# --- Servers --------------------------------------------------------------------------------------


def canary(trial: Trial, share: float, balance: Balance, betas: int = 1) -> None:
    """A share of the servers refuses some living betas."""
    names = trial.pick(betas)
    trial.world.fleet = Fleet(share, balance, frozenset(names), seed=trial.seed)


def _strip(trial: Trial, balance: Balance) -> None:
    trial.world.fleet = Fleet(0.5, balance, strips=True, seed=trial.seed)


# --- What refusals name ---------------------------------------------------------------------------


def _say(trial: Trial, wording: Wording) -> None:
    trial.world.wording = wording


def _refuse(trial: Trial, wording: Wording, count: int) -> None:
    """The key or the plan changed: betas that live are refused all the same."""
    trial.world.wording = wording
    trial.world.dead |= set(trial.chance.sample(list(trial.names), count))


# --- One bad beta ---------------------------------------------------------------------------------

RESTRICTING: Final = frozenset({"429 credits", "403 workspace", "restricts", "403", "403 HTML"})
"""Of these, asked alone, it is true that this key has no access."""


def poison(trial: Trial, fault: str) -> None:
    """One beta gets a fault whenever it is sent."""
    for name in trial.pick():
        said = FAULTS.get(fault) or LIES[fault](w.Asked(0, 0, "", (name,), 0, 0.0))
        trial.world.poison[name] = said
        if fault in RESTRICTING:
            trial.limited.add(name)


def limit(trial: Trial, said: str, *, length: int | None = None, count: int | None = None) -> None:
    """A header that is longer, or names more betas, gets a fault."""
    trial.world.too_long = FAULTS[said]
    trial.world.longest_value, trial.world.most_betas = length, count


# --- Lives of their own ---------------------------------------------------------------------------


def _single_404(trial: Trial) -> None:
    """Every third sweep, one request of it is answered by a 404, each in turn; nothing follows from that."""
    trial.settle()
    for number in range(12):
        trial.world.once = [None] * (number % 4) + [FAULTS["404 model" if number % 2 else "404"]]
        trial.stay(1)
        trial.world.once = []
        trial.stay(2)
    trial.die(*trial.pick())


def _withdrawn(trial: Trial) -> None:
    """The endpoint that was probed is gone; another one is found after some sweeps, and deaths are too."""
    trial.settle()
    trial.world.no_endpoint = frozenset({"count_tokens"})
    trial.sweeps(8)
    trial.die(*trial.pick())


def _dead_behind_a_strip(trial: Trial) -> None:
    """A beta is dead; then something on the way drops the header, which proves no life of it."""
    trial.settle()
    (victim,) = trial.pick()
    trial.die(victim)
    trial.world.fleet = Fleet(1.0, strips=True)
    trial.sweeps(8)
    if trial.states()[victim] != "refused":
        trial.miss(victim, "a gateway that drops the header restored it")
    trial.recover(trial.honest)
    if trial.states()[victim] != "refused":
        trial.miss(victim, "it was restored")


def _born(trial: Trial, start: Callable[[Trial], None]) -> None:
    """The registry knows nothing yet when the hostility is there already."""
    start(trial)
    trial.sweeps(12)
    trial.recover(trial.honest)


def _downgrade(trial: Trial) -> None:
    """The plan loses most betas; services tell of it, an operator asks, and all of that sweeps."""
    trial.settle()
    lease = Lease(trial.database, trial.clock)
    lost = trial.chance.sample(list(trial.names), len(trial.names) * 2 // 3)
    trial.world.dead |= set(lost)
    for number in range(10):
        trial.sweep()
        lease.acquire()
        told = trial.chance.sample(lost, 3)
        report = inventory.Report(
            service=f"service-{number % 3}", platform="anthropic",
            items=tuple(inventory.Item(beta=name, count=50, refused=50) for name in told),
        )  # fmt: skip
        with trial.database.write() as session:
            inventory.record(session, report, trial.clock())
        jobs.sweep_reported(trial.database, trial.clock)
        with trial.database.read() as session:
            asked = targets.queued(session)
        for sweep_id, target, wanted in asked:
            trial.sweep(target, wanted=wanted, sweep_id=sweep_id)
        trial.sweep(wanted=told[:1])
    trial.recover(trial.honest)


def _removed(trial: Trial) -> None:
    """Two targets; one is taken out of the settings, and what dies then is found by the other."""
    trial.settle("t")
    trial.settle("gone")
    trial.configure("t")
    victim = trial.pick()[0]
    if trial.die(victim) and victim not in trial.retired():
        trial.miss(
            victim, "it is still served, by the word of a target that is no longer configured"
        )


def _renamed(trial: Trial) -> None:
    """The only target is renamed in the settings, and what dies then is found under the new name."""
    trial.settle("before")
    trial.configure("t")
    trial.sweeps(2)
    victim = trial.pick()[0]
    if trial.die(victim) and victim not in trial.retired():
        trial.miss(victim, "it is still served, by the word of the target's old name")


def _new_key(trial: Trial, lacks: int) -> None:
    """The key is exchanged; the new one lacks some betas, which proves no death of any."""
    trial.settle()
    trial.key = "sk-ant-another"
    trial.world.dead |= set(trial.chance.sample(list(trial.names), lacks))
    trial.sweeps(8)
    trial.recover(trial.honest)


def _unnamed(trial: Trial, count: int) -> None:
    """So many die at once where refusals name nothing; more than a quarter are no deaths."""
    trial.settle()
    trial.world.wording = w.unnamed
    trial.stay(2)
    if count <= len(trial.names) // 4:
        trial.die(*trial.chance.sample(list(trial.names), count))
    else:
        _refuse(trial, w.unnamed, count)
        trial.stay(8)
        trial.recover(trial.honest)


def _one_revives(trial: Trial, count: int = 20) -> None:
    """Many are refused from the beginning, nothing is named, and one of them lives again."""
    refused = trial.pick(count)
    trial.dead |= set(refused)
    trial.world.dead |= set(refused)
    trial.settle()
    trial.world.wording = w.unnamed
    trial.stay(4)
    trial.revive(refused[0])


def _clean(trial: Trial) -> None:
    _life(trial, lambda _trial: None)


_HANGS: Final = (("timeout", 0.3),)
"""Only where silence is met: a short limit would make noise of a busy machine."""


def _kind(name: str, start: Callable[[Trial], None], given: Any = (), **more: Any) -> Kind:
    return Kind(name, partial(_life, start=start, **more), given)


def _both(trial: Trial, start: Callable[[Trial], None]) -> None:
    """A hostility, and refusals that name nothing."""
    start(trial)
    trial.world.wording = w.unnamed


_BEDROCK: Final = (("platform", "bedrock"), ("api", "invoke"), ("endpoint", "messages"))


def _unnamed_and_more() -> Iterator[Kind]:
    for called, start in (
        ("noise: 500", partial(_noise, names=("500",))),
        ("flapping: all, 5%", partial(_flap, share=0.05)),
        ("canary per request, 30%", partial(canary, share=0.3, balance="request")),
        ("canary per connection, 30%", partial(canary, share=0.3, balance="connection")),
        ("poison: 500", partial(poison, fault="500")),
    ):
        yield _kind(f"unnamed and {called}", partial(_both, start=start))
    yield _kind("unnamed, Bedrock's body", partial(_say, wording=w.unnamed), _BEDROCK)


def _births() -> Iterator[Kind]:
    for called, start in (
        ("flapping: all, 5%", partial(_flap, share=0.05)),
        ("canary per request, 50%", partial(canary, share=0.5, balance="request")),
        ("strict alternation", partial(canary, share=0.5, balance="alternate")),
        ("noise: refuses all", partial(_noise, names=("refuses all",))),
        ("noise: restricts", partial(_noise, names=("restricts",))),
        ("poison: 500", partial(poison, fault="500")),
        ("header of at most 500 bytes", partial(limit, said="431", length=500)),
    ):
        yield Kind(f"from the first sweep, {called}", partial(_born, start=start))


def _noises() -> Iterator[Kind]:
    for name in (*FAULTS, *LIES):
        given = _HANGS if name == "time-out" else ()
        yield _kind(f"noise: {name}", partial(_noise, names=(name,)), given)
    yield _kind("noise: all together", partial(_noise, names=(*FAULTS, *LIES)), _HANGS)
    for share in (0.01, 0.05, 0.1, 0.2, 0.3):
        yield _kind(f"flapping: all, {share:.0%}", partial(_flap, share=share))
    for share in (0.05, 0.2, 0.3):
        one = partial(_flap, share=share, all_of_them=False)
        yield _kind(f"flapping: one, {share:.0%}", one)


_BALANCES: Final[dict[Balance, str]] = {
    "request": "request",
    "connection": "connection",
    "sticky": "sweep",
}


def _fleets() -> Iterator[Kind]:
    for balance, called in _BALANCES.items():
        for share in (0.1, 0.2, 0.3, 0.4, 0.5):
            start = partial(canary, share=share, balance=balance)
            yield _kind(f"canary per {called}, {share:.0%}", start, quiet=40)
    eight = partial(canary, share=0.3, balance="sticky", betas=8)
    yield _kind("canary per sweep, 30%, 8 betas", eight, quiet=40)
    for balance in ALTERNATING:
        start = partial(canary, share=0.5, balance=balance)
        yield _kind(f"strict alternation: {balance}", start, quiet=20)
    for balance, called in _BALANCES.items():
        strips = partial(_strip, balance=balance)
        yield _kind(f"half strip the header, per {called}", strips, quiet=60)


ALTERNATING: Final[tuple[Balance, ...]] = ("alternate", "alternate connections")
WORDINGS: Final[tuple[Wording, ...]] = (
    w.first_only, w.copilot, w.cut_message, w.cut_body, w.cut_list, w.cut_names, w.and_more,
    w.with_foreign, w.only_foreign, w.echo, w.french, w.japanese, w.allowed_too, w.buried, w.unnamed,
)  # fmt: skip


def _wordings() -> Iterator[Kind]:
    for wording in WORDINGS:
        called, start = wording.__name__.replace("_", " "), partial(_say, wording=wording)
        yield _kind(f"wording: {called}, 1 dies", start, quiet=3)
        yield _kind(f"wording: {called}, 4 die", start, quiet=3, deaths=4)
    for wording in (w.named, w.first_only, w.cut_message, w.unnamed, w.echo):
        for count in (20, 60):
            start = partial(_refuse, wording=wording, count=count)
            called = wording.__name__.replace("_", " ")
            yield _kind(f"plan refuses {count}: {called}", start, deaths=0)
    for count in (1, 2, 4, 8, 12, 15, 16, 30, 60):
        yield Kind(f"unnamed, {count} refused", partial(_unnamed, count=count))
    yield Kind("unnamed, 1 of 20 refused revives", _one_revives)


def _culprits() -> Iterator[Kind]:
    for fault in (*FAULTS, "restricts"):
        given = _HANGS if fault == "time-out" else ()
        yield _kind(f"poison: {fault}", partial(poison, fault=fault), given)
    for said in ("431", "400 too large", "413", "reset"):
        start = partial(limit, said=said, length=500)
        yield _kind(f"header of at most 500 bytes: {said}", start)
    yield _kind("header of at most 16 betas: 400", partial(limit, said="400 too many", count=16))


def _others() -> Iterator[Kind]:
    yield Kind("a single 404 now and then", _single_404)
    yield Kind("the endpoint is withdrawn", _withdrawn)
    yield Kind("a dead beta behind what strips the header", _dead_behind_a_strip)
    yield Kind("plan loses most, services report", _downgrade, needs_registry=True)
    yield Kind("a target is removed", _removed, needs_registry=True)
    yield Kind("a target is renamed", _renamed, needs_registry=True)
    yield Kind("new key, same access", partial(_new_key, lacks=0), needs_registry=True)
    yield Kind("new key lacks 20", partial(_new_key, lacks=20), needs_registry=True)


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("clean", _clean), *_noises(), *_fleets(), *_wordings(), *_unnamed_and_more(), *_births(),
        *_culprits(), *_others(),
    )
}  # fmt: skip
