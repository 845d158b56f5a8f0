"""How healthy a service is: what its betas' judgements and its own requests say together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

from registry.core.judgement import Judgement

__all__ = ["HEALTHS", "Health", "health_of"]

Health = Literal["ok", "at_risk", "failing"]
HEALTHS: Final[tuple[Health, ...]] = get_args(Health)


def health_of(judged: Iterable[tuple[Judgement, int, int]]) -> Health:
    """Return a service's health from (judgement, accepted, refused in the last 24 hours) of its betas.

    Only what was answered since the judgement holds counts (CONTRACT, section 2, rule 10). What the service
    itself reports outweighs what is known: refusals mean that it fails, and a beta that should fail and is
    accepted there puts it at risk only.
    """
    health: Health = "ok"
    for item, accepted, refused in judged:
        if refused or (item.fails and not accepted):
            return "failing"
        if item.at_risk:
            health = "at_risk"
    return health
