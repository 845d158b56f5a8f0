"""Body and betas are a pair: what needs which, what is missing, what goes with a dropped one."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.body import (
    Cut,
    Missing,
    Use,
    essential_of,
    hinted,
    is_field,
    missing,
    used,
    without,
)
from registry.core.facts import Beta


def beta(
    name: str,
    fields: Sequence[str] = (),
    tools: Sequence[str] = (),
    essential: Sequence[str] | None = None,
    instead: str | None = None,
) -> Beta:
    """A beta with its part of the body."""
    return Beta(
        name=name,
        feature=name,
        body_fields=tuple(fields),
        tool_types=tuple(tools),
        essential=None if essential is None else tuple(essential),
        body_instead=instead,
    )


MCP_OLD = beta("mcp-1", ["mcp_servers"])
MCP = beta("mcp-2", ["mcp_servers"], ["mcp_toolset"])
EDITS = beta("edits", ["context_management"])
COMPACT = beta("compact", ["context_management.edits[type=compact_1]"])
EFFORT = beta("effort", ["output_config.effort"], essential=[])
TTL = beta(
    "ttl",
    ["cache_control.ttl", "system[].cache_control.ttl", "messages[].content[].cache_control.ttl",
     "tools[].cache_control.ttl"],
    essential=[],
)  # fmt: skip
UPDATES = beta("updates", ["thinking.display=updates"], essential=[])
COMPUTER = beta("computer", [], ["computer_*"])
COMPUTER_2 = beta("computer-2", [], ["computer_2"])
FORMAT = beta("format", ["output_format"], instead="output_config.format")
BUDGET = beta(
    "budget", ["output_config.task_budget", "speed"], essential=["output_config.task_budget"]
)
ALL = (
    MCP_OLD, MCP, EDITS, COMPACT, EFFORT, TTL, UPDATES, COMPUTER, COMPUTER_2, FORMAT, BUDGET
)  # fmt: skip
KNOWN = {item.name: item for item in ALL}
PLAIN = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]}


def told(body: object, *sent: str, free: Sequence[str] = ()) -> dict[str, str | None]:
    """What is missing, and the beta that is advised: the last that allows it."""
    found = missing(
        body, sent, KNOWN, free=lambda name: name in free, prefer=lambda names: names[-1]
    )
    return {item.field: item.beta for item in found}


USES: dict[str, tuple[Mapping[str, Any], dict[str, tuple[str, ...]]]] = {
    "plain": ({}, {}),
    "member": ({"mcp_servers": []}, {"mcp_servers": ("mcp-1", "mcp-2")}),
    "member of a member": ({"output_config": {"effort": "low"}}, {"output_config.effort": ("effort",)}),
    "another member": ({"output_config": {"format": {}}}, {}),
    "value": ({"thinking": {"display": "updates"}}, {"thinking.display=updates": ("updates",)}),
    "another value": ({"thinking": {"display": "omitted"}}, {}),
    "tool type": ({"tools": [{"type": "mcp_toolset"}]}, {"mcp_toolset": ("mcp-2",)}),
    "family": ({"tools": [{"type": "computer_1"}]}, {"computer_1": ("computer",)}),
    "exact before family": ({"tools": [{"type": "computer_2"}]}, {"computer_2": ("computer-2",)}),
    "no tool type": ({"tools": [{"name": "computer_2", "input_schema": {}}]}, {}),
    "deep in a list": (
        {"messages": [{"content": [{"type": "text", "cache_control": {"ttl": "1h"}}]}]},
        {"messages[].content[].cache_control.ttl": ("ttl",)},
    ),
    "in a schema it is the user's": (
        {"tools": [{"input_schema": {"properties": {"mcp_servers": {}, "speed": {}}}}]}, {},
    ),
    "batch": ({"requests": [{"params": {"speed": "fast"}}]}, {"speed": ("budget",)}),
    "converse": ({"additionalModelRequestFields": {"speed": "fast"}}, {"speed": ("budget",)}),
}  # fmt: skip


@pytest.mark.parametrize(("extra", "uses"), USES.values(), ids=USES.keys())
def test_used(extra: Mapping[str, Any], uses: dict[str, tuple[str, ...]]) -> None:
    """Each field and tool type with all that allow it."""
    assert {use.field: use.betas for use in used({**PLAIN, **extra}, KNOWN)} == uses


def test_missing() -> None:
    """One of those that allow it is enough, sent or no longer needed; else the preferred is named."""
    body = {"mcp_servers": [], "output_format": {}, "output_config": {"effort": "low"}}
    assert told(body) == {
        "mcp_servers": "mcp-2", "output_format": "format", "output_config.effort": "effort"
    }  # fmt: skip
    assert told(body, "mcp-1", free=["effort"]) == {"output_format": "format"}
    assert missing(
        {"output_format": 1}, (), KNOWN, free=lambda _: False, prefer=lambda _: None
    ) == (Missing("output_format", None, ("format",), "output_config.format"),)


def test_what_is_nearest_speaks() -> None:
    """A beta for something inside a field allows that field, and no more."""
    compact = {"context_management": {"edits": [{"type": "compact_1"}]}}
    assert told(compact) == {"context_management.edits[type=compact_1]": "compact"}
    assert told(compact, "compact") == {}
    assert told(compact, "edits") == {"context_management.edits[type=compact_1]": "compact"}
    assert told({"context_management": {"edits": [{"type": "clear"}]}}) == {
        "context_management": "edits"
    }
    assert without(compact, [EDITS], [COMPACT]) == Cut(compact)


def cut(body: object, *dropped: Beta, kept: Sequence[Beta] = (), hard: bool = False) -> Cut:
    """Drop betas, and see that the body given is as it was."""
    before = copy.deepcopy(body)
    result = without(body, dropped, kept, hard)
    assert body == before
    return result


def test_optional_fields_go_with_their_beta() -> None:
    """And what they leave empty; the rest is shared."""
    messages = PLAIN["messages"]
    result = cut({**PLAIN, "output_config": {"effort": "low"}}, EFFORT)
    assert result == Cut(PLAIN, ("output_config.effort",))
    assert result.body["messages"] is messages  # type: ignore[index]
    both = {"output_config": {"effort": "low", "format": 1}}
    assert cut(both, EFFORT).body == {"output_config": {"format": 1}}
    assert cut(both, EFFORT, kept=[EFFORT]) == Cut(both)
    assert cut({"thinking": {"type": "adaptive", "display": "updates"}}, UPDATES).body == {
        "thinking": {"type": "adaptive"}
    }
    cached = [{"content": [{"text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}]
    assert cut({"messages": cached}, TTL).body == {
        "messages": [{"content": [{"text": "a", "cache_control": {"type": "ephemeral"}}]}]
    }


def test_essential_ones_hold_their_beta() -> None:
    """Then nothing of that beta goes, and it is told; what nobody classified is essential."""
    servers = {"mcp_servers": [1], "output_config": {"effort": "low"}}
    result = cut(servers, MCP_OLD, MCP, EFFORT)
    assert result == Cut(
        {"mcp_servers": [1]}, ("output_config.effort",), (Use("mcp_servers", ("mcp-1", "mcp-2")),)
    )
    assert result.held == {"mcp-1", "mcp-2"}
    assert cut(servers, MCP, kept=[MCP_OLD]).body == servers
    partly = {"output_config": {"task_budget": 1}, "speed": "fast"}
    assert cut(partly, BUDGET) == Cut(partly, (), (Use("output_config.task_budget", ("budget",)),))
    assert cut({"speed": "fast"}, BUDGET) == Cut({}, ("speed",))
    assert cut({"output_format": 1}, FORMAT).kept_essential[0].instead == "output_config.format"
    assert essential_of(MCP) == ("mcp_servers", "mcp_toolset")
    assert essential_of(EFFORT) == ()
    tool = beta("tool", ["a"], ["t"], essential=[])
    assert essential_of(tool) == ("t",)  # a tool is never a mere matter of display
    assert cut({"a": 1, "tools": [{"type": "t"}]}, tool).held == {"tool"}
    assert cut({"a": 1}, tool) == Cut({}, ("a",))


def test_drop_essential() -> None:
    """All of it goes, and a choice of a tool that is gone."""
    body = {
        "mcp_servers": [1],
        "tools": [{"type": "mcp_toolset", "name": "a"}, {"name": "b"}],
        "tool_choice": {"type": "tool", "name": "a"},
    }
    assert cut(body, MCP, hard=True) == Cut(
        {"tools": [{"name": "b"}]}, ("mcp_servers", "mcp_toolset", "tool_choice")
    )
    only = {"tools": [{"type": "computer_1"}], "tool_choice": {"type": "auto"}}
    assert cut(only, COMPUTER, hard=True).body == {}
    assert cut({"requests": [{"custom_id": "1", "params": only}]}, COMPUTER, hard=True).body == {
        "requests": [{"custom_id": "1"}]
    }


@pytest.mark.parametrize(
    ("location", "names"),
    [
        ("mcp_servers", ("mcp-1", "mcp-2")),
        ("messages.0.content.3.text.cache_control.ephemeral.ttl", ("ttl",)),
        ("messages[0].content[3].cache_control.ttl", ("ttl",)),
        ("tools.0.custom.cache_control.ttl", ("ttl",)),
        ("output_config.effort", ("effort",)),
        ("output_config.format", ("format",)),  # it took the place of `output_format`
        ("output_config", ("effort", "format", "budget")),
        ("context_management", ("edits",)),
        ("context_management.edits.0.compact_1", ("compact",)),
        ("compact_1", ("compact",)),
        ("computer_9", ("computer",)),
        ("tools.0.computer_2", ("computer", "computer-2")),
        ("tools.0.computer_2.display", ()),
        ("messages.0.content", ()), ("messages", ()), ("tools.0", ()), ("ttl", ()), ("", ()), ("..", ()),
    ],
)  # fmt: skip
def test_hinted(location: str, names: tuple[str, ...]) -> None:
    """What an error names, as the API's validator words it, leads to the betas for it."""
    assert hinted(location, KNOWN) == names


