"""A scriptable stand-in for the platforms that serve the Claude API, as a real HTTP server.

It states how upstream behaves on its own and from captured answers, whose wordings stand here word for
word, so that what interprets upstream is tested against something it did not write. It hides how each
platform is addressed and dresses its answers; it knows no database and nothing of probing.

A `Script` says what is accepted, where and when, and what goes wrong. Its rules are read in order, those
with a moment after those without; the last one that fits decides, and what no rule knows is refused.
While it runs: `GET|PUT|PATCH /_simulator/script` (PATCH: a JSON merge patch, RFC 7396),
`GET|DELETE /_simulator/log`, `GET|POST /_simulator/clock`, and `GET /_simulator` names the base URLs.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
import re
import socket
import struct
import threading
import time
import tomllib
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import uvicorn
from pydantic import AwareDatetime, ConfigDict, TypeAdapter, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.core.changes import snapshot_of
from registry.core.claims import placed
from registry.core.facts import UNDATED, Claim, parse_time
from registry.core.names import ANTHROPIC_OPERATED, PLATFORMS, Platform, model_matches, read_header
from registry.core.places import Place

__all__ = ["FAULTS", "RESTRICTIONS", "WORDINGS", "Clash", "Fault", "Faults", "Problem", "RateLimit"]
__all__ += ["Rule", "Script", "Simulator", "SimulatorError", "create_simulator", "load_script"]
__all__ += ["read_script", "run", "running"]

MAX_BODY: Final = 32 * 1024 * 1024
"""The documented limit of a request to the Messages API; more is a 413."""

LOG_LENGTH: Final = 20_000
"""How many requests the log holds; older ones are forgotten."""

Api = Literal["invoke", "mantle"]
Mode = Literal["normal", "blind", "refusing"]
Some = str | tuple[str, ...] | None

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class SimulatorError(ValueError):
    """A script or an address that cannot be used, said in one sentence."""


# ------------------------------------------------- what upstream says, word for word


@dataclass(frozen=True, slots=True)
class Problem:
    """An upstream error, before its platform dresses it."""

    __pydantic_config__ = _STRICT
    status: int
    type: str
    message: str
    error_code: str | None = None
    retry_after: float | None = None

    def __post_init__(self) -> None:
        _check(200 <= self.status <= 599, f"{self.status} is no final HTTP status")


def _check(good: bool, problem: str) -> None:
    if not good:
        raise ValueError(problem)


def _bad(message: str) -> Problem:
    return Problem(400, "invalid_request_error", message)


# fmt: off
_NAMED = "Unexpected value(s) {quoted} for the `anthropic-beta` header."
_NOW = _NAMED + " Please consult our documentation at docs.claude.com or try again without the header."
_OLD = _NOW.replace("docs.claude.com", "docs.anthropic.com")
_NEW = _NOW.replace("docs.claude.com", "platform.claude.com/docs")

WORDINGS: Final = {
    "claude": _NOW, "anthropic": _OLD, "platform": _NEW,
    "short": _NAMED + " Please consult our documentation.",
    "broken": _OLD.replace("for the", "for \nthe"),
    "plain": _NOW.replace("{quoted}", "{names}").replace("`", ""),
    "converse": "The model returned the following errors: " + _NEW,
    "unnamed": "invalid beta flag",
    "unnamed_converse": "The model returned the following errors: invalid beta flag",
    "promised": "Unsupported beta header: {names}",
    "copilot": "unsupported beta header(s): {names}",
}
"""How a refusal was worded, by time and platform: captured, but for `promised`, which the documentation
once stated, and `copilot`, a gateway's own that is known second-hand."""

_DEFAULT_WORDING: Final = {"invoke": "unnamed", "mantle": "platform", "vertex": "anthropic"}

RESTRICTIONS: Final = {
    "long_context": _bad("The long context beta is not yet available for this subscription."),
    "authentication_style":
        _bad("This authentication style is incompatible with the long context beta header."),
    "fast_mode": _bad("Fast mode is not enabled for your organization."),
    "research_preview": _bad("Fast mode is currently available in research preview in Claude Code. "
                             "It is not yet available via API."),
    "usage_credits":
        Problem(429, "rate_limit_error", "Usage credits are required for long context requests."),
    "extra_usage":
        Problem(429, "rate_limit_error", "Extra usage is required for long context requests."),
    "permission": Problem(403, "permission_error", "Your organization does not have access to this beta."),
    "not_enrolled": Problem(400, "invalid_request_error", "Your organization is not enrolled in this beta.",
                            "organization_not_enrolled_in_beta"),
    "model": _bad("This model does not support the effort parameter."),
}
"""What a beta that exists answers to those who may not use it. Captured or reported sentences, but for
`permission` and the sentence of `not_enrolled`, of which only the code is known."""

_RATE_LIMITED = Problem(429, "rate_limit_error",
    "This request would exceed your account's rate limit. Please try again later.")
_PAGE = "<html>\r\n<head><title>{0}</title></head>\r\n<body><h1>{0}</h1></body>\r\n</html>\r\n"
_LOGIN = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to go on.</body></html>"

