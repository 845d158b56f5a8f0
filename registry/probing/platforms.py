"""One probe request to one target, and the raw answer to it.

It hides how each platform is addressed and signed (the official SDK's work), and what a network does to
an answer. It reads no settings and no database, and does not know what an answer means. The rules of the
platforms are those of the SDK's clients, 2.12.0: `_client.py`, `lib/*/_client.py`, `lib/foundry.py`,
`lib/bedrock/_mantle.py`. A probe counts tokens, lists, or asks for one token; it changes nothing.
"""

from __future__ import annotations

import importlib
import math
import os
import queue
import re
import shlex
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import httpcore2
import httpx2

from registry.core.names import ANTHROPIC_OPERATED

__all__ = ["Answer", "ConfigError", "Setup", "Upstream", "cost_per_day"]

MAX_BODY: Final = 2 * 1024 * 1024
"""So much of an answer is read; no answer to a probe comes near it."""

_BETA = "anthropic-beta"
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")  # what a header can carry
_NAME = re.compile(r"[!-+\--~]{1,128}")  # a beta: the same, without blanks and the comma
_LIST = re.compile(r"/v1/[a-z0-9_/-]+(\?[A-Za-z0-9_=&.-]*)?")


class ConfigError(Exception):
    """A `[[targets]]` table that cannot work: which target, which key, why, and what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The plain values of a `[[targets]]` table; `timeout` in seconds."""

    name: str
    platform: str
    api: str | None = None
    model: str = "claude-haiku-4-5"
    endpoint: str = "auto"
    base_url: str | None = None
    region: str | None = None
    project_id: str | None = None
    resource: str | None = None
    profile: str | None = None
    workspace_id: str | None = None
    ca_file: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_key_env: str | None = None
    allow_paid: bool = False
    timeout: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One upstream answer as it came, header names in lower case, the body without its compression.

    No `status`: none came whole, and `error` says why. An over-long body has both: its start, and an error.
    """

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    error: str | None = None
    seconds: float = 0.0


def _nothing(error: str) -> Answer:
    return Answer(status=None, headers={}, body=b"", error=error)


# -------------------------------------------------------------------- over the wire


class _Stream(httpcore2.NetworkStream):
    """A connection on which no step takes longer than what is left of the exchange."""

    def __init__(self, inner: httpcore2.NetworkStream, left: Callable[[], float]) -> None:
        self._inner, self._left = inner, left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._inner.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._inner.write(buffer, self._left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: Any = None
    ) -> httpcore2.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, timeout or self._left())
        return _Stream(inner, self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Network(httpcore2.NetworkBackend):
    """Connections with one time limit from the look-up of the name to the last byte."""

    until, peer = 0.0, ""

    def left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout
        return left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect aside, because nothing else bounds how long a name is looked up."""
        self.peer, left = f"{host}:{port}", self.left()
        found: queue.SimpleQueue[httpcore2.NetworkStream | Exception] = queue.SimpleQueue()
        late, plain = threading.Event(), httpcore2.SyncBackend()

        def connect() -> None:
            try:  # half the time for one address, so that there is some for the next
                stream = plain.connect_tcp(host, port, left / 2, local_address, socket_options)
            except Exception as error:
                return found.put(error)
            return stream.close() if late.is_set() else found.put(stream)

        threading.Thread(target=connect, daemon=True).start()
        try:
            got = found.get(timeout=left)
        except queue.Empty:
            late.set()
            raise httpcore2.ConnectTimeout from None
        if isinstance(got, Exception):
            raise got
        return _Stream(got, self.left)


