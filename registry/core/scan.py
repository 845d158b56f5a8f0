"""Beta names in text, with their positions, told from what only looks like them.

Two kinds of names are found. One that is **known** and ends in a date counts wherever it stands as a
whole token. Any other counts only where the text says that it is meant as a beta: as the value of `anthropic-beta`,
`anthropic_beta`, `ANTHROPIC_BETAS`, `betas` and their like, on the same line or in the list or
assignment that begins there. Model ids, tool types, version fields, addresses, file names and
placeholders of documents are no betas in either case.

Text is bytes (UTF-8 or anything that holds ASCII), because most of it holds no beta and is never decoded.
A text of any size goes through `Scanner.stream` piece by piece; how it is cut changes nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from registry.core.names import NAME_MAX

__all__ = ["Found", "Scanner", "Stream", "may_hold"]

_REACH: Final = 4096
"""How far, in bytes, the word that says "these are betas" may stand before a name."""

_BEHIND: Final = 2 * _REACH
_AHEAD: Final = _REACH
_EXCERPT: Final = 100

_TOKEN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_SEPARATORS: Final = b"-_."
_CONTINUATION: Final = bytes(range(0x80, 0xC0))
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Found:
    """One place at which a beta is named.

    `line` and `column` count from 1, `column` in characters; `offset` counts bytes from 0. `excerpt` is
    what stands around it on its line, with single spaces. `ignored` says that a comment asks to
    pass it over.
    """

    name: str
    line: int
    column: int
    offset: int
    known: bool
    ignored: bool
    excerpt: str


def may_hold(text: bytes) -> bool:
    """Say quickly whether a text is worth a closer look, whatever is known; most are not."""
    return _DATE.search(text) is not None or _speaks_of_anthropic(text)


def _speaks_of_anthropic(text: bytes) -> bool:
    return b"nthropic" in text or b"NTHROPIC" in text


class Scanner:
    """Finds betas; made once for the names that are known."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(name.encode() for name in known)
        longer = sorted(name for name in self._known if _GOES_ON_AFTER_DATE.search(name))
        self._longer = [re.compile(_NOT_WITHIN + re.escape(name) + _ENDS) for name in longer]

    def find(self, text: str | bytes) -> list[Found]:
        """Find all betas of a text, in order."""
        return self.stream().feed(text.encode() if isinstance(text, str) else text, last=True)

    def stream(self) -> Stream:
        """Begin a text that comes in pieces."""
        return Stream(self)

    def hits(self, text: bytes, start: int, stop: int) -> list[tuple[int, bytes]]:
        """Find the names that begin in a part of a text, as (offset, name) in order."""
        place = _Place(text)
        found = dict(self._dated(place, start, stop)) | dict(self._beyond(place, start, stop))
        if _speaks_of_anthropic(text):
            found |= {
                at: name
                for at, name in place.undated_values(max(0, start - _REACH), stop)
                if start <= at < stop and at not in found and not _is_look_alike(name)
            }
        return sorted(item for item in found.items() if not _is_in_comment(text, item[0]))

    def knows(self, name: bytes) -> bool:
        """Say whether a name is known."""
        return name in self._known

    def _dated(self, place: _Place, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        for match in _DATE.finditer(place.text, start):
            if match.start() >= stop + NAME_MAX:
                return
            before = match.start() - 1
            if before < 0 or place.text[before] not in _SEPARATORS:
                continue  # a plain date
            at, name = self._token(place.text, match.start(), match.end())
            if name and start <= at < stop and self._counts(place, at, name):
                yield at, name

    def _beyond(self, place: _Place, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Find the known names that go on after their date."""
        for pattern in self._longer:
            for match in pattern.finditer(place.text, start):
                if match.start() >= stop:
                    break
                if not place.is_address(match.start(), match.end()):
                    yield match.start(), match[0]

    def _token(self, text: bytes, date: int, end: int) -> tuple[int, bytes]:
        """Return the token that ends in a date, and where it begins; empty if it is none."""
        low = max(0, date - NAME_MAX)
        before = text[low:date]
        body = before[len(before.rstrip(_TOKEN)) :]
        if len(body) == NAME_MAX:
            return date, b""
        at = date - len(body.lstrip(b"-._"))
        # What stands before may belong to an escape: `\n` in a string, `%2C` in an address.
        escape = {b"\\": 1, b"%": 2}.get(text[at - 1 : at] if at else b"", 0)
        if escape and text[at + escape : end] in self._known:
            at += escape
        return at, text[at:end] if at < date else b""

    def _counts(self, place: _Place, at: int, name: bytes) -> bool:
        known = name in self._known
        if not known and (not _SHAPE.fullmatch(name) or _is_look_alike(name)):
            return False
        end = at + len(name)
        if place.is_address(at, end):
            return False
        if _TOOL_TYPE.fullmatch(name):
            return place.is_value(at, strictly=True)
        return known or place.is_value(at) or place.is_called_beta(end)


class Stream:
    """Finds betas in a text that comes in pieces; holds a few kilobytes of it at a time."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._text = b""
        self._base = 0  # offset of `_text` in the whole
        self._done = 0  # names that begin before this offset were found
        self._at, self._line, self._column = 0, 1, 1

    def feed(self, piece: bytes, *, last: bool = False) -> list[Found]:
        """Take the next piece; return the betas that became certain."""
        text = self._text + piece if self._text else piece
        stop = len(text) if last else len(text) - _AHEAD
        start = self._done - self._base
        found: list[Found] = []
        if stop > start:
            found = [
                self._found(text, at, name) for at, name in self._scanner.hits(text, start, stop)
            ]
            self._done = self._base + stop
            if not last:
                self._move(text, stop)
        keep = max(0, stop - _BEHIND)
        self._text, self._base = text[keep:], self._base + keep
        return found

    def _found(self, text: bytes, at: int, name: bytes) -> Found:
        self._move(text, at)
        return Found(
            name=name.decode(),
            line=self._line,
            column=self._column,
            offset=self._base + at,
            known=self._scanner.knows(name),
            ignored=_is_ignored(text, at, name),
            excerpt=_excerpt(text, at, at + len(name)),
        )

    def _move(self, text: bytes, to: int) -> None:
        """Count lines and columns from where we are to a place in the text that is held."""
        passed = text[self._at - self._base : to]
        if self._at == 0 and passed.startswith(_BOM):
            passed = passed[len(_BOM) :]
        lines = passed.count(b"\n")
        if lines:
            self._line, self._column = self._line + lines, 1
            passed = passed[passed.rfind(b"\n") + 1 :]
        self._column += len(passed if passed.isascii() else passed.translate(None, _CONTINUATION))
        self._at = self._base + to


# --- What a name looks like -----------------------------------------------------------------------

# The literal beginning lets the regular expression engine skip through text at memory speed; what
# stands before the date is looked at only where there is one.
_ENDS = rb"(?![A-Za-z0-9_-])(?!\.[A-Za-z0-9])"
_DATE = re.compile(rb"20[0-9]{2}([-_.]?)[0-9]{2}\1[0-9]{2}" + _ENDS)
_GOES_ON_AFTER_DATE = re.compile(rb"-20[0-9]{2}(-?)[0-9]{2}\1[0-9]{2}[-_.][a-z]")
_NOT_WITHIN = rb"(?<![A-Za-z0-9_-])"
_SHAPE = re.compile(rb"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*[-_.]" + _DATE.pattern)
_UNDATED = re.compile(rb"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")
_TOOL_TYPE = re.compile(rb"[a-z0-9_]+_20[0-9]{6}")

_LOOK_ALIKE = re.compile(
    rb"(?:bedrock|vertex|foundry|azure)-(?:20[0-9-]+)"  # fields that name an API version
    rb"|anthropic-(?:version|beta)s?(?:-.*)?"
    rb"|(?:[a-z-]+[./])?claude-(?!code-).*"  # models
    rb"|(?:gpt|chatgpt|o[1-9]|gemini|gemma|qwen|qwq|grok|mistral|codestral|llama|deepseek|kimi|glm|nova|titan"
    rb"|command|sora|dall-e|whisper|tts|davinci|babbage|text-embedding|omni-moderation)[0-9.]*[-.].*"
    rb"|(?:comma|space)-separated|x-[a-z-]+"
)  # fmt: skip

_HOLDER_WORDS = frozenset(
    b"a another any bar baz beta betas custom example feature flag foo header here known my name"
    b" new one other placeholder some the two value your yyyy mm dd date".split()
)  # fmt: skip


def _is_look_alike(name: bytes) -> bool:
    """Say whether a name that nobody knows is a model, a version field or a placeholder."""
    if _LOOK_ALIKE.fullmatch(name):
        return True
    words = re.split(rb"[-_.]", name)
    return all(word in _HOLDER_WORDS or word.isdigit() for word in words)


# --- Where a name stands --------------------------------------------------------------------------

# Words that say "these are betas": `anthropic-beta`, `ANTHROPIC_BETAS`, `anthropicBeta`, `betas`,
# `beta_header`, `addBeta`... Not `anthropic-beta-2026-01-01`: that is a name of its own. Each begins with
# a literal for speed; what stands before it is looked at where it was found.
_MORE = (
    rb"(?:[-_]?(?:[Hh]eader|HEADER|[Ff]lag|FLAG|[Ff]eature|FEATURE|[Vv]ersion|VERSION"
    rb"|[Pp]aram|[Nn]ame|NAME)[sS]?)*(?:\.of)?(?![A-Za-z0-9]|[-.][A-Za-z0-9])"
)
_SIGNS = tuple(re.compile(word + rb"[sS]?" + _MORE) for word in (b"beta", b"Beta", b"BETA"))
_JOINTS = (b"-", b"_", b"c", b"C", b"d")  # `anthropic-beta`, `anthropicBeta`, `addBeta`
_STRONG = re.compile(rb"(?:anthropic|Anthropic|ANTHROPIC)[-_]?\Z")


@dataclass(frozen=True, slots=True)
class _Sign:
    """A word that says "these are betas"; a strong one names Anthropic too."""

    start: int
    end: int
    strong: bool


def _signs(text: bytes) -> list[_Sign]:
    found = (_sign(text, match) for words in _SIGNS for match in words.finditer(text))
    return sorted((sign for sign in found if sign), key=lambda sign: sign.start)


def _sign(text: bytes, match: re.Match[bytes]) -> _Sign | None:
    at, suffixed = match.start(), match.end() - match.start() > len(b"beta")
    if not suffixed and text[at - 1 : at] not in _JOINTS:
        return None  # the word alone, which is most of them
    before = text[max(0, at - 16) : at]
    strong = _STRONG.search(before)
    if strong:
        return _Sign(at - len(strong[0]), match.end(), True)
    # One word: not `alphabetas`, but `myBetas` and `MY_BETAS`.
    adds = match[0] == b"Beta" and before.endswith(b"add")
    whole = not before[-1:].isalpha() or (match[0][:4] == b"Beta" and before[-1:].islower())
    if adds or (whole and suffixed):
        return _Sign(at, match.end(), False)
    return None


_CALLED_BETA = re.compile(
    rb"[\"'`)\],;]*[ \t]*(?:(?:\#|//|/\*|<!--|--)[^\n]{0,160}anthropic[-_]beta"
    rb"|(?:anthropic[- ])?beta[- ](?:header|flag))",
    re.IGNORECASE,
)
_IN_A_RUN: Final = bytes(set(range(256)) - set(b" \t\r\n\v\f\"'`<>(){},;|"))
_BETA_QUERY = re.compile(rb".*[?&](?:anthropic[-_])?betas?=[^&#]*", re.DOTALL)


class _Place:
    """A text, and questions about places in it."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._signs: list[_Sign] | None = None
        self._ends: list[int] = []

    def is_address(self, at: int, end: int) -> bool:
        """Say whether a token is part of an address, a path or an anchor, and no value."""
        low = max(0, at - 512)
        before = self.text[low:at]
        run = before[len(before.rstrip(_IN_A_RUN)) :]
        if b"://" in run or run.startswith(b"www."):
            return not _BETA_QUERY.fullmatch(run)
        if run.endswith(b"#"):
            return len(run) > 1 or before[-2:-1] in (b"(", b'"', b"'")
        after = self.text[end : end + 2]
        return re.search(rb"[\w.~-]/$", run) is not None or re.match(rb"/[\w]", after) is not None

    def is_called_beta(self, end: int) -> bool:
        """Say whether what follows on the line calls the token a beta."""
        return _CALLED_BETA.match(self.text, end) is not None

    def is_value(self, at: int, *, strictly: bool = False) -> bool:
        """Say whether a place is in the value of a word that speaks of betas.

        `strictly` allows nothing but values between the two: no other words.
        """
        signs = self.signs()
        here = bisect_left(self._ends, at + 1)
        for sign in reversed(signs[max(0, here - 4) : here]):
            gap = self.text[sign.end : at]
            if len(gap) > _REACH:
                return False
            if _Gap(gap, words=0 if strictly else 12).leads():
                return True
        return False

    def signs(self) -> list[_Sign]:
        """Return the words that speak of betas, in order."""
        if self._signs is None:
            self._signs = _signs(self.text)
            self._ends = [sign.end for sign in self._signs]
        return self._signs

    def undated_values(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield names without a date, which count only as plain values of such a word."""
        for sign in self.signs():
            if start <= sign.start < stop and (sign.strong or self._is_near_anthropic(sign.start)):
                for low, high in _values(self.text, sign):
                    for item in re.finditer(rb"[^,\s]+", self.text[low:high]):
                        if _UNDATED.fullmatch(item[0]) and len(item[0]) <= NAME_MAX:
                            yield low + item.start(), item[0]

    def _is_near_anthropic(self, at: int) -> bool:
        return _speaks_of_anthropic(self.text[max(0, at - _REACH) : at])


# --- The value of a word --------------------------------------------------------------------------

_PIECE = re.compile(
    rb"(?P<comment>(?:(?<![^\s])\#|//|/\*|<!--)[^\n]*)"
    rb"|(?P<newline>\n)"
    rb"|(?P<open>[\[({])"
    rb"|(?P<close>[\])}])"
    rb"|(?P<key>(?P<quote>[\"']?)(?P<word>[A-Za-z_][\w.-]*)(?P=quote)[ \t]*(?:=>|:(?!=)|:=|=(?!=)))"
    rb"|(?P<name>[\w.-]+)"
    rb"|(?P<sign>[:=,])"
    rb"|(?P<stop>;)"
    rb"|(?P<other>.)",
    re.DOTALL,
)
_VALUE_KEY = re.compile(rb"[\"']?(?:value|values|default)[\"']?[ \t]*[:=]", re.IGNORECASE)
_NEXT_VALUE = re.compile(rb"\s*[\"']?(?:value|values|default)[\"']?[ \t]*[:=]", re.IGNORECASE)
_NEXT_ITEM = re.compile(rb"[ \t]*-[ \t]")
_GOES_ON = frozenset(b":=,\\|>+-([{")
_LINES_MAX: Final = 120


class _Gap:
    """What stands between a word that speaks of betas and a name, and whether the value reaches it.

    A value ends where another key begins, where its bracket closes, or at the end of a line, unless the
    line is one of a list. A few words of prose are allowed ("the `anthropic-beta` header set to").
    """

    def __init__(self, gap: bytes, words: int) -> None:
        self._gap, self._words = gap, words
        self._depth, self._lines = 0, 0
        self._assigned = self._closed = self._joined = False
        self._last = b""  # the last character that matters on this line

    def leads(self) -> bool:
        """Say whether the gap leads from the word to a value of it."""
        for piece in _PIECE.finditer(self._gap):
            step = getattr(self, f"_{piece.lastgroup}")
            if not step(piece):
                return False
            if piece.lastgroup not in ("comment", "newline") and not piece[0].isspace():
                self._last = piece[0][-1:]
        return True

    def _comment(self, _piece: re.Match[bytes]) -> bool:
        return True

    def _newline(self, piece: re.Match[bytes]) -> bool:
        self._lines += 1
        if self._lines > _LINES_MAX:
            return False
        last, self._last = self._last, b""
        if self._depth:
            return True
        if _NEXT_VALUE.match(self._gap, piece.end()) or _NEXT_ITEM.match(self._gap, piece.end()):
            return True
        # Quotes may close around the comma: `"a,"` and `"b"` on two lines are one string in Python.
        line = self._gap[: piece.start()].rstrip().rstrip(b"\"'")[-1:] if last else b""
        return bool(last) and (last[0] in _GOES_ON or line == b",")

    def _open(self, _piece: re.Match[bytes]) -> bool:
        self._depth += 1
        joined, self._joined = self._joined, False
        return joined or not self._closed

    def _close(self, _piece: re.Match[bytes]) -> bool:
        if self._depth == 0:
            # `headers["anthropic-beta"] = ` closes what was open before; later it ends the value.
            return not self._assigned
        self._depth -= 1
        self._closed = self._depth == 0
        return True

    def _key(self, piece: re.Match[bytes]) -> bool:
        if self._depth or not self._assigned or _VALUE_KEY.match(piece[0]):
            self._assigned = True
            return True
        return False

    def _name(self, piece: re.Match[bytes]) -> bool:
        self._joined = piece[0] in (b"else", b"or")
        if self._depth or b"-" in piece[0].strip(b"-") or not re.search(rb"[A-Za-z]", piece[0]):
            return True
        self._words -= 1
        return self._words >= 0 and not piece[0].endswith(b".")

    def _sign(self, piece: re.Match[bytes]) -> bool:
        self._assigned = True
        # A list that was closed has no more values; a typed name has them after its `=`.
        if self._closed and piece[0] == b"=":
            self._closed = False
        return not (self._closed and self._depth == 0)

    def _stop(self, _piece: re.Match[bytes]) -> bool:
        return self._depth > 0

    def _other(self, piece: re.Match[bytes]) -> bool:
        self._joined = (self._joined and piece[0].isspace()) or piece[0] in (b"+", b"|")
        return True


_SETTER = re.compile(rb"(?:[Ss]et|[Aa]dd|[Hh]eader|[Aa]ppend|[Pp]ut|[Ww]ith)\w*\(\s*[\"'`]\Z")
_ASSIGNS = re.compile(rb"[\"'`]?[\])]?[ \t]*(?P<by>\+?[:=]=?>?|,)[ \t]*")
_QUOTED = re.compile(rb"([\"'`])([^\"'`\n]{1,2000})\1")
_LIST = re.compile(
    rb"(?:(?:\[\][\w.]+|new\s+[\w.\[\]<>]+|[\w.]+)?[ \t]*[\[({])([^\[\](){}]{0,4000})[\])}]"
)
_BARE = re.compile(
    rb"([A-Za-z0-9._-]+(?:[ \t]*,[ \t]*[A-Za-z0-9._-]+)*)[ \t]*(?=[\"'`\\\r\n]|[#;]|\Z)"
)
_ITEMS = re.compile(rb"(?:\r?\n[ \t]*-[ \t]+[\"']?[\w.-]+[\"']?[ \t]*(?:#[^\n]*)?(?=\r?\n|\Z))+")


def _values(text: bytes, sign: _Sign) -> Iterator[tuple[int, int]]:
    """Yield where the plain values of a word that speaks of betas begin and end."""
    assigns = _ASSIGNS.match(text, sign.end)
    if not assigns or (assigns["by"] == b"," and not _is_set(text, sign.start)):
        return
    at = assigns.end()
    if sign.strong and (quoted := _QUOTED.match(text, at)):
        yield quoted.span(2)
    elif (listed := _LIST.match(text, at)) and not text.startswith(b"{", at):
        for item in _QUOTED.finditer(text, *listed.span(1)):
            yield item.span(2)
    elif sign.strong and (bare := _BARE.match(text, at)):
        yield bare.span(1)
    elif sign.strong and (items := _ITEMS.match(text, at)):
        for item in re.finditer(rb"-[ \t]+[\"']?([\w.-]+)", items[0]):
            yield items.start() + item.start(1), items.start() + item.end(1)


def _is_set(text: bytes, at: int) -> bool:
    return _SETTER.search(text[max(0, at - 64) : at]) is not None


# --- Comments that ask to pass over ---------------------------------------------------------------

_IGNORE = re.compile(rb"beta-registry:[ \t]*ignore(?P<next>-next-line)?\b(?P<names>[^\n]{0,400})")
_IGNORE_MAX: Final = 440
_LINE_MAX: Final = 2000


def _is_ignored(text: bytes, at: int, name: bytes) -> bool:
    """Say whether a comment on this line, or on the line before for the next, names the beta."""
    begin = text.rfind(b"\n", 0, at) + 1
    end = text.find(b"\n", at)
    this = text[max(begin, at - _LINE_MAX) : min(len(text) if end < 0 else end, at + _LINE_MAX)]
    before = text[max(0, begin - _LINE_MAX) : max(0, begin - 1)]
    above = before[before.rfind(b"\n") + 1 :]
    return _asks(this, name, next_line=False) or _asks(above, name, next_line=True)


def _is_in_comment(text: bytes, at: int) -> bool:
    """Say whether a name stands in such a comment itself, where it is no use of the beta."""
    before = text[max(0, at - _IGNORE_MAX) : at]
    return _IGNORE.search(before[before.rfind(b"\n") + 1 :]) is not None


def _asks(line: bytes, name: bytes, *, next_line: bool) -> bool:
    for comment in _IGNORE.finditer(line):
        if (comment["next"] is not None) != next_line:
            continue
        # Words that are no names are the reason why; with no name at all, every beta is meant.
        names = [word for word in re.findall(rb"[\w.-]+", comment["names"]) if _looks_named(word)]
        if not names or name in names:
            return True
    return False


def _looks_named(word: bytes) -> bool:
    return b"-" in word.strip(b"-") and re.search(rb"[0-9]", word) is not None


def _excerpt(text: bytes, at: int, end: int) -> str:
    begin = max(text.rfind(b"\n", 0, at) + 1, at - _EXCERPT)
    stop = text.find(b"\n", end, end + _EXCERPT)
    part = text[begin : stop if stop >= 0 else end + _EXCERPT]
    return " ".join(part.decode("utf-8", "replace").split())
