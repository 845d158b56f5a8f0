"""What an answer of an upstream API says about betas: one pure function, `classify`.

It works in three steps, each of them one section of this file:

1. *Who speaks?* The body is unwrapped (JSON, JSON in strings, Python reprs, event streams, HTML
   entities, any depth of escaping) down to the messages that the upstream itself utters. Text that an
   answer merely carries, such as an echoed prompt, is no message.
2. *What is said?* Each word of a message gets a part of speech (`_PARTS`), and the string of these is
   matched against the few ways in which a sentence can refuse a header value (`_NAMED`, `_UNNAMED`).
3. *What does it mean?* Refusal, plan, model, or one of the reasons that say nothing about a beta.

When in doubt the answer is `inconclusive`, which moves nothing. Nothing here raises; time is linear.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, Literal

from registry.core.names import NAME_MAX, parse
from registry.core.redaction import mask_secrets

__all__ = [
    "BODY_MAX",
    "HEADER_NAME",
    "Meaning",
    "Reason",
    "Verdict",
    "classify",
    "flatten",
    "is_error",
    "load_json",
]

Verdict = Literal[
    "accepted", "refused", "restricted", "model_unsupported", "beta_missing", "inconclusive"
]
Reason = Literal[
    "auth", "rate_limit", "overload", "server", "network", "billing", "request", "unparseable"
]

BODY_MAX: Final = 1 << 20
"""Characters (bytes of an undecoded body) that are read; what follows is ignored."""

MESSAGE_MAX: Final = 500
"""Longest message that is handed on, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What one answer means.

    `reason` is given exactly when the verdict is `inconclusive`. `refused` are the names that the answer
    itself names as refused, restricted or not for this model, in its order; it is empty when nothing is
    named ("invalid beta flag"), even if only one beta was sent: that is for the caller to conclude.
    `platform` is what request ids or wording tell, else what the caller said. `message` is the innermost
    message, secrets masked, at most 500 characters. `body_fields` are the request fields that it names
    (dotted, without list indexes), and `tags` the types in it that are not known there; a beta may be missing.
    """

    verdict: Verdict
    reason: Reason | None = None
    refused: tuple[str, ...] = ()
    platform: str | None = None
    request_id: str | None = None
    message: str = ""
    explanation: str = ""
    advice: str = ""
    body_fields: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def _rule(alternatives: str) -> re.Pattern[str]:
    """Compile a rule that is written over several lines; case does not matter."""
    return re.compile("".join(line.strip() for line in alternatives.splitlines()), re.I)


_VOICES_MAX: Final = 1000
_WORDS_MAX: Final = 250_000  # more than any prose of 1 MiB has; bounds the time that noise takes


# ---------------------------------------------------------------------- 1. who speaks


@dataclass(frozen=True, slots=True)
class _Voice:
    """One message of the upstream, flattened, and the text that led to it (a log prefix)."""

    text: str
    lead: str = ""


@dataclass(slots=True)
class _Heard:
    """All that an answer's body utters: messages, error types and codes, outermost first."""

    voices: list[_Voice] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    structured: bool = False


# Members of a JSON object that hold what the upstream says; and those that hold what somebody sent.
_SPEAKS = _rule("""error|message|msg|detail|cause|reason|raw|response|body|exception|description|upstream
    |fault|title|metadata|data|provider""")
_CARRIES = _rule("""messages|request|prompt|input|content|sent|docs|documentation|help|example|type|code
    |original|history|tool|received|provider_?name|_?id$|link|url""")
_NAMES_TYPE = {"type", "__type", "code", "status", "error_code", "errorcode", "error_type"}
_NAMES_FIELD = ("loc", "param", "field", "path", "header", "parameter", "target")
HEADER_NAME = re.compile(
    r"(?:[a-z]+[-_.])*anthropic[-_]?betas?(?:[.\[]\d+\]?)?|betas[.\[]\d+\]?", re.I
)
_KEY = re.compile(r"""["'](\w[\w.\-]{0,40})["']\s{0,20}:\s{0,20}""")
_TRACEBACK = re.compile(r'^ {1,8}File "[^"\n]*", line \d+[^\n]*\n(?: {4}[^\n]*\n)*', re.M)
_HTML = re.compile(r"\s{0,200}(?:<!doctype html|<html|<head|<body|<\?xml)", re.I)


def flatten(text: str) -> str:
    r"""Undo any depth of escaping: HTML entities, `\u0060`, `\n`, backslashes before quotes."""
    for _ in range(5):
        if "&" not in text or (plain := html.unescape(text)) == text:
            break
        text = plain
    if "\\" in text:
        text = re.sub(r"\\{2,}", r"\\", text)
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)
        text = re.sub(r"(?:\\x[0-9a-fA-F]{2})+", _bytes_of_repr, text)
        text = re.sub(r"\\[nrt]", "\n", text).replace("\\", "")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _bytes_of_repr(run: re.Match[str]) -> str:
    return bytes.fromhex(run[0].replace("\\x", "")).decode("utf-8", "replace")