# fmt: off
_WHY: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (socket.gaierror, "DNS does not know the host of {peer}: correct {whose}, or the resolver."),
    (ssl.SSLCertVerificationError, "The certificate of {peer} is not trusted ({why}): set ca_file to the "
        "certificate of its CA, or correct base_url."),
    (ssl.SSLError, "{peer} does not speak TLS as expected ({why}): check the scheme and the port of base_url."),
    (httpcore2.ProxyError, "The proxy at {peer} refused ({why}): check HTTPS_PROXY and its password."),
    (ConnectionRefusedError, "Nothing listens at {peer}: correct {whose}, or start what should run there."),
    (httpcore2.ConnectTimeout, "No connection to {peer} within {seconds:g} s: check {whose} and the firewall, "
        "or set HTTPS_PROXY."),
    (httpcore2.TimeoutException, "{peer} gave no whole answer within {seconds:g} s: check {whose}, or raise the "
        "target's timeout."),
    (httpcore2.LocalProtocolError, "The request is no valid HTTP: check base_url, headers and the key."),
    (httpcore2.ConnectError, "No connection to {peer} ({why}): check {whose}."),
    (BaseException, "{peer} broke off before its answer was whole, or speaks no HTTP: check {whose}, and what "
        "stands in between."),
)
"""What a failure means, and how to mend it: the first row that fits one of its causes."""
# fmt: on


