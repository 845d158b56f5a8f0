"""What an upstream answer means together with what is known: the advice for a person or a program.

`classify` tells what the answer says; here the registry adds the life of each beta, what to send instead,
and the commands that confirm it. Pure: nothing is stored, nothing is logged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from registry.core.answers import Meaning, classify
from registry.core.errors import RegistryError
from registry.core.facts import Json, Snapshot
from registry.core.judgement import Judge, lenient_place
from registry.core.names import PLATFORMS, is_well_formed
from registry.core.redaction import mask_secrets
from registry.core.resolution import Ask, resolve

__all__ = ["commands", "diagnose"]

CONTROL: Final = "never-issued-control-2024-01-01"


def diagnose(
    snapshot: Snapshot,
    *,
    status: int | None,
    headers: Mapping[str, str],
    body: str,
    today: date,
    platform: str | None = None,
    betas_sent: Sequence[str] | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> dict[str, Json]:
    """Return the answer of `POST /v1/diagnose`; its members are those of the contract. Never raises."""
    meaning = classify(
        status, headers, body, betas_sent, platform=platform, model=model, endpoint=endpoint
    )
    place = meaning.platform or platform
    refused = _refused(meaning, betas_sent)
    shown = dict.fromkeys([*refused, *(betas_sent or ()), *meaning.hints])
    return {
        "verdict": meaning.verdict,
        "reason": meaning.reason,
        "platform": place,
        "refused": list(refused),
        "betas": [_beta(snapshot, name, place) for name in shown if is_well_formed(name)],
        "explanation": meaning.explanation,
        "advice": meaning.advice,
        "send_instead": _instead(
            snapshot, meaning, refused, betas_sent, place, model, endpoint, today
        ),
        "body_fields": _body_fields(snapshot, meaning, refused),
        "services": None,
        "confirm": commands(refused, place, model) if refused else [],
        "message": mask_secrets(meaning.message),
        "request_id": meaning.request_id,
    }


def _refused(meaning: Meaning, betas_sent: Sequence[str] | None) -> tuple[str, ...]:
    if meaning.verdict not in ("refused", "restricted", "model_unsupported"):
        return ()
    if not meaning.refused and betas_sent is not None and len(betas_sent) == 1:
        return tuple(betas_sent)  # nothing is named, and only one can be meant
    return meaning.refused


def _beta(snapshot: Snapshot, name: str, platform: str | None) -> dict[str, Json]:
    known = snapshot.betas.get(name)
    if known is None:
        return {"name": name, "status": "unknown", "state": "unknown", "use_instead": None}
    states = {str(place): state.state for place, state in known.platforms.items()}
    instead = Judge(snapshot.betas, lenient_place(platform)).replacement(known)
    return {
        "name": name,
        "status": known.status,
        "state": states.get(platform or "anthropic", "unknown"),
        "use_instead": instead,
    }


def _instead(
    snapshot: Snapshot,
    meaning: Meaning,
    refused: Sequence[str],
    betas_sent: Sequence[str] | None,
    platform: str | None,
    model: str | None,
    endpoint: str | None,
    today: date,
) -> Json:
    """Return what to send instead, where what was sent is known and some of it is to blame."""
    if betas_sent is None or meaning.verdict in ("accepted", "inconclusive", "beta_missing"):
        return None
    if not refused:
        return None
    kept = tuple(("beta", name) for name in betas_sent if name not in refused)
    ask = Ask(
        requested=kept, platform=platform if platform in PLATFORMS else "anthropic", model=model,
        endpoint=endpoint or "messages", policy="filter",
    )  # fmt: skip
    try:
        found = resolve(snapshot, ask, today).to_json()
    except RegistryError:
        return None
    return {key: found[key] for key in ("value", "omit", "body")}


def _body_fields(snapshot: Snapshot, meaning: Meaning, refused: Sequence[str]) -> list[str]:
    """Return the body fields that go with the header: a refused beta's must go, too."""
    known = [snapshot.betas[name] for name in refused if name in snapshot.betas]
    fields = [*meaning.body_fields, *(field for beta in known for field in beta.body_fields)]
    return list(dict.fromkeys(fields))


def commands(names: Sequence[str], platform: str | None, model: str | None) -> list[str]:
    """Return curl commands: without betas, with a name that was never issued, and with each beta alone.

    The first must be accepted and the second refused, else the others prove nothing.
    """
    if platform not in (None, "anthropic"):
        return [
            f"beta-registry probe TARGET --beta {name}  # a target on {platform}; see the README"
            for name in names
        ]
    body = (
        f'{{"model":"{model or "claude-haiku-4-5"}","messages":[{{"role":"user","content":"hi"}}]}}'
    )

    def curl(header: str) -> str:
        return (
            'curl -sS "${ANTHROPIC_BASE_URL:-https://api.anthropic.com}/v1/messages/count_tokens" '
            '-H "x-api-key: $ANTHROPIC_API_KEY" -H "anthropic-version: 2023-06-01" '
            f"-H 'content-type: application/json' {header}-d '{body}'"
        )

    safe = [name for name in names if is_well_formed(name)]
    headers = ["", *(f"-H 'anthropic-beta: {name}' " for name in (CONTROL, *safe))]
    return [curl(header) for header in headers]