def load_json(text: str) -> Any:
    """Read JSON, or return None; tolerates raw line breaks in strings."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _listen(value: Any, heard: _Heard, lead: str = "", depth: int = 0) -> None:
    """Collect the messages in a JSON value, own members before deeper ones."""
    if depth > 12 or len(heard.voices) >= _VOICES_MAX:
        return
    if isinstance(value, str):
        _listen_to_text(value, heard, lead, depth)
    elif isinstance(value, list):
        for member in value[:_VOICES_MAX]:
            _listen(member, heard, lead, depth + 1)
    elif isinstance(value, dict):
        heard.structured = True
        heard.types += [
            word for key, word in value.items() if key in _NAMES_TYPE and isinstance(word, str)
        ]
        if any(HEADER_NAME.search(str(value.get(key, ""))[:200]) for key in _NAMES_FIELD):
            lead, given = "anthropic-beta: ", value.get("input", value.get("value"))
            given = f": `{given}`" if isinstance(given, str) else ""
            value = {
                key: lead + text + given if isinstance(text, str) else text
                for key, text in value.items()
            }
        for key, member in value.items():
            if _SPEAKS.search(key) and (not _CARRIES.search(key) or key == "error_message"):
                _listen(member, heard, lead, depth + 1)


def _listen_to_text(text: str, heard: _Heard, lead: str, depth: int) -> None:
    """Collect the messages in a string: JSON again, text around JSON, an event stream, or plain text."""
    text = text.strip()
    if text[:1] in ("{", "[", '"') and (value := load_json(text)) is not None and value != text:
        return _listen(value, heard, lead, depth + 1)
    if re.match(r"(?:event|data|id|retry)?:", text):
        frames = [load_json(line[5:]) for line in text.splitlines() if line.startswith("data:")]
        errors = [item for item in frames if isinstance(item, dict) and is_error(item)]
        if errors:
            return _listen(errors, heard, lead, depth + 1)
    flat = _TRACEBACK.sub("", flatten(text))
    if "{" not in flat:
        if flat:
            heard.voices.append(_Voice(flat, lead))
        return None
    return _listen_to_damaged(flat, heard, lead)


_OPENS: Final = re.compile(r"\n[ \t]*[\w.\"'-]{0,40}[ \t]?[=:]?[ \t]?[{\[(]+\s*\Z")  # body={
_REQUESTED: Final = re.compile(r"\s*\[\s*(?:[\"'][\w.-]{1,128}[\"']\s*,?\s*)+\]", re.ASCII)


def _listen_to_damaged(flat: str, heard: _Heard, lead: str) -> None:
    """Collect the messages of JSON-like text that no parser reads: reprs, prefixes, cut or escaped JSON."""
    marks = list(islice(_KEY.finditer(flat), 8 * _VOICES_MAX))
    prefix = _OPENS.sub("", flat[: marks[0].start()]) if marks else flat
    if prefix.strip(" \n{[\"'b"):
        heard.voices.append(_Voice(prefix, lead))
    ends = [mark.start() for mark in marks[1:]] + [len(flat)]
    for mark, end in zip(marks, ends, strict=False):
        key, said = mark[1], flat[mark.end() : end]
        if len(heard.voices) >= _VOICES_MAX:
            break
        if key in _NAMES_TYPE:
            heard.structured = True
            heard.types.append(said[:80].strip("\"' ,{}[]\n").split('"')[0].split("'")[0])
        elif HEADER_NAME.fullmatch(key):
            if _REQUESTED.match(said):
                continue  # a piece of the request: it says what was sent, and nothing of it
            heard.voices.append(_Voice(f"{key}: {said}", lead + prefix))
        elif _SPEAKS.search(key) and not _CARRIES.search(key) and said.strip("\"'{[ "):
            heard.structured = True
            heard.voices.append(_Voice(said, lead + prefix))


def is_error(value: Mapping[str, Any]) -> bool:
    """Say whether a JSON object is an error, whatever the status that came with it."""
    return value.get("type") == "error" or bool(value.get("error") or value.get("errors"))


# ---------------------------------------------------------------------- 2. what is said

_PARTS: Final = {
    word: part
    for part, words in {
        "B": "beta betas",
        "V": """value values flag flags header headers feature features name names item items entry version
            identifier identifiers id ids versions element member string option options""",
        "R": "unexpected unsupported invalid unknown unrecognized unrecognised illegal nonexistent",
        "r": "rejected refused disallowed unavailable retired expired removed discontinued",
        "n": "not no cannot never neither",
        "P": "supported recognized recognised valid accepted allowed permitted understood",
        "p": "available exist exists known registered defined offered",
        "q": "enabled active found",  # "not enabled" may mean: not sent. "No longer enabled" does not.
        "S": """support supports recognize recognise recognizes recognises accept accepts allow allows
            permit""",
        "I": "for in on to from under within inside by since because at",
        "": """the a an of this these that those following one more any is are was were be been being has
            have had do does did it as also currently longer yet anymore and or could can contains contain
            containing includes included provided specified sent supplied received passed requested given
            deprecated our your""",
    }.items()
    for word in words.split()
}
# Ordinary nouns and verbs that stand where a name could: never taken for one unless quoted.
_NEVER_NAMES: Final = frozenset(
    """forbidden error request requests bad please missing empty null none list array required expected
    use remove type format see check must should access api endpoint tool tools mode program model models
    parameter parameters field fields sdk client service account organization plan usage with without if
    when unless only try again""".split()  # noqa: SIM905 - words read better than a list of quotes
)
_SPELLINGS: Final = (
    (_rule(r"\((e?s)\)"), r"\1"),  # value(s)
    (_rule(r"n['’]t\b"), " not"),
    (_rule(r"\bno such\b"), "unknown"),
)
_QUOTES: Final = "\"'`´‘’‚“”„«»‹›「」『』<>[]*"
_CLOSING: Final = frozenset(_QUOTES)
_WORD: Final = re.compile(
    r"""[^\s\x00-\x1f"'`´‘’‚“”„«»‹›「」『』<>\[\]*,;:(){}|=、，；：（）。&]+"""
)
_CAN_BE_NAME: Final = re.compile(r"\w")
_MARK: Final = re.compile(r"[:=：}]")
_LINKS: Final = frozenset(("and", "or", "the", "also", "-", "--"))
_LIST_GAP: Final = re.compile(r"[,;|&]|\b(?:and|or)\b")
_NAME = "(?<![Nw])([Nw]++)"  # a whole run of names; w is a bare word that stands like one
_SURE = "(?<!N)(N++)"
_DENIED = "(?:n[Pp]|z[Ppq]|r|R(?!W))"
_SUBJECT = "(?<!N)[Rr](?:V{1,2}I)?V{0,2}(?:A|B)V{0,3}"
_NAMED: Final = [
    re.compile(pattern)
    for pattern in (
        f"R V{{0,2}} {_NAME} V?I{{1,2}}V? (?:AV?|BV(?!:?N))",  # unexpected value x for header
        f"{_SUBJECT} : {_NAME}",  # unsupported beta header: x
        f"{_SUBJECT} {_SURE}",  # unknown beta x
        f"(?:A|B)V{{0,3}} :? {_SURE} V{{0,2}}:? {_DENIED} (?!V?:?N)",  # beta header x is not supported
        f"(?:AV{{0,2}}|BV{{1,3}}) :?I? RV{{0,2}} :? {_NAME}",  # header: invalid value x
        f"(?:A|B)V{{0,3}} :? (?:n[Pp]|z[Ppq])V{{0,2}} :? {_SURE}",  # these betas are not supported: x
        f"{_SURE} V{{0,2}}:? (?:[nz]P|[Rr])V{{0,2}}"
        f"(?:I{{1,2}}V?(?:AV?|BV)|A|BV?) (?!V?:?N)",  # x is no valid beta
        f"{_SURE} (?:I{{1,2}}V?)? (?:A|B)V{{0,3}} :? {_DENIED} (?!V?:?N)",  # the x beta is not supported
        f"[nz]SV{{0,2}} I?V? (?:A|B)V{{0,3}} :? {_SURE}",  # does not support the beta header x
        f"[nz]SV{{0,2}} {_SURE} V?I?V? (?:A|B)",  # does not support the x beta
    )
    for pattern in [pattern.replace(" ", "")]
]
_UNNAMED: Final = re.compile(
    r"(?<!N)R(?:V{1,2}I)?V{0,2}(?:A|BV|B(?=\.|$))V{0,2}(?=\.|$)|(?:A|BV)V{0,2}[nz]P(?=\.|$)"
)