FAULTS: Final[dict[str, Problem | tuple[int, str, str] | None]] = {
    "rate_limited": _RATE_LIMITED,
    "overloaded": Problem(529, "overloaded_error", "Overloaded"),
    "error_500": Problem(500, "api_error", "Internal server error"),
    "error_in_200": Problem(200, "overloaded_error", "Overloaded"),
    "billing": _bad("Your credit balance is too low to access the Anthropic API. "
                    "Please go to Plans & Billing to upgrade or purchase credits."),
    "disabled": _bad("This organization has been disabled."),
    "expired": Problem(401, "authentication_error",
        "OAuth token has expired. Please obtain a new token or refresh your existing token."),
    "generic_400": _bad("Error"),
    "forbidden": Problem(403, "forbidden", "Request not allowed"),
    "html_502": (502, "text/html", _PAGE.format("502 Bad Gateway")),
    "html_503": (503, "text/html", _PAGE.format("503 Service Temporarily Unavailable")),
    "html_504": (504, "text/html", _PAGE.format("504 Gateway Time-out")),
    "text_503": (503, "text/plain", "no healthy upstream"),
    "empty_500": (500, "text/plain", ""),
    "html_200": (200, "text/html", _LOGIN),
    "empty_200": (200, "application/json", ""),
    "stream_error": None, "truncated": None, "redirect": None, "slow": None,
    "cut": None, "closed": None, "huge": None, "endless": None,
}
"""Every kind of noise: an error, a page, or (None) a way to spoil the true answer."""
# fmt: on

_ALSO: Final = ("blind", "refusing", "answer")
"""Faults of a single request that are no noise: a mode, or the answer that the entry states."""


# ---------------------------------------------------------------- the script


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with betas, and where: whatever is not stated fits everything.

    Names, keys, models and endpoints may be patterns (`*`). `at` and `until` are seconds since the
    simulator was made, or RFC 3339 moments. `error` is one of `RESTRICTIONS` by name, or a problem.
    """

    __pydantic_config__ = _STRICT
    beta: str | tuple[str, ...]
    do: Literal["accept", "refuse", "restrict"] = "accept"
    platform: Platform | tuple[Platform, ...] | None = None
    api: Api | None = None
    endpoint: Some = None
    model: Some = None
    key: Some = None
    place: Literal["header", "body"] | None = None
    at: float | AwareDatetime | None = None
    until: float | AwareDatetime | None = None
    error: str | Problem = "long_context"

    def __post_init__(self) -> None:
        known = not isinstance(self.error, str) or self.error in RESTRICTIONS
        _check(known, f"{self.error!r} is none of {', '.join(RESTRICTIONS)}")


@dataclass(frozen=True, slots=True)
class Clash:
    """Betas that fail together, with an error that names no header: always, or unless something is there.

    That is another beta (`unless`) or a field of the body (`unless_field`): two that exclude each other,
    a missing companion, or `Skills beta requires the code_execution tool to be included in the request.`
    """

    __pydantic_config__ = _STRICT
    betas: tuple[str, ...]
    unless: str | None = None
    unless_field: str | None = None
    endpoint: Some = None
    message: str = "These features cannot be used in this combination."


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in so many seconds of the simulator's clock."""

    __pydantic_config__ = _STRICT
    requests: int
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of the next `times` requests, once `after` requests have passed unharmed."""

    __pydantic_config__ = _STRICT
    fault: str
    times: int = 1
    after: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    def __post_init__(self) -> None:
        _check(
            self.fault in {*FAULTS, *_ALSO},
            f"{self.fault!r} is none of {', '.join([*FAULTS, *_ALSO])}",
        )
        _check(200 <= self.status <= 599, f"{self.status} is no final HTTP status")
        _check(self.times >= 1 and self.after >= 0, "times is at least 1, after at least 0")
        for name, value in self.headers.items():
            good = re.fullmatch(r"[A-Za-z0-9-]+", name) and re.fullmatch(r"[ -~]*", value)
            _check(bool(good), f"the header {name!r} cannot be sent")


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong: first what is queued, then by chance, the same for the same seed."""

    __pydantic_config__ = _STRICT
    seed: int = 0
    probability: dict[str, float] = field(default_factory=dict)
    queue: tuple[Fault, ...] = ()
    slow_seconds: float = 5.0
    retry_after: float = 1.0
    huge_bytes: int = 100_000_000
    endless_bytes: int = 1_000_000_000  # where nobody hangs up
    redirect_to: str = "/_simulator/login"

    def __post_init__(self) -> None:
        for kind in self.probability:
            Fault(kind)
        least = min(self.slow_seconds, self.retry_after, self.huge_bytes, self.endless_bytes)
        _check(least >= 0, "times and sizes are not negative")
        chances = self.probability.values()
        _check(
            min(chances, default=0) >= 0 and sum(chances) <= 1, "chances lie in 0..1, also together"
        )
        _check(
            bool(re.fullmatch(r"[!-~]+", self.redirect_to)), f"{self.redirect_to!r} is no address"
        )


@dataclass(frozen=True, slots=True)
class Script:
    """The world that is simulated; JSON and TOML use the same names.

    `keys`: patterns a platform (`*`: any other). `gates`: the betas of which an endpoint needs one;
    `body_fields`: those of which a field of the body (a dotted path) needs one. `wording`: one of
    `WORDINGS`, or a sentence with `{names}` or `{quoted}`, a platform or Bedrock API. Mode `blind` drops
    every beta unread, as a gateway may; `refusing` knows none, as a lost plan looks.
    """

    __pydantic_config__ = _STRICT
    betas: tuple[Rule, ...] = ()
    timeline: tuple[Rule, ...] = ()
    mode: Mode = "normal"
    keys: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"anthropic": ("sk-ant-*",), "*": ("?*",)}
    )
    models: tuple[str, ...] = ("claude-*",)
    wording: dict[str, str] = field(default_factory=dict)
    gates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    body_fields: dict[str, tuple[str, ...]] = field(default_factory=dict)
    clashes: tuple[Clash, ...] = ()
    rate_limit: RateLimit | None = None
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        for where in self.keys:
            _check(where in {*PLATFORMS, "*"}, f"{where!r} is no platform")
        for where, text in self.wording.items():
            _check(where in {*PLATFORMS, "invoke", "mantle"}, f"{where!r} is no platform or API")
            _check(text in WORDINGS or " " in text, f"{text!r} is none of {', '.join(WORDINGS)}")


