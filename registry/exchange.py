"""What is exchanged with gateways: the shell around `core/exports.py`.

LiteLLM's words come from two places: its own file, which the source `litellm` reads, and one that an
operator imports (`litellm-file`), such as the one that a gateway runs with. Both are kept in the memo of
their source; where both speak, the later one counts. Either is a gateway's opinion: evidence with the basis
`litellm`, which never makes a beta more than unverified.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from registry import catalog
from registry.core.exports import LiteLLM, dump_litellm, read_litellm
from registry.core.facts import Event, parse_time
from registry.sources.litellm import LiteLLMSource, finding_of

__all__ = ["apply_litellm", "litellm_words"]


def litellm_words(session: Session) -> LiteLLM | None:
    """Return what LiteLLM says, as it was read or imported last; None if it never was."""
    sources = (LiteLLMSource.name, catalog.BY_HAND)
    memos = [
        memo for source in sources if "config" in (memo := catalog.source_memo(session, source))
    ]
    words: LiteLLM | None = None
    for memo in sorted(memos, key=lambda memo: parse_time(memo["at"])):
        said = read_litellm(memo["config"], lenient=True)
        words = words.updated(said) if words else said
    return words


def apply_litellm(session: Session, theirs: LiteLLM, now: datetime) -> tuple[Event, ...]:
    """Take in a config that was handed over, in the place of the one before. Returns the events."""
    found = finding_of(catalog.BY_HAND, dump_litellm(theirs), "the imported file", now)
    return catalog.apply(session, found, now, now)