# A sentence that is quoted, explained or supposed states nothing.
_QUOTED = _rule(
    r"""\b(?:prompts?|transcript|conversation|examples?|e\.g|docs?|documentation|readme|tutorial|quot\w+
    |text(?![/-])|content(?![/-])|(?<!invalid )input|tool[ _](?:results?|use)|summari[sz]e|translate|explain
    |how|what|why|mean(?:s|ing)?|(?:if|when) you|(?:messages?|system|tools?)[.\[]\d
    |user(?:'s)? (?:message|input|asked|said|wrote)
    |(?:title|subject|label|query|question|comment|notes?|summary|document|file|topic|description
    |arguments?|output|completion)\W{0,3}["'“«])"""
)
_SUPPOSED = _rule(
    r"""\b(?:if|when|whether|unless|would|may|might|with|without|using|while|avoid|prevent|returns?|says?
    |asked|like|requires?|needs?|must|should|tools?|parameters?|fields?|blocks?|see|add|missing|warning
    |ignor\w+|sen[dt]s?|sending|drop\w*|strip\w*|skip\w*|filter\w*|fix(?:es|ed)?
    |(?<!please )remov(?:e|es|ing))\b"""
)
_CONDITION = _rule(
    r"""\?|\b(?:mean(?:s|ing)?|indicates?|occurs?|happens?|when|if|unless|without|until|together|with beta
    |credits?|balance|quota|rate limit\w*|temporar\w+|right now|at this time|at the moment|requires?
    |missing|ignored)\b
    |^\W*(?:(?:for|in|on|with)\s+)?(?:the\s+|this\s+)?(?:tools?|parameters?|fields?|blocks?|types?|usage
    |configuration|combination|format|syntax|schema|content|messages?)\b
    |^\W*(?:with|alongside)\b(?!.{0,60}\bmodel)"""
)
_SIDE_REMARK = _rule(r"\b(?:please|consult|see|check|or try|try again)\b")
_QUOTED_SPEECH = _rule(r"""\w[ \t]+["'`“‘«]+\s{0,9}$""")  # ... the answer "Unexpected value ...
_CLAUSE = _rule(r"[.!?:\n]|\s[-–—]\s")
_ON_ITS_OWN = _rule(
    r"""(?:^|[.:!?\n]|\s[-–—])[\s"'`({\[]*(?:error\s+)?(?:\d{3}\s+)?(?:the|an?)?\s*$"""
)
_PLAN = _rule(
    r"""\b(?:for|to|in|on|with)\s+(?:\w+\s+){0,3}(?:subscriptions?|organi[sz]ations?|orgs?|plans?|workspaces?
    |accounts?|tiers?|keys?|teams?|projects?|users?)\b"""
)
_MODEL = _rule(r"\b(?:models?\b|claude-(?!code)[\w.@:-]+)")
_CLOUD_MODEL = _rule(r"(?:[a-z]{2,6}(?:-[a-z]+)?\.)?anthropic\.claude-[\w.@:-]+")


@dataclass(frozen=True, slots=True)
class _Said:
    """A message as parts of speech: one letter and one span of the text for each word that counts."""

    text: str
    parts: str
    spans: list[tuple[int, int]]

    def around(self, start: int, end: int) -> tuple[str, str]:
        """Return what stands before and behind a match (indexes of parts) in its own sentence."""
        head, tail = self.spans[start][0], self.spans[end - 1][1]
        stop = self.parts.find(".", end, end + 60)
        behind = self.text[tail : min(tail + 400, self.spans[stop][1] if stop >= 0 else tail + 400)]
        return self.text[max(0, head - 300) : head], _SIDE_REMARK.split(behind, maxsplit=1)[0]


