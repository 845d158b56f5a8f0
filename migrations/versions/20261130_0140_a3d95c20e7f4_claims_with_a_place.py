"""claims with a place; what is known of a beta by place

Revision ID: a3d95c20e7f4
Revises: 7c1f4a0b93d2
Create Date: 2026-11-30 01:40:21.713205+00:00
"""

import json
import re

import sqlalchemy as sa
from alembic import op

revision = "a3d95c20e7f4"
down_revision = "7c1f4a0b93d2"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)
PLATFORMS = ("anthropic", "aws", "google-cloud", "bedrock", "vertex", "foundry")
PARTS = ("platform", "api", "hosting", "region", "model", "endpoint")
OLD = ("platform", "model", "endpoint")
"""Parts of a place that an exception of the release before can name."""
LENGTHS = {"platform": 16, "api": 16, "hosting": 16, "region": 256, "model": 256, "endpoint": 256}

EVIDENCE = sa.table(
    "evidence",
    sa.column("id", INTEGER),
    sa.column("value", JSON),
    *(sa.column(name, sa.Text()) for name in (
        "beta", "field", "source", "basis", "confidence", "version", "url", "quote", "where", *PARTS)),
    *(sa.column(name, sa.DateTime(timezone=True)) for name in (
        "at", "until", "observed_at", "withdrawn_at")),
)  # fmt: skip
BETAS = sa.table("betas", sa.column("name", sa.String), sa.column("facts", JSON))
STANDINGS = sa.table(
    "standings",
    sa.column("target", sa.String),
    sa.column("beta", sa.String),
    sa.column("facts", JSON),
)
STATES = sa.table(
    "platform_states",
    sa.column("beta", sa.String),
    sa.column("platform", sa.String),
    sa.column("state", sa.String),
    sa.column("facts", JSON),
)


def upgrade() -> None:
    with op.batch_alter_table("evidence", schema=None) as batch_op:
        batch_op.add_column(sa.Column("where", sa.Text(), nullable=True))
        for part, length in LENGTHS.items():
            batch_op.add_column(sa.Column(part, sa.String(length=length), nullable=True))
    with op.batch_alter_table("targets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("hosting", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("region", sa.String(length=256), nullable=True))
    with op.batch_alter_table("revision", schema=None) as batch_op:
        batch_op.add_column(sa.Column("rules", INTEGER, nullable=False, server_default="1"))
    with op.batch_alter_table("revision", schema=None) as batch_op:
        batch_op.alter_column("rules", existing_type=INTEGER, server_default=None)
    held = op.get_bind()
    columns = [column for column in EVIDENCE.c if column.name not in ("where", *PARTS)]
    where = sa.or_(EVIDENCE.c.field.like("pl%.%"), EVIDENCE.c.field == "exceptions")
    for row in held.execute(sa.select(*columns).where(where)).mappings().all():
        _place(held, dict(row))
    states: dict[str, list[dict]] = {}
    for row in held.execute(sa.select(STATES)).mappings():
        states.setdefault(row["beta"], []).append({**row["facts"], "platform": row["platform"]})
    for name, facts in held.execute(sa.select(BETAS)).all():
        exceptions = facts.pop("exceptions", [])
        facts["places"] = _facts(name, states.get(name, []), exceptions)
        held.execute(sa.update(BETAS).where(BETAS.c.name == name).values(facts=facts))
    op.drop_table("platform_states")


def _place(held: sa.Connection, row: dict) -> None:
    """Take the place out of the field; a claim on several exceptions becomes one for each."""
    number, value = row.pop("id"), row["value"][0]
    found = re.fullmatch(r"platforms\.([a-z-]+)\.(state|names|accepted)", row["field"])
    made: list[dict] = []
    if found:
        hint = row["basis"] == "litellm" and value == "refused"  # a gateway that holds it back
        made = [{"field": found[2], "platform": found[1], "value": ["unknown" if hint else value]}]
    elif row["field"].startswith("places."):
        made = [{"field": row["field"].partition(".")[2], **value, "value": [value["value"]]}]
    elif row["field"] == "exceptions" and isinstance(value, list):
        for item in value:
            source = item.get("source") or ""
            link = re.match(r"https?://\S+$", source) is not None
            made += [
                {"field": field, "value": [item[field]], **_parts(item),
                 **({"url": source} if link else {"where": source or None})}
                for field in ("accepted", "status")
                if item.get(field) is not None
            ]  # fmt: skip
    if not made:
        return
    values = {**row, **made[0]}
    held.execute(sa.update(EVIDENCE).where(EVIDENCE.c.id == number).values(**values))
    for more in made[1:]:
        held.execute(sa.insert(EVIDENCE).values(**{**row, **more}))


def _parts(item: dict) -> dict:
    return {part: item.get(part) for part in OLD}


def _facts(name: str, states: list[dict], exceptions: list[dict]) -> list[dict]:
    """Say by place what was known by platform, so that the first derivation can tell what changed."""
    found = [
        {**known, "at": known.get("checked_at")}
        for known in sorted(states, key=lambda known: PLATFORMS.index(known["platform"]))
        if known["state"] != "unknown" or known["accepted"] is not None or known["pending"]
        or known["names"] not in ([], [name])
    ]  # fmt: skip
    for item in exceptions:
        state = {True: "supported", False: "refused", None: "unknown"}[item["accepted"]]
        found.append(
            {**_parts(item), "state": state, "status": item["status"], "accepted": item["accepted"],
             "basis": "declared", "source": item["source"], "target": None, "checked_at": None}
        )  # fmt: skip
    return found


def downgrade() -> None:
    held = op.get_bind()
    op.create_table(
        "platform_states",
        sa.Column("beta", sa.String(length=128), nullable=False),
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["beta"], ["betas.name"], name=op.f("fk_platform_states_beta_betas")
        ),
        sa.PrimaryKeyConstraint("beta", "platform", name=op.f("pk_platform_states")),
    )
    for name, facts in held.execute(sa.select(BETAS)).all():
        places = facts.pop("places", [])
        facts["exceptions"] = []
        for member in ("tool_types", "essential", "body_instead"):
            facts.pop(member, None)
        if facts["basis"] in NEW_BASES:
            facts["basis"] = "declared"
        held.execute(sa.update(BETAS).where(BETAS.c.name == name).values(facts=facts))
        for platform in PLATFORMS:
            state = _state(name, platform, places)
            row = {"beta": name, "platform": platform, "state": state["state"], "facts": state}
            held.execute(sa.insert(STATES).values(**row))
    several: dict[str, list[dict]] = {}
    placed = sa.or_(
        *(EVIDENCE.c[part].is_not(None) for part in PARTS), EVIDENCE.c.basis.in_(NEW_BASES)
    )
    for row in held.execute(sa.select(EVIDENCE).where(placed).order_by(EVIDENCE.c.id)).mappings():
        _unplace(held, dict(row), several)
    for rows in several.values():
        _gather(held, rows)
    for target, beta, facts in held.execute(sa.select(STANDINGS)).all():
        # The release before reads a standing member by member and knows none of these.
        kept = {key: value for key, value in facts.items() if key not in ("hosting", "region")}
        known = (STANDINGS.c.target == target, STANDINGS.c.beta == beta)
        held.execute(sa.update(STANDINGS).where(*known).values(facts=kept))
    for table, names in (("evidence", ("where", *PARTS)), ("targets", ("hosting", "region")),
                         ("revision", ("rules",))):  # fmt: skip
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name in names:
                batch_op.drop_column(name)


