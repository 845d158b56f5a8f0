"""Settings: from the environment, `.env`, or a TOML file, in that order of weight.

Read by `app.py` and `cli/` only, and once. A wrong setting stops the start with one sentence that
names the file or variable, the key and the reason; a misspelt one does too, instead of being ignored.
"""

from __future__ import annotations

import configparser
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from registry.core.errors import Invalid
from registry.core.names import Platform
from registry.core.places import Hosting

__all__ = ["SOURCE_NAMES", "Settings", "Subscription", "Target", "load", "now", "pip_index_url"]

BESIDE_CONFIRMATIONS = 9
"""Requests of a sweep beside those that confirm one decision: controls, a search, and a retry."""

DEFAULT_FILE = "beta-registry.toml"
PREFIX = "BETA_REGISTRY_"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: object) -> object:
    """Read `30s`, `2m`, `1h`, `1d` or a number of seconds."""
    if isinstance(value, str):
        found = re.fullmatch(r"([0-9]{1,9})\s*([smhd]?)", value.strip())
        if not found:
            raise ValueError("write a time as 30s, 2m, 1h or 1d")
        return timedelta(seconds=int(found[1]) * _UNITS[found[2] or "s"])
    return timedelta(seconds=value) if isinstance(value, int) else value


def _list(value: object) -> object:
    """Read a comma list where the environment can give only text."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0))]
SourceName = Literal["catalog", "sdk", "litellm", "release-notes", "docs"]
SOURCE_NAMES: tuple[SourceName, ...] = get_args(SourceName)


class Target(BaseModel):
    """A named probe set-up: one `[[targets]]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    platform: Platform
    api: Literal["invoke", "mantle"] | None = None
    hosting: Hosting | None = None
    model: str = "claude-haiku-4-5"
    endpoint: Literal["auto", "count_tokens", "models", "messages", "list"] = "auto"
    base_url: str | None = None
    region: str | None = None
    project_id: str | None = None
    resource: str | None = None
    profile: str | None = None
    workspace_id: str | None = None
    ca_file: str | None = None
    headers: dict[str, str] = {}
    api_key_env: str | None = None
    allow_paid: bool = False
    every: Duration = timedelta(hours=1)
    confirm_every: Duration = timedelta(minutes=2)
    refusals_to_confirm: int = Field(default=3, ge=1)
    acceptances_to_recover: int = Field(default=2, ge=1)
    confirmations: int = Field(default=5, ge=1)
    confirm_spread: Duration = timedelta(seconds=15)
    max_header_betas: int = Field(default=100, ge=2)
    max_requests: int = 60
    timeout: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        """A sweep must have room for controls, a search and what one decision takes."""
        least = self.confirmations + BESIDE_CONFIRMATIONS
        if self.max_requests < least:
            raise ValueError(
                f"max_requests = {self.max_requests} leaves no room for confirmations = "
                f"{self.confirmations}; write at least {least}"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        invoke = self.platform == "bedrock" and self.api != "mantle"
        if self.api is not None and self.platform != "bedrock":
            raise ValueError("api is for platform bedrock only; leave it out")
        if self.hosting is not None and self.platform != "foundry":
            raise ValueError("hosting is for platform foundry only; leave it out")
        if invoke and self.endpoint in ("count_tokens", "models", "list"):
            raise ValueError(
                f'Bedrock\'s invoke has no {self.endpoint}; use api = "mantle", or endpoint = '
                '"messages" with allow_paid = true'
            )
        if self.endpoint == "messages" and not self.allow_paid:
            raise ValueError("endpoint messages costs money; say so with allow_paid = true")
        if invoke and not self.allow_paid:
            raise ValueError(
                "Bedrock's invoke can be probed by paid messages only; set allow_paid = true or use "
                'api = "mantle"'
            )
        return self


class Subscription(BaseModel):
    """Who wants to hear of what: one `[[subscriptions]]` table.

    Its members are those of the API; `alerts` checks them. Addresses and secrets can stay out of the
    file: `url_env` and `secret_env` name variables that hold them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    team: str | None = None
    channel: Literal["webhook", "apprise"]
    url: str | None = None
    url_env: str | None = None
    secret: SecretStr | None = None
    secret_env: str | None = None
    filter: dict[str, Any] = {}
    only_if_used: bool = False
    used_within_days: int = 30
    schedule: Literal["immediate", "daily", "weekly"] = "immediate"
    timezone: str = "UTC"
    template: dict[str, str] | None = None

    def wanted(self) -> dict[str, Any]:
        """Return it as the API takes it, with what the environment holds. Raises `Invalid`."""
        plain = self.model_dump(exclude={"url_env", "secret_env", "secret"}, exclude_none=True)
        secret = self.secret.get_secret_value() if self.secret else None
        for member, stated, variable in (
            ("url", self.url, self.url_env),
            ("secret", secret, self.secret_env),
        ):
            held = os.environ.get(variable) if variable else stated
            if variable and not held:
                raise Invalid(f"Subscription {self.name!r}: the variable {variable} is not set.")
            if held:
                plain[member] = held
        return plain


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True
    )

    database_url: str = "sqlite:///beta-registry.db"
    database_connect_timeout: Duration = timedelta(seconds=5)
    database_statement_timeout: Duration = timedelta(seconds=20)
    database_lock_timeout: Duration = timedelta(seconds=10)
    database_pool_timeout: Duration = timedelta(seconds=5)
    database_keepalive: Duration = timedelta(seconds=10)
    database_tcp_user_timeout: Duration = timedelta(seconds=15)
    database_connections: int = Field(default=10, ge=1, le=1000)
    database_requests: int = Field(default=32, ge=1, le=1000)
    token_grace: Duration = timedelta(minutes=15)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    public_read: bool = True
    admin_token: SecretStr | None = Field(default=None, min_length=16)
    secret_key: SecretStr | None = Field(default=None, min_length=16)
    scheduler: bool = True
    offline: bool = False
    log_format: Literal["console", "json"] = "console"
    sources: Annotated[list[SourceName], NoDecode, BeforeValidator(_list)] = list(SOURCE_NAMES)
    targets: list[Target] = []
    subscriptions: list[Subscription] = []
    public_url: str | None = Field(default=None, pattern=r"^https?://")
    receivers_private: bool = False
    apprise_schemes: Annotated[list[str], NoDecode, BeforeValidator(_list)] = []

    catalog_location: str | None = None
    sdk_index_url: str | None = None
    litellm_location: str | None = None
    release_notes_location: str | None = None
    docs_location: str | None = None

    catalog_every: Duration = timedelta(days=1)
    sdk_every: Duration = timedelta(hours=1)
    litellm_every: Duration = timedelta(days=1)
    release_notes_every: Duration = timedelta(hours=1)
    docs_every: Duration = timedelta(days=1)

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        for what, names in (
            ("targets", [item.name for item in self.targets]),
            ("subscriptions", [item.name for item in self.subscriptions]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two {what} are called {twice[0]}; give each a name of its own")
        return self

    @property
    def address(self) -> str:
        """Where people reach this registry: what the links in alerts and documents begin with."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    def every(self, source: str) -> timedelta:
        """Return how often a source is read."""
        interval: timedelta = getattr(self, f"{source.replace('-', '_')}_every")
        return interval

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the command line outweigh the environment, and both the file."""
        file = getattr(init_settings, "init_kwargs", {}).pop("toml", {})
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            InitSettingsSource(settings_cls, init_kwargs=file),
        )


def now() -> datetime:
    """Return the time; the only place that looks at the clock of the machine."""
    return datetime.now(UTC)


def load(file: str | None = None, **given: Any) -> Settings:
    """Read the settings. `given` outweighs everything. Raises `Invalid`, naming key and reason."""
    named = file or os.environ.get(f"{PREFIX}CONFIG")
    path = Path(named or DEFAULT_FILE)
    table = _read_toml(path) if named or path.is_file() else {}
    unknown = sorted(set(table) - set(Settings.model_fields))
    if unknown:
        raise Invalid(
            f"{path}: {unknown[0]!r} is not a setting; see the README's list of settings."
        )
    kept = {key: value for key, value in given.items() if value is not None}
    try:
        return Settings(**kept, toml=table)  # type: ignore[call-arg]  # taken out again below
    except ValidationError as error:
        raise Invalid(_explain(error, path if table else None)) from None
    except ValueError as error:
        cause = error.__cause__ or error
        raise Invalid(f"A setting in the environment cannot be read: {error} ({cause}).") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise Invalid(f"Cannot read the settings file {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not TOML: {error}.") from None


def _explain(error: ValidationError, path: Path | None) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = [str(part) for part in first["loc"]] or ["targets"]
    key = where[0]
    for part in where[1:]:
        key += f"[{part}]" if part.isdigit() else f".{part}"
    variable = f"{PREFIX}{where[0].upper()}"
    in_file = path is not None and variable not in os.environ
    place = str(path) if in_file else f"the environment ({variable})"
    return f"Setting {key!r} from {place} is wrong: {first['msg'].removeprefix('Value error, ')}."


def pip_index_url(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the package index that pip is set to use here, or None for its default.

    The environment outweighs the files; of the files, the virtual environment's outweighs the user's,
    and that the machine's (pip's documented order).
    """
    env = os.environ if environ is None else environ
    if env.get("PIP_INDEX_URL"):
        return env["PIP_INDEX_URL"]
    home = Path(env.get("HOME") or Path.home())
    candidates = [
        env.get("PIP_CONFIG_FILE"),
        Path(env["VIRTUAL_ENV"]) / "pip.conf" if env.get("VIRTUAL_ENV") else None,
        Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf",
        home / ".pip" / "pip.conf",
        Path("/etc/pip.conf"),
    ]
    for candidate in filter(None, candidates):
        parser = configparser.RawConfigParser()
        try:
            parser.read(str(candidate), encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself complains about such a file; here it just says nothing
        for section in ("install", "global"):
            if parser.has_option(section, "index-url"):
                return parser.get(section, "index-url").strip()
    return None
