"""The organisation's inventory: which service uses which beta, and what follows from it.

    record(report)         usage, code locations and refusals as services report them
    affected(betas)        who is hit when something happens to a beta

It owns the tables of services and usage. `recording.py` writes them, `reading.py` answers from them.
"""

from registry.inventory.reading import (
    Affected,
    Location,
    affected,
    affected_by,
    has_usage,
    names_affected,
)
from registry.inventory.recording import (
    Item,
    NotKept,
    Recorded,
    Report,
    Risk,
    ask_for_sweeps,
    record,
)

__all__ = [
    "Affected",
    "Item",
    "Location",
    "NotKept",
    "Recorded",
    "Report",
    "Risk",
    "affected",
    "affected_by",
    "ask_for_sweeps",
    "has_usage",
    "names_affected",
    "record",
]
