"""Makes and removes a test's buckets from inside the server: no client, no request that is seen or
that a fault or a policy could stop, and no lock that holds.
"""

from __future__ import annotations

from holdfast.auth.identity import ANONYMOUS
from holdfast.http.body import EMPTY_BODY
from holdfast.http.message import Request
from holdfast.meta.commands import (
    AbortUpload,
    ChangeVersion,
    DeleteBucket,
    DeleteObject,
    Refused,
)
from holdfast.meta.contract import MetaStore
from holdfast.meta.records import Bucket, VersionEntry
from holdfast.s3.bind import bind
from holdfast.s3.call import Call, Services
from holdfast.s3.operation import OPERATIONS
from holdfast.testing.clock import Clock

PAGE_ENTRIES = 1000
#: rounds in which others may still write into a bucket that is being removed
ROUNDS_MAX = 10


async def create_bucket(services: Services, name: str, *, object_lock: bool) -> None:
    """As root, with the defaults of the server. Raises S3Error."""
    op = OPERATIONS["CreateBucket"]
    assert op.handler is not None
    headers = {"x-amz-bucket-object-lock-enabled": "true"} if object_lock else {}
    request = Request("PUT", f"/{name}", "", headers, EMPTY_BODY)
    auth = ANONYMOUS._replace(credential=services.directory.root)
    call = Call(request, services, op, name, b"", {}, auth)
    await op.handler(call, bind(op, headers, {}))


async def remove_bucket(services: Services, clock: Clock, name: str) -> None:
    """Empty it of versions, delete markers and uploads, whatever locks they have, and remove it.
    One that is not there is no error. Raises RuntimeError when it fills as fast as it is emptied."""
    meta = services.meta
    for _ in range(ROUNDS_MAX):
        bucket = await meta.bucket(name)
        if bucket is None:
            return
        await _abort_uploads(meta, bucket)
        await _delete_versions(meta, clock, bucket)
        result = await meta.submit(DeleteBucket(bucket.id))
        if not isinstance(result, Refused):
            return
    raise RuntimeError(f"{name} can't be emptied: something still writes into it")


async def remove_all_buckets(services: Services, clock: Clock) -> None:
    """Everybody's. Raises RuntimeError."""
    while buckets := await services.meta.list_buckets(None, limit=PAGE_ENTRIES):
        for bucket in buckets:
            await remove_bucket(services, clock, bucket.name)


async def _abort_uploads(meta: MetaStore, bucket: Bucket) -> None:
    after_key, after_id = b"", None
    while True:
        page = await meta.list_uploads(bucket.id, b"", b"", after_key, after_id, PAGE_ENTRIES)
        await meta.submit_all([AbortUpload(bucket.id, upload.id) for upload in page.uploads])
        if not page.truncated:
            return
        after_key, after_id = page.next_key, page.next_upload_id


async def _delete_versions(meta: MetaStore, clock: Clock, bucket: Bucket) -> None:
    after_key, after_seq = b"", None
    while True:
        page = await meta.list_versions(bucket.id, b"", b"", after_key, after_seq, PAGE_ENTRIES)
        held = await _delete(meta, bucket, page.entries)
        if held:
            await meta.submit_all(
                [ChangeVersion(bucket.id, one.key, one.seq, legal_hold=False) for one in held]
            )
            with clock.at(await _last_retention(meta, bucket, held)):
                await _delete(meta, bucket, held)
        if not page.truncated:
            return
        after_key, after_seq = page.next_key, page.next_seq


async def _delete(
    meta: MetaStore, bucket: Bucket, entries: list[VersionEntry]
) -> list[VersionEntry]:
    """Those that a lock holds."""
    results = await meta.submit_all(
        [
            DeleteObject(bucket.id, one.key, bucket.owner, one.seq, bypass_governance=True)
            for one in entries
        ]
    )
    return [
        one
        for one, result in zip(entries, results, strict=True)
        if isinstance(result, Refused) and result.code == "AccessDenied"
    ]


async def _last_retention(meta: MetaStore, bucket: Bucket, held: list[VersionEntry]) -> float:
    """A moment at which none of them is retained any more, in seconds since the epoch."""
    until_ms = 0
    for one in held:
        found = await meta.find(bucket.id, one.key, one.seq)
        if found is not None:
            until_ms = max(until_ms, found.version.retain_until_ms)
    return until_ms / 1000 + 1
