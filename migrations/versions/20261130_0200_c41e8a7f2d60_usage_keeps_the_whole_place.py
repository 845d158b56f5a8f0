"""usage keeps the whole place; events keep whom they hit

Revision ID: c41e8a7f2d60
Revises: a3d95c20e7f4
Create Date: 2026-11-30 02:00:10.114207+00:00
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import sqlalchemy as sa
from alembic import op

revision = "c41e8a7f2d60"
down_revision = "a3d95c20e7f4"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)
LENGTHS = {"api": 16, "hosting": 16, "region": 64, "model": 128, "endpoint": 64}
OLD_KEY = ("service", "environment", "beta", "source", "platform", "instance")
NEW_KEY = (*OLD_KEY[:5], *LENGTHS, "instance")
SUMS = ("count_30d", "accepted_30d", "refused_30d")
MAX_MODELS = 50
SEEN_WITHIN = timedelta(days=30)
NAMES = 100

MOMENT = sa.DateTime(timezone=True)
USAGES = sa.table(
    "usages",
    sa.column("id", INTEGER),
    *(sa.column(name, sa.Text()) for name in NEW_KEY),
    sa.column("models", JSON),
    *(sa.column(name, MOMENT) for name in ("first_seen", "last_seen")),
    *(sa.column(name, INTEGER) for name in SUMS),
)
COUNTS = sa.table(
    "usage_counts",
    *(sa.column(name, INTEGER) for name in ("usage", "hour", "count", "accepted", "refused")),
)
LOCATIONS = sa.table(
    "usage_locations",
    sa.column("usage", INTEGER),
    sa.column("path", sa.Text()),
    sa.column("line", sa.Integer()),
    sa.column("url", sa.Text()),
    sa.column("owner", sa.Text()),
)
EVENTS = sa.table(
    "events",
    sa.column("id", INTEGER),
    sa.column("type", sa.Text()),
    sa.column("at", MOMENT),
    sa.column("beta", sa.Text()),
    sa.column("platform", sa.Text()),
    sa.column("services", INTEGER),
)
RISKS = sa.table("usage_risks", sa.column("service", sa.Text()), sa.column("event", INTEGER))
HIT = sa.table("event_services", sa.column("event", INTEGER), sa.column("service", sa.Text()))


@contextmanager
def _children_kept() -> Iterator[None]:
    """Keep what belongs to usages while SQLite makes that table anew: dropping it would delete them."""
    held = op.get_bind()
    children = ("usage_counts", "usage_locations") if held.dialect.name == "sqlite" else ()
    for name in children:
        op.execute(f"CREATE TEMPORARY TABLE kept_{name} AS SELECT * FROM {name}")  # noqa: S608
        op.execute(f"DELETE FROM {name}")  # noqa: S608
    yield
    for name in children:
        op.execute(f"INSERT INTO {name} SELECT * FROM kept_{name}")  # noqa: S608
        op.execute(f"DROP TABLE kept_{name}")


def upgrade() -> None:
    with _children_kept(), op.batch_alter_table("usages", schema=None) as batch_op:
        for name, length in LENGTHS.items():
            kind = sa.String(length=length)
            batch_op.add_column(sa.Column(name, kind, nullable=False, server_default=""))
        batch_op.drop_constraint(op.f("uq_usages_service"), type_="unique")
        batch_op.create_unique_constraint(op.f("uq_usages_service"), NEW_KEY)
    op.create_table(
        "event_services",
        sa.Column("event", INTEGER, nullable=False),
        sa.Column("service", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["event"], ["events.id"], name=op.f("fk_event_services_event_events")),
        sa.PrimaryKeyConstraint("event", "service", name=op.f("pk_event_services")),
    )  # fmt: skip
    # Not in a batch: made anew, the table would lose what belongs to it.
    critical = sa.Column("critical", sa.Boolean(), nullable=False, server_default=sa.false())
    op.add_column("deliveries", critical)
    held = op.get_bind()
    # Where one model was seen, all counts are of that one.
    for number, models in held.execute(sa.select(USAGES.c.id, USAGES.c.models)).all():
        if len(models) == 1:
            held.execute(
                sa.update(USAGES)
                .where(USAGES.c.id == number)
                .values(model=models[0][:128], models=[])
            )
    _name_the_hit(held)


def _name_the_hit(held: sa.Connection) -> None:
    """Write down whom the events so far have hit, as it was reckoned from usage until now."""
    seen: dict[str, list[sa.Row]] = {}
    c = USAGES.c
    for row in held.execute(
        sa.select(c.beta, c.service, c.platform, c.first_seen, c.last_seen).order_by(c.service)
    ):
        seen.setdefault(row.beta, []).append(row)
    rows = [
        {"event": event, "service": service}
        for event, service in held.execute(
            sa.select(RISKS.c.event, RISKS.c.service).where(RISKS.c.event.is_not(None)).distinct()
        )
    ]
    for event in held.execute(sa.select(EVENTS).where(EVENTS.c.services > 0)):
        if event.type == "usage.at_risk":
            continue
        names = dict.fromkeys(
            row.service
            for row in seen.get(event.beta or "", ())
            if (event.platform is None or row.platform in ("", event.platform))
            and row.first_seen <= event.at
            and row.last_seen >= event.at - SEEN_WITHIN
        )
        rows += [{"event": event.id, "service": name} for name in list(names)[:NAMES]]
    if rows:
        held.execute(sa.insert(HIT), rows)


def downgrade() -> None:
    op.drop_table("event_services")
    op.drop_column("deliveries", "critical")
    held = op.get_bind()
    groups: dict[tuple[str, ...], list[sa.Row]] = {}
    for row in held.execute(sa.select(USAGES).order_by(USAGES.c.last_seen, USAGES.c.id)):
        groups.setdefault(tuple(getattr(row, name) for name in OLD_KEY), []).append(row)
    for group in groups.values():
        _merge(held, group)
    with _children_kept(), op.batch_alter_table("usages", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("uq_usages_service"), type_="unique")
        for name in LENGTHS:
            batch_op.drop_column(name)
        batch_op.create_unique_constraint(op.f("uq_usages_service"), OLD_KEY)


def _merge(held: sa.Connection, group: list[sa.Row]) -> None:
    """Make one usage of those that the release before does not tell apart; nothing counted is lost."""
    kept, others = group[0].id, [row.id for row in group[1:]]
    models = dict.fromkeys(m for row in group for m in (*row.models, row.model) if m)
    values = {name: sum(getattr(row, name) for row in group) for name in SUMS}
    held.execute(
        sa.update(USAGES).where(USAGES.c.id == kept).values(
            models=list(models)[-MAX_MODELS:], first_seen=min(row.first_seen for row in group),
            last_seen=max(row.last_seen for row in group), **values,
        )
    )  # fmt: skip
    if not others:
        return
    ids = [kept, *others]
    hours: dict[int, list[int]] = {}
    for _, hour, *counts in held.execute(sa.select(COUNTS).where(COUNTS.c.usage.in_(ids))):
        hours[hour] = [a + b for a, b in zip(hours.get(hour, (0, 0, 0)), counts, strict=True)]
    lines = {
        (row.path, row.line): row
        for row in held.execute(sa.select(LOCATIONS).where(LOCATIONS.c.usage.in_(ids)))
    }
    held.execute(sa.delete(COUNTS).where(COUNTS.c.usage.in_(ids)))
    held.execute(sa.delete(LOCATIONS).where(LOCATIONS.c.usage.in_(ids)))
    held.execute(sa.delete(USAGES).where(USAGES.c.id.in_(others)))
    if hours:
        held.execute(
            sa.insert(COUNTS),
            [
                {"usage": kept, "hour": hour, "count": sums[0], "accepted": sums[1],
                 "refused": sums[2]}
                for hour, sums in hours.items()
            ],
        )  # fmt: skip
    if lines:
        held.execute(
            sa.insert(LOCATIONS),
            [{**row._mapping, "usage": kept} for row in lines.values()],
        )
