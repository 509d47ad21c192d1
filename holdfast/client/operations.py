"""What can be done with buckets and objects, as coroutines: the one code path under both faces.

Rule: one request where S3 has one. Everything that needs several (moving, deleting many, copying what
is larger than CopyObject takes) says in its docstring what it leaves behind when it breaks.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Unpack

from holdfast.client import listing, xml
from holdfast.client.address import Request
from holdfast.client.config import DELETE_KEYS_MAX
from holdfast.client.copying import copy
from holdfast.client.download import download, save
from holdfast.client.errors import (
    BucketAlreadyOwnedByYou,
    InvalidRequest,
    NotFound,
    NotImplementedByServer,
    S3Error,
)
from holdfast.client.journal import Journal, default_directory
from holdfast.client.models import (
    DeleteError,
    DeleteReport,
    DeleteResult,
    DownloadResult,
    ListEntry,
    ObjectInfo,
    PresignedPost,
    PutResult,
    RawResponse,
    TransferReport,
    TransferResult,
    VersionEntry,
)
from holdfast.client.options import (
    ReadConditions,
    WriteOptions,
    object_info,
    quoted,
    read_headers,
    write_headers,
)
from holdfast.client.presigning import presign, presigned_post
from holdfast.client.progress import Progress, ProgressCallback
from holdfast.client.reading import ObjectStream, Range, ReadSpec, open_stream
from holdfast.client.session import Session
from holdfast.client.sources import Body, FileSource, Source, open_source
from holdfast.client.upload import abort, upload

T = TypeVar("T")
#: errors kept of a transfer of many
ERRORS_MAX = 10_000
Path_ = str | os.PathLike[str]
Key = str | tuple[str, str | None] | ListEntry | VersionEntry
Resume = bool | str | os.PathLike[str]


class Operations:
    def __init__(self, session: Session) -> None:
        self.session = session

    # buckets

    async def create_bucket(
        self,
        bucket: str,
        *,
        region: str | None = None,
        versioning: bool = False,
        object_lock: bool = False,
        exist_ok: bool = False,
    ) -> None:
        """In the store's region unless another is named. Raises BucketAlreadyExists (also
        BucketAlreadyOwnedByYou, unless `exist_ok`), AccessDenied."""
        place = region or self.session.addresser.region
        body: tuple[bytes, ...] = ()
        if place != "us-east-1":  # which has no name here
            inner = xml.element("LocationConstraint", place)
            body = (xml.document("CreateBucketConfiguration", inner),)
            self.session.addresser.learn_region(bucket, place)
        headers = {"x-amz-bucket-object-lock-enabled": "true"} if object_lock else {}
        try:
            await self.session.fetch(Request("PUT", bucket, headers=headers, body=body))
        except BucketAlreadyOwnedByYou:
            if not exist_ok:
                raise
        if versioning:
            await self.set_versioning(bucket, True)

    async def delete_bucket(self, bucket: str, *, force: bool = False) -> None:
        """Raises BucketNotEmpty. `force` first deletes every version and unfinished upload in it."""
        if force:
            await self._empty(bucket)
        await self.session.fetch(Request("DELETE", bucket))

    async def _empty(self, bucket: str) -> None:
        following: listing.Query | None = []
        while following is not None:
            page = await listing.versions_page(self.session, bucket, "", "", following, None)
            report = await self.delete_many(bucket, page.entries)
            if report.errors:
                first = report.errors[0]
                raise InvalidRequest(first.code, first.message, resource=f"{bucket}/{first.key}")
            following = page.following
        following = []
        while following is not None:
            uploads = await listing.uploads_page(self.session, bucket, "", following)
            for entry in uploads.entries:
                await self.abort_upload(bucket, entry.key, entry.upload_id)
            following = uploads.following

    async def bucket_exists(self, bucket: str) -> bool:
        """Raises AccessDenied: it exists, but is not ours."""
        try:
            await self.session.fetch(Request("HEAD", bucket))
        except NotFound:
            return False
        return True

    async def bucket_region(self, bucket: str) -> str:
        """Raises NoSuchBucket."""
        reply = await self.session.fetch(Request("HEAD", bucket))
        return reply.headers.get("x-amz-bucket-region") or self.session.addresser.region_of(bucket)

    async def get_versioning(self, bucket: str) -> str:
        """ "Enabled", "Suspended", or "" where it never was."""
        reply = await self.session.fetch(Request("GET", bucket, query=[("versioning", "")]))
        return xml.text(xml.parse(reply.body), "Status")

    async def set_versioning(self, bucket: str, enabled: bool) -> None:
        status = xml.element("Status", "Enabled" if enabled else "Suspended")
        await self._put_document(
            bucket, "", [("versioning", "")], xml.document("VersioningConfiguration", status)
        )

    async def _put_document(
        self, bucket: str, key: str, query: listing.Query, body: bytes
    ) -> RawResponse:
        headers = {"content-md5": _md5(body), "content-type": "application/xml"}
        return await self.session.fetch(Request("PUT", bucket, key, query, headers, (body,)))

    # objects

    async def put_object(
        self,
        bucket: str,
        key: str,
        body: Body,
        *,
        size: int | None = None,
        progress: ProgressCallback | None = None,
        resume: Resume = False,
        **options: Unpack[WriteOptions],
    ) -> PutResult:
        """Store `body`: bytes, text, a path, a binary file object, an iterator of bytes (with the
        asynchronous store also an asynchronous one).

        Large bodies go as parts in parallel. `size`: of a stream, checked. `resume`: go on with an
        upload of the same file, key and options that broke (True: journals are kept in
        ~/.cache/holdfast/uploads; or a directory for them); such an upload is not aborted when it
        fails. Raises S3Error, PreconditionFailed among them; OSError of a local file.
        """
        headers = write_headers(options)
        source = open_source(self.session.backend, body, size)
        try:
            journal = self._journal(bucket, key, source, headers, resume) if resume else None
            counter = Progress(progress, source.size)
            return await upload(self.session, bucket, key, source, headers, counter, journal)
        finally:
            source.close()

    def _journal(
        self, bucket: str, key: str, source: Source, headers: dict[str, str], resume: Resume
    ) -> Journal | None:
        if not isinstance(source, FileSource):
            return None
        directory = default_directory() if isinstance(resume, bool) else Path(resume)
        target, _ = self.session.addresser.locate(bucket, "")
        identity = {
            "endpoint": target.authority,
            "bucket": bucket,
            "key": key,
            "file": source.name,
            "size": source.size,
            "modified_ns": source.modified_ns,
            "headers": headers,
            "checksum": self.session.transfer.checksum,
        }
        return Journal(directory, identity)

    async def open_object(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        range: Range | None = None,
        part_number: int | None = None,
        **conditions: Unpack[ReadConditions],
    ) -> ObjectStream:
        """See get_object of the faces."""
        spec = ReadSpec(bucket, key, version_id, part_number)
        return await open_stream(self.session, spec, range, conditions)

    async def save_stream(
        self, stream: ObjectStream, path: Path_, progress: ProgressCallback | None = None
    ) -> DownloadResult:
        return await save(self.session, stream, Path(path), progress=progress)

    async def download(
        self,
        bucket: str,
        key: str,
        path: Path_,
        *,
        version_id: str | None = None,
        progress: ProgressCallback | None = None,
        resume: bool = False,
        **conditions: Unpack[ReadConditions],
    ) -> DownloadResult:
        """An object to a file, which appears when it is whole and verified; in parallel ranges if it
        is large. `resume`: what a broken download left (`NAME.part`) is gone on with, and left when
        this one breaks. Raises S3Error, ChecksumMismatch among them; OSError of the local file."""
        spec = ReadSpec(bucket, key, version_id)
        return await download(
            self.session,
            spec,
            Path(path),
            progress=progress,
            resume=resume,
            conditions=conditions,
        )

    async def head_object(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        part_number: int | None = None,
        **conditions: Unpack[ReadConditions],
    ) -> ObjectInfo:
        """Raises NoSuchKey (also where there is no such bucket: a HEAD can't tell), NotModified,
        PreconditionFailed."""
        spec = ReadSpec(bucket, key, version_id, part_number)
        reply = await self.session.fetch(spec.request(read_headers(conditions), "HEAD"))
        return object_info(bucket, key, reply.headers)

    async def exists(self, bucket: str, key: str, *, version_id: str | None = None) -> bool:
        try:
            await self.head_object(bucket, key, version_id=version_id)
        except NotFound:
            return False
        return True

    async def copy_object(
        self,
        source_bucket: str,
        source_key: str,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        source_if_match: str | None = None,
        progress: ProgressCallback | None = None,
        **options: Unpack[WriteOptions],
    ) -> PutResult:
        """On the server; no byte comes here. What `options` leave out stays as at the source. An
        object larger than 5 GiB is copied in parts. Raises NoSuchKey, PreconditionFailed …"""
        spec = ReadSpec(source_bucket, source_key, version_id)
        return await copy(self.session, spec, bucket, key, options, source_if_match, progress)

    async def move_object(
        self,
        source_bucket: str,
        source_key: str,
        bucket: str,
        key: str,
        *,
        progress: ProgressCallback | None = None,
        **options: Unpack[WriteOptions],
    ) -> PutResult:
        """A copy, then a delete: if it breaks in between, the object is at both places. The source is
        deleted only while it is what was copied, where the server knows If-Match on deletes."""
        if (source_bucket, source_key) == (bucket, key):
            raise InvalidRequest(message="an object can't be moved onto itself")
        info = await self.head_object(source_bucket, source_key)
        result = await self.copy_object(
            source_bucket,
            source_key,
            bucket,
            key,
            source_if_match=info.etag,
            progress=progress,
            **options,
        )
        try:
            await self.delete_object(source_bucket, source_key, if_match=info.etag)
        except NotImplementedByServer:
            await self.delete_object(source_bucket, source_key)
        return result

    async def delete_object(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        if_match: str | None = None,
        bypass_governance: bool = False,
    ) -> DeleteResult:
        """No error where nothing is. In a versioned bucket, without `version_id`, a delete marker is
        put. Raises PreconditionFailed, AccessDenied (object lock)."""
        headers = {"if-match": quoted(if_match)} if if_match else {}
        if bypass_governance:
            headers["x-amz-bypass-governance-retention"] = "true"
        query = [("versionId", version_id)] if version_id is not None else []
        reply = await self.session.fetch(Request("DELETE", bucket, key, query, headers))
        marker = reply.headers.get("x-amz-delete-marker") == "true"
        return DeleteResult(reply.headers.get("x-amz-version-id", ""), marker)

    async def delete_many(
        self, bucket: str, keys: Iterable[Key], *, bypass_governance: bool = False
    ) -> DeleteReport:
        """Keys, (key, version id) pairs, or entries of a listing (of list_versions: just these
        versions), by a thousand in a request. What could not be deleted is in `errors`."""
        deleted = 0
        errors: list[DeleteError] = []
        batch: list[tuple[str, str | None]] = []
        for entry in keys:
            key, version_id = _key_and_version(entry)
            if not xml.is_writable(key):
                deleted += await self._delete_one(
                    bucket, key, version_id, errors, bypass_governance
                )
                continue
            batch.append((key, version_id))
            if len(batch) == DELETE_KEYS_MAX:
                deleted += await self._delete_batch(bucket, batch, errors, bypass_governance)
                batch = []
        if batch:
            deleted += await self._delete_batch(bucket, batch, errors, bypass_governance)
        return DeleteReport(deleted, errors)

    async def _delete_one(
        self,
        bucket: str,
        key: str,
        version_id: str | None,
        errors: list[DeleteError],
        bypass: bool,
    ) -> int:
        """A key that XML has no way to write."""
        try:
            await self.delete_object(bucket, key, version_id=version_id, bypass_governance=bypass)
        except S3Error as error:
            errors.append(DeleteError(key, version_id or "", error.code, error.message))
            return 0
        return 1

    async def _delete_batch(
        self,
        bucket: str,
        batch: list[tuple[str, str | None]],
        errors: list[DeleteError],
        bypass: bool,
    ) -> int:
        inner = "<Quiet>true</Quiet>" + "".join(
            [
                "<Object>"
                + xml.element("Key", key)
                + (xml.element("VersionId", version) if version is not None else "")
                + "</Object>"
                for key, version in batch
            ]
        )
        body = xml.document("Delete", inner)
        headers = {"content-md5": _md5(body)}
        if bypass:
            headers["x-amz-bypass-governance-retention"] = "true"
        reply = await self.session.fetch(
            Request("POST", bucket, "", [("delete", "")], headers, (body,), late_error=False)
        )
        failed = [
            DeleteError(*(xml.text(node, name) for name in ("Key", "VersionId", "Code", "Message")))
            for node in xml.parse(reply.body).iterfind("Error")
        ]
        errors += failed
        return len(batch) - len(failed)

    # tags

    async def get_tags(
        self, bucket: str, key: str, *, version_id: str | None = None
    ) -> dict[str, str]:
        reply = await self.session.fetch(Request("GET", bucket, key, _tagging(version_id)))
        return {
            xml.text(node, "Key"): xml.text(node, "Value")
            for node in xml.parse(reply.body).iter("Tag")
        }

    async def set_tags(
        self, bucket: str, key: str, tags: Mapping[str, str], *, version_id: str | None = None
    ) -> None:
        """In place of those that there are."""
        inner = "".join(
            [
                f"<Tag>{xml.element('Key', name)}{xml.element('Value', value)}</Tag>"
                for name, value in tags.items()
            ]
        )
        body = xml.document("Tagging", f"<TagSet>{inner}</TagSet>")
        await self._put_document(bucket, key, _tagging(version_id), body)

    async def delete_tags(self, bucket: str, key: str, *, version_id: str | None = None) -> None:
        await self.session.fetch(Request("DELETE", bucket, key, _tagging(version_id)))

    # many at once

    async def put_many(
        self,
        bucket: str,
        items: Iterable[tuple[str, Body]],
        *,
        concurrency: int = 16,
        on_result: Callable[[TransferResult], None] | None = None,
        **options: Unpack[WriteOptions],
    ) -> TransferReport:
        """put_object of each (key, body), `concurrency` at once. An error stops nothing: it is in
        the report, and given to `on_result` as each result is, one at a time."""

        async def one(item: tuple[str, Body]) -> TransferResult:
            result = await self.put_object(bucket, item[0], item[1], **options)
            return TransferResult(item[0], result.size, None)

        return await self._many(items, one, concurrency, on_result)

    async def get_many(
        self,
        bucket: str,
        items: Iterable[tuple[str, Path_]],
        *,
        concurrency: int = 16,
        on_result: Callable[[TransferResult], None] | None = None,
    ) -> TransferReport:
        """download of each (key, path), alike."""

        async def one(item: tuple[str, Path_]) -> TransferResult:
            result = await self.download(bucket, item[0], item[1])
            return TransferResult(item[0], result.received, None)

        return await self._many(items, one, concurrency, on_result)

    async def _many(
        self,
        items: Iterable[T],
        one: Callable[[T], Awaitable[TransferResult]],
        concurrency: int,
        on_result: Callable[[TransferResult], None] | None,
    ) -> TransferReport:
        waiting = iter(items)
        lock = threading.Lock()
        done = size = 0
        errors: list[TransferResult] = []

        async def pull() -> T | None:
            return next(waiting, None)

        async def work(item: T) -> None:
            nonlocal done, size
            try:
                result = await one(item)
            except (S3Error, OSError) as error:
                result = TransferResult(_name(item), 0, error)
            with lock:
                if result.error is None:
                    done, size = done + 1, size + result.size
                elif len(errors) < ERRORS_MAX:
                    errors.append(result)
                if on_result is not None:
                    on_result(result)

        await self.session.backend.each(pull, work, concurrency)
        return TransferReport(done, size, errors)

    # uploads, addresses, the rest

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Raises NoSuchUpload."""
        await abort(self.session, bucket, key, upload_id)

    def presign_get(
        self,
        bucket: str,
        key: str,
        *,
        expires: int = 3600,
        version_id: str | None = None,
        response_headers: Mapping[str, str] | None = None,
    ) -> str:
        """A URL for everybody, for `expires` seconds (7 days at most). `response_headers`: what the
        answer is to say, e.g. {"content-disposition": "attachment"}."""
        query = [("versionId", version_id)] if version_id is not None else []
        for name, value in (response_headers or {}).items():
            query.append((f"response-{name.lower()}", value))
        return presign(self.session.addresser, "GET", bucket, key, expires, query, {})

    def presign_put(
        self,
        bucket: str,
        key: str,
        *,
        expires: int = 3600,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """A URL to PUT to. `headers` must be sent just so."""
        return presign(self.session.addresser, "PUT", bucket, key, expires, [], headers or {})

    def presign_post(
        self,
        bucket: str,
        key: str,
        *,
        expires: int = 3600,
        fields: Mapping[str, str] | None = None,
        conditions: Iterable[object] | None = None,
        size_range: tuple[int, int] | None = None,
    ) -> PresignedPost:
        """A form for browsers. A `key` that ends in ${filename} takes the name of the file; `fields`
        are sent as they are; `conditions` are more of the policy's, `size_range` in bytes."""
        return presigned_post(
            self.session.addresser, bucket, key, expires, fields or {}, conditions or (), size_range
        )

    async def request(
        self,
        method: str,
        bucket: str | None = None,
        key: str | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        idempotent: bool | None = None,
    ) -> RawResponse:
        """Any other operation of S3, signed and retried. `query` is not encoded; the answer, of
        16 MiB at most, is read. A body has its Content-MD5 with it, which servers demand of many
        operations, unless `headers` have a checksum. Raises S3Error."""
        said = {name.lower(): value for name, value in (headers or {}).items()}
        if body and not any(n == "content-md5" or n.startswith("x-amz-checksum-") for n in said):
            said["content-md5"] = _md5(body)
        return await self.session.fetch(
            Request(
                method,
                bucket or "",
                key or "",
                list((query or {}).items()),
                said,
                (body,) if body else (),
                idempotent=method != "POST" if idempotent is None else idempotent,
            )
        )


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _name(item: Any) -> str:
    return str(item[0])


def _tagging(version_id: str | None) -> listing.Query:
    return [("tagging", "")] + ([("versionId", version_id)] if version_id is not None else [])


def _key_and_version(entry: Key) -> tuple[str, str | None]:
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, ListEntry):
        return entry.key, None
    if isinstance(entry, VersionEntry):
        return entry.key, entry.version_id
    return entry
