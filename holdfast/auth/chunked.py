"""The content coding `aws-chunked`: a body in chunks, each signed or none, and trailers at its end.

Strategy: one pass, straight into the caller's buffer. Data is handed out before its chunk's
signature can be checked (a chunk may be as long as the object), so a caller keeps what it got out
of sight until the body has ended and `end` has passed, and throws it away on AuthError. Memory is
one line, whatever is sent.

    body    = *chunk last *trailer CRLF
    chunk   = size CRLF data CRLF           size in hexadecimal; when the payload is signed
    last    = "0" CRLF                      followed by ";chunk-signature=" and 64 digits
    trailer = name ":" value (CRLF / LF)

Sources: Amazon S3 API Reference, sigv4-streaming.html and sigv4-streaming-trailers.html. minio-go
ends its trailers with LF, an empty line before the signature and one after the end: both accepted.
"""

from __future__ import annotations

import hashlib
import re
from hmac import compare_digest

from holdfast.auth.canonical import EMPTY_SHA256, SigningKey, signing_key_of
from holdfast.auth.identity import Authenticated, AuthError, PayloadKind
from holdfast.auth.sigv4 import signature_mismatch

#: the longest line before a chunk: 16 digits, `;chunk-signature=`, 64 digits, CRLF
CHUNK_LINE_BYTES_MAX = 16 + 17 + 64 + 2
#: every chunk but the last has at least this size, or S3 answers InvalidChunkSizeError
CHUNK_BYTES_MIN = 8192
TRAILER_BYTES_MAX = 4096
TRAILERS_MAX = 16
TRAILER_SIGNATURE = "x-amz-trailer-signature"

_SIGNED_LINE = re.compile(rb"([0-9A-Fa-f]{1,16});chunk-signature=([0-9a-f]{64})").fullmatch
_PLAIN_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})").fullmatch
#: a field name is a token, a value visible text (RFC 9110 sections 5.1 and 5.5)
_TRAILER_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([ -~]*?)[ \t]*").fullmatch

_STREAMING = (
    PayloadKind.STREAMING_SIGNED,
    PayloadKind.STREAMING_SIGNED_TRAILER,
    PayloadKind.STREAMING_UNSIGNED_TRAILER,
)


# What comes next. Plain numbers: a look at an Enum's member costs as much as a whole step.
_CHUNK_LINE, _DATA, _DATA_END, _TRAILERS, _FINISHED = range(5)


def announced_trailers(header: str) -> tuple[str, ...]:
    """The announced names in a value of `x-amz-trailer`, lower-case."""
    return tuple(name for part in header.split(",") if (name := part.strip().lower()))


