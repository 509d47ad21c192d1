"""Buckets, their configuration, and what the collector may forget.

A deleted bucket's row stays, so that its id and directory are known, until the collector has
emptied the directory. Versioning and object lock are the bucket's own state, not documents, because
writes depend on them; object lock comes with versioning, and keeps it on.
"""

from __future__ import annotations

import msgspec

from holdfast.meta.commands import (
    BucketCreated,
    CreateBucket,
    DeleteBucket,
    Done,
    EnableObjectLock,
    ForgetBlobs,
    ForgetDirectories,
    PutDocument,
    SetVersioning,
)
from holdfast.meta.effects import (
    Effect,
    EndBucket,
    ForgetBucket,
    PutBucket,
    RemoveBlob,
    RemoveDocuments,
    WriteDocument,
)
from holdfast.meta.records import Bucket
from holdfast.meta.state import Clock, Refusal, State

STORE_ID = 0  # the bucket_id of documents that belong to the whole store


def create_bucket(
    command: CreateBucket, state: State, clock: Clock, effects: list[Effect]
) -> BucketCreated:
    taken = state.bucket_named(command.name)
    if taken is not None:
        own = taken.owner == command.owner
        raise Refusal("BucketAlreadyOwnedByYou" if own else "BucketAlreadyExists")
    if state.buckets_owned(command.owner) >= command.owner_buckets_max:
        raise Refusal("TooManyBuckets")
    bucket = Bucket(
        state.next_bucket_id(),
        command.name,
        command.owner,
        clock.now_ms,
        command.region,
        "Enabled" if command.object_lock else "",
        command.object_lock,
    )
    effects.append(PutBucket(bucket))
    for kind, body in command.documents.items():
        effects.append(WriteDocument(bucket.id, kind, body))
    return BucketCreated(bucket)


def delete_bucket(command: DeleteBucket, state: State, clock: Clock, effects: list[Effect]) -> Done:
    if state.bucket(command.bucket_id) is None:
        raise Refusal("NoSuchBucket")
    if not state.bucket_is_empty(command.bucket_id):
        raise Refusal("BucketNotEmpty")
    effects.append(EndBucket(command.bucket_id, clock.now_ms))
    effects.append(RemoveDocuments(command.bucket_id))
    return Done()


def put_document(command: PutDocument, state: State, clock: Clock, effects: list[Effect]) -> Done:
    if command.bucket_id == STORE_ID:
        effects.append(WriteDocument(STORE_ID, command.kind, command.body))
        return Done()
    bucket = state.bucket(command.bucket_id)
    if bucket is None:
        raise Refusal("NoSuchBucket")
    effects.append(WriteDocument(bucket.id, command.kind, command.body))
    return Done()


def set_versioning(
    command: SetVersioning, state: State, clock: Clock, effects: list[Effect]
) -> Done:
    """A bucket that was versioned once never goes back to none (S3, PutBucketVersioning)."""
    if command.status not in ("Enabled", "Suspended"):
        raise ValueError("versioning is Enabled or Suspended")
    bucket = state.bucket(command.bucket_id)
    if bucket is None:
        raise Refusal("NoSuchBucket")
    if bucket.object_lock and command.status == "Suspended":
        raise Refusal("InvalidBucketState")
    if command.status != bucket.versioning:
        effects.append(PutBucket(msgspec.structs.replace(bucket, versioning=command.status)))
    return Done()


def enable_object_lock(
    command: EnableObjectLock, state: State, clock: Clock, effects: list[Effect]
) -> Done:
    bucket = state.bucket(command.bucket_id)
    if bucket is None:
        raise Refusal("NoSuchBucket")
    if bucket.versioning != "Enabled":
        raise Refusal("InvalidBucketState")
    if not bucket.object_lock:
        effects.append(PutBucket(msgspec.structs.replace(bucket, object_lock=True)))
    for kind, body in command.documents.items():
        effects.append(WriteDocument(bucket.id, kind, body))
    return Done()


def forget_blobs(command: ForgetBlobs, state: State, clock: Clock, effects: list[Effect]) -> Done:
    for blob_id in command.blob_ids:
        if state.blob_is_going(blob_id):
            effects.append(RemoveBlob(blob_id))
    return Done()


def forget_directories(
    command: ForgetDirectories, state: State, clock: Clock, effects: list[Effect]
) -> Done:
    for directory in command.directories:
        bucket_id = state.deleted_bucket(directory)
        if bucket_id is not None:
            effects.append(ForgetBucket(bucket_id))
    return Done()
