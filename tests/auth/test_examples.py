"""AWS's own examples: the signatures printed in the Amazon S3 API Reference.

Sources: sig-v4-header-based-auth.html, sigv4-query-string-auth.html, sigv4-streaming.html and
sigv4-streaming-trailers.html.
"""

from __future__ import annotations

import pytest

from holdfast.auth.chunked import ChunkedDecoder
from holdfast.auth.identity import Authenticated, AuthError, PayloadKind
from holdfast.auth.presign import presign_url

from .support import AMZ_DATE, CREDENTIAL, EMPTY, NOW, REGION, SCOPE, verify

HOST = {"host": "examplebucket.s3.amazonaws.com"}
PUT_SHA256 = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
CHUNK_OBJECT = "/examplebucket/chunkObject.txt"

# name: method, path, query, headers, payload, signature
EXAMPLES: dict[str, tuple[str, str, str, dict[str, str], str, str]] = {
    "get object": (
        "GET",
        "/test.txt",
        "",
        {**HOST, "range": "bytes=0-9"},
        EMPTY,
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put object": (
        "PUT",
        "/test$file.text",
        "",
        {
            **HOST,
            "date": "Fri, 24 May 2013 00:00:00 GMT",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
        },
        PUT_SHA256,
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "get bucket lifecycle": (
        "GET",
        "/",
        "lifecycle",
        HOST,
        EMPTY,
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list objects": (
        "GET",
        "/",
        "max-keys=2&prefix=J",
        HOST,
        EMPTY,
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
    "chunked upload": (
        "PUT",
        CHUNK_OBJECT,
        "",
        {
            "host": "s3.amazonaws.com",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": "66560",
            "content-length": "66824",
        },
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    ),
    "chunked upload with a trailer": (
        "PUT",
        CHUNK_OBJECT,
        "",
        {
            "host": "s3.amazonaws.com",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": "66560",
            "x-amz-trailer": "x-amz-checksum-crc32c",
        },
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    ),
}
PRESIGNED = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"


def request_of(name: str) -> tuple[str, str, str, dict[str, str], str]:
    method, path, query, headers, payload, signature = EXAMPLES[name]
    headers = {**headers, "x-amz-date": AMZ_DATE, "x-amz-content-sha256": payload}
    names = ";".join(sorted(headers))
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={CREDENTIAL.access_key}/{SCOPE},"
        f"SignedHeaders={names},Signature={signature}"
    )
    return method, path, query, headers, signature


@pytest.mark.parametrize("name", EXAMPLES)
def test_documented_signature_is_accepted(name: str) -> None:
    method, path, query, headers, signature = request_of(name)
    result = verify(method, path, query, headers)
    assert result.credential is CREDENTIAL
    assert (result.signature, result.scope, result.amz_date) == (signature, SCOPE, AMZ_DATE)
    payload = headers["x-amz-content-sha256"]
    if result.payload is PayloadKind.SIGNED:
        assert result.sha256 is not None
        assert result.sha256.hex() == payload
    else:
        assert (result.payload.value, result.sha256) == (payload, None)


@pytest.mark.parametrize("name", EXAMPLES)
def test_documented_signature_is_refused_for_another_method(name: str) -> None:
    _, path, query, headers, _ = request_of(name)
    with pytest.raises(AuthError) as refused:
        verify("DELETE", path, query, headers)
    assert refused.value.code == "SignatureDoesNotMatch"


def test_documented_presigned_url() -> None:
    url = presign_url(
        "GET",
        "https://examplebucket.s3.amazonaws.com/test.txt",
        access_key=CREDENTIAL.access_key,
        secret_key=CREDENTIAL.secret_key,
        region=REGION,
        now=NOW,
        expires_seconds=86400,
    )
    assert url == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        f"&X-Amz-Signature={PRESIGNED}"
    )
    result = verify("GET", "/test.txt", url.partition("?")[2], dict(HOST), now=NOW + 86400)
    assert (result.credential, result.presigned) == (CREDENTIAL, True)
    assert result.payload is PayloadKind.UNSIGNED


# The bodies as documented: 64 KiB and 1 KiB of "a", with the signatures of each chunk.
CHUNKED_BODY = (
    b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"
    + 65536 * b"a"
    + b"\r\n400;chunk-signature="
    b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"
    + 1024
    * b"a"
    + b"\r\n0;chunk-signature="
    b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
)
TRAILER_BODY = (
    b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"
    + 65536 * b"a"
    + b"\r\n400;chunk-signature="
    b"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"
    + 1024
    * b"a"
    + b"\r\n0;chunk-signature="
    b"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
    b"x-amz-checksum-crc32c:sOO8/Q==\n\r\n"
    b"x-amz-trailer-signature:"
    b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
)
TRAILER = "x-amz-checksum-crc32c"


def decode(
    auth: Authenticated, body: bytes, names: tuple[str, ...]
) -> tuple[bytes, ChunkedDecoder]:
    decoder = ChunkedDecoder(auth, 66560, names)
    out = bytearray(66560)
    consumed, produced = decoder.feed(body, memoryview(out))
    assert (consumed, produced) == (len(body), 66560)
    decoder.end()
    return bytes(out), decoder


def test_documented_chunks() -> None:
    method, path, query, headers, _ = request_of("chunked upload")
    assert len(CHUNKED_BODY) == int(headers["content-length"])
    data, decoder = decode(verify(method, path, query, headers), CHUNKED_BODY, ())
    assert (data, decoder.finished, decoder.trailers) == (66560 * b"a", True, {})


def test_documented_chunks_with_a_trailer() -> None:
    method, path, query, headers, _ = request_of("chunked upload with a trailer")
    data, decoder = decode(verify(method, path, query, headers), TRAILER_BODY, (TRAILER,))
    assert (data, decoder.finished) == (66560 * b"a", True)
    assert decoder.trailers == {TRAILER: "sOO8/Q=="}
