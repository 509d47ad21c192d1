"""The synchronous face, and how to connect.

Rule: a method here says its arguments and drives the coroutine of the same name in `operations` to
its end, in the caller's thread. tests/client hold that both faces have the same methods.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack

from holdfast.client import listing
from holdfast.client.address import Addresser
from holdfast.client.asynchronous import AsyncObjectStore
from holdfast.client.backend import Backend
from holdfast.client.blocking import BlockingBackend, run
from holdfast.client.config import RetryConfig, TransferConfig
from holdfast.client.credentials import Credentials, resolve
from holdfast.client.listing import Page, Query
from holdfast.client.models import (
    BucketInfo,
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
    UploadEntry,
    VersionEntry,
)
from holdfast.client.operations import Key, Operations, Path_, Resume
from holdfast.client.options import ReadConditions, WriteOptions
from holdfast.client.progress import ProgressCallback
from holdfast.client.reader import ObjectReader
from holdfast.client.reading import Range
from holdfast.client.session import Session
from holdfast.client.sources import Body

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")
Verify: TypeAlias = "bool | str | os.PathLike[str] | ssl.SSLContext"


class ObjectStore:
    """An S3 server: Holdfast, AWS or another. Made by `connect`; safe to use from many threads.
    Close it, or use it as a context manager."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    @staticmethod
    def connect(
        url: str | None = None,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        anonymous: bool = False,
        credentials: Credentials | Callable[[], Credentials] | None = None,
        addressing: str = "auto",
        verify: Verify = True,
        sign_payload: bool | None = None,
        transfer: TransferConfig | None = None,
        retry: RetryConfig | None = None,
        timeout: float = 60.0,
    ) -> ObjectStore:
        """The store at `url` (None: of the environment or profile, else AWS). Sends nothing yet.

        Keys come from the arguments, the URL (`http://KEY:SECRET@host`), HOLDFAST_ACCESS_KEY and
        HOLDFAST_SECRET_KEY, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile of ~/.aws.
        `credentials`: keys, or a function that gives them, called again before they expire.
        `addressing`: "path", "virtual" or "auto". `verify`: False, or a file of certificates, or an
        SSL context; True trusts the system's, or those in AWS_CA_BUNDLE. `sign_payload`: True signs
        a hash of every body, False none; None does where nothing else guards it (no TLS, and not
        this machine). `timeout`: seconds without a byte.
        Raises CredentialsNotFound, InvalidRequest.
        """
        identity = resolve(
            url,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            region=region,
            profile=profile,
            anonymous=anonymous,
            credentials=credentials,
        )
        addresser = Addresser(identity, addressing=addressing, sign_payload=sign_payload)
        backend: Backend = BlockingBackend()
        session = Session(
            backend, addresser, verify=verify, transfer=transfer, retry=retry, timeout=timeout
        )
        return ObjectStore(Operations(session))

    @staticmethod
    def connect_async(
        url: str | None = None,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        anonymous: bool = False,
        credentials: Credentials | Callable[[], Credentials] | None = None,
        addressing: str = "auto",
        verify: Verify = True,
        sign_payload: bool | None = None,
        transfer: TransferConfig | None = None,
        retry: RetryConfig | None = None,
        timeout: float = 60.0,
    ) -> AsyncObjectStore:
        """The same, asynchronously: `async with ObjectStore.connect_async(…) as store`."""
        identity = resolve(
            url,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            region=region,
            profile=profile,
            anonymous=anonymous,
            credentials=credentials,
        )
        addresser = Addresser(identity, addressing=addressing, sign_payload=sign_payload)
        from holdfast.client.looped import LoopBackend  # asyncio, only where it is used

        backend: Backend = LoopBackend()
        return AsyncObjectStore(
            Session(
                backend, addresser, verify=verify, transfer=transfer, retry=retry, timeout=timeout
            )
        )

    def close(self) -> None:
        self._operations.session.close()

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def create_bucket(
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
        return run(
            self._operations.create_bucket(
                bucket,
                region=region,
                versioning=versioning,
                object_lock=object_lock,
                exist_ok=exist_ok,
            )
        )

    def delete_bucket(self, bucket: str, *, force: bool = False) -> None:
        """Raises BucketNotEmpty. `force` first deletes every version and unfinished upload in it."""
        return run(self._operations.delete_bucket(bucket, force=force))

    def bucket_exists(self, bucket: str) -> bool:
        """Raises AccessDenied: it exists, but is not ours."""
        return run(self._operations.bucket_exists(bucket))

    def bucket_region(self, bucket: str) -> str:
        """Raises NoSuchBucket."""
        return run(self._operations.bucket_region(bucket))

    def get_versioning(self, bucket: str) -> str:
        """ "Enabled", "Suspended", or "" where it never was."""
        return run(self._operations.get_versioning(bucket))

    def set_versioning(self, bucket: str, enabled: bool) -> None:
        return run(self._operations.set_versioning(bucket, enabled))

    def put_object(
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
        return run(
            self._operations.put_object(
                bucket, key, body, size=size, progress=progress, resume=resume, **options
            )
        )

    def download(
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
        return run(
            self._operations.download(
                bucket,
                key,
                path,
                version_id=version_id,
                progress=progress,
                resume=resume,
                **conditions,
            )
        )

    def head_object(
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
        return run(
            self._operations.head_object(
                bucket, key, version_id=version_id, part_number=part_number, **conditions
            )
        )

    def exists(self, bucket: str, key: str, *, version_id: str | None = None) -> bool:
        return run(self._operations.exists(bucket, key, version_id=version_id))

    def copy_object(
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
        return run(
            self._operations.copy_object(
                source_bucket,
                source_key,
                bucket,
                key,
                version_id=version_id,
                source_if_match=source_if_match,
                progress=progress,
                **options,
            )
        )

    def move_object(
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
        return run(
            self._operations.move_object(
                source_bucket, source_key, bucket, key, progress=progress, **options
            )
        )

    def delete_object(
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
        return run(
            self._operations.delete_object(
                bucket,
                key,
                version_id=version_id,
                if_match=if_match,
                bypass_governance=bypass_governance,
            )
        )

    def delete_many(
        self, bucket: str, keys: Iterable[Key], *, bypass_governance: bool = False
    ) -> DeleteReport:
        """Keys, (key, version id) pairs, or entries of a listing (of list_versions: just these
        versions), by a thousand in a request. What could not be deleted is in `errors`."""
        return run(self._operations.delete_many(bucket, keys, bypass_governance=bypass_governance))

    def get_tags(self, bucket: str, key: str, *, version_id: str | None = None) -> dict[str, str]:
        return run(self._operations.get_tags(bucket, key, version_id=version_id))

    def set_tags(
        self, bucket: str, key: str, tags: Mapping[str, str], *, version_id: str | None = None
    ) -> None:
        """In place of those that there are."""
        return run(self._operations.set_tags(bucket, key, tags, version_id=version_id))

    def delete_tags(self, bucket: str, key: str, *, version_id: str | None = None) -> None:
        return run(self._operations.delete_tags(bucket, key, version_id=version_id))

    def put_many(
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
        return run(
            self._operations.put_many(
                bucket, items, concurrency=concurrency, on_result=on_result, **options
            )
        )

    def get_many(
        self,
        bucket: str,
        items: Iterable[tuple[str, Path_]],
        *,
        concurrency: int = 16,
        on_result: Callable[[TransferResult], None] | None = None,
    ) -> TransferReport:
        """download of each (key, path), alike."""
        return run(
            self._operations.get_many(bucket, items, concurrency=concurrency, on_result=on_result)
        )

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Raises NoSuchUpload."""
        return run(self._operations.abort_upload(bucket, key, upload_id))

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
        return self._operations.presign_get(
            bucket, key, expires=expires, version_id=version_id, response_headers=response_headers
        )

    def presign_put(
        self,
        bucket: str,
        key: str,
        *,
        expires: int = 3600,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """A URL to PUT to. `headers` must be sent just so."""
        return self._operations.presign_put(bucket, key, expires=expires, headers=headers)

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
        return self._operations.presign_post(
            bucket,
            key,
            expires=expires,
            fields=fields,
            conditions=conditions,
            size_range=size_range,
        )

    def request(
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
        16 MiB at most, is read. Raises S3Error."""
        return run(
            self._operations.request(
                method, bucket, key, query=query, headers=headers, body=body, idempotent=idempotent
            )
        )

    def get_object(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        range: Range | None = None,
        part_number: int | None = None,
        **conditions: Unpack[ReadConditions],
    ) -> ObjectReader:
        """An object as a stream; its head has been read, so `info` is known. `range`: (first, end),
        end exclusive, (first, None), (-last_bytes, None). Raises NoSuchKey, NotModified,
        PreconditionFailed, InvalidRange."""
        stream = run(
            self._operations.open_object(
                bucket,
                key,
                version_id=version_id,
                range=range,
                part_number=part_number,
                **conditions,
            )
        )
        return ObjectReader(self._operations, stream)

    def list_buckets(self, prefix: str = "") -> Iterator[BucketInfo]:
        return _all(
            lambda following: listing.buckets_page(self._operations.session, prefix, following)
        )

    def list_objects(
        self,
        bucket: str,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        limit: int | None = None,
    ) -> Iterator[ListEntry]:
        """In the order of keys; with a delimiter, common prefixes among them (`is_prefix`)."""
        start = [("start-after", start_after)] if start_after else []
        return _all(
            lambda following: listing.objects_page(
                self._operations.session, bucket, prefix, delimiter, following, limit
            ),
            start,
            limit,
        )

    def list_versions(
        self, bucket: str, prefix: str = "", *, delimiter: str = "", limit: int | None = None
    ) -> Iterator[VersionEntry]:
        """Versions and delete markers, by key, the newest first."""
        return _all(
            lambda following: listing.versions_page(
                self._operations.session, bucket, prefix, delimiter, following, limit
            ),
            [],
            limit,
        )

    def list_uploads(self, bucket: str, prefix: str = "") -> Iterator[UploadEntry]:
        """Multipart uploads that were begun, and neither completed nor aborted."""
        return _all(
            lambda following: listing.uploads_page(
                self._operations.session, bucket, prefix, following
            )
        )


def _all(
    page: Callable[[Query], Coroutine[Any, Any, Page[T]]],
    start: Query | None = None,
    limit: int | None = None,
) -> Iterator[T]:
    following: Query | None = start or []
    left = limit
    while following is not None and left != 0:
        entries, following = run(page(following))
        yield from entries if left is None else entries[:left]
        if left is not None:
            left = max(left - len(entries), 0)
