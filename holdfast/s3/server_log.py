"""Server access logs: records of the requests to a bucket, written as objects to its target bucket.

Rule: best effort, as on AWS, and bounded: no request waits for a record, what can't be kept or
written is dropped and counted. Each worker gathers its own records and writes its own objects.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote

from holdfast.auth.identity import ANONYMOUS, Credential
from holdfast.http.message import FileBody, Request, Response
from holdfast.meta.records import Bucket
from holdfast.s3 import xml
from holdfast.s3.bind import bind
from holdfast.s3.call import Call, Services
from holdfast.s3.documents import children, text
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import OPERATIONS, Operation
from holdfast.s3.xml import element

KIND = "logging"
PREFIX_CHARS_MAX = 1024 - 128
#: records of one bucket are written when so many have gathered
FLUSH_BYTES = 1024 * 1024
#: records that a worker keeps at the same time; beyond it they are dropped
GATHERED_BYTES_MAX = 16 * 1024 * 1024
#: buckets of which a worker knows whether they are logged
KEPT_MAX = 10_000
#: what a client says of itself, at most
FIELD_CHARS_MAX = 2048
CLOSE_SECONDS_MAX = 5.0

SIMPLE = "SimplePrefix"
EVENT_TIME, DELIVERY_TIME = "EventTime", "DeliveryTime"

_log = logging.getLogger("holdfast.s3")

# --- the document ----------------------------------------------------------------------------


class LogTarget(NamedTuple):
    bucket: str
    prefix: str
    #: how keys are made: SimplePrefix, or partitioned by EventTime or DeliveryTime
    key_format: str = SIMPLE


def parse_logging(body: bytes) -> LogTarget | None:
    """None for a document that turns logging off. Raises MalformedXML, NotImplemented."""
    found = children(xml.parse(body, "BucketLoggingStatus"), frozenset(("LoggingEnabled",)))
    if not found["LoggingEnabled"]:
        return None
    names = ("TargetBucket", "TargetGrants", "TargetObjectKeyFormat", "TargetPrefix")
    enabled = children(found["LoggingEnabled"][0], frozenset(names))
    bucket, prefix = text(enabled, "TargetBucket"), text(enabled, "TargetPrefix")
    if not bucket or prefix is None or len(prefix) > PREFIX_CHARS_MAX:
        raise S3Error("MalformedXML")
    if enabled["TargetGrants"] and len(enabled["TargetGrants"][0]):
        raise S3Error("NotImplemented", "Target grants of access logs are not implemented.")
    key_format = SIMPLE
    if enabled["TargetObjectKeyFormat"]:
        formats = children(
            enabled["TargetObjectKeyFormat"][0], frozenset((SIMPLE, "PartitionedPrefix"))
        )
        if bool(formats[SIMPLE]) == bool(formats["PartitionedPrefix"]):
            raise S3Error("MalformedXML")
        if formats["PartitionedPrefix"]:
            source = children(formats["PartitionedPrefix"][0], frozenset(("PartitionDateSource",)))
            key_format = text(source, "PartitionDateSource") or DELIVERY_TIME
            if key_format not in (EVENT_TIME, DELIVERY_TIME):
                raise S3Error("MalformedXML")
    return LogTarget(bucket, prefix, key_format)


def logging_document(target: LogTarget) -> bytes:
    """The answer of GetBucketLogging."""
    key_format = "<SimplePrefix/>"
    if target.key_format != SIMPLE:
        source = element("PartitionDateSource", target.key_format)
        key_format = f"<PartitionedPrefix>{source}</PartitionedPrefix>"
    return xml.document(
        "BucketLoggingStatus",
        f"<LoggingEnabled>{element('TargetBucket', target.bucket)}"
        f"{element('TargetPrefix', target.prefix)}"
        f"<TargetObjectKeyFormat>{key_format}</TargetObjectKeyFormat></LoggingEnabled>",
    )


# --- the record ------------------------------------------------------------------------------

#: the last parts of operation names that S3 does not make of the operation's own
_OPERATIONS = {
    "AbortMultipartUpload": "DELETE.UPLOAD",
    "CompleteMultipartUpload": "POST.UPLOAD",
    "CopyObject": "COPY.OBJECT",
    "CreateBucket": "PUT.BUCKET",
    "CreateMultipartUpload": "POST.UPLOADS",
    "DeleteBucket": "DELETE.BUCKET",
    "DeleteObjects": "POST.MULTI_OBJECT_DELETE",
    "GetBucketLogging": "GET.LOGGING_STATUS",
    "GetBucketPolicy": "GET.BUCKETPOLICY",
    "HeadBucket": "HEAD.BUCKET",
    "ListMultipartUploads": "GET.UPLOADS",
    "ListObjects": "GET.BUCKET",
    "ListObjectsV2": "GET.BUCKET",
    "ListObjectVersions": "GET.BUCKETVERSIONS",
    "ListParts": "GET.UPLOAD",
    "PutBucketLogging": "PUT.LOGGING_STATUS",
    "PutBucketPolicy": "PUT.BUCKETPOLICY",
    "UploadPart": "PUT.PART",
    "UploadPartCopy": "COPY.PART",
}
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SECRETS = frozenset(
    ("awsaccesskeyid", "signature", "x-amz-credential", "x-amz-security-token", "x-amz-signature")
)


def operation_name(op: Operation | None, method: str, website: bool = False) -> str:
    """REST.HTTP_method.resource_type, as S3's logs have it."""
    if website:
        return f"WEBSITE.{method}.OBJECT"
    if op is None:
        return f"REST.{method}.PREFLIGHT" if method == "OPTIONS" else f"REST.{method}.UNKNOWN"
    special = _OPERATIONS.get(op.name)
    if special is not None:
        return f"REST.{special}"
    thing = re.sub(r"^(Get|Put|Delete|Head|Post|Create|List)(Bucket)?", "", op.name)
    return f"REST.{op.method}.{_WORDS.sub('_', thing).upper() or 'BUCKET'}"