class ChunkedDecoder:
    """Decodes one body. One caller at a time, from any thread: a large `feed` may run in an
    executor, and hashing and copying pieces of 2 KiB and more release the GIL.

    `decoded_length` is x-amz-decoded-content-length in bytes; `trailer_names` comes from
    x-amz-trailer, lower-case: exactly these must arrive. Feed it the whole body, then call `end`.
    After an exception the decoder is spent.
    """

    def __init__(
        self, auth: Authenticated, decoded_length: int, trailer_names: tuple[str, ...] = ()
    ) -> None:
        if auth.payload not in _STREAMING:
            raise ValueError(f"{auth.payload} is not aws-chunked")
        if auth.payload is PayloadKind.STREAMING_SIGNED and trailer_names:
            raise AuthError(
                "InvalidRequest",
                "x-amz-trailer needs an x-amz-content-sha256 that allows for a trailer",
            )
        if len(trailer_names) > TRAILERS_MAX:
            raise _malformed_trailer()
        #: complete: every signature was right, every byte and trailer is there
        self.finished = False
        #: name -> value, only set once `finished`
        self.trailers: dict[str, str] = {}
        self._access_key = auth.credential.access_key if auth.credential else ""
        self._announced = trailer_names
        self._trailer_signed = auth.payload is PayloadKind.STREAMING_SIGNED_TRAILER
        self._key: SigningKey | None = None
        if auth.payload is not PayloadKind.STREAMING_UNSIGNED_TRAILER:
            self._key = signing_key_of(auth.signing_key)
        self._stamp = f"{auth.amz_date}\n{auth.scope}\n"
        self._previous = auth.signature
        self._signature = ""  # as sent with the chunk that is being read
        self._hash = hashlib.sha256()
        self._state = _CHUNK_LINE
        self._line = b""  # the part of a line that has arrived
        self._chunks = 0
        self._chunk_size = CHUNK_BYTES_MIN
        self._left = 0  # bytes of this chunk still to come
        self._undeclared = decoded_length  # bytes no chunk has claimed yet
        self._found: dict[str, str] = {}
        self._trailer_bytes = 0
        self._trailer_signature: str | None = None
        self._newline_after_end = True

    def feed(self, data: bytes | memoryview, out: memoryview) -> tuple[int, int]:
        """Decode `data` into `out`; returns (bytes consumed, bytes produced).

        Stops when `data` is used up, or `out` is full and only data could come next. `out` may
        begin where `data` begins: what is written never overtakes what was read. Raises AuthError:
        SignatureDoesNotMatch, IncompleteBody, InvalidChunkSizeError, MalformedTrailerError.
        """
        view = memoryview(data)
        position = produced = 0
        end, room = len(view), len(out)
        while position < end:
            if self._state == _DATA:
                count = min(self._left, end - position, room - produced)
                if not count:
                    break
                piece = view[position : position + count]
                if self._key is not None:
                    self._hash.update(piece)
                out[produced : produced + count] = piece
                position += count
                produced += count
                self._left -= count
                if not self._left:
                    self._check_chunk()
                    self._state = _DATA_END
                    if bytes(view[position : position + 2]) == b"\r\n":
                        position += 2
                        self._state = _CHUNK_LINE
            else:
                position += self._feed_line(view[position:])
        return position, produced

    def end(self) -> None:
        """The body has ended. Raises AuthError (IncompleteBody) unless it was complete."""
        if not self.finished or self._line:
            raise _incomplete()

    def _feed_line(self, view: memoryview) -> int:
        """Take a line, or the part of it that is there; returns the bytes consumed."""
        limit = CHUNK_LINE_BYTES_MAX
        if self._state == _TRAILERS:
            limit = TRAILER_BYTES_MAX - self._trailer_bytes
        held = len(self._line)
        line = self._line + view[: limit - held]
        newline = line.find(b"\n", held)
        if newline < 0:
            if len(line) >= limit:
                raise _malformed_trailer() if self._state == _TRAILERS else _incomplete()
            self._line = line
            return len(line) - held
        self._line = b""
        self._take_line(line[: newline + 1])
        return newline + 1 - held

    def _take_line(self, line: bytes) -> None:
        state = self._state
        if state == _TRAILERS:
            self._take_trailer(line)
        elif not line.endswith(b"\r\n"):
            raise _incomplete()
        elif state == _CHUNK_LINE:
            self._take_chunk_line(line[:-2])
        elif line != b"\r\n":
            raise _incomplete()
        elif state == _DATA_END:
            self._state = _CHUNK_LINE
        elif self._newline_after_end:
            self._newline_after_end = False
        else:
            raise _incomplete()

    def _take_chunk_line(self, line: bytes) -> None:
        match = _PLAIN_LINE(line) if self._key is None else _SIGNED_LINE(line)
        if match is None:
            raise _incomplete()
        size = int(match[1], 16)
        if self._key is not None:
            self._signature = match[2].decode()
        self._chunks += 1
        if size > self._undeclared:
            raise _wrong_length()
        if not size:
            if self._undeclared:
                raise _wrong_length()
            self._check_chunk()
            self._state = _TRAILERS
            return
        if self._chunk_size < CHUNK_BYTES_MIN:
            raise AuthError(
                "InvalidChunkSizeError",
                "Only the last chunk is allowed to have a size less than 8192 bytes",
                Chunk=str(self._chunks),
                BadChunkSize=str(self._chunk_size),
            )
        self._chunk_size = self._left = size
        self._undeclared -= size
        self._state = _DATA

    def _check_chunk(self) -> None:
        if self._key is None:
            return
        text = (
            f"AWS4-HMAC-SHA256-PAYLOAD\n{self._stamp}{self._previous}\n"
            f"{EMPTY_SHA256}\n{self._hash.hexdigest()}"
        )
        self._check_signature(text, self._signature)
        self._hash = hashlib.sha256()

    def _check_signature(self, text: str, signature: str) -> None:
        assert self._key is not None
        expected = self._key.sign(text)
        if not (signature.isascii() and compare_digest(expected, signature)):
            raise signature_mismatch(self._access_key, text, signature)
        self._previous = expected

    def _take_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if line == b"\r\n":
            if not self._trailer_signed or self._trailer_signature is not None:
                self._finish()
            elif set(self._found) != set(self._announced):
                raise _malformed_trailer()
            return  # else minio-go's empty line between the trailers and their signature
        match = _TRAILER_LINE(line[: -2 if line.endswith(b"\r\n") else -1])
        if match is None or self._trailer_signature is not None:
            raise _malformed_trailer()
        name, value = match[1].decode().lower(), match[2].decode()
        if name == TRAILER_SIGNATURE and self._trailer_signed:
            self._trailer_signature = value
        elif name in self._announced and name not in self._found:
            self._found[name] = value
        else:
            raise _malformed_trailer()

    def _finish(self) -> None:
        if set(self._found) != set(self._announced):
            raise _malformed_trailer()
        if self._trailer_signature is not None:
            lines = "".join([f"{name}:{value}\n" for name, value in sorted(self._found.items())])
            digest = hashlib.sha256(lines.encode()).hexdigest()
            text = f"AWS4-HMAC-SHA256-TRAILER\n{self._stamp}{self._previous}\n{digest}"
            self._check_signature(text, self._trailer_signature)
        self._state = _FINISHED
        self.trailers = self._found
        self.finished = True


def _incomplete() -> AuthError:
    """What S3 answers to an encoding that breaks off or makes no sense."""
    return AuthError("IncompleteBody", "The request body terminated unexpectedly")


def _wrong_length() -> AuthError:
    return AuthError(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )


def _malformed_trailer() -> AuthError:
    return AuthError(
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed "
        "or did not conform to our published schema.",
    )