def _parse_message(text: str, sent: frozenset[str]) -> _Said:
    """Give each word its part: see `_PARTS`; A the header, N a name, w a bare word, W any other."""
    letters: list[str] = []
    spans: list[tuple[int, int]] = []
    known: dict[tuple[str, bool], str] = {}
    last, linked, spaced = 0, True, False  # linked: only "and", "or"... since the last name
    for match in islice(_WORD.finditer(text), _WORDS_MAX):
        start, end = match.span()
        gap, word = text[last:start], match[0]
        quoted = text[max(0, start - 1)] in _QUOTES and text[end : end + 1] in _CLOSING
        if not quoted and word[-1] in ".!?…" and word not in sent:
            word = word.rstrip(".!?…")
            end = start + len(word)
        if letters and (mark := _MARK.search(gap)):
            letters.append(":" if mark[0] != "}" else ".")
            spans.append((last, start))
        if (usual := known.get((word, quoted))) is None:
            usual = known[word, quoted] = _part(word, sent, quoted=quoted)
        part = _part_in_place(usual, word, text[end : end + 8])
        if part == "N" and letters[-1:] == ["N"]:
            if not linked:
                letters.append("W")
                spans.append((last, start))
            elif spaced and gap.isspace() and not (quoted or word in sent or _has_date(word)):
                part = "W"  # the next word of a log, not of the list
        spaced = part != ""
        linked = spaced or (linked and (word.lower() in _LINKS or not word[:1].isalnum()))
        if part:
            letters.append(part)
            spans.append((start, end))
        if end != match.end():
            letters.append(".")
            spans.append((end, match.end()))
        last = match.end()
    parts = "".join(letters)  # when the betas are known, a bare word is one of them or no name
    return _Said(text, parts if sent else _bare_names(parts, text, spans), spans)


def _part(word: str, sent: frozenset[str], *, quoted: bool) -> str:
    """Say what part a word plays; empty for words that change nothing."""
    if HEADER_NAME.fullmatch(word):
        return "A"
    if word in sent:
        return "N"
    if _CLOUD_MODEL.fullmatch(word):  # Claude Code: API Error (us.anthropic.claude-...): 400 ...
        return "W"
    if quoted and _CAN_BE_NAME.search(word):
        return "N"
    if (known := _PARTS.get(word.lower())) is not None:
        return known
    if word.isdigit() or not any(letter.isalnum() for letter in word):
        return ""
    if _MODEL.fullmatch(word) or not word.isascii():
        return "W"
    has_shape = ("-" in word or "_" in word) and any(letter.isalpha() for letter in word)
    is_letter = len(word) == 1 and word.isalpha()
    return "N" if is_letter or (has_shape and not {"/", "@"} & set(word)) else "W"


def _part_in_place(part: str, word: str, after: str) -> str:
    """Correct a part by what follows the word."""
    if part == "" and len(word) == 1 and word.isalpha() and after[:1] == ",":
        return "N"  # the letter a in a list
    if part == "B" and word.lower() == "betas" and after[:1] in (":", "="):
        return "A"  # a field of that name
    return "z" if part == "n" and "longer" in after else part


def _has_date(word: str) -> bool:
    return parse(word).feature != word


def _bare_names(parts: str, text: str, spans: list[tuple[int, int]]) -> str:
    """Mark as w the unquoted plain words that stand alone, where a list of names could stand."""
    letters = list(parts)
    for at, part in enumerate(parts):
        start, end = spans[at]
        word = text[start:end]
        if part != "W" or word.lower() in _NEVER_NAMES or not word.isascii() or "/" in word:
            continue
        ahead = text[spans[at - 1][1] : start] if at and parts[at - 1] in "WN" else ","
        behind = text[end : spans[at + 1][0]] if parts[at + 1 : at + 2] in ("W", "N") else ","
        if _LIST_GAP.search(ahead) and _LIST_GAP.search(behind):
            letters[at] = "w"
    return "".join(letters)


def _refusal(
    voice: _Voice, sent: frozenset[str], *, forbidden: bool
) -> tuple[Verdict, tuple[str, ...]] | None:
    """Find the refusals that a message states, and all names that they name, in order.

    `forbidden`: the answer is about permission, so that "not allowed" means: not for this key.
    """
    text = voice.text
    if "beta" not in text.lower():
        return None
    for spelling, plain in _SPELLINGS:
        text = spelling.sub(plain, text)
    said = _parse_message(text, sent)
    matches = [match for pattern in _NAMED for match in pattern.finditer(said.parts)]
    matches.sort(key=re.Match.start)
    verdict: Verdict | None = None
    names: dict[str, None] = {}
    for match in matches[:_VOICES_MAX] or _UNNAMED.finditer(said.parts):
        before, behind = said.around(match.start(), match.end())
        if not matches and not _ON_ITS_OWN.search(before):
            continue
        if not _is_stated("" if verdict else voice.lead, before, behind, first=match[0][0]):
            continue
        kind = _qualify(before, behind, match[0], forbidden=forbidden)
        verdict = verdict or kind
        if kind == verdict and matches:
            names |= dict.fromkeys(
                text[start:end] for start, end in said.spans[slice(*match.span(1))]
            )
    return (verdict, tuple(name for name in names if len(name) <= NAME_MAX)) if verdict else None


def _is_stated(lead: str, before: str, behind: str, *, first: str) -> bool:
    """Say whether a matching sentence is the upstream's own statement, not quoted and not supposed.

    `first` is the part of the sentence's first word: names and the header are often quoted themselves.
    """
    if _QUOTED.search(lead[-300:] + " " + before) or _CONDITION.search(behind):
        return False
    if first not in "AN" and _QUOTED_SPEECH.search(before[-80:]):
        return False
    return not _SUPPOSED.search(_CLAUSE.split(before)[-1])


def _qualify(before: str, behind: str, parts: str, *, forbidden: bool) -> Verdict:
    """Tell a refusal for all from one for a plan or for a model, by the words around it."""
    if _MODEL.search(behind) or ("S" in parts and _MODEL.search(before.rsplit(":", 1)[-1])):
        return "model_unsupported"
    not_for_you = _PLAN.search(behind) or (forbidden and "R" not in parts)
    return "restricted" if not_for_you else "refused"


