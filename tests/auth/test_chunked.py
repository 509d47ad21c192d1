"""The aws-chunked decoder: the same output however the input is cut; nothing wrong gets through."""

from __future__ import annotations

import io
import zlib
from base64 import b64encode

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.auth import chunked
from holdfast.auth.chunked import ChunkedDecoder, announced_trailers
from holdfast.auth.identity import Authenticated, AuthError, PayloadKind

from .support import encode, streaming

SIGNED = PayloadKind.STREAMING_SIGNED
SIGNED_TRAILER = PayloadKind.STREAMING_SIGNED_TRAILER
UNSIGNED_TRAILER = PayloadKind.STREAMING_UNSIGNED_TRAILER
KINDS = st.sampled_from([SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
CRC32 = "x-amz-checksum-crc32"


def decode(
    auth: Authenticated,
    pieces: list[bytes],
    length: int,
    names: tuple[str, ...] = (),
    room: int = 1 << 20,
) -> tuple[bytes, dict[str, str]]:
    """Feed `pieces`, `room` bytes of output at a time; the body ends after the last of them."""
    decoder = ChunkedDecoder(auth, length, names)
    out = bytearray(room)
    got = bytearray()
    for piece in pieces:
        view = memoryview(piece)
        while view:
            consumed, produced = decoder.feed(view, memoryview(out))
            assert consumed or produced
            got += out[:produced]
            view = view[consumed:]
    decoder.end()
    assert decoder.finished
    return bytes(got), decoder.trailers


def refusal(
    auth: Authenticated, body: bytes, length: int, names: tuple[str, ...] = ()
) -> AuthError:
    with pytest.raises(AuthError) as refused:
        decode(auth, [body], length, names)
    return refused.value


def cut(body: bytes, points: list[int]) -> list[bytes]:
    ends = sorted({point % (len(body) + 1) for point in points} | {len(body)})
    starts = [0, *ends]
    return [body[start:end] for start, end in zip(starts, ends, strict=False)]


CHUNKS = st.tuples(
    st.lists(
        st.integers(8192, 9000).map(lambda n: b"\r\n0;x" * (n // 5) + b"." * (n % 5)), max_size=3
    ),
    st.lists(st.binary(min_size=1, max_size=300), max_size=1),
).map(lambda both: both[0] + both[1])


@settings(max_examples=60, deadline=None)
@given(
    KINDS, CHUNKS, st.lists(st.integers(0, 30_000), max_size=40), st.integers(1, 9999), st.data()
)
def test_every_way_to_cut_the_input_gives_the_same(
    kind: PayloadKind, chunks: list[bytes], points: list[int], room: int, data: st.DataObject
) -> None:
    auth = streaming(kind)
    trailers: list[tuple[str, str]] = []
    if kind is not SIGNED:
        names = st.sampled_from([CRC32, "x-amz-checksum-sha256", "x-amz-meta-x"])
        values = st.text(alphabet="aZ09+/=", min_size=1, max_size=44)
        trailers = list(data.draw(st.dictionaries(names, values)).items())
    body = encode(auth, chunks, trailers, data.draw(st.sampled_from([b"\r\n", b"\n"])))
    plain = b"".join(chunks)
    announced = tuple(name for name, _ in trailers)
    got = decode(auth, cut(body, points), len(plain), announced, room)
    assert got == (plain, dict(trailers))


@pytest.mark.parametrize("kind", [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
def test_byte_by_byte_and_in_place(kind: PayloadKind) -> None:
    auth = streaming(kind)
    trailers = [] if kind is SIGNED else [(CRC32, "AAAAAA==")]
    names = tuple(name for name, _ in trailers)
    body = encode(auth, [b"x" * 8192, b"end"], trailers)
    assert decode(auth, [bytes([b]) for b in body], 8195, names, room=1)[0] == b"x" * 8192 + b"end"
    buffer = bytearray(body)
    decoder = ChunkedDecoder(auth, 8195, names)
    view = memoryview(buffer)
    assert decoder.feed(view, view) == (len(body), 8195)
    assert decoder.finished
    assert buffer[:8195] == b"x" * 8192 + b"end"


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([SIGNED, SIGNED_TRAILER]), st.integers(0, 10**6), st.integers(1, 255))
def test_no_changed_byte_changes_the_outcome(kind: PayloadKind, at: int, mask: int) -> None:
    auth = streaming(kind)
    trailers = {} if kind is SIGNED else {CRC32: "AAAAAA=="}
    body = bytearray(encode(auth, [b"a" * 40], list(trailers.items())))
    body[at % len(body)] ^= mask
    try:
        outcome = decode(auth, [bytes(body)], 40, tuple(trailers))
    except AuthError:
        return
    # Another way to write the same: the case of a trailer's name, a blank before its line's end.
    assert outcome == (b"a" * 40, trailers)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_unsigned_framing_holds_under_any_changed_byte(at: int, mask: int) -> None:
    auth = streaming(UNSIGNED_TRAILER)
    body = bytearray(encode(auth, [b"a" * 40], [(CRC32, "AAAAAA==")]))
    body[at % len(body)] ^= mask
    try:
        data, found = decode(auth, [bytes(body)], 40, (CRC32,))
    except AuthError:
        return
    assert (len(data), list(found)) == (40, [CRC32])


@pytest.mark.parametrize("kind", [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
def test_truncated_input_is_never_finished(kind: PayloadKind) -> None:
    auth = streaming(kind)
    trailers = [] if kind is SIGNED else [(CRC32, "AAAAAA==")]
    names = tuple(name for name, _ in trailers)
    body = encode(auth, [b"a" * 30], trailers)
    for length in range(len(body)):
        decoder = ChunkedDecoder(auth, 30, names)
        decoder.feed(body[:length], memoryview(bytearray(30)))
        assert not decoder.finished
        with pytest.raises(AuthError) as refused:
            decoder.end()
        assert refused.value.code == "IncompleteBody"


@pytest.mark.parametrize("kind", [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("data", [b"", b"x", b"y" * 100_000])
def test_a_body_of_any_size(kind: PayloadKind, data: bytes) -> None:
    auth = streaming(kind)
    body = encode(auth, [data] if data else [])
    assert decode(auth, [body], len(data)) == (data, {})


# --- signatures ------------------------------------------------------------------------------


def test_a_wrong_chunk_signature_says_what_was_signed() -> None:
    auth = streaming(SIGNED)
    body = encode(auth, [b"abc"]).replace(b"abc", b"abd")
    error = refusal(auth, body, 3)
    assert error.code == "SignatureDoesNotMatch"
    assert error.fields["AWSAccessKeyId"] == "AKIAIOSFODNN7EXAMPLE"
    assert error.fields["StringToSign"].startswith("AWS4-HMAC-SHA256-PAYLOAD\n20130524T000000Z\n")


def test_chunks_may_not_change_places() -> None:
    auth = streaming(SIGNED)
    one, two = b"1" * 8192, b"2" * 8192
    body = encode(auth, [one, two])
    size = len(b"2000;chunk-signature=") + 64 + 4 + 8192
    swapped = body[size : 2 * size] + body[:size] + body[2 * size :]
    assert refusal(auth, swapped, 16384).code == "SignatureDoesNotMatch"
    # nor be left out, even when the length agrees
    assert refusal(auth, body[size:], 8192).code == "SignatureDoesNotMatch"
    assert refusal(auth, body[:size] + body[2 * size :], 8192).code == "SignatureDoesNotMatch"


def test_another_seed_is_refused() -> None:
    body = encode(streaming(SIGNED, "6" * 64), [b"abc"])
    assert refusal(streaming(SIGNED), body, 3).code == "SignatureDoesNotMatch"


def test_unsigned_chunks_do_not_pass_for_signed_ones() -> None:
    plain = encode(streaming(UNSIGNED_TRAILER), [b"abc"])
    assert refusal(streaming(SIGNED), plain, 3).code == "IncompleteBody"
    signed = encode(streaming(SIGNED), [b"abc"])
    assert refusal(streaming(UNSIGNED_TRAILER), signed, 3).code == "IncompleteBody"


def test_a_trailer_must_be_signed_if_announced_so() -> None:
    auth = streaming(SIGNED_TRAILER)
    body = encode(auth, [b"abc"], [(CRC32, "AAAAAA==")])
    changed = body.replace(b"AAAAAA==", b"AAAAAB==")
    assert refusal(auth, changed, 3, (CRC32,)).code == "SignatureDoesNotMatch"
    start = body.index(b"x-amz-trailer-signature")
    unsigned = body[:start] + b"\r\n"
    assert refusal(auth, unsigned, 3, (CRC32,)).code == "IncompleteBody"
    without = body.replace(b"x-amz-checksum-crc32:AAAAAA==\r\n", b"")
    assert refusal(auth, without, 3, (CRC32,)).code == "MalformedTrailerError"


def test_nothing_may_follow_the_trailer_signature() -> None:
    auth = streaming(SIGNED_TRAILER)
    body = encode(auth, [b"abc"], [(CRC32, "AAAAAA==")])
    names = (CRC32, "x-amz-meta-a")
    late = body[:-2] + b"x-amz-meta-a:1\r\n\r\n"
    assert refusal(auth, late, 3, names).code == "MalformedTrailerError"
    assert refusal(auth, body[:-2] + body[-92:], 3, (CRC32,)).code == "MalformedTrailerError"


def test_trailers_are_bounded_together() -> None:
    auth = streaming(SIGNED_TRAILER)
    body = encode(auth, [])[: len(b"0;chunk-signature=") + 64 + 2] + b"\r\n" * 5000
    decoder = ChunkedDecoder(auth, 0, ())
    with pytest.raises(AuthError) as refused:
        decoder.feed(body, memoryview(b""))
    assert refused.value.code == "MalformedTrailerError"


# --- framing ---------------------------------------------------------------------------------

# body, x-amz-decoded-content-length, code
FRAMING: list[tuple[bytes, int, str]] = [
    (b"A\ndummy data\r\n0\r\n\r\n", 10, "IncompleteBody"),
    (b"A\r\ndummy data0\r\n\r\n", 10, "IncompleteBody"),
    (b"A\r\ndummy data\n0\r\n\r\n", 10, "IncompleteBody"),
    (b"B\r\ndummy data\r\n0\r\n\r\n", 10, "IncompleteBody"),
    (b"9\r\ndummy data\r\n0\r\n\r\n", 10, "IncompleteBody"),
    (b"A;x=y\r\ndummy data\r\n0\r\n\r\n", 10, "IncompleteBody"),
    (b" A\r\ndummy data\r\n0\r\n\r\n", 10, "IncompleteBody"),
    (b"0xA\r\ndummy data\r\n0\r\n\r\n", 10, "IncompleteBody"),
    (b"-A\r\ndummy data\r\n0\r\n\r\n", 10, "IncompleteBody"),
    (b"\r\n", 0, "IncompleteBody"),
    (b"0\r\n\r\n", 10, "IncompleteBody"),
    (b"5\r\ndummy\r\n0\r\n\r\n", 10, "IncompleteBody"),
    (b"A\r\ndummy data\r\n0\r\n\r\n", 9, "IncompleteBody"),
    (b"FFFFFFFFFFFFFFFF\r\nx", 10, "IncompleteBody"),
    (b"0" * 200, 10, "IncompleteBody"),
    (b"0\r\n\r\nx", 0, "IncompleteBody"),
    (b"0\r\n\r\n\r", 0, "IncompleteBody"),
    (b"0\r\n\r\n\r\n\r\n", 0, "IncompleteBody"),
    (b"0\r\n\r\n0\r\n\r\n", 0, "IncompleteBody"),
    (b"0\r\n\n", 0, "MalformedTrailerError"),
    (b"0\r\nx-amz-meta-a:1\r\n\r\n", 0, "MalformedTrailerError"),
]


@pytest.mark.parametrize(("body", "length", "code"), FRAMING)
def test_broken_framing(body: bytes, length: int, code: str) -> None:
    assert refusal(streaming(UNSIGNED_TRAILER), body, length).code == code


@pytest.mark.parametrize(
    "trailers",
    [
        b"",
        b"x-amz-checksum-sha1:AAAA\r\n",
        b"x-amz-checksum-crc32 :AAAAAA==\r\n",
        b"x-amz-checksum-crc32\r\n",
        b":AAAAAA==\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-crc32:AAAAAA==\r\n",
        b"x-amz-checksum-crc32:A\x00A\r\n",
        b"x-amz-checksum-crc32:" + b"A" * 5000 + b"\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:" + b"0" * 64 + b"\r\n",
    ],
)
def test_malformed_trailers(trailers: bytes) -> None:
    body = b"0\r\n" + trailers + b"\r\n"
    assert refusal(streaming(UNSIGNED_TRAILER), body, 0, (CRC32,)).code == "MalformedTrailerError"


def test_one_empty_line_after_the_end_is_minio_go() -> None:
    body = b"0\r\nx-amz-checksum-crc32:AAAAAA==\n\r\n\r\n"
    got = decode(streaming(UNSIGNED_TRAILER), [body], 0, (CRC32,))
    assert got == (b"", {CRC32: "AAAAAA=="})


def test_trailers_need_a_payload_that_has_them() -> None:
    with pytest.raises(AuthError) as refused:
        ChunkedDecoder(streaming(SIGNED), 0, (CRC32,))
    assert refused.value.code == "InvalidRequest"
    many = tuple(f"x-amz-meta-{n}" for n in range(chunked.TRAILERS_MAX + 1))
    with pytest.raises(AuthError) as refused:
        ChunkedDecoder(streaming(UNSIGNED_TRAILER), 0, many)
    assert refused.value.code == "MalformedTrailerError"


def test_announced_trailers() -> None:
    assert announced_trailers("") == ()
    assert announced_trailers(" X-Amz-Checksum-CRC32 , a,") == (CRC32, "a")


def test_only_streaming_payloads_are_decoded() -> None:
    with pytest.raises(ValueError, match="aws-chunked"):
        ChunkedDecoder(streaming(PayloadKind.UNSIGNED), 0)


# sizes of the chunks; the fields of the refusal
@pytest.mark.parametrize(
    ("sizes", "fields"),
    [
        ([8192, 8192, 100], None),
        ([100], None),
        ([3, 2], {"Chunk": "2", "BadChunkSize": "3"}),
        ([8192, 10, 8192], {"Chunk": "3", "BadChunkSize": "10"}),
    ],
)
def test_only_the_last_chunk_may_be_small(sizes: list[int], fields: dict[str, str] | None) -> None:
    auth = streaming(SIGNED)
    body = encode(auth, [b"a" * size for size in sizes])
    if fields is None:
        assert decode(auth, [body], sum(sizes))[0] == b"a" * sum(sizes)
    else:
        error = refusal(auth, body, sum(sizes))
        assert (error.code, error.fields) == ("InvalidChunkSizeError", fields)


def test_more_than_the_declared_length_is_refused_at_once() -> None:
    decoder = ChunkedDecoder(streaming(UNSIGNED_TRAILER), 10, ())
    with pytest.raises(AuthError) as refused:
        decoder.feed(b"B\r\n", memoryview(bytearray(64)))
    assert refused.value.code == "IncompleteBody"


def test_what_is_held_back_is_bounded() -> None:
    decoder = ChunkedDecoder(streaming(SIGNED), 10, ())
    decoder.feed(b"0" * 98, memoryview(b""))
    assert len(decoder._line) < chunked.CHUNK_LINE_BYTES_MAX
    with pytest.raises(AuthError):
        decoder.feed(b"0", memoryview(b""))


# --- a real client's encoder -----------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 8192, 100_000])
def test_botocore_trailing_checksum(size: int) -> None:
    data = bytes(size)
    wrapper = AwsChunkedWrapper(
        io.BytesIO(data), checksum_cls=Crc32Checksum, checksum_name=CRC32, chunk_size=16384
    )
    got = decode(streaming(UNSIGNED_TRAILER), [wrapper.read()], size, (CRC32,))
    assert got == (data, {CRC32: b64encode(zlib.crc32(data).to_bytes(4)).decode()})
