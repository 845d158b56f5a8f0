"""The exposure report: what would break, what is dead weight, and what to send instead.

`exposure.py` decides, `page.py` prints. Usage is gathered by `inventory/exposure.py`.
"""

from registry.report.exposure import (
    SECTIONS,
    Change,
    Finding,
    Location,
    Report,
    Requests,
    Section,
    Sender,
    SourceUse,
    Use,
    expose,
)
from registry.report.page import TITLES, markdown, place_text, senders_text, where

__all__ = [
    "SECTIONS",
    "TITLES",
    "Change",
    "Finding",
    "Location",
    "Report",
    "Requests",
    "Section",
    "Sender",
    "SourceUse",
    "Use",
    "expose",
    "markdown",
    "place_text",
    "senders_text",
    "where",
]
