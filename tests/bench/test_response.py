"""Where a response ends, however it arrives; and what is no response."""

from __future__ import annotations

import pytest

from bench.response import HEAD_BYTES_MAX, ResponseError, ResponseReader

_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"
_CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
)
_EMPTY = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


def feed_in_pieces(reader: ResponseReader, raw: bytes, size: int) -> list[bool]:
    pieces = (raw[i : i + size] for i in range(0, len(raw), size))
    return [reader.feed(bytearray(piece), len(piece)) for piece in pieces]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("raw", "length"), [(_PLAIN, 11), (_CHUNKED, 11), (_EMPTY, 0)])
def test_the_end_is_where_the_last_byte_is(raw: bytes, length: int, size: int) -> None:
    reader = ResponseReader(keep=True)
    for _ in range(2):  # the same reader again, as on a connection that is kept
        done = feed_in_pieces(reader, raw, size)
        assert done[-1]
        assert not any(done[:-1])
        assert reader.body_bytes == length
        assert reader.body == b"hello world"[:length]
        assert reader.close == (raw is _EMPTY)
        reader.begin()


def test_head_has_a_length_but_no_body() -> None:
    reader = ResponseReader(no_body=True)
    raw = _PLAIN.removesuffix(b"hello world")
    assert reader.feed(bytearray(raw), len(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        _PLAIN + b"!",
        _CHUNKED + b"!",
        _CHUNKED.replace(b"5;x", b"zz"),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_BYTES_MAX,
    ],
)
def test_what_is_no_response_is_an_error(raw: bytes) -> None:
    with pytest.raises(ResponseError):
        ResponseReader().feed(bytearray(raw), len(raw))
