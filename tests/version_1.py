"""What a client of version 1 makes of a snapshot: the words that it accepts, and how it judges a place.

Written by hand after the reader of release 1 (its wire format and its view of a beta at one place), because no
older release can be installed where the tests run. It refuses a whole snapshot for one unknown word, knows a
platform, a model and an endpoint, and nothing of APIs, hostings, regions and `places`.
"""

from __future__ import annotations

from typing import Any

from registry.core.names import model_matches

PLATFORMS = ("anthropic", "aws", "google-cloud", "bedrock", "vertex", "foundry")
WORDS: dict[str, tuple[str, ...]] = {
    "status": ("active", "deprecated", "ga", "retired", "unverified"),
    "header_effect": ("required", "ignored", "changes_response", "unknown"),
    "gate": ("public", "org", "internal", "unknown"),
    "basis": ("operator", "probed", "declared", "sdk", "litellm", "inferred", "usage"),
    "confidence": ("high", "medium", "low"),
}
STATES = ("supported", "refused", "restricted", "unknown")


class Refused(Exception):
    """The snapshot cannot be used."""


def read(snapshot: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the betas by name. Raises `Refused` for what a reader of version 1 refuses."""
    for member in ("revision", "as_of", "betas"):
        if member not in snapshot:
            raise Refused(f"snapshot has no {member}")
    for beta in snapshot["betas"]:
        _beta(beta)
    for target in snapshot.get("targets", {}).values():
        if not all(word is None or isinstance(word, str) for word in target.values()):
            raise Refused("targets")
    return {beta["name"]: beta for beta in snapshot["betas"]}


def _beta(beta: dict[str, Any]) -> None:
    for member, words in WORDS.items():
        if beta[member] not in words:
            raise Refused(f"{beta['name']}: {member} is {beta[member]}")
    for platform, known in beta["platforms"].items():
        if platform not in PLATFORMS:
            raise Refused(f"{beta['name']}: {platform}")
        if known["state"] not in STATES or known["basis"] not in WORDS["basis"]:
            raise Refused(f"{beta['name']} on {platform}: {known['state']}, {known['basis']}")
    for item in beta["exceptions"]:
        if item["status"] is not None and item["status"] not in WORDS["status"]:
            raise Refused(f"{beta['name']}: exception {item['status']}")


def drops(
    beta: dict[str, Any], platform: str, model: str | None = None, endpoint: str = "messages"
) -> str | None:
    """Say why a client of version 1 drops a beta at a place under `filter`; None if it sends it."""
    known = beta["platforms"][platform]
    status, state, accepted, wrong = beta["status"], known["state"], known["accepted"], None
    if accepted is None and platform in ("anthropic", "aws", "google-cloud"):
        accepted = beta["accepted"]
    for item in beta["exceptions"]:
        if item["platform"] not in (None, platform) or item["endpoint"] not in (None, endpoint):
            continue
        if item["model"] is not None and (model is None or not model_matches(item["model"], model)):
            continue
        if item["accepted"] is False:
            wrong = (
                "wrong_model" if item["model"] else "wrong_endpoint" if item["endpoint"] else wrong
            )
            state = state if item["model"] or item["endpoint"] else "refused"
        elif item["accepted"] is True:
            wrong, state = None, "supported"
        status = item["status"] or status
        accepted = accepted if item["accepted"] is None else item["accepted"]
    if status == "retired" and not accepted:
        return "retired"
    if wrong is None and state == "refused" and beta["gate"] == "public":
        return "refused"
    return wrong