_SCRIPT: Final = TypeAdapter(Script)


def read_script(data: object, of: str = "The script") -> Script:
    """Turn the JSON or TOML shape into a `Script`; without `betas`, they are those of the bundled catalog.

    Raises `SimulatorError`.
    """
    if isinstance(data, dict) and "betas" not in data:
        data = {**data, "betas": _catalog_rules()}
    try:
        return _SCRIPT.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise SimulatorError(f"{of} is wrong{' at ' if where else ''}{where}: {what}.") from None


def load_script(path: str | Path) -> Script:
    """Read a script from a JSON file, or from TOML if it is named so. Raises `SimulatorError`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = tomllib.loads(text) if Path(path).suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SimulatorError(f"The script {path} cannot be read: {error}.") from None
    return read_script(data, f"The script {path}")


def _catalog_rules() -> list[dict[str, Any]]:
    """Accept what the bundled facts call active, GA or accepted, where they call it supported."""
    text = (resources.files("registry") / "data" / "catalog.json").read_text(encoding="utf-8")
    data = json.loads(text)
    as_of = parse_time(data["as_of"])
    claims = [
        Claim(
            **{key: said[key] for key in ("beta", "field", "value", "source", "basis")},
            at=parse_time(said["at"]) if said["at"] else UNDATED,
            confidence=said.get("confidence", "high"),
            place=Place(**said.get("place", {})),
        )
        for said in data["claims"]
    ]
    live = [
        beta
        for beta in snapshot_of(placed(claims), as_of, as_of).betas.values()
        if (beta.status in ("active", "ga") if beta.accepted is None else beta.accepted)
    ]
    # The official SDK names this one on every count: a platform that refused it could not count.
    rules: list[dict[str, Any]] = [
        {"beta": "token-counting-2024-11-01", "endpoint": "count_tokens"}
    ]
    for platform in PLATFORMS:
        names: dict[str, None] = {}
        for beta in live:
            known = beta.platforms[platform]
            unsaid = known.state == "unknown" and platform in ANTHROPIC_OPERATED
            if known.state == "supported" or known.accepted or unsaid:
                names.update(dict.fromkeys(known.names))
        rules.append({"beta": list(names), "platform": platform})
    for beta in live:
        for but in beta.exceptions:
            if but.accepted is not None and not (but.api or but.hosting or but.region):
                scope = {
                    key: word
                    for key in ("platform", "model", "endpoint")
                    if (word := getattr(but, key))
                }
                do = "accept" if but.accepted else "refuse"
                operated = sorted(ANTHROPIC_OPERATED)
                rules.append({"platform": operated, **scope, "beta": beta.name, "do": do})
    return rules


# ------------------------------------------------------- what a request asks

# How the official SDK's clients address the platforms (2.12.0, `lib/*/_client.py`). A first segment that
# names the platform tells those apart that a common host confuses.
_PREFIXES: Final[dict[str, tuple[Platform, Api | None]]] = {
    "aws": ("aws", None),
    "google-cloud": ("google-cloud", None),
    "bedrock": ("bedrock", "mantle"),
    "mantle": ("bedrock", "mantle"),
    "vertex": ("vertex", None),
    "foundry": ("foundry", None),
}
_PREFIX = re.compile(rf"/({'|'.join(_PREFIXES)})(?=/)")
_INVOKE = re.compile(r"/model/(?P<model>.+)/invoke(?P<stream>-with-response-stream)?")
_PROJECT = r"(?:/v1)?/projects/[^/]+/locations/[^/]+"
_VERTEX = re.compile(
    _PROJECT + r"/publishers/anthropic/models/([^/]+):(rawPredict|streamRawPredict)"
)
_GATEWAY = re.compile(_PROJECT + r"/(?:workspaces/[^/]+|claudeOrganization)/invoke(?=/v1/)")
_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/[^/]*/[^/]*/([^/]+)/aws4_request")

_POSTED: Final = ("messages", "count_tokens")
_SERVED = re.compile(
    r"messages|count_tokens|(agents|batches|deployment_runs|deployments|dreams|environments|files"
    r"|memory_stores|models|organizations|sessions|skills|tunnels|user_profiles|vaults)(/.+)?"
)
"""Endpoints: the two that are posted to, and lists as in the official SDK's resource modules, 2.12.0."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a request asks for, whichever platform's dress it wears; no `endpoint` means no API's path."""

    method: str
    path: str
    headers: Mapping[str, Sequence[str]]
    body: Mapping[str, Any] | None
    key: str
    platform: Platform = "anthropic"
    api: Api | None = None
    endpoint: str = ""
    item: bool = False  # one thing of a list, by its id
    model: str | None = None
    stream: bool = False
    betas: tuple[tuple[str, str], ...] = ()  # name, and place: header or body
    blank: bool = False  # a beta header without a value

    @property
    def names(self) -> list[str]:
        """The betas it asks for, wherever they stand, in order."""
        return list(dict.fromkeys(name for name, _ in self.betas))

    def stated(self, path: str) -> Any:
        """Return what the body holds at a dotted path, or None."""
        found: Any = self.body
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found


