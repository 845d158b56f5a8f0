"""Each line of the table, asked of the core: the verdict, what is sent under each policy, and the words."""

from __future__ import annotations

from typing import Any, Final

import pytest

from registry.core.errors import Invalid
from registry.core.facts import Json
from registry.core.judgement import FAILS
from registry.core.resolution import Ask, Resolver, check
from tests.factories import TODAY
from tests.oracle.reading import (
    Question,
    Row,
    names_in,
    place_parts,
    read,
    snapshot_of_row,
    with_full_names,
)

ROWS: Final = read()
LINES: Final = [
    pytest.param(row, question, id=f"{question.line}: {question.text.split(' : ')[0]}")
    for row in ROWS
    for question in row.questions
]


def test_the_table_is_whole() -> None:
    """Every verdict of the contract stands in it, and every row asks something."""
    told = {
        verdict
        for row in ROWS
        for item in row.questions
        for one in item.verdicts
        for verdict in one
    }
    assert told > FAILS
    assert told - FAILS == {
        "restricted", "deprecated", "no_effect", "changes_response", "not_needed", "unknown",
        "unproven", "ok", "ambiguous",
    }  # fmt: skip
    assert all(row.questions for row in ROWS)
    assert len(LINES) >= 200


@pytest.mark.parametrize(("row", "question"), LINES)
def test_what_the_registry_says(row: Row, question: Question) -> None:
    """The title says what it is about."""
    failures = list(_told(row, question))
    assert not failures, f"{row.title}\n  {question.text}\n  " + "\n  ".join(failures)


def _told(row: Row, question: Question) -> Any:
    """Yield a sentence for each answer that is not as the table says."""
    resolver = Resolver(snapshot_of_row(row), stale=question.stale)
    answers = {
        policy: _ask(resolver, question, policy) for policy in ("filter", "strict", "advise")
    }
    yield from _sent(question, answers)
    if question.asked[0][0] == "beta":
        yield from _judged(question, _check(resolver, question))
    said = _words(answers["filter"])
    if question.asked[0][0] == "beta":
        said += _words(_check(resolver, question))
    if wanted := question.expected.get("says"):
        text = with_full_names(wanted)
        if text.lower() not in said.lower():
            yield f"nowhere says {text!r}: {said}"


def _ask(resolver: Resolver, question: Question, policy: str) -> Json:
    """Return the answer to a header's question; of an error, what it holds."""
    ask = Ask(
        requested=question.asked, policy=policy, **question.options, **place_parts(question.place)
    )
    try:
        return resolver.resolve(ask, TODAY).to_json()
    except Invalid as error:
        return {"error": error.slug, "detail": error.detail, **error.extra}


def _check(resolver: Resolver, question: Question) -> Json:
    return check(
        resolver.snapshot, betas=[name for _, name in question.asked], today=TODAY,
        stale=question.stale, **place_parts(question.place),
    )  # fmt: skip


def _sent(question: Question, answers: dict[str, Json]) -> Any:
    expected = question.expected
    if "choices" in expected:
        yield from _ambiguous(names_in(expected["choices"]), answers)
        return
    fates = {
        policy: expected.get(policy, _usual(question, policy)) for policy in ("filter", "strict")
    }
    if question.policy:
        fates = {question.policy: "sends"}
    if "sends" in expected:
        policy = question.policy or "filter"
        value, names = answers[policy].get("value"), ",".join(names_in(expected["sends"]))
        fates.pop(policy)
        if value != names:
            yield f"{policy} sends {value!r}, not {names!r}"
        if question.asked[0][0] == "feature" and "strict" not in expected:
            fates = {}
    for policy, fate in fates.items():
        answer = answers[policy]
        found = "fails" if "error" in answer else "sends" if answer["value"] else "drops"
        if fate not in ("either", found):
            yield f"{policy} {found}, and should be: {fate} ({answer.get('value', answer.get('detail'))})"


def _ambiguous(choices: list[str], answers: dict[str, Json]) -> Any:
    for policy, answer in answers.items():
        if answer.get("error") != "ambiguous-feature":
            yield f"{policy} answers {answer}, not that it is ambiguous"
        elif answer["choices"] != choices:
            yield f"choices are {answer['choices']}"


def _usual(question: Question, policy: str) -> str:
    """Return what a policy does where the table says nothing else."""
    worst = [one for one in question.verdicts if one & FAILS]
    every = len(worst) == len(question.verdicts)
    if policy == "strict":
        return "fails" if worst or any("unknown" in one for one in question.verdicts) else "sends"
    return "drops" if worst and every else "sends"


def _judged(question: Question, answer: Json) -> Any:
    found = answer["betas"]
    told = [item["verdict"] for item in found]
    if len(told) != len(question.verdicts) or any(
        have not in want for have, want in zip(told, question.verdicts, strict=True)
    ):
        yield f"the verdict is {' + '.join(told)} ({found[-1]['detail']})"
    if answer["valid"] is bool(FAILS & set(told)):
        yield f"valid is {answer['valid']} of {told}"
    expected, last = question.expected, found[-1]
    want = names_in(expected.get("use", "nothing"))
    if len(found) == 1 and (last["use_instead"] or "") != "".join(want):
        yield f"use_instead is {last['use_instead']}, not {', '.join(want) or 'none'}"
    others = [item["name"] for item in last["alternatives"]]
    if "or" in expected and sorted(others) != sorted(names_in(expected["or"])):
        yield f"alternatives are {others}"
    codes = {warning["code"] for item in found for warning in item["warnings"]}
    codes |= set(told) if len(found) > 1 else set()
    if missing := set(expected.get("warns", "").split()) - codes:
        yield f"does not warn of {', '.join(missing)}, only of {', '.join(sorted(codes)) or 'nothing'}"
    if loud := set(expected.get("quiet", "").split()) & (codes | set(told)):
        yield f"warns of {', '.join(loud)}"


def _words(answer: Json) -> str:
    """Return all sentences in an answer."""
    if isinstance(answer, dict):
        own = [answer[key] for key in ("detail",) if isinstance(answer.get(key), str)]
        return " ".join([*own, *(_words(member) for member in answer.values())])
    if isinstance(answer, list):
        return " ".join(_words(member) for member in answer)
    return ""