@pytest.mark.parametrize(
    ("text", "right"),
    [
        *[(field, True) for item in ALL for field in item.body_fields],
        ("tools[type=computer_*]", True), ("a[x=1.5].b", True), ("a[][].b", True), ("a-b_c", True),
        ("", False), (".", False), ("a..b", False), (".a", False), ("a.", False), ("a[", False),
        ("a]", False), ("[]", False), ("[a=b]", False), ("=a", False), ("a[]b", False), ("a*", False),
        ("a[b]", False), ("a." * 40 + "a", False), ("a=b=c", True),
    ],
)  # fmt: skip
def test_notation(text: str, right: bool) -> None:
    """What is no path is none; a beta with one loses it, and nothing else."""
    assert is_field(text) is right
    if not right:
        assert used({"a": {"b": [1]}, "": 1}, {"x": beta("x", [text])}) == ()


ODD: list[Any] = [
    None, True, 1, "text", b"bytes", [], {}, [[{}]], {"tools": None}, {"tools": "x"},
    {"tools": [None, 1, [], {"type": None}, {"type": ["computer_1"]}]}, {"tools": {"type": "computer_1"}},
    {"messages": [{"content": None}, None, {"content": [None, {"cache_control": []}]}]},
    {"output_config": []}, {"thinking": {"display": {}}}, {1: 2, None: 3}, {"requests": [1, {"params": 1}]},
]  # fmt: skip