def _read_call(method: str, path: str, pairs: Sequence[tuple[str, str]], raw: bytes) -> Call:
    headers: dict[str, list[str]] = {}
    for name, value in pairs:
        headers.setdefault(name, []).append(value)
    key, service = _credential(headers)
    call = _addressed(Call(method, path, headers, _json_object(raw), key), service)
    values = headers.get("anthropic-beta", []) if call.api != "invoke" else []
    header = read_header(values)
    in_body = call.api == "invoke" or call.platform == "vertex"
    listed = call.stated("anthropic_beta") if in_body else None
    body = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    betas = [(name, "header") for name in header] + [(name, "body") for name in body]
    return replace(call, betas=tuple(betas), blank=bool(values) and not header)


def _json_object(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _credential(headers: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Return the key and, of an AWS signature, the service it was made for."""
    for name in ("x-api-key", "api-key"):
        if name in headers:
            return headers[name][0], ""
    authorization = headers.get("authorization", [""])[0]
    if signed := _SIGNED.match(authorization):
        return signed[1], signed[2]
    scheme, _, token = authorization.partition(" ")
    return (token.strip() if scheme.lower() == "bearer" else ""), ""


def _addressed(call: Call, service: str) -> Call:
    prefix = _PREFIX.match(call.path)
    path = call.path[prefix.end() :] if prefix else call.path
    if found := _INVOKE.fullmatch(path):
        model, stream = found["model"], bool(found["stream"])
        return replace(
            call, platform="bedrock", api="invoke", endpoint="messages", model=model, stream=stream
        )
    if found := _VERTEX.fullmatch(path):
        call = replace(call, platform="vertex", stream=found[2] != "rawPredict")
        if found[1] == "count-tokens":
            return replace(call, endpoint="count_tokens", model=_body_model(call))
        return replace(call, endpoint="messages", model=found[1])
    platform, api = _PREFIXES[prefix[1]] if prefix else _shaped(call, path, service)
    path = _GATEWAY.sub("", path, count=1).removeprefix("/anthropic")
    call = replace(call, platform=platform, api=api, stream=call.stated("stream") is True)
    return _at_endpoint(call, path) if path.startswith("/v1/") else call


def _shaped(call: Call, path: str, service: str) -> tuple[Platform, Api | None]:
    """Tell the platforms apart that all take the first party's requests."""
    below = path.startswith("/anthropic/")
    if _GATEWAY.match(path):
        return "google-cloud", None
    if "api-key" in call.headers or (below and call.key.startswith("eyJ")):  # or an Entra ID token
        return "foundry", None
    if service == "bedrock-mantle" or below:
        return "bedrock", "mantle"
    return (
        ("aws", None)
        if service or "anthropic-workspace-id" in call.headers
        else ("anthropic", None)
    )


def _at_endpoint(call: Call, path: str) -> Call:
    segments = [segment for segment in path.removeprefix("/v1/").split("/") if segment]
    if segments[:1] == ["models"] and len(segments) == 2:
        return replace(call, endpoint="models", model=segments[1])
    words = [segment for segment in segments if not re.search(r"\d", segment)]  # ids carry digits
    if words[:1] == ["messages"]:
        words = words[1:] or words
    endpoint = "/".join(words)
    if not _SERVED.fullmatch(endpoint):
        return call
    model = _body_model(call) if endpoint in _POSTED else None
    return replace(call, endpoint=endpoint, item=segments[-1] != words[-1], model=model)


def _body_model(call: Call) -> str | None:
    model = call.stated("model")
    return model if isinstance(model, str) else None


def _fits(value: str | None, wanted: Some) -> bool:
    if wanted is None:
        return True
    patterns = (wanted,) if isinstance(wanted, str) else wanted
    return value is not None and any(fnmatchcase(value, pattern) for pattern in patterns)


def _within(endpoint: str, wanted: Some) -> bool:
    """Say whether an endpoint is meant: `environments` means `environments/work` too."""
    parts = [endpoint, *(endpoint[: slash.start()] for slash in re.finditer("/", endpoint))]
    return any(_fits(part, wanted) for part in parts)


# ---------------------------------------------------------------- what it answers


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes over the wire and how it ends. `fill` sends that many blanks instead of the body."""

    status: int
    content: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    end: Literal["whole", "cut", "closed", "open"] = "whole"
    delay: float = 0.0
    fill: int = 0


_JSON = ("content-type", "application/json")

_AWS_ERRORS: Final[dict[int, tuple[int, str]]] = {
    401: (403, "UnrecognizedClientException"),
    403: (403, "AccessDeniedException"),
    404: (400, "ValidationException"),
    429: (429, "ThrottlingException"),
    500: (500, "InternalServerException"),
    529: (503, "ServiceUnavailableException"),
}
"""Bedrock's InvokeModel has its own statuses and error types (its API reference)."""

_GOOGLE_ERRORS: Final = {401: "UNAUTHENTICATED", 404: "NOT_FOUND"}
"""What Vertex itself answers, before the model sees the request (google.rpc.Code)."""


def _refused(call: Call, problem: Problem, number: int) -> Answer:
    """Write an error as its platform writes it."""
    request_id, status = _request_id(call, number), problem.status
    headers = [request_id, _JSON]
    if problem.retry_after is not None:
        headers.append(("retry-after", str(math.ceil(problem.retry_after))))
    error: dict[str, Any] = {"type": problem.type, "message": problem.message}
    if problem.error_code:
        error["details"] = {"error_code": problem.error_code}
    body: dict[str, Any] = {"type": "error", "error": error, "request_id": request_id[1]}
    if call.api == "invoke":
        status, kind = _AWS_ERRORS.get(status, (status, "ValidationException"))
        headers.append(("x-amzn-errortype", kind))
        body = {"message": problem.message}
    elif call.platform == "vertex" and status in _GOOGLE_ERRORS:
        body = {
            "error": {"code": status, "message": problem.message, "status": _GOOGLE_ERRORS[status]}
        }
    return Answer(status, json.dumps(body).encode(), tuple(headers))


_BASE32, _BASE58 = (
    "abcdefghijklmnopqrstuvwxyz234567",
    "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
)


def _letters(number: int, alphabet: str, length: int) -> str:
    digest = hashlib.shake_256(str(number).encode()).digest(length)
    return "".join(alphabet[byte % len(alphabet)] for byte in digest)


def _request_id(call: Call, number: int) -> tuple[str, str]:
    """Make the header with the request id, which tells the platform as captured ones do."""
    if call.api == "invoke":
        parts = [_letters(number + n, "0123456789abcdef", n) for n in (8, 4, 4, 4, 12)]
        return "x-amzn-requestid", "-".join(parts)
    if call.api == "mantle":
        return "request-id", f"req_{_letters(number, _BASE32, 52)}"
    kind = "req_vrtx_" if call.platform == "vertex" else "req_"
    return "request-id", f"{kind}011C{_letters(number, _BASE58, 20)}"


def _accepted(call: Call, models: Sequence[str], number: int) -> Answer:
    if call.endpoint == "messages":
        return _message(call, number)
    if call.endpoint == "count_tokens":
        body: dict[str, Any] = {"input_tokens": 8}
    elif call.endpoint == "models" and call.model:
        body = _model(call.model)
    else:
        known = [_model(name.replace("*", "haiku-4-5")) for name in models]
        body = _page(known if call.endpoint == "models" else [])
    return Answer(200, json.dumps(body).encode(), (_request_id(call, number), _JSON))


def _model(name: str) -> dict[str, Any]:
    about = {"display_name": name, "lifecycle": "active", "created_at": "1970-01-01T00:00:00Z"}
    return {"type": "model", "id": name, **about}


def _page(data: list[dict[str, Any]]) -> dict[str, Any]:
    """Write a list in a shape that every page class of the official SDK reads."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last, "next_page": None}


def _message(call: Call, number: int) -> Answer:
    kind = {"vertex": "msg_vrtx_", "bedrock": "msg_bdrk_"}.get(call.platform, "msg_")
    text = {"type": "text", "text": "Hi"}
    message = {
        "id": f"{kind}011C{_letters(number, _BASE58, 20)}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [text],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 8, "output_tokens": 1},
    }
    if not call.stream:
        return Answer(200, json.dumps(message).encode(), (_request_id(call, number), _JSON))
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {**text, "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {**text, "type": "text_delta"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]
    return _stream(call, events, number)


def _stream(call: Call, events: Sequence[Mapping[str, Any]], number: int) -> Answer:
    """Write server-sent events, or for InvokeModel AWS event-stream frames."""
    kind, write = "text/event-stream; charset=utf-8", _server_sent
    if call.api == "invoke":
        kind, write = "application/vnd.amazon.eventstream", _aws_frame
    content = b"".join(write(event) for event in events)
    return Answer(200, content, (_request_id(call, number), ("content-type", kind)))


def _server_sent(event: Mapping[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _aws_frame(event: Mapping[str, Any]) -> bytes:
    """Frame an event: lengths, their checksum, headers, payload, and the checksum of it all."""
    headers = {
        ":message-type": "event",
        ":event-type": "chunk",
        ":content-type": "application/json",
    }
    body = {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}
    if event["type"] == "error":
        headers |= {":message-type": "exception", ":exception-type": "serviceUnavailableException"}
        body = {"message": event["error"]["message"]}
    named = b"".join(
        bytes([len(name)]) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    payload = json.dumps(body).encode()
    prelude = struct.pack("!II", 16 + len(named) + len(payload), len(named))
    frame = prelude + struct.pack("!I", zlib.crc32(prelude)) + named + payload
    return frame + struct.pack("!I", zlib.crc32(frame))


# ----------------------------------------------------------------- how it judges

_WRONG_KEY: Final = {
    "invoke": "The security token included in the request is invalid.",
    "vertex": "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
    "cookie or other valid authentication credential.",
}
_NO_MODEL: Final = {
    "invoke": "The provided model identifier is invalid.",
    "vertex": "Publisher Model `{model}` was not found or your project does not have access to it.",
}


def _wrong_address(call: Call) -> Problem | None:
    if not call.endpoint or (call.item and call.method == "GET"):
        return Problem(404, "not_found_error", "Not found")
    if call.method != ("POST" if call.endpoint in _POSTED else "GET"):
        return Problem(405, "invalid_request_error", "Method Not Allowed")
    return None


def _wrong_version(call: Call) -> Problem | None:
    if call.api == "invoke" or call.platform == "vertex":
        found, missing = call.stated("anthropic_version"), "anthropic_version: Field required"
        return _bad(missing) if call.body is not None and not found else None
    missing = "anthropic-version: header is required"
    return None if any(call.headers.get("anthropic-version", ())) else _bad(missing)


def _wrong_body(call: Call) -> Problem | None:
    """Say what the body lacks; the sentences are those of the API's validator."""
    if call.endpoint not in _POSTED:
        return None
    if call.body is None:
        return _bad("The request body is not valid JSON: expected an object")
    needed = (
        {"messages": list, "max_tokens": int} if call.endpoint == "messages" else {"messages": list}
    )
    for name, kind in needed.items():
        if not isinstance(call.stated(name), kind):
            return _bad(f"{name}: Field required")
    if call.model is None:
        return _bad("model: Field required")
    listed, taken = call.stated("anthropic_beta"), call.api == "invoke" or call.platform == "vertex"
    if listed is not None and not (taken and isinstance(listed, list)):
        return _bad("anthropic_beta: Extra inputs are not permitted")
    return None


class Simulator:
    """The ASGI application with its state: script, clock, request log, fault queue, rate limit."""

    def __init__(self, script: Script, clock: Callable[[], float]) -> None:
        self._clock, self._start, self._offset = clock, clock(), 0.0
        self.log: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self.count = 0
        self.set_script(script)

    @property
    def now(self) -> float:
        """The simulator's moment, in seconds since whatever its clock counts from."""
        return self._clock() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward. Raises `SimulatorError`."""
        if not 0 <= seconds < 1e10:
            raise SimulatorError(f"The clock cannot advance by {seconds} seconds.")
        self._offset += seconds

    def set_script(self, script: Script | Mapping[str, Any]) -> None:
        """Replace the world; chance, queue and rate limit start again. Raises `SimulatorError`."""
        self.script = script if isinstance(script, Script) else read_script(dict(script))
        self._rules = self._indexed()
        self._queue = deque(self.script.faults.queue)
        self._drawn, self._window = 0, (self.now, 0)

    def patch(self, change: Mapping[str, Any]) -> None:
        """Merge a change into the script (RFC 7396). Raises `SimulatorError`.

        Chance, queue and rate limit go on where they were, but for a queue or a limit that is stated.
        """
        drawn, queue, window = self._drawn, self._queue, self._window
        self.set_script(_merged(self.shape(), change))
        self._drawn = drawn
        faults = change.get("faults", {})
        if isinstance(faults, Mapping) and "queue" not in faults:
            self._queue = queue
        if "rate_limit" not in change:
            self._window = window

    def shape(self) -> dict[str, Any]:
        """Return the script as JSON writes it."""
        shape: dict[str, Any] = _SCRIPT.dump_python(self.script, mode="json", exclude_none=True)
        return shape

    def answer(
        self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Answer:
        """Judge one request, let the script's faults have the answer, and log both."""
        self.count += 1
        call = _read_call(method, path, headers, body)
        fault = self._fault()
        mode = fault.fault if fault and fault.fault in ("blind", "refusing") else self.script.mode
        problem: Problem | None = Problem(
            413, "request_too_large", "Request exceeds the maximum size"
        )
        if len(body) <= MAX_BODY:
            problem = self._judged(call, mode)
        answer = (
            _refused(call, problem, self.count)
            if problem
            else _accepted(call, self.script.models, self.count)
        )
        if fault:
            answer = self._harmed(fault, call, answer)
        self.log.append(
            {
                **{"number": self.count, "at": self.now, "method": method, "path": path},
                **{"platform": call.platform, "api": call.api, "endpoint": call.endpoint or None},
                **{
                    "model": call.model,
                    "betas": call.names,
                    "fault": fault.fault if fault else None,
                },
                "key": hashlib.sha256(call.key.encode()).hexdigest()[:12] if call.key else None,
                "status": None if answer.end == "closed" else answer.status,
            }
        )
        return answer

    def _judged(self, call: Call, mode: str) -> Problem | None:
        """Return the first thing that is wrong with a request.

        No source tells upstream's order; here what an edge can see comes before what a model needs.
        """
        if mode == "blind":
            call = replace(call, betas=(), blank=False)
        for check in (_wrong_address, self._wrong_key, self._too_many, _wrong_version):
            if problem := check(call):
                return problem
        return self._wrong_betas(call, mode) or self._clash(call) or self._wrong_request(call)

    def _wrong_key(self, call: Call) -> Problem | None:
        patterns = self.script.keys.get(call.platform, self.script.keys.get("*", ()))
        sentence = "invalid x-api-key" if call.key else "x-api-key header is required"
        sentence = _WRONG_KEY.get(call.api or call.platform, sentence)
        if _fits(call.key, patterns):
            if not call.key.startswith("sk-ant-oat") or any(
                _fits(n, "oauth-*") for n in call.names
            ):
                return None
            sentence = "OAuth authentication is currently not supported."
        return Problem(401, "authentication_error", sentence)

    def _too_many(self, _call: Call) -> Problem | None:
        limit = self.script.rate_limit
        if limit is None:
            return None
        since, count = self._window
        if self.now >= since + limit.seconds:
            since, count = self.now, 0
        self._window = (since, count + 1)
        wait = since + limit.seconds - self.now
        return replace(_RATE_LIMITED, retry_after=wait) if count >= limit.requests else None

    def _wrong_betas(self, call: Call, mode: str) -> Problem | None:
        rules = [(name, self._rule(call, name, place)) for name, place in call.betas]
        refused = [
            name for name, rule in rules if mode == "refusing" or not rule or rule.do == "refuse"
        ]
        if call.blank or refused:
            names = list(dict.fromkeys(refused)) or [""]
            ways = self.script.wording
            way = ways.get(call.api or "") or ways.get(call.platform)
            way = way or _DEFAULT_WORDING.get(call.api or call.platform, "claude")
            quoted = ", ".join(f"`{name}`" for name in names)
            text = WORDINGS.get(way, way).replace("{quoted}", quoted)
            return _bad(text.replace("{names}", ", ".join(names)))
        for _, rule in rules:
            if rule and rule.do == "restrict":
                return RESTRICTIONS[rule.error] if isinstance(rule.error, str) else rule.error
        return None

    def _clash(self, call: Call) -> Problem | None:
        names = set(call.names)
        for clash in self.script.clashes:
            saved = clash.unless in names if clash.unless else False
            saved = saved or bool(
                clash.unless_field and call.stated(clash.unless_field) is not None
            )
            if (
                names.issuperset(clash.betas)
                and not saved
                and _within(call.endpoint, clash.endpoint)
            ):
                return _bad(clash.message)
        return None

    def _wrong_request(self, call: Call) -> Problem | None:
        names, script = set(call.names), self.script
        for endpoint, openers in script.gates.items():
            if _within(call.endpoint, endpoint) and names.isdisjoint(openers):
                return Problem(404, "not_found_error", "Not found")
        if problem := _wrong_body(call):
            return problem
        if call.model is not None and not any(model_matches(m, call.model) for m in script.models):
            text = _NO_MODEL.get(call.api or call.platform, "model: {model}")
            return Problem(404, "not_found_error", text.replace("{model}", call.model))
        for path, openers in script.body_fields.items():
            if call.stated(path) is not None and names.isdisjoint(openers):
                return _bad(f"{path}: Extra inputs are not permitted")
        return None

    def _moment(self, stated: float | datetime) -> float:
        return stated.timestamp() if isinstance(stated, datetime) else self._start + stated

    def _indexed(self) -> dict[str, list[tuple[int, Rule]]]:
        """File the rules by name, patterns under `*`, each with its place in the order of decision."""
        rules = [*self.script.betas, *self.script.timeline]
        rules.sort(key=lambda rule: -math.inf if rule.at is None else self._moment(rule.at))
        index: dict[str, list[tuple[int, Rule]]] = {}
        for place, rule in enumerate(rules):
            for name in [rule.beta] if isinstance(rule.beta, str) else rule.beta:
                index.setdefault("*" if re.search(r"[*?[]", name) else name, []).append(
                    (place, rule)
                )
        return index

    def _rule(self, call: Call, name: str, place: str) -> Rule | None:
        """Return the rule that decides on a beta here and now, or None if it is unknown."""
        patterns = [found for found in self._rules.get("*", ()) if _fits(name, found[1].beta)]
        found = sorted([*self._rules.get(name, ()), *patterns], key=lambda found: -found[0])
        return next((rule for _, rule in found if self._covers(rule, call, place)), None)

    def _covers(self, rule: Rule, call: Call, place: str) -> bool:
        return (
            (rule.at is None or self._moment(rule.at) <= self.now)
            and (rule.until is None or self.now < self._moment(rule.until))
            and _fits(call.platform, rule.platform)
            and (rule.api is None or rule.api == call.api)
            and (rule.place is None or rule.place == place)
            and _within(call.endpoint, rule.endpoint)
            and _fits(call.key, rule.key)
            and (rule.model is None or self._for_model(rule.model, call.model))
        )

    @staticmethod
    def _for_model(wanted: str | tuple[str, ...], model: str | None) -> bool:
        patterns = (wanted,) if isinstance(wanted, str) else wanted
        return model is not None and any(model_matches(pattern, model) for pattern in patterns)

    def _fault(self) -> Fault | None:
        """Take the next fault: a queued one, or by chance from the seed and the number of the draw."""
        self._drawn += 1
        if self._queue:
            first = self._queue.popleft()
            if first.after:
                self._queue.appendleft(replace(first, after=first.after - 1))
                return None
            if first.times > 1:
                self._queue.appendleft(replace(first, times=first.times - 1))
            return first
        digest = hashlib.sha256(f"{self.script.faults.seed}/{self._drawn}".encode()).digest()
        chance = int.from_bytes(digest[:8], "big") / 2**64
        for kind, probability in self.script.faults.probability.items():
            chance -= probability
            if chance < 0:
                return Fault(kind)
        return None

    def _harmed(self, fault: Fault, call: Call, true: Answer) -> Answer:
        faults, stated = self.script.faults, FAULTS.get(fault.fault)
        if isinstance(stated, Problem):
            wait = faults.retry_after if stated.status == 429 else None
            return _refused(call, replace(stated, retry_after=wait), self.count)
        if stated:
            return Answer(stated[0], stated[2].encode(), (("content-type", stated[1]),))
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        spoilt: dict[str, Callable[[], Answer]] = {
            "answer": lambda: Answer(
                fault.status, fault.body.encode(errors="replace"), tuple(fault.headers.items())
            ),
            "stream_error": lambda: _stream(call, [error], self.count),
            "truncated": lambda: replace(true, content=true.content[: len(true.content) // 2]),
            "redirect": lambda: Answer(302, headers=(("location", faults.redirect_to),)),
            "slow": lambda: replace(true, delay=faults.slow_seconds),
            "cut": lambda: replace(true, end="cut"),
            "closed": lambda: replace(true, end="closed"),
            "huge": lambda: replace(true, fill=faults.huge_bytes),
            "endless": lambda: replace(true, fill=faults.endless_bytes, end="open"),
        }
        return spoilt.get(fault.fault, lambda: true)()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what the ASGI server hands over: one request, or its own start and stop."""
        if scope["type"] == "lifespan":
            return await _live(receive, send)
        body = await _read_body(receive)
        if body is None:
            return None
        method, path = scope["method"], scope["path"]
        if path.startswith("/_simulator"):
            answer = self._control(method, path.removeprefix("/_simulator").rstrip("/"), body)
        else:
            headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            ]
            answer = self.answer(method, path, headers, body)
        return await _write(answer, method, receive, send)

    def _control(self, method: str, path: str, body: bytes) -> Answer:
        """Show and change the simulator itself."""
        if path == "/login":
            return Answer(200, _LOGIN.encode(), (("content-type", "text/html"),))
        change = _json_object(body)
        shown: dict[str, Callable[[], Any]] = {
            "": lambda: _BASE_URLS,
            "/script": self.shape,
            "/log": lambda: {"total": self.count, "requests": list(self.log)},
            "/clock": lambda: {"now": self.now, "elapsed": self.now - self._start},
        }
        try:
            match method, path, change:
                case "PUT", "/script", dict():
                    self.set_script(change)
                case "PATCH", "/script", dict():
                    self.patch(change)
                case "POST", "/clock", {"advance": int() | float() as seconds}:
                    self.advance(seconds)
                case "DELETE", "/log", _:
                    self.log.clear()
                case "GET", _, _ if path in shown:
                    pass
                case _:
                    raise SimulatorError(
                        f"The simulator cannot do {method} {path or '/'} with this body."
                    )
        except (SimulatorError, RecursionError) as error:
            return Answer(400, json.dumps({"error": str(error)}).encode(), (_JSON,))
        return Answer(200, json.dumps(shown[path]()).encode(), (_JSON,))


_BASE_URLS: Final = {
    "anthropic": "/",
    "aws": "/aws",
    "google-cloud": "/google-cloud",
    "bedrock invoke": "/bedrock",
    "bedrock mantle": "/mantle/anthropic",
    "vertex": "/vertex/v1",
    "foundry": "/foundry/anthropic",
}


def _merged(value: Any, change: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(change, Mapping):
        return change
    merged = dict(value) if isinstance(value, Mapping) else {}
    for key, part in change.items():
        if part is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), part)
    return merged


# ------------------------------------------------------------------ over HTTP


async def _live(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def _read_body(receive: Receive) -> bytes | None:
    """Read the request's body, and no further than one byte beyond the limit; None if nobody is there."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if len(body) <= MAX_BODY:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body[: MAX_BODY + 1])


async def _write(answer: Answer, method: str, receive: Receive, send: Send) -> None:
    if answer.delay and await _gone(receive, answer.delay):
        return
    if answer.end == "closed":
        return await _hang_up(receive)
    content = b"" if answer.status in (204, 304) or method == "HEAD" else answer.content
    headers = list(answer.headers)
    if answer.end != "open":
        headers.append(("content-length", str(answer.fill or len(content))))
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if answer.fill:
        return await _pour(answer.fill, receive, send)
    if answer.end == "cut":
        half = content[: len(content) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        return await _hang_up(receive)
    return await send({"type": "http.response.body", "body": content})


async def _gone(receive: Receive, seconds: float) -> bool:
    """Wait, and say whether the client hung up meanwhile."""
    try:
        await asyncio.wait_for(receive(), seconds)
    except TimeoutError:
        return False
    return True


async def _pour(total: int, receive: Receive, send: Send) -> None:
    """Send blanks, which every JSON parser skips, until all are sent or the client hangs up."""
    gone = asyncio.ensure_future(receive())
    while total > 0 and not gone.done():
        part = min(total, 65536)
        total -= part
        await send({"type": "http.response.body", "body": b" " * part, "more_body": True})
        await asyncio.sleep(0)
    if not gone.done():
        gone.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _hang_up(receive: Receive) -> None:
    """Close the connection under the server: ASGI has no word for it, but uvicorn's `receive` holds it.

    Where it does not, as in a test client, raise what a dead connection raises.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("The simulator closed the connection.")
    transport.close()
    await receive()


def create_simulator(
    script: Script | Mapping[str, Any] | None = None, clock: Callable[[], float] = time.time
) -> Simulator:
    """Make the ASGI application; no script means the world of the bundled catalog, with any `sk-ant-` key.

    Raises `SimulatorError`.
    """
    return Simulator(
        script if isinstance(script, Script) else read_script(dict(script or {})), clock
    )


def _listen(host: str, port: int) -> tuple[socket.socket, str]:
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except (OSError, OverflowError) as error:
        raise SimulatorError(f"Cannot listen on {host} port {port}: {error}.") from None
    shown = f"[{host}]" if ":" in host else host
    return listener, f"http://{shown}:{listener.getsockname()[1]}"


def _server(app: ASGIApp) -> uvicorn.Server:
    options: dict[str, Any] = {"log_config": None, "access_log": False, "ws": "none"}
    return uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **options))


@contextmanager
def running(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve from a thread while the block lasts; gives the root URL. Raises `SimulatorError`."""
    listener, url = _listen(host, port)
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join()


def run(host: str = "127.0.0.1", port: int = 8900, script_file: str | Path | None = None) -> None:
    """Serve until stopped, and say where. Raises `SimulatorError`."""
    simulator = create_simulator(load_script(script_file) if script_file else None)
    listener, url = _listen(host, port)
    print(
        f"The simulator serves {url}; {url}/_simulator names the base URL of every platform.",
        flush=True,
    )
    _server(simulator).run(sockets=[listener])