# In other languages the structure tells: the header is named, and quoted names that were sent.
_ENGLISH = _rule(r"\b(?:the|is|are|to|with|and|must|for|not|requires?|of|please)\b")
_FOREIGN_REFUSAL = _rule("""
    inattendu|invalide|inconnu|pas (?:pris|support|recon|valide|accept)|non (?:pris|reconnu|support|valid)
    |refus|rejet|ungültig|unbekannt|unerwartet|nicht (?:unterst|erkannt|zul|mehr|akzept)|abgelehnt
    |no (?:válid|admit|compat|recono|soport|es)|inesperad|desconocid|inválid|não (?:suport|recon|é)
    |valore imprevisto|sconosciut|inatteso|onbekend|ongeldig|niet ondersteund|nieznan|nieprawid|nieobs
    |недопустим|неизвестн|неподдерж|не поддерж|неожидан|неверн|無効|サポートされて|対応して
    |予期しない|不明|不支持
    |无效|未知|意外|非法|不受支持|無效|지원되지|잘못된|유효하지|알 수 없는|예기치|geçersiz|desteklenm""")
_FOREIGN_NEED = _rule("""
    nécessit|requi|ajout|manqu|erforder|benötig|fehlt|hinzu|neces|falta|añad|exig|adicion|richied|manca
    |aggiung|vereist|wymaga|треб|добав|нужн|отсутств|需要|要求|必须|缺少|添加|必要|追加|필요|추가|gerek|modèle
    |modelo|modell|模型|モデル|모델|модел""")
_QUOTED_NAME = re.compile(
    r"[\"'`´‘’‚“”„«»‹›「」『』]\s?([A-Za-z0-9._-]{1,128})\s?(?=[\"'`´‘’‚“”„«»‹›「」『』])"
)


def _foreign_refusal(voice: _Voice, sent: frozenset[str]) -> tuple[str, ...]:
    """Find the names in a refusal that is not in English."""
    text = voice.text[:20_000]
    if not re.search(r"anthropic[-_]beta", text, re.I):
        return ()
    if _ENGLISH.search(_QUOTED_NAME.sub("", text)):
        return ()
    quoted = [name for name in _QUOTED_NAME.findall(text) if not HEADER_NAME.fullmatch(name)]
    names = tuple(dict.fromkeys(name for name in quoted if name in sent or not sent))
    refuses = bool(_FOREIGN_REFUSAL.search(text)) or bool(sent & set(names))
    return names if refuses and not _FOREIGN_NEED.search(text) and not _QUOTED.search(text) else ()


# ---------------------------------------------------------------------- 3. what it means

# Features that error messages call by words, not by a beta's name.
_FEATURE = _rule(r"""
    \bbetas?\b|research preview|long[- ]context|1m context|fast[- ]mode|\beffort\b|\badvisor\b
    |context[-_ ](?:management|editing)|computer[- ]use|structured[- ]outputs?|interleaved[- ]thinking
    |task[- ]budgets?|managed agents|compaction|mcp (?:connector|client|tunnels?)|web[- ]fetch
    |tool[- ]search|agent skills|code[- ]execution""")
_NOT_GRANTED = _rule(r"""
    (?:not|n't)(?: yet| currently| been)* (?:available|enabled|allowed|permitted|included|activated|granted
    |enrolled|entitled|authori[sz]ed|eligible|supported)\b.{0,60}?\b(?:(?:subscription|organi[sz]ation|org
    |plan|workspace|account|tier|key|team|project)s?|via (?:the )?api)\b
    |(?:subscription|organi[sz]ation|plan|workspace|account|tier|key|team|you)\b.{0,30}?(?:not|n't)
    (?: yet| currently)*\x20(?:have access|enrolled|entitled|include|eligible|authori[sz]ed|have permission
    |permitted|allowed)
    |(?:subscription|organi[sz]ation|plan|workspace|account|tier|team)s?\b.{0,30}?(?:can ?not|can't) use\b
    |(?:administrator|admin|owner|organi[sz]ation|workspace)\b.{0,30}?\bha(?:s|ve) (?:disabled|turned off|blocked)\b
    |(?:disabled|turned off|blocked) (?:by|for) (?:your|this|the) (?:administrator|admin|owner|organi[sz]ation|org
    |workspace|account|plan|team|project)\b
    |\brequires? (?:an? |the |your )?(?:[\w-]+ ){0,3}(?:plan|subscription|tier)\b
    |\bonly (?:available|enabled|offered|supported) (?:to|for|on|in|with|under)\b.{0,60}?\b(?:plans?|subscriptions?
    |subscribers?|organi[sz]ations?|orgs?|tiers?|customers?|accounts?|workspaces?)\b
    |\bmust (?:be enrolled in|enroll in|accept the .{0,30}?terms)\b|\bbeta access (?:is )?(?:denied|required)
    |\baccess (?:to|for) .{0,60}?(?:limited|restricted|denied|not been granted|by invitation|required)
    |(?:incompatible|not compatible) with .{0,60}?beta
    |(?:usage|credits?|upgrade|plan|approval|enrollment|allowlist\w*) (?:is|are) required for""")
_NOT_THE_PLAN = _rule(r"""\boauth authentication\b|\bwith (?:the )?[`'"]?[\w.-]+[`'"]? beta\b""")
_NOT_ENROLLED = _rule("not_enrolled|beta_access|beta_not_enabled|not_entitled")
_MODEL_LACKS = _rule(r"""
    (?:does not|doesn't|do not|cannot|can't|can not)(?: currently)? (?:support|be used|use|accept)\b
    |not(?: yet| currently)? (?:supported|available|compatible)\b|unsupported (?:for|by|on|with)\b
    |incompatible with\b|only (?:supported|available) (?:on|for|by|with|in)\b""")

