"""secrets out of what was told

What sources, targets and receivers said is shown to everybody, and used to hold URLs with their passwords and
tokens. Also gives claims of targets back that a turn of another target, of a like name, had withdrawn.

Revision ID: 9e41c7d0a8b3
Revises: 5d0c7be1f6a2
Create Date: 2026-11-25 19:45:00+00:00
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "9e41c7d0a8b3"
down_revision = "5d0c7be1f6a2"
branch_labels = None
depends_on = None

TOLD = {
    "sources": (("name",), ("error",)),
    "source_runs": (("id",), ("detail",)),
    "targets": (("name",), ("detail",)),
    "sweeps": (("id",), ("detail",)),
    "observations": (("id",), ("message",)),
    "deliveries": (("id",), ("last_error",)),
    "attempts": (("delivery", "number"), ("answer", "error")),
    "events": (("id",), ("reason",)),
}
"""Tables with words that come from elsewhere: their key, and the columns."""
KINDS = ("source.failed", "source.recovered", "target.unhealthy", "target.blind")

_URL = re.compile(
    r"\b([A-Za-z][A-Za-z0-9+.-]{0,30}://)([^\s\"'`<>]+?)([.,;:!?)\]}]*)(?=[\s\"'`<>]|$)"
)
_ACCOUNT = re.compile(r"(?<![\w/.@:-])[^\s\"'`<>/@:]{1,200}:[^\s\"'`<>/@]{1,200}@(?=[\w\[])")
_FOLDERS = re.compile(r"(?<![\w:/.~-])/(?:[^\s/\"'`<>]+/)+(?=[^\s/\"'`<>])")
_TOKEN = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9]{20,}|[0-9a-fA-F]{32,}")


def redacted(text: str) -> str:
    """Return what was told without what nobody may read."""
    return _ACCOUNT.sub("***@", _FOLDERS.sub("", _URL.sub(_opened, text)))


def _opened(found: re.Match[str]) -> str:
    scheme, rest, end = found.groups()
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    is_host = re.fullmatch(r"[^:]*(?::[0-9]*)?|\[.*", authority)
    if "@" in authority:
        rest = authority.rpartition("@")[2] + rest[len(authority) :]
    elif "@" in rest and (not is_host or rest[len(authority)] in "?#"):
        rest = rest.rpartition("@")[2]
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    return scheme + "/".join("***" if _TOKEN.fullmatch(x) else x for x in place.split("/")) + end


def upgrade() -> None:
    bind = op.get_bind()
    for name, (keys, columns) in TOLD.items():
        table = sa.table(name, sa.column("type"), *map(sa.column, (*keys, *columns)))
        key, told = [table.c[one] for one in keys], [table.c[one] for one in columns]
        query = sa.select(*key, *told).where(
            sa.or_(*(column.contains(mark) for column in told for mark in ("/", "@")))
        )
        if name == "events":
            query = query.where(table.c.type.in_(KINDS))
        for row in bind.execute(query).all():
            words = row[len(key) :]
            made = [word and redacted(word) for word in words]
            if made != list(words):
                same = (one == value for one, value in zip(key, row, strict=False))
                bind.execute(
                    sa.update(table).where(*same).values(dict(zip(columns, made, strict=True)))
                )
    _give_back(bind)


def _give_back(bind: sa.Connection) -> None:
    """A target that withdraws its own claim makes a new one; what has none after it was not withdrawn by it."""
    table = sa.table(
        "evidence",
        *map(sa.column, ("id", "beta", "field", "source", "basis", "withdrawn_at")),
    )
    later = table.alias("later")
    bind.execute(
        sa.update(table)
        .where(
            table.c.basis == "probed",
            table.c.field.startswith("platforms."),
            table.c.withdrawn_at.is_not(None),
            ~sa.exists().where(
                later.c.beta == table.c.beta,
                later.c.field == table.c.field,
                later.c.source == table.c.source,
                later.c.id > table.c.id,
            ),
        )
        .values(withdrawn_at=None)
    )


def downgrade() -> None:
    """What was hidden is gone."""
