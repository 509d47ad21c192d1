"""The bytes of an upload as the client meant them, and all that it promised of them.

A Payload takes the `aws-chunked` coding off, checks its signatures, and afterwards holds the
digests against every promise: signed SHA-256, Content-MD5, x-amz-checksum-* in head or trailer.
Nothing may become visible before `verify` has returned.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from holdfast.auth.chunked import ChunkedDecoder
from holdfast.auth.identity import Authenticated, PayloadKind
from holdfast.http.message import Body, Request
from holdfast.s3.checksums import (
    BY_HEADER,
    DEFAULT,
    HEADERS,
    Algorithm,
    algorithm,
    decode_digest,
)
from holdfast.s3.errors import S3Error
from holdfast.s3.numbers import whole_number

#: encoded bytes pulled at once from an aws-chunked body
STAGING_BYTES = 64 * 1024

_STREAMING = frozenset(
    (
        PayloadKind.STREAMING_SIGNED,
        PayloadKind.STREAMING_SIGNED_TRAILER,
        PayloadKind.STREAMING_UNSIGNED_TRAILER,
    )
)


class Payload:
    """A source for the blob store (`fill`), or whole (`read`). One use."""

    __slots__ = (
        "_body",
        "_decoder",
        "_pending",
        "_staging",
        "algorithm",
        "content_md5",
        "expected",
        "length",
        "sha256",
        "trailer",
    )

    def __init__(self, request: Request, auth: Authenticated, length_max: int) -> None:
        """Raises MissingContentLength, EntityTooLarge, BadDigest, InvalidDigest, InvalidRequest."""
        headers = request.headers
        self._body: Body = request.body
        self._decoder: ChunkedDecoder | None = None
        self._staging: memoryview | None = None
        self._pending: memoryview | None = None
        self.sha256 = auth.sha256
        self.content_md5 = _content_md5(headers)
        trailers = _trailer_names(headers) if auth.payload in _STREAMING else ()
        #: the algorithm that the client chose (None when it named none), the digest that it sent
        #: in the head, and the name of the trailer that brings it later
        self.algorithm, self.expected, self.trailer = _declared_checksum(headers, trailers)
        if auth.payload in _STREAMING:
            length = _decoded_length(headers)
            self._decoder = ChunkedDecoder(auth, length, trailers)
        else:
            # no length and no coding is an empty body to HTTP, to S3 a length that was forgotten
            if request.body.length is None or "content-length" not in headers:
                raise S3Error("MissingContentLength")
            length = request.body.length
        if length > length_max:
            raise S3Error(
                "EntityTooLarge", ProposedSize=str(length), MaxSizeAllowed=str(length_max)
            )
        #: decoded bytes
        self.length: int = length
        sdk = headers.get("x-amz-sdk-checksum-algorithm")
        if sdk is not None:
            chosen = algorithm(sdk)
            if self.algorithm is None:
                raise S3Error(
                    "InvalidRequest",
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                    "or x-amz-trailer headers were found.",
                )
            if chosen is not self.algorithm:
                raise S3Error(
                    "BadDigest", "Value for x-amz-sdk-checksum-algorithm header is invalid."
                )

    @property
    def stored_algorithm(self) -> Algorithm:
        """The algorithm whose checksum is kept: the client's, else S3's default."""
        return self.algorithm or DEFAULT

    async def read(self) -> bytes:
        """All of it; the caller bounded `length` before."""
        if self._decoder is None:
            data = self._body.take()
            if data is None:
                data = await self._body.read(self.length)
            if len(data) != self.length:
                raise S3Error("IncompleteBody")
            return data
        out = bytearray(self.length)
        with memoryview(out) as view:
            if await self.fill(view) != self.length:
                raise S3Error("IncompleteBody")
        await self._finish()
        return bytes(out)

    async def fill(self, view: memoryview) -> int:
        """See blobs.contract.Source."""
        if self._decoder is None:
            return await self._body.fill(view)
        done = 0
        while done < len(view):
            if self._pending is None and not await self._pull():
                break
            assert self._pending is not None
            consumed, produced = self._decoder.feed(self._pending, view[done:])
            done += produced
            self._pending = self._pending[consumed:] if consumed < len(self._pending) else None
        if done < len(view):
            await self._finish()
        return done

    async def _pull(self) -> bool:
        """The next piece of the encoded body; False at its end."""
        if self._staging is None:
            small = self._body.take()
            if small is not None:
                self._staging = memoryview(b"")
                self._pending = memoryview(small)
                return bool(small)
            self._staging = memoryview(bytearray(STAGING_BYTES))
        if not len(self._staging):
            return False
        count = await self._body.fill(self._staging)
        if not count:
            return False
        self._pending = self._staging[:count]
        return True

    async def _finish(self) -> None:
        """The final chunk and the trailers, whose signatures end the body."""
        assert self._decoder is not None
        nowhere = memoryview(b"")
        while True:
            if self._pending is None and not await self._pull():
                break
            assert self._pending is not None
            consumed, _ = self._decoder.feed(self._pending, nowhere)
            if not consumed:
                raise S3Error("IncompleteBody")
            self._pending = self._pending[consumed:] if consumed < len(self._pending) else None
        self._decoder.end()

    def promised_checksum(self) -> bytes | None:
        """The checksum that the client sent, in the head or by now in the trailer."""
        if self.trailer and self._decoder is not None and self.expected is None:
            text = self._decoder.trailers.get(self.trailer)
            if text is None:
                raise S3Error("MalformedTrailerError")
            assert self.algorithm is not None
            self.expected = decode_digest(self.algorithm, text, self.trailer)
        return self.expected

    def verify(self, size: int, md5: bytes, sha256: bytes | None, checksum: bytes | None) -> None:
        """Hold what was computed against what was promised. `sha256` and `checksum` (by
        stored_algorithm) may be None only where nothing was promised of them.

        Raises IncompleteBody, XAmzContentSHA256Mismatch, BadDigest.
        """
        if size != self.length:
            raise S3Error("IncompleteBody")
        if self._decoder is not None:
            self._decoder.end()
        if self.sha256 is not None and (
            sha256 is None or not hmac.compare_digest(self.sha256, sha256)
        ):
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                ClientComputedContentSHA256=self.sha256.hex(),
                S3ComputedContentSHA256=(sha256 or b"").hex(),
            )
        if self.content_md5 is not None and self.content_md5 != md5:
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=self.content_md5.hex(),
                CalculatedDigest=base64.b64encode(md5).decode("ascii"),
            )
        promised = self.promised_checksum()
        if promised is not None and promised != checksum:
            assert self.algorithm is not None
            raise S3Error(
                "BadDigest",
                f"The {self.algorithm.name} you specified did not match the calculated checksum.",
            )


async def read_document(request: Request, auth: Authenticated, bytes_max: int) -> bytes:
    """A small request body (XML), whole and verified."""
    if request.body.length == 0:
        payload_empty = auth.sha256
        if payload_empty is not None and payload_empty != _EMPTY_SHA256:
            raise S3Error("XAmzContentSHA256Mismatch")
        return b""
    payload = Payload(request, auth, bytes_max)
    data = await payload.read()
    chosen = payload.algorithm
    payload.verify(
        len(data),
        hashlib.md5(data, usedforsecurity=False).digest(),
        hashlib.sha256(data).digest() if payload.sha256 is not None else None,
        chosen.digest(data) if chosen is not None else None,
    )
    return data


def _declared_checksum(
    headers: dict[str, str], trailers: tuple[str, ...]
) -> tuple[Algorithm | None, bytes | None, str]:
    """(algorithm, digest, trailer) of the one checksum that a request may have."""
    if not trailers and HEADERS.isdisjoint(headers):
        return None, None, ""
    named = [name for name in BY_HEADER if name in headers]
    if any(name not in BY_HEADER for name in trailers):
        raise S3Error(
            "InvalidRequest", "The value specified in the x-amz-trailer header is not supported"
        )
    if len(named) + len(trailers) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    if trailers:
        return BY_HEADER[trailers[0]], None, trailers[0]
    if not named:
        return None, None, ""
    alg = BY_HEADER[named[0]]
    return alg, decode_digest(alg, headers[named[0]], named[0]), ""


_EMPTY_SHA256 = hashlib.sha256(b"").digest()


def _content_md5(headers: dict[str, str]) -> bytes | None:
    text = headers.get("content-md5")
    if text is None:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.")
    return value


def _decoded_length(headers: dict[str, str]) -> int:
    length = whole_number(headers.get("x-amz-decoded-content-length", ""))
    if length is None:
        raise S3Error("MissingContentLength")
    return length


def _trailer_names(headers: dict[str, str]) -> tuple[str, ...]:
    text = headers.get("x-amz-trailer", "")
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())