_TYPE_REASONS: Final[tuple[tuple[re.Pattern[str], Reason], ...]] = (
    (_rule("overloaded"), "overload"),
    (_rule("rate.?limit|throttl|exhausted|too.?many|quota.?exceeded"), "rate_limit"),
    (_rule("billing|insufficient.?quota|payment"), "billing"),
    (
        _rule("authenti|permission|forbidden|unauthori|access.?denied|client.?exc|expired.?token"),
        "auth",
    ),
    (_rule("not.?found|too.?large|invalid.?(?:req|arg)|validation|bad.?request|unproc"), "request"),
    (_rule("api.?error|internal|timeout|unavailable|server.?error|deadline"), "server"),
)
_TEXT_REASONS: Final[tuple[tuple[re.Pattern[str], Reason], ...]] = (
    (_rule("overloaded"), "overload"),
    (_rule("rate.?limit|too many requests|throttl"), "rate_limit"),
    (
        _rule("bad gateway|service unavailable|internal server error|no healthy up|upstream"),
        "server",
    ),
    (
        _rule("""fetch failed|econn|enotfound|etimedout|eai_again|getaddrinfo|timed? ?out|timeout|connection
            |dns|ssl|tls|certificate|socket|network|unreachable|name or service"""),
        "network",
    ),
)
_STATUS_REASONS: Final[dict[int, Reason]] = {
    401: "auth", 402: "billing", 403: "auth", 407: "auth", 408: "network", 429: "rate_limit",
    499: "network", 529: "overload",
}  # fmt: skip
_BILLING = _rule(r"""
    credit balance|usage limits?\b|extra usage|out of (?:\w+ )?(?:usage|credits)|(?<![\w-])billing(?![\w-])|payment
    |spend(?:ing)? limit|insufficient (?:funds|quota|credit|balance)""")
_AUTH = _rule(r"""
    (?:organi[sz]ation|account|workspace|key) (?:has been|is|was)\x20
    (?:disabled|suspended|deactivated|locked|banned)|invalid (?:x-)?api[- _]key|security token
    |(?:token|credentials?|signature) (?:\w+ ){0,2}(?:expired|revoked|invalid)|oauth authentication
    |unauthori[sz]ed|authentication_error""")
_RENDERED = _rule(r"""
    (?:\b(?:error|status|code|http|status_?code|http/[\d.]{1,3})\b[\s:="'()]{0,4}){1,3}([1-5]\d\d)\b
    |\A\s{0,9}([45]\d\d)\b""")
_REASON_PHRASE = _rule(
    r"""[\s\d.:/"']*(?:http)?[\s\d.:/"']*(?:bad request|not found|error)?[\s."']*"""
)
_NOT_FOUND = _rule(r"""[\s"']*(?:not[ _]found|the requested resource .{0,40})?[\s."'}]*""")

_SUCCESS = frozenset(
    """type id data object content input_tokens choices output usage completion stop_reason candidates
    has_more results models""".split()  # noqa: SIM905 - words read better than a list of quotes
)
_BETA_PATH = _rule(r"""(?<![\w-])(?:skills|files|agents|sessions|environments|vaults|deployments|dreams
    |deployment_runs|memory_stores|tunnels|user_profiles|organizations/\w+|claude_code)(?![\w-])""")
_BODY_FIELD = _rule(r"""(?<![\w.])([A-Za-z_][\w.\-\[\]]{0,200}):\x20
    (?:Extra inputs are not permitted|Input tag ['"]([\w.-]{1,60})['"])""")
_OTHER_FIELDS = _rule(r"""
    (?:extraneous key \[|does not support parameters: \[|unrecognized request arguments? supplied:
    |unknown (?:parameter|field|name|key)s?(?: in request)?:?)\s?
    ["'`]?([A-Za-z_][\w.]{0,80}(?:["'`]?,\s?["'`]?[A-Za-z_][\w.]{0,80}){0,20})""")
_AT_GATEWAY = _rule(r"UnsupportedParamsError|does not support parameters: \[")
"""What LiteLLM says by itself, before it asks anybody."""

_NOTHING: Final = "this says nothing about a beta"
_WORDS: Final[dict[str, tuple[str, str]]] = {
    "accepted": (
        "The request was accepted with the betas that it sent.",
        "Nothing to do. A gateway that drops the header answers the same: a made-up name tells.",
    ),
    "refused": (
        "The API refuses {names}: unknown or retired there, or this key has no access.",
        "Leave out {names} and the body fields that belong to it; omit the header when nothing is left, "
        "for an empty value is refused too.",
    ),
    "restricted": (
        "The beta exists, but this key, plan or client has no access to it ({names}).",
        "Leave it out, or ask for access. Waiting and retrying do not help.",
    ),
    "model_unsupported": (
        "The model in the request cannot be used with {names}.",
        "Leave it out for this model, or use a model that supports it.",
    ),
    "beta_missing": (
        "Most likely a beta header is missing: without it, what is asked for does not exist.",
        "Send the beta that this endpoint or way of signing in needs (such as oauth-2025-04-20).",
    ),
    "auth": (
        f"The credential or account was turned away; {_NOTHING}.",
        "Check key, account and region.",
    ),
    "rate_limit": (f"A rate limit was hit; {_NOTHING}.", "Wait as long as `retry-after` says."),
    "overload": (f"The API is overloaded; {_NOTHING}.", "Try again later."),
    "server": (f"The server or a gateway failed; {_NOTHING}.", "Try again later."),
    "network": (
        f"No answer came; {_NOTHING}.",
        "Check address, DNS, proxy, certificates, time-outs.",
    ),
    "billing": (
        f"Credit or plan limits stand in the way; {_NOTHING}.",
        "Settle the balance or the limit.",
    ),
    "request": (
        "The request was refused for what is in it, not for a beta.",
        "Mend what it names.",
    ),
    "unparseable": (
        f"This is no complete answer of the API; {_NOTHING}.",
        "Check that the address is the API's, and what stands between.",
    ),
}


