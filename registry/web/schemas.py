"""The shapes of requests and answers, as OpenAPI shows them.

Answers are printed from the core's values; these models describe them, and a test holds both together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from registry.alerts.placeholders import PLACEHOLDERS
from registry.core import facts, judgement

__all__ = [
    "ERRORS",
    "Amendment",
    "Beta",
    "BetaPage",
    "Check",
    "Checked",
    "EventPage",
    "EvidencePage",
    "Feature",
    "FeaturePage",
    "HeaderAnswer",
    "Judged",
    "Missing",
    "NewBeta",
    "Problem",
    "Snapshot",
    "SourceList",
    "header_operation",
    "shape",
]

Beta = facts.Beta
"""CONTRACT: "A beta"."""


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/problems/not-found",
                "title": "What was named does not exist.",
                "status": 404,
                "detail": "mcp-clinet-2025-11-20 is not in the registry. "
                "Did you mean mcp-client-2025-11-20?",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str


ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"description": what, "content": {"application/problem+json": {"schema": {"$ref": ref}}}}
    for code, what in {
        401: "A token is needed.",
        403: "The token's scope does not allow this.",
        404: "What was named does not exist.",
        422: "The request cannot be used; `detail` says what to do.",
        503: "The database is away.",
    }.items()
    for ref in ["#/components/schemas/Problem"]
}


PLACE: Final = {
    "platform": "Default `anthropic`.",
    "api": "Bedrock only: `invoke` (default), `converse` or `mantle`.",
    "hosting": "Foundry only: `anthropic` or `azure`.",
    "region": "As the cloud spells it.",
    "model": "Model that is asked, in any cloud's spelling.",
    "endpoint": "Default `messages`.",
    "target": "A target whose place counts where nothing else is said.",
}
"""The parts of a place, as parameters."""


def shape(model: Any) -> dict[int | str, dict[str, Any]]:
    """Describe the 200 of a route whose body is printed by ourselves."""
    return {200: {"model": model}, 304: {"description": "Not changed since `If-None-Match`."}}


class Page(BaseModel):
    """A page of a list."""

    next: str | None = Field(None, description="Hand it back as `cursor` to get the next page.")


class BetaPage(Page):
    """A page of betas."""

    items: list[facts.Beta]


class Evidence(BaseModel):
    """One dated claim about a beta."""

    id: int
    field: str
    value: Any
    source: str
    basis: facts.Basis
    confidence: facts.Confidence
    version: str | None
    url: str | None
    quote: str | None
    where: str | None = Field(description="Heading, entry or path in the source.")
    place: dict[str, str] = Field(
        description="Where it holds: what is said of it; empty is anywhere."
    )
    at: str | None = Field(description="The day for which it speaks; null where none is stated.")
    until: str | None
    observed_at: str
    withdrawn_at: str | None
    decides: bool


class EvidencePage(Page):
    """A page of evidence."""

    items: list[Evidence]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(facts.Event):
    """One entry of the changelog; `affected` names services, and is there only with a token."""

    affected: list[str] = field(default_factory=list)


class EventPage(Page):
    """A page of events."""

    items: list[Event]


class Feature(BaseModel):
    """A feature and its betas."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "feature": "mcp-client",
                "current": "mcp-client-2025-11-20",
                "choices": ["mcp-client-2025-11-20", "mcp-client-2026-09-15"],
                "betas": [
                    "mcp-client-2025-04-04",
                    "mcp-client-2025-11-20",
                    "mcp-client-2026-09-15",
                ],
            }
        }
    )

    feature: str
    current: str | None
    choices: list[str]
    betas: list[str]


class FeaturePage(Page):
    """A page of features."""

    items: list[Feature]


class SourceList(Page):
    """All sources."""

    items: list[dict[str, Any]]


class Snapshot(BaseModel):
    """All that resolution needs."""

    revision: int
    as_of: str
    probed_at: str | None
    betas: list[facts.Beta]
    targets: dict[str, Any]


class HeaderAnswer(BaseModel):
    """What to send.

    `dropped` holds what was asked for and is not sent; its `reason` is a verdict (as in `POST /v1/check`), or
    `ga` for what needs no header.
    """

    header: str
    value: str
    omit: bool
    platform: str
    placement: str
    body: dict[str, list[str]] | None
    body_in: str | None = Field(
        description="The member of the request's body that takes `body`, where it is not the body itself."
    )
    betas: list[dict[str, Any]]
    dropped: list[dict[str, Any]]
    revision: int