@pytest.mark.parametrize("body", ODD, ids=repr)
def test_a_body_of_any_shape(body: object) -> None:
    """None raises, and nothing is taken out that is not there."""
    assert used(body, KNOWN) == ()
    assert told(body) == {}
    assert cut(body, *ALL, hard=True) == Cut(body)


def test_large_and_deep_bodies() -> None:
    """Ten thousand tools, a long conversation and deep nesting cost what their size costs."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"tools": [deep], "requests": [{"params": deep}]}
    block = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = {
        "tools": [{"type": f"computer_{n}", "name": str(n)} for n in range(10_000)],
        "messages": [{"role": "user", "content": [block] * 10} for _ in range(2_000)],
        "deep": deep,
    }
    began = time.perf_counter()
    assert len(used(body, KNOWN)) == 10_001
    result = without(body, ALL, (), drop_essential=True)
    assert time.perf_counter() - began < 5
    assert len(result.removed) == 10_001
    assert used(result.body, KNOWN) == ()
    while deep:  # so that freeing it does not recurse
        deep = deep["tools"].pop()


# --- Properties -----------------------------------------------------------------------------------

PATHS = (
    "a", "b", "a.c", "a.d", "a.c.e", "l[]", "l[].c", "l[type=t1]", "l[type=t*].c", "a.d=x", "a.d=x*"
)  # fmt: skip
TYPES = ("t1", "t2", "t*", "u")
SCALARS = st.sampled_from(["x", "xy", "t1", None, 1])
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "l"]), inner, max_size=4),
        st.builds(lambda kind, more: {"type": kind, **more},
                  st.sampled_from(["t1", "t2", "tx", "u"]),
                  st.dictionaries(st.sampled_from(["c", "name"]), inner, max_size=2)),
    ),
    max_leaves=12,
)  # fmt: skip
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "a": BODIES, "b": BODIES, "l": st.lists(BODIES, max_size=4),
        "tools": st.lists(BODIES, max_size=4), "other": BODIES,
        "tool_choice": st.sampled_from([{"type": "auto"}, {"type": "tool", "name": "x"}]),
    },
)  # fmt: skip


@st.composite
def _betas(draw: st.DrawFn) -> list[Beta]:
    made = []
    for number in range(draw(st.integers(0, 4))):
        fields = draw(st.lists(st.sampled_from(PATHS), max_size=3, unique=True))
        tools = draw(st.lists(st.sampled_from(TYPES), max_size=2, unique=True))
        every = [*fields, *tools]
        essential = draw(
            st.none() | (st.lists(st.sampled_from(every), unique=True) if every else st.just([]))
        )
        made.append(beta(f"b{number}", fields, tools, essential))
    return made


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All members of a body but lists' positions, which a removal moves."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _leaves(member, (*path, key))
    elif isinstance(value, list):
        for member in value:
            yield from _leaves(member, (*path, "[]"))
    else:
        yield (*path, value)


@given(REQUESTS, _betas(), st.data())
def test_dropping(body: dict[str, Any], betas: list[Beta], data: st.DataObject) -> None:
    """Nothing else goes, nothing of a dropped one is left, and once is enough."""
    dropped = (
        data.draw(st.lists(st.sampled_from(betas), unique_by=lambda b: b.name)) if betas else []
    )
    hard = data.draw(st.booleans())
    gone = {item.name for item in dropped}
    kept = [item for item in betas if item.name not in gone]
    result = cut(body, *dropped, kept=kept, hard=hard)
    known = {item.name: item for item in betas}

    # Once is enough; and without a cause the very same body comes back.
    again = without(result.body, dropped, kept, hard)
    assert (again.body, again.removed) == (result.body, ())
    assert again.body is result.body
    assert again.kept_essential == result.kept_essential
    if not result.removed:
        assert result.body is body

    # Only what a dropped beta allows goes, and nothing of one that is held.
    allowed = used(body, known)
    of_dropped = {use.field for use in allowed if gone & set(use.betas)}
    assert set(result.removed) <= of_dropped | {"tool_choice"}
    assert not (hard and result.held)
    assert result.held <= gone
    before = list(_leaves(body))
    for leaf in _leaves(result.body):
        before.remove(leaf)  # raises where the cut invented something
    if not of_dropped:
        assert result.body is body

    # What is kept misses nothing that it did not miss before; nothing is left of what was dropped.
    sent = {item.name for item in kept} | result.held
    left = missing(result.body, sent, known, free=lambda _: False, prefer=lambda names: names[0])
    assert left == ()
    assert {use.field for use in allowed if sent & set(use.betas)} == {
        use.field for use in used(result.body, known) if sent & set(use.betas)
    }


@given(BODIES, _betas())
def test_no_body_makes_it_raise(body: object, betas: list[Beta]) -> None:
    """Of any shape."""
    known = {item.name: item for item in betas}
    assert len(used(body, known)) >= len(
        missing(body, (), known, free=lambda _: False, prefer=lambda names: None)
    )
    without(body, betas, (), drop_essential=True)
