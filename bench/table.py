"""Printing of figures, the same for all measurements."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column is text, the others are right-aligned."""
    table = Table(title=title, box=None, title_justify="left", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    console = Console(width=140, highlight=False)
    console.print()
    console.print(table)