class Seen:
    """What the pipeline learns of a request on its way."""

    __slots__ = ("bucket", "error", "key", "op", "requester", "website")

    def __init__(self) -> None:
        self.op: Operation | None = None
        self.bucket = ""  # "" at service level
        self.key = b""
        self.requester = ""  # canonical user id; "" for anonymous
        self.error = ""  # S3's error code; "" for none
        self.website = False


def _printable(value: str) -> str:
    """A client's own text: nothing in it ends its field or its line."""
    return "".join(
        char if " " <= char <= "~" and char != '"' else f"%{ord(char) & 0xFF:02X}"
        for char in value[:FIELD_CHARS_MAX]
    )


def _masked(query: str) -> str:
    """Nothing to sign or replay with gets into a log."""
    pairs = []
    for pair in query.split("&"):
        name, equals, _ = pair.partition("=")
        secret = equals and unquote(name).lower() in _SECRETS
        pairs.append(f"{name}=***" if secret else pair)
    return "&".join(pairs)


def _sizes(request: Request, response: Response) -> tuple[str, str]:
    """(bytes sent, size of the object), "-" where there is none or it is not known."""
    body = response.body
    sent = (
        len(body) if isinstance(body, bytes) else body.length if isinstance(body, FileBody) else 0
    )
    headers = request.headers
    size = ""
    if request.method == "PUT":
        size = headers.get("x-amz-decoded-content-length", headers.get("content-length", ""))
    elif response.status == 206:
        ranges = (value for name, value in response.headers if name == "Content-Range")
        size = next(ranges, "").rpartition("/")[2]
    elif response.status == 200 and request.method == "GET":
        size = str(sent)
    return str(sent or "-") if request.method != "HEAD" else "-", size or "-"


def record(bucket: Bucket, request: Request, response: Response, seen: Seen, now: float) -> str:
    """One line, with its end. `now`: seconds since the epoch, when it was answered."""
    headers = request.headers
    elapsed_ms = 0
    if request.received_at:
        elapsed_ms = round((asyncio.get_running_loop().time() - request.received_at) * 1000)
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now - elapsed_ms / 1000))
    target = request.path + (f"?{_masked(request.query)}" if request.query else "")
    sent, size = _sizes(request, response)
    version = next((v for name, v in response.headers if name == "x-amz-version-id"), "-")
    auth = "-"
    if seen.requester:
        auth = "AuthHeader" if "authorization" in headers else "QueryString"
    referer, agent = (_printable(headers.get(name, "-")) for name in ("referer", "user-agent"))
    fields = (
        bucket.owner,
        bucket.name,
        f"[{stamp}]",
        request.peer.rpartition(":")[0].strip("[]") or request.peer or "-",
        seen.requester or "-",
        request.id,
        operation_name(seen.op, request.method, seen.website),
        quote_from_bytes(seen.key, safe="/-_.~") or "-",
        f'"{request.method} {_printable(target)} HTTP/1.1"',
        str(response.status),
        seen.error or "-",
        sent,
        size,
        str(elapsed_ms),
        "-" if request.body.length else str(elapsed_ms),
        f'"{referer}"',
        f'"{agent}"',
        version,
        "-",
        "SigV4" if seen.requester else "-",
        "-",
        auth,
        _printable(headers.get("host", "-")).replace(" ", "%20"),
        "-",
        "-",
        "-",
    )
    return " ".join(fields) + "\n"


# --- gathering and delivery --------------------------------------------------------------------


class Watched(NamedTuple):
    """A bucket whose requests are logged."""

    bucket: Bucket
    target: LogTarget


_UNKNOWN = object()


class _Group(NamedTuple):
    """Records that go into one object."""

    bucket: Bucket
    target: LogTarget
    day: str  # of the events, when that makes the key


