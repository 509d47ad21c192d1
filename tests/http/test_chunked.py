"""The chunked coding: strict, and the same however the bytes are split."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.http.chunked import ChunkedDecoder
from holdfast.http.limits import Limits
from holdfast.http.message import BadBody

LIMITS = Limits(chunk_line_bytes_max=64, trailer_bytes_max=128, header_fields_max=4)


def decode(pieces: list[bytes], view_bytes: int = 7) -> tuple[bytes, bytes, bool]:
    """(data, what follows the body, whether it ended), fed piece by piece."""
    decoder = ChunkedDecoder(LIMITS)
    data = b""
    for piece in pieces:
        decoder.raw += piece
        while True:
            buffer = bytearray(view_bytes)
            count = decoder.decode(memoryview(buffer))
            data += buffer[:count]
            if count < view_bytes:
                break
    return data, bytes(decoder.raw), decoder.ended


GOOD = [
    (b"0\r\n\r\n", b"", b""),
    (b"3\r\nabc\r\n0\r\n\r\n", b"abc", b""),
    (b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nGET", b"abc0123456789", b"GET"),
    (b"000003\r\nabc\r\n00\r\n\r\n", b"abc", b""),
    (b'3;a=b;c="d e"\r\nabc\r\n0;x\r\n\r\n', b"abc", b""),
    (b"3\r\n\r\n0\r\n0\r\n\r\n", b"\r\n0", b""),
    (b"1\r\na\r\n0\r\nX-A: b\r\nx-c:\r\n\r\n\r\n", b"a", b"\r\n"),
]


@pytest.mark.parametrize(("raw", "data", "rest"), GOOD)
def test_decoded(raw: bytes, data: bytes, rest: bytes) -> None:
    assert decode([raw]) == (data, rest, True)
    for cut in range(len(raw)):
        assert decode([raw[:cut], raw[cut:]]) == (data, rest, True)
    assert decode([raw[i : i + 1] for i in range(len(raw))]) == (data, rest, True)


@pytest.mark.parametrize("cut", range(16))
def test_a_short_body_never_ends(cut: int) -> None:
    assert not decode([b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"[:cut]])[2]


BAD = [
    b"\r\n",
    b"-1\r\n",
    b"+1\r\na\r\n",
    b"0x1\r\na\r\n",
    b" 1\r\na\r\n",
    b"1 \r\na\r\n",
    b"1 ;a\r\na\r\n",
    b"g\r\n",
    b"1_0\r\n",
    b"1\na\r\n",
    b"1\ra\r\n",
    b"1;a\nb\r\na\r\n",
    b"1;\x00\r\na\r\n",
    b"1;a\xe9\r\na\r\n",
    b"1\r\nab\r\n0\r\n\r\n",
    b"1\r\na\n0\r\n\r\n",
    b"1\r\na0\r\n\r\n",
    b"1\r\na\rx",
    b"1234567890abcdef\r\n",
    b"1;" + b"a" * 64 + b"\r\na\r\n",
    b"1;" + b"a" * 80,
    b"0" * 80,
    b"0\r\nX : y\r\n\r\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\n x\r\n\r\n",
    b"0\r\nX: a\nY: b\r\n\r\n",
    b"0\r\nX: a\x00\r\n\r\n",
    b"0\r\nX: " + b"a" * 128 + b"\r\n\r\n",
    b"0\r\n" + b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 4 + b"\r\n",
    b"0\r\n" + b"X: a\r\n" * 5 + b"\r\n",
]


@pytest.mark.parametrize("raw", BAD)
def test_refused(raw: bytes) -> None:
    with pytest.raises(BadBody):
        decode([raw])
    with pytest.raises(BadBody):
        decode([raw[i : i + 1] for i in range(len(raw))])


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    view_bytes=st.integers(1, 50),
)
def test_splits_make_no_difference(parts: list[bytes], cuts: list[int], view_bytes: int) -> None:
    raw = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\nnext"
    bounds = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [raw[a:b] for a, b in itertools.pairwise(bounds)]
    assert decode(pieces, view_bytes) == (b"".join(parts), b"next", True)