class _Wire(httpx2.BaseTransport):
    """What the SDK sends through: keeps the raw answer, and hands the SDK an empty one, whatever came.

    So the SDK neither retries, nor follows a redirect, nor reads what came.
    """

    def __init__(self, setup: Setup, environ: Mapping[str, str]) -> None:
        self.answer: Answer | None = None
        self._timeout, self._environ, self._network = setup.timeout, environ, _Network()
        self._pool: httpcore2.ConnectionPool | None = None
        self._whose, self._tls = "base_url", _trust(setup, environ)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self._network.until = time.monotonic() + self._timeout
        try:
            self._pool = self._pool or self._connected(request.url)
        except (ValueError, ImportError, httpx2.InvalidURL):
            said = "The proxy that HTTPS_PROXY or HTTP_PROXY names is unusable: write http://HOST:PORT."
            self.answer = _nothing(said)
        else:
            self.answer = self._exchanged(self._pool, request)
        return httpx2.Response(200, json={}, request=request)

    def close(self) -> None:
        if self._pool:
            self._pool.close()
        self._pool = None

    def _connected(self, url: httpx2.URL) -> httpcore2.ConnectionPool:
        proxy = None
        if address := _proxy(url, self._environ):
            read, self._whose = httpx2.Proxy(address), "HTTPS_PROXY or HTTP_PROXY"
            proxy = httpcore2.Proxy(str(read.url), auth=read.raw_auth)
        tls = self._tls or httpx2.create_ssl_context()
        return httpcore2.ConnectionPool(
            tls, proxy, network_backend=self._network, keepalive_expiry=5
        )

    def _exchanged(self, pool: httpcore2.ConnectionPool, request: httpx2.Request) -> Answer:
        body, headers, url = bytearray(), dict[str, str](), request.url
        target = httpcore2.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        raw = httpcore2.Request(
            request.method, target, headers=request.headers.raw, content=request.read()
        )
        try:
            response = pool.handle_request(raw)
            try:
                for part in response.iter_stream():
                    body += part
                    if len(body) > MAX_BODY:
                        break
            finally:
                response.close()
        except (httpcore2.TimeoutException, httpcore2.NetworkError) as error:
            return _nothing(self._why(error))
        except (httpcore2.ProtocolError, httpcore2.ProxyError) as error:
            return _nothing(self._why(error))
        for name, value in response.headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        plain = _uncompressed(bytes(body), headers.get("content-encoding", ""))
        long = max(len(body), len(plain)) > MAX_BODY
        said = "The answer is longer than 2 MiB: base_url leads to no Claude API." if long else None
        return Answer(status=response.status, headers=headers, body=plain[:MAX_BODY], error=said)

    def _why(self, error: BaseException) -> str:
        """Say what went wrong. An exception's own text is given only where it cannot quote a header."""
        causes = list(_causes(error))
        cause, text = next((c, t) for kind, t in _WHY for c in causes if isinstance(c, kind))
        why = getattr(cause, "verify_message", "") or getattr(cause, "reason", "")
        if isinstance(cause, httpcore2.ProxyError):
            why = str(cause)
        why = (
            why
            or next((c.strerror for c in causes if isinstance(c, OSError)), "")
            or "no reason given"
        )
        return text.format(
            peer=self._network.peer, whose=self._whose, seconds=self._timeout, why=why
        )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _uncompressed(body: bytes, encoding: str) -> bytes:
    """Undo gzip and deflate, which nobody asked for, and no further than the limit."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MAX_BODY + 1)
    except zlib.error:
        return body


def _proxy(url: httpx2.URL, environ: Mapping[str, str]) -> str | None:
    """Return the proxy for a URL, by the variables that curl knows; lower case outweighs upper."""
    known = {name.lower(): environ[name] for name in sorted(environ)}
    for name in re.split(r"[\s,]+", known.get("no_proxy", "").lower()):
        if name == "*" or (name and f".{url.host}".endswith(f".{name.lstrip('*.')}")):
            return None
    found = known.get(f"{url.scheme}_proxy") or known.get("all_proxy")
    return found if not found or "://" in found else f"http://{found}"


def _trust(setup: Setup, environ: Mapping[str, str]) -> ssl.SSLContext | None:
    key, file = "ca_file", setup.ca_file
    if not file:
        key, file = "SSL_CERT_FILE", environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=file) if file else None
    except OSError:
        raise ConfigError(
            f"Target {setup.name!r}: {key} is {file!r}, where no certificate in PEM can be read: name the file."
        ) from None


# ------------------------------------------------------------------ who asks whom


@dataclass(frozen=True, slots=True)
class _Need:
    """A key that a platform reads, its name in the SDK, its variables, and when it must be there."""

    key: str
    argument: str
    variables: tuple[str, ...]
    when: Literal["always", "no base_url", "never"] = "no base_url"


@dataclass(frozen=True, slots=True)
class _Platform:
    """How the SDK is set up for a platform. `service`: what AWS signatures are made for."""

    client: str
    base_url: str
    keys: tuple[str, ...] = ()
    needs: tuple[_Need, ...] = ()
    login: Literal["key", "aws", "google"] = "key"
    service: str = ""


_AWS_REGION: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_BEARER: Final = "AWS_BEARER_TOKEN_BEDROCK"

# fmt: off
_PLATFORMS: Final = {
    "anthropic": _Platform("Anthropic", "ANTHROPIC_BASE_URL", ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")),
    "aws": _Platform("AnthropicAWS", "ANTHROPIC_AWS_BASE_URL", ("ANTHROPIC_AWS_API_KEY",), (
        _Need("region", "aws_region", _AWS_REGION),
        _Need("workspace_id", "workspace_id", ("ANTHROPIC_AWS_WORKSPACE_ID",), "always"),
    ), "aws", "aws-external-anthropic"),
    "google-cloud": _Platform("AnthropicGoogleCloud", "ANTHROPIC_GOOGLE_CLOUD_BASE_URL", (), (
        _Need("project_id", "project", ("ANTHROPIC_GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT")),
        _Need("region", "location", ("ANTHROPIC_GOOGLE_CLOUD_LOCATION",), "never"),
        _Need("workspace_id", "workspace_id", ("ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID",)),
    ), "google"),
    "bedrock": _Platform("AnthropicBedrockMantle", "ANTHROPIC_BEDROCK_MANTLE_BASE_URL",
        (_BEARER, "ANTHROPIC_AWS_API_KEY"), (_Need("region", "aws_region", _AWS_REGION),),
        "aws", "bedrock-mantle"),
    "bedrock invoke": _Platform("AnthropicBedrock", "ANTHROPIC_BEDROCK_BASE_URL",
        (_BEARER,), (_Need("region", "aws_region", _AWS_REGION, "always"),), "aws", "bedrock"),
    "vertex": _Platform("AnthropicVertex", "ANTHROPIC_VERTEX_BASE_URL", (), (
        _Need("project_id", "project_id", ("ANTHROPIC_VERTEX_PROJECT_ID",), "always"),
        _Need("region", "region", ("CLOUD_ML_REGION",), "always"),
    ), "google"),
    "foundry": _Platform("AnthropicFoundry", "ANTHROPIC_FOUNDRY_BASE_URL", ("ANTHROPIC_FOUNDRY_API_KEY",),
        (_Need("resource", "resource", ("ANTHROPIC_FOUNDRY_RESOURCE",)),)),
}
# fmt: on


class _Token:
    """What the SDK takes for Google credentials: never stale, because the token is made when asked for."""

    expired = False

    def __init__(self, mint: Callable[[], str]) -> None:
        self._mint = mint

    @property
    def token(self) -> str:
        return self._mint()


@dataclass(slots=True, repr=False)
class _Login:
    """The SDK's arguments that are secret, and what a shell puts in place of the secret."""

    secret: dict[str, Any]
    variable: str
    credential: str
    signed: bool = False
    region: str | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """The same arguments with the variable in it; one that is not sent where AWS signs."""
        if self.signed:
            return {"api_key": self.variable}
        held = isinstance(next(iter(self.secret.values())), _Token)
        return dict.fromkeys(self.secret, _Token(lambda: self.variable) if held else self.variable)


