"""What to change in a request before it goes out, and what to learn from its answer.

One set of rules for the official SDK (`sdk.py`) and for plain HTTP (`transports.py`):

- What the caller names stays, in its order, and what is configured (`features`) is added after it, to
  requests for messages only. Nothing of the caller's is overwritten.
- Names are put where they belong on the platform: the header, or the body's `anthropic_beta` (Bedrock's
  InvokeModel). A header with nothing in it is left out: upstream refuses an empty one.
- `advise` drops nothing that upstream could read. `filter` drops what would fail, and with it the fields of
  the body that only a dropped beta allows: header and body travel as a pair. `strict` raises before
  anything is sent.
- A request that is right already goes out untouched, the very same object.

Only `strict` raises; whatever else goes wrong in here, the request goes out as the caller made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from registry.client.header import Header
from registry.client.places import Spot, endpoint_of
from registry.client.registry import Registry
from registry.core.errors import Invalid, RegistryError
from registry.core.names import read_header
from registry.core.resolution import BODY_FIELD

__all__ = ["Call", "Guard", "Plan", "make_guard", "wants_body"]

_MESSAGES: Final = "messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as far as betas are concerned. `header` is None where the header is absent.

    `path` is that of the API (`/v1/messages`); `body` is None where it is no JSON object or was not read.
    """

    path: str
    header: str | None
    body: Mapping[str, Any] | None
    spot: Spot


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What goes out: `value` is the header ("" for none), `body` the changed body or None."""

    call: Call
    answer: Header
    value: str
    body: Mapping[str, Any] | None
    changed: bool

    @property
    def model(self) -> str | None:
        """The model that the request names."""
        return _model(self.call)


class Guard:
    """Plans requests and learns from answers, for one `Registry`."""

    def __init__(
        self,
        registry: Registry,
        *,
        features: Sequence[str] = (),
        policy: str | None = None,
        retry_refused: bool = False,
    ) -> None:
        self.registry = registry
        self._wanted = tuple([features] if isinstance(features, str) else features)
        self._policy = policy or registry.policy
        if self._policy not in ("strict", "filter", "advise"):
            raise Invalid(f"{policy!r} is not a policy; use strict, filter or advise.")
        self._retry = retry_refused and self._policy == "filter"

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
        listed = (call.body or {}).get(BODY_FIELD)
        in_body = (listed,) if isinstance(listed, str) else tuple(listed or ())
        sent = (*((call.header,) if call.header else ()), *in_body)
        endpoint = endpoint_of(call.path)
        wanted = self._wanted if endpoint == _MESSAGES else ()
        if not sent and not wanted and call.header is None:
            return None
        platform, api = call.spot
        answer = self.registry.resolve(
            sent,
            wanted,
            platform=platform,
            api=api,
            model=_model(call),
            endpoint=None if endpoint == _MESSAGES else endpoint,
            policy=self._policy,
        )
        fields = self._orphans(answer, ()) if self._policy == "filter" else ()
        return _placed(call, answer, fields)

    def _orphans(self, answer: Header, refused: Sequence[str]) -> tuple[str, ...]:
        """Return the body's fields that only a dropped or refused beta allows."""
        gone = {field for dropped in answer.dropped for field in dropped.body_fields}
        kept: set[str] = set()
        for beta, names in answer.used.items():
            fields = self.registry.body_fields(beta)
            if names and any(name in refused for name in names):
                gone.update(fields)
            elif names:
                kept.update(fields)
        return tuple(sorted(gone - kept))

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
        fields = self._orphans(plan.answer, refused)
        return _placed(plan.call, plan.answer.without(refused), fields)

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
    return model if isinstance(model, str) else None


def _placed(call: Call, answer: Header, fields: Sequence[str]) -> Plan:
    """Put the names where they belong, and take away the fields that went with those dropped."""
    names = answer.names
    in_body = answer.placement == "body" and call.body is not None
    value = "" if in_body else ",".join(names)
    body: dict[str, Any] = dict(call.body or {})
    body.pop(BODY_FIELD, None)
    if in_body and names:
        body[BODY_FIELD] = list(names)
    for field in fields:
        body = _without(body, field.split("."))
    same = value == "" if call.header is None else read_header(call.header) == names and value != ""
    changed_body = call.body is not None and body != call.body
    return Plan(
        call=call,
        answer=answer,
        value=value,
        body=body if changed_body else None,
        changed=changed_body or not same,
    )


def _without(body: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Return the body without a member (`thinking.display`); what it shares with the old stays as it is."""
    first, *rest = path
    if first not in body:
        return body
    if not rest:
        return {key: value for key, value in body.items() if key != first}
    inner = body[first]
    return {**body, first: _without(inner, rest)} if isinstance(inner, dict) else body


def make_guard(registry: Registry | str, **options: Any) -> Guard:
    """Make a guard for a `Registry`, or for the one at a URL."""
    return Guard(registry if isinstance(registry, Registry) else Registry(registry), **options)
