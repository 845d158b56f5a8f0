"""What each file names: read in bounded memory, on all processors, in the order of the walk.

A file is binary when a NUL stands in its first 8 KiB, unless a byte order mark says that it is UTF-16;
those whose name says it already (`.pyc`, `.png`) are not opened. What an earlier scan wrote is passed
over (`own.py`).
Files are handed to other processes in batches; a small tree is read in this one, where starting
others would cost more than it saves.
"""

from __future__ import annotations

import codecs
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, Literal

from registry.core.scan import Found, Scanner, may_hold
from registry.scanning.own import is_own, is_own_json
from registry.scanning.walk import Files

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

__all__ = ["FOUND_MAX", "Read", "read_files", "read_stream"]

FOUND_MAX: Final = 10_000
"""Most places reported of one file."""

_PIECE: Final = 512 * 1024
_HEAD: Final = 8 * 1024
_BATCH: Final = 256
_FEW: Final = 3
"""So many batches are read faster than other processes are started."""

_BINARY: Final = (".pyc", ".so", ".png", ".jpg", ".jpeg", ".gif", ".zip", ".gz", ".whl", ".woff2")
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

Skip = Literal["binary", "own"]
"""Why the betas of a file do not count: it is no text, or what an earlier scan wrote."""


@dataclass(slots=True)
class Read:
    """What reading a batch of files gave; files without a beta are only counted."""

    found: list[tuple[str, list[Found]]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    files: int = 0
    binary: int = 0
    own: int = 0


def read_files(
    folders: Iterable[Files], known: Iterable[str], jobs: int | None = None
) -> Iterator[Read]:
    """Read the files of a walk and yield what they hold, in their order."""
    names = tuple(known)
    batches = _batches(folders)
    few = list(islice(batches, _FEW))
    workers = jobs or min(os.cpu_count() or 1, 8)
    if len(few) < _FEW or workers == 1:
        scanner = Scanner(names)
        for batch in chain(few, batches):
            yield _read_batch(scanner, batch)
        return
    with _pool(workers, names) as pool:
        yield from _in_order(pool, chain(few, batches), ahead=workers * 8)


def read_stream(handle: int, name: str, known: Iterable[str]) -> Read:
    """Read an open file, such as standard input."""
    result = Read(files=1)
    try:
        _note(result, name, _scan(Scanner(known), handle))
    except OSError as error:
        _complain(result, name, f"{error.strerror or error}.")
    return result


def _batches(folders: Iterable[Files]) -> Iterator[Sequence[Files]]:
    """Gather folders until they hold enough files; a large folder is one batch."""
    batch: list[Files] = []
    size = 0
    for folder in folders:
        batch.append(folder)
        size += len(folder.files)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# --- Processes ------------------------------------------------------------------------------------

_scanner: Scanner | None = None


def _pool(workers: int, known: tuple[str, ...]) -> ProcessPoolExecutor:
    from concurrent.futures import ProcessPoolExecutor

    # A fork starts in milliseconds and is safe as long as this process has no other thread.
    forks = sys.platform == "linux" and threading.active_count() == 1
    context = multiprocessing.get_context("fork" if forks else "spawn")
    return ProcessPoolExecutor(workers, context, _begin, (known,))


def _begin(known: tuple[str, ...]) -> None:
    global _scanner
    # Only the first process answers Ctrl-C; the others end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _scanner = Scanner(known)


def _work(batch: Sequence[Files]) -> Read:
    assert _scanner is not None
    return _read_batch(_scanner, batch)


def _in_order(
    pool: ProcessPoolExecutor, batches: Iterable[Sequence[Files]], ahead: int
) -> Iterator[Read]:
    waiting: deque[Future[Read]] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(_work, batch))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


# --- One file -------------------------------------------------------------------------------------


def _read_batch(scanner: Scanner, batch: Sequence[Files]) -> Read:
    result = Read()
    for folder in batch:
        for file in folder.files:
            result.files += 1
            if file.endswith(_BINARY):
                result.binary += 1
                continue
            try:
                found = _scan_file(scanner, folder.folder + file)
            except OSError as error:
                _complain(result, folder.name + file, f"{error.strerror or error}.")
                continue
            if found:
                _note(result, folder.name + file, found)
    return result


def _note(result: Read, name: str, found: list[Found] | Skip) -> None:
    if found == "binary":
        result.binary += 1
        return
    if found == "own":
        result.own += 1
        return
    if len(found) > FOUND_MAX:
        _complain(result, name, f"More than {FOUND_MAX:,} betas; only the first are shown.")
    if found:
        result.found.append((_printable(name), found[:FOUND_MAX]))


def _complain(result: Read, name: str, sentence: str) -> None:
    result.problems.append((_printable(name), sentence))


def _printable(name: str) -> str:
    """Replace what no terminal and no report can show: control characters, bytes that are no UTF-8."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name)


def _scan_file(scanner: Scanner, path: str) -> list[Found] | Skip:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _scan(scanner, handle)
    finally:
        os.close(handle)


def _scan(scanner: Scanner, handle: int) -> list[Found] | Skip:
    """Find the betas of an open file, or say why they do not count."""
    text = _head(handle)
    encoding = _UTF16.get(text[:2])
    if encoding is None and b"\0" in text:
        return "binary"
    if is_own(b"".join(_as_utf8([text[2:]], encoding)) if encoding else text):
        return "own"
    following = b""
    if len(text) == _HEAD:
        text += os.read(handle, _PIECE)
        following = os.read(handle, _PIECE)
    if not following and encoding is None:
        found = scanner.find(text) if may_hold(text) else []
        return "own" if found and is_own_json(text) else found
    pieces = chain((text, following), iter(partial(os.read, handle, _PIECE), b""))
    return _scan_pieces(scanner, _as_utf8(pieces, encoding) if encoding else pieces)


def _head(handle: int) -> bytes:
    """Read the first bytes of a file; a pipe gives them bit by bit."""
    head = os.read(handle, _HEAD)
    while len(head) < _HEAD and (more := os.read(handle, _HEAD - len(head))):
        head += more
    return head


def _scan_pieces(scanner: Scanner, pieces: Iterable[bytes]) -> list[Found]:
    stream = scanner.stream()
    found: list[Found] = []
    for piece in pieces:
        found += stream.feed(piece)
        if len(found) > FOUND_MAX:
            return found
    return found + stream.feed(b"", last=True)


def _as_utf8(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