class _Reader:
    """Reads a table and the environment of its cloud. Raises `ConfigError`."""

    def __init__(self, setup: Setup, environ: Mapping[str, str]) -> None:
        self.setup, self.environ = setup, environ
        self.invoke = setup.platform == "bedrock" and setup.api == "invoke"
        name = "bedrock invoke" if self.invoke else setup.platform
        if setup.platform not in _PLATFORMS or " " in setup.platform:
            known = ", ".join(name for name in _PLATFORMS if " " not in name)
            raise self.wrong(f"platform {setup.platform!r} is unknown: write one of {known}.")
        self.platform = _PLATFORMS[name]

    def wrong(self, what: str) -> ConfigError:
        return ConfigError(f"Target {self.setup.name!r}: {what}")

    def first(self, *variables: str) -> str | None:
        return next((v for name in variables if (v := self.environ.get(name))), None)

    def check(self) -> None:
        """Refuse what would fail later, or reach someone else."""
        setup = self.setup
        used = {need.key for need in self.platform.needs}
        used |= {"api"} if setup.platform == "bedrock" else set()
        used |= {"profile"} if self.platform.login == "aws" else set()
        for key in ("api", "region", "profile", "project_id", "resource", "workspace_id"):
            if getattr(setup, key) and key not in used:
                raise self.wrong(f"{key} means nothing on platform {setup.platform}: remove it.")
        if not _VALUE.fullmatch(setup.model):
            raise self.wrong("model is empty or unreadable: write the platform's own model id.")
        if not (math.isfinite(setup.timeout) and setup.timeout > 0):
            raise self.wrong("timeout is no time: write for instance 30s.")
        for name, value in setup.headers.items():
            if name.lower().endswith(_BETA):
                raise self.wrong(f"headers holds {name}, which is what a probe varies: remove it.")
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not _VALUE.fullmatch(value or "-"):
                raise self.wrong(f"headers.{name} cannot be sent: write plain ASCII on one line.")

    def endpoints(self) -> tuple[str, ...]:
        """Return the endpoints in order of trial; messages only where the table allows to pay."""
        wanted, own = self.setup.endpoint, self.setup.platform in ANTHROPIC_OPERATED
        if self.invoke and wanted == "count_tokens":
            free = 'write endpoint = "messages" and allow_paid = true, or api = "mantle".'
            raise self.wrong(f"endpoint count_tokens is not there in Bedrock's InvokeModel: {free}")
        if wanted in ("models", "list") and not own:
            of = "Bedrock's InvokeModel" if self.invoke else f"platform {self.setup.platform}"
            raise self.wrong(f"endpoint {wanted} is not there on {of}: leave endpoint out.")
        if wanted == "auto" and not self.invoke:
            return ("count_tokens", "models") if own else ("count_tokens",)
        if wanted == "auto":
            wanted = "messages"
        if wanted == "messages" and not self.setup.allow_paid:
            free = 'api = "mantle"' if self.invoke else 'endpoint = "count_tokens"'
            raise self.wrong(
                f"probing by messages costs money: write allow_paid = true, or {free}."
            )
        return (wanted,)

    def options(self, login: _Login) -> dict[str, Any]:
        """Return the SDK's arguments that are no secret."""
        setup, of = self.setup, f"platform {self.setup.platform}"
        url = setup.base_url or (None if setup.resource else self.first(self.platform.base_url))
        found: dict[str, Any] = {"base_url": url}
        if setup.resource and url:
            raise self.wrong("base_url and resource name the same thing: keep one of them.")
        for need in self.platform.needs:
            value = getattr(setup, need.key) or self.first(*need.variables)
            value = value or (login.region if need.key == "region" else None)
            needed = need.when == "always" or (need.when != "never" and (login.signed or not url))
            if not value and needed:
                known = " or ".join(need.variables)
                raise self.wrong(f"{of} needs {need.key}: state it, or set {known}.")
            if value and not (url and need.key == "resource"):
                found[need.argument] = value
        if url:
            self._check_url(url)
        return found

    def _check_url(self, text: str) -> None:
        try:
            url = httpx2.URL(text)
        except httpx2.InvalidURL:
            url = httpx2.URL("")
        if url.userinfo:
            raise self.wrong("base_url holds a user or password: remove it, and use headers.")
        if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
            raise self.wrong("base_url is no address of an API: write https://HOST/PATH.")

    def login(self) -> _Login:
        """Find the credential: in `api_key_env` alone if it is stated, else as the SDK does."""
        setup, platform = self.setup, self.platform
        if setup.profile and setup.api_key_env:
            raise self.wrong("profile and api_key_env exclude each other: keep one of them.")
        if setup.profile and self.invoke and self.first(_BEARER):
            raise self.wrong(
                f"the SDK uses no profile while {_BEARER} is set: unset it, or drop profile."
            )
        for name in [setup.api_key_env] if setup.api_key_env else platform.keys:
            if setup.profile or not (value := self.environ.get(name, "").strip()):
                continue
            if not _VALUE.fullmatch(value):
                raise self.wrong(f"{name} holds what no header can carry: set it to the bare key.")
            if platform.login == "google":
                return _Login({"credentials": _Token(lambda: value)}, f"${name}", value)
            argument = "auth_token" if name == "ANTHROPIC_AUTH_TOKEN" else "api_key"
            return _Login({argument: value}, f"${name}", value)
        if setup.api_key_env:
            raise self.wrong(
                f"api_key_env names {setup.api_key_env}, which is not set: set it to the key."
            )
        if platform.login == "aws":
            return self._aws()
        if platform.login == "google":
            return self._google()
        known = " or ".join(platform.keys)
        raise self.wrong(
            f"no key was found: set {known}, or name the key's variable in api_key_env."
        )

    def _aws(self) -> _Login:
        """Sign: by the table's profile, by keys in the environment, or as AWS finds a login."""
        key, secret = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
        pair, profile = (self.first(key), self.first(secret)), self.setup.profile
        if any(pair) and not profile:
            if not all(pair):
                raise self.wrong(f"{key} and {secret} belong together: set both.")
            given = {"aws_access_key": pair[0], "aws_secret_key": pair[1]}
            given["aws_session_token"] = self.first("AWS_SESSION_TOKEN")
            return _Login(given, "signed", str(pair[0]), signed=True)
        known = f"set {' or '.join(self.platform.keys)}, or {key} and {secret}, or state profile."
        profile = profile or self.first("AWS_PROFILE")
        errors = importlib.import_module("botocore.exceptions")
        try:
            session = importlib.import_module("boto3").Session(profile_name=profile)
            found = session.get_credentials()
        except errors.BotoCoreError as error:
            raise self.wrong(f"AWS finds no login ({type(error).__name__}): {known}") from None
        if not found:
            raise self.wrong(f"AWS finds no login: {known}")
        lasting = found.method if found.token else found.access_key
        given = {"aws_profile": profile} if profile else {}
        return _Login(given, "signed", f"{lasting} {profile or ''}", True, session.region_name)

    def _google(self) -> _Login:
        """Find what Google calls application default credentials: a file, or the machine's own.

        Only a machine of Google's has its own, and it is not asked before a probe
        (cloud.google.com/docs/authentication/application-default-credentials).
        """
        stated = self.first("GOOGLE_APPLICATION_CREDENTIALS")
        folder = self.first("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
        file = Path(stated or Path(folder, "application_default_credentials.json"))
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError):
            if stated or not self._on_google():
                raise self.wrong(
                    f"no Google login was found in {file}: run `gcloud auth application-default login`, or "
                    "set GOOGLE_APPLICATION_CREDENTIALS to its file, or name the variable of an access "
                    "token in api_key_env."
                ) from None
            text = "the machine's own"
        variable = "$(gcloud auth application-default print-access-token)"
        project = self.setup.project_id or ""
        secret = {"credentials": _Token(_minting(self.setup.timeout))}
        return _Login(secret, variable, f"{text} {project}")

    def _on_google(self) -> bool:
        if self.first("K_SERVICE", "CLOUD_RUN_JOB", "KUBERNETES_SERVICE_HOST", "GCE_METADATA_HOST"):
            return True
        board = Path("/sys/class/dmi/id/product_name")
        return board.is_file() and board.read_text(errors="replace").startswith("Google")


