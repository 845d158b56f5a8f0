"""The exposure report: what would break, what is dead weight, and what to send instead.

`exposure.py` decides, `page.py` prints. Usage is gathered by `inventory/exposure.py`.
"""

from registry.report.exposure import (
    KINDS,
    Change,
    Finding,
    Kind,
    Location,
    Report,
    Requests,
    Sender,
    SourceUse,
    Use,
    expose,
)
from registry.report.page import TITLES, markdown, place_text, senders_text

__all__ = [
    "KINDS",
    "TITLES",
    "Change",
    "Finding",
    "Kind",
    "Location",
    "Report",
    "Requests",
    "Sender",
    "SourceUse",
    "Use",
    "expose",
    "markdown",
    "place_text",
    "senders_text",
]
