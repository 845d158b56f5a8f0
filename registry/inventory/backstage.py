"""Services from Backstage's `catalog-info.yaml`: who owns what. Its files are not trusted.

Only a few texts of each `Component` are read; everything else in the file is ignored. YAML is read by its safe
loader, and what makes it grow without bound (merges of merges, deep nesting) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from registry.core.errors import Invalid
from registry.inventory.services import Declaration

__all__ = ["MAX_BYTES", "read_components"]

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_MEMBERS: Final = 1000
"""Members that merges (`<<`) may bring into one mapping."""

_SLUG: Final = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


class _Loader(yaml.SafeLoader):
    """The safe loader, with a bound for merges: ten of ten of ten would be a thousand."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_MEMBERS:
            raise yaml.constructor.ConstructorError(
                None, None, f"more than {MAX_MEMBERS} members in one mapping", node.start_mark
            )


def read_components(content: bytes, name: str) -> list[Declaration]:
    """Return the components of one file, in their order. Raises `Invalid` naming the file and the place."""
    if len(content) > MAX_BYTES:
        raise Invalid(f"{name}: the file is larger than {MAX_BYTES:,} bytes; split it.")
    found = []
    for place, document in enumerate(_documents(content, name), start=1):
        if isinstance(document, Mapping) and document.get("kind") == "Component":
            found.append(_component(document, f"{name}, document {place}"))
    return found


def _documents(content: bytes, name: str) -> Iterator[Any]:
    try:
        yield from yaml.load_all(content, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise Invalid(f"{name}{where}: {error.problem or 'this is no YAML'}.") from None
    except RecursionError:
        raise Invalid(f"{name}: it is nested too deeply to be a catalog-info.yaml.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Invalid(f"{name}: it cannot be read as YAML: {reason}.") from None


def _component(document: Mapping[Any, Any], where: str) -> Declaration:
    metadata, spec = _mapping(document, "metadata"), _mapping(document, "spec")
    name = _text(metadata.get("name"))
    if name is None:
        raise Invalid(f"{where}: the Component has no metadata.name.")
    annotations = _mapping(metadata, "annotations")
    owner = _text(spec.get("owner"))
    return Declaration(
        name=name, team=_team(owner), owner=owner, repository=_repository(annotations)
    )


def _mapping(of: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    value = of.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _team(owner: str | None) -> str | None:
    """Return the name of a reference to an entity: `group:default/payments` is `payments`.

    A person is an owner and no team.
    """
    if owner is None or owner.lower().startswith("user:"):
        return None
    return owner.rpartition(":")[2].rpartition("/")[2] or None


def _repository(annotations: Mapping[Any, Any]) -> str | None:
    slug = _text(annotations.get("github.com/project-slug"))
    if slug and _SLUG.fullmatch(slug):
        return f"https://github.com/{slug}"
    place = (_text(annotations.get("backstage.io/source-location")) or "").removeprefix("url:")
    return place if place.startswith(("https://", "http://")) else None
