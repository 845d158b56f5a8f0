"""Small makers of values for tests: each takes only what the test is about."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from registry.core.claims import placed
from registry.core.facts import (
    Basis,
    Beta,
    Claim,
    Finding,
    PlaceFact,
    PlatformState,
    Snapshot,
    State,
)
from registry.core.names import PLATFORMS, parse
from registry.core.places import Place

STATE_OF: dict[bool | None, State] = {True: "supported", False: "refused", None: "unknown"}

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def beta(name: str, status: Any = "active", *, state: Any = "supported", **known: Any) -> Beta:
    """A public beta with one state on all platforms; `platforms` given overrides some of them."""
    accepted = {"supported": True, "refused": False}.get(state)
    platforms = {
        platform: PlatformState(state=state, names=(name,), accepted=accepted, basis="declared")
        for platform in PLATFORMS
    } | known.pop("platforms", {})
    parsed = parse(name)
    places = (
        *(
            PlaceFact(
                place=Place(platform=platform), state=known.state, accepted=known.accepted,
                names=known.names if known.names != (name,) else (), basis=known.basis,
                target=known.target, checked_at=known.checked_at, at=known.checked_at,
            )
            for platform, known in platforms.items()
        ),
        *(
            PlaceFact(
                place=Place(platform=item.platform, model=item.model, endpoint=item.endpoint),
                state=STATE_OF[item.accepted], accepted=item.accepted, status=item.status,
                source=item.source,
            )
            for item in known.get("exceptions", ())
        ),
        *known.pop("places", ()),
    )  # fmt: skip
    facts = {"gate": "public", "basis": "declared"} | known
    return Beta(
        name=name,
        feature=parsed.feature,
        release_date=parsed.release_date,
        status=status,
        platforms=platforms,
        places=places,
        **facts,
    )


def snapshot(*betas: Beta, **more: Any) -> Snapshot:
    """A snapshot of these betas."""
    return Snapshot(revision=7, as_of=NOW, betas={item.name: item for item in betas}, **more)


def claim(
    name: str, field: str = "status", value: Any = "active", *, on: str = "2026-01-01",
    source: str = "catalog", basis: Basis = "declared", **more: Any,
) -> Claim:  # fmt: skip
    """One claim, made on a day; `platforms.vertex.state` as field is the state there."""
    at = datetime.fromisoformat(on).replace(tzinfo=UTC)
    made = Claim(beta=name, field=field, value=value, source=source, basis=basis, at=at, **more)
    (placed_claim,) = placed([made])
    return placed_claim


def field_of(made: Claim) -> str:
    """The field of a claim, with its place: `platforms.vertex.state`, or `state on bedrock (invoke)`."""
    if made.place.platform_wide:
        return f"platforms.{made.place.platform}.{made.field}"
    return made.field if made.place.parts == 0 else f"{made.field} on {made.place}"


def finding(source: str, *claims: Claim, **more: Any) -> Finding:
    """What one run of a source found."""
    return Finding(source=source, claims=claims, **more)
