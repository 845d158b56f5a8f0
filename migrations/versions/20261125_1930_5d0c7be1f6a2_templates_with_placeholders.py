"""templates with placeholders

Templates of subscriptions were Jinja. One that only prints values is written with the placeholders that stand
for them; any other stays as it is, is not used, and its subscription's `note` says so.

Revision ID: 5d0c7be1f6a2
Revises: d496910e4192
Create Date: 2026-11-25 19:30:00+00:00
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "5d0c7be1f6a2"
down_revision = "d496910e4192"
branch_labels = None
depends_on = None

PLACEHOLDERS = {
    "title": "title", "text": "text", "severity": "severity", "kind": "kind", "name": "name",
    "window": "window", "affected_total": "affected_total", "more": "more",
    "event.type": "type", "event.at": "at", "event.effective_on": "effective_on",
    "event.reason": "reason", "event.platform": "platform", "event.beta": "beta",
    "event.feature": "feature", "beta.name": "beta", "beta.feature": "feature",
    "beta.status": "status", "beta.summary": "summary", "beta.sunset_on": "sunset_on",
    "beta.retired_on": "retired_on", "beta.docs_url": "docs_url",
    "action.docs_url": "docs_url", "action.do": "action", "action.with": "replace_by",
    "action.value_before": "value_before", "action.value_after": "value_after",
    "proof.target": "target", "proof.model": "model", "proof.endpoint": "endpoint",
    "proof.refusals": "refusals", "proof.since": "since", "proof.request_id": "request_id",
    "proof.message": "message", "links.beta": "link", "links.changelog": "changelog",
    "affected|length": "affected_total", "affected|map(attribute='service')|join(', ')": "services",
    "affected|map(attribute='team')|join(', ')": "teams", "confirm|join('\n')": "confirm",
}  # fmt: skip
"""What a template could print, and the placeholder that stands for it."""

_PRINTED = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_MARKED = re.compile(r"\{[{%#]")


def translated(text: str) -> str | None:
    """Write a Jinja template with placeholders; None for one that does more than print values."""
    made, end = "", 0
    for found in _PRINTED.finditer(text):
        what = re.sub(r"\s*([|(),=])\s*", r"\1", found[1]).replace('"', "'")
        what = re.sub(r"\|(?:e|escape|md|string|trim|plain)$", "", what)
        name = PLACEHOLDERS.get(what.replace("join(',')", "join(', ')").replace("\\n", "\n"))
        if name is None or "{{-" in found[0] or "-}}" in found[0]:
            return None
        made += text[end : found.start()].replace("$", "$$") + f"${{{name}}}"
        end = found.end()
    made += text[end:].replace("$", "$$")
    return None if _MARKED.search(made) or made.count("${") > 100 else made


def restored(text: str) -> str:
    """Write a template with placeholders as Jinja again, as far as Jinja had a word for them."""
    jinja = {name: what for what, name in reversed(PLACEHOLDERS.items())}

    def written(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return "{{ " + jinja.get(found[1] or found[2], "''") + " }}"

    return re.sub(r"\$\$|\$\{([a-z_]+)\}|\$([a-z_]+)", written, text)


subscriptions = sa.table(
    "subscriptions", sa.column("id", sa.Integer), sa.column("template", sa.JSON(none_as_null=True))
)


def _rewrite(rewritten) -> None:
    bind = op.get_bind()
    held = bind.execute(sa.select(subscriptions).where(subscriptions.c.template.is_not(None)))
    for number, template in held.all():
        made = {member: rewritten(text) for member, text in template.items()}
        if None not in made.values() and made != template:
            bind.execute(
                sa.update(subscriptions).where(subscriptions.c.id == number).values(template=made)
            )


def upgrade() -> None:
    _rewrite(translated)


def downgrade() -> None:
    _rewrite(lambda text: text if _MARKED.search(text) else restored(text))
