"""The two tools: build a header, and explain an error. Both are one call of the core each."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from registry.core.diagnosis import diagnose
from registry.core.errors import RegistryError
from registry.core.facts import Json, Snapshot
from registry.core.names import PLATFORMS, read_header
from registry.core.places import APIS, HOSTINGS
from registry.core.redaction import mask_secrets
from registry.core.resolution import Ask, features, resolve
from registry.core.snippets import FORMATS, snippet
from registry.web.dashboard.asking import Asked, form_of
from registry.web.dashboard.pages import Pages

__all__ = ["posted", "routes"]

PASTED_MAX: Final = 1024 * 1024
POLICIES: Final = ("strict", "filter", "advise")
FORMAT_NAMES: Final = {
    "value": "Value", "env": "Environment", "json": "JSON", "claude-code": "Claude Code settings",
    "python": "Python", "typescript": "TypeScript", "curl": "curl",
}  # fmt: skip


_FORM: Final = dict.fromkeys(
    ("text", "betas", "platform", "api", "hosting", "region", "model", "endpoint", "status"), ""
)


async def posted(request: Request) -> dict[str, str]:
    """Read the form of a request."""
    return dict(form_of(await request.body()))


Form = Annotated[dict[str, str], Depends(posted)]


def routes(pages: Pages) -> APIRouter:
    """Make the routes."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(pages.reader)])

    @router.get("/builder")
    def builder(request: Request) -> Response:
        snapshot = pages.snapshot()
        asked = Asked(
            request,
            (
                "beta",
                "feature",
                "platform",
                "api",
                "hosting",
                "region",
                "model",
                "endpoint",
                "policy",
            ),
        )
        ask = _ask(asked)
        return pages.show(
            request,
            "builder.html",
            asked=asked,
            ask=ask,
            built=_built(snapshot, ask, pages.context.clock().date()) if ask.requested else None,
            features=_offered(snapshot),
            picked=asked.words("feature"),
            named=", ".join(asked.words("beta")),
            endpoints=sorted({e for beta in snapshot.betas.values() for e in beta.endpoints}),
            models=sorted({m for beta in snapshot.betas.values() for m in beta.models}),
            platforms=PLATFORMS,
            apis=APIS,
            hostings=HOSTINGS,
            policies=POLICIES,
            notices=asked.notices,
        )

    @router.get("/explain")
    def ask_for_error(request: Request) -> Response:
        return _show_explain(pages, request, dict(_FORM), None)

    @router.post("/explain")
    def explain(request: Request, form: Form) -> Response:
        said = _explained(pages.snapshot(), form, pages.context.clock().date())
        shown = _FORM | form | {"text": mask_secrets(form.get("text", "")[:PASTED_MAX])}
        return _show_explain(pages, request, shown, said)

    return router


def _show_explain(pages: Pages, request: Request, form: dict[str, str], said: Json) -> Response:
    return pages.show(
        request, "explain.html", form=form, said=said, platforms=PLATFORMS, apis=APIS, hostings=HOSTINGS,
    )  # fmt: skip


def _ask(asked: Asked) -> Ask:
    """Read what to build. Features come first, so that picking one more only appends."""
    names = [("feature", name) for name in asked.words("feature")]
    names += [("beta", name) for name in read_header(asked.words("beta"))]
    platform = asked.word("platform", PLATFORMS, "anthropic")
    api, hosting = asked.word("api", APIS), asked.word("hosting", HOSTINGS)
    return Ask(
        requested=tuple(names),
        platform=platform,
        api=(api or None) if platform == "bedrock" else None,
        hosting=(hosting or None) if platform == "foundry" else None,
        region=asked.text("region", 100) or None,
        model=asked.text("model") or None,
        endpoint=asked.text("endpoint", 100) or None,
        policy=asked.word("policy", POLICIES, "strict"),
    )


def _built(snapshot: Snapshot, ask: Ask, today: Any) -> dict[str, Any]:
    """Resolve, and keep a refusal as what the page shows instead of a value."""
    answer: Json
    problem: RegistryError | None = None
    try:
        answer = resolve(snapshot, ask, today).to_json()
    except RegistryError as error:
        answer, problem = error.extra.get("would_send"), error
    return {
        "answer": answer,
        "problem": problem.detail if problem else None,
        "invalid": problem.extra.get("invalid", []) if problem else [],
        "choices": problem.extra.get("choices", []) if problem else [],
        "ambiguous": problem.extra.get("feature") if problem else None,
        "companions": _companions(snapshot, answer),
        "snippets": _snippets(answer, ask) if answer and not problem else [],
    }


def _companions(snapshot: Snapshot, answer: Json) -> list[tuple[str, str]]:
    """Return the body fields that go with what is sent: a beta and a field each."""
    sent = [item["name"] for item in answer["betas"]] if answer else []
    known = [snapshot.betas[name] for name in sent if name in snapshot.betas]
    return [(beta.name, field) for beta in known for field in beta.body_fields]


def _snippets(answer: Json, ask: Ask) -> list[tuple[str, str, str]]:
    """Return what can be copied: key, name and text of each form that suits."""
    made: list[tuple[str, str, str]] = []
    for form in FORMATS:
        try:
            text = snippet(answer, form, model=ask.model, endpoint=ask.endpoint)
        except RegistryError:
            continue  # there is no such program for this place
        made.append((form, FORMAT_NAMES.get(form, form), text))
    return made


def _offered(snapshot: Snapshot) -> list[dict[str, Json]]:
    """Return the features that can be picked, those with a current or a living beta first."""
    offered = []
    for item in features(snapshot):
        shown = item["current"] or (item["choices"] or item["betas"])[-1]
        beta = snapshot.betas[shown]
        offered.append(
            item | {"shown": shown, "status": beta.status, "summary": beta.summary,
                    "alive": bool(item["choices"])}
        )  # fmt: skip
    return sorted(offered, key=lambda item: (not item["alive"], item["feature"]))


def _explained(snapshot: Snapshot, form: dict[str, str], today: Any) -> dict[str, Json] | None:
    """Diagnose what was pasted; what the form says besides outweighs what is read out of the text."""
    text = form.get("text", "")[:PASTED_MAX]
    if not text.strip():
        return None
    status = form.get("status", "").strip()
    platform = form.get("platform", "")
    betas = read_header(form.get("betas", ""))[:500]
    return diagnose(
        snapshot,
        status=int(status) if status.isascii() and status.isdigit() and len(status) == 3 else None,
        headers={},
        body=text,
        platform=platform if platform in PLATFORMS else None,
        api=form.get("api") or None,
        hosting=form.get("hosting") or None,
        region=form.get("region", "").strip()[:128] or None,
        betas_sent=betas or None,
        model=form.get("model", "").strip()[:512] or None,
        endpoint=form.get("endpoint", "").strip()[:128] or None,
        today=today,
    )
