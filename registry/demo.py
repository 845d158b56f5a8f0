"""The story in one command: a beta works, dies upstream, is found out in three sweeps, is served no more.

Everything is real but the upstream, which is the simulator: service, scheduler, database and HTTP. All of
it lives in a folder that is removed at the end.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click
import httpx2
import uvicorn
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from registry import simulator
from registry.app import create_app, prepare
from registry.config import Settings, Target
from registry.core.errors import Unavailable
from registry.serving import Protocol, listen, load_catalog

__all__ = ["run"]

BETA: Final = "mcp-client-2025-11-20"
KEY_VARIABLE: Final = "BETA_REGISTRY_DEMO_KEY"
PATIENCE: Final = 120.0
"""Longest wait for anything to happen, in seconds."""


def run(port: int, *, leave: bool) -> None:
    """Tell the story; then serve until stopped, or end with `leave`. Port 0 is any free one.

    Raises `Unavailable`.
    """
    world = simulator.create_simulator()
    with (
        tempfile.TemporaryDirectory() as folder,
        simulator.running(world) as upstream,
        _service(folder, upstream, port) as url,
        httpx2.Client(base_url=url, timeout=10) as http,
    ):
        _tell(http, world, url, upstream)
        if not leave:
            click.echo(f"\nIt goes on at {url}; Ctrl-C ends it and removes everything.")
            threading.Event().wait()
    click.echo("Removed everything.")


def _tell(http: httpx2.Client, world: simulator.Simulator, url: str, upstream: str) -> None:
    _say(f"The service runs at {url}. It probes a simulated Claude API at {upstream}.")
    _wait(lambda: _platform(http)["basis"] == "probed", "the first sweep")
    state = _platform(http)
    _say(f"{BETA} was probed: {state['state']} on anthropic, by target {state['target']}.")
    _show(http, f"GET /v1/header?beta={BETA}")
    _say("Now the upstream stops taking it. Every program that hard-codes it fails from here on.")
    begun, before = time.monotonic(), world.count
    world.patch({"timeline": [{"at": 0, "beta": BETA, "do": "refuse"}]})
    _wait(lambda: _platform(http)["pending"] is not None, "the first refusal")
    pending = _platform(http)["pending"]
    _say(f"A sweep saw it: {pending['count']} of {pending['of']} refusals. One is no proof, so it is "
         "asked again soon, with both controls.")  # fmt: skip
    _wait(lambda: http.get(f"/v1/betas/{BETA}").json()["status"] == "retired", "the verdict")
    found = http.get(f"/v1/betas/{BETA}").json()
    _say(f"Certain after {time.monotonic() - begun:.0f} s and {world.count - before} requests: "
         f"{found['status']}. {found['status_reason']}")  # fmt: skip
    _show(http, f"GET /v1/header?beta={BETA}")
    for event in reversed(http.get(f"/v1/changelog?beta={BETA}&limit=4").json()["items"]):
        click.echo(f"  {event['type']:<24} {event['reason']}")


def _platform(http: httpx2.Client) -> dict[str, Any]:
    state: dict[str, Any] = http.get(f"/v1/betas/{BETA}").json()["platforms"]["anthropic"]
    return state


def _say(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _show(http: httpx2.Client, call: str) -> None:
    answer = http.get(call.removeprefix("GET "))
    body = answer.json()
    click.echo(f"  {call} -> {answer.status_code}: {body.get('value') or body.get('detail')}")


def _wait(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise Unavailable(f"The demo waited {PATIENCE:.0f} s for {what}, and it did not come.")
        time.sleep(0.2)


class _OwnSettings(Settings):
    """Settings that are given and nothing else: those of the machine belong to a real service."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read neither the environment nor a file."""
        return (init_settings,)


@contextmanager
def _service(folder: str, upstream: str, port: int) -> Iterator[str]:
    """Start the real service, its sources reduced to the bundled catalog."""
    target = Target.model_validate(
        {
            "name": "claude-api", "platform": "anthropic", "base_url": upstream, "endpoint": "count_tokens",
            "every": "4s", "confirm_every": "2s", "confirm_spread": "4s", "api_key_env": KEY_VARIABLE,
        }
    )  # fmt: skip
    settings = _OwnSettings(
        database_url=f"sqlite:///{Path(folder) / 'demo.db'}", port=port, sources=["catalog"],
        targets=[target], catalog_every=timedelta(days=1),
    )  # fmt: skip
    # The target reads its key from the environment like any other; the simulator takes any of this form.
    # A proxy of the machine is not for what the demo says to itself.
    os.environ.update({KEY_VARIABLE: "sk-ant-demo", "NO_PROXY": "*", "no_proxy": "*"})  # noqa: TID251
    prepare(settings)
    load_catalog(settings)
    listener = listen(settings.host, settings.port)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings), log_config=None, access_log=False, lifespan="on", http=Protocol
        )
    )
    logging.getLogger().setLevel(logging.ERROR)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        _wait(lambda: server.started, "the service to start")
        yield f"http://{settings.host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
