"""Every surface of one running registry, asked the same: does this beta fail at this place, and what is to be used?

Each method returns for one place what its surface says of every beta that it speaks of. Nothing here judges: what
a surface does not say is None.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx2
import uvicorn

from registry import app as composition
from registry import auth, catalog, config, db
from registry.client import Registry
from registry.config import Settings
from registry.core.places import Place
from registry.serving import Protocol
from registry.sources import collect
from registry.sources.catalog import CatalogSource
from tests.waiting import until

__all__ = ["FAILS", "Said", "Surfaces", "running"]

FAILS: Final = frozenset(
    {"malformed", "refused", "wrong_model", "wrong_endpoint", "retired", "conflict"}
)
"""Verdicts with which a request fails (CONTRACT, section 2, rule 0)."""

PROVIDERS: Final[Mapping[str, str]] = {
    "anthropic": "anthropic", "bedrock-invoke": "bedrock", "bedrock-converse": "bedrock_converse",
    "bedrock-mantle": "bedrock_mantle", "vertex": "vertex_ai",
}  # fmt: skip
"""LiteLLM's columns by our places; of Foundry it knows no hosting."""

MANY: Final = 60


@dataclass(frozen=True)
class Said:
    """What one surface says of one beta at one place."""

    fails: bool | None = None
    verdict: str | None = None
    instead: str | None = None
    words: str = ""


