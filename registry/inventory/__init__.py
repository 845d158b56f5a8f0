"""The organisation's inventory: which service uses which beta, and what follows from it.

    record(report)         usage, code locations and refusals as services report them
    affected(betas)        who is hit when something happens to a beta
    services, declare      the programs, their owners and their health
    rows, users, write_csv all of it, grouped and filtered
    thin_out, roll, prune  what time alone does to it

It owns the tables of services and usage. `recording.py` writes them, `reading.py` and its neighbours
answer from them.
"""

from registry.inventory.housekeeping import last_usage, next_services, prune, roll, thin_out
from registry.inventory.reading import (
    Affected,
    Location,
    affected,
    affected_by,
    count_users,
    has_usage,
    names_affected,
)
from registry.inventory.recording import (
    MAX_ITEMS,
    Item,
    NotKept,
    Recorded,
    Report,
    Risk,
    ask_for_sweeps,
    check_name,
    hour_of,
    record,
    window_starts,
)
from registry.inventory.rows import (
    GROUPS,
    Day,
    Filter,
    Radius,
    Row,
    daily,
    radius,
    rows,
    some_users,
    users,
    write_csv,
)
from registry.inventory.services import (
    BetaPlace,
    Declaration,
    Defaults,
    Service,
    ServiceBeta,
    ServiceFilter,
    declare,
    defaults,
    service,
    services,
)

__all__ = [
    "GROUPS",
    "MAX_ITEMS",
    "Affected",
    "BetaPlace",
    "Day",
    "Declaration",
    "Defaults",
    "Filter",
    "Item",
    "Location",
    "NotKept",
    "Radius",
    "Recorded",
    "Report",
    "Risk",
    "Row",
    "Service",
    "ServiceBeta",
    "ServiceFilter",
    "affected",
    "affected_by",
    "ask_for_sweeps",
    "check_name",
    "count_users",
    "daily",
    "declare",
    "defaults",
    "has_usage",
    "hour_of",
    "last_usage",
    "names_affected",
    "next_services",
    "prune",
    "radius",
    "record",
    "roll",
    "rows",
    "service",
    "services",
    "some_users",
    "thin_out",
    "users",
    "window_starts",
    "write_csv",
]
