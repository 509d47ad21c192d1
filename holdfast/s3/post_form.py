"""A form of the type multipart/form-data (RFC 7578, RFC 2046 5.1), read as it comes.

The fields before the file are read whole, within S3's bound; the file is a source that ends at its
boundary, in a fixed buffer, whatever its size. What follows the file is ignored, as on AWS.
"""

from __future__ import annotations

import re

from holdfast.http.message import Body, BodyTooLarge
from holdfast.s3.errors import S3Error
from holdfast.s3.payload import STAGING_BYTES

#: S3: all that comes before the file's content, boundaries and headers of the parts included
PRE_DATA_BYTES_MAX = 20 * 1024
FILE_FIELD = "file"

_BOUNDARY = re.compile(
    r'(?:^|;)\s*boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))\s*(?:;|$)', re.IGNORECASE
)
_PARAMETER = re.compile(
    rb';[ \t]*(name|filename)=(?:"((?:[^"\\]|\\.)*)"|([^\s";]*))', re.IGNORECASE
)


def form_boundary(content_type: str) -> bytes:
    """Raises PreconditionFailed, as S3 does for a POST to a bucket that is no form."""
    kind, _, parameters = content_type.partition(";")
    match = _BOUNDARY.search(parameters)
    if kind.strip().lower() != "multipart/form-data" or match is None:
        raise S3Error(
            "PreconditionFailed",
            Condition="Bucket POST must be of the enclosure-type multipart/form-data",
        )
    return (match[1] or match[2]).encode("latin-1")


class PostForm:
    """Read `head`, then the file by `fill` to its end. One use."""

    __slots__ = (
        "_body",
        "_buffer",
        "_delimiter",
        "_done",
        "_end",
        "_over",
        "_start",
        "_stop",
        "_view",
        "fields",
        "filename",
        "length",
    )

    def __init__(self, body: Body, boundary: bytes) -> None:
        self._body = body
        self._delimiter = b"\r\n--" + boundary
        # the first boundary begins the body: it is found like the others
        self._buffer = bytearray(STAGING_BYTES)
        self._buffer[:2] = b"\r\n"
        self._view = memoryview(self._buffer)
        self._start, self._end = 0, 2
        #: whether the body has been read to its end
        self._over = False
        #: where the file ends in the buffer, once its boundary is there
        self._stop = -1
        self._done = False
        #: no file can be longer (bytes)
        self.length: int | None = body.length
        #: by lower-case name; those before the file
        self.fields: dict[str, str] = {}
        #: the file's own name, without a path
        self.filename = ""

    async def head(self) -> None:
        """Read up to the file's content. Raises MalformedPOSTRequest, InvalidArgument (no file),
        MaxPostPreDataLengthExceededError."""
        self._start = await self._find(self._delimiter) + len(self._delimiter)
        while True:
            line_end = await self._find(b"\r\n")
            padding = bytes(self._view[self._start : line_end]).strip(b" \t")
            if padding == b"--":
                raise S3Error(
                    "InvalidArgument",
                    "POST requires exactly one file upload per request.",
                    ArgumentName="file",
                    ArgumentValue="0",
                )
            if padding:
                raise S3Error("MalformedPOSTRequest")
            self._start = line_end
            header_end = await self._find(b"\r\n\r\n")
            name, filename = _disposition(bytes(self._view[line_end:header_end]))
            self._start = header_end + 4
            if self._start > PRE_DATA_BYTES_MAX:
                raise S3Error("MaxPostPreDataLengthExceededError")
            if name == FILE_FIELD:
                self.filename = re.split(r"[/\\]", filename)[-1]
                if self._body.length is not None:
                    # what of the body is not read yet, and what is in the buffer
                    self.length = self._body.length - (self._start - 2)
                return
            value_end = await self._find(self._delimiter)
            value = bytes(self._view[self._start : value_end])
            if name in self.fields:
                raise S3Error("MalformedPOSTRequest", f"The field {name} is there twice.")
            self.fields[name] = _text(value)
            self._start = value_end + len(self._delimiter)

    def take(self) -> bytes | None:
        """See http.message.Body: a form never has its file at hand."""
        return None

    async def read(self, limit_bytes: int) -> bytes:
        """The file, whole. Raises BodyTooLarge."""
        out = bytearray(limit_bytes + 1)
        with memoryview(out) as view:
            count = await self.fill(view)
        if count > limit_bytes:
            raise BodyTooLarge
        return bytes(out[:count])

    async def _find(self, what: bytes) -> int:
        """Where `what` begins, not before the current place; reads on within the bound."""
        at = self._start
        while True:
            found = self._buffer.find(what, at, self._end)
            if found >= 0:
                return found
            if self._end > PRE_DATA_BYTES_MAX + len(self._delimiter):
                raise S3Error("MaxPostPreDataLengthExceededError")
            at = max(self._start, self._end - len(what) + 1)
            if not await self._more():
                raise S3Error("MalformedPOSTRequest")

    async def _more(self) -> bool:
        """Fill the rest of the buffer; False at the end of the body."""
        if self._over:
            return False
        room = len(self._buffer) - self._end
        count = await self._body.fill(self._view[self._end :])
        self._over = count < room
        self._end += count
        return count > 0

    async def fill(self, view: memoryview) -> int:
        """The file's content; see blobs.contract.Source. Raises IncompleteBody when the body ends
        before the file does."""
        done = 0
        while done < len(view) and not self._done:
            ready = (self._stop if self._stop >= 0 else self._look()) - self._start
            if ready > 0:
                count = min(ready, len(view) - done)
                view[done : done + count] = self._view[self._start : self._start + count]
                self._start += count
                done += count
            elif self._stop >= 0:
                await self._finish()
            else:
                self._compact()
                if not await self._more():
                    raise S3Error("IncompleteBody")
        return done

    def _look(self) -> int:
        """Where the content that is certainly the file's ends in the buffer."""
        found = self._buffer.find(self._delimiter, self._start, self._end)
        if found >= 0:
            self._stop = found
            return found
        return max(self._start, self._end - len(self._delimiter) + 1)

    def _compact(self) -> None:
        left = self._end - self._start
        self._buffer[:left] = self._buffer[self._start : self._end]
        self._start, self._end = 0, left

    async def _finish(self) -> None:
        """Behind the file: its boundary must be one, and not the beginning of some other line."""
        self._start = self._stop + len(self._delimiter)
        self._compact()
        self._done = True
        while self._end < 2 and await self._more():
            pass
        if bytes(self._buffer[: min(2, self._end)]) not in (b"--", b"\r\n"):
            raise S3Error("MalformedPOSTRequest")
        self._start = self._end = 0
        if not self._over:
            await self._more()  # the usual few bytes, so that the connection goes on


def _disposition(headers: bytes) -> tuple[str, str]:
    """(name in lower case, filename) of a part. Raises MalformedPOSTRequest."""
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() != b"content-disposition":
            continue
        kind, _, _ = value.partition(b";")
        if kind.strip().lower() != b"form-data":
            break
        found: dict[bytes, str] = {}
        for parameter, quoted, token in _PARAMETER.findall(value):
            text = (quoted or token).replace(rb"\"", b'"')
            found.setdefault(parameter.lower(), _text(text))
        if found.get(b"name"):
            return found[b"name"].lower(), found.get(b"filename", "")
    raise S3Error("MalformedPOSTRequest")


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise S3Error("MalformedPOSTRequest", "A field is not UTF-8.") from None
