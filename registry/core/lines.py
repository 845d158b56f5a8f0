"""Bytes to numbered lines, in bounded memory, whatever the bytes are.

Hides compression, byte order marks, line endings, cut files and lines without an end.

Nothing here raises on any content. What is wrong with a file as a whole stands in `Lines.problem` when the
lines are at an end; all that could be read has been given out by then.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

__all__ = ["LINE_MAX", "Line", "Lines"]

LINE_MAX: Final = 1 << 20
"""Longest line that is read, in bytes."""

_CHUNK: Final = 1 << 18
_GZIP: Final = b"\x1f\x8b"
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Line(NamedTuple):
    """One line without its ending.

    `is_long`: only its first `LINE_MAX` bytes are here. `is_open`: it is the last one and no line ending
    follows, so that its writer may not be done with it.
    """

    number: int
    raw: bytes
    is_long: bool = False
    is_open: bool = False


class Lines:
    """The lines of a stream, once. gzip is told by its first bytes, UTF-8 and UTF-16 by their marks."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.bytes_read = 0
        """Bytes taken from the stream so far: what a progress bar shows."""
        self.problem: str | None = None
        """What is wrong with the file as a whole, in one sentence."""

    def __iter__(self) -> Iterator[Line]:
        return _split(_decoded(self._unpacked()))

    def _chunks(self) -> Iterator[bytes]:
        while chunk := self._stream.read(_CHUNK):
            self.bytes_read += len(chunk)
            yield chunk

    def _unpacked(self) -> Iterator[bytes]:
        chunks = _with_start(self._chunks(), len(_GZIP))
        first = next(chunks, b"")
        if first.startswith(_GZIP):
            yield from self._gunzip(_chain(first, chunks))
        else:
            yield from _chain(first, chunks)

    def _gunzip(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Unpack, member after member (rotated logs are often joined), never more than a chunk at once."""
        unpack = zlib.decompressobj(31)
        rest = b""
        for chunk in chunks:
            rest += chunk
            while rest:
                if unpack.eof:
                    rest = rest.lstrip(b"\0")  # padding between members is allowed
                    unpack = zlib.decompressobj(31) if rest else unpack
                    continue
                try:
                    made = unpack.decompress(rest, _CHUNK)
                except zlib.error:
                    self.problem = (
                        f"The gzip data is damaged near byte {self.bytes_read:,}; what stands before "
                        "it was read."
                    )
                    return
                if made:
                    yield made
                rest = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
        yield unpack.flush()
        if not unpack.eof:
            self.problem = "The gzip file is cut off; what stands before the cut was read."


def _with_start(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Make the first chunk at least `size` long, for a pipe may give out a byte at a time."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= size:
            break
    if first:
        yield first
    yield from chunks


def _chain(first: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from chunks


def _decoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Take the byte order mark away; turn UTF-16 into UTF-8."""
    chunks = _with_start(chunks, len(codecs.BOM_UTF8))
    first = next(chunks, b"")
    encoding = _UTF16.get(first[:2])
    if encoding is None:
        yield from _chain(first.removeprefix(codecs.BOM_UTF8), chunks)
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in _chain(first[2:], chunks):
        yield decoder.decode(chunk).encode("utf-8", "replace")


def _split(chunks: Iterable[bytes]) -> Iterator[Line]:
    number, rest, is_long = 1, b"", False
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for raw in whole:
            yield _line(number, raw, is_long)
            number, is_long = number + 1, False
        if (
            len(rest) > LINE_MAX + 1
        ):  # one more than fits, so that `_line` knows; the others are let go
            rest, is_long = rest[: LINE_MAX + 1], True
    if rest:
        yield _line(number, rest, is_long)._replace(is_open=True)


def _line(number: int, raw: bytes, is_long: bool) -> Line:
    plain = raw.removesuffix(b"\r")
    if len(plain) > LINE_MAX or is_long:
        return Line(number, plain[:LINE_MAX], is_long=True)
    return Line(number, plain)