class Check(BaseModel):
    """A header value to judge; `value` as it is sent, or the names one by one."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "value": "mcp-client-2025-11-20,compact-2026-09-04",
                "platform": "bedrock",
                "api": "converse",
                "body": {"mcp_servers": []},
            }
        },
    )

    value: str | None = Field(None, max_length=65536)
    betas: list[str] | None = Field(None, max_length=500)
    platform: str | None = Field(None, description=PLACE["platform"])
    api: str | None = Field(None, description=PLACE["api"])
    hosting: str | None = Field(None, description=PLACE["hosting"])
    region: str | None = Field(None, max_length=128, description=PLACE["region"])
    model: str | None = Field(None, max_length=512, description=PLACE["model"])
    endpoint: str | None = Field(None, max_length=128, description=PLACE["endpoint"])
    target: str | None = Field(None, description=PLACE["target"])
    body: dict[str, Any] | None = Field(
        None,
        description="The request's own body: `missing` then says what in it needs a beta that is not "
        "there, and a beta that it cannot do without stays in `value`.",
    )


class Judged(BaseModel):
    """What holds for one name at the place; `certainty` and `since` are those of what decides."""

    name: str
    verdict: judgement.Verdict
    use_instead: str | None = Field(
        description="A version proven at this place, else a stated successor; null where none can be advised."
    )
    alternatives: list[dict[str, Any]] = Field(
        description="The other live versions, each with `state`, `basis`, `certainty` and `at`."
    )
    detail: str
    warnings: list[dict[str, str]] = Field(description="All else that holds: `code`, `detail`.")
    did_you_mean: list[str]
    basis: facts.Basis | None
    certainty: str = Field(description="`proven`, `stated`, `guessed` or `unknown`.")
    since: str | None


class Missing(BaseModel):
    """A body field or tool type without a beta that allows it."""

    field: str
    beta: str | None = Field(description="The one to add; null where none can be advised.")
    alternatives: list[str]
    instead: str | None = Field(description="What took its place in the body, if anything.")


class Checked(BaseModel):
    """The verdict on a header value; `missing`: what the body holds without the beta that allows it."""

    valid: bool = Field(description="False only if a request would fail.")
    value: str = Field(description="As it should be sent.")
    betas: list[Judged]
    missing: list[Missing]


class Amendment(BaseModel):
    """Facts by the operator's word: any member of a beta that can be stated, and why.

    Each member of `places` says a place and what holds there; null withdraws what was said of it.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "status": "deprecated",
                "sunset_on": "2027-01-31",
                "places": [{"platform": "bedrock", "api": "converse", "state": "refused"}],
                "reason": "Told by mail.",
            }
        },
    )

    reason: str = Field(min_length=1, max_length=1000)
    until: str | None = Field(None, max_length=64)


class NewBeta(BaseModel):
    """A beta that no source knows, with what is known of it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "name": "private-preview-2026-11-01",
                "gate": "org",
                "reason": "Our preview.",
            }
        },
    )

    name: str = Field(max_length=200)
    reason: str = Field("", max_length=1000)


class Observation(BaseModel):
    """What one sweep learned of one beta."""

    target: str
    sweep: int
    at: str
    verdict: str
    http_status: int | None
    message: str
    request_id: str | None
    model: str
    endpoint: str


class ObservationPage(Page):
    """A page of observations."""

    items: list[Observation]


class Sweep(BaseModel):
    """One pass over a target."""

    id: int
    target: str
    trigger: str
    started_at: str | None
    ended_at: str | None
    outcome: str
    detail: str
    requests: int
    accepted: int
    refused: int
    restricted: int
    counted: bool


class SweepPage(Page):
    """A page of sweeps."""

    items: list[Sweep]


class Target(BaseModel):
    """A named probe set-up and how it stands."""

    name: str
    platform: str
    api: str | None
    hosting: str | None
    region: str | None
    model: str
    endpoint: str
    health: str
    detail: str
    last_sweep: Sweep | None
    next_sweep_at: str | None
    every: str | None
    locked: dict[str, Any] | None = Field(
        description="A mass change that waits for an operator: since when, and of which betas."
    )
    aside: dict[str, Any] = Field(
        description="Betas that cannot be proved alone, with their answer."
    )
    removed_at: str | None = Field(description="Since when it is not configured any more.")


class TargetList(Page):
    """All targets."""

    items: list[Target]


class Confirm(BaseModel):
    """An operator's answer to a mass change."""

    model_config = ConfigDict(extra="forbid")

    answer: Literal["believe", "new-baseline"] = Field(
        "believe",
        description="`believe`: these betas died. `new-baseline`: the key or the plan changed; states stay, "
        "and nothing retires.",
    )