def classify(
    status: int | None,
    headers: Mapping[str, str],
    body: str | bytes,
    betas_sent: Sequence[str] | None = None,
    *,
    platform: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> Meaning:
    """Say what an upstream answer means for betas. Never raises; linear time, reads 1 MiB of `body`.

    `status` None: no answer came, or its status is unknown. `betas_sent`, `platform`, `model` and
    `endpoint` (a path or its name, `skills`) are what is known of the request, if anything. The rules
    come from captured answers; where they are silent the verdict is `inconclusive`.
    """
    raw = body[:BODY_MAX]
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    lowered = {str(key).lower(): str(value) for key, value in headers.items()}
    sent = frozenset(name for name in betas_sent or () if name)
    good = status is not None and 200 <= status < 300
    errors = _errors_within(text) if good else []
    if good and not errors:
        decided = _Decision("accepted" if _succeeded(text) else "inconclusive", "unparseable")
    else:
        heard = _hear(status, lowered, errors or text)
        if status is None and (shown := _RENDERED.search(text[:4000])):
            status = int(shown[1] or shown[2])
        decided = _decide(status, heard, text, sent, endpoint)
    return _explain(decided, lowered, text, platform, model)


@dataclass(frozen=True, slots=True)
class _Decision:
    """A verdict before it is put in words; `reason` counts only if it is inconclusive."""

    verdict: Verdict
    reason: Reason = "request"
    names: tuple[str, ...] = ()
    message: str = ""


def _errors_within(text: str) -> list[Any]:
    """Return the errors that the body of a 2xx holds, whole or as events of a stream."""
    value = load_json(text)
    items = value if isinstance(value, list) else [value]
    if value is None:
        items = [load_json(line[5:]) for line in text.splitlines() if line.startswith("data:")]
    return [
        item
        for item in items
        if isinstance(item, dict)
        and (is_error(item) or ("message" in item and not _SUCCESS & item.keys()))
    ]


def _succeeded(text: str) -> bool:
    """Say whether the body of a 2xx is a whole answer: JSON of a known shape, or a finished stream."""
    value = load_json(text)
    if isinstance(value, dict):
        return bool(_SUCCESS & value.keys())
    return value is None and re.search(r"^event: ?message_stop\b", text, re.M) is not None


def _hear(status: int | None, headers: Mapping[str, str], said: Any) -> _Heard:
    """Listen to a body. An HTML page speaks only where a gateway puts the API's words in one."""
    heard = _Heard()
    if not (isinstance(said, str) and _HTML.match(said)):
        _listen(said, heard)
    elif status in (400, 422):
        heard.voices.append(_Voice(flatten(re.sub(r"<[^<>]{0,500}>", " . ", said))))
    if kind := headers.get("x-amzn-errortype"):
        heard.types.insert(0, kind)
    return heard


def _type_reason(heard: _Heard) -> Reason | None:
    """Return what the innermost known error type says."""
    for kind in reversed(heard.types):
        for pattern, reason in _TYPE_REASONS:
            if pattern.search(kind[:200]):
                return reason
    return None


def _decide(
    status: int | None, heard: _Heard, text: str, sent: frozenset[str], endpoint: str | None
) -> _Decision:
    """Look for something said about betas in every message, then for a reason that is not about them."""
    kind = _type_reason(heard)
    found: dict[Verdict, _Decision] = {}
    for voice in heard.voices:
        if _AT_GATEWAY.search(voice.text[:4000]):
            return _Decision("inconclusive", "request", message=voice.text)
        if said := _statement(voice, sent, status, heard, kind):
            verdict, names = said
            before = found.get(verdict, _Decision(verdict, message=voice.text))
            found[verdict] = replace(before, names=tuple(dict.fromkeys(before.names + names)))
    if found:
        return found.get("refused") or next(iter(found.values()))
    message = next((it.text for it in reversed(heard.voices) if it.text.strip(" \"'}\n")), "")
    if any(_NOT_ENROLLED.search(code[:200]) for code in heard.types):
        return _Decision("restricted", message=message)
    if _lacks_a_beta(status, message, sent, endpoint):
        return _Decision("beta_missing", message=message)
    return _Decision("inconclusive", _reason(status, heard, kind, message, text), message=message)


def _statement(
    voice: _Voice, sent: frozenset[str], status: int | None, heard: _Heard, kind: Reason | None
) -> tuple[Verdict, tuple[str, ...]] | None:
    """Find what one message states about betas, and the names that it is about."""
    believed = _may_speak_of_names(status, heard, kind)
    forbidden = kind == "auth" or (kind is None and status == 403)
    if believed and (refusal := _refusal(voice, sent, forbidden=forbidden)):
        return refusal
    if limited := _limitation(voice, sent):
        return limited, _mentioned(voice, sent)
    foreign = believed and status in (None, 400, 422) and kind in (None, "request")
    names = _foreign_refusal(voice, sent) if foreign else ()
    return ("refused", names) if names else None


def _may_speak_of_names(status: int | None, heard: _Heard, kind: Reason | None) -> bool:
    """Say whether a refusal is believable, given the innermost error type, or without one the status."""
    if kind is None:
        return status not in (401, 402, 404, 408, 413, 429, 529)
    missing = any(re.search("not.?found", word[:200], re.I) for word in heard.types[-1:])
    return not missing and (kind in ("request", "server") or (kind == "auth" and status != 401))


def _limitation(voice: _Voice, sent: frozenset[str]) -> Verdict | None:
    """Find a statement that a plan or a model does not have a feature which betas open."""
    text = re.sub(r"\s+", " ", voice.text[:4000])
    words = [parse(name).feature for name in sent]
    about = bool(_FEATURE.search(text)) or any(
        word.replace("-", " ") in text.lower() for word in words if "-" in word
    )
    if not about and not any(name in text for name in sent):
        return None
    for pattern in (_NOT_GRANTED, _MODEL_LACKS):
        for match in pattern.finditer(text):
            before = text[: match.start()]
            if _QUOTED.search(voice.lead[-300:] + " " + re.sub(r"^tools\.\d+\.model", "", before)):
                return None
            if pattern is _NOT_GRANTED and not _NOT_THE_PLAN.search(text):
                return "restricted"
            if pattern is _MODEL_LACKS and _MODEL.search(text):
                return "model_unsupported"
    return None


def _mentioned(voice: _Voice, sent: frozenset[str]) -> tuple[str, ...]:
    """Return the names in a short message: those that were sent, or that have a date as betas do."""
    words = (word[0].rstrip(".!?") for word in _WORD.finditer(voice.text[:4000]))
    return tuple(
        dict.fromkeys(
            word
            for word in words
            if word in sent or (parse(word).release_date and not _MODEL.match(word))
        )
    )


def _lacks_a_beta(
    status: int | None, message: str, sent: frozenset[str], endpoint: str | None
) -> bool:
    """Recognise the two answers that a missing header is known to cause."""
    if status in (401, None) and "OAuth authentication is currently not supported" in message:
        return True
    plain = _NOT_FOUND.fullmatch(message)
    path = endpoint if plain and endpoint else message[:500]
    beta_only = bool(_BETA_PATH.search(path)) and (plain is not None or "/v1/" in path)
    return status == 404 and not sent and beta_only


def _reason(
    status: int | None, heard: _Heard, kind: Reason | None, message: str, text: str
) -> Reason:
    """Say why an answer says nothing about betas: first its type, then its status, then its words."""
    short = message[:4000]
    if kind in ("rate_limit", "overload", "billing", "auth"):
        return kind
    if status in _STATUS_REASONS:
        return _STATUS_REASONS[status]
    if status is not None and status >= 500:
        return "server"
    if _BILLING.search(short):
        return "billing"
    if _AUTH.search(short):
        return "auth"
    explained = bool(_BODY_FIELD.search(short)) or (heard.structured and bool(short.strip()))
    if status is None and kind is None and not explained:
        words = (reason for pattern, reason in _TEXT_REASONS if pattern.search(short))
        return next(words, "unparseable" if text.strip() else "network")
    if status is None or not 400 <= status < 500:
        return kind or ("request" if explained else "unparseable")
    said = _RENDERED.sub("", short, count=1)
    told = explained or (said != short and not _REASON_PHRASE.fullmatch(said[:200]))
    return "request" if told or status in (404, 413) else "unparseable"


_REQUEST_ID = re.compile(r"(?<![A-Za-z0-9_])req_[A-Za-z0-9_]{3,80}")


def _explain(
    decided: _Decision,
    headers: Mapping[str, str],
    text: str,
    platform: str | None,
    model: str | None,
) -> Meaning:
    """Put a decision in words, with all that the answer tells beside it."""
    near = _REQUEST_ID.search(text)
    named = ("request-id", "x-request-id", "anthropic-request-id", "x-amzn-requestid")
    request_id = next((headers[key][:120] for key in named if headers.get(key)), near and near[0])
    inconclusive = decided.verdict == "inconclusive"
    explanation, advice = _WORDS[decided.reason if inconclusive else decided.verdict]
    names = ", ".join(decided.names[:20])
    explanation = explanation.format(names=names or "a beta that it does not name")
    advice = advice.format(names=names or "the beta")
    fields, tags = _fields_and_tags(decided.message) if decided.reason == "request" else ((), ())
    if inconclusive and _AT_GATEWAY.search(decided.message[:4000]):
        explanation = "A gateway refused a parameter by itself, before it asked the API."
    if decided.verdict == "model_unsupported" and model:
        explanation += f" The request was for {model[:120]}."
    message = re.sub(r"[\s\x00-\x1f]+", " ", decided.message[:8000]).strip(" \"'{}[],")
    return Meaning(
        verdict=decided.verdict,
        reason=decided.reason if inconclusive else None,
        refused=decided.names,
        platform=_told_platform(request_id or "", headers, text, platform),
        request_id=mask_secrets(request_id) if request_id else None,
        message=mask_secrets(message)[:MESSAGE_MAX],
        explanation=explanation,
        advice=advice,
        body_fields=fields,
        tags=tags,
    )


def _fields_and_tags(message: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the body fields that a validation message names, and the types in them that it does not know."""
    fields: dict[str, None] = {}
    tags: dict[str, None] = {}
    for path, tag in _BODY_FIELD.findall(message[:20_000]):
        parts = (part for part in re.split(r"[.\[\]]", path) if part and not part.isdigit())
        fields[".".join(parts)] = None
        if tag:
            tags[tag] = None
    for listed in _OTHER_FIELDS.findall(message[:20_000]):
        fields.update(dict.fromkeys(re.findall(r"[A-Za-z_][\w.]*", listed)))
    return tuple(fields), tuple(tags)


_PLATFORM_SIGNS: Final = (
    ("vertex", re.compile(r"\b(?:req|msg)_vrtx_"), _rule("vertex_?ai_?exception|vertex-ai error")),
    (
        "bedrock",
        re.compile(r"\bmsg_bdrk_|\breq_[a-z2-7]{40,}"),
        _rule(
            r"""bedrock|validationexception|the model returned the following errors|invalid beta flag
            |(?<![\w.])(?:[a-z]{2,6}(?:-[a-z]+)?\.)?anthropic\.claude-"""
        ),
    ),
    ("anthropic", re.compile(r"\breq_01"), _rule("(?!)")),
)


def _told_platform(
    request_id: str, headers: Mapping[str, str], text: str, given: str | None
) -> str | None:
    """Tell the platform by ids (`req_vrtx_`, `msg_bdrk_`, ...), else by the wording of its errors.

    Anthropic's own ids say little: other platforms, too, hand on what it answered there.
    """
    near = f"{request_id} {text[:20_000]}"
    for platform, ids, _ in _PLATFORM_SIGNS:
        if ids.search(near):
            return given or platform if platform == "anthropic" else platform
    if given or "x-amzn-errortype" in headers:
        return given or "bedrock"
    said = "" if _succeeded(text) else near
    return next((platform for platform, _, words in _PLATFORM_SIGNS if words.search(said)), None)
