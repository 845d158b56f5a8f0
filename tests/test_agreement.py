"""Two surfaces that disagree on one beta, place and moment are a defect (CONTRACT, section 2, rule 0).

First every beta of the bundled catalog at every known place, over the real service; then any facts that Hypothesis
thinks of, through what server and client share. That all could be wrong together is for the oracle to find.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.changes import derive_feature
from registry.core.errors import Invalid
from registry.core.exports import allowlist, litellm
from registry.core.facts import Beta, Claim, Snapshot, to_json
from registry.core.lifecycle import Standing
from registry.core.names import parse
from registry.core.places import KNOWN_PLACES, Place
from registry.core.resolution import Ask, Resolver, check
from registry.core.wire import beta_from_json, beta_to_json
from tests.factories import NOW, TODAY
from tests.surfaces import FAILS, PROVIDERS, Said, Surfaces, running

PLACES: Final = list(KNOWN_PLACES.values())
POLICIES: Final = ("filter", "strict", "advise")
BY_PLATFORM: Final = {
    place.slug: place for place in PLACES if place.platform_wide or place.api == "invoke"
}
"""Places that a surface means which takes only a platform."""

at_places = pytest.mark.parametrize("place", PLACES, ids=[place.slug for place in PLACES])


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surfaces]:
    """One registry with the bundled catalog, and a service at each place that uses every beta."""
    with running(tmp_path_factory.mktemp("agreement")) as found:
        found.use_everything(PLACES)
        yield found


@pytest.fixture(scope="module")
def judged(surfaces: Surfaces) -> Mapping[str, Mapping[str, Said]]:
    """What `check` says of every beta at every place."""
    return {place.slug: surfaces.check(place) for place in PLACES}


def differences(surface: str, told: Mapping[str, Said], want: Mapping[str, Said]) -> list[str]:
    """Say where a surface differs from `check`, of the betas that it speaks of."""
    found = []
    for name, said in told.items():
        right = want[name]
        if said.fails is not None and said.fails != right.fails:
            found.append(f"{surface}: {name} fails is {said.fails}; check says {right.verdict}")
        elif said.verdict not in (None, "ga", right.verdict):
            found.append(f"{surface}: {name} is {said.verdict}; check says {right.verdict}")
        elif right.fails and said.instead != right.instead and said.verdict is not None:
            found.append(f"{surface}: {name} replaced by {said.instead}; check: {right.instead}")
    return found


@at_places
@pytest.mark.parametrize("policy", POLICIES)
def test_header(
    surfaces: Surfaces, judged: Mapping[str, Mapping[str, Said]], place: Place, policy: str
) -> None:
    """Whatever the policy does with it, the reason is the verdict."""
    want, told = judged[place.slug], surfaces.header(place, policy)
    assert set(told) == set(want)
    if policy == "advise":
        want = {name: Said(said.fails, said.verdict) for name, said in want.items()}
    assert not differences(policy, told, want)


@at_places
def test_diagnose(
    surfaces: Surfaces, judged: Mapping[str, Mapping[str, Said]], place: Place
) -> None:
    """What fails by the facts gets the same advice when upstream says so."""
    told = surfaces.diagnose(place)
    wrong = [
        f"{name}: {told[name].instead}; check: {said.instead}"
        for name, said in judged[place.slug].items()
        if said.fails and told[name].instead != said.instead
    ]
    assert not wrong


@pytest.mark.parametrize("slug", BY_PLATFORM)
def test_scan(surfaces: Surfaces, judged: Mapping[str, Mapping[str, Said]], slug: str) -> None:
    """The same words for a line of code."""
    told = surfaces.scan(BY_PLATFORM[slug].platform or "")
    want = judged[slug]
    assert set(told) == set(want)
    assert not differences("scan", told, want)
    assert not [
        name
        for name in want
        if not told[name].words.startswith(want[name].words)
        or told[name].instead != want[name].instead
    ]


@at_places
def test_client(surfaces: Surfaces, judged: Mapping[str, Mapping[str, Said]], place: Place) -> None:
    """A copy of the facts says what the registry says."""
    told = surfaces.client(place)
    assert set(told) == set(judged[place.slug])
    assert not differences("client", told, judged[place.slug])


@at_places
def test_services(
    surfaces: Surfaces, judged: Mapping[str, Mapping[str, Said]], place: Place
) -> None:
    """A service fails by what its own place refuses."""
    told, want = surfaces.services(place), judged[place.slug]
    assert set(told) == set(want)
    assert not differences("services", told, want)
    assert not [
        name for name in want if want[name].fails and told[name].instead != want[name].instead
    ]


@at_places
def test_report(surfaces: Surfaces, judged: Mapping[str, Mapping[str, Said]], place: Place) -> None:
    """It names all that fails at the place, and says why in the same words."""
    told, want = surfaces.report(place), judged[place.slug]
    assert {name for name, said in told.items() if said.fails} == {
        name for name, said in want.items() if said.fails
    }
    assert not differences("report", told, want)
    assert not [name for name, said in told.items() if said.words != want[name].words]


def test_inventory_and_page(surfaces: Surfaces, judged: Mapping[str, Mapping[str, Said]]) -> None:
    """A row shows the status that holds where it is used; its page, what to use instead on the Claude API."""
    holds = [surfaces.diagnose(place) for place in KNOWN_PLACES.values()]
    for name, status in surfaces.inventory().items():
        assert status in {here[name].words for here in holds}, name
    wrong = []
    for name, said in judged["anthropic"].items():
        page = html.unescape(surfaces.page(name))
        if said.fails and said.instead and said.instead not in page:
            wrong.append(f"{name}: the page does not name {said.instead}")
    assert not wrong


@at_places
def test_exports(
    surfaces: Surfaces, judged: Mapping[str, Mapping[str, Said]], place: Place
) -> None:
    """Gateways are told to refuse what fails, and nothing else."""
    want = judged[place.slug]
    lists = surfaces.allowlist(place)
    failing = {name for name, said in want.items() if said.fails}
    assert {name for name in lists["deny"] if name in want} == failing
    assert {n for n, said in want.items() if said.verdict == "unproven"} <= set(lists["unproven"])
    every = [*lists["allow"], *lists["deny"], *lists["unproven"]]
    assert len(every) == len(set(every))
    assert set(want) <= set(every)
    column = surfaces.litellm(place)
    if column is not None:
        assert not {name for name in failing if column.get(name) is not None}
        assert not {
            name for name, said in want.items() if said.verdict == "ok" and column[name] is None
        }


def test_features(surfaces: Surfaces, judged: Mapping[str, Mapping[str, Said]]) -> None:
    """What fails on the Claude API is current nowhere, Renovate's `latest` included."""
    want = judged["anthropic"]
    for name in sorted({beta["feature"] for beta in surfaces.betas.values()}):
        found = surfaces.feature(name)
        dead = [beta for beta in found["betas"] if want[beta].fails]
        assert found["current"] not in dead
        assert not set(found["choices"]) & set(dead)
        tags = surfaces.renovate(name).get("tags") or {}
        latest = f"{name}-{tags['latest']}" if tags else None
        assert latest not in dead


