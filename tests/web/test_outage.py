"""The service while its database is silent, busy or gone: who is answered, who is refused, what is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from registry import auth, catalog
from registry.db import Database
from registry.models import TokenRow
from tests.factories import NOW, claim, finding
from tests.relay import Relay
from tests.web.conftest import LIVE, Service

ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
KEY = "a secret key of the tests, long enough"
USAGE = {"service": "checkout", "items": [{"beta": LIVE, "count": 1}]}

FROM_MEMORY: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/livez", None),
    ("GET", "/metrics", None),
    ("GET", f"/v1/header?beta={LIVE}", None),
    ("GET", "/v1/betas", None),
    ("GET", f"/v1/betas/{LIVE}", None),
    ("GET", "/v1/features", None),
    ("GET", "/v1/snapshot", None),
    ("GET", "/v1/export/renovate/thing.json", None),
    ("POST", "/v1/check", {"value": LIVE}),
    ("POST", "/v1/diagnose", {"status": 400, "headers": {}, "body": "x", "service": "checkout"}),
    ("GET", "/", None),
    ("GET", "/betas", None),
)


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "It did not come about."
        time.sleep(0.02)


def metric(service: Service, name: str) -> float:
    """Read one number of `/metrics`."""
    lines = service.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def stands(service: Service, status: int) -> bool:
    """Say whether `/readyz` answers so."""
    return service.get("/readyz").status_code == status


@pytest.fixture
def behind_relay(
    postgres_url: str, serve: Callable[..., httpx2.Client]
) -> Iterator[tuple[Service, Relay]]:
    """A service that reaches PostgreSQL by way of a relay; at most two requests wait for it."""
    database = Database(postgres_url)
    with database.write() as session:
        catalog.apply(session, finding("docs", claim(LIVE, source="docs")), NOW, NOW)
        tokens = {scope: auth.create(session, scope, scope, NOW)[1] for scope in auth.SCOPES}
    with Relay(postgres_url) as relay:
        http = serve(
            database_url=relay.url, secret_key=KEY, database_requests=2,
            database_statement_timeout=MINUTE, database_connect_timeout=MINUTE,
        )  # fmt: skip
        yield Service(http, database, tokens), relay
    database.close()


@contextmanager
def waiting(service: Service, relay: Relay, count: int) -> Iterator[list[httpx2.Response]]:
    """Let the database fall silent, and so many requests wait for it; their answers come at the end."""
    headers = {"Authorization": f"Bearer {service.tokens['read']}"}
    url = service.http.base_url.join("/v1/inventory")
    answers: list[httpx2.Response] = []
    relay.hold()
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(httpx2.get, url, headers=headers, timeout=120) for _ in range(count)]
        try:
            until(lambda: metric(service, "beta_registry_database_requests") == count)
            yield answers
        finally:
            relay.release()
            answers += [item.result() for item in asked]


def test_what_is_in_memory_is_read_while_the_database_is_silent(
    behind_relay: tuple[Service, Relay],
) -> None:
    """Whatever waits for the database; the surplus is refused at once; then all goes on."""
    service, relay = behind_relay
    with waiting(service, relay, 2) as answers:
        for method, path, body in FROM_MEMORY:
            assert service.call(method, path, json=body).status_code == 200, path
            if path.startswith("/v1"):
                assert service.call(method, path, "admin", json=body).status_code == 200, path
        until(lambda: stands(service, 503))
        assert "database" in service.get("/readyz").json()["detail"].lower()
        for path in ("/v1/inventory", "/v1/services", "/v1/sources", "/v1/subscriptions"):
            refused = service.get(path, "read")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5"), path
            assert "2 requests wait for the database already" in refused.json()["detail"]
        assert service.call("POST", "/v1/usages", "report", json=USAGE).status_code == 503
        assert metric(service, "beta_registry_database_refused_total") >= 5
        until(lambda: metric(service, "beta_registry_database_up") == 0)
        assert metric(service, "beta_registry_refresh_age_seconds") > 0
    assert [answer.status_code for answer in answers] == [200, 200]
    until(lambda: stands(service, 200))
    assert service.call("POST", "/v1/usages", "report", json=USAGE).status_code == 200


@POSTGRESQL
def test_a_lock_that_is_held_long_ends_no_thread(start: Callable[..., Service]) -> None:
    """Requests that wait for it are told; revoked tokens are refused then, and new ones are known."""
    service = start(
        database_lock_timeout=SECOND, database_connections=2, database_pool_timeout=SECOND
    )
    url = service.http.base_url.join("/v1/inventory")
    headers = {"Authorization": f"Bearer {service.tokens['read']}"}
    with service.database.write() as holder:
        holder.execute(sa.text("LOCK TABLE usages IN ACCESS EXCLUSIVE MODE"))
        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(httpx2.get, url, headers=headers, timeout=60) for _ in range(12)]
        answers = [item.result() for item in asked]
    assert {(found.status_code, found.headers["retry-after"]) for found in answers} == {(503, "5")}
    with service.database.write() as session:
        admin = next(token for token in auth.tokens(session) if token.scope == "admin")
        auth.revoke(session, admin.id, NOW)
        _, newer = auth.create(session, "newer", "read", NOW)
    until(lambda: service.get("/v1/sources", "admin").status_code == 401)
    bearer = {"Authorization": f"Bearer {newer}"}
    until(lambda: service.get("/v1/sources", headers=bearer).status_code == 200)


@POSTGRESQL
def test_counts_that_cannot_be_read_keep_no_revoked_token_alive(
    start: Callable[..., Service],
) -> None:
    """While usages are locked, reads that count users go without, and tokens are confirmed as ever."""
    service = start(database_lock_timeout=MINUTE, database_statement_timeout=MINUTE)
    with service.database.write() as holder:
        holder.execute(sa.text("LOCK TABLE usages IN ACCESS EXCLUSIVE MODE"))
        assert service.get("/v1/betas").status_code == 200
        with service.database.write() as session:
            read = next(token for token in auth.tokens(session) if token.scope == "read")
            auth.revoke(session, read.id, NOW)
        began = time.monotonic()
        until(lambda: service.get("/v1/targets", "read").status_code == 401)
        assert time.monotonic() - began < 30
        until(lambda: stands(service, 200))
        assert service.get("/v1/betas").status_code == 200


def harmed(service: Service) -> Path:
    """Return the file of an embedded database."""
    path = service.database.url.database
    assert path is not None
    return Path(path)


@ONE_DATABASE
def test_a_database_file_that_is_gone_takes_nothing(service: Service) -> None:
    """Writes are refused with a sentence, health and metrics tell it; put back, all goes on."""
    file = harmed(service)
    beside = [Path(f"{file}{ending}") for ending in ("", "-wal", "-shm")]
    assert service.call("POST", "/v1/usages", "report", json=USAGE).status_code == 200
    for item in beside:
        item.rename(f"{item}.away")
    refused = service.call("POST", "/v1/usages", "report", json=USAGE)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert f"{file.name} was removed or replaced while it was in use" in refused.json()["detail"]
    until(lambda: stands(service, 503))
    assert "removed or replaced" in service.get("/readyz").json()["detail"]
    assert metric(service, "beta_registry_database_file_lost") == 1
    assert service.get(f"/v1/header?beta={LIVE}").status_code == 200
    assert not file.exists()
    for item in beside:
        Path(f"{item}.away").rename(item)
    until(lambda: stands(service, 200))
    assert service.call("POST", "/v1/usages", "report", json=USAGE).status_code == 200
    assert metric(service, "beta_registry_database_file_lost") == 0
    (shown,) = service.get("/v1/services", "read").json()["items"]
    assert shown["betas"][0]["count_24h"] == 2


WRITES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/v1/betas", {"name": "new-2026-01-01", "reason": "told"}),
    ("PATCH", f"/v1/betas/{LIVE}", {"summary": "Other.", "reason": "told"}),
    ("PUT", "/v1/services/checkout", {"team": "payments"}),
    ("POST", "/v1/usages", USAGE),
    (
        "POST",
        f"/v1/imports/{'0' * 64}",
        {"number": 0, "line": 1, "digest": "0" * 64, "reports": []},
    ),
    (
        "POST",
        "/v1/subscriptions",
        {"name": "s", "channel": "webhook", "url": "https://93.184.216.34/x"},
    ),
    ("DELETE", "/v1/subscriptions/1", None),
    ("POST", "/v1/deliveries/redeliver", {}),
    ("POST", "/v1/targets/ours/confirm", None),
)


@pytest.mark.parametrize(
    ("method", "path", "body"), WRITES, ids=[f"{m} {p[:25]}" for m, p, _ in WRITES]
)
def test_a_write_asks_the_database_for_its_token(
    service: Service, method: str, path: str, body: Any
) -> None:
    """In its own transaction: a process that has not heard of a revocation writes nothing."""
    with service.database.write() as session:
        # Without a word to the processes that keep tokens in memory, so that none can have heard of it.
        session.execute(sa.update(TokenRow).where(TokenRow.scope == "write").values(revoked_at=NOW))
    assert service.get("/v1/inventory", "write").status_code == 200
    answer = service.call(method, path, "write", json=body)
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthenticated")
    assert service.call(method, path, "admin", json=body).status_code not in (401, 403)


@ONE_DATABASE
def test_a_form_asks_the_database_for_its_token(service: Service) -> None:
    """The dashboard's forms too."""
    page = {"Accept": "text/html"}
    service.call("POST", "/sign-in", data={"token": service.tokens["write"]})
    text = service.get("/alerts", headers=page).text
    csrf = text.split('name="csrf" value="')[1].split('"')[0]
    with service.database.write() as session:
        session.execute(sa.update(TokenRow).where(TokenRow.scope == "write").values(revoked_at=NOW))
    form = {"csrf": csrf, "name": "s", "channel": "webhook", "url": "https://93.184.216.34/x"}
    answer = service.call("POST", "/alerts", data=form, headers=page)
    assert answer.status_code == 401
    assert service.get("/v1/subscriptions", "read").json()["items"] == []


AUTHORIZATIONS: tuple[tuple[tuple[str, ...], int], ...] = (
    ((), 200),
    (("",), 401),
    (("Bearer",), 401),
    (("Bearer no",), 401),
    (("Basic {read}",), 401),
    (("{read}",), 401),
    (("Bearer {read}",), 200),
    (("bearer   {read}",), 200),
    (("Bearer {feed}",), 403),
    (("Bearer {read}", "Bearer {read}"), 401),
    (("Bearer no", "Bearer {read}"), 401),
    (("Bearer \xe9",), 401),
)


@ONE_DATABASE
@pytest.mark.parametrize(("sent", "status"), AUTHORIZATIONS, ids=repr)
def test_the_framework_and_the_hot_path_have_one_rule(
    service: Service, sent: tuple[str, ...], status: int
) -> None:
    """Whatever stands in `Authorization`, also when it is asked a second time."""
    headers = [
        (b"authorization", text.format_map(service.tokens).encode("latin-1")) for text in sent
    ]
    for path in ("/v1/betas", "/v1/header", "/v1/betas", "/v1/header"):
        answer = service.http.get(path, headers=headers)
        assert answer.status_code == status, (path, answer.text)
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json"