class StartSweep(BaseModel):
    """Which betas to sweep; all of them without names."""

    model_config = ConfigDict(extra="forbid")

    betas: list[str] = Field(default_factory=list, max_length=500)


class Diagnose(BaseModel):
    """An upstream answer as it came, or a paste with it, and what is known of the request.

    What is said beside `body` outweighs what the paste in it tells.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "status": 400,
                "body": '{"type":"error","error":{"type":"invalid_request_error","message":'
                '"Unexpected value(s) `computer-use-2024-10-22` for the `anthropic-beta` header."}}',
                "betas_sent": ["computer-use-2024-10-22"],
            }
        },
    )

    status: int | None = Field(None, ge=0, le=999)
    headers: dict[str, str] = Field(default_factory=dict)
    body: str = Field("", max_length=1024 * 1024 + 64)
    platform: str | None = Field(None, max_length=64, description="Where it came from.")
    api: str | None = Field(None, max_length=64, description=PLACE["api"])
    hosting: str | None = Field(None, max_length=64, description=PLACE["hosting"])
    region: str | None = Field(None, max_length=128, description=PLACE["region"])
    betas_sent: list[str] | None = Field(None, max_length=500)
    model: str | None = Field(None, max_length=512)
    endpoint: str | None = Field(None, max_length=128)
    service: str | None = Field(None, max_length=200)


class Diagnosis(BaseModel):
    """What an upstream answer means for betas."""

    verdict: str = Field(
        description="`accepted`, `refused`, `restricted`, `model_unsupported`, `beta_missing` or "
        "`inconclusive`; `reason` says why the last."
    )
    reason: str | None
    platform: str | None
    refused: list[str] = Field(description="Whom the answer names, or the only one that was sent.")
    suspects: list[dict[str, Any]] = Field(
        description="Who may be meant by a refusal that names nobody: `name`, `verdict`, `detail`, the "
        "likeliest first."
    )
    betas: list[dict[str, Any]]
    did_you_mean: dict[str, list[str]] = Field(description="Known names near unknown ones.")
    hints: list[str] = Field(
        description="Betas that allow the body field or tool type which the answer does not know."
    )
    explanation: str
    advice: str
    send_instead: dict[str, Any] | None
    body_fields: list[str]
    services: int | None
    confirm: list[str]


class Subscribe(BaseModel):
    """A new subscription; `filter` and the rest are checked by the alerts, which say what is wrong."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "payments", "team": "payments", "channel": "webhook",
                "url": "https://hooks.example.com/betas",
                "filter": {"types": ["beta.retired", "beta.refused", "beta.sunset_approaching"]},
                "only_if_used": False, "schedule": "immediate", "timezone": "Europe/Berlin",
            }
        },
    )  # fmt: skip

    name: str = Field(max_length=200)
    channel: str
    url: str = Field(max_length=2000, description="A webhook's URL, or an Apprise URL.")
    team: str | None = None
    filter: dict[str, Any] = Field(
        default_factory=dict,
        description="`types` (also `beta.*`), `betas`, `features`, `platforms`, `statuses`, `teams`, "
        "`backfill` (history, too), `pending` (also what a target has not decided yet); an empty one asks for "
        "nothing in particular.",
    )
    only_if_used: bool = Field(
        False,
        description="Only of betas that services (of `team`, if one is named) were seen with.",
    )
    used_within_days: int = 30
    schedule: str = Field("immediate", description="`immediate`, `daily` or `weekly`.")
    timezone: str = Field("UTC", description="IANA name; digests come at 9 o'clock there.")
    muted_until: str | None = None
    template: dict[str, str] | None = Field(
        None,
        description="`title` and `body` in place of our own words, with placeholders: "
        + "; ".join(f"`${name}` {meaning}" for name, (_, meaning) in PLACEHOLDERS.items())
        + ". What an alert does not have is empty; `$$` is the character itself.",
    )
    secret: str | None = Field(None, description="A webhook's own `whsec_...`; else one is made.")