NEW_BASES = ("traffic", "reported")
STATE_MEMBERS = ("state", "names", "accepted", "basis", "target", "checked_at", "pending")


def _state(name: str, platform: str, places: list[dict]) -> dict:
    own = [
        fact
        for fact in places
        if [part for part in PARTS if fact.get(part)] == ["platform"]
        and fact["platform"] == platform
    ]
    fact = {"state": "unknown", "accepted": None, "basis": "inferred"} | (own[0] if own else {})
    state = {member: fact.get(member) for member in STATE_MEMBERS}
    state["names"] = state["names"] or [name]
    if state["basis"] in NEW_BASES:
        state["basis"] = "declared"
    return state


def _unplace(held: sa.Connection, row: dict, several: dict[str, list[dict]]) -> None:
    """Put the place back into the field; what the release before has no word for is kept aside."""
    said = [part for part in PARTS if row[part] is not None]
    values: dict = {}
    if row["basis"] not in NEW_BASES:
        if said == ["platform"] and row["field"] in ("state", "names", "accepted"):
            values = {"field": f"platforms.{row['platform']}.{row['field']}"}
        elif set(said) <= set(OLD) and row["field"] in ("accepted", "status"):
            same = ("beta", "source", "basis", "confidence", "version", "quote", "at", "until",
                    "observed_at", "withdrawn_at")  # fmt: skip
            several.setdefault(json.dumps([str(row[name]) for name in same]), []).append(row)
            return
    if not values:
        aside = {name: row[name] for name in (*said, "where", "basis")}
        aside["value"] = row["value"][0]
        values = {"field": f"places.{row['field']}", "value": [aside], "basis": "inferred"}
    held.execute(sa.update(EVIDENCE).where(EVIDENCE.c.id == row["id"]).values(**values))


def _gather(held: sa.Connection, rows: list[dict]) -> None:
    """Make one claim on `exceptions` of those that were made together."""
    items: dict[str, dict] = {}
    for row in rows:
        source = row["where"] or row["url"] or ""
        key = json.dumps([*(row[part] for part in OLD), source])
        item = {**_parts(row), "status": None, "accepted": None, "source": source}
        items.setdefault(key, item)[row["field"]] = row["value"][0]
    first, *others = [row["id"] for row in rows]
    values = {"field": "exceptions", "value": [list(items.values())]}
    held.execute(sa.update(EVIDENCE).where(EVIDENCE.c.id == first).values(**values))
    held.execute(sa.delete(EVIDENCE).where(EVIDENCE.c.id.in_(others)))
