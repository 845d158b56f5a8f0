"""The snapshot as JSON and back, for clients that resolve on their own machine.

Hides how JSON becomes the frozen values of `facts.py`: readers are made once from the types of their
members, so that a member added there is read and written here without a further line. What is
read comes from the network or from a cache file and is not trusted: members that are not known
are ignored (a newer server may send more), a wrong type is refused. A word that is not known here costs
what it says and no more: the fact of a place whole, since a part of it that is left out would make it wider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from registry.core.errors import Invalid
from registry.core.facts import Beta, Event, Json, PlaceFact, Snapshot, parse_time, to_json
from registry.core.places import Place, place_of
from registry.core.placing import for_version_1, from_version_1, shown

__all__ = [
    "beta_from_json",
    "beta_to_json",
    "event_from_json",
    "snapshot_from_json",
    "snapshot_to_json",
]

_Reader = Callable[[Any, str], Any]
"""Turns (a JSON value, where it stands) into a value of `facts.py`, or raises `_Rubbish`."""


class _Rubbish(Exception):
    """A value that does not fit; the message says where it stands and what is wrong."""


class _Unknown(_Rubbish):
    """A word that a newer server may know."""


def beta_to_json(beta: Beta) -> dict[str, Json]:
    """Print one beta with the members of the contract ("A beta") and `current`, `changed_at`."""
    printed: dict[str, Json] = to_json(beta)
    return printed


def beta_from_json(data: Json) -> Beta:
    """Read what `beta_to_json` printed. Raises `Invalid` with slug `invalid-snapshot`."""
    beta: Beta = _read(Beta, data, "beta")
    return _whole(beta, data)


def _whole(beta: Beta, data: Mapping[str, Json]) -> Beta:
    """Show the places by platform, whatever else was sent; a server of version 1 sends no places."""
    if "places" not in data:
        return from_version_1(beta)
    return shown(beta) if beta.places else beta


def event_from_json(data: Json) -> Event:
    """Read an event as the API prints it; members that are not known here are left out. Raises `Invalid`."""
    event: Event = _read(Event, data, "event")
    return event


def snapshot_to_json(snapshot: Snapshot, version: int = 2) -> dict[str, Json]:
    """Print a snapshot; `betas` is a list in the snapshot's order.

    Version 1 has no `places`, and no word that its readers would refuse or misjudge.
    """
    betas = list(snapshot.betas.values())
    if version == 1:
        betas = [for_version_1(beta) for beta in betas]
    printed = [beta_to_json(beta) for beta in betas]
    if version == 1:
        for item in printed:
            del item["places"]
    return {
        "revision": snapshot.revision,
        "as_of": to_json(snapshot.as_of),
        "probed_at": to_json(snapshot.probed_at),
        "betas": printed,
        "targets": to_json(snapshot.targets),
    }


def snapshot_from_json(data: Json) -> Snapshot:
    """Read what `snapshot_to_json` printed: the exact inverse of it.

    Raises `Invalid` with slug `invalid-snapshot` and one sentence that says what is wrong and where.
    """
    if not isinstance(data, Mapping):
        raise _invalid(f"the snapshot is {_kind(data)}, not an object")
    listed = data.get("betas")
    if not isinstance(listed, list):
        raise _invalid(f"betas is {_kind(listed)}, not a list")
    betas = [_whole(_read(Beta, member, f"betas[{n}]"), member) for n, member in enumerate(listed)]
    by_name = {beta.name: beta for beta in betas}
    if len(by_name) < len(betas):
        raise _invalid("betas holds a name twice")
    # The list becomes a mapping here, so that the reader made from the types need not know of it.
    snapshot: Snapshot = _read(Snapshot, {**data, "betas": {}}, "snapshot")
    return Snapshot(
        revision=snapshot.revision,
        as_of=snapshot.as_of,
        probed_at=snapshot.probed_at,
        betas=by_name,
        targets=snapshot.targets,
    )


def _read(kind: type, data: Json, where: str) -> Any:
    try:
        return _reader(kind)(data, where)
    except _Rubbish as error:
        raise _invalid(str(error)) from None


def _invalid(why: str) -> Invalid:
    return Invalid(
        f"The snapshot cannot be used: {why}; fetch it again from a registry of this version.",
        slug="invalid-snapshot",
    )


def _kind(data: Json) -> str:
    names = {NoneType: "null", bool: "a boolean", str: "text", list: "a list", dict: "an object"}
    return names.get(type(data), "a number")


# --- readers, made from types ----------------------------------------------------------------


@cache
def _reader(kind: Any) -> _Reader:
    """Make the reader of one type. Covers the types that `facts.py` uses, and raises on others."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda data, where: data
    if origin is Literal:
        return _word(inner)
    if origin in (Union, UnionType):
        return _optional(_reader(next(member for member in inner if member is not NoneType)))
    if origin is tuple:
        return _list(_reader(inner[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_reader(inner[0]), _reader(inner[1]))
    if kind is PlaceFact:
        return _place_fact()
    if is_dataclass(kind):
        return _members(kind)
    return _PLAIN[kind]


def _exactly(kind: type, name: str) -> _Reader:
    def read(data: Any, where: str) -> Any:
        # `type() is` and not isinstance: in Python true is an int, in JSON it is none.
        if type(data) is not kind:
            raise _Rubbish(f"{where} is {_kind(data)}, not {name}")
        return data

    return read


def _parsed(parse: Callable[[str], Any], name: str) -> _Reader:
    def read(data: Any, where: str) -> Any:
        if not isinstance(data, str):
            raise _Rubbish(f"{where} is {_kind(data)}, not {name}")
        try:
            return parse(data)
        except (ValueError, OverflowError):
            raise _Rubbish(f"{where} is {data[:40]!a}, which is not {name}") from None

    return read


_PLAIN: dict[Any, _Reader] = {
    str: _exactly(str, "text"),
    int: _exactly(int, "a whole number"),
    bool: _exactly(bool, "a boolean"),
    datetime: _parsed(parse_time, "a time"),
    date: _parsed(date.fromisoformat, "a date"),
}


def _word(words: tuple[Any, ...]) -> _Reader:
    def read(data: Any, where: str) -> Any:
        if not isinstance(data, str) or data not in words:
            what = ascii(data[:40]) if isinstance(data, str) else _kind(data)
            unknown = _Unknown if isinstance(data, str) else _Rubbish
            raise unknown(f"{where} is {what}, not one of {', '.join(words)}")
        return data

    return read


def _optional(read: _Reader) -> _Reader:
    return lambda data, where: None if data is None else read(data, where)


def _list(read: _Reader) -> _Reader:
    def read_all(data: Any, where: str) -> Any:
        if not isinstance(data, list):
            raise _Rubbish(f"{where} is {_kind(data)}, not a list")
        return tuple(_known(read, data, where))

    return read_all


def _known(read: _Reader, data: list[Any], where: str) -> Iterator[Any]:
    for place, member in enumerate(data):
        try:
            yield read(member, f"{where}[{place}]")
        except _Unknown:
            continue


def _mapping(read_key: _Reader, read_value: _Reader) -> _Reader:
    def read_all(data: Any, where: str) -> Any:
        if not isinstance(data, Mapping):
            raise _Rubbish(f"{where} is {_kind(data)}, not an object")
        found = {}
        for key, value in data.items():
            try:
                found[read_key(key, f"a key of {where}")] = read_value(value, f"{where}.{key}")
            except _Unknown:
                continue
        return found

    return read_all


def _place_fact() -> _Reader:
    """Read a fact whose place stands beside it, flat; one unknown word, and it is lost."""
    types = get_type_hints(PlaceFact)
    readers = {m.name: _reader(types[m.name]) for m in fields(PlaceFact) if m.name != "place"}
    text = _reader(str | None)
    parts = [part.name for part in fields(Place)]

    def read(data: Any, where: str) -> PlaceFact:
        if not isinstance(data, Mapping):
            raise _Rubbish(f"{where} is {_kind(data)}, not an object")
        try:
            place = place_of(**{part: text(data.get(part), f"{where}.{part}") for part in parts})
        except Invalid as error:
            raise _Unknown(f"{where}: {error.detail}") from None
        known = {
            name: read_member(data[name], f"{where}.{name}")
            for name, read_member in readers.items()
            if name in data
        }
        return PlaceFact(place=place, **known)

    return read


def _members(kind: Any) -> _Reader:
    types = get_type_hints(kind)
    readers = {member.name: _reader(types[member.name]) for member in fields(kind)}
    required = [
        member.name
        for member in fields(kind)
        if member.default is MISSING and member.default_factory is MISSING
    ]

    def read(data: Any, where: str) -> Any:
        if not isinstance(data, Mapping):
            raise _Rubbish(f"{where} is {_kind(data)}, not an object")
        for name in required:
            if name not in data:
                raise _Rubbish(f"{where} has no {name}")
        known = {}
        for name, read_member in readers.items():
            if name not in data:
                continue
            try:
                known[name] = read_member(data[name], f"{where}.{name}")
            except _Unknown:
                if name in required:
                    raise
        return kind(**known)

    return read
