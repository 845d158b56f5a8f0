"""The HTTP API as callers see it: shapes, access, caching, pages, and refusals that say what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from registry import catalog
from tests import version_1
from tests.factories import NOW, claim, finding
from tests.waiting import until
from tests.web.conftest import DONE, DYING, GONE, LIVE, TWIN_A, TWIN_B, Service

BETA_MEMBERS = {
    "name",
    "feature",
    "topic",
    "release_date",
    "status",
    "status_since",
    "status_reason",
    "basis",
    "confidence",
    "disputed",
    "header_effect",
    "accepted",
    "gate",
    "superseded_by",
    "newer",
    "announced_on",
    "deprecated_on",
    "sunset_on",
    "ga_on",
    "retired_on",
    "summary",
    "docs_url",
    "endpoints",
    "models",
    "requires",
    "conflicts_with",
    "body_fields",
    "notes",
    "exceptions",
    "platforms",
    "first_seen",
    "last_seen",
    "added_at",
    "services",
}


ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For tables of cases that do not depend on the kind of database."""


def names(answer: Any) -> list[str]:
    """Return the names in a list of betas."""
    return [item["name"] for item in answer.json()["items"]]


def test_a_beta_has_every_member_of_the_contract(service: Service) -> None:
    """Extra members are welcome, missing ones are not."""
    beta = service.get(f"/v1/betas/{DYING}").json()
    assert set(beta) >= BETA_MEMBERS
    assert (beta["status"], beta["release_date"], beta["sunset_on"]) == (
        "deprecated", "2025-06-01", "2027-02-01",
    )  # fmt: skip
    assert set(beta["platforms"]["anthropic"]) == {
        "state",
        "names",
        "accepted",
        "basis",
        "target",
        "checked_at",
        "pending",
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [DONE, DYING, GONE, LIVE, TWIN_A, TWIN_B]),
        ("status=retired,ga", [DONE, GONE]),
        ("status=retired&status=ga", [DONE, GONE]),
        ("feature=twin", [TWIN_A, TWIN_B]),
        ("released_after=2026-02-01", [TWIN_A, TWIN_B]),
        ("released_before=2025-01-31", [DONE, GONE]),
        ("q=DOES", [LIVE]),
        ("sort=-release_date&limit=2", [TWIN_B, TWIN_A]),
        ("changed_since=2030-01-01", []),
        ("platform=anthropic&state=refused", []),
    ],
)
def test_betas_can_be_filtered_and_sorted(
    service: Service, query: str, expected: list[str]
) -> None:
    """Each filter of the contract."""
    assert names(service.get(f"/v1/betas?{query}")) == expected


