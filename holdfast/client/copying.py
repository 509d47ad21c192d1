"""Copies on the server: CopyObject, and above its bound UploadPartCopy in parallel.

Rule: what the caller says replaces, what he leaves out stays. S3 replaces metadata only as a whole,
so the rest is read from the source first.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""

from __future__ import annotations

from holdfast.auth.canonical import percent_encode
from holdfast.client import xml
from holdfast.client.address import Request
from holdfast.client.config import MIB, SINGLE_COPY_BYTES_MAX
from holdfast.client.errors import EntityTooLarge, InvalidRequest, S3Error
from holdfast.client.models import ObjectInfo, PutResult
from holdfast.client.options import (
    CONDITION_HEADERS,
    METADATA,
    WriteOptions,
    header_text,
    object_info,
    quoted,
    tag_header,
    write_headers,
)
from holdfast.client.progress import Progress, ProgressCallback
from holdfast.client.reading import ReadSpec
from holdfast.client.session import Session
from holdfast.client.upload import abort, part_size_for

#: of a copy in parts: larger than an upload's, as nothing travels
COPY_PART_BYTES = 256 * MIB
_METADATA_OPTIONS = frozenset(
    (
        "metadata",
        "content_type",
        "cache_control",
        "content_disposition",
        "content_encoding",
        "content_language",
        "expires",
    )
)
#: how servers say that a source is too large for one copy
_TOO_LARGE_CODES = ("EntityTooLarge", "InvalidRequest")
#: system metadata that a copy carries along
KEPT_HEADERS = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)


async def copy(
    session: Session,
    source: ReadSpec,
    bucket: str,
    key: str,
    options: WriteOptions,
    source_if_match: str | None,
    progress: ProgressCallback | None,
) -> PutResult:
    """Raises S3Error."""
    headers = write_headers(options)
    info: ObjectInfo | None = None
    if _METADATA_OPTIONS & options.keys():
        info = await _info(session, source)
        headers = _kept(info, "metadata" in options) | headers
        headers["x-amz-metadata-directive"] = "REPLACE"
    if "tags" in options:
        headers["x-amz-tagging-directive"] = "REPLACE"
    condition = {"x-amz-copy-source": copy_source(source)}
    etag = source_if_match or (info.etag if info is not None else "")
    if etag:
        condition["x-amz-copy-source-if-match"] = quoted(etag)
    if info is None or info.size <= SINGLE_COPY_BYTES_MAX:
        try:
            return await _copy_single(session, bucket, key, headers | condition, progress)
        except (EntityTooLarge, InvalidRequest) as error:
            if error.code not in _TOO_LARGE_CODES:
                raise
            info = info or await _info(session, source)
            if info.size <= SINGLE_COPY_BYTES_MAX:
                raise
    headers = _kept(info, "metadata" in options) | headers
    headers.pop("x-amz-metadata-directive", None)
    headers.pop("x-amz-tagging-directive", None)
    condition["x-amz-copy-source-if-match"] = quoted(info.etag)
    if "tags" not in options and info.tag_count:
        headers["x-amz-tagging"] = await _tags(session, source)
    if "storage_class" not in options and info.storage_class != "STANDARD":
        headers["x-amz-storage-class"] = info.storage_class
    return await copy_in_parts(session, bucket, key, headers, condition, info.size, progress)


def copy_source(source: ReadSpec) -> str:
    path = percent_encode(source.key.encode("utf-8", "surrogateescape"), safe="/")
    version = (
        f"?versionId={percent_encode(source.version_id.encode())}" if source.version_id else ""
    )
    return f"/{source.bucket}/{path}{version}"


async def _info(session: Session, source: ReadSpec) -> ObjectInfo:
    reply = await session.fetch(source.request({}, "HEAD"))
    return object_info(source.bucket, source.key, reply.headers)


def _kept(info: ObjectInfo, replaced: bool) -> dict[str, str]:
    headers = {name: info.headers[name] for name in KEPT_HEADERS if name in info.headers}
    if not replaced:
        headers |= {METADATA + name: header_text(value) for name, value in info.metadata.items()}
    return headers


async def _tags(session: Session, source: ReadSpec) -> str:
    query = [("tagging", "")] + ([("versionId", source.version_id)] if source.version_id else [])
    reply = await session.fetch(Request("GET", source.bucket, source.key, query))
    tags = xml.parse(reply.body).iter("Tag")
    return tag_header({xml.text(node, "Key"): xml.text(node, "Value") for node in tags})


async def _copy_single(
    session: Session,
    bucket: str,
    key: str,
    headers: dict[str, str],
    progress: ProgressCallback | None,
) -> PutResult:
    reply = await session.fetch(Request("PUT", bucket, key, (), headers, late_error=True))
    etag = xml.text(xml.parse(reply.body), "ETag").strip('"')
    if progress is not None:
        progress(1, 1)
    return PutResult(etag, reply.headers.get("x-amz-version-id", ""), "", -1)


async def copy_in_parts(
    session: Session,
    bucket: str,
    key: str,
    headers: dict[str, str],
    condition: dict[str, str],
    size: int,
    progress: ProgressCallback | None,
    part_bytes: int = COPY_PART_BYTES,
) -> PutResult:
    """Aborted when it breaks."""
    begin = {n: v for n, v in headers.items() if n not in CONDITION_HEADERS}
    request = Request("POST", bucket, key, [("uploads", "")], begin, idempotent=False)
    upload_id = xml.text(xml.parse((await session.fetch(request)).body), "UploadId")
    counter = Progress(progress, size)
    part_size = part_size_for(size, part_bytes)
    etags: dict[int, str] = {}
    numbers = iter(range(1, -(-size // part_size) + 1))

    async def pull() -> int | None:
        return next(numbers, None)

    async def work(number: int) -> None:
        first = (number - 1) * part_size
        end = min(first + part_size, size)
        query = [("partNumber", str(number)), ("uploadId", upload_id)]
        part_headers = condition | {"x-amz-copy-source-range": f"bytes={first}-{end - 1}"}
        reply = await session.fetch(
            Request("PUT", bucket, key, query, part_headers, late_error=True)
        )
        etags[number] = xml.text(xml.parse(reply.body), "ETag")
        counter.advance(end - first)

    try:
        await session.backend.each(pull, work, session.transfer.concurrency)
        inner = "".join(
            f"<Part>{xml.element('ETag', etags[n])}{xml.element('PartNumber', str(n))}</Part>"
            for n in sorted(etags)
        )
        last = {n: v for n, v in headers.items() if n in CONDITION_HEADERS}
        body = xml.document("CompleteMultipartUpload", inner)
        reply = await session.fetch(
            Request("POST", bucket, key, [("uploadId", upload_id)], last, (body,), late_error=True)
        )
    except BaseException as error:
        try:
            await abort(session, bucket, key, upload_id)
        except S3Error as failure:
            error.add_note(f"and the upload could not be aborted: {failure}")
        raise
    etag = xml.text(xml.parse(reply.body), "ETag").strip('"')
    return PutResult(etag, reply.headers.get("x-amz-version-id", ""), "", size)