class ServerLog:
    """The records of one worker; all methods on its loop."""

    def __init__(self, services: Services, flush_seconds: float) -> None:
        self._services = services
        self._flush_seconds = flush_seconds
        self._generation = -1
        self._kept: dict[str, Watched | None] = {}
        self._lines: dict[_Group, list[str]] = {}
        self._group_bytes: dict[_Group, int] = {}
        self._bytes = 0
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def skips(self, bucket_name: str) -> bool:
        """Whether it is known that requests to this bucket are not logged: most are not."""
        return (
            self._services.meta.generation() == self._generation
            and self._kept.get(bucket_name, _UNKNOWN) is None
        )

    async def observe(self, request: Request, response: Response, seen: Seen) -> None:
        """Note an answered request to `seen.bucket`, if that bucket wants it. Never raises."""
        try:
            watched = await self.watched(seen.bucket)
            if watched is not None:
                self.note(watched, request, response, seen)
        except Exception as error:  # noqa: BLE001 - the answer stands, whatever becomes of its record
            self._dropped += 1
            _log.warning("request %s can't be logged: %s", request.id, error)

    async def watched(self, bucket_name: str) -> Watched | None:
        """How requests to this bucket are logged; None when they are not."""
        generation = self._services.meta.generation()
        if generation != self._generation or len(self._kept) >= KEPT_MAX:
            self._kept.clear()
            self._generation = generation
        elif bucket_name in self._kept:
            return self._kept[bucket_name]
        bucket = await self._services.meta.bucket(bucket_name)
        if bucket is None:
            return None
        configuration = await self._services.configurations.of(bucket)
        target = configuration.parsed(KIND, parse_logging)
        found = None if target is None else Watched(bucket, target)
        if generation == self._services.meta.generation():
            self._kept[bucket_name] = found
        return found

    def note(self, watched: Watched, request: Request, response: Response, seen: Seen) -> None:
        """Keep a record of an answered request."""
        now = self._services.now()
        line = record(watched.bucket, request, response, seen, now)
        if self._bytes + len(line) > GATHERED_BYTES_MAX:
            self._dropped += 1
            return
        day = ""
        if watched.target.key_format == EVENT_TIME:
            day = time.strftime("%Y/%m/%d", time.gmtime(now))
        group = _Group(watched.bucket, watched.target, day)
        self._lines.setdefault(group, []).append(line)
        self._bytes += len(line)
        size = self._group_bytes[group] = self._group_bytes.get(group, 0) + len(line)
        if size >= FLUSH_BYTES:
            self._start()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._flush_seconds, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is None and self._lines:
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    async def close(self) -> None:
        """Write what is left, within a bound."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                while self._lines or self._writing is not None:
                    self._start()
                    if self._writing is not None:
                        await asyncio.wait({self._writing})
        except TimeoutError:
            self._dropped += sum(map(len, self._lines.values()))
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            self._writing.cancel()
        self._tell_dropped()

    def _tell_dropped(self) -> None:
        if self._dropped:
            _log.warning("%d records of server access logs were dropped", self._dropped)
            self._dropped = 0

    async def _write_all(self) -> None:
        try:
            groups, self._lines, self._group_bytes = self._lines, {}, {}
            for group, lines in groups.items():
                # they count until they are written, so that a slow store bounds what is gathered
                size = sum(map(len, lines))
                try:
                    await self._write(group, "".join(lines).encode("ascii"))
                except Exception as error:  # noqa: BLE001 - one target's fault is not another's
                    self._dropped += len(lines)
                    _log.warning(
                        "log of %s to %s: %s", group.bucket.name, group.target.bucket, error
                    )
                finally:
                    self._bytes -= size
        finally:
            self._writing = None
            self._tell_dropped()
            if self._lines and self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._flush_seconds, self._start)

    async def _write(self, group: _Group, content: bytes) -> None:
        """Put one object as the target bucket's owner. Raises what PutObject raises."""
        services = self._services
        into = await services.meta.bucket(group.target.bucket)
        if into is None or into.owner != group.bucket.owner:
            raise S3Error("InvalidTargetBucketForLogging")
        op = OPERATIONS["PutObject"]
        assert op.handler is not None
        headers = {"content-length": str(len(content)), "content-type": "text/plain"}
        key = object_key(group.bucket, group.target, group.day, services.now())
        request = Request("PUT", f"/{into.name}", "", headers, _Content(content))
        auth = ANONYMOUS._replace(credential=Credential("", "", into.owner, "", False))
        call = Call(request, services, op, into.name, key.encode(), {}, auth)
        await op.handler(call, bind(op, headers, {}))


def object_key(bucket: Bucket, target: LogTarget, day: str, now: float) -> str:
    """Where a log object goes; `day` is of its events (YYYY/MM/DD), "" for the day of delivery."""
    moment = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(now))
    unique = secrets.token_hex(8).upper()
    if target.key_format == SIMPLE:
        return f"{target.prefix}{moment}-{unique}"
    if day:
        moment = day.replace("/", "-") + "-00-00-00"
    else:
        day = moment[:10].replace("-", "/")
    return f"{target.prefix}{bucket.owner}/{bucket.region}/{bucket.name}/{day}/{moment}-{unique}"


class _Content:
    """A body at hand."""

    def __init__(self, content: bytes) -> None:
        self.length: int | None = len(content)
        self._left = memoryview(content)

    def take(self) -> bytes | None:
        return bytes(self._left)

    async def read(self, limit_bytes: int) -> bytes:
        return bytes(self._left)

    async def fill(self, view: memoryview) -> int:
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