# --- Any facts ------------------------------------------------------------------------------------

NAMES: Final = ("dig-2026-01-01", "dig-2026-06-01", "sort-2026-02-02")
MODEL: Final = "claude-haiku-4-5"
EXACT: Final = st.sampled_from(
    [
        *PLACES, Place(platform="bedrock"), Place(platform="foundry"), Place(model=MODEL),
        Place(platform="vertex", region="us-east5"), Place(platform="vertex", model=MODEL),
        Place(platform="bedrock", api="invoke", model=MODEL),
        Place(platform="anthropic", endpoint="files"),
    ]
)  # fmt: skip
ASKED: Final = [
    *PLACES, Place(platform="vertex", region="us-east5"), Place(platform="vertex", model=MODEL),
    Place(platform="bedrock", api="invoke", model=f"us.anthropic.{MODEL}-20251001-v1:0"),
    Place(platform="anthropic", endpoint="files", model=MODEL),
]  # fmt: skip
DAYS: Final = st.integers(-400, 60).map(lambda days: NOW + timedelta(days=days))
STATEMENTS: Final = st.one_of(
    st.tuples(st.just("state"), st.sampled_from(["supported", "refused", "restricted"]), EXACT),
    st.tuples(
        st.just("status"), st.sampled_from(["active", "deprecated", "ga", "retired"]),
        st.one_of(st.just(Place()), EXACT),
    ),
    st.tuples(st.just("gate"), st.sampled_from(["public", "org", "internal"]), st.just(Place())),
    st.tuples(st.just("accepted"), st.booleans(), st.just(Place())),
    st.tuples(
        st.just("header_effect"), st.sampled_from(["ignored", "changes_response", "required"]),
        st.just(Place()),
    ),
    st.tuples(
        st.just("sunset_on"), DAYS.map(lambda at: at.date().isoformat()),
        st.one_of(st.just(Place()), EXACT),
    ),
    st.tuples(st.just("superseded_by"), st.sampled_from(NAMES), st.just(Place())),
    st.tuples(st.just("current"), st.booleans(), st.just(Place())),
)  # fmt: skip


