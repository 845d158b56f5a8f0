"""What to change in a request before it goes out, and what to learn from its answer.

One set of rules for the official SDK (`sdk.py`) and for plain HTTP (`transports.py`):

- What the caller names stays, in its order, and what is configured (`features`) is added after it, to
  requests for messages only. Nothing of the caller's is overwritten.
- Names are put where they belong on the platform: the header, or the body's `anthropic_beta` (Bedrock's
  InvokeModel; in `additionalModelRequestFields` for Converse). A header with nothing in it is left out:
  upstream refuses an empty one.
- `advise` drops nothing that upstream could read. `filter` drops what would fail, and with it the fields of
  the body that only a dropped beta allows: header and body travel as a pair. Where the loss of a field would
  change the answer, its beta stays, and with it the refusal (contract, rule 14). `strict` raises before
  anything is sent.
- What stands in a body without the beta that allows it is told.
- A request that is right already goes out untouched, the very same object.

Only `strict` raises; whatever else goes wrong in here, the request goes out as the caller made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict, Unpack

from registry.client.header import Header
from registry.client.places import given_place
from registry.client.registry import Registry
from registry.core.addresses import endpoint_of, model_of
from registry.core.body import Missing
from registry.core.errors import Invalid, RegistryError
from registry.core.names import read_header
from registry.core.places import Place
from registry.core.resolution import BODY_FIELD, IN_BODY, Paired

__all__ = ["Call", "Guard", "Options", "Plan", "make_guard", "wants_body"]

_MESSAGES: Final = "messages"


class Options(TypedDict, total=False):
    """What `middleware` and `transport` take.

    `features`: features and betas to add to every request for messages. `policy`: the registry's, if not
    given. `platform`, `api`, `hosting`, `region`: where neither the client nor the address tells.
    `on_unproven`, `on_restricted`: `pass`, `drop` or `error`, for betas that nothing proves to work there,
    and for those that a key or plan may not use. `retry_refused`: under the policy `filter` a request that is
    refused for its betas is sent once more without those; nothing ran before. `drop_essential`: drop a beta
    also where the request uses something that only this beta allows, and whose loss changes the answer.
    """

    features: Sequence[str]
    policy: str | None
    platform: str | None
    api: str | None
    hosting: str | None
    region: str | None
    on_unproven: str | None
    on_restricted: str | None
    retry_refused: bool
    drop_essential: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as far as betas are concerned. `header` is None where the header is absent.

    `path` is that of the API (`/v1/messages`); `body` is None where it is no JSON object or was not read.
    """

    path: str
    header: str | None
    body: Mapping[str, Any] | None
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What goes out: `value` is the header ("" for none), `body` the changed body or None.

    `missing`: what the body holds without the beta that allows it.
    """

    call: Call
    answer: Header
    value: str
    body: Mapping[str, Any] | None
    changed: bool
    missing: tuple[Missing, ...] = ()

    @property
    def model(self) -> str | None:
        """The model that the request names."""
        return _model(self.call)


class Guard:
    """Plans requests and learns from answers, for one `Registry`."""

    def __init__(self, registry: Registry, **options: Unpack[Options]) -> None:
        self.registry = registry
        features = options.get("features", ())
        self._wanted = tuple([features] if isinstance(features, str) else features)
        policy = options.get("policy")
        self._policy = policy or registry.policy
        if self._policy not in ("strict", "filter", "advise"):
            raise Invalid(f"{policy!r} is not a policy; use strict, filter or advise.")
        self._unproven = _choice(options.get("on_unproven"), "on_unproven")
        self._restricted = _choice(options.get("on_restricted"), "on_restricted")
        self._retry = options.get("retry_refused", False) and self._policy == "filter"
        self._drop_essential = options.get("drop_essential", False)
        self.given = given_place(
            options.get("platform"),
            options.get("api"),
            options.get("hosting"),
            options.get("region"),
        )

    def plan(self, read: Callable[[], Call | None]) -> Plan | None:
        """Plan a request; None where betas play no part in it. Raises only under `strict`."""
        try:
            call = read()
            return None if call is None else self._plan(call)
        except RegistryError:
            if self._policy == "strict":
                raise
            return None
        except Exception as error:
            self.registry.excuse("planning a request", error)
            return None

    def _plan(self, call: Call) -> Plan | None:
        listed = _listed(call)
        sent = (*((call.header,) if call.header else ()), *listed)
        endpoint = endpoint_of(call.path)
        wanted = self._wanted if endpoint == _MESSAGES else ()
        if not sent and not wanted and call.header is None and not call.body:
            return None
        place = call.place
        answer = self.registry.resolve(
            sent,
            wanted,
            platform=place.platform or "anthropic",
            api=place.api,
            hosting=place.hosting,
            region=place.region,
            model=_model(call),
            endpoint=None if endpoint == _MESSAGES else endpoint,
            policy=self._policy,
            on_unproven=self._unproven,
            on_restricted=self._restricted,
        )
        plan = self._paired(call, answer)
        untouched = not sent and not wanted and call.header is None
        return None if untouched and not plan.changed else plan

    def _paired(self, call: Call, answer: Header, refused: Sequence[str] = ()) -> Plan:
        """Plan header and body as a pair."""
        if answer.problem is not None or call.body is None:
            return _placed(call, answer.without(refused) if refused else answer, call.body)
        paired = answer.pair(call.body, refused=refused, drop_essential=self._drop_essential)
        self.registry.advise(answer, paired)
        left = answer.without(refused) if refused else answer
        if paired.cut.held:
            left = answer.adjusted(paired.resolution)
        return _placed(call, left, _cut(call, paired), paired.missing)

    def learn(
        self, plan: Plan, status: int, headers: Mapping[str, str], body: str | bytes = b""
    ) -> Plan | None:
        """Learn from an answer. Returns another plan if the request should be sent once more."""
        refused = self.registry.observe(
            plan.answer, status, headers, body, model=plan.model, count=1
        )
        # A refusal is answered before anything runs, so that sending once more repeats nothing.
        if not (refused and self._retry and status == 400):
            return None
        again = self._paired(plan.call, plan.answer, refused)
        if any(name in again.answer.names for name in refused):
            return None  # the request needs what is refused: the refusal is its answer
        return again

    def unanswered(self, plan: Plan) -> None:
        """Count a request that got no answer."""
        self.registry.count(plan.answer, model=plan.model)


def wants_body(status: int, *, complete: bool) -> bool:
    """Say whether an answer's body is worth reading: of errors only, and never of a stream that runs.

    The body of a 5xx or 429 is not waited for; it is looked at where it is there already.
    """
    return status >= 400 and (complete or (status < 500 and status != 429))


def _model(call: Call) -> str | None:
    model = (call.body or {}).get("model")
    return model if isinstance(model, str) else call.place.model or model_of(call.path)


def _choice(word: str | None, what: str) -> str | None:
    if word not in (None, "pass", "drop", "error"):
        raise Invalid(f"{word!r} is not a value of {what}; use pass, drop or error.")
    return word


def _holder(place: Place) -> str | None:
    """Return the member of the body that holds the betas; None where it is the body itself, or the header."""
    return IN_BODY.get(place.api)


def _listed(call: Call) -> tuple[str, ...]:
    """Return the betas that the body names."""
    body: Any = call.body or {}
    if holder := _holder(call.place):
        inner = body.get(holder)
        body = inner if isinstance(inner, Mapping) else {}
    listed = body.get(BODY_FIELD)
    if isinstance(listed, str):
        return (listed,)
    return (
        tuple(name for name in listed if isinstance(name, str))
        if isinstance(listed, list | tuple)
        else ()
    )


def _cut(call: Call, paired: Paired) -> Mapping[str, Any] | None:
    return paired.cut.body if isinstance(paired.cut.body, dict) else call.body


def _placed(
    call: Call, answer: Header, body: Mapping[str, Any] | None, missing: tuple[Missing, ...] = ()
) -> Plan:
    """Put the names where they belong: the header, the body, or the member of it that holds them."""
    names = answer.names
    in_body = answer.placement == "body" and body is not None
    value = "" if in_body else ",".join(names)
    if body is not None:
        body = _with_list(body, names if in_body else (), _holder(answer.place))
    same = value == "" if call.header is None else read_header(call.header) == names and value != ""
    changed_body = body is not None and body != call.body
    return Plan(
        call=call,
        answer=answer,
        value=value,
        body=body if changed_body else None,
        changed=changed_body or not same,
        missing=missing,
    )


def _with_list(
    body: Mapping[str, Any], names: Sequence[str], holder: str | None
) -> Mapping[str, Any]:
    """Return a body with this list of betas; what it shares with the old one stays as it is."""
    if holder is not None:
        inner = body.get(holder)
        if inner is not None and not isinstance(inner, Mapping):
            return body
        made = _with_list(inner or {}, names, None)
        without = {key: value for key, value in body.items() if key != holder}
        return {**without, holder: made} if made or inner is not None else body
    left = {key: value for key, value in body.items() if key != BODY_FIELD}
    return {**left, BODY_FIELD: list(names)} if names else left


def make_guard(registry: Registry | str, **options: Unpack[Options]) -> Guard:
    """Make a guard for a `Registry`, or for the one at a URL. Raises `Invalid` for a word that is none."""
    return Guard(registry if isinstance(registry, Registry) else Registry(registry), **options)
