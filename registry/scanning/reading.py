"""What each file names: read in bounded memory, on all processors, in the order of the walk.

A file is binary when a NUL stands in its first 8 KiB, unless a byte order mark says that it is UTF-16;
those whose name says it already (`.pyc`, `.png`) are not opened.
Files are handed to other processes in batches; a small tree is read in this one, where starting
others would cost more than it saves. What is known of betas takes a moment to load, so the others begin
before that: they sift the files for those worth a closer look, which most are not.
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
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from registry.core.scan import Found, Scanner, may_hold
from registry.scanning.walk import Files

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

__all__ = ["FOUND_MAX", "Read", "Reader", "read_stream"]

FOUND_MAX: Final = 10_000
"""Most places reported of one file."""

_PIECE: Final = 512 * 1024
_HEAD: Final = 8 * 1024
_BATCH: Final = 256
_FEW: Final = 3
"""So many batches are read faster than other processes are started."""
_EARLY: Final = 400
"""So many are sifted before it is known what is known."""

_BINARY: Final = (".pyc", ".so", ".png", ".jpg", ".jpeg", ".gif", ".zip", ".gz", ".whl", ".woff2")
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(slots=True)
class Read:
    """What reading a batch of files gave; files without a beta are only counted."""

    found: list[tuple[str, list[Found]]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    files: int = 0
    binary: int = 0


class Reader:
    """Reads the files of a walk; entered, it has begun.

    1. `with Reader(...) as reader`: other processes sift the first files, if there are many.
    2. `reader.read(known)`: what all files hold, in their order.
    """

    def __init__(self, folders: Iterable[Files], jobs: int | None = None) -> None:
        self._batches = _batches(folders)
        self._workers = jobs or min(os.cpu_count() or 1, 8)
        self._pool: ProcessPoolExecutor | None = None
        self._sifted: deque[Future[_Sifted]] = deque()

    def __enter__(self) -> Reader:
        """Begin, unless few files are there or one process has to do."""
        few = list(islice(self._batches, _FEW))
        self._batches = chain(few, self._batches)
        if len(few) == _FEW and self._workers > 1:
            self._pool = _pool(self._workers)
            for batch in islice(self._batches, _EARLY):
                self._sifted.append(self._pool.submit(_sift, batch))
        return self

    def __exit__(self, *_: object) -> None:
        """End the other processes; what they have not begun is not done."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def read(self, known: Iterable[str]) -> Iterator[Read]:
        """Yield what the files hold."""
        names = tuple(known)
        if self._pool is None:
            scanner = Scanner(names)
            for batch in self._batches:
                yield _read_batch(scanner, batch)
            return
        yield from self._in_order(self._pool, names)

    def _in_order(self, pool: ProcessPoolExecutor, known: tuple[str, ...]) -> Iterator[Read]:
        """Keep the processes busy, and what they give in order, without gathering too much of it."""
        waiting: deque[tuple[Read, Future[Read]]] = deque()
        for result, batch in self._tasks():
            waiting.append((result, pool.submit(_work, known, batch)))
            if len(waiting) > self._workers * 8:
                yield _joined(*waiting.popleft())
        while waiting:
            yield _joined(*waiting.popleft())

    def _tasks(self) -> Iterator[tuple[Read, Sequence[Files]]]:
        while self._sifted:
            sifted = self._sifted.popleft().result()
            yield sifted.read, sifted.promising
        for batch in self._batches:
            yield Read(), batch


def _joined(sifted: Read, future: Future[Read]) -> Read:
    read = future.result()
    if not sifted.files:
        return read
    return replace(sifted, found=read.found, problems=[*sifted.problems, *read.problems])


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


def _pool(workers: int) -> ProcessPoolExecutor:
    from concurrent.futures import ProcessPoolExecutor

    # A fork starts in milliseconds and is safe as long as this process has no other thread.
    forks = sys.platform == "linux" and threading.active_count() == 1
    context = multiprocessing.get_context("fork" if forks else "spawn")
    return ProcessPoolExecutor(workers, context, _begin)


def _begin() -> None:
    # Only the first process answers Ctrl-C; the others end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@cache
def _scanner(known: tuple[str, ...]) -> Scanner:
    return Scanner(known)


def _work(known: tuple[str, ...], batch: Sequence[Files]) -> Read:
    return _read_batch(_scanner(known), batch)


@dataclass(slots=True)
class _Sifted:
    """A batch without the files that hold no beta, whatever is known; and what was counted."""

    read: Read = field(default_factory=Read)
    promising: list[Files] = field(default_factory=list)


def _sift(batch: Sequence[Files]) -> _Sifted:
    sifted = _Sifted()
    for folder in batch:
        files = tuple(file for file in folder.files if _is_promising(sifted.read, folder, file))
        if files:
            sifted.promising.append(replace(folder, files=files))
    return sifted


def _is_promising(result: Read, folder: Files, file: str) -> bool:
    result.files += 1
    if file.endswith(_BINARY):
        result.binary += 1
        return False
    try:
        handle = os.open(folder.folder + file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            opened = _open(handle)
        finally:
            os.close(handle)
    except OSError as error:
        _complain(result, folder.name + file, f"{error.strerror or error}.")
        return False
    if opened is None:
        result.binary += 1
        return False
    text, following, encoding = opened
    return bool(following) or encoding is not None or may_hold(text)


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
            if found != []:
                _note(result, folder.name + file, found)
    return result


def _note(result: Read, name: str, found: list[Found] | None) -> None:
    if found is None:
        result.binary += 1
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


def _scan_file(scanner: Scanner, path: str) -> list[Found] | None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _scan(scanner, handle)
    finally:
        os.close(handle)


def _scan(scanner: Scanner, handle: int) -> list[Found] | None:
    """Find the betas of an open file; None if it is binary."""
    opened = _open(handle)
    if opened is None:
        return None
    text, following, encoding = opened
    if not following and encoding is None:
        return scanner.find(text) if may_hold(text) else []
    pieces = chain((text, following), iter(partial(os.read, handle, _PIECE), b""))
    return _scan_pieces(scanner, _as_utf8(pieces, encoding) if encoding else pieces)


def _open(handle: int) -> tuple[bytes, bytes, str | None] | None:
    """Read the first two pieces of a file, the second empty if it is short; None if it is binary."""
    text = _head(handle)
    encoding = _UTF16.get(text[:2])
    if encoding is None and b"\0" in text:
        return None
    if len(text) < _HEAD:
        return text, b"", encoding
    return text + os.read(handle, _PIECE), os.read(handle, _PIECE), encoding


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