@st.composite
def claims(draw: Any) -> list[Claim]:
    """Claims on three betas, of any basis."""
    made = [
        Claim(beta=name, field="status", value="active", source="docs", basis="declared",
              at=NOW - timedelta(days=500))
        for name in NAMES
    ]  # fmt: skip
    for _ in range(draw(st.integers(0, 10))):
        name = draw(st.sampled_from(NAMES))
        field, value, place = draw(STATEMENTS)
        if value == name:
            continue
        basis = draw(st.sampled_from(["operator", "declared", "declared", "reported", "litellm"]))
        made.append(
            Claim(beta=name, field=field, value=value, source=basis, basis=basis, at=draw(DAYS),
                  place=place)
        )  # fmt: skip
    return made


@st.composite
def standings(draw: Any) -> dict[str, list[Standing]]:
    """What up to four targets found."""
    found: dict[str, list[Standing]] = {}
    for number in range(draw(st.integers(0, 4))):
        place = draw(st.sampled_from(PLACES))
        state = draw(st.sampled_from(["supported", "refused", "restricted"]))
        at = min(draw(DAYS), NOW)
        standing = Standing(
            target=f"t{number}", platform=place.platform or "anthropic", api=place.api,
            hosting=place.hosting, model=MODEL, endpoint="messages", state=state, since=at, checked_at=at,
            accepted_at=at if draw(st.booleans()) else None,
        )  # fmt: skip
        found.setdefault(draw(st.sampled_from(NAMES)), []).append(standing)
    return found


def snapshot(made: list[Claim], found: Mapping[str, list[Standing]]) -> Snapshot:
    """Derive what is known, as the registry does."""
    betas: dict[str, Beta] = {}
    for feature in {parse(name).feature for name in NAMES}:
        own = {n: [c for c in made if c.beta == n] for n in NAMES if parse(n).feature == feature}
        betas |= {n: item.beta for n, item in derive_feature(own, NOW, {}, found).items()}
    return Snapshot(revision=1, as_of=NOW, betas=betas)


def answer(resolver: Resolver, name: str, place: Place, policy: str) -> tuple[bool, str | None]:
    """Return whether a name is sent, and else the reason."""
    ask = Ask(requested=(("beta", name),), policy=policy, **asdict(place))
    try:
        found = resolver.resolve(ask, TODAY)
    except Invalid as error:
        return False, str(error.extra["invalid"][0]["reason"])
    return bool(found.sent), found.dropped[0].reason if found.dropped else None


@settings(max_examples=120)
@given(claims(), standings())
def test_whatever_is_known(made: list[Claim], found: dict[str, list[Standing]]) -> None:
    """Header under each policy, check, the client's copy, allow lists and LiteLLM's columns agree."""
    known = snapshot(made, found)
    copy = Snapshot(
        revision=1, as_of=NOW,
        betas={name: beta_from_json(beta_to_json(beta)) for name, beta in known.betas.items()},
    )  # fmt: skip
    resolver = Resolver(known)
    columns = litellm(known).columns
    for place in ASKED:
        told = check(known, betas=NAMES, today=TODAY, **asdict(place))["betas"]
        assert check(copy, betas=NAMES, today=TODAY, **asdict(place))["betas"] == told
        lists = allowlist(known, place) if place in PLACES else None
        for item in told:
            name, verdict = item["name"], item["verdict"]
            fails = verdict in FAILS
            sent, reason = answer(resolver, name, place, "filter")
            assert not (fails and sent), (verdict, to_json(place))
            assert fails or sent or reason == "ga", (verdict, to_json(place))
            assert (reason == verdict) or not fails
            sent, reason = answer(resolver, name, place, "strict")
            assert sent is not (fails or verdict == "unknown")
            assert reason in (None, verdict)
            assert answer(resolver, name, place, "advise")[0]
            assert item["use_instead"] != name
            if item["use_instead"] is not None:
                [other] = check(known, betas=[item["use_instead"]], today=TODAY, **asdict(place))[
                    "betas"
                ]
                assert other["verdict"] not in FAILS
            if lists is not None:
                assert (name in lists["deny"]) is fails
            if place.slug in PROVIDERS and place in PLACES:
                assert not fails or columns[PROVIDERS[place.slug]][name] is None
