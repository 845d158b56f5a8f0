"""Lines of any bytes: numbered, bounded, and honest about a file that is cut."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.lines import LINE_MAX, Lines


def lines_of(data: bytes) -> tuple[list[tuple[int, bytes]], str | None]:
    """All lines with their numbers, and the problem of the file."""
    lines = Lines(io.BytesIO(data))
    return [(line.number, line.raw) for line in lines], lines.problem


class Dribble(io.BytesIO):
    """A pipe that gives out a byte at a time."""

    def read(self, _size: int | None = -1) -> bytes:
        return super().read(1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\r\nb", [(1, b"a"), (2, b"b")]),
        (b"\xef\xbb\xbfa\n\nc\n", [(1, b"a"), (2, b""), (3, b"c")]),
        ("é\nb\n".encode("utf-16"), [(1, "é".encode()), (2, b"b")]),
        ("a\r\nb".encode("utf-16-be").join([b"\xfe\xff", b""]), [(1, b"a"), (2, b"b")]),
        (gzip.compress(b"a\n", mtime=0) + gzip.compress(b"b\n", mtime=0), [(1, b"a"), (2, b"b")]),
        (gzip.compress(b"a\n", mtime=0) + b"\0" * 300, [(1, b"a")]),
        (gzip.compress(mtime=0, data=b"\xef\xbb\xbfa\r\n"), [(1, b"a")]),
    ],
)
def test_what_bytes_become(data: bytes, expected: list[tuple[int, bytes]]) -> None:
    """Marks, endings, UTF-16, gzip and joined gzip; however small the pieces are."""
    assert lines_of(data) == (expected, None)
    assert [(line.number, line.raw) for line in Lines(Dribble(data))] == expected


@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"").rstrip(b"\r"))))
def test_lines_come_back_with_their_numbers(texts: list[bytes]) -> None:
    """What was joined is split, whatever is in it; a first byte is kept out that means another format."""
    texts = [b"x" + text for text in texts]
    joined = b"".join(text + b"\n" for text in texts)
    assert lines_of(joined) == (list(enumerate(texts, start=1)), None)
    assert lines_of(gzip.compress(joined)) == (list(enumerate(texts, start=1)), None)


@given(st.integers(min_value=11, max_value=10_000))
def test_a_cut_gzip_gives_what_stands_before_the_cut(cut: int) -> None:
    """Whole lines from the front, a clear word, and no exception, wherever the cut is."""
    whole = b"".join(b"line %d of the log\n" % number for number in range(1, 3000))
    packed = gzip.compress(whole, 1)
    found, problem = lines_of(packed[: min(cut, len(packed) - 1)])
    assert problem is not None
    assert "cut off" in problem
    assert whole.startswith(b"\n".join(raw for _, raw in found))


def test_damaged_gzip_is_told() -> None:
    """Bytes that were changed on the way end the reading, with the place."""
    packed = bytearray(gzip.compress(b"".join(b"%d\n" % number for number in range(100_000))))
    packed[len(packed) // 2] ^= 0xFF
    found, problem = lines_of(bytes(packed))
    assert found[0] == (1, b"0")
    assert problem is not None
    assert "damaged" in problem


@pytest.mark.parametrize("size", [LINE_MAX - 1, LINE_MAX, LINE_MAX + 1, 3 * LINE_MAX])
def test_a_long_line_is_bounded(size: int) -> None:
    """It is cut and marked, and the numbers of the lines after it are right."""
    lines = list(Lines(io.BytesIO(b"a\n" + b"x" * size + b"\r\nb\n" + b"y" * size)))
    assert [line.number for line in lines] == [1, 2, 3, 4]
    assert [line.is_long for line in lines] == [False, size > LINE_MAX, False, size > LINE_MAX]
    assert all(len(line.raw) <= LINE_MAX for line in lines)
    assert [line.is_open for line in lines] == [False, False, False, True]