@contextmanager
def running(folder: Path) -> Iterator[Surfaces]:
    """Start the real service over an SQLite database that holds the bundled catalog."""
    url = f"sqlite:///{folder}/registry.db"
    db.upgrade(url)
    settings = Settings(scheduler=False, database_url=url, secret_key="k" * 16)  # type: ignore[call-arg,arg-type]
    database = db.Database(url)
    now = config.now()
    with database.write() as session, httpx2.Client() as http:
        catalog.apply(session, collect(CatalogSource(), http, {}, now), now, now)
        tokens = {scope: auth.create(session, scope, scope, now)[1] for scope in auth.SCOPES}
    server = uvicorn.Server(
        uvicorn.Config(
            composition.create_app(settings), port=0, log_config=None, lifespan="on", http=Protocol
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive(), "the service")
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield Surfaces(client, tokens, folder)
    server.should_exit = True
    thread.join(timeout=30)
    database.close()


class Surfaces:
    """All ways to ask one running registry."""

    def __init__(self, http: httpx2.Client, tokens: Mapping[Any, str], folder: Path) -> None:
        self.http, self._tokens, self._folder = http, tokens, folder

    def _call(self, method: str, path: str, scope: str | None = None, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._tokens[scope]}"} if scope else {}
        answer = self.http.request(method, path, headers=headers, **more)
        assert answer.status_code < 300 or answer.status_code == 422, answer.text
        return answer.json()

    @cached_property
    def betas(self) -> Mapping[str, Any]:
        """All betas, as the API shows them."""
        found, cursor = {}, None
        while True:
            query = {"limit": 200, **({"cursor": cursor} if cursor else {})}
            page = self._call("GET", "/v1/betas", params=query)
            found |= {item["name"]: item for item in page["items"]}
            cursor = page["next"]
            if not cursor:
                return found

    @cached_property
    def batches(self) -> Sequence[Sequence[str]]:
        """All names, in parts that can be asked for at once.

        What excludes another stands alone, and what goes by another name somewhere: an answer has one entry
        for each name that is sent.
        """
        alone = set()
        for name, beta in self.betas.items():
            others = {link["beta"] for link in beta["conflicts_with"]}
            others |= {other for place in beta["places"] for other in place["names"]} - {name}
            if others:
                alone |= {name, *others & set(self.betas)}
        rest = [name for name in self.betas if name not in alone]
        return [[name] for name in sorted(alone)] + [
            rest[start : start + MANY] for start in range(0, len(rest), MANY)
        ]

    # --- One beta at one place ---

    def check(self, place: Place) -> dict[str, Said]:
        """`POST /v1/check`: what all others are compared with."""
        found = {}
        for batch in self.batches:
            answer = self._call("POST", "/v1/check", json={"betas": batch, **_parts(place)})
            for item in answer["betas"]:
                found[item["name"]] = Said(
                    item["verdict"] in FAILS, item["verdict"], item["use_instead"], item["detail"]
                )
            fails = any(item["verdict"] in FAILS for item in answer["betas"])
            assert answer["valid"] is not fails, answer
        return found

    def header(self, place: Place, policy: str) -> dict[str, Said]:
        """`GET /v1/header` under a policy: what is dropped or invalid, why, and what to use instead."""
        found = {}
        for batch in self.batches:
            query = {"beta": batch, "policy": policy, **_parts(place)}
            answer = self._call("GET", "/v1/header", params=query)
            found |= _of_header(answer, policy)
        return found

    def diagnose(self, place: Place) -> dict[str, Said]:
        """`POST /v1/diagnose`, of a refusal that names them: what is advised instead of each."""
        found = {}
        for batch in self.batches:
            named = ", ".join(f"`{name}`" for name in batch)
            told = f"Unexpected value(s) {named} for the `anthropic-beta` header."
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": told}}
            asked = {
                "status": 400, "headers": {}, "body": json.dumps(error), "betas_sent": batch,
                **_parts(place),
            }  # fmt: skip
            answer = self._call("POST", "/v1/diagnose", json=asked)
            for item in answer["betas"]:
                found[item["name"]] = Said(True, None, item["use_instead"], item["status"])
        return found

    def scan(self, platform: str) -> dict[str, Said]:
        """`beta-registry scan` of a file that names them all."""
        folder = self._folder / "scanned"
        folder.mkdir(exist_ok=True)
        (folder / "names.py").write_text("".join(f'send("{name}")\n' for name in self.betas))
        told = subprocess.run(
            [sys.executable, "-m", "registry.cli", "scan", str(folder), "--platform", platform,
             "--format", "json", "--url", self._url],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return {
            item["beta"]: Said(
                item["verdict"] in FAILS, item["verdict"], item["use_instead"], item["detail"]
            )
            for item in json.loads(told.stdout)["findings"]
        }

    def client(self, place: Place) -> dict[str, Said]:
        """`registry.client`, on its own copy of the facts, under `filter`."""
        found = {}
        for batch in self.batches:
            answer = self._client.header(*batch, policy="filter", **_parts(place))
            found |= {
                item.requested: Said(
                    item.reason in FAILS, item.reason, item.use_instead, item.detail
                )
                for item in answer.dropped
            }
            found |= {item.requested: Said(False) for item in answer.betas}
        return found

    @cached_property
    def _client(self) -> Registry:
        made = Registry(self._url, token=self._tokens["read"], cache=False)
        assert made.wait(30)
        return made

    @property
    def _url(self) -> str:
        return str(self.http.base_url)

    # --- Who uses what ---

    def use_everything(self, places: Iterable[Place]) -> None:
        """Let a service at each place use every beta."""
        for place in places:
            parts = _parts(place)
            platform = parts.pop("platform")
            items = [{"beta": name, "count": 5, **parts} for name in self.betas]
            report = {
                "service": f"at-{place.slug}", "environment": "production", "source": "client",
                "platform": platform, "items": items,
            }  # fmt: skip
            self._call("POST", "/v1/usages", "report", json=report)

    def services(self, place: Place) -> dict[str, Said]:
        """`GET /v1/services/{name}` of the service at a place."""
        found = self._call("GET", f"/v1/services/at-{place.slug}", "read")
        said = {
            item["name"]: Said(item["fails"], None, item["use_instead"], item["detail"])
            for item in found["betas"]
        }
        assert (found["health"] == "failing") is any(item.fails for item in said.values())
        return said

    def report(self, place: Place) -> dict[str, Said]:
        """`GET /v1/report`: what it says of the betas that the service at a place sends."""
        return {
            item["beta"]: Said(
                item["verdict"] in FAILS, item["verdict"], item["use_instead"], item["detail"]
            )
            for item in self._report["findings"]
            if f"at-{place.slug}" in {sender["service"] for sender in item["senders"]}
        }

    @cached_property
    def _report(self) -> Any:
        return self._call("GET", "/v1/report", "read", params={"days": 7})

    def inventory(self) -> dict[str, str | None]:
        """`GET /v1/inventory`: the status of each beta that is used."""
        found = self._call(
            "GET", "/v1/inventory", "read", params={"group_by": "beta", "limit": 500}
        )
        return {item["key"]: item["status"] for item in found["items"]}

    # --- What other programs and people read ---

    def allowlist(self, place: Place) -> Mapping[str, Any]:
        """`GET /v1/export/allowlist/{place}.json`."""
        found: dict[str, Any] = self._call("GET", f"/v1/export/allowlist/{place.slug}.json")
        return found

    def litellm(self, place: Place) -> Mapping[str, str | None] | None:
        """The column of LiteLLM's config for a place, if it has one."""
        column = PROVIDERS.get(place.slug)
        return self._litellm[column] if column else None

    @cached_property
    def _litellm(self) -> Any:
        return self._call("GET", "/v1/export/litellm.json")

    def renovate(self, feature: str) -> Any:
        """`GET /v1/export/renovate/{feature}.json`."""
        return self._call("GET", f"/v1/export/renovate/{feature}.json")

    def feature(self, feature: str) -> Any:
        """`GET /v1/features/{feature}`."""
        return self._call("GET", f"/v1/features/{feature}")

    def page(self, beta: str) -> str:
        """The page of a beta."""
        return self.http.get(f"/betas/{beta}").text


def _parts(place: Place) -> dict[str, Any]:
    """Return what is said of a place, as parts of a request."""
    parts = {"platform": place.platform, "api": place.api, "hosting": place.hosting}
    return {part: word for part, word in parts.items() if word is not None}


def _of_header(answer: Any, policy: str) -> dict[str, Said]:
    """Read a header's answer: what is sent, what is dropped, and under `strict` what makes it an error."""
    if policy == "strict" and "invalid" in answer:
        wrong, sent = answer["invalid"], answer["would_send"]["betas"]
        wrong = [*wrong, *(one for one in answer["would_send"]["dropped"] if one["reason"] == "ga")]
    else:
        wrong, sent = answer["dropped"], answer["betas"]
    found = {}
    for item in sent:
        codes = [warning["code"] for warning in item["warnings"]]
        failing = next((code for code in codes if code in FAILS), None)
        found[item["requested"]] = Said(failing is not None, failing)
    for item in wrong:
        fails = item["reason"] in FAILS
        found[item["requested"]] = Said(fails, item["reason"], item["use_instead"], item["detail"])
    return found