def _minting(timeout: float) -> Callable[[], str]:
    """Return what makes access tokens, no step of which takes longer than a probe may."""
    held: list[Any] = []

    def mint() -> str:
        request = importlib.import_module("google.auth.transport.requests").Request()
        ask = partial(request, timeout=timeout)
        if not held:
            scopes = ["https://www.googleapis.com/auth/cloud-platform"]
            held.append(importlib.import_module("google.auth").default(scopes, request=ask)[0])
        if not held[0].valid:
            held[0].refresh(ask)
        return str(held[0].token)

    return mint


# ------------------------------------------------------------------------ asking


class _Refusal(Exception):
    """A request that is not sent, in one sentence without secrets."""


class Upstream:
    """One target, ready to be asked by one thread at a time. Raises `ConfigError`."""

    def __init__(self, setup: Setup, environ: Mapping[str, str] | None = None) -> None:
        # The SDK and what it signs with read the environment themselves.
        environ = os.environ if environ is None else environ  # noqa: TID251
        found = _Reader(setup, environ)
        found.check()
        self.endpoints: tuple[str, ...] = found.endpoints()
        self.placement: Literal["header", "body"] = "body" if found.invoke else "header"
        self._login, self._platform = found.login(), found.platform
        self._options = found.options(self._login)
        self.credential: str = self._login.credential
        self._setup, self._wire, self._client = setup, _Wire(setup, environ), None

    def send(self, betas: Sequence[str], endpoint: str, path: str | None = None) -> Answer:
        """Ask once. Never raises for what the network or the upstream does.

        `path`, for `list` alone: a list call of the API that only reads, as `/v1/files?beta=true`.
        """
        start, self._wire.answer = time.monotonic(), None
        said = "The official SDK sent nothing."
        try:
            if self._client is None:
                self._client = self._made(self._login.secret, self._setup.headers, self._wire)
            self._ask(self._client, betas, endpoint, path)
        except Exception as error:
            said = _unsent(error)
        answer = self._wire.answer or _nothing(said)
        return replace(answer, seconds=time.monotonic() - start)

    def close(self) -> None:
        """Close the connections; the next request opens a new one."""
        self._wire.close()

    def curl(self, betas: Sequence[str], endpoint: str, path: str | None = None) -> str:
        """Return the same request for a person to repeat, with variables of the shell for every secret.

        Where AWS signs by a profile, `eval "$(aws configure export-credentials --format env)"` sets them.
        Raises `ConfigError` for what cannot be asked.
        """
        sent: list[httpx2.Request] = []

        def keep(request: httpx2.Request) -> httpx2.Response:
            sent.append(request)
            return httpx2.Response(200, json={}, request=request)

        hidden = {name: _variable(name) for name in self._setup.headers}
        try:
            client = self._made(self._login.shown, hidden, httpx2.MockTransport(keep))
            self._ask(client, betas, endpoint, path)
        except Exception as error:
            if not sent:
                raise ConfigError(f"Target {self._setup.name!r}: {_unsent(error)}") from None
        return self._as_curl(sent[0])

    def _made(
        self, login: Mapping[str, Any], headers: Mapping[str, str], wire: httpx2.BaseTransport
    ) -> Any:
        sdk = importlib.import_module("anthropic")
        plain = {"accept-encoding": "identity"}  # what is cut at a limit is best not compressed
        http = httpx2.Client(transport=wire, trust_env=False, headers=plain)
        settings: dict[str, Any] = {
            "max_retries": 0,
            "timeout": self._setup.timeout,
            "open_telemetry": False,
        }
        settings |= {"http_client": http, "default_headers": dict(headers)}
        return getattr(sdk, self._platform.client)(**self._options, **login, **settings)

    def _ask(self, client: Any, betas: Sequence[str], endpoint: str, path: str | None) -> None:
        """Send, on the resources that are not `beta`: those there name betas of their own.

        Without betas the header is omitted even where `ANTHROPIC_CUSTOM_HEADERS` states one.
        """
        if wrong := [name for name in betas if not _NAME.fullmatch(name)]:
            raise _Refusal(f"{wrong[0]!r} cannot be sent as the name of a beta.")
        omit, in_body = importlib.import_module("anthropic").omit, self.placement == "body"
        headers = {_BETA: omit if in_body or not betas else ",".join(betas)}
        extra = {"anthropic_beta": list(betas)} if betas and in_body else None
        text = [{"role": "user", "content": "Hi"}]
        request = {"model": self._setup.model, "messages": text, "extra_headers": headers}
        own = self._setup.platform in ANTHROPIC_OPERATED
        if endpoint == "messages" and self._setup.allow_paid:
            client.messages.create(**request, max_tokens=1, extra_body=extra)
        elif endpoint == "count_tokens" and not in_body:
            client.messages.count_tokens(**request)
        elif endpoint == "models" and own:
            client.models.list(extra_headers=headers)
        elif endpoint == "list" and own and path and _LIST.fullmatch(path):
            client.get(path, cast_to=object, options={"headers": headers})
        else:
            raise _Refusal(f"This target cannot be asked at {endpoint} {path or ''}".rstrip() + ".")

    def _as_curl(self, request: httpx2.Request) -> str:
        login, quote = self._login, shlex.quote
        parts = ["curl", "-sS", "-i", "--max-time", f"{self._setup.timeout:g}"]
        parts += ["-X", request.method, quote(str(request.url))]
        if self._setup.ca_file:
            parts += ["--cacert", quote(self._setup.ca_file)]
        for name, value in request.headers.items():
            secret = value in (login.variable, f"Bearer {login.variable}")
            if name in _OPEN:
                parts += ["-H", quote(f"{name}: {value}")]
            elif not (name.startswith(_SILENT) or (secret and login.signed)):
                parts += ["-H", f'"{name}: {value if secret else _variable(name)}"']
        if login.signed:
            service = f"aws:amz:{self._options['aws_region']}:{self._platform.service}"
            parts += [
                "--aws-sigv4",
                service,
                "--user",
                '"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"',
            ]
            parts += ["-H", '"x-amz-security-token: $AWS_SESSION_TOKEN"']
        if request.content:
            parts += ["-d", quote(request.content.decode())]
        return " ".join(parts)