class AmendSubscription(BaseModel):
    """Members to change."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    channel: str | None = None
    url: str | None = Field(None, max_length=2000)
    team: str | None = None
    filter: dict[str, Any] | None = None
    only_if_used: bool | None = None
    used_within_days: int | None = None
    schedule: str | None = None
    timezone: str | None = None
    muted_until: str | None = None
    template: dict[str, str] | None = None
    secret: str | None = None
    disabled_reason: str | None = None


class Subscription(BaseModel):
    """Who hears of what; `url` is masked."""

    id: int
    name: str
    team: str | None
    channel: str
    url: str
    filter: dict[str, Any]
    only_if_used: bool
    used_within_days: int
    schedule: str
    timezone: str
    template: dict[str, str] | None
    muted_until: str | None
    disabled_reason: str | None
    origin: str = Field(
        description="`api`, or `settings` for one that stands in the settings file."
    )
    created_at: str
    next_digest_at: str | None
    failing_since: str | None
    note: str | None = Field(
        description="Why it hears of nothing, or not in its own words, where that is so."
    )


class NewSubscription(Subscription):
    """A subscription that was just made, with its secret, which is not shown again."""

    secret: str | None


class SubscriptionList(Page):
    """All subscriptions."""

    items: list[Subscription]


class Secret(BaseModel):
    """A webhook's new secret."""

    secret: str


class Delivery(BaseModel):
    """One message on its way; `id` is its `webhook-id` on every attempt."""

    id: str
    subscription: int
    kind: str = Field(description="`alert`, `digest`, `welcome`, `test` or `notice`.")
    title: str
    events: list[int]
    status: str = Field(description="`pending`, `sent`, `failed` (tried again) or `dead`.")
    attempts: int
    next_attempt_at: str | None
    last_status: int | None
    last_error: str | None
    sent_at: str | None
    created_at: str
    acknowledged_at: str | None
    log: list[dict[str, Any]] = Field(description="Its attempts, where one delivery is asked for.")


class DeliveryPage(Page):
    """A page of deliveries."""

    items: list[Delivery]


class Redeliver(BaseModel):
    """A range of deliveries: of a subscription, made from `since` to `until`, with one of `status`."""

    model_config = ConfigDict(extra="forbid")

    subscription: int | None = Field(None, ge=1, le=2**31 - 1)
    since: str | None = None
    until: str | None = None
    status: list[str] | None = Field(None, description="Default: failed and dead.")


class Count(BaseModel):
    """How many."""

    count: int


def header_operation() -> dict[str, Any]:
    """Describe `GET /v1/header`, which stands in front of the framework."""
    words = {
        "beta": "Beta names; repeatable or a comma list.",
        "feature": "Features, each sent as its current beta; repeatable or a comma list.",
        **PLACE,
        "service": "Who asks.",
        "environment": "Where it runs.",
        "policy": "`strict`, `filter` or `advise`.",
        "on_unknown": "What to do with names that nobody knows, or too little is known of: `error` (default of "
        "`strict`), `pass` (of the others) or `drop`.",
        "on_unproven": "With names that nothing proves to work there: `pass` (default), `drop` or `error`.",
        "on_restricted": "With names that need a key or plan: `pass` (default), `drop` or `error`.",
    }
    schema = {"$ref": "#/components/schemas/HeaderAnswer"}
    example = {
        "header": "anthropic-beta", "value": "mcp-client-2025-11-20", "omit": False,
        "platform": "anthropic", "placement": "header", "body": None, "body_in": None,
        "betas": [{"name": "mcp-client-2025-11-20", "requested": "mcp-client", "status": "active",
                   "warnings": []}],
        "dropped": [], "revision": 412,
    }  # fmt: skip
    content = {
        "application/json": {"schema": schema, "example": example},
        "text/plain": {"schema": {"type": "string"}, "example": "mcp-client-2025-11-20"},
    }
    return {
        "tags": ["header"],
        "summary": "What to send",
        "operationId": "header",
        "parameters": [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in words.items()
        ],
        "responses": {
            "200": {"description": "What to send.", "content": content},
            "204": {"description": "As plain text, and the header must be omitted."},
            "304": {"description": "Not changed since `If-None-Match`."},
            **{str(code): error for code, error in ERRORS.items()},
        },
    }