def test_pages_follow_each_other_without_gap_or_repeat(service: Service) -> None:
    """The cursor is handed back unread."""
    seen: list[str] = []
    cursor = ""
    while True:
        page = service.get(f"/v1/betas?limit=2&sort=-release_date{cursor}").json()
        seen += [item["name"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [TWIN_B, TWIN_A, LIVE, DYING, DONE, GONE]


def test_events_come_in_either_order_and_in_pages(service: Service) -> None:
    """`since` is exclusive; ids are dense."""
    up = service.get("/v1/changelog?order=asc&limit=4").json()
    assert [event["id"] for event in up["items"]] == [1, 2, 3, 4]
    rest = service.get(f"/v1/changelog?order=asc&cursor={up['next']}").json()
    assert [event["id"] for event in rest["items"]] == [5, 6]
    assert [e["id"] for e in service.get("/v1/changelog?since=4").json()["items"]] == [6, 5]
    assert service.get("/v1/changelog?since=2030-01-01").json()["items"] == []
    found = service.get(f"/v1/changelog?beta={GONE}&type=beta.discovered").json()["items"]
    assert [(event["beta"], event["backfill"]) for event in found] == [(GONE, True)]


def test_features_know_their_current_beta(service: Service) -> None:
    """One live beta is current; of two, none is without a stated fact."""
    assert service.get("/v1/features/thing").json()["current"] == LIVE
    twin = service.get("/v1/features/twin").json()
    assert (twin["current"], twin["choices"]) == (None, [TWIN_A, TWIN_B])
    assert service.get("/v1/features/nothing").status_code == 404
    listed = service.get("/v1/features?limit=2").json()
    assert [item["feature"] for item in listed["items"]] == ["done", "dying"]


def test_evidence_says_what_decides(service: Service) -> None:
    """Every claim has its source and date."""
    items = service.get(f"/v1/betas/{DYING}/evidence").json()["items"]
    status = next(item for item in items if item["field"] == "status")
    assert (status["value"], status["source"], status["decides"]) == ("deprecated", "docs", True)


@pytest.mark.parametrize(
    "path", ["/v1/betas", f"/v1/betas/{LIVE}", "/v1/features", "/v1/changelog", "/v1/snapshot",
             "/v1/export/catalog.json", "/v1/header?feature=thing"],
)  # fmt: skip
def test_reads_carry_a_tag_and_answer_304(service: Service, path: str) -> None:
    """An unchanged answer costs no bytes."""
    first = service.get(path)
    assert first.status_code == 200
    assert {"etag", "vary", "beta-registry-as-of"} <= set(first.headers)
    again = service.get(path, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


@ONE_DATABASE
@pytest.mark.parametrize(
    ("value", "valid", "verdicts", "sent"),
    [
        (LIVE, True, ["ok"], LIVE),
        (f"{LIVE}, ,{DYING},{LIVE}", True, ["ok", "deprecated"], f"{LIVE},{DYING}"),
        (f"{DONE},{GONE}", False, ["not_needed", "retired"], ""),
        ("x y", False, ["malformed"], ""),
        ("thnig-2026-01-01", True, ["unknown"], "thnig-2026-01-01"),
        ("", True, [], ""),
    ],
)
def test_check_judges_a_value(
    service: Service, value: str, valid: bool, verdicts: list[str], sent: str
) -> None:
    """`valid` is false only if a request would fail."""
    found = service.call("POST", "/v1/check", json={"value": value}).json()
    assert [item["verdict"] for item in found["betas"]] == verdicts
    assert (found["valid"], found["value"]) == (valid, sent)


@ONE_DATABASE
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/v1/betas/thing-2026-01-02", None, 404, "Did you mean thing-2026-01-01"),
        ("GET", "/v1/betas/%F0%9F%98%80", None, 404, "not in the registry"),
        ("GET", "/v1/betas?status=dead", None, 422, "use active, deprecated"),
        ("GET", "/v1/betas?platform=azure", None, 422, "use anthropic"),
        ("GET", "/v1/betas?sort=age", None, 422, "sort"),
        ("GET", "/v1/betas?limit=0", None, 422, "limit"),
        ("GET", "/v1/betas?limit=501", None, 422, "limit"),
        ("GET", "/v1/betas?cursor=%00", None, 422, "hand back `next`"),
        ("GET", "/v1/betas?cursor=W10", None, 200, ""),
        ("GET", "/v1/betas?released_after=2026-02-30", None, 422, "released_after"),
        ("GET", "/v1/betas?changed_since=soon", None, 422, "is no time"),
        ("GET", "/v1/changelog?since=soon", None, 422, "is no time"),
        ("GET", "/v1/changelog?since=99999999999999999999999", None, 200, ""),
        ("GET", "/v1/changelog?cursor=eyJhIjoxfQ", None, 422, "hand back `next`"),
        ("GET", "/v1/changelog?type=beta.born", None, 422, "type of event"),
        ("GET", "/v1/nothing", None, 404, "/openapi.json"),
        ("DELETE", "/v1/betas", None, 405, "does not take DELETE"),
        ("POST", "/v1/check", "{", 422, "not valid JSON"),
        ("POST", "/v1/check", "[]", 422, "dict"),
        ("POST", "/v1/check", '{"value": 3}', 422, "string"),
        ("POST", "/v1/check", '{"value": "a", "platform": "azure"}', 422, "azure"),
        ("POST", "/v1/check", '{"valeu": "a"}', 422, "valeu"),
        ("POST", "/v1/check", "[" * 100_000, 422, "JSON"),
        ("POST", "/v1/check", '{"value": "\\ud800"}', 422, "unicode"),
    ],
)  # fmt: skip
def test_bad_input_is_a_problem_that_says_what_to_do(
    service: Service, method: str, path: str, body: str | None, status: int, says: str
) -> None:
    """Never a 500, never a traceback."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    answer = service.call(method, path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    if status >= 400:
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["status"] == status
        assert says in problem["detail"]
        assert service.get(problem["type"]).status_code == 200


def test_a_body_that_is_too_large_is_refused(service: Service) -> None:
    """And refused as a problem document, like everything else."""
    answer = service.call("POST", "/v1/check", content=b'{"value":"' + b"a" * 9_000_000 + b'"}',
                          headers={"Content-Type": "application/json"})  # fmt: skip
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


WRITES = [
    ("POST", "/v1/betas", {"name": "ours-2026-01-01", "status": "active", "reason": "told"}, 201),
    ("PATCH", f"/v1/betas/{LIVE}", {"status": "deprecated", "reason": "told"}, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), WRITES)
def test_writes_need_the_scope(
    service: Service, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    """401 without a valid token, 403 for one that is too weak."""
    assert service.call(method, path, json=body).status_code == 401
    wrong = {"Authorization": "Bearer nonsense"}
    assert service.call(method, path, json=body, headers=wrong).status_code == 401
    for scope in ("read", "report", "feed"):
        assert service.call(method, path, scope, json=body).status_code == 403
    assert service.call(method, path, "write", json=body).status_code == status


def test_the_operators_word_is_merged_and_withdrawn(service: Service) -> None:
    """A change is in the snapshot, the changelog and the header within a second."""
    patch = {"status": "retired", "accepted": False, "reason": "we saw it fail"}
    said = service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=patch).json()
    assert (said["status"], said["basis"]) == ("retired", "operator")
    until(lambda: service.get(f"/v1/header?beta={LIVE}").status_code == 422)
    newest = service.get(f"/v1/changelog?beta={LIVE}&type=beta.retired").json()["items"][0]
    assert (newest["type"], newest["before"]["status"]) == ("beta.retired", "active")
    back = {"status": None, "accepted": None, "reason": "our mistake"}
    assert (
        service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=back).json()["status"] == "active"
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"status": "active"}, "reason"),
        ({"reason": "x"}, "at least one fact"),
        ({"status": "dead", "reason": "x"}, "status"),
        ({"sunset_on": "soon", "reason": "x"}, "sunset_on"),
        ({"status": "ga", "reason": "x", "until": "2020-01-01"}, "future"),
        ({"status": "ga", "reason": "x", "until": "soon"}, "is no time"),
        ({"platforms": {"azure": {"state": "refused"}}, "reason": "x"}, "azure"),
        ({"nonsense": 1, "reason": "x"}, "nonsense"),
        ({"name": "other", "reason": "x"}, "name"),
    ],
)
def test_a_wrong_word_of_the_operator_changes_nothing(
    service: Service, body: dict[str, Any], says: str
) -> None:
    """Each says what to do instead."""
    answer = service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=body)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["detail"]
    assert service.get(f"/v1/betas/{LIVE}").json()["status"] == "active"


def test_a_beta_can_be_added_once(service: Service) -> None:
    """The answer names where it stands; a second time is a conflict."""
    body = {"name": "ours-2026-01-01", "status": "active", "gate": "org", "reason": "told"}
    made = service.call("POST", "/v1/betas", "write", json=body)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/betas/ours-2026-01-01")
    assert service.call("POST", "/v1/betas", "write", json=body).status_code == 409


def test_private_reads_need_a_token(start: Any) -> None:
    """Where reads are not public, even the header needs one, of scope report or read; health does not.

    What is never open to all, such as sources and services, a token of scope report cannot read either.
    """
    service = start(public_read=False)
    covered = (
        "/v1/betas", f"/v1/betas/{LIVE}", f"/v1/betas/{LIVE}/evidence", "/v1/features",
        "/v1/features/thing", "/v1/header", "/v1/changelog", "/v1/snapshot",
    )  # fmt: skip
    never = ("/v1/sources", "/v1/services", "/v1/inventory", "/v1/targets", "/v1/sweeps",
             "/v1/subscriptions", "/v1/deliveries", "/v1/report", f"/v1/betas/{LIVE}/usages",
             "/v1/export/inventory.csv")  # fmt: skip
    for path in (*covered, *never):
        assert service.get(path).status_code == 401, path
        assert service.get(path, "read").status_code == 200, path
        assert service.get(path, "report").status_code == (200 if path in covered else 403), path
    for path, body in (("/v1/check", {"value": LIVE}), ("/v1/diagnose", {"body": "no"})):
        for scope, status in ((None, 401), ("feed", 403), ("report", 200), ("read", 200)):
            answer = service.call("POST", path, scope, json=body)
            assert answer.status_code == status, (path, scope)
    assert service.get("/livez").status_code == service.get("/readyz").status_code == 200
    with_feed = service.get(f"/v1/export/catalog.json?token={service.tokens['feed']}")
    assert with_feed.status_code == 200
    assert service.get(f"/v1/betas?token={service.tokens['feed']}").status_code == 401


def test_the_bootstrap_token_is_admin(start: Any) -> None:
    """The setting works before any token was made."""
    service = start(admin_token="a-bootstrap-secret-of-ours")
    headers = {"Authorization": "Bearer a-bootstrap-secret-of-ours"}
    assert service.get("/v1/sources", headers=headers).status_code == 200


def test_sources_show_their_runs_and_cost(service: Service) -> None:
    """A failed source says why."""
    with service.database.write() as session:
        catalog.record_failure(session, "sdk", NOW, NOW, "Cannot reach the index.")
    items = {item["name"]: item for item in service.get("/v1/sources", "read").json()["items"]}
    assert (items["docs"]["state"], items["sdk"]["state"], items["litellm"]["state"]) == (
        "ok", "failed", "never",
    )  # fmt: skip
    assert items["sdk"]["error"] == "Cannot reach the index."
    assert items["docs"]["runs"][0]["cost"] == {"requests": 0, "bytes": 0, "bytes_whole": 0}


def test_a_snapshot_of_format_2_has_places_and_one_without_a_format_is_for_version_1(
    service: Service,
) -> None:
    """The previous release against this server, and a later one that asks for more than there is."""
    body = {"reason": "Tried it.", "places": [
        {"platform": "bedrock", "api": "converse", "state": "refused"},
        {"platform": "bedrock", "api": "invoke", "state": "supported"},
    ]}  # fmt: skip
    assert service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=body).status_code == 200
    until(lambda: "converse" in service.get("/v1/snapshot?format=2").text)
    for query in ("format=2", "format=7"):
        betas = {
            item["name"]: item for item in service.get(f"/v1/snapshot?{query}").json()["betas"]
        }
        places = [(fact["api"], fact["state"], fact["basis"]) for fact in betas[LIVE]["places"]
                  if fact["platform"] == "bedrock"]  # fmt: skip
        assert places == [("converse", "refused", "operator"), ("invoke", "supported", "operator")]
    old = version_1.read(service.get("/v1/snapshot").json())
    assert version_1.drops(old[LIVE], "bedrock") == "refused"
    assert version_1.drops(old[LIVE], "anthropic") is None
    assert service.get("/v1/snapshot?format=two").status_code == 422


@pytest.mark.parametrize(
    ("places", "says"),
    [
        (
            [{"platform": "anthropic", "api": "mantle", "state": "refused"}],
            "`api` is for bedrock only",
        ),
        (
            [{"platform": "vertex", "hosting": "azure", "state": "refused"}],
            "`hosting` is for foundry",
        ),
        ([{"platform": "mars", "state": "refused"}], "'mars' is not a platform"),
        ([{"platform": "bedrock", "state": "broken"}], "'broken'"),
        ([{"platform": "bedrock", "colour": "red"}], "`colour` cannot be stated of a place"),
        ([{"platform": "bedrock"}], "nothing is stated"),
        ([{"state": "refused"}], "must name a place"),
        ([{"platform": 7, "state": "refused"}], "must be text"),
        (["bedrock"], "must be an object"),
        ({"platform": "bedrock"}, "must be a list"),
    ],
)
def test_places_that_contradict_themselves_are_refused_in_a_sentence(
    service: Service, places: Any, says: str
) -> None:
    """Nothing is guessed."""
    body = {"reason": "r", "places": places}
    answer = service.call("PATCH", f"/v1/betas/{LIVE}", "write", json=body)
    assert answer.status_code == 422
    assert says.casefold() in answer.json()["detail"].casefold()


def test_a_change_by_another_process_is_seen(service: Service) -> None:
    """The snapshot follows the database."""
    with service.database.write() as session:
        new = finding("docs", claim("new-2026-09-09", source="docs"))
        catalog.apply(session, new, NOW, NOW)
    until(lambda: service.get("/v1/header?feature=new").status_code == 200)


def test_the_openapi_document_is_valid_and_names_every_route(service: Service) -> None:
    """It has a schema for each answer, and examples."""
    document = service.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert {"/v1/header", "/v1/betas", "/v1/check", "/v1/changelog"} <= set(document["paths"])
    OpenAPIV31SpecValidator(document).validate()
    assert "example" in json.dumps(document["paths"]["/v1/header"])


def test_health_and_metrics(service: Service) -> None:
    """Prometheus can read what the service did."""
    service.get("/v1/header")
    service.get("/v1/betas")
    assert service.get("/livez").json() == {"status": "ok"}
    ready = service.get("/readyz").json()
    assert (ready["status"], ready["betas"]) == ("ready", 6)
    assert ready["probing"].startswith("off: no target")
    text = service.get("/metrics").text
    assert 'beta_registry_requests_total{route="/v1/header",status="200"} 1.0' in text
    assert 'beta_registry_betas{status="retired"} 1.0' in text


def test_the_front_page_says_what_this_is(service: Service) -> None:
    """A person who opens the address finds his way."""
    assert "beta-registry" in service.get("/").text


@ONE_DATABASE
def test_json_ends_with_a_newline_and_a_bare_value_does_not(service: Service) -> None:
    """A terminal shows its prompt on a line of its own; a program may send the value as it is."""
    reads = (
        f"/v1/header?beta={LIVE}", "/v1/header?beta=no", "/v1/betas", f"/v1/betas/{LIVE}", "/v1/no",
        "/v1/snapshot", "/v1/changelog", "/v1/changelog.json", "/v1/export/catalog.json", "/readyz",
    )  # fmt: skip
    for path in reads:
        answer = service.get(path)
        assert answer.content.endswith((b"}\n", b"]\n")), path
        assert answer.content.count(b"\n") == len(answer.content.splitlines())
    for path, body in (("check", {"value": LIVE}), ("diagnose", {"body": "x"}), ("check", {})):
        assert service.call("POST", f"/v1/{path}", json=body).content.endswith(b"}\n"), path
    text = service.get(f"/v1/header?beta={LIVE}", headers={"Accept": "text/plain"})
    assert text.text == LIVE