_OPEN = (_BETA, "anthropic-version", "anthropic-workspace-id", "content-type")
_SILENT = ("accept", "connection", "content-length", "host", "user-agent", "x-stainless-")


def _variable(name: str) -> str:
    return "$" + re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _unsent(error: Exception) -> str:
    """Say why nothing was sent: mostly a login that ran out. The error's own text could quote a secret."""
    kind, origin = type(error).__name__, type(error).__module__.partition(".")[0]
    if isinstance(error, _Refusal):
        return str(error)
    if origin == "google":
        again = "run `gcloud auth application-default login` again, or check the service account."
        return f"Google gave no access token ({kind}): {again}"
    if origin in ("boto3", "botocore"):
        return f"AWS gave no login ({kind}): log in again (`aws sso login`), or check profile."
    return f"The official SDK made no request ({kind}): check model, base_url and the credentials."


def cost_per_day(setup: Setup, requests_a_sweep: int, sweeps_a_day: float) -> str | None:
    """Say what a target would spend, if it sends messages; nothing else is charged.

    Price: Claude Haiku 4.5 at its launch, $1 and $5 a million tokens (anthropic.com/news/claude-haiku-4-5).
    """
    invoke = setup.platform == "bedrock" and setup.api == "invoke"
    if setup.endpoint != "messages" and not (setup.endpoint == "auto" and invoke):
        return None
    count = math.ceil(requests_a_sweep * sweeps_a_day)
    return (
        f"Target {setup.name!r} sends up to {count} messages a day to {setup.model}, each of about 10 tokens "
        f"in and 1 out: ${count * 15e-6:.2f} a day at the price of Claude Haiku 4.5, by other models more."
    )
